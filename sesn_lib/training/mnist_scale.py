"""Training on MNIST-scale by the paper's protocol: Adam, cross-entropy, the weights of the best validation epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib import fast, models
from sesn_lib.data.splits import DeviceSplit, epoch_batches, first, noise, to_device
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import TEST_PART, Settings
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.fast import memory
from sesn_lib.fast.graphs import recorded
from sesn_lib.training.evaluation import Evaluation, evaluate
from sesn_lib.training.loop import Diverged, fit
from sesn_lib.training.state import autocast
from sesn_lib.training.task import BaseTask, FitResult, Outcome, Row, Step

if TYPE_CHECKING:
    from data_prep.mnist_scale import Realization

__all__ = ["Settings", "Task", "evaluate", "fit", "new_optimizer", "new_step", "train_step"]

SCALE_EDGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Task(BaseTask[Settings]):
    """Training images, those that choose the epoch, and those that test it, all on one device.

    Arguments:
        test: the test images; None where a training alone is wanted.
        factors: ``[N]``, the scale factors of the test images.

    Raises:
        ValueError: data that do not fit.
    """

    STREAM = "order and factors"
    EACH_EPOCH = True
    SAVE_EVERY: ClassVar[int] = 5

    def __init__(
        self,
        train: DeviceSplit,
        val: DeviceSplit,
        settings: Settings,
        *,
        test: DeviceSplit | None = None,
        factors: np.ndarray | None = None,
    ) -> None:
        super().__init__(train, test, settings, len(train))
        self.val, self.factors = val, factors
        _check_data(train, val, settings)

    @classmethod
    def load(cls, cell: AnyCell, settings: Settings, options: RunOptions, device: torch.device) -> tuple[Self, str]:
        data = None if options.data is None else str(options.data)
        splits = load_realization(data, cell.repetition, settings.DATA, options.progress)
        train = first(to_device(splits.train, device), options.train_images, "train_images")
        test = first(to_device(splits.test, device), options.test_images, "test_images")
        val = to_device(splits.val, device)
        return cls(train, val, settings, test=test, factors=splits.test.factors[: len(test)]), splits.checksum

    @classmethod
    def noise(cls, settings: Settings, images: int, device: torch.device) -> Self:
        split = noise(images, device)
        return cls(split, split.first(2), settings)

    @staticmethod
    def fetch(cells: Iterable[AnyCell], options: RunOptions) -> None:
        from data_prep.mnist_scale import prepare

        for realization in sorted({cell.repetition for cell in cells}):
            prepare(options.data, realization, Settings.DATA, progress=options.progress)

    @staticmethod
    def build(model: str) -> nn.Module:
        return fast.accelerate(models.build(model))

    def around(self) -> AbstractContextManager[Any]:
        return memory.kept()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return new_optimizer(model, self.settings.learning_rate)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        assert isinstance(self.train, DeviceSplit)
        return epoch_batches(self.train, self.settings.batch_size, generator, self.settings.extra_scaling)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
        return new_step(model, optimizer, self.settings.precision, self.device)

    def evaluate(self, model: nn.Module, epoch: int) -> Row:
        validation = self._evaluated(model, self.val)
        return {"val_loss": validation.loss, "val_accuracy": validation.accuracy}

    def outcome(self, model: nn.Module, result: FitResult) -> Outcome:
        best, last = self._test(model, result)
        return Outcome(
            {
                "best_epoch": result.reported_epoch,
                "val_accuracy": result.reported["val_accuracy"],
                **_test_errors(best),
                "last_epoch": _test_errors(last),
                "test_images": len(best.correct),
                "correct": encode(best.correct.tolist()),
                "by_scale": _by_scale(self.factors, best.correct.numpy()),
            },
            best,
        )

    def _test(self, model: nn.Module, result: FitResult) -> tuple[Evaluation, Evaluation]:
        """The weights of the best epoch and those of the last one on the test images; `model` keeps the former."""
        assert self.test is not None
        best = self._evaluated(model, self.test)
        if not math.isfinite(best.loss):
            raise Diverged(f"the test loss is {best.loss}: it must be finite")
        if result.reported_epoch == len(result.history):
            return best, best
        model.load_state_dict(result.last_state)
        last = self._evaluated(model, self.test)
        model.load_state_dict(result.best_state)
        return best, last

    def _evaluated(self, model: nn.Module, split: Any) -> Evaluation:
        return evaluate(model, split, batch_size=self.settings.eval_batch, precision=self.settings.precision)


def new_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam in its fused form; on a GPU one that a graph can hold."""
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True, capturable=on_gpu)


def new_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: str, device: torch.device, *, graph: bool = True
) -> Step:
    """`train_step` of (images, labels); as a graph where the device has such, good while the learning rate stays."""

    def step(images: Tensor, labels: Tensor) -> Tensor:
        return train_step(model, optimizer, images, labels, precision)

    return recorded(step, device) if graph else step


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, precision: str
) -> Tensor:
    """One step of Adam; returns ``[loss summed over the batch, number correct]`` without waiting for the device."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(images.device, precision):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
    loss.backward()
    optimizer.step()
    return torch.stack([loss.detach() * len(labels), (logits.detach().argmax(dim=1) == labels).sum()])


def _check_data(train: DeviceSplit, val: DeviceSplit, settings: Settings) -> None:
    if train.device != val.device:
        raise ValueError(f"training images on {train.device}, validation images on {val.device}: must be on one device")
    if not len(val):
        raise ValueError("there are 0 validation images, must be at least 1")
    count, batch = len(train), settings.batch_size
    if count < 2:
        raise ValueError(f"the number of training images is {count}: it must be at least 2")
    if count % batch == 1:  # batch normalisation needs two
        raise ValueError(f"{count} training images in batches of {batch} leave a last batch of one: use {count - 1}")


def _test_errors(evaluation: Evaluation) -> dict[str, float]:
    """In percent, on all test images and on the first 48,000."""
    return {
        "test_error_50k": evaluation.error(),
        "test_error_48k": evaluation.error(min(TEST_PART, len(evaluation.correct))),
    }


def _by_scale(factors: Any, correct: np.ndarray) -> dict[str, list[float]]:
    """Images and errors counted by the digit's scale factor: `edges` (n + 1), `images` and `errors` (n each)."""
    images, edges = np.histogram(factors, SCALE_EDGES)
    errors, _ = np.histogram(factors[~correct], SCALE_EDGES)
    return {"edges": edges.tolist(), "images": images.tolist(), "errors": errors.tolist()}


@lru_cache(maxsize=2)
def load_realization(root: str | None, realization: int, protocol: str, progress: bool) -> Realization:
    from data_prep.mnist_scale import prepare

    return prepare(root, realization, protocol, progress=progress)
