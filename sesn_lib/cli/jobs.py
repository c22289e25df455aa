"""What `sesn run` and `sesn train` are asked for, as a job for the runner: for any experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from sesn_lib import paths
from sesn_lib.cli.arguments import folders
from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.provenance import resolve_device
from sesn_lib.runner import mps
from sesn_lib.runner.cost import Estimator
from sesn_lib.runner.execution import run_cell
from sesn_lib.runner.heartbeat import warn_if_slow
from sesn_lib.runner.worker import Job
from sesn_lib.store.records import Store


def job_for(
    experiment: Experiment,
    cells: tuple[AnyCell, ...],
    options: RunOptions,
    results: Path | None = None,
    *,
    deadline: float | None = None,
    here: bool = True,
) -> Job:
    """Cells of an experiment, to be run as the options say.

    Arguments:
        options: whose `checkpoints`, if None, are where they are by default.
        results: the results folder; None for the default one.
        here: whether this machine runs them, so that its devices count.

    Raises:
        ValueError: an impossible value; a record in the folder that is of another protocol.
    """
    experiment.check(options)
    if here:
        resolve_device(options.device)
    folder, kept = folders(experiment, results, options)
    weights = None if options.weights is None else Path(options.weights)
    if not here:  # another machine may have another working directory
        folder, kept = folder.expanduser().resolve(), kept.expanduser().resolve()
        weights = weights and weights.expanduser().resolve()
    _check_protocol(Store(folder), cells, experiment, options)
    paths.check_folders({"--weights": weights, "--checkpoints": kept if options.checkpoints else None})
    if here:
        warn_if_slow(options.precision, options.device)
    options = replace(options, checkpoints=kept, weights=weights)
    return Job(cells, folder, partial(run_cell, options=options), kept, deadline, Estimator(folder, options))


def _check_protocol(store: Store, cells: Iterable[AnyCell], experiment: Experiment, options: RunOptions) -> None:
    """Refuses to mix: a record of another protocol in the folder would make a cell look done that is not."""
    for cell in cells:
        record = store.find(cell)
        if record is None:
            continue
        stored = {**record["protocol"], "test_images": record["test_images"]}
        for key, value in experiment.protocol(experiment.settings_of(cell, options), options).items():
            if stored.get(key) != value:
                raise ValueError(
                    f"{store.path(cell)} is of a run with {key} {stored.get(key)}, not {value}; name another --results"
                )


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
