"""One cell of any experiment, from data to record.

torch and the data sets are imported when a cell is run, not before: the command line starts fast, and the runner can be
tested without them.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.registry import experiment_of
from sesn_lib.experiments.settings import BaseSettings, RunOptions
from sesn_lib.store.checkpoint import Checkpoint
from sesn_lib.store.records import now
from sesn_lib.store.schema import SCHEMA

if TYPE_CHECKING:
    from torch import nn

    from sesn_lib.data.splits import Split
    from sesn_lib.training.evaluation import Evaluation
    from sesn_lib.training.task import BaseTask, EpochReport, FitResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What `train_cell` returns.

    Attributes:
        record: as the store keeps it.
        model: with the weights of the reported epoch, on the device.
        evaluation: its predictions on the test images; None where these are evaluated in the course of the training.
        test: the test images and labels.
    """

    record: dict[str, Any]
    model: nn.Module
    evaluation: Evaluation | None
    test: Split | None


def task_of(experiment: Experiment) -> type[BaseTask]:
    """How an experiment's networks are trained; imports torch."""
    return importlib.import_module(experiment.training).Task


def settings_of(cell: AnyCell, options: RunOptions | None = None) -> BaseSettings:
    """The protocol for a cell, changed as the options say, with the cell's own seed.

    Raises:
        ValueError: a value that is impossible for this cell.
    """
    from sesn_lib.provenance import cell_seed

    return replace(experiment_of(cell).settings_of(cell, options or RunOptions()), seed=cell_seed(cell))


def run_cell(
    cell: AnyCell,
    options: RunOptions | None = None,
    *,
    settings: BaseSettings | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains and tests one cell; returns its record. Arguments and errors as `train_cell`.

    Trained weights are kept where the options name a folder for them; one that cannot be written in the end costs the
    weights, not the record.
    """
    trained = train_cell(cell, options, settings=settings, on_epoch=on_epoch, stop=stop)
    folder = None if options is None else options.weights
    if folder is not None:
        from sesn_lib.store.weights import save

        try:
            save(folder, trained.model, trained.record)
        except OSError as error:
            log.warning("%s: its weights are not kept in %s: %s", cell, folder, error.strerror or error)
    return trained.record


def train_cell(
    cell: AnyCell,
    options: RunOptions | None = None,
    *,
    settings: BaseSettings | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Trains one cell by its experiment's protocol, tests the result, and writes down how it went.

    The seed is a function of the cell's name; on a CPU the result is the same each time, interrupted or not. A
    checkpoint is taken up if there is one, and removed by `Checkpoint.discard` once the caller has stored the record.

    Arguments:
        options: None for the protocol and the defaults.
        settings: in place of those that follow from the options, the seed aside.
        on_epoch: called after each epoch.
        stop: asked at each chance to write a checkpoint whether to stop, which raises Interrupted once it is written.

    Raises:
        ValueError: an impossible value, an absent device.
        DataError: no data.
        Diverged: the loss is not finite.
        Interrupted: `stop` said so.
    """
    from sesn_lib import provenance

    start = time.perf_counter()
    options = options or RunOptions()
    provenance.use_threads(options.threads)
    device = provenance.resolve_device(options.device)
    environment = provenance.environment(device)  # now, not in hours: of the code that runs
    chosen = replace(settings or settings_of(cell, options), seed=provenance.cell_seed(cell))
    task, checksum = task_of(experiment_of(cell)).load(cell, chosen, options, device)
    protocol = task.settings.protocol(len(task.train))
    identity = {"cell": cell.as_dict(), "protocol": protocol, "data": checksum, "device_type": device.type}
    checkpoint = Checkpoint(options.checkpoints, cell, identity, every=options.checkpoint_seconds, stop=stop)
    model, result = _fit(cell, task, checkpoint, on_epoch)
    trained = time.perf_counter()
    outcome = task.outcome(model, result)
    finished = time.perf_counter()
    timing = {
        "train_seconds": sum(epoch["seconds"] for epoch in result.history),
        **({} if outcome.evaluation is None else {"evaluation_seconds": finished - trained}),
        "wall_seconds": checkpoint.seconds_before + finished - start,
        "finished": now(),
    }
    said = {**outcome.says, "history": result.history, "data_checksum": checksum}
    record = _record(cell, task, protocol, model) | said | {"environment": environment, "timing": timing}
    return Trained(record, model, outcome.evaluation, task.test)


def _record(cell: AnyCell, task: BaseTask, protocol: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """How a record begins: what was trained, and by what."""
    from sesn_lib.training.counting import trained_parameters

    assert task.test is not None
    return {
        "schema": SCHEMA,
        "cell": cell.as_dict(),
        "seed": task.settings.seed,
        "protocol": protocol,
        "complete": experiment_of(cell).is_complete(protocol, len(task.test), cell),
        "parameters": trained_parameters(model),
    }


def _fit(
    cell: AnyCell, task: BaseTask, checkpoint: Checkpoint, on_epoch: Callable[[EpochReport], None] | None
) -> tuple[nn.Module, FitResult]:
    """Trains from the checkpoint if there is a usable one, else from the start."""
    from sesn_lib.provenance import seeded
    from sesn_lib.training.loop import fit

    def report(epoch: EpochReport) -> None:
        checkpoint.note(epoch.epoch, epoch.epochs)
        if on_epoch is not None:
            on_epoch(epoch)

    def attempt(state: dict[str, Any] | None) -> tuple[nn.Module, FitResult]:
        with seeded(task.settings.seed):
            model = task.build(cell.model).to(task.device)
        return model, fit(model, task, on_epoch=report, state=state, save=checkpoint.save)

    return checkpoint.resume(attempt)
