"""What `sesn run` is asked for, as a job for the runner: for either experiment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sesn_lib import mps
from sesn_lib.cli import arguments
from sesn_lib.experiments import mnist_scale as experiments
from sesn_lib.experiments import stl10
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.experiments.settings import check_device
from sesn_lib.experiments.stl10 import TEST_IMAGES, TRAIN_IMAGES, Recipe, STL10Cell
from sesn_lib.provenance import resolve_device
from sesn_lib.runner import stl10_cost, stl10_execution
from sesn_lib.runner.budget import Estimator
from sesn_lib.runner.execution import run_cell
from sesn_lib.runner.worker import Job
from sesn_lib.store.records import Store
from sesn_lib.store.schema import AnyCell

__all__ = ["fetch_data", "mnist_job", "processes", "stl10_folders", "stl10_job"]


def mnist_job(
    cells: tuple[Cell, ...],
    results: Path | None,
    checkpoints: Path | None,
    deadline: float | None,
    *,
    weights: Path | None = None,
    here: bool,
    **given: Any,
) -> Job:
    """Cells of the MNIST-scale grid, to be run as the options say; None stands for the protocol's value or the default.

    Arguments:
        weights: folder in which trained weights are kept; None keeps none.
        here: whether this machine runs them, so that its devices count.
        given: options of `execution.train_cell`.

    Raises:
        ValueError: an impossible value; a record in the folder that is of another protocol.
    """
    shortened = any(given[name] is not None for name in ("epochs", "train_images", "test_images", "batch_size"))
    folder = results or arguments.results_folder(shortened=shortened)
    if not here:  # another machine may have other devices, and another working directory
        folder = folder.expanduser().resolve()
        checkpoints, weights = (path and path.expanduser().resolve() for path in (checkpoints, weights))
    checked = {**given, "device": given["device"] if here else _named(given["device"])}
    options = {**arguments.training_options(cells[0], **checked), "device": given["device"]}
    wanted = {key: options.get(key, experiments.PROTOCOL[key]) for key in ("epochs", "batch_size", "train_images")}
    wanted["test_images"] = options.get("test_images", experiments.TEST_IMAGES)
    arguments.check_protocol(Store(folder), cells, wanted)
    kept = checkpoints or arguments.checkpoints_folder(folder)
    arguments.check_folders({"--weights": weights, "--checkpoints": checkpoints})
    execute = partial(run_cell, **options, checkpoints=kept, weights=weights)
    return Job(cells, folder, execute, kept, deadline, Estimator(folder, options))


def stl10_job(
    models: Iterable[str] | None,
    runs: Iterable[int] | None,
    results: Path | None,
    checkpoints: Path | None,
    deadline: float | None,
    *,
    here: bool,
    epochs: int | None,
    batch_size: int | None,
    micro_batch: int | None,
    small_memory: bool,
    precision: str,
    train_images: int | None,
    test_images: int | None,
    device: str,
    threads: int | None,
    data: Path | None,
) -> Job:
    """Runs of STL-10, likewise. None stands for the recipe's value, or for the default.

    Raises:
        ValueError: an impossible value; a record in the folder that was made by another recipe.
    """
    cells = stl10.select(models, runs)
    recipe = Recipe(precision=precision)
    if small_memory:
        recipe = recipe.small_memory()
    if epochs is not None and epochs != recipe.epochs:
        recipe = recipe.shortened(epochs)
    recipe = replace(
        recipe, batch_size=recipe.batch_size if batch_size is None else batch_size, micro_batch=micro_batch
    )
    shortened = (epochs, train_images, test_images, batch_size, micro_batch) != (None,) * 5
    folder, kept = stl10_folders(results, checkpoints, shortened=shortened)
    if not here:
        folder, kept = folder.expanduser().resolve(), kept.expanduser().resolve()
    images = {"train_images": train_images, "test_images": test_images}
    for (name, count), most in zip(images.items(), (TRAIN_IMAGES, TEST_IMAGES)):
        if count is not None and not 1 <= count <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 to {most}, not {count}")
    trained, tested = train_images or TRAIN_IMAGES, test_images or TEST_IMAGES
    wanted = {**recipe.protocol(trained), "test_images": tested}
    del wanted["precision"]  # which each record states
    arguments.check_protocol(Store(folder), cells, wanted)
    resolve_device(device if here else _named(device))
    arguments.check_folders({"--checkpoints": checkpoints})
    options: dict[str, Any] = {**images, "device": device, "threads": threads, "data": data}
    execute = partial(stl10_execution.run_cell, recipe=recipe, **options, checkpoints=kept)
    return Job(cells, folder, execute, kept, deadline, stl10_cost.Estimator(recipe, device, **images))


def _named(device: str) -> str:
    """`auto`, for a device that another machine is to have. Raises DeviceError for what is no device anywhere."""
    if device != "auto":
        check_device(device)
    return "auto"


def stl10_folders(results: Path | None, checkpoints: Path | None, *, shortened: bool = False) -> tuple[Path, Path]:
    """Where records and checkpoints are: by default in `stl10` below those of the other experiment."""
    beside = arguments.results_folder(shortened=shortened)
    folder = beside / "stl10" if results is None else results
    return folder, checkpoints or arguments.checkpoints_folder(beside if results is None else results)


@contextmanager
def processes(
    job: Job, jobs: int | None, device: str, missing: int, say: Callable[[str], object]
) -> Iterator[tuple[Job, int]]:
    """Within the block a job can be run in several processes; gives the job, told of them, and their number.

    Arguments:
        jobs: the number asked for; None for 1 on a CPU, and on a GPU as many as can work at once and have room.
        missing: cells to be run, each of which one process can do.
        say: shows a line.

    Raises:
        ValueError: a GPU that others have filled.
    """
    target = resolve_device(device)
    if target.type == "cpu" or not missing:
        yield job, min(jobs or 1, max(missing, 1))
        return
    card = mps.card(target.index)
    mps.check_room(card, str(target))
    wanted = mps.jobs_on(card, missing) if jobs is None else min(jobs, missing)
    with mps.served(wanted, say, or_one=jobs is None) as plan:
        if isinstance(job.estimate, Estimator):
            job = replace(job, estimate=replace(job.estimate, slowdown=plan.slowdown))
        yield job, plan.jobs


def fetch_data(cells: Iterable[AnyCell], data: Path | None) -> None:
    """Gets ready what the cells need, before several processes would each want to. Raises DataError."""
    from data_prep import stl10 as stl10_data

    realizations = sorted({cell.realization for cell in cells if isinstance(cell, Cell)})
    if realizations:
        arguments.prepare_data(realizations, data)
    if any(isinstance(cell, STL10Cell) for cell in cells):
        stl10_data.fetch(data, progress=sys.stderr.isatty())
