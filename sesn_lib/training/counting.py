"""What a training step does with one image, counted by shapes alone: nothing is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sesn_lib import models
from sesn_lib.models.mnist import INPUT_SIZE, MNISTNet
from sesn_lib.training.state import autocast


class Arithmetic(TorchDispatchMode):
    """Inside, the floating-point operations of matrix products and convolutions are added up in `flops`.

    By torch's formulas, as `torch.utils.flop_counter.FlopCounterMode` does; but that one hooks into the calls of all
    modules, which the fast path must refuse.
    """

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # brings Triton, which only a count needs

        self.flops, self.formulas = 0, flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := self.formulas.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


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
def count(name: str, *, precision: str = "float32", size: int = 96, images: int = 2, backward: bool = True) -> Count:
    """Counts the work of a training step of a network, in its literal form, with a digit of MNIST-scale or, for the
    other networks, with a colour image of `size` pixels a side; of a batch of `images`, at least two, which share what
    is done once a step, as making the filters. Without `backward`, twice as quick, `step_flops` is not a number.

    Raises:
        ValueError: unknown model.
    """
    with FakeTensorMode():
        model = models.build(name)
        owned = {_storage(parameter) for parameter in model.parameters()}
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        shape = (1, INPUT_SIZE, INPUT_SIZE) if isinstance(model, MNISTNet) else (3, size, size)
        x, labels = torch.zeros(images, *shape), torch.zeros(images, dtype=torch.int64)
        with Arithmetic() as arithmetic:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(x.device, precision):
                loss = F.cross_entropy(model(x).float(), labels)
            forward = arithmetic.flops
            if backward:
                loss.backward()
        parts = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    saved = sum(size for storage, size in parts.items() if storage not in owned)
    step = arithmetic.flops / images if backward else math.nan
    return Count(trained_parameters(model), forward / images, step, saved / images)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
