"""The MNIST-scale networks, computed fast: `accelerate(model)` switches a network over."""

from __future__ import annotations

from torch import nn

from sesn_lib.fast import rivals
from sesn_lib.fast.engine import Engine
from sesn_lib.models.mnist import MNISTNet

__all__ = ["Engine", "accelerate"]


def accelerate(model: nn.Module) -> nn.Module:
    """Make an MNIST-scale network compute by the fast path from now on; returns the same module.

    Parameters, buffers, state dict and training mode stay the module's own. The fast path computes in the input's
    dtype, or in autocast's where that is enabled.

    Raises:
        ValueError: not an `MNISTNet`.
    """
    if not isinstance(model, MNISTNet):
        raise ValueError(f"a {type(model).__name__} cannot be accelerated: only the MNIST-scale networks can")
    model.engine = (rivals.engine_of(model) or Engine)(model)
    return model
