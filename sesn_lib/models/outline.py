"""What a wide residual network consists of, part by part, for tables and drawings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sesn_lib.layers import ConvHH, ConvTH, ScaleMaxProjection
from sesn_lib.models.wide_resnet import Unit, WideResNet

__all__ = ["Part", "outline"]


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


def outline(network: WideResNet) -> tuple[Part, ...]:
    """The parts in order. Shapes are reckoned from the convolutions' strides and widths; nothing is computed."""
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
