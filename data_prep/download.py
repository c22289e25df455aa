"""Files from the network: bounded in size and time, asked for again where that may help, refused unless right."""

from __future__ import annotations

import logging
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError, URLError

from data_prep.files import progress_bar, reason

SECONDS = 15.0  # without a byte for this long, a server counts as absent
GRACE, SLOWEST = 30.0, 2000.0  # after so many seconds, so many bytes a second are the least
PAUSES = (1.0, 4.0)  # seconds before the second and the third attempt
CHUNK = 1 << 18
USER_AGENT = "pytorch/vision"  # by which torchvision's servers know its downloads

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """One source could not deliver; the message says why, in a few words."""


class _Hopeless(Exception):
    """A failure that the next attempt would meet again."""


def download(
    urls: Sequence[str],
    target: IO[bytes],
    fault: Callable[[], str | None],
    *,
    limit: int,
    title: str,
    progress: bool = True,
) -> None:
    """Fill `target` from the first address that delivers what is right.

    Addresses are asked in turn, up to three times each; one that refuses (no connection, HTTP 403, a redirection in a
    circle or to something else than http or https, too large a file) is asked once.

    Arguments:
        urls: addresses of the same file.
        target: a binary file, emptied before each attempt.
        fault: says in a few words what is wrong with the target's content, None if nothing is.
        limit: the most bytes that are taken.
        title: of the progress bar.

    Raises:
        Unavailable: naming each address and its last failure; `target` then holds nothing.
    """
    left, faults = list(urls), dict.fromkeys(urls, "not asked")
    for attempt, pause in enumerate((0.0, *PAUSES), start=1):
        time.sleep(pause if left else 0.0)
        for url in list(left):
            problem = _attempt(url, target, limit, title, progress, left) or fault()
            if problem is None:
                return
            if url in left:
                log.info("attempt %d: %s: %s", attempt, url, problem)
            faults[url] = problem
            _empty(target)
    raise Unavailable("; ".join(f"{url}: {problem}" for url, problem in faults.items()))


def _attempt(url: str, target: IO[bytes], limit: int, title: str, progress: bool, left: list[str]) -> str | None:
    """Copy what an address delivers; what went wrong, or None. A hopeless address is taken from `left`."""
    try:
        _copy(url, target, limit, title, progress)
    except _Hopeless as error:
        left.remove(url)
        return str(error)
    except HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in (404, 408, 425, 429):
            left.remove(url)
        return f"HTTP {error.code} {_line(error.reason)}"
    except URLError as error:  # of the connection, not of an answer
        left.remove(url)
        return f"no connection: {_line(error.reason)}"
    except TimeoutError:
        return f"nothing came for {SECONDS:g} s"
    except (OSError, HTTPException, ValueError) as error:
        return _line(error)
    return None


def _copy(url: str, target: IO[bytes], limit: int, title: str, progress: bool) -> None:
    _empty(target)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    with _opener().open(request, timeout=SECONDS) as response:
        length, received, started = response.length, 0, time.monotonic()
        if length is not None and length > limit:
            raise _Hopeless(f"{length} bytes announced, at most {limit} expected")
        with progress_bar(length, title, progress=progress, unit="B") as bar:
            while received != length:
                chunk = response.read1(CHUNK if length is None else min(CHUNK, length - received))
                if not chunk:
                    break
                received += len(chunk)
                if received > limit:
                    raise _Hopeless(f"more than the {limit} bytes expected")
                seconds = time.monotonic() - started
                if seconds > GRACE and received < SLOWEST * seconds:
                    raise OSError(f"only {received} bytes came in {seconds:.0f} s")
                _write(target, chunk)
                bar.update(len(chunk))
    if length is not None and received != length:
        raise OSError(f"ended after {received} of {length} bytes")


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https, wherever it is redirected to: no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _write(target: IO[bytes], chunk: bytes) -> None:
    try:
        target.write(chunk)
    except OSError as error:  # a full disk is no fault of the server
        raise Unavailable(f"cannot store the download: {reason(error)}") from None


def _empty(target: IO[bytes]) -> None:
    target.seek(0)
    target.truncate()


def _line(message: object) -> str:
    """The first line of a message, or what kind of error it is."""
    lines = str(message).splitlines()
    return lines[0].strip() if lines else type(message).__name__
