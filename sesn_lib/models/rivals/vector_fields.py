"""Fields of vectors, [B, C, 2, H, W] with the components (u, v) third: pooling, normalisation, lengths.

As of SEVF (`sesn_lib.models.rivals.sevf`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Magnitude", "VectorBatchNorm", "VectorMaxPool", "magnitude"]


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
