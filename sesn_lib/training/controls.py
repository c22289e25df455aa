"""Training of the controls: as for the MNIST-scale table, with the change that a control's name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from torch import nn

from sesn_lib import fast, models
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.controls import ControlSettings, network_of
from sesn_lib.experiments.mnist_scale import Settings
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.training import mnist_scale


class Task(mnist_scale.Task):
    """As that of the table; the settings say how many images there are, and how weights decay."""

    settings: ControlSettings

    @classmethod
    def load(cls, cell: AnyCell, settings: Settings, options: RunOptions, device: torch.device) -> tuple[Self, str]:
        assert isinstance(settings, ControlSettings)
        return super().load(cell, settings, replace(options, train_images=settings.train_images), device)

    @staticmethod
    def build(model: str) -> nn.Module:
        return fast.accelerate(models.build(network_of(model)))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        if not decay:
            return super().optimizer(model)
        # torch multiplies the decay by the learning rate, which the loop steps down; so only its steps remain.
        return torch.optim.AdamW(
            model.parameters(), lr=rate, weight_decay=decay / rate, fused=True, capturable=self.device.type == "cuda"
        )
