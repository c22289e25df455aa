"""SS-CNN: scale-steerable filters.

Ghosh and Gupta, "Scale Steerable Filters for Locally Scale-Invariant Convolutional Neural Networks" (2019, arXiv
1906.03861), as the authors of the SESN paper run it. Filters are sums of log-radial harmonics: `cos(κ ln r)` and
`sin(κ ln r)` times an orientation. Enlarging a filter turns the phase κ ln r, so its weights at another size follow
from those at the reference size by a rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.basis.constants import Constant
from sesn_lib.checks import NotScriptable, check_input
from sesn_lib.models.mnist import stages

CHANNELS = (30, 60, 90)
SIZES = {1: (5, 7, 9, 11, 13), 2: (7, 9, 11, 13, 15, 17)}  # by the factor of upsampling
REFERENCE_SIZE = 11
ORDERS = (0.5, 1, 2)
ORIENTATIONS = 9
WIDTH = math.pi / 16
PHASE = -math.pi / 4


def wavenumbers(size: int) -> np.ndarray:
    """`κ_k = 2 π k / ln(√2 (size - 1) / 2)` of the three orders; the logarithm is of the grid's largest radius."""
    return 2 * math.pi * np.array(ORDERS) / math.log(math.sqrt(2) * (size // 2))


def harmonics(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The even and odd functions A and B, float64 [order, row, column, orientation].

    `A_{k,o} = D exp(-d_o² / (2 (π/16)²)) cos(κ_k ln r - π/4) / r`, B with the sine, each divided by its norm over the
    grid. d_o is the distance modulo π of the pixel's angle, from straight up towards the right, and o π/8, o = 0..8; so
    the first and the last orientation are the same. D cuts off a disc of radius (size - 1) / 2. At the centre r counts
    as 1.
    """
    half = size // 2
    up, right = np.mgrid[half : -half - 1 : -1, -half : half + 1].astype(float)
    distance, angle = np.hypot(up, right), np.arctan2(right, up)
    radius = np.where(distance == 0, 1, distance)[..., None]
    orientations = np.arange(ORIENTATIONS) * math.pi / 8
    apart = np.mod(angle[..., None] - orientations + math.pi / 2, math.pi) - math.pi / 2
    window = (distance <= half)[..., None] * np.exp(-(apart**2) / (2 * WIDTH**2)) / radius
    phase = wavenumbers(size)[:, None, None, None] * np.log(radius) + PHASE
    even, odd = window * np.cos(phase), window * np.sin(phase)
    return _normalised(even), _normalised(odd)


def _normalised(functions: np.ndarray) -> np.ndarray:
    return functions / np.sqrt((functions**2).sum(axis=(1, 2), keepdims=True))


class ScaleSteerableConv(NotScriptable, nn.Module):
    """`ReLU(max_z W_z * x)` over kernel sizes z, all with the same weights α, β steered to z.

    `W_z = sum_{k,o} α'_{ko} A_{ko} - β'_{ko} B_{ko}` on the central z x z pixels, `λ = ln(z / 11)`,
    `α' = α cos(κ_k λ) + β sin(κ_k λ)`, `β' = β cos(κ_k λ) - α sin(κ_k λ)`.

    Arguments:
        in_channels, out_channels: C and C'.
        sizes: the odd z, increasing.

    Shapes: input [B, C, H, W], output [B, C', H, W], mult_real (α) and mult_imag (β) [3, C', C, 9].

    Attributes:
        filter_real, filter_imag: A and B at the largest size, parameters that are not trained.
        const_real: the authors' [C', C], trained in name, but nothing depends on it.

    Raises:
        ValueError: an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        shape = (len(ORDERS), out_channels, in_channels, ORIENTATIONS)
        bound = math.sqrt(2 / (ORIENTATIONS * in_channels * out_channels))
        self.mult_real = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.mult_imag = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.const_real = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-1e-5, 1e-5))
        even, odd = (Constant(f) for f in harmonics(max(sizes)))
        self._filters = {"filter_real": even, "filter_imag": odd}
        for name, value in self._filters.items():
            self.register_parameter(name, nn.Parameter(torch.empty(value.values.shape), requires_grad=False))
        self._restore()

    @property
    def constants(self) -> dict[str, Tensor]:
        return {name: value.exact for name, value in self._filters.items()}

    def _restore(self) -> None:
        """What is shown and saved of A and B, rounded from their exact values, whatever it was before."""
        for name, value in self._filters.items():
            parameter = self.get_parameter(name)
            parameter.data = value.like(parameter).clone()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ScaleSteerableConv:
        super()._apply(fn, recurse)
        self._restore()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._restore()

    def functions(self, size: int, *, exact: bool = False) -> tuple[Tensor, Tensor]:
        """The filters of which α and β are the weights at a size, each [3, size, size, 9]; of the layer's own type, or
        in float64."""
        margin = (max(self.sizes) - size) // 2
        turn = wavenumbers(max(self.sizes)) * math.log(size / REFERENCE_SIZE)
        filters = [value.exact if exact else value.like(self.mult_real) for value in self._filters.values()]
        even, odd = (f[:, margin : margin + size, margin : margin + size] for f in filters)
        pairs = [
            (math.cos(t) * a + math.sin(t) * b, math.sin(t) * a - math.cos(t) * b) for t, a, b in zip(turn, even, odd)
        ]
        return torch.stack([first for first, _ in pairs]), torch.stack([second for _, second in pairs])

    def kernel(self, size: int) -> Tensor:
        """`W_z`, [C', C, size, size]."""
        weights, functions = (self.mult_real, self.mult_imag), self.functions(size)
        real, imag = (torch.einsum("kocn,kyxn->ocyx", w, f) for w, f in zip(weights, functions))
        return real + imag

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", C=self.mult_real.shape[2])
        responses = [F.conv2d(x, self.kernel(size), padding=size // 2) for size in self.sizes]
        return torch.relu(torch.stack(responses).amax(dim=0))


class _Unused(nn.BatchNorm2d):
    """A normalisation that the authors' network owns and never calls."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def blocks(*, upsample: int) -> nn.Sequential:
    """Convolution, pooling and normalisation, three times, and the authors' unused fourth normalisation."""
    result = stages(
        lambda before, after: [ScaleSteerableConv(before, after, SIZES[upsample])], (1, *CHANNELS), upsample=upsample
    )
    return result.append(_Unused(CHANNELS[-1]))
