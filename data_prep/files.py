"""Where files go, how they get there whole, what is said if they cannot, and the progress bar of all of `data_prep`."""

from __future__ import annotations

import glob
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from data_prep import DataError

if sys.platform != "win32":
    import fcntl


HEARTBEAT = 20.0
"""Seconds after which slow work is heard of where no bar can be seen."""


class Unwritable(DataError):
    """A folder that takes no files."""


def checkout(start: Path | None = None) -> Path:
    """The project's checkout: the nearest folder, from `start` (the current folder) upwards, that holds its notebooks;
    else the one that this package lies in; else `start`."""
    here = Path.cwd() if start is None else start.resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / "notebooks").is_dir() and _is_ours(folder / "pyproject.toml"):
            return folder
    return here


def _is_ours(settings: Path) -> bool:
    """Whether a pyproject.toml may be this project's: that of another may lie beside notebooks, too."""
    try:
        named = re.search(r"""^name\s*=\s*["'](.*?)["']""", settings.read_text("utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return False
    return named is None or named[1] == "sesn-report"


def data_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that is named, `~` spelled out, else $SESN_DATA, else `data` in the checkout."""
    named = root if root is not None else os.environ.get("SESN_DATA")
    return Path(named).expanduser() if named else checkout() / "data"


def reason(error: OSError) -> str:
    """What the operating system says, without the path, in lower case."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def ensure_folder(folder: Path) -> Path:
    """Make `folder` where it does not exist and check that it can be written to.

    Raises:
        Unwritable: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(
            f"cannot make the data folder {folder}: {reason(error)}; name a folder you can write to"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Unwritable(f"cannot write to the data folder {folder}: permission denied; name a folder you can write to")
    return folder


def read_bytes(path: Path, limit: int | None = None) -> bytes | None:
    """The file's content (at most `limit` bytes), None where there is no such file.

    Raises:
        DataError: there is one that cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read() if limit is None else file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None


@contextmanager
def write_aside(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` when the block ends without an exception, and vanishes otherwise.

    Readers and other writers of `path` see the old content or the new, never a part of it.

    Raises:
        DataError: a failing disk: full, no permission.
    """
    ensure_folder(path.parent)
    try:
        with aside_of(path) as (aside, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            aside.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}") from None


@contextmanager
def aside_of(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside `path`, `.<name>.<random>.tmp`, and its path; removed when the block ends, unless renamed.

    The block holds a lock on it, which the system drops with the process: by that the files of writers that were killed
    are told from those of writers at work, and removed.

    Raises:
        OSError: it cannot be written.
    """
    _remove_leftovers(path)
    while True:
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        with open(aside, "xb") as file:
            _lock(file.fileno(), wait=True)
            if not aside.exists():  # taken for a leftover before it was locked
                continue
            try:
                yield aside, file
            finally:
                aside.unlink(missing_ok=True)
        return


def _remove_leftovers(path: Path) -> None:
    """Removes what killed writers left beside `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        try:
            with open(left, "r+b") as file:
                if _lock(file.fileno(), wait=False):
                    left.unlink(missing_ok=True)
        except OSError:  # somebody was faster, or it is not ours to remove
            continue


def _lock(handle: int, *, wait: bool) -> bool:
    """Locks an open file until it is closed; whether that could be done. Some network file systems know no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def progress_bar(total: int | None, description: str, *, progress: bool, unit: str = "it") -> Any:
    """A tqdm bar; where neither a terminal nor a notebook would show it a line every `HEARTBEAT` seconds of slow work.

    Silent when `progress` is false, or without a standard error stream.
    """
    watched = "ipykernel" in sys.modules or on_terminal()
    rarely: dict[str, Any] = {} if watched else {"delay": HEARTBEAT, "mininterval": HEARTBEAT, "miniters": 1}
    hidden = not progress or sys.stderr is None
    return tqdm(total=total, desc=description, unit=unit, unit_scale=unit == "B", disable=hidden, leave=False, **rarely)


def on_terminal() -> bool:
    """Whether somebody watches the standard error stream."""
    return sys.stderr is not None and sys.stderr.isatty()


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
