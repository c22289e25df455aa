"""STL-10, the labelled splits: fetched from torchvision's address, or taken from a folder; checked; loaded.

The binary format: images as bytes [N, 3, 96, 96], each channel stored column by column; labels as bytes 1 to 10.
"""

from __future__ import annotations

import logging
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np

from data_prep import DataError, checksums, stl10_format
from data_prep.archives import kind_of, members
from data_prep.download import Unavailable, download
from data_prep.files import data_folder, ensure_folder, progress_bar, reason, write_aside

__all__ = ["CLASSES", "fetch", "load"]

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SPLITS = ("train", "test")
CHUNK = 1 << 20
PACKED_LIMIT = 3 << 30  # bytes of the archive, which has 2.6e9
UNPACKED_LIMIT = 4 << 30  # and of what is in it, 3.1e9

log = logging.getLogger(__name__)


def load(
    root: str | Path | None = None,
    split: str = "train",
    *,
    source: str | Path | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 96, 96] (red, green, blue; row, column) and labels int64 [N], 0 to 9, of `train` or `test`.

    Arguments as `fetch`. Raises ValueError for an unknown split, DataError if the data cannot be had.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    folder = fetch(root, source=source, progress=progress, splits=(split,))
    return stl10_format.read(folder, split)


def fetch(
    root: str | Path | None = None,
    *,
    source: str | Path | None = None,
    progress: bool = True,
    splits: tuple[str, ...] = SPLITS,
) -> Path:
    """The folder `root`/stl10_binary with the checked files of `splits`; fetches what is missing or wrong.

    Arguments: root, the data folder (default `files.data_folder()`); source, a folder with the archive
    stl10_binary.tar.gz or its unpacked .bin files, looked at before torchvision's address (2.6 GB).
    Raises DataError, naming what was tried, if the files cannot be had.
    """
    folder = data_folder(root) / "stl10_binary"
    names = [name for name in checksums.STL10_FILES if name.split("_")[0] in splits]
    missing = []
    for name in names:
        fault = _fault(folder / name, *checksums.STL10_FILES[name], progress)
        if fault is not None:
            missing.append(name)
            if (folder / name).exists():
                log.warning("refused %s: %s; fetching it again", folder / name, fault)
    if not missing:
        return folder
    named = None if source is None else Path(source).expanduser()
    if named is not None and not named.is_dir():
        raise DataError(f"source {named} is not a folder; name the one that holds {checksums.STL10_ARCHIVE[0]}")
    ensure_folder(folder)
    tried = []
    if named is not None:
        tried.append(f"folder {named} ({_from_folder(named, folder, missing, progress)})")
    for place in (folder.parent, folder):  # where torchvision or a browser may have left the archive
        if missing and (place / checksums.STL10_ARCHIVE[0]).is_file():
            fault = _from_archive(place / checksums.STL10_ARCHIVE[0], folder, missing, progress)
            tried.append(f"the data folder ({fault})")
    if missing:
        tried.append(f"torchvision's address ({_from_torchvision(folder, missing, progress)})")
    if missing:
        raise DataError(
            f"STL-10 could not be had: {', '.join(missing)} missing after trying {'; '.join(tried)}. "
            f"Put {checksums.STL10_ARCHIVE[0]} into a folder and name it as the source"
        )
    return folder


def _fault(path: Path, size: int, expected: str, progress: bool) -> str | None:
    """What is wrong with a file, in a few words; None if nothing is; raises DataError if it cannot be read."""
    try:
        found = path.stat().st_size
        if found != size:
            return f"{found} bytes instead of {size}"
        with path.open("rb") as file:
            digest = _copy(file, None, size, f"checking {path.name}", progress)
    except (FileNotFoundError, NotADirectoryError):
        return "not there"
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None
    return None if digest == expected else f"MD5 {digest} instead of {expected}"


def _copy(source: IO[bytes], target: IO[bytes] | None, size: int, title: str, progress: bool) -> str:
    """Read at most `size` bytes, write them if there is a target, and return their MD5."""
    digest = checksums.new_md5()
    left = size
    with progress_bar(size, title, progress=progress, unit="B") as bar:
        while left and (chunk := source.read(min(CHUNK, left))):
            digest.update(chunk)
            if target is not None:
                target.write(chunk)
            left -= len(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


class _Refused(Exception):
    """A file that turned out wrong while it was copied; nothing of it is kept."""


def _accept(source: IO[bytes], name: str, folder: Path, progress: bool) -> str | None:
    """Copy one file into place if its size and MD5 are right; otherwise say what is wrong."""
    size, expected = checksums.STL10_FILES[name]
    try:
        with write_aside(folder / name) as target:
            digest = _copy(source, target, size, name, progress)
            if digest != expected or source.read(1):
                raise _Refused(f"{name} has another size or MD5 than {expected}")
    except _Refused as error:
        return str(error)
    return None


def _from_folder(named: Path, folder: Path, missing: list[str], progress: bool) -> str:
    """Take what is right from unpacked files, then from the archive; shortens `missing`, returns what was wrong."""
    faults = []
    for place in (named, named / "stl10_binary"):
        for name in list(missing):
            fault = _fault(place / name, *checksums.STL10_FILES[name], progress)
            if fault is None:
                with (place / name).open("rb") as file:
                    fault = _accept(file, name, folder, progress)
            if fault is None:
                missing.remove(name)
            elif (place / name).exists():
                faults.append(f"{name}: {fault}")
    archive = named / checksums.STL10_ARCHIVE[0]
    if missing and archive.is_file():
        faults.append(_from_archive(archive, folder, missing, progress))
    return ", ".join(faults) or f"neither {checksums.STL10_ARCHIVE[0]} nor all of the .bin files"


def _from_archive(archive: Path, folder: Path, missing: list[str], progress: bool) -> str:
    """Stream the wanted members out of the archive; shortens `missing`, returns what was wrong."""
    faults = []
    try:
        with closing(members(archive, UNPACKED_LIMIT)) as files:
            for path, content in files:
                name = path.removeprefix("./").removeprefix("stl10_binary/")
                if name not in missing:
                    continue
                fault = _accept(content, name, folder, progress)
                if fault is not None:
                    faults.append(fault)
                    continue
                missing.remove(name)
                if not missing:
                    break
    except tarfile.TarError as error:
        with archive.open("rb") as file:
            kind = kind_of(file.read(300))
        faults.append(f"{archive.name} is {kind}" if kind else f"damaged {archive.name}: {error}")
    return ", ".join(faults) or f"{archive.name} does not hold {', '.join(missing)}"


def _from_torchvision(folder: Path, missing: list[str], progress: bool) -> str:
    """Download torchvision's archive beside the target, check its MD5, take the files, and delete it again."""
    name, expected = checksums.STL10_ARCHIVE
    try:
        from torchvision.datasets import STL10

        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as aside:
            archive = Path(aside) / name
            with archive.open("w+b") as file:

                def fault() -> str | None:
                    size = file.tell()
                    file.seek(0)
                    digest = _copy(file, None, size, f"checking {name}", progress)
                    return None if digest == expected else f"MD5 {digest} instead of {expected}"

                download([STL10.url], file, fault, limit=PACKED_LIMIT, title=name, progress=progress)
            return _from_archive(archive, folder, missing, progress)
    except ImportError:
        return "torchvision is not installed"
    except Unavailable as error:
        return str(error)
    except OSError as error:  # of the temporary folder
        return reason(error)
