"""The MNIST-scale networks, computed fast: `accelerate(model)` switches a network over."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from sesn_lib.fast import coverage, rivals
from sesn_lib.fast.engine import Engine
from sesn_lib.models import mnist
from sesn_lib.models.mnist import MNISTNet

__all__ = ["Engine", "accelerate"]

_EXAMPLE: dict[str, Any] = {"kernel_size": 13, "scales": (1.5, 3.0), "mult": 1.4}  # any filters: the layout counts
FAMILIES: tuple[tuple[type[Engine], coverage.Builder], ...] = (
    (Engine, mnist.cnn_blocks),
    (Engine, partial(mnist.scalar_blocks, **_EXAMPLE)),
    (Engine, partial(mnist.vector_blocks, **_EXAMPLE)),
    *rivals.FAMILIES,
)


def accelerate(model: nn.Module) -> nn.Module:
    """Make an MNIST-scale network compute by the fast path from now on; returns the same module.

    Parameters, buffers, state dict and training mode stay the module's own. The fast path computes in the input's
    dtype, or in autocast's where that is enabled. It looks at the network on each call: after a layer, a basis or a
    setting was exchanged it computes what the modules then would, or raises ValueError. Where more is asked for than
    numbers (a trace, an export, shapes on the meta device, torch.func's transforms) the modules themselves are called.
    `model.engine = None` switches back.

    Raises:
        ValueError: not an `MNISTNet`; a layout, a setting or a hook that is not covered, by name.
    """
    if not isinstance(model, MNISTNet):
        raise ValueError(f"a {type(model).__name__} cannot be accelerated: only the MNIST-scale networks can")
    _plan(model, any(parameter.dtype is torch.float64 for parameter in model.blocks.parameters()))
    return model


def _plan(model: MNISTNet, wide: bool) -> Engine:
    kind = coverage.find(model, FAMILIES)
    with torch.inference_mode(False), torch.device("cpu"):  # whatever the caller's device and mode
        engine: Engine = kind(model, wide=wide, again=_plan)
    model.engine = engine
    return engine
