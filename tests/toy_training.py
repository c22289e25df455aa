"""How the networks of `toy_experiment` are trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_experiment import BarCell

from sesn_lib.data.splits import DeviceSplit, first
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.settings import BaseSettings, RunOptions
from sesn_lib.training.evaluation import evaluate
from sesn_lib.training.task import BaseTask, FitResult, Outcome, Row, Step


def bars(count: int, noise: int, seed: int) -> DeviceSplit:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, noise + 1, (count, 10, 10), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    images[torch.arange(count), labels] += 100
    return DeviceSplit(images, labels)


def pixels(images: Tensor) -> Tensor:
    return images.float() / 255


class Task(BaseTask):
    STREAM = "order of bars"
    EACH_EPOCH = True
    train: DeviceSplit
    test: DeviceSplit

    @classmethod
    def load(cls, cell: AnyCell, settings: BaseSettings, options: RunOptions, device: torch.device) -> tuple[Self, str]:
        assert isinstance(cell, BarCell)
        train = first(bars(40, cell.noise, cell.draw), options.train_images, "train_images")
        test = first(bars(20, cell.noise, cell.draw + 100), options.test_images, "test_images")
        return cls(train, test, settings, len(train)), f"bars of draw {cell.draw}"

    @classmethod
    def noise(cls, settings: BaseSettings, images: int, device: torch.device) -> Self:
        return cls(bars(images, 100, 0), bars(2, 100, 1), settings, images)

    @staticmethod
    def fetch(cells: Iterable[AnyCell], options: RunOptions) -> None:
        """There is nothing to fetch."""

    @staticmethod
    def build(model: str) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(100, 10, bias=model == "bar_large"))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=self.settings.learning_rate)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.randperm(len(self.train), generator=generator).split(self.settings.batch_size):
            yield pixels(self.train.images[chosen]), self.train.labels[chosen]

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
        def step(images: Tensor, labels: Tensor) -> Tensor:
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            return torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])

        return step

    def evaluate(self, model: nn.Module, epoch: int) -> Row:
        found = evaluate(model, self.train, normalise=pixels)
        return {"val_loss": found.loss, "val_accuracy": found.accuracy}

    def outcome(self, model: nn.Module, result: FitResult) -> Outcome:
        tested = evaluate(model, self.test, normalise=pixels)
        return Outcome({"bar_error": tested.error(), "test_images": len(self.test)}, tested)
