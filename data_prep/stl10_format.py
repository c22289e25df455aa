"""STL-10's binary format, without any check of what is in it.

`<split>_X.bin`: images as bytes [N, 3, 96, 96], each colour stored column by column. `<split>_y.bin`: labels as bytes,
from 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep import DataError
from data_prep.files import ensure_folder, reason, write_aside

__all__ = ["SHAPE", "read", "write"]

SHAPE = (3, 96, 96)


def read(folder: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 96, 96] = [image, colour, row, column] and labels int64 [N], counted from 0.

    Raises DataError for files that are absent, unreadable, or not of this format.
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
    """The reverse of `read`. Raises ValueError for other types or shapes, DataError if the files cannot be written."""
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
