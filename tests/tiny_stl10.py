"""STL-10's labelled splits with ten images in all, and the tables of sizes and checksums to match."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep import checksums

COUNTS = {"train": 6, "test": 4}


def install(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `data_prep` expect these four .bin files, which are returned."""
    generator = np.random.RandomState(8)
    files = {}
    for split, count in COUNTS.items():
        files[f"{split}_X.bin"] = generator.randint(0, 256, (count, 3, 96, 96)).astype(np.uint8).tobytes()
        files[f"{split}_y.bin"] = bytes(index % 10 + 1 for index in range(count))
    table = {name: (len(content), checksums.md5(content)) for name, content in files.items()}
    monkeypatch.setattr(checksums, "STL10_FILES", table)
    return files


def members(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files under their names in the archive."""
    return {f"stl10_binary/{name}": content for name, content in files.items()}
