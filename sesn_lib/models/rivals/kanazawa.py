"""SI-ConvNet: locally scale-invariant convolution.

Kanazawa, Sharma and Jacobs, "Locally Scale-Invariant Convolutional Neural Networks" (2014, arXiv 1412.5104), as the
authors of the SESN paper run it. The image is resized instead of the filter: each of seven copies is convolved with the
same kernel, its response is brought back to the size of the image, and each pixel keeps the largest of the seven.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.checks import NotScriptable, check_input
from sesn_lib.models.mnist import CHANNELS, stages
from sesn_lib.models.rivals.resampling import fitted

SCALES = (0.3, 0.45, 0.67, 1.0, 1.49, 2.23, 3.33)


class ScaleInvariantConv(NotScriptable, nn.Conv2d):
    """`y = max_s R_{1/s}(kappa * R_s x + b)` over the seven `SCALES`.

    `R_s` of an n x n map: linear resampling with aligned corners to `trunc(n s)` pixels along each side, then zeros
    around it, or a cut, back to n. What is filled in is 0 on both ways, and takes part in the maximum. 7 x 7 kernel,
    padding 3.

    Shapes: input [B, C, H, H], output [B, C', H, H], weight [C', C, 7, 7], bias [C'].

    Raises:
        ValueError: an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.in_channels, H=x.shape[-1])
        copies = torch.cat([resized(x, scale) for scale in SCALES])
        responses = super().forward(copies).chunk(len(SCALES))
        return torch.stack([resized(y, 1 / scale) for y, scale in zip(responses, SCALES)]).amax(dim=0)


def resized(x: Tensor, scale: float) -> Tensor:
    """`R_s`: [..., H, H] in the same shape."""
    if scale == 1:
        return x
    size = x.shape[-1]
    target = int(size * scale)
    return fitted(F.interpolate(x, size=(target, target), mode="bilinear", align_corners=True), size)


def blocks(*, upsample: int) -> nn.Sequential:
    """Convolution, ReLU, pooling and normalisation, three times."""
    return stages(
        lambda before, after: [ScaleInvariantConv(before, after), nn.ReLU()], (1, *CHANNELS), upsample=upsample
    )
