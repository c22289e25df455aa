"""One cell of the experiment, from data to record.

torch and the data sets are imported when a cell is run, not before: the command line starts fast, and the runner can be
tested without them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sesn_lib.checks import check_whole
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import PROTOCOL, TEST_PART, Cell, is_complete
from sesn_lib.experiments.settings import Settings
from sesn_lib.store.checkpoint import CHECKPOINT_SECONDS, Checkpoint, Interrupted
from sesn_lib.store.records import now
from sesn_lib.store.schema import SCHEMA

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from data_prep.mnist_scale import Realization
    from sesn_lib.data.splits import DeviceSplit
    from sesn_lib.training.mnist_scale import EpochReport, Evaluation, FitResult

__all__ = ["Interrupted", "Trained", "run_cell", "settings_of", "train_cell"]

log = logging.getLogger(__name__)

SCALE_EDGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Trained:
    """What `train_cell` returns.

    Attributes:
        record: as the store keeps it.
        model: with the weights of the best validation epoch, on the device.
        evaluation: its predictions on the test images.
        test: the test images and labels.
    """

    record: dict[str, Any]
    model: nn.Module
    evaluation: Evaluation
    test: DeviceSplit


def settings_of(
    cell: Cell, *, epochs: int | None = None, batch_size: int | None = None, precision: str = "float32"
) -> Settings:
    """The protocol for a cell; with another number of epochs the steps of the learning rate come at 1/3 and 2/3 of it.

    Raises:
        ValueError: an impossible value.
    """
    from sesn_lib.provenance import cell_seed

    settings = Settings(extra_scaling=cell.extra_scaling, precision=precision, seed=cell_seed(cell))
    if batch_size is not None:
        settings = replace(settings, batch_size=batch_size)
    return settings if epochs is None or epochs == settings.epochs else settings.shortened(epochs)


def run_cell(cell: Cell, *, weights: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """Trains and tests one cell; returns its record.

    Arguments:
        weights: folder in which the trained weights are kept (`weights.save`); None keeps none. A folder that cannot
            be written in the end costs the weights, not the record.
        options: those of `train_cell`.
    """
    trained = train_cell(cell, **options)
    if weights is not None:
        from sesn_lib.store.weights import save

        try:
            save(weights, trained.model, trained.record)
        except OSError as error:
            log.warning("%s: its weights are not kept in %s: %s", cell, weights, error.strerror or error)
    return trained.record


def train_cell(
    cell: Cell,
    *,
    epochs: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    device: str = "auto",
    threads: int | None = None,
    data: str | Path | None = None,
    checkpoints: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: bool = False,
    on_epoch: Callable[[EpochReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Trains one cell by the protocol, tests the weights of its best validation epoch, and writes down how it went.

    The seed is a function of the cell's name; on a CPU the result is the same each time, interrupted or not.

    Arguments:
        epochs, batch_size: other than the protocol's; the record then says `complete: false`.
        train_images, test_images: use only so many, the first of their split; likewise.
        precision: "float32", "bf16" (autocast), or "auto": what `precision.resolve` says, which the record then holds.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of torch, on a CPU.
        data: the data folder; None for the default one. Missing data are fetched and made.
        checkpoints: folder for the cell's checkpoint; None for none. It is taken up if there is one, and removed by
            `Checkpoint.discard` once the caller has stored the record.
        checkpoint_seconds: the least time between two checkpoints.
        progress: whether fetching and making data show a bar.
        on_epoch: called after each epoch.
        stop: asked after each epoch, on a GPU after every fifth, whether to stop, which raises Interrupted once a
            checkpoint is written.

    Raises:
        ValueError: an impossible value, an absent device.
        DataError: no data.
        Diverged: the loss is not finite.
        Interrupted: `stop` said so.
    """
    from sesn_lib import provenance
    from sesn_lib.data.splits import to_device
    from sesn_lib.fast import precision as precisions

    start = time.perf_counter()
    provenance.use_threads(threads)
    target = provenance.resolve_device(device)
    precision = precisions.resolve(precision, target)
    environment = provenance.environment(target)  # now, not in hours: of the code that runs
    settings = settings_of(cell, epochs=epochs, batch_size=batch_size, precision=precision)
    splits = _realization(None if data is None else str(data), cell.realization, PROTOCOL["data"], progress)
    train = _first(to_device(splits.train, target), train_images, "train_images")
    val = to_device(splits.val, target)
    test = _first(to_device(splits.test, target), test_images, "test_images")
    protocol = {
        "data": PROTOCOL["data"],
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "optimizer": "Adam",
        "learning_rate": settings.learning_rate,
        "milestones": list(settings.milestones),
        "gamma": settings.gamma,
        "weight_decay": 0.0,
        "train_images": len(train),
        "precision": precision,
    }
    identity = {"cell": cell.as_dict(), "protocol": protocol, "data": splits.checksum, "device_type": target.type}
    checkpoint = Checkpoint(checkpoints, cell, identity, every=checkpoint_seconds, stop=stop)
    model, result = _fit(cell, settings, train, val, checkpoint, on_epoch, save_every=1 if target.type == "cpu" else 5)
    before_test = time.perf_counter()
    evaluation, last = _test(model, result, test, settings)
    finished = time.perf_counter()
    record = {
        "schema": SCHEMA,
        "cell": cell.as_dict(),
        "seed": settings.seed,
        "protocol": protocol,
        "complete": is_complete(protocol, len(test)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "best_epoch": result.best_epoch,
        "val_accuracy": result.val_accuracy,
        **_test_errors(evaluation),
        "last_epoch": _test_errors(last),
        "test_images": len(test),
        "correct": encode(evaluation.correct.tolist()),
        "by_scale": _by_scale(splits.test.factors[: len(test)], evaluation.correct.numpy()),
        "history": result.history,
        "data_checksum": splits.checksum,
        "environment": environment,
        "timing": {
            "train_seconds": sum(epoch["seconds"] for epoch in result.history),
            "evaluation_seconds": finished - before_test,
            "wall_seconds": checkpoint.seconds_before + finished - start,
            "finished": now(),
        },
    }
    return Trained(record, model, evaluation, test)


def _test(model: nn.Module, result: FitResult, test: DeviceSplit, settings: Settings) -> tuple[Evaluation, Evaluation]:
    """The weights of the best epoch and those of the last one on the test images; `model` keeps the former."""
    from sesn_lib.training.mnist_scale import Diverged, evaluate

    best = evaluate(model, test, batch_size=settings.eval_batch, precision=settings.precision)
    if not math.isfinite(best.loss):
        raise Diverged(f"the test loss is {best.loss}: it must be finite")
    if result.best_epoch == len(result.history):
        return best, best
    model.load_state_dict(result.last_state)
    last = evaluate(model, test, batch_size=settings.eval_batch, precision=settings.precision)
    model.load_state_dict(result.best_state)
    return best, last


def _test_errors(evaluation: Evaluation) -> dict[str, float]:
    """In percent, on all test images and on the first 48,000."""
    return {
        "test_error_50k": evaluation.error(),
        "test_error_48k": evaluation.error(min(TEST_PART, len(evaluation.correct))),
    }


def _by_scale(factors: np.ndarray, correct: np.ndarray) -> dict[str, list[float]]:
    """Images and errors counted by the digit's scale factor: `edges` (n + 1), `images` and `errors` (n each)."""
    import numpy as np

    images, edges = np.histogram(factors, SCALE_EDGES)
    errors, _ = np.histogram(factors[~correct], SCALE_EDGES)
    return {"edges": edges.tolist(), "images": images.tolist(), "errors": errors.tolist()}


def _fit(
    cell: Cell,
    settings: Settings,
    train: DeviceSplit,
    val: DeviceSplit,
    checkpoint: Checkpoint,
    on_epoch: Callable[[EpochReport], None] | None,
    save_every: int,
) -> tuple[nn.Module, FitResult]:
    """Trains from the checkpoint if there is a usable one, else from the start."""
    from sesn_lib import fast, models
    from sesn_lib.provenance import seeded
    from sesn_lib.training.mnist_scale import fit

    def report(epoch: EpochReport) -> None:
        checkpoint.note(epoch.epoch, epoch.epochs)
        if on_epoch is not None:
            on_epoch(epoch)

    def attempt(state: dict[str, Any] | None) -> tuple[nn.Module, FitResult]:
        with seeded(settings.seed):
            model = fast.accelerate(models.build(cell.model)).to(train.device)
        result = fit(
            model, train, val, settings, on_epoch=report, state=state, save=checkpoint.save, save_every=save_every
        )
        return model, result

    return checkpoint.resume(attempt)


@lru_cache(maxsize=2)
def _realization(root: str | None, realization: int, protocol: str, progress: bool) -> Realization:
    from data_prep.mnist_scale import prepare

    return prepare(root, realization, protocol, progress=progress)


def _first(split: DeviceSplit, count: int | None, name: str) -> DeviceSplit:
    if count is None:
        return split
    check_whole(most=len(split), **{name: count})
    return split.first(count)
