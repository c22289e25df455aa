"""Wide residual networks, plain and scale-equivariant: one graph, with the convolutions as a parameter.

WRN-16-8 of Zagoruyko and Komodakis, "Wide Residual Networks" (BMVC 2016), with the stem, the strides and the
initial values of the STL-10 experiment of Sosnovik, Szmaja and Smeulders, "Scale-Equivariant Steerable
Networks" (ICLR 2020). In its scale-equivariant forms every 3x3 convolution becomes a steerable one and feature
maps gain an axis of scales, [B, C, S, H, W], from the stem up to a maximum over scales in front of the last
normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sesn_lib.checks import NotScriptable, check_number, check_whole
from sesn_lib.layers import ConvHH, ConvHH1x1, ConvTH, ScaleMaxProjection

STEM_WIDTH = 16
KERNEL_SIZE = 7
EFFECTIVE_SIZE = 3


class Convolutions:
    """What a wide residual network is made of: here of ordinary convolutions, on maps [B, C, H, W]. Groups count from
    1."""

    def stem(self, in_channels: int, out_channels: int) -> nn.Module:
        """From the image to the first feature map."""
        return self.conv(in_channels, out_channels)

    def conv(self, in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Module:
        """The 3x3 convolution."""
        return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)

    def entry(self, in_channels: int, out_channels: int, *, stride: int, group: int) -> nn.Module:
        """The first convolution of a group, where the variants differ."""
        return self.conv(in_channels, out_channels, stride=stride)

    def shortcut(self, in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
        """The 1x1 convolution beside it."""
        return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def norm(self, channels: int) -> nn.Module:
        """Batch normalisation of a feature map."""
        return nn.BatchNorm2d(channels)

    def project(self) -> nn.Module:
        """From the last feature map to one on positions alone, [B, C, H, W]."""
        return nn.Identity()


@dataclass(frozen=True)
class SteerableConvolutions(Convolutions):
    """Steerable convolutions on maps [B, C, S, H, W], with as many weights as 3x3 ones: type A basis of 9 functions.

    Attributes:
        scales: the S scales [pixel], not rounded.
        pooled: groups that begin with a maximum over scales and a new lifting convolution.
        interscale: groups that begin with a convolution that sees two neighbouring scales.
        kernel_size: pixels of the filters at the largest scale; odd.
    """

    scales: tuple[float, ...]
    pooled: tuple[int, ...] = ()
    interscale: tuple[int, ...] = ()
    kernel_size: int = KERNEL_SIZE

    def _lift(self, in_channels: int, out_channels: int, stride: int) -> ConvTH:
        return ConvTH(in_channels, out_channels, self.kernel_size, **self._options(stride))

    def _group(self, in_channels: int, out_channels: int, stride: int, scale_extent: int) -> ConvHH:
        return ConvHH(in_channels, out_channels, scale_extent, self.kernel_size, **self._options(stride))

    def _options(self, stride: int) -> dict[str, Any]:
        padding = self.kernel_size // 2
        filters = {"effective_size": EFFECTIVE_SIZE, "scales": self.scales, "basis": "A"}
        return {**filters, "stride": stride, "padding": padding, "bias": False}

    def stem(self, in_channels: int, out_channels: int) -> nn.Module:
        return self._lift(in_channels, out_channels, 1)

    def conv(self, in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Module:
        return self._group(in_channels, out_channels, stride, 1)

    def entry(self, in_channels: int, out_channels: int, *, stride: int, group: int) -> nn.Module:
        if group in self.pooled:
            return nn.Sequential(ScaleMaxProjection(), self._lift(in_channels, out_channels, stride))
        return self._group(in_channels, out_channels, stride, 2 if group in self.interscale else 1)

    def shortcut(self, in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
        return ConvHH1x1(in_channels, out_channels, stride=stride, bias=False)

    def norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm3d(channels)

    def project(self) -> nn.Module:
        return ScaleMaxProjection()


def _scales(smallest: float) -> tuple[float, float, float]:
    return smallest, smallest * 1.41, smallest * 1.41**2


VARIANTS: Mapping[str, Convolutions] = MappingProxyType(
    {
        "wrn_16_8": Convolutions(),
        "wrn_16_8_ses_a": SteerableConvolutions(_scales(0.9)),
        "wrn_16_8_ses_b": SteerableConvolutions(_scales(0.9), pooled=(2, 3)),
        "wrn_16_8_ses_c": SteerableConvolutions(_scales(1.1), interscale=(1,)),
    }
)


class Unit(NotScriptable, nn.Module):
    """Residual unit, pre-activation: `h = ReLU(norm1(x)); y = conv2(dropout(ReLU(norm2(conv1(h)))))`; result `x + y`.

    Where the width changes it is `shortcut(h) + y`: the shortcut then acts on the activated input.
    """

    def __init__(
        self,
        norm1: nn.Module,
        conv1: nn.Module,
        norm2: nn.Module,
        conv2: nn.Module,
        shortcut: nn.Module | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2 = norm1, conv1, norm2, conv2
        self.shortcut = shortcut
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm1(x))
        y = self.conv2(self.dropout(torch.relu(self.norm2(self.conv1(h)))))
        return y + (x if self.shortcut is None else self.shortcut(h))


class WideResNet(NotScriptable, nn.Module):
    """Stem, three groups of residual units (map sizes H, H/2, H/4), norm, ReLU, global average, linear.

    Arguments:
        convolutions: what it is made of, e.g. a row of `VARIANTS`.
        depth: 6 n + 4 for n units per group.
        widening: the groups are 16, 32 and 64 times this wide.
        dropout: fraction of numbers dropped inside each unit.
        in_channels: of the image.
        input_size: pixels along each side of the image, 4 or more.
        num_classes: number of outputs.

    Shapes: input [B, in_channels, input_size, input_size], output logits [B, num_classes].

    Raises:
        ValueError: values out of range, at construction; an input of another shape.
    """

    def __init__(
        self,
        convolutions: Convolutions,
        *,
        depth: int = 16,
        widening: int = 8,
        dropout: float = 0.3,
        in_channels: int = 3,
        input_size: int = 96,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth!r}: it must be 6 n + 4, i.e. 10, 16, 22, ...")
        check_whole(widening=widening, num_classes=num_classes, in_channels=in_channels)
        check_whole(4, input_size=input_size)
        check_number(least=0, below=1, dropout=dropout)
        self.input_shape = (in_channels, input_size, input_size)
        self.stem = convolutions.stem(in_channels, STEM_WIDTH)
        units, before, groups = (depth - 4) // 6, STEM_WIDTH, []
        for number in (1, 2, 3):
            after = STEM_WIDTH * widening * 2 ** (number - 1)
            groups.append(_group(convolutions, number, before, after, units, dropout))
            before = after
        self.groups = nn.Sequential(*groups)
        self.project = convolutions.project()
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or tuple(x.shape[1:]) != self.input_shape:
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(f"input has shape {list(x.shape)}: the network was built for [B, {wanted}]")
        maps = self.project(self.groups(self.stem(x)))
        return self.classifier(torch.relu(self.norm(maps)).mean(dim=(2, 3)))


def _group(conv: Convolutions, number: int, before: int, after: int, units: int, dropout: float) -> nn.Sequential:
    """The residual units that share a width; the first of them changes it and the map's size."""

    def unit(width: int, conv1: nn.Module, shortcut: nn.Module | None) -> Unit:
        return Unit(conv.norm(width), conv1, conv.norm(after), conv.conv(after, after), shortcut, dropout)

    stride = 1 if number == 1 else 2
    # With widening 1 the first group keeps the stem's width and needs no shortcut.
    shortcut = conv.shortcut(before, after, stride=stride) if before != after else None
    first = unit(before, conv.entry(before, after, stride=stride, group=number), shortcut)
    return nn.Sequential(first, *(unit(after, conv.conv(after, after), None) for _ in range(units - 1)))


def _initialise(network: WideResNet) -> None:
    """The authors' rule: normal with variance 2 / n, n the number of a layer's weights per input channel (fan-out)."""
    for layer in network.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
        elif isinstance(weight, Tensor) and weight.dim() > 1:
            nn.init.normal_(weight, std=math.sqrt(2 * weight.shape[1] / weight.numel()))


def official_name(name: str) -> str:
    """The authors' key of one of ours, e.g. `groups.1.0.norm1.weight` -> `block2.layer.0.bn1.weight`."""
    first, *rest = name.split(".")
    if first == "groups":
        group, unit, part, *rest = rest
        part = {"norm1": "bn1", "norm2": "bn2", "shortcut": "convShortcut"}.get(part, part)
        return ".".join([f"block{int(group) + 1}", "layer", unit, part, *rest])
    return ".".join([{"stem": "conv1", "norm": "bn1", "classifier": "fc"}[first], *rest])


# What a network consists of


@dataclass(frozen=True)
class Part:
    """A stage of a network.

    Attributes:
        name: "stem", "group 1, unit 2", "head", ...
        first: its first convolution: "conv", "lift" (T->H), "group" (H->H), "group, 2 scales", "max, lift", or "".
        shape: of its output for one image, [C, H, W] or [C, S, H, W]; [classes] of the head.
        parameters: trained numbers in it.
    """

    name: str
    first: str
    shape: tuple[int, ...]
    parameters: int


def summary(network: WideResNet) -> tuple[Part, ...]:
    """A network part by part, for tables and drawings; reckoned from strides and widths, nothing is computed."""
    size = network.input_shape[1]
    parts = [_part("stem", network.stem, network.stem, size)]
    for number, group in enumerate(network.groups, start=1):
        assert isinstance(group, nn.Sequential)
        for i, unit in enumerate(group, start=1):
            assert isinstance(unit, Unit)
            stride = _last(unit.conv1).stride
            size = -(-size // (stride if isinstance(stride, int) else stride[0]))
            parts.append(_part(f"group {number}, unit {i}", unit, unit.conv1, size))
    if isinstance(network.project, ScaleMaxProjection):
        channels, _, *pixels = parts[-1].shape
        parts.append(Part("maximum over scales", "", (channels, *pixels), 0))
    head = _count(network.norm) + _count(network.classifier)
    return (*parts, Part("head", "", (network.classifier.out_features,), head))


def _part(name: str, module: nn.Module, entry: nn.Module, size: int) -> Part:
    conv = _last(entry)
    scales = (conv.basis.num_scales,) if isinstance(conv, ConvTH | ConvHH) else ()
    return Part(name, _kind(entry), (conv.out_channels, *scales, size, size), _count(module))


def _last(entry: nn.Module) -> ConvTH | ConvHH | nn.Conv2d:
    conv = entry[-1] if isinstance(entry, nn.Sequential) else entry
    assert isinstance(conv, ConvTH | ConvHH | nn.Conv2d)
    return conv


def _kind(entry: nn.Module) -> str:
    if isinstance(entry, nn.Sequential):
        return "max, lift"
    if isinstance(entry, ConvHH):
        return "group" if entry.scale_extent == 1 else f"group, {entry.scale_extent} scales"
    return "lift" if isinstance(entry, ConvTH) else "conv"


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
