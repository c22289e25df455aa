"""What decides a training run, apart from model and data: one validated, frozen object. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sesn_lib.checks import check_choice, check_epochs, check_number, check_whole

__all__ = [
    "PRECISIONS",
    "PRECISION_CHOICES",
    "DeviceError",
    "Settings",
    "check_device",
    "check_threads",
]

PRECISIONS = ("float32", "bf16")
PRECISION_CHOICES = ("auto", *PRECISIONS)
MOST_THREADS = 1024


class DeviceError(ValueError):
    """There is no such device here, so that no run can be made on it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The protocol by default. Raises ValueError on construction, naming the value and what would be right.

    `milestones`: the learning rate is multiplied by `gamma` after these epochs. `extra_scaling`: e of the scale
    augmentation, 1 for none. `precision`: ``float32``, ``bf16`` for bfloat16 autocast (weights, loss and optimiser
    stay float32), or ``auto`` (`precision.resolve`). `eval_batch`: images a batch in evaluation.
    """

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.01
    milestones: tuple[int, ...] = (20, 40)
    gamma: float = 0.1
    extra_scaling: float = 1.0
    precision: str = "float32"
    seed: int = 0
    eval_batch: int = 1000

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, batch_size=self.batch_size, eval_batch=self.eval_batch)
        check_whole(0, seed=self.seed)
        if self.batch_size == 1:
            raise ValueError("batch_size is 1: it must be at least 2, batch normalisation needs more than one image")
        check_number(0, learning_rate=self.learning_rate, gamma=self.gamma)
        check_number(0, most=1, extra_scaling=self.extra_scaling)
        check_choice(PRECISION_CHOICES, precision=self.precision)
        object.__setattr__(self, "milestones", check_epochs("milestones", self.milestones))

    def shortened(self, epochs: int) -> Settings:
        """Another number of epochs, the learning rate's steps at a third and two thirds of it: not the protocol."""
        check_whole(epochs=epochs)
        steps = sorted({round(epochs / 3), round(2 * epochs / 3)})
        return replace(self, epochs=epochs, milestones=tuple(step for step in steps if 1 <= step < epochs))

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate that epoch 1, 2, ... is trained with."""
        rate = self.learning_rate
        for milestone in self.milestones:
            if milestone < epoch:
                rate *= self.gamma
        return rate


def check_device(name: str) -> tuple[str, str]:
    """The kind and the number (empty for none) in ``cpu``, ``cuda`` or ``cuda:N``; raises DeviceError for others."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (name != kind and not (kind == "cuda" and index.isdecimal())):
        raise DeviceError(f"device is {name!r}: it must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    return kind, index


def check_threads(value: Any) -> None:
    """Raises ValueError unless `value` is a number of processor threads that can be started."""
    check_whole(most=MOST_THREADS, threads=value)
