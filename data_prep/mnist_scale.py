"""MNIST-scale: the front door. `prepare` loads a realization, or makes, verifies and stores it first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from data_prep import DataError, realizations
from data_prep.files import data_folder
from data_prep.preparation import Row, originals, prepare, prepare_all
from data_prep.realizations import Realization, Split, export_png, png_md5
from data_prep.splits import PROTOCOLS, REALIZATIONS, SPLITS, check

__all__ = [
    "MEAN",
    "PROTOCOLS",
    "REALIZATIONS",
    "STD",
    "MNISTScale",
    "Realization",
    "Row",
    "Split",
    "export_png",
    "originals",
    "png_md5",
    "prepare",
    "prepare_all",
]

MEAN = 0.0607
"""Mean pixel value, white = 1, that the authors normalise with."""
STD = 0.2161
"""Standard deviation, likewise."""


class MNISTScale(Dataset[tuple[Any, Any]]):
    """One split of a realization in the form of torchvision's data sets, without its import, which takes seconds.

    Items are (PIL image of mode L, int), then transformed.

    Arguments: as `prepare`, and
        split: one of train, val, test.
        download: whether absent data are made.

    Attributes:
        data, targets, factors: uint8 [N, 28, 28], int64 [N], float64 [N].
        classes: names of the labels.

    Raises:
        ValueError: an unknown split, protocol or realization.
        DataError: the data are absent.
    """

    classes = tuple(str(digit) for digit in range(10))

    def __init__(
        self,
        root: str | Path | None = None,
        realization: int = 0,
        split: str = "train",
        protocol: str = "paper",
        transform: Callable[[Image.Image], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = True,
    ) -> None:
        check(protocol, realization)
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; choose one of train, val, test")
        folder = data_folder(root)
        make = partial(prepare, progress=False)
        data = (make if download else realizations.load)(folder, realization, protocol)
        if data is None:
            raise DataError(f"MNIST-scale {protocol} {realization} is not in {folder}; use download=True to make it")
        self.root, self.realization, self.split, self.protocol = str(folder), realization, split, protocol
        self.transform, self.target_transform = transform, target_transform
        chosen: Split = getattr(data, split)
        self.data, self.targets, self.factors = chosen.images, chosen.labels, chosen.factors

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = Image.fromarray(self.data[index])
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        lines = [f"{name}: {getattr(self, name.lower())}" for name in ("Root", "Protocol", "Realization", "Split")]
        return "\n    ".join([f"Dataset {type(self).__name__}", f"Number of datapoints: {len(self)}", *lines])
