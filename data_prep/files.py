"""Files written aside and renamed, folders with clear complaints, and the progress bar that all of `data_prep` uses."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from data_prep import DataError

__all__ = ["ensure_folder", "on_terminal", "progress_bar", "read_bytes", "reason", "write_aside"]

STALE_SECONDS = 3600.0


def reason(error: OSError) -> str:
    """What the operating system says, without the path, in lower case."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def ensure_folder(folder: Path) -> Path:
    """Make `folder` where it does not exist and check that it can be written to; raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the data folder {folder}: {reason(error)}; name a folder you can write to"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"cannot write to the data folder {folder}: permission denied; name a folder you can write to")
    return folder


def read_bytes(path: Path, limit: int | None = None) -> bytes | None:
    """The file's content (at most `limit` bytes), None where there is no such file; raises DataError if unreadable."""
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

    Readers and other writers of `path` see the old content or the new, never a part of it. A failing disk (full, no
    permission) raises DataError.
    """
    ensure_folder(path.parent)
    _remove_stale(path)
    aside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        aside = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_umask())  # mkstemp makes the file private; data may be shared
        aside.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}") from None
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _remove_stale(path: Path) -> None:
    """Delete what a killed process left beside `path`; recent ones may belong to a process that still writes."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        try:
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
        except OSError:
            continue


def progress_bar(total: int | None, description: str, *, progress: bool, unit: str = "it") -> Any:
    """A tqdm bar; silent when `progress` is false, or where neither a terminal nor a notebook would show it."""
    hidden = not (progress and ("ipykernel" in sys.modules or on_terminal()))
    return tqdm(total=total, desc=description, unit=unit, unit_scale=unit == "B", disable=hidden, leave=False)


def on_terminal() -> bool:
    """Whether somebody watches the standard error stream."""
    return sys.stderr is not None and sys.stderr.isatty()
