"""One run of the STL-10 experiment, from data to record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sesn_lib.experiments.stl10 import Recipe, STL10Cell, is_complete
from sesn_lib.store.checkpoint import Checkpoint
from sesn_lib.store.records import now
from sesn_lib.store.schema import SCHEMA

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sesn_lib.data.augment import ColourSplit
    from sesn_lib.training.stl10 import EpochReport, FitResult

__all__ = ["run_cell"]


def run_cell(
    cell: STL10Cell,
    *,
    recipe: Recipe | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    data: str | Path | None = None,
    checkpoints: str | Path | None = None,
    progress: bool = False,
    on_epoch: Callable[[EpochReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains and tests one model on STL-10; returns the record. On a CPU the result is the same each time.

    Arguments:
        recipe: None for the authors'; its seed gives way to that of the cell's name.
        train_images, test_images: use only the first of their split; the record then says `complete: false`.
        device, threads, data, checkpoints, progress, on_epoch, stop: as of `execution.train_cell`.

    Raises:
        ValueError: an impossible value, an absent device.
        DataError: no data.
        Diverged: the loss is not finite.
        Interrupted: `stop` said so.
    """
    from sesn_lib import provenance
    from sesn_lib.fast import precision

    start = time.perf_counter()
    provenance.use_threads(threads)
    target = provenance.resolve_device(device)
    environment = provenance.environment(target)  # now, not in hours: of the code that runs
    recipe = recipe or Recipe()
    recipe = replace(recipe, seed=provenance.cell_seed(cell), precision=precision.resolve(recipe.precision, target))
    train, checksum_train = _split(data, "train", train_images, target, progress)
    test, checksum_test = _split(data, "test", test_images, target, progress)
    protocol = recipe.protocol(len(train) - recipe.validation_images)
    checksum = f"train {checksum_train}, test {checksum_test}"
    identity = {"cell": cell.as_dict(), "protocol": protocol, "data": checksum, "device_type": target.type}
    checkpoint = Checkpoint(checkpoints, cell, identity, stop=stop)
    model, result = _fit(cell, recipe, train, test, checkpoint, on_epoch)
    return {
        "schema": SCHEMA,
        "cell": cell.as_dict(),
        "seed": recipe.seed,
        "protocol": protocol,
        "complete": is_complete(protocol, len(test)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "reported_epoch": result.reported_epoch,
        "test_error": result.test_error,
        "test_images": len(test),
        "evaluations": result.evaluations,
        "history": result.history,
        "data_checksum": checksum,
        "environment": environment,
        "timing": {
            "train_seconds": sum(epoch["seconds"] for epoch in result.history),
            "wall_seconds": checkpoint.seconds_before + time.perf_counter() - start,
            "finished": now(),
        },
    }


def _split(
    folder: str | Path | None, name: str, count: int | None, device: torch.device, progress: bool
) -> tuple[ColourSplit, str]:
    """A split of STL-10 on the device, its first `count` images or all, and the SHA-256 of images and labels."""
    import torch

    from data_prep import stl10
    from sesn_lib.data.augment import ColourSplit

    images, labels = stl10.load(folder, name, progress=progress)
    digest = hashlib.sha256(images.data)
    digest.update(labels.data)
    split = ColourSplit(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))
    return split if count is None else split.first(count), digest.hexdigest()


def _fit(
    cell: STL10Cell,
    recipe: Recipe,
    train: ColourSplit,
    test: ColourSplit,
    checkpoint: Checkpoint,
    on_epoch: Callable[[EpochReport], None] | None,
) -> tuple[nn.Module, FitResult]:
    from sesn_lib import models
    from sesn_lib.provenance import seeded
    from sesn_lib.training.stl10 import fit

    def report(epoch: EpochReport) -> None:
        checkpoint.note(epoch.epoch, epoch.epochs)
        if on_epoch is not None:
            on_epoch(epoch)

    def attempt(state: dict[str, Any] | None) -> tuple[nn.Module, FitResult]:
        with seeded(recipe.seed):
            model = models.build(cell.model).to(train.device)
        return model, fit(model, train, test, recipe, on_epoch=report, state=state, save=checkpoint.save)

    return checkpoint.resume(attempt)
