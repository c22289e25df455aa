"""The one place that knows folders: the checkout, its results, data and build, and where checkpoints go.

The command line, the notebooks and the report all ask here, so that they find the same things from whatever folder they
are called.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from data_prep.files import checkout, data_folder

__all__ = ["build", "check_folders", "checkout", "checkpoints", "data_folder", "notebooks", "results"]


def notebooks() -> Path:
    """The folder of the notebooks."""
    return checkout() / "notebooks"


def build() -> Path:
    """Where what can be made again goes: runs shorter than the protocol, the report."""
    return checkout() / "build"


def results(*, shortened: bool = False) -> Path:
    """Where records are by default: the published ones, or, for runs shorter than the protocol, a folder apart."""
    return build() if shortened else notebooks() / "results"


def checkpoints(folder: Path) -> Path:
    """Where the checkpoints for a results folder are by default: in it, but for the published results beside them."""
    published = folder.resolve() == results().resolve()
    return checkout() / "checkpoints" if published else folder / "checkpoints"


def check_folders(given: Mapping[str, Path | None]) -> None:
    """Makes the folders that options name, so that nobody learns after an hour that they cannot be.

    Raises:
        ValueError: naming the option and the folder.
    """
    for option, folder in given.items():
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ValueError(f"{option} {folder} cannot be written: {error.strerror or error}") from error
