"""Convolutions between two resamplings, merged into one.

Resampling before and after a convolution is linear, so it goes into the matrices of the Fourier transforms, or of the
patches: no resized image and no resized response is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sesn_lib.models.mnist import INPUT_SIZE
from sesn_lib.models.rivals.constants import Constant
from sesn_lib.spectral import SpectralConv

__all__ = ["Plan", "ResampledConv", "ResampledFirstLayer"]

KERNEL_SIZE = 7
# Where a scale has no answer, so that another's is the maximum; finite, since 0 times infinity is not 0.
NOWHERE = -1e30


@dataclass(frozen=True)
class Plan:
    """Along one axis: `y = after @ (taps, `dilation` apart) @ before @ x`, and `margin` pixels without answer around y.

    before [m, n], after [o, m]; o + the two margins = n.
    """

    before: np.ndarray
    after: np.ndarray
    dilation: int = 1
    margin: tuple[int, int] = (0, 0)


def single_taps(dilation: int = 1) -> Tensor:
    """The 7 x 7 kernels of a single pixel each, `dilation` apart: [49, t, t]."""
    pixels = torch.eye(KERNEL_SIZE**2, dtype=torch.float64).view(-1, KERNEL_SIZE, KERNEL_SIZE)
    size = dilation * (KERNEL_SIZE - 1) + 1
    spread = pixels.new_zeros(len(pixels), size, size)
    spread[:, ::dilation, ::dilation] = pixels
    return spread


class ResampledConv(SpectralConv):
    """`SpectralConv` between two resamplings: [n, n, C, B] -> [o, o, C', B].

    Arguments:
        plan: the resamplings, merged into the tables.
        outputs: only so many rows and columns of the result, its margins included, are looked at.
    """

    def __init__(self, plan: Plan, outputs: int) -> None:
        super().__init__(single_taps(plan.dilation), len(plan.before), plan.after.shape[1])
        before, after = plan.before, plan.after[: outputs - plan.margin[0]]
        self.margins = (plan.margin[0], max(0, outputs - plan.margin[0] - len(after)))
        twice = np.eye(2)
        if self.separable:
            self._tables["forward_rows"] = self._tables["forward_rows"] @ before
            self._tables["forward_columns"] = self._tables["forward_columns"] @ np.kron(twice, before)
            self._tables["inverse_columns"] = np.kron(twice, after) @ self._tables["inverse_columns"]
            self._tables["inverse_rows"] = after @ self._tables["inverse_rows"]
        else:
            self._tables["forward"] = self._tables["forward"] @ np.kron(before, before)
            self._tables["inverse"] = np.kron(after, after) @ self._tables["inverse"]
        self.size, self.outputs = before.shape[1], len(after)

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        y = super().__call__(x, weight)
        return F.pad(y, [0, 0, 0, 0, *self.margins, *self.margins], value=NOWHERE) if any(self.margins) else y


class ResampledPatches:
    """The first layer at one scale, up to 2 x 2 pooling: [B, 1, 28, 28] -> [4, C', H H B] of H x H windows."""

    def __init__(self, plan: Plan, upsample: int) -> None:
        enlarge = np.kron(np.eye(INPUT_SIZE), np.ones((upsample, 1)))
        frame = plan.before @ enlarge
        offsets = [plan.dilation * (tap - KERNEL_SIZE // 2) for tap in range(KERNEL_SIZE)]
        size = len(frame)
        shifted = [np.eye(size, k=offset) @ frame for offset in offsets]
        seen = np.stack([plan.after @ tap for tap in shifted], axis=1)  # [output, tap, input pixel]
        seen = np.pad(seen, [plan.margin, (0, 0), (0, 0)])
        self.windows = len(seen) // 2
        rows = seen.reshape(self.windows, 2, KERNEL_SIZE, INPUT_SIZE).transpose(1, 2, 0, 3)  # [a, u, window, input]
        self.rows = Constant(rows.reshape(-1, INPUT_SIZE))
        inside = np.pad(np.ones(len(plan.after)), plan.margin).reshape(self.windows, 2).T  # [a, window]
        outside = 1 - np.einsum("ai,bj->abij", inside, inside)
        self.outside = Constant(NOWHERE * outside.reshape(4, 1, -1, 1)) if outside.any() else None

    def __call__(self, images: Tensor, weight: Tensor) -> Tensor:
        """weight [C', 49]."""
        dtype = weight.dtype
        rows = self.rows.on(images.device, dtype)
        batch, side = len(images), self.windows
        x = images[:, 0].to(dtype).permute(1, 2, 0)  # [28, 28, B]
        down = (rows @ x.reshape(INPUT_SIZE, -1)).view(-1, INPUT_SIZE, batch)
        both = torch.matmul(rows, down)  # [(a, u, i), (b, v, j), B]
        both = both.view(2, KERNEL_SIZE, side, 2, KERNEL_SIZE, side, batch).permute(0, 3, 1, 4, 2, 5, 6)
        patches = both.reshape(4, KERNEL_SIZE**2, -1)
        maps = torch.matmul(weight, patches)
        if self.outside is None:
            return maps
        outside = self.outside.on(images.device, dtype)
        return (maps.view(4, -1, side**2, batch) + outside).view(maps.shape)


class Weighted(Protocol):
    def weight(self, dtype: torch.dtype) -> Tensor:
        """[C', C, 49]"""


class ResampledFirstLayer:
    """`ResampledPatches` at every scale."""

    def __init__(self, conv: Weighted, plans: list[Plan], upsample: int) -> None:
        self.conv = conv
        self.patches = [ResampledPatches(plan, upsample) for plan in plans]
        self.outputs = self.patches[0].windows

    def __call__(self, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
        weight = self.conv.weight(dtype)[:, 0]
        return [patches(images, weight).view(2, 2, len(weight), -1) for patches in self.patches]
