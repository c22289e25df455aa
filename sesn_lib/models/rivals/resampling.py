"""Resampling along one axis, as matrices: what the rivals do to images or filters, exactly and without anti-aliasing.

Every operator is separable: an image X becomes `M X M^T`. The layers themselves resample by torch's own functions; the
matrices are for looking at, for checking, and for merging several linear steps into one.
"""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor


def corner_aligned(size: int, target: int) -> np.ndarray:
    """Linear interpolation between the outermost pixels: target i reads `i (size - 1) / (target - 1)`. [target, size]

    A single target reads pixel 0.
    """
    step = (size - 1) / (target - 1) if target > 1 else 0.0
    return _linear(np.arange(target) * step, size)


def half_pixel(size: int, target: int) -> np.ndarray:
    """Linear interpolation between pixel centres: target i reads `max(0, (i + 1/2) size / target - 1/2)`."""
    return _linear(np.maximum(0, (np.arange(target) + 0.5) * size / target - 0.5), size)


def nearest(size: int, scale: float) -> np.ndarray:
    """Copies: target i of `floor(size scale)` is pixel `min(size - 1, floor(i / scale))`. [target, size]"""
    source = np.minimum(size - 1, np.floor(np.arange(math.floor(size * scale)) / scale)).astype(int)
    return np.eye(size)[source]


def fit(size: int, target: int) -> np.ndarray:
    """To another size about the centre, by zeros or by cutting. An odd pixel goes to, or comes from, these sides:
    one more zero at the end, one more pixel cut at the beginning. [target, size]
    """
    return np.eye(size, target, _before(size, target)).T


def fitted(x: Tensor, target: int) -> Tensor:
    """`fit` on both axes of maps [..., H, H]."""
    before = _before(x.shape[-1], target)
    after = target - x.shape[-1] - before
    return F.pad(x, [before, after, before, after])


def _before(size: int, target: int) -> int:
    return (target - size) // 2


def _linear(positions: np.ndarray, size: int) -> np.ndarray:
    lower = np.minimum(np.floor(positions).astype(int), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    part = (positions - lower)[:, None]
    pixels = np.eye(size)
    return (1 - part) * pixels[lower] + part * pixels[upper]
