"""Weights by recipe, so that the reference numbers need no checkpoint."""

from __future__ import annotations

import math
from zlib import crc32

import numpy as np
import torch
from torch import Tensor


def recipe(name: str, shape: list[int] | tuple[int, ...]) -> Tensor:
    """The value of one state-dict entry, made from its name and shape; float32 values."""
    x = np.random.RandomState(crc32(name.encode())).standard_normal(tuple(shape))
    kind = name.rsplit(".", 1)[-1]
    if kind == "running_mean" or kind == "bias":
        x = 0.1 * x
    elif kind == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif len(shape) == 1:
        x = 1 + 0.1 * x
    else:
        x = x / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float32))


def relative(value: Tensor, reference: np.ndarray | Tensor) -> float:
    """Relative error ||value - reference|| / ||reference||, in float64."""
    truth = torch.as_tensor(reference).double()
    return ((value.detach().double().cpu() - truth).norm() / truth.norm()).item()
