"""Copies of the checkout for tests that execute notebooks: what git tracks of it, nothing that a run left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("pyproject.toml", "notebooks", "sesn_lib", "data_prep")
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")


def checkout_copy(folder: Path) -> Path:
    """A copy of the notebooks and of the library in `folder`, which is made."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT_BEHIND)
        else:
            shutil.copy(source, target)
    return folder


def with_library(checkout: Path = ROOT) -> dict[str, str]:
    """An environment in which Python, and the kernels it starts, import the library of `checkout`."""
    from data_prep import files

    others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(checkout), *others]),
        "SESN_DATA": str(files.data_folder().resolve()),
    }
