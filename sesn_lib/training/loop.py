"""The training loop, for every experiment. Knows no paths and no grid; what is special to one is its `Task`.

All randomness follows the settings' seed: the same settings on the same machine give the same weights bit for bit on
the CPU, also when a run is interrupted and taken up again from a saved state.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, Self

import torch
from torch import Tensor, nn

from sesn_lib.checks import check_whole
from sesn_lib.data.splits import Split
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.settings import RunOptions, SettingsType
from sesn_lib.fast.precision import resolve
from sesn_lib.training.counting import Count
from sesn_lib.training.evaluation import Evaluation
from sesn_lib.training.state import State, capture, check_same, forked, restore, stream, to_cpu

Step = Callable[[Tensor, Tensor], Tensor]
Row = dict[str, Any]


class Diverged(RuntimeError):
    """The loss was not finite at the end of an epoch."""


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch; what was not evaluated after it is None.

    Training loss and accuracy are a mean over images and a fraction, taken while the weights change; validation
    accuracy is a fraction, the test error a percentage. `best_epoch`: whose weights would be the result by now.
    """

    epoch: int
    epochs: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    seconds: float
    best_epoch: int | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_error: float | None = None

    def row(self) -> Row:
        """What was measured, as a run's history has it."""
        left_out = ("epochs", "best_epoch")
        return {key: value for key, value in asdict(self).items() if key not in left_out and value is not None}


@dataclass(frozen=True, eq=False)
class FitResult:
    """How a training ended.

    Attributes:
        reported_epoch: whose weights the model has and are the result; counts from 1.
        reported: what was measured after it: `val_accuracy`, a fraction, and what else the task evaluates.
        history: a dictionary an epoch.
        evaluations: a dictionary an evaluated epoch, of a task whose evaluations are not in the history.
        best_state, last_state: weights of the reported and of the last epoch, on the CPU.
    """

    reported_epoch: int
    reported: Row
    history: list[Row]
    evaluations: list[Row]
    best_state: dict[str, Tensor]
    last_state: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a record says of the finished training, `test_images` included, beside the history; its test, where that
    comes after the training."""

    says: Row
    evaluation: Evaluation | None = None


class BaseTask(ABC, Generic[SettingsType]):
    """One training: its data on a device, and what is done with them. Each experiment has a subclass, named `Task`.

    Attributes:
        train: the images that are trained on.
        test: those that the result is tested on; None where a training alone is wanted.
        images: how many training images were handed in, some of which may be held out.
        STREAM: purpose of the random numbers for the batches; the seed of their generator follows from it.
        EACH_EPOCH: whether what `evaluate` measures belongs to each epoch, to its row in the history and its seconds;
            it is a list apart, the evaluations, otherwise.
        SELECTION: "validation" if the weights of the evaluated epoch with the best validation accuracy, the first of
            equals, are the result; "final" if those of the last epoch are.
        SAVE_EVERY: epochs between two states that are handed out on a GPU, where taking one costs time.
        CPU_BATCH: images a step when its speed is measured on a CPU, where a full batch would take minutes; None for
            a full batch.
    """

    STREAM: ClassVar[str]
    EACH_EPOCH: ClassVar[bool]
    SAVE_EVERY: ClassVar[int] = 1
    CPU_BATCH: ClassVar[int | None] = None
    SELECTION: str = "validation"

    def __init__(self, train: Split, test: Split | None, settings: SettingsType, images: int) -> None:
        self.train, self.test, self.images = train, test, images
        self.settings = replace(settings, precision=resolve(settings.precision, train.device))

    @property
    def device(self) -> torch.device:
        return self.train.device

    # From a cell to its task

    @classmethod
    @abstractmethod
    def load(cls, cell: AnyCell, settings: SettingsType, options: RunOptions, device: torch.device) -> tuple[Self, str]:
        """The task of a cell, its data on the device, and their checksum.

        Raises:
            DataError: there are no data.
        """

    @classmethod
    @abstractmethod
    def noise(cls, settings: SettingsType, images: int, device: torch.device) -> Self:
        """The task on random images, always the same, to see how fast it is."""

    @staticmethod
    @abstractmethod
    def fetch(cells: Iterable[AnyCell], options: RunOptions) -> None:
        """Gets ready what the cells need, before several processes would each want to.

        Raises:
            DataError: they cannot be had.
        """

    @staticmethod
    @abstractmethod
    def build(model: str) -> nn.Module:
        """The network as it is trained, its weights drawn from the global random state."""

    # Training

    @abstractmethod
    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """A new optimiser of all parameters."""

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of (the model's input, labels), in random order, from a CPU generator."""

    @abstractmethod
    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
        """One step on (input, labels), giving [loss summed over the batch, number correct] without waiting for the
        device; good while the learning rate stays."""

    @abstractmethod
    def evaluate(self, model: nn.Module, epoch: int) -> Row:
        """What is measured after an epoch, under the names of `EpochReport`; nothing if it is not time."""

    @abstractmethod
    def outcome(self, model: nn.Module, result: FitResult) -> Outcome:
        """What a record says of the trained model."""

    def around(self) -> AbstractContextManager[Any]:
        """Entered for the time of a training."""
        return nullcontext()

    @classmethod
    def counted(cls, model: str) -> Count | None:
        """The arithmetic of a network, where it can be counted."""
        return None


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
