"""SEVF: scale-equivariant vector fields.

Marcos, Kellenberger, Lobry and Tuia, "Scale equivariance in CNNs with vector fields" (2018, arXiv 1807.11783), as the
authors of the SESN paper run it. A filter answers at eight scales; the largest answer becomes the length of a vector
and the scale that gave it, as an angle, its direction. Fields are [B, C, 2, H, W], the components (u, v) third.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.basis.constants import Constant
from sesn_lib.checks import NotScriptable, check_input
from sesn_lib.models.mnist import CHANNELS, last_window, stages

STEPS = range(-4, 4)
SCALES = tuple(1.26**j for j in STEPS)
ANGLES = tuple(j * 2 * math.pi / 21 for j in STEPS)
KERNEL_SIZE = 7
VECTOR_CHANNELS = (23, 45, 68)


def resized(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def correlated(x: Tensor, weight: Tensor, scale: float) -> Tensor:
    """`T_s(x, w)`: x [B, C, H, H] at `round(H s)` pixels along each side, convolved with w, brought back to H."""
    size = int(x.shape[-1])  # torch.jit.trace gives a tensor, which has no round
    response = F.conv2d(resized(x, round(size * scale)), weight, padding=KERNEL_SIZE // 2)
    return resized(response, size)


def directed(responses: list[Tensor], directions: Constant) -> Tensor:
    """`ReLU(max_j r_j) (cos θ, sin θ)` with θ the angle of the largest; it is a constant for the gradient."""
    largest, which = torch.stack(responses).max(dim=0)
    vectors = directions.like(largest)[which].movedim(-1, 2)
    return torch.relu(largest).unsqueeze(2) * vectors


class _AtEightScales(NotScriptable, nn.Module):
    def __init__(self, *names: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        for name in names:
            weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            self.register_parameter(name, weight)
        self.directions = Constant(np.array([[math.cos(a), math.sin(a)] for a in ANGLES]))


class VectorLift(_AtEightScales):
    """From an image to a vector field: `r_j = T_{s_j}(x, w)`, of which the largest sets length and direction.

    Shapes: input [B, C, H, H], output [B, C', 2, H, H], weight [C', C, 7, 7].

    Raises:
        ValueError: an input of another shape.
    """

    weight: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__("weight", in_channels=in_channels, out_channels=out_channels)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.weight.shape[1], H=x.shape[-1])
        return directed([correlated(x, self.weight, scale) for scale in SCALES], self.directions)


class LiftedMagnitude(VectorLift):
    """Length of the vectors of `VectorLift`: `ReLU(max_j T_{s_j}(x, w))`, for which directions do not matter.

    Shapes: input [B, C, H, H], output [B, C', H, H], weight [C', C, 7, 7].
    """

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.weight.shape[1], H=x.shape[-1])
        return torch.relu(torch.stack([correlated(x, self.weight, scale) for scale in SCALES]).amax(dim=0))


class VectorConv(_AtEightScales):
    """From a field to a field: the pair of filters (a, b) turns with the scale.

    `r_j = T_{s_j}(u, a cos θ_j + b sin θ_j) + T_{s_j}(v, b cos θ_j - a sin θ_j)`.

    Shapes: input [B, C, 2, H, H], output [B, C', 2, H, H], weight_u (a) and weight_v (b) [C', C, 7, 7].

    Raises:
        ValueError: an input of another shape.
    """

    weight_u: nn.Parameter
    weight_v: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__("weight_u", "weight_v", in_channels=in_channels, out_channels=out_channels)

    def forward(self, field: Tensor) -> Tensor:
        a, b = self.weight_u, self.weight_v
        check_input(self, field, "BCVHW", C=a.shape[1], V=2, H=field.shape[-1])
        u, v = field.unbind(dim=2)
        responses = []
        for scale, angle in zip(SCALES, ANGLES):
            cos, sin = math.cos(angle), math.sin(angle)
            responses.append(correlated(u, a * cos + b * sin, scale) + correlated(v, b * cos - a * sin, scale))
        return directed(responses, self.directions)


def magnitude(field: Tensor) -> Tensor:
    """`ρ = sqrt(u² + v²)`, [B, C, 2, H, W] -> [B, C, H, W]; the gradient at a vector of zeros is 0."""
    square = field.square().sum(dim=2)
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)


class VectorMaxPool(nn.Module):
    """In each window the longest vector; windows lie side by side, as of `torch.nn.MaxPool2d`."""

    def __init__(self, window: int, padding: int = 0) -> None:
        super().__init__()
        self.window, self.padding = window, padding

    def forward(self, field: Tensor) -> Tensor:
        lengths = magnitude(field.detach())
        _, where = F.max_pool2d(lengths, self.window, padding=self.padding, return_indices=True)
        pixels = where.flatten(2).unsqueeze(2).expand(-1, -1, 2, -1)
        return field.flatten(3).gather(3, pixels).unflatten(3, where.shape[2:])


class VectorBatchNorm(nn.Module):
    """`(u, v) / sqrt(σ² + 1e-5)`, σ² the variance of the lengths of a channel's vectors; nothing is subtracted.

    In training σ² is the batch's own and moves the running value halfway. The weight is the authors': trained in name,
    but nothing depends on it.

    Shapes: input and output [B, C, 2, H, W]; weight and running_var [1, C, 1, 1].
    """

    EPSILON = 1e-5
    MOMENTUM = 0.5
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("running_var", torch.ones(1, channels, 1, 1))

    def forward(self, field: Tensor) -> Tensor:
        lengths = magnitude(field) if self.training else None
        return field / self.deviation(lengths, axis=1).view(1, -1, 1, 1, 1)

    def deviation(self, lengths: Tensor | None, axis: int) -> Tensor:
        """`sqrt(σ² + 1e-5)` of each channel, [C]; in training of these lengths, whose channels are along `axis`."""
        variance = self.running_var.flatten()
        if lengths is not None:
            others = [i for i in range(lengths.dim()) if i != axis]
            variance = lengths.var(dim=others, correction=0)
            count = lengths.numel() / lengths.shape[axis]
            with torch.no_grad():
                unbiased = variance.view_as(self.running_var).to(self.running_var) * (count / (count - 1))
                self.running_var.lerp_(unbiased, self.MOMENTUM)
        return torch.sqrt(variance + self.EPSILON)


class Magnitude(nn.Module):
    """`magnitude` as a layer."""

    def forward(self, field: Tensor) -> Tensor:
        return magnitude(field)


def scalar_blocks(*, upsample: int) -> nn.Sequential:
    """Lengths only: [B, C, H, W]; no normalisation after the last stage."""
    result = stages(lambda before, after: [LiftedMagnitude(before, after)], (1, *CHANNELS), upsample=upsample)
    return nn.Sequential(*list(result)[:-1])


def vector_blocks(*, upsample: int) -> nn.Sequential:
    """Vector fields up to their lengths in front of the classifier; no normalisation after the last stage."""
    result = stages(
        lambda before, after: [VectorLift(before, after) if before == 1 else VectorConv(before, after)],
        (1, *VECTOR_CHANNELS),
        pools=[VectorMaxPool(2), VectorMaxPool(2), VectorMaxPool(*last_window(upsample))],
        norm=VectorBatchNorm,
    )
    return nn.Sequential(*list(result)[:-1], Magnitude())
