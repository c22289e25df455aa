"""Convolutions between two resamplings, merged into one.

Resampling before and after a convolution is linear, so it goes into the matrices of the Fourier transforms, or of the
patches: no resized image and no resized response is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sesn_lib.basis.consistency import dilated
from sesn_lib.basis.constants import Constant
from sesn_lib.fast.precision import matmul
from sesn_lib.fast.spectral import SpectralConv, max_pool
from sesn_lib.models.mnist import INPUT_SIZE

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


class ResampledConv(SpectralConv):
    """`SpectralConv` between two resamplings: [n, n, C, B] -> [o, o, C', B].

    Arguments:
        plan: the resamplings, merged into the tables.
        outputs: only so many rows and columns of the result, its margins included, are looked at.
    """

    def __init__(self, plan: Plan, outputs: int) -> None:
        pixels = np.eye(KERNEL_SIZE**2).reshape(-1, KERNEL_SIZE, KERNEL_SIZE)  # kernels of a single tap each
        taps = torch.from_numpy(dilated(pixels, plan.dilation))
        super().__init__(taps, len(plan.before), plan.after.shape[1])
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


class ResampledFirstLayer:
    """The first layer at one scale and 2 x 2 pooling's candidates: [B, 1, 28, 28] -> four maps [H, C', W, B].

    Each map holds one of the four pixels of every pooling window. Windows without answer are left out, `margins` of
    them on either side.
    """

    def __init__(self, plan: Plan, upsample: int) -> None:
        enlarge = np.kron(np.eye(INPUT_SIZE), np.ones((upsample, 1)))
        frame = plan.before @ enlarge
        offsets = [plan.dilation * (tap - KERNEL_SIZE // 2) for tap in range(KERNEL_SIZE)]
        seen = np.stack([plan.after @ np.eye(len(frame), k=offset) @ frame for offset in offsets])  # [tap, output, x]
        first, last = plan.margin[0] // 2, plan.margin[1] // 2
        self.margins = (first, last)
        edges = plan.margin[0] - 2 * first, plan.margin[1] - 2 * last
        seen = np.pad(seen, [(0, 0), edges, (0, 0)])
        self.windows = seen.shape[1] // 2
        by_pixel = seen.reshape(KERNEL_SIZE, self.windows, 2, INPUT_SIZE)
        self.down = Constant(by_pixel.transpose(2, 1, 0, 3).reshape(-1, INPUT_SIZE))  # [(pixel, window, tap), x]
        self.across = [Constant(by_pixel[:, :, a].reshape(-1, INPUT_SIZE)) for a in (0, 1)]  # [(tap, window), x]
        outside = np.pad(np.zeros(len(plan.after)), edges, constant_values=1).reshape(self.windows, 2).T
        self.outside = None
        if outside.any():  # [pixel down, window down, 1, window across, 1], for each pixel across
            nowhere = [np.maximum(outside[:, :, None], outside[a]) * NOWHERE for a in (0, 1)]
            self.outside = [Constant(n[:, :, None, :, None]) for n in nowhere]

    def __call__(self, columns: Tensor, weight: Tensor) -> list[Tensor]:
        """columns [28, 28 B]: the images, column by column; weight [C', 49]."""
        down, side = self.down.like(weight), self.windows
        maps: list[Tensor] = []
        for a, table in enumerate(self.across):
            # Laid out so that each product's result is the next one's operand.
            across = matmul(table.like(weight), columns).view(KERNEL_SIZE * side, INPUT_SIZE, -1).transpose(0, 1)
            patches = matmul(down, across.reshape(INPUT_SIZE, -1)).view(2 * side, KERNEL_SIZE**2, -1)
            answers = matmul(weight.expand(len(patches), -1, -1), patches).view(2, side, len(weight), side, -1)
            if self.outside is not None:
                answers = answers + self.outside[a].like(weight)
            maps += answers.unbind(0)
        return maps


class ResampledFirstLayers:
    """The first layer at every scale."""

    def __init__(self, scales: list[ResampledFirstLayer]) -> None:
        self.scales = scales
        self.outputs = max(scale.windows for scale in scales)

    def pooled(self, images: Tensor, weight: Tensor, *, apart: bool) -> list[Tensor]:
        """Maps [H, W, C', B], the maximum of each 2 x 2 window: one a scale if `apart`, else one of all scales."""
        columns = images[:, 0].to(weight.dtype).permute(2, 1, 0).reshape(INPUT_SIZE, -1)
        whole: list[Tensor] = []
        outputs = []
        for scale in self.scales:
            maps = scale(columns, weight)
            if apart or any(scale.margins):
                outputs.append(_framed(max_pool(maps, 1), scale.margins))
            else:
                whole += maps
        if apart:
            return outputs
        outputs.append(max_pool(whole, 1).transpose(1, 2))
        return [max_pool(outputs, 1)] if len(outputs) > 1 else outputs


def _framed(pooled: Tensor, margins: tuple[int, int]) -> Tensor:
    """[H, C, W, B] -> [H', W', C, B]"""
    x = pooled.transpose(1, 2)
    return F.pad(x, [0, 0, 0, 0, *margins, *margins], value=NOWHERE) if any(margins) else x
