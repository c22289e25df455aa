"""SiCNN: columns that look at one scale each.

Xu, Xiao, Zhang, Yang and Zhang, "Scale-Invariant Convolutional Neural Networks" (2014, arXiv 1411.6369), as the authors
of the SESN paper run it. Seven columns share one kernel a layer, each resized by its own scale; they do not mix until
the maximum over columns in front of the classifier.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.checks import NotScriptable, check_input
from sesn_lib.models.mnist import CHANNELS, stages
from sesn_lib.models.rivals.kanazawa import SCALES
from sesn_lib.models.rivals.resampling import fitted

KERNEL_SIZE = 7
FRAME = int(KERNEL_SIZE * max(SCALES))  # 23 pixels


class ColumnConv(NotScriptable, nn.Module):
    """Convolution of column g with the kernel at scale s_g: `q_g = R_{s_g} v ||v||_1 / ||R_{s_g} v||_1`.

    v is the 7 x 7 kernel amid zeros, 23 x 23; `R_s` resamples all of it to `trunc(23 s)` pixels along each side, by
    linear interpolation with aligned corners if s < 1, by copying the nearest pixel if s > 1, and goes back to 23 by
    zeros or a cut. The L1 norm over the kernel's pixels is kept for each pair of channels; a kernel of which no pixel
    survives gives NaN.

    Arguments:
        in_channels, out_channels: C and C', of one column.
        lifts: whether all columns see the same input.

    Shapes: input [B, C, H, W] if it lifts, else [B, 7 C, H, W] (column by column); output [B, 7 C', H, W], weight
    [C', C, 7, 7].

    Raises:
        ValueError: an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int, *, lifts: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
        self.groups = 1 if lifts else len(SCALES)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.groups * self.weight.shape[1])
        return F.conv2d(x, self.kernels(), padding=FRAME // 2, groups=self.groups)

    def kernels(self) -> Tensor:
        """The kernels of all columns, [7 C', C, 23, 23]."""
        frame = fitted(self.weight, FRAME)
        norm = frame.abs().sum(dim=(2, 3), keepdim=True)
        kernels = [resized(frame, scale) for scale in SCALES]
        return torch.cat([q * norm / q.abs().sum(dim=(2, 3), keepdim=True) for q in kernels])


def resized(frame: Tensor, scale: float) -> Tensor:
    """`R_s` of kernels in their frame, [..., 23, 23]."""
    if scale == 1:
        return frame
    size = frame.shape[-1]
    if scale < 1:
        target = int(size * scale)
        smaller = F.interpolate(frame, size=(target, target), mode="bilinear", align_corners=True)
        return fitted(smaller, size)
    # By this factor, and not by the ratio of the sizes: two taps of the kernels depend on it.
    return fitted(F.interpolate(frame, scale_factor=scale, mode="nearest", recompute_scale_factor=False), size)


class ColumnMax(NotScriptable, nn.Module):
    """Maximum over the columns: [B, 7 C, H, W] -> [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (len(SCALES), -1)).amax(dim=1)


def blocks(*, upsample: int) -> nn.Sequential:
    """Convolution, ReLU, pooling and normalisation of seven columns, three times; the maximum over columns."""
    columns = len(SCALES)
    result = stages(
        lambda before, after: [ColumnConv(before, after, lifts=before == 1), nn.ReLU()],
        (1, *CHANNELS),
        upsample=upsample,
        norm=lambda channels: nn.BatchNorm2d(columns * channels),
    )
    return result.append(ColumnMax())
