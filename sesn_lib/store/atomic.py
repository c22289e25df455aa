"""Files that appear whole or not at all, even when the machine loses power, and unusable ones put out of the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from data_prep.files import aside_of

# Some file systems (FAT, a few network ones) know no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def rename_damaged(path: Path) -> Path:
    """Renames an unusable file to `*.damaged`, with a number if there is one already; returns the new name."""
    target, count = path.with_name(path.name + ".damaged"), 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.{count}.damaged")
    os.rename(path, target)
    return target


def write_aside(path: Path, content: bytes, *, replace: bool) -> None:
    """Writes a file so that it appears under its name whole or not at all, even when the machine loses power.

    Arguments:
        path: the file; its folder is made if need be.
        content: all of it.
        replace: whether an existing file of that name gives way; otherwise FileExistsError is raised.

    Raises:
        OSError: naming `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside_of(path) as (aside, file):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if replace:
                os.replace(aside, path)
            else:
                _link(aside, path)
        _sync_folder(path.parent)
    except OSError as error:  # which names the temporary file, or none
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _link(aside: Path, path: Path) -> None:
    """Gives `aside` the name `path` unless that name is taken: link fails on an existing name, rename would not."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "a record is there and is not overwritten", str(path)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "a record is there and is not overwritten", str(path)) from None
        os.rename(aside, path)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs folders by itself
            raise
    finally:
        os.close(handle)
