"""A line now and then while there is nothing else to show, so that nobody takes a slow machine for a dead one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from data_prep.files import HEARTBEAT
from sesn_lib.runner.budget import format_duration

if TYPE_CHECKING:
    from rich.console import Console

QUIET_SECONDS = HEARTBEAT


class Heartbeat:
    """Within its block, says that work goes on whenever that long nothing was shown.

    Arguments:
        what: what is at work.
        say: shows a line; called from another thread.
        seconds: of silence before a line.
    """

    def __init__(self, what: Callable[[], str], say: Callable[[str], None], seconds: float | None = None) -> None:
        self.what, self.say = what, say
        self.seconds = QUIET_SECONDS if seconds is None else seconds
        self.began = self.last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def beat(self) -> None:
        """Something else was shown."""
        self.last = time.monotonic()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(max(self.last + self.seconds - time.monotonic(), 0.01)):
            now = time.monotonic()
            if now - self.last < self.seconds:
                continue
            self.last = now
            self.say(f"{self.what()}: at work, {format_duration(now - self.began)} so far")


@contextmanager
def at_work(what: str, console: Console) -> Iterator[Callable[[str], None]]:
    """Within its block shows what is at work, at first `what`: on a terminal all the time, elsewhere after a silence;
    yields the function to tell what it is from now on."""
    if console.is_terminal:
        with console.status(what) as shown:
            yield lambda text: shown.update(text)
        return

    def tell(text: str) -> None:
        nonlocal what
        what = text

    with Heartbeat(lambda: what, to_stderr):
        yield tell


def to_stderr(text: str) -> None:
    """Shows a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def warn_if_slow(precision: str, device: str) -> None:
    """Says in one line on standard error that a precision is slow on a device, where it is."""
    from sesn_lib.fast.precision import slow
    from sesn_lib.provenance import resolve_device

    line = slow(precision, resolve_device(device))
    if line is not None:
        to_stderr(line)
