"""Training on STL-10 by the recipe of `sesn_lib.experiments.stl10`: SGD, the test images at fixed epochs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib import models
from sesn_lib.data.augment import ColourSplit, Draws, augment, normalise
from sesn_lib.data.splits import first
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.experiments.stl10 import Recipe
from sesn_lib.training.counting import Count, count
from sesn_lib.training.evaluation import Evaluation, evaluate
from sesn_lib.training.loop import fit
from sesn_lib.training.state import autocast, stream
from sesn_lib.training.task import BaseTask, FitResult, Outcome, Row, Step

__all__ = ["Task", "epoch_batches", "evaluate", "fit", "hold_out", "make_optimizer", "train_step"]

SIZE = 96


class Task(BaseTask[Recipe]):
    """Training images, of which the recipe may hold some out, and test images, uint8 [N, 3, H, H], on one device.

    Raises:
        ValueError: data that do not fit.
    """

    STREAM = "order and augmentation"
    EACH_EPOCH = False
    CPU_BATCH: ClassVar[int | None] = 4
    train: ColourSplit
    test: ColourSplit

    def __init__(self, train: ColourSplit, test: ColourSplit, settings: Recipe) -> None:
        if train.device != test.device:
            raise ValueError(
                f"training images on {train.device}, test images on {test.device}: they must be on one device"
            )
        kept, self.val = hold_out(train, settings.validation_images, settings.seed)
        super().__init__(kept, test, settings, len(train))
        self.SELECTION = settings.selection

    @classmethod
    def load(cls, cell: AnyCell, settings: Recipe, options: RunOptions, device: torch.device) -> tuple[Self, str]:
        train, checksum_train = _split("train", options, device)
        test, checksum_test = _split("test", options, device)
        task = cls(
            first(train, options.train_images, "train_images"),
            first(test, options.test_images, "test_images"),
            settings,
        )
        return task, f"train {checksum_train}, test {checksum_test}"

    @classmethod
    def noise(cls, settings: Recipe, images: int, device: torch.device) -> Self:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        split = ColourSplit(pixels.to(device), (torch.arange(images) % 10).to(device))
        return cls(split, split, settings)

    @staticmethod
    def fetch(cells: Iterable[AnyCell], options: RunOptions) -> None:
        from data_prep import stl10

        stl10.fetch(options.data, progress=options.progress)

    @staticmethod
    def build(model: str) -> nn.Module:
        return models.build(model)

    @classmethod
    def counted(cls, model: str) -> Count:
        return count(model, size=SIZE)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return make_optimizer(model, self.settings)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        return epoch_batches(self.train, self.settings, generator)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
        return lambda images, labels: train_step(model, optimizer, images, labels, self.settings)

    def evaluate(self, model: nn.Module, epoch: int) -> Row:
        if not self.settings.evaluates(epoch):
            return {}
        tested = self._evaluated(model, self.test)
        held = None if self.val is None else self._evaluated(model, self.val)
        return {
            "test_error": tested.error(),
            "test_loss": tested.loss,
            "val_accuracy": None if held is None else held.accuracy,
        }

    def _evaluated(self, model: nn.Module, split: ColourSplit) -> Evaluation:
        recipe = self.settings
        return evaluate(model, split, batch_size=recipe.eval_batch, precision=recipe.precision, normalise=normalise)

    def outcome(self, model: nn.Module, result: FitResult) -> Outcome:
        return Outcome(
            {
                "reported_epoch": result.reported_epoch,
                "test_error": result.reported["test_error"],
                "test_images": len(self.test),
                "evaluations": result.evaluations,
            }
        )


def hold_out(split: ColourSplit, count: int, seed: int) -> tuple[ColourSplit, ColourSplit | None]:
    """The split without `count` images, the same number of each class, and those images; (split, None) for 0.

    Raises:
        ValueError: count is no multiple of the number of classes, or leaves a class without training images.
    """
    if count == 0:
        return split, None
    labels = split.labels.cpu()
    classes = labels.unique().tolist()
    each, rest = divmod(count, len(classes))
    fewest = min(int((labels == label).sum()) for label in classes)
    if rest or each >= fewest:
        raise ValueError(
            f"validation_images is {count}: it must be a multiple of {len(classes)}, the number of classes, and below "
            f"{len(classes) * fewest}"
        )
    generator = torch.Generator().manual_seed(stream(seed, "held-out images"))
    held = torch.zeros(len(split), dtype=torch.bool)
    for label in classes:
        members = (labels == label).nonzero().flatten()
        held[members[torch.randperm(len(members), generator=generator)[:each]]] = True
    held = held.to(split.device)
    return split[~held], split[held]


def epoch_batches(split: ColourSplit, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (augmented, normalised images [B, 3, H, W], labels [B]), in random order.

    The last batch holds what is left. `generator` is a CPU generator, advanced by one permutation and the draws of the
    augmentation.
    """
    order = torch.randperm(len(split), generator=generator).to(split.device)
    draws = Draws.sample(len(split), generator, size=split.images.shape[-1]).to(split.device)
    for start in range(0, len(split), recipe.batch_size):
        part = slice(start, start + recipe.batch_size)
        chosen = order[part]
        images = split.images[chosen]
        if recipe.augmentation == "none":
            yield normalise(images), split.labels[chosen]
        else:
            yield augment(images, draws[part], order=recipe.augmentation), split.labels[chosen]


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, recipe: Recipe
) -> Tensor:
    """One step of the optimiser on a batch, in micro-batches if the recipe says so.

    The gradient is that of the mean loss over the batch however it is divided.
    Returns [loss summed over the batch, number correct] on the device, which is not waited for.
    """
    optimizer.zero_grad(set_to_none=True)
    totals = torch.zeros(2, device=images.device)
    size = recipe.micro_batch or len(images)
    for part, truth in zip(images.split(size), labels.split(size)):
        with autocast(images.device, recipe.precision):
            logits = model(part)
        loss = F.cross_entropy(logits.float(), truth, reduction="sum")
        (loss / len(images)).backward()
        totals += torch.stack([loss.detach(), (logits.detach().argmax(dim=1) == truth).sum()])
    optimizer.step()
    return totals


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum over all parameters, those of the norms included."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def _split(name: str, options: RunOptions, device: torch.device) -> tuple[ColourSplit, str]:
    """A split of STL-10 on the device, and the SHA-256 of images and labels."""
    from data_prep import stl10

    images, labels = stl10.load(options.data, name, progress=options.progress)
    digest = hashlib.sha256(images.data)
    digest.update(labels.data)
    return ColourSplit(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)), digest.hexdigest()
