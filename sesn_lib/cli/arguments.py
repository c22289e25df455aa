"""What the command line is given, turned into values; ValueError with one clear line where that cannot be."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sesn_lib.experiments.mnist_scale import PROTOCOL, TEST_IMAGES, Cell
from sesn_lib.store.records import Store
from sesn_lib.store.schema import AnyCell

__all__ = [
    "check_folders",
    "check_protocol",
    "checkpoints_folder",
    "numbers",
    "prepare_data",
    "project_folder",
    "refused_value",
    "results_folder",
    "share_threads",
    "training_options",
    "warn_if_slow",
    "whole_numbers",
    "words",
]


LONGEST = 1000


def words(values: Iterable[str] | None) -> list[str] | None:
    """`["a,b", "c"]` as `["a", "b", "c"]`; None stays None."""
    if values is None:
        return None
    return [word for value in values for part in value.split(",") if (word := part.strip())]


def numbers(values: Iterable[str] | None) -> list[float] | None:
    """Likewise, as numbers."""
    found = words(values)
    try:
        return None if found is None else [float(word) for word in found]
    except ValueError as error:
        raise ValueError(f"{str(error).rpartition(': ')[2]} is no number") from None


def whole_numbers(values: Iterable[str] | None) -> list[int] | None:
    """Likewise, as whole numbers; `0-3` is a range."""
    found = words(values)
    if found is None:
        return None
    whole: list[int] = []
    for word in found:
        first, dash, last = word.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(f"{word!r} is neither a whole number nor a range such as 0-3") from None
        if low > high:
            raise ValueError(f"the range {word!r} is empty; write it from the lower to the higher number")
        if high - low >= LONGEST:
            raise ValueError(f"the range {word!r} is longer than {LONGEST} numbers")
        whole += range(low, high + 1)
    return whole


def project_folder() -> Path:
    """The checkout that the current folder is in, else the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def results_folder(*, shortened: bool = False) -> Path:
    """Where results are by default: the published ones, or, for runs shorter than the protocol, a folder apart."""
    return project_folder() / ("build" if shortened else "notebooks/results")


def checkpoints_folder(results: Path) -> Path:
    """Where the checkpoints for a results folder are by default: in it, but for the published results beside them."""
    published = results.resolve() == results_folder().resolve()
    return project_folder() / "checkpoints" if published else results / "checkpoints"


def training_options(cell: Cell, **options: Any) -> dict[str, Any]:
    """Checks the options of `execution.train_cell` before anything is begun; returns those that were given.

    Raises:
        ValueError: an impossible value, an absent device.
    """
    from sesn_lib.experiments.settings import check_threads
    from sesn_lib.provenance import resolve_device
    from sesn_lib.runner.execution import settings_of

    resolve_device(options["device"])
    settings = settings_of(
        cell, epochs=options["epochs"], batch_size=options["batch_size"], precision=options["precision"]
    )
    if options["threads"] is not None:
        check_threads(options["threads"])
    images = PROTOCOL["train_images"] if options["train_images"] is None else options["train_images"]
    if not 2 <= images <= PROTOCOL["train_images"]:
        raise ValueError(f"--train-images must be 2 to {PROTOCOL['train_images']}, not {images}")
    if images % settings.batch_size == 1:
        raise ValueError(
            f"--train-images {images} in batches of {settings.batch_size} leaves a last batch of one image, which "
            f"batch normalisation cannot take; use {images - 1}"
        )
    if options["test_images"] is not None and not 1 <= options["test_images"] <= TEST_IMAGES:
        raise ValueError(f"--test-images must be 1 to {TEST_IMAGES}, not {options['test_images']}")
    return {name: value for name, value in options.items() if value is not None}


def warn_if_slow(precision: str, device: str) -> None:
    """Says in one line on standard error that a precision is slow on a device, where it is."""
    from sesn_lib.fast.precision import slow
    from sesn_lib.provenance import resolve_device

    line = slow(precision, resolve_device(device))
    if line is not None:
        print(line, file=sys.stderr, flush=True)


def share_threads(threads: int | None, jobs: int, device: str, *, alone: bool) -> int | None:
    """Threads for each of several processes on one CPU; what the user named comes first."""
    if threads is not None or jobs == 1 or alone or device.startswith("cuda"):
        return threads
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // jobs)


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


def check_protocol(store: Store, cells: Iterable[AnyCell], wanted: Mapping[str, Any]) -> None:
    """Refuses to mix: a record of another protocol in the folder would make a cell look done that is not.

    Arguments:
        wanted: parts of the protocol, and `test_images`.

    Raises:
        ValueError: naming the record and what differs.
    """
    for cell in cells:
        record = store.find(cell)
        if record is None:
            continue
        found = {**record["protocol"], "test_images": record["test_images"]}
        for key, value in wanted.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{store.path(cell)} is of a run with {key} {found.get(key)}, not {value}; name another --results"
                )


def prepare_data(realizations: Iterable[int], data: Path | None) -> None:
    """Makes the realizations of MNIST-scale that are missing, with a progress bar on a terminal. Raises DataError."""
    from data_prep.mnist_scale import prepare

    for realization in realizations:
        prepare(data, realization, PROTOCOL["data"], progress=sys.stderr.isatty())


def refused_value(error: Any, args: list[str] | None) -> str:
    """The value that a refused option was given, which not every version of typer names."""
    words = sys.argv[1:] if args is None else args
    for option in getattr(getattr(error, "param", None), "opts", []):
        for word, following in zip(words, [*words[1:], ""]):
            value = following if word == option else word.partition("=")[2] if word.startswith(option + "=") else ""
            if value and value not in error.format_message():
                return f": {value!r}"
    return ""
