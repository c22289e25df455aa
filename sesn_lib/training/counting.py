"""What a training step does with one image, counted by shapes alone: nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sesn_lib import models
from sesn_lib.training.state import autocast

__all__ = ["Count", "count", "trained_parameters"]


@dataclass(frozen=True)
class Count:
    """What one training step does with one image, whatever the machine.

    Attributes:
        parameters: trained numbers.
        forward_flops, step_flops: floating-point operations, a multiplication and an addition being two; of the forward
            pass, and of forward and backward pass.
        saved_bytes: what the forward pass keeps for the backward pass.
    """

    parameters: int
    forward_flops: float
    step_flops: float
    saved_bytes: float


def trained_parameters(model: nn.Module) -> int:
    """How many numbers training changes; filters that a method keeps fixed do not count, as in the authors' counts."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@lru_cache(maxsize=16)
def count(name: str, *, precision: str = "float32", size: int = 96) -> Count:
    """Counts the work of a training step of a network for colour images of `size` pixels a side.

    Raises:
        ValueError: unknown model.
    """
    images = 2
    with FakeTensorMode():
        model = models.build(name)
        owned = {_storage(parameter) for parameter in model.parameters()}
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        x, labels = torch.zeros(images, 3, size, size), torch.zeros(images, dtype=torch.int64)
        with FlopCounterMode(display=False) as flops:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(x.device, precision):
                loss = F.cross_entropy(model(x).float(), labels)
            forward = flops.get_total_flops()
            loss.backward()
        parts = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    saved = sum(size for storage, size in parts.items() if storage not in owned)
    return Count(trained_parameters(model), forward / images, flops.get_total_flops() / images, saved / images)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
