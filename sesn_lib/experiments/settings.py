"""What decides a training run, apart from model and data: validated, frozen objects. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from sesn_lib.checks import (
    PRECISION_CHOICES,
    check_choice,
    check_device,
    check_epochs,
    check_flag,
    check_number,
    check_threads,
    check_whole,
)

CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class BaseSettings(ABC):
    """What the settings of every experiment have; each has a subclass with its protocol as the defaults.

    Attributes:
        epochs, batch_size: the last batch of an epoch holds what is left.
        learning_rate: multiplied by `gamma` after each of the epochs `milestones`.
        precision: "float32", "bf16" for bfloat16 autocast (weights, loss and optimiser stay float32), or "auto"
            (`fast.precision.resolve`).
        seed: of all that is drawn in training.
        eval_batch: images at a time in evaluation.
        DATA: the word by which records name the data.
        OPTIMIZER: likewise the optimiser.

    Raises:
        ValueError: an impossible value, named, with what would be right.
    """

    DATA: ClassVar[str]
    OPTIMIZER: ClassVar[str]

    epochs: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...]
    gamma: float
    precision: str = "float32"
    seed: int = 0
    eval_batch: int = 1000

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, batch_size=self.batch_size, eval_batch=self.eval_batch)
        check_whole(0, seed=self.seed)
        check_number(0, learning_rate=self.learning_rate, gamma=self.gamma)
        check_choice(PRECISION_CHOICES, precision=self.precision)
        object.__setattr__(self, "milestones", check_epochs("milestones", self.milestones))

    def shortened(self, epochs: int) -> Self:
        """Another number of epochs, the learning rate's steps at the same fractions of them: not the protocol."""
        check_whole(epochs=epochs)
        return replace(self, epochs=epochs, milestones=self._scaled(self.milestones, epochs))

    def _scaled(self, marks: tuple[int, ...], epochs: int) -> tuple[int, ...]:
        """The same fractions of another number of epochs, as far as they fall between the first and the last."""
        return tuple(sorted({round(mark * epochs / self.epochs) for mark in marks} & set(range(1, epochs))))

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate that epoch 1, 2, ... is trained with."""
        return self.learning_rate * self.gamma ** sum(milestone < epoch for milestone in self.milestones)

    def protocol(self, train_images: int) -> dict[str, Any]:
        """What a record says of the settings; `train_images` counts those that are trained on."""
        return {
            "data": self.DATA,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.OPTIMIZER,
            "learning_rate": self.learning_rate,
            "milestones": list(self.milestones),
            "gamma": self.gamma,
            "train_images": train_images,
            "precision": self.precision,
        }


SettingsType = TypeVar("SettingsType", bound=BaseSettings)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What may be asked of a run, of any experiment, from the command line down to the training of a cell.

    Attributes:
        epochs, batch_size: other than the protocol's; the record then says `complete: false`.
        train_images, test_images: use only so many, the first of their split; likewise.
        micro_batch, small_memory: for experiments whose settings know of them; see `stl10.Recipe`.
        precision: "float32", "bf16", or "auto": what `fast.precision.resolve` says, which the record then holds.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of torch, on a CPU; None leaves their number.
        data: the data folder; None for the default one. Missing data are fetched and made.
        checkpoints: folder for the checkpoints of unfinished runs; None for none.
        checkpoint_seconds: the least time between two checkpoints.
        weights: folder in which trained weights are kept; None keeps none.
        progress: whether fetching and making data show a bar.

    Raises:
        ValueError: an impossible value, named. What depends on the experiment is checked by `Experiment.check`.
    """

    epochs: int | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    small_memory: bool = False
    train_images: int | None = None
    test_images: int | None = None
    precision: str = "float32"
    device: str = "auto"
    threads: int | None = None
    data: str | Path | None = None
    checkpoints: str | Path | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    weights: str | Path | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        check_choice(PRECISION_CHOICES, precision=self.precision)
        check_flag(small_memory=self.small_memory, progress=self.progress)
        check_number(least=0, checkpoint_seconds=self.checkpoint_seconds)
        if self.device != "auto":
            check_device(self.device)
        if self.threads is not None:
            check_threads(self.threads)

    @property
    def shortened(self) -> bool:
        """Whether something other than the protocol's is asked for."""
        asked = (self.epochs, self.batch_size, self.micro_batch, self.train_images, self.test_images)
        return any(value is not None for value in asked)
