"""The networks of the MNIST-scale experiment: three blocks of convolution, pooling and normalisation, and a classifier.

Architecture of Sosnovik, Szmaja and Smeulders, "Scale-Equivariant Steerable Networks" (ICLR 2020), section 5.1, with
the widths, pools and initial values of the authors' public code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad

from sesn_lib.checks import NotScriptable, check_tensor, check_whole
from sesn_lib.layers import ConvHH, ConvTH, ScaleMaxProjection

CHANNELS = (32, 63, 95)
EFFECTIVE_SIZE = 7
MAX_ORDER = 4
INPUT_SIZE = 28
OFFICIAL_PARTS: Mapping[str, str] = MappingProxyType({"blocks": "main", "classifier": "linear"})


class MNISTNet(NotScriptable, nn.Module):
    """Three blocks, then Linear, BatchNorm, ReLU, Dropout, Linear.

    Arguments:
        blocks: maps a normalised image [B, 1, H, H] to features, [B, 95, 2, 2] in most.
        upsample: factor by which the input is enlarged first (nearest neighbour), 1 or 2.
        num_classes: number of outputs.
        features: of one image, as many as `blocks` gives.
        bias: whether the first linear map has one.
        official_parts: {our name of a part: the authors'}, for `load_official`.

    Attributes:
        engine: None, or another way of computing the same function (`sesn_lib.fast`); no part of the state.

    Shapes: input [B, 1, 28, 28], output logits [B, num_classes].

    Raises:
        ValueError: values out of range, at construction; an input of another shape.
    """

    def __init__(
        self,
        blocks: nn.Sequential,
        *,
        upsample: int = 1,
        num_classes: int = 10,
        features: int = 4 * CHANNELS[-1],
        bias: bool = False,
        official_parts: Mapping[str, str] = OFFICIAL_PARTS,
    ) -> None:
        super().__init__()
        check_whole(num_classes=num_classes, upsample=upsample)
        self.engine: Callable[[MNISTNet, Tensor], Tensor] | None = None
        self.upsample = nn.Upsample(scale_factor=upsample, mode="nearest") if upsample > 1 else nn.Identity()
        self.blocks = blocks
        self.official_parts = dict(official_parts)  # of its own, so that the network can be copied and pickled
        self.classifier = nn.Sequential(
            nn.Linear(features, 256, bias=bias),
            nn.BatchNorm1d(256),
            nn.ReLU(),
            nn.Dropout(0.7),
            nn.Linear(256, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        check_tensor(self, x)
        if x.dim() != 4 or tuple(x.shape[1:]) != (1, INPUT_SIZE, INPUT_SIZE):
            raise ValueError(f"input has shape {list(x.shape)}: the network needs [B, 1, {INPUT_SIZE}, {INPUT_SIZE}]")
        if self.engine is not None and len(x) and _only_numbers(x):  # of no image there is nothing to compute fast
            return self.engine(self, x)
        return self.classifier(self.blocks(self.upsample(x)).flatten(1))


def _only_numbers(x: Tensor) -> bool:
    """Whether the result is asked for and no more: neither shapes without values, nor the steps that lead to it (a
    trace, an export), nor what torch.func and forward-mode differentiation make of them."""
    watched = torch.jit.is_tracing() or torch.compiler.is_compiling() or peek_interpreter_stack() is not None
    return not (x.is_meta or watched or forward_ad._current_level >= 0)


def last_window(upsample: int) -> tuple[int, int]:
    """Window and padding of the pooling from the third map to 2 x 2 pixels."""
    return 4 * upsample, 2


def _last_pool(upsample: int) -> nn.MaxPool2d:
    window, padding = last_window(upsample)
    return nn.MaxPool2d(window, padding=padding)


def stages(
    convolution: Callable[[int, int], Sequence[nn.Module]],
    channels: Sequence[int],
    *,
    upsample: int = 1,
    pools: Sequence[nn.Module] | None = None,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> nn.Sequential:
    """The skeleton that all have in common: what `convolution` makes of two widths, then pooling, then normalisation.

    Arguments:
        channels: the widths from the input on, one more than there are stages.
        pools: one a stage; those of maps [B, C, H, W] by default.
    """
    blocks = nn.Sequential()
    pools = pools or [nn.MaxPool2d(2), nn.MaxPool2d(2), _last_pool(upsample)]
    for before, after, pool in zip(channels, channels[1:], pools):
        blocks.extend([*convolution(before, after), pool, norm(after)])
    return blocks


def scalar_blocks(
    *, upsample: int, kernel_size: int, scales: Sequence[float], mult: float, basis: str = "B"
) -> nn.Sequential:
    """Scalar features: each block lifts to scales and takes the maximum over them at once; maps are [B, C, H, W]."""
    options = _options(basis, mult, kernel_size)

    def convolution(before: int, after: int) -> list[nn.Module]:
        conv = ConvTH(before, after, kernel_size, EFFECTIVE_SIZE, scales, **options)
        return [conv, ScaleMaxProjection(), nn.ReLU()]

    return stages(convolution, (1, *CHANNELS), upsample=upsample)


def _options(basis: str, mult: float, kernel_size: int) -> dict[str, Any]:
    """What a convolution is told beside its sizes; `mult` is for type B alone."""
    widths = {"mult": mult, "max_order": MAX_ORDER} if basis == "B" else {}
    return {"basis": basis, "padding": kernel_size // 2, **widths}


def vector_blocks(
    *, upsample: int, kernel_size: int, scales: Sequence[float], mult: float, basis: str = "B"
) -> nn.Sequential:
    """Vector features: the scale axis is kept, [B, C, S, H, W], up to the maximum in the last block."""
    options = _options(basis, mult, kernel_size)
    filters = (kernel_size, EFFECTIVE_SIZE, scales)
    first, second, third = CHANNELS
    return nn.Sequential(
        ConvTH(1, first, *filters, **options),
        nn.ReLU(),
        nn.MaxPool3d((1, 2, 2)),
        nn.BatchNorm3d(first),
        ConvHH(first, second, 1, *filters, **options),
        nn.ReLU(),
        nn.MaxPool3d((1, 2, 2)),
        nn.BatchNorm3d(second),
        ConvHH(second, third, 1, *filters, **options),
        ScaleMaxProjection(),
        nn.ReLU(),
        _last_pool(upsample),
        nn.BatchNorm2d(third),
    )


def cnn_blocks(*, upsample: int) -> nn.Sequential:
    """The baseline: the same network with plain 7x7 convolutions."""
    return stages(
        lambda before, after: [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()], (1, *CHANNELS), upsample=upsample
    )
