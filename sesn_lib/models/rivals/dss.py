"""DSS: deep scale-spaces.

Worrall and Welling, "Deep Scale-spaces: Equivariance Over Scale" (NeurIPS 2019, arXiv 1905.11697), as the authors of
the SESN paper run it on MNIST-scale. Scale is a second, blurred copy of the image, and filters at scale k are dilated
by 2^k: what a filter sees in the blurred copy is what it would see in an image of half the size.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.basis.constants import Constant
from sesn_lib.checks import NotScriptable, check_input
from sesn_lib.layers import ScaleMaxProjection
from sesn_lib.models.mnist import CHANNELS, last_window, stages

SCALES = 2
BASE = 2
ZETA = 0.25
KERNEL_SIZE = 7


def gaussian(variance: float) -> np.ndarray:
    """The discrete Gaussian `T(x) = exp(-t) I_x(t)`, x from -4 ceil(sqrt t) to 4 ceil(sqrt t), divided by its sum.

    Lindeberg, "Scale-space for discrete signals" (PAMI 1990). `variance` is t [pixel^2].
    """
    from scipy.special import ive  # here, so that the other networks need torch and numpy alone

    half = 4 * math.ceil(math.sqrt(variance))
    taps = ive(np.abs(np.arange(-half, half + 1)), variance)
    return taps / taps.sum()


class ScaleSpaceLift(NotScriptable, nn.Module):
    """From an image to a scale-space of S = 2 levels: the image, and the image blurred with `t = ζ² (2^{2k} - 1)`.

    Zeros lie around the image; the blur is separable. ζ = 0.25 is the blur that the image is taken to have already.

    Shapes: input [B, C, H, W], output [B, C, S, H, W].

    Attributes:
        constants: the taps in the authors' form, dense [C, C, 1, 9] and [C, C, 9, 1], diagonal in the channels.

    Raises:
        ValueError: an input of another shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.taps = [Constant(gaussian(ZETA**2 * (BASE ** (2 * k) - 1))) for k in range(1, SCALES)]

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.channels)
        return torch.stack([x, *(self._blurred(x, taps.like(x)) for taps in self.taps)], dim=2)

    def _blurred(self, x: Tensor, taps: Tensor) -> Tensor:
        kernel, half = taps.expand(self.channels, 1, 1, -1), len(taps) // 2
        across = F.conv2d(x, kernel, padding=(0, half), groups=self.channels)
        return F.conv2d(across, kernel.transpose(2, 3), padding=(half, 0), groups=self.channels)

    @property
    def constants(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for i, taps in enumerate(self.taps):
            dense = torch.from_numpy(np.eye(self.channels)[..., None, None] * taps.values)
            named |= {f"kernelx_{i}": dense, f"kernely_{i}": dense.transpose(2, 3)}
        return named


class ScaleCorrelation(NotScriptable, nn.Module):
    """Level k is convolved with the same kernel, dilated by 2^k: `y_k(p) = sum_{c,u} w(c, u) x_k(c, p + 2^k u)`.

    7 x 7 weights, zeros around the map, no bias; levels do not mix. On MNIST-scale, a kernel has one tap along scale.

    Shapes: input [B, C, S, H, W], output [B, C', S, H, W], weights [C', C, 7, 7].

    Raises:
        ValueError: an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
        nn.init.normal_(self.weights, std=math.sqrt(2 / (KERNEL_SIZE**2 * in_channels)))

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCSHW", C=self.weights.shape[1], S=SCALES)
        half = KERNEL_SIZE // 2
        dilations = [BASE**k for k in range(SCALES)]
        levels = zip(x.unbind(dim=2), dilations)
        return torch.stack([F.conv2d(level, self.weights, padding=half * d, dilation=d) for level, d in levels], dim=2)


def scalar_blocks(*, upsample: int) -> nn.Sequential:
    """Each stage makes a scale-space of its input anew and takes the maximum over its levels: maps are [B, C, H, W]."""
    return stages(
        lambda before, after: [
            ScaleSpaceLift(before),
            ScaleCorrelation(before, after),
            ScaleMaxProjection(),
            nn.ReLU(),
        ],
        (1, *CHANNELS),
        upsample=upsample,
    )


def vector_blocks(*, upsample: int) -> nn.Sequential:
    """The scale-space of the image is kept, [B, C, S, H, W], up to a maximum over levels at the end."""
    window, padding = last_window(upsample)
    return nn.Sequential(
        ScaleSpaceLift(1),
        *stages(
            lambda before, after: [ScaleCorrelation(before, after), nn.ReLU()],
            (1, *CHANNELS),
            pools=[
                nn.MaxPool3d((1, 2, 2)),
                nn.MaxPool3d((1, 2, 2)),
                nn.MaxPool3d((1, window, window), padding=(0, padding, padding)),
            ],
            norm=nn.BatchNorm3d,
        ),
        ScaleMaxProjection(),
    )
