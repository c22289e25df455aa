"""A complete MNIST of a few hundred images, with tables of sizes and checksums to match."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_prep import checksums, splits

COUNTS = {"train": 240, "t10k": 60}


def idx(array: np.ndarray) -> bytes:
    """An idx file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def contents() -> dict[str, bytes]:
    """The four raw files."""
    generator = np.random.RandomState(5)
    files = {}
    for part, count in COUNTS.items():
        files[f"{part}-images-idx3-ubyte"] = idx(generator.randint(0, 256, (count, 28, 28)))
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def install(monkeypatch: pytest.MonkeyPatch, *, train: int = 120, test: int = 60, val: int = 40) -> dict[str, bytes]:
    """Make `data_prep` expect this MNIST, and split it into so many images; returns the four files."""
    files = contents()
    table = {name: (len(content), checksums.md5(content)) for name, content in files.items()}
    monkeypatch.setattr(checksums, "MNIST_FILES", table)
    monkeypatch.setattr(splits, "TOTALS", {"paper": 300, "report": 240})
    for protocol in splits.PROTOCOLS:
        monkeypatch.setitem(splits.SIZES, protocol, {"train": train, "test": test, "val": val})
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """A .tar.gz with these members and, if asked, symbolic links (name -> target)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path
