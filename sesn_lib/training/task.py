"""What is special to an experiment's training, its `Task`; and what a training reports, each epoch and at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, Self

import torch
from torch import Tensor, nn

from sesn_lib.data.splits import Split
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.settings import RunOptions, SettingsType
from sesn_lib.fast.precision import resolve
from sesn_lib.training.counting import Count
from sesn_lib.training.evaluation import Evaluation

Step = Callable[[Tensor, Tensor], Tensor]
Row = dict[str, Any]


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
