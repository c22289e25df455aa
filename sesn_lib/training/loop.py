"""The training loop, for every experiment. Knows no paths and no grid; what is special to one is its `Task`.

All randomness follows the settings' seed: the same settings on the same machine give the same weights bit for bit on
the CPU, also when a run is interrupted and taken up again from a saved state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn

from sesn_lib.checks import check_whole
from sesn_lib.training.state import State, capture, check_same, forked, restore, stream, to_cpu
from sesn_lib.training.task import BaseTask, EpochReport, FitResult, Row, Step


class Diverged(RuntimeError):
    """The loss was not finite at the end of an epoch."""


def fit(
    model: nn.Module,
    task: BaseTask,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    save_every: int | None = None,
) -> FitResult:
    """Trains `model` in place, on the task's device; leaves it in evaluation mode with the reported epoch's weights.

    Initial weights are the caller's (seed before building the model). Global random state is the same after as before.

    Arguments:
        on_epoch: called after every epoch, and after `save` if both are due; it may raise to stop the run.
        state: what `save` was once given; the run goes on from there and ends as if never interrupted. `model` must be
            of the same kind.
        save: called with the complete state (CPU tensors, numbers, strings; ``torch.load(weights_only=True)`` reads it)
            every `save_every` epochs and after the last.
        save_every: None for every epoch on a CPU, and as the task says on a GPU.

    Raises:
        Diverged: a loss is not finite at the end of an epoch.
        ValueError: a state that does not fit, `save_every` below 1.
    """
    device, epochs = task.device, task.settings.epochs
    every = (1 if device.type == "cpu" else task.SAVE_EVERY) if save_every is None else save_every
    check_whole(save_every=every)
    model.to(device)
    with forked(device), task.around():
        run = _Run(model, task)
        if state is not None:
            run.load(state)
        while run.epoch < epochs:
            report = run.train_epoch()
            if save is not None and (run.epoch % every == 0 or run.epoch == epochs):
                save(run.state())
            if on_epoch is not None:
                on_epoch(report)
    last_state = to_cpu(model.state_dict())
    if task.SELECTION == "validation":
        model.load_state_dict(run.best_state)
    model.eval()
    reported = run.reported()
    best_state = run.best_state or last_state
    return FitResult(reported["epoch"], reported, run.history, run.evaluations, best_state, last_state)


class _Run:
    """All that changes in the course of a training."""

    def __init__(self, model: nn.Module, task: BaseTask) -> None:
        self.model, self.task = model, task
        self.optimizer = task.optimizer(model)
        self.step: Step | None = None
        self.generator = torch.Generator().manual_seed(stream(task.settings.seed, task.STREAM))
        torch.manual_seed(stream(task.settings.seed, "dropout"))
        self.epoch = 0
        self.best_state: dict[str, Tensor] = {}
        self.history: list[Row] = []
        self.evaluations: list[Row] = []

    def reported(self) -> Row:
        """What was measured after the epoch that is the result by now."""
        rows = self.history if self.task.EACH_EPOCH else self.evaluations
        if self.task.SELECTION == "final":
            return rows[-1]
        return max(rows, key=lambda row: row["val_accuracy"])

    def train_epoch(self) -> EpochReport:
        """Trains one epoch, evaluates if it is time, and brings everything up to date."""
        task, epoch, start = self.task, self.epoch + 1, time.perf_counter()
        rate = task.settings.learning_rate_in(epoch)
        step = self._step_at(rate)
        self.model.train()
        # Summed loss and number correct stay on the device and are read once an epoch: a GPU is never waited for.
        totals = torch.zeros(2, dtype=torch.float64, device=task.device)
        for images, labels in task.batches(self.generator):
            totals += step(images, labels)
        loss, accuracy = (totals / len(task.train)).tolist()
        check_finite("training", loss, epoch, rate)
        seconds = time.perf_counter() - start
        measured = task.evaluate(self.model, epoch)
        for kind, name in (("validation", "val_loss"), ("test", "test_loss")):
            check_finite(kind, measured.get(name, 0.0), epoch, rate)
        row: Row = {"epoch": epoch, "learning_rate": rate, "train_loss": loss, "train_accuracy": accuracy}
        if task.EACH_EPOCH:
            row |= measured
            seconds = time.perf_counter() - start
        elif measured:
            self.evaluations.append({"epoch": epoch, **measured})
        self.history.append({**row, "seconds": seconds})
        self.epoch = epoch
        if measured and task.SELECTION == "validation" and self.reported()["epoch"] == epoch:
            self.best_state = to_cpu(self.model.state_dict())
        best = self.reported()["epoch"] if measured else None
        said = {**row, **measured, "seconds": seconds, "epochs": task.settings.epochs, "best_epoch": best}
        return EpochReport(**said)

    def _step_at(self, rate: float) -> Step:
        """The training step with this learning rate; a recording holds for one rate."""
        if self.step is None or any(group["lr"] != rate for group in self.optimizer.param_groups):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.step = self.task.step(self.model, self.optimizer)
        return self.step

    def state(self) -> State:
        return {
            "settings": asdict(self.task.settings),
            "train_images": self.task.images,
            "epoch": self.epoch,
            **capture(self.model, self.optimizer, self.generator, self.task.device),
            "best_state": dict(self.best_state),
            "history": [dict(row) for row in self.history],
            "evaluations": [dict(row) for row in self.evaluations],
        }

    def load(self, state: State) -> None:
        try:
            saved = {**state["settings"], "train_images": state["train_images"]}
            check_same(saved, {**asdict(self.task.settings), "train_images": self.task.images})
            restore(state, self.model, self.optimizer, self.generator, self.task.device)
            self.epoch, self.best_state = state["epoch"], dict(state["best_state"])
            self.history = [dict(row) for row in state["history"]]
            if not self.task.EACH_EPOCH:
                self.evaluations = [dict(row) for row in state["evaluations"]]
        except KeyError as error:
            raise ValueError(f"the saved state lacks {error.args[0]!r}, must come from `save`") from error


def check_finite(which: str, loss: float, epoch: int, rate: float) -> None:
    """Raises Diverged for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} after epoch {epoch}: it must be finite (learning rate {rate:g})")
