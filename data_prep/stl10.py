"""STL-10, the labelled splits: fetched from torchvision's address, or taken from a folder; checked; loaded.

The binary format: `<split>_X.bin`, images as bytes [N, 3, 96, 96], each colour stored column by column;
`<split>_y.bin`, labels as bytes, from 1.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from data_prep import DataError, checksums
from data_prep.download import Unavailable, download
from data_prep.files import data_folder, ensure_folder, reason, write_aside
from data_prep.fileset import FileSet

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SPLITS = ("train", "test")
SHAPE = (3, 96, 96)
PACKED_LIMIT = 3 << 30  # bytes of the archive, which has 2.6e9
UNPACKED_LIMIT = 4 << 30  # and of what is in it, 3.1e9


def load(
    root: str | Path | None = None, split: str = "train", *, source: str | Path | None = None, progress: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 96, 96] (red, green, blue; row, column) and labels int64 [N], 0 to 9, of `train` or `test`.

    Arguments as `fetch`.

    Raises:
        ValueError: an unknown split.
        DataError: the data cannot be had.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    return read(fetch(root, source=source, progress=progress, splits=(split,)), split)


def fetch(
    root: str | Path | None = None,
    *,
    source: str | Path | None = None,
    progress: bool = True,
    splits: tuple[str, ...] = SPLITS,
) -> Path:
    """The folder `root`/stl10_binary with the checked files of `splits`; fetches what is missing or wrong.

    Arguments:
        root: the data folder (default `files.data_folder()`).
        source: a folder with the archive stl10_binary.tar.gz or its unpacked .bin files, looked at before torchvision's
            address (2.6 GB).

    Raises:
        DataError: the files cannot be had; it names what was tried.
    """
    place, archive = data_folder(root), checksums.STL10_ARCHIVE[0]
    wanted = {name: entry for name, entry in checksums.STL10_FILES.items() if name.split("_")[0] in splits}
    files = FileSet(
        "STL-10", place / "stl10_binary", wanted, archive=archive, inside="stl10_binary", limit=UNPACKED_LIMIT,
        progress=progress,
    )  # fmt: skip
    return files.fetch(
        [place],  # where torchvision or a browser may have left the archive
        source,
        ("", "stl10_binary"),
        {"torchvision's address": _from_torchvision},
        f"Put {archive} into a folder and name it as the source",
    )


def _from_torchvision(files: FileSet) -> None:
    """Download torchvision's archive beside the target, check its MD5, take the files, and delete it again."""
    name, expected = checksums.STL10_ARCHIVE
    try:
        from torchvision.datasets import STL10
    except ImportError:
        raise Unavailable("torchvision is not installed") from None
    with tempfile.TemporaryDirectory(prefix=".download-", dir=files.folder) as aside:
        archive = Path(aside) / name
        with archive.open("w+b") as file:

            def fault() -> str | None:
                file.seek(0)
                digest = hashlib.file_digest(file, checksums.new_md5).hexdigest()
                return None if digest == expected else f"MD5 {digest} instead of {expected}"

            download([STL10.url], file, fault, limit=PACKED_LIMIT, title=name, progress=files.progress)
        files.unpack(archive)


# The format


def read(folder: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 96, 96] = [image, colour, row, column] and labels int64 [N], counted from 0.

    Raises:
        DataError: files that are absent, unreadable, or not of this format.
    """
    paths = [Path(folder) / f"{split}_{part}.bin" for part in "Xy"]
    try:
        images, labels = (np.fromfile(path, dtype=np.uint8) for path in paths)
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {reason(error)}") from None
    if len(images) != len(labels) * np.prod(SHAPE) or not len(labels):
        raise DataError(
            f"{paths[0].name} has {len(images)} bytes for the {len(labels)} labels of {paths[1].name}, "
            f"must be {np.prod(SHAPE)} for each"
        )
    if labels.min() < 1:
        raise DataError(f"{paths[1].name} holds the label 0, must hold labels from 1")
    return np.ascontiguousarray(images.reshape(-1, *SHAPE).transpose(0, 1, 3, 2)), labels.astype(np.int64) - 1


def write(folder: str | Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """The reverse of `read`.

    Raises:
        ValueError: other types or shapes.
        DataError: the files cannot be written.
    """
    if images.dtype != np.uint8 or images.shape[1:] != SHAPE or len(images) != len(labels):
        raise ValueError(
            f"images are {images.dtype} {images.shape} with {len(labels)} labels: they must be uint8 [N, 3, 96, 96], "
            "a label each"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < 255):
        raise ValueError(f"labels are {labels.min()} to {labels.max()}: they must be 0 to 254")
    target = Path(folder)
    ensure_folder(target)
    contents = {"X": images.transpose(0, 1, 3, 2).tobytes(), "y": (labels + 1).astype(np.uint8).tobytes()}
    for part, content in contents.items():
        with write_aside(target / f"{split}_{part}.bin") as file:
            file.write(content)
