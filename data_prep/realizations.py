"""A realization of MNIST-scale: made, checksummed, stored, loaded and verified, exported as PNG."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_prep import DataError, checksums
from data_prep.files import ensure_folder, read_bytes, reason, write_aside
from data_prep.rescaling import SIZE, affine_bicubic, rescale_all, resize_and_paste
from data_prep.splits import SIZES, SPLITS, plan

METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"paper": affine_bicubic, "report": resize_and_paste}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, 28, 28], labels int64 [N], and the scale factors that were drawn, float64 [N]."""

    images: np.ndarray
    labels: np.ndarray
    factors: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the images and labels (as uint8) and factors (as little-endian float64)."""
        return {
            "images": checksums.sha256(np.ascontiguousarray(self.images)),
            "labels": checksums.sha256(self.labels.astype(np.uint8)),
            "factors": checksums.sha256(np.ascontiguousarray(self.factors, dtype="<f8")),
        }


@dataclass(frozen=True, eq=False)
class Realization:
    """The three splits of one realization, 0 to 5, of a protocol, `paper` or `report`."""

    protocol: str
    realization: int
    train: Split
    val: Split
    test: Split

    def splits(self) -> Iterator[tuple[str, Split]]:
        """(name, split) in the authors' order: train, test, val."""
        for name in SPLITS:
            yield name, getattr(self, name)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the nine lines ``<split> <array> <SHA-256 of the array>``, in the order of `splits`."""
        lines = [
            f"{name} {array} {digest}\n" for name, split in self.splits() for array, digest in split.digests().items()
        ]
        return checksums.sha256("".join(lines).encode())


def make(
    images: np.ndarray,
    labels: np.ndarray,
    realization: int,
    protocol: str,
    *,
    done: Callable[[int], object] | None = None,
) -> Realization:
    """Make a realization out of MNIST: images uint8 [70000, 28, 28], labels uint8 [70000]; see `splits.plan`.

    `done` is told the number of images finished since the last call.
    """
    made = {}
    for name, part in plan(labels, realization, protocol).items():
        scaled = rescale_all(images[part.indices], part.factors, METHODS[protocol], done=done)
        made[name] = Split(scaled, labels[part.indices].astype(np.int64), part.factors)
    return Realization(protocol, realization, **made)


def verify(data: Realization) -> str | None:
    """What is wrong with the realization, in a few words; None if it has the recorded checksum."""
    expected = checksums.MNIST_SCALE[data.protocol][data.realization]
    return None if data.checksum == expected else f"SHA-256 {data.checksum} instead of {expected}"


def path_of(root: Path, realization: int, protocol: str) -> Path:
    """Where the realization is stored, e.g. <root>/mnist_scale/paper-0.npz."""
    return root / "mnist_scale" / f"{protocol}-{realization}.npz"


def store(data: Realization, root: Path) -> None:
    """Write the nine arrays as one compressed .npz, aside, then rename.

    Raises:
        DataError: the disk refuses.
    """
    arrays: dict[str, Any] = {}
    for name, split in data.splits():
        arrays[f"{name}_images"] = split.images
        arrays[f"{name}_labels"] = split.labels.astype(np.uint8)
        arrays[f"{name}_factors"] = split.factors
    with write_aside(path_of(root, data.realization, data.protocol)) as file:
        np.savez_compressed(file, **arrays)


def load(root: Path, realization: int, protocol: str) -> Realization | None:
    """The stored realization if it is there and right; None if there is none, or a damaged one (named in the log)."""
    path = path_of(root, realization, protocol)
    content = read_bytes(path, _size_limit(protocol))
    if content is None:
        return None
    try:
        data = _unpack(content, realization, protocol)
        fault = verify(data)
    except Exception as error:  # a made-up file meets zipfile and NumPy with errors of many kinds
        fault = str(error) or type(error).__name__
    if fault is None:
        return data
    log.warning("refused %s: %s; making it again", path, fault)
    return None


def _size_limit(protocol: str) -> int:
    """More bytes than the nine arrays have, packed or not: 28 x 28 + 1 + 8 for each image, and their headers."""
    return sum(SIZES[protocol].values()) * (SIZE * SIZE + 9) * 101 // 100 + 2**16


def _unpack(content: bytes, realization: int, protocol: str) -> Realization:
    """The realization in an .npz; raises ValueError unless every array has the shape and type it should have."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _size_limit(protocol):  # before NumPy unpacks it
        raise ValueError(f"it unpacks to {unpacked} bytes, more than {_size_limit(protocol)}")
    unpacked_splits = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name, count in SIZES[protocol].items():
            layout = (("images", (count, SIZE, SIZE), "u1"), ("labels", (count,), "u1"), ("factors", (count,), "f8"))
            parts = {}
            for kind, shape, code in layout:
                array = arrays[f"{name}_{kind}"]
                if array.shape != shape or array.dtype != np.dtype(code):
                    raise ValueError(f"{name} {kind} are {array.dtype} {list(array.shape)}, not {list(shape)}")
                parts[kind] = array
            unpacked_splits[name] = Split(parts["images"], parts["labels"].astype(np.int64), parts["factors"])
    return Realization(protocol, realization, **unpacked_splits)


def _png_files(data: Realization) -> Iterator[tuple[str, bytes]]:
    """(relative path, content) in the order of the sorted paths: split/label/index.png, the index running on."""
    entries = [(name, *entry) for name, split in data.splits() for entry in zip(split.labels.tolist(), split.images)]
    images = {f"{name}/{label}/{index}.png": image for index, (name, label, image) in enumerate(entries)}
    for path in sorted(images):
        buffer = io.BytesIO()
        Image.fromarray(images[path]).save(buffer, "PNG")
        yield path, buffer.getvalue()


def png_md5(data: Realization, *, done: Callable[[int], object] | None = None) -> str:
    """MD5 over the PNG files of the authors' folder, concatenated in the order of their paths; nothing is written.

    PNG compression is the encoder's business: the same images with another zlib could give another MD5.
    """
    digest = checksums.new_md5()
    for _, content in _png_files(data):
        digest.update(content)
        if done is not None:
            done(1)
    return digest.hexdigest()


def check_vacant(folder: Path) -> None:
    """Raise DataError if `folder` exists and is anything but an empty folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already; name a new or an empty folder for the PNG files")


def export_png(data: Realization, folder: Path, *, done: Callable[[int], object] | None = None) -> str:
    """Write the authors' folder of PNG files as `folder` and return the MD5 of its files (see `png_md5`).

    The files are written aside and the finished folder renamed.

    Raises:
        DataError: `folder` exists and is not empty, or the disk refuses.
    """
    check_vacant(folder)
    ensure_folder(folder.parent)
    digest = checksums.new_md5()
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        aside.chmod(0o755)
        for path, content in _png_files(data):
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            digest.update(content)
            if done is not None:
                done(1)
        aside.replace(folder)
    except OSError as error:
        raise DataError(f"cannot write the PNG files to {folder}: {reason(error)}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return digest.hexdigest()
