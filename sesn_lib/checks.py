"""What arguments may be: each check raises one line that names the argument, quotes its value, says what is right."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what checks records and statistics should not have to import torch
    from torch import Tensor, nn

__all__ = [
    "PRECISIONS",
    "PRECISION_CHOICES",
    "DeviceError",
    "NotScriptable",
    "check_choice",
    "check_device",
    "check_dtype",
    "check_epochs",
    "check_flag",
    "check_floating",
    "check_input",
    "check_number",
    "check_scales",
    "check_tensor",
    "check_threads",
    "check_unsupported",
    "check_whole",
    "described",
    "is_number",
    "is_whole",
    "shown",
]

FLOATS = ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")
MOST = 2**31 - 1  # what torch takes for sizes and strides
MOST_THREADS = 1024
# Of torch's convolutions; what is asked for beyond these is refused by name.
UNSUPPORTED = {"padding_mode": "zeros", "dilation": 1, "groups": 1}
PRECISIONS = ("float32", "bf16")
PRECISION_CHOICES = ("auto", *PRECISIONS)


class NotScriptable:
    """A module that `torch.jit.script` does not take; it says so in one line."""

    def __prepare_scriptable__(self) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} cannot be compiled by torch.jit.script: use torch.compile, torch.export.export or "
            "torch.jit.trace"
        )


class DeviceError(ValueError):
    """There is no such device here, so that no run can be made on it."""


def check_whole(least: int = 1, *, most: int = MOST, **values: Any) -> None:
    """Raises ValueError unless every value is a whole number from `least` to `most`."""
    for name, value in values.items():
        if not is_whole(value, least, most):
            limit = f" and at most {most}" if most != MOST or is_whole(value, most, math.inf) else ""
            raise ValueError(f"{name} is {shown(value)}: it must be an integer, {least} or greater{limit}")


def is_whole(value: Any, least: int, most: float = MOST) -> bool:
    """Whether it is a whole number from `least` to `most`; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= int(value) <= most


def is_number(value: Any) -> bool:
    """Whether it is a finite number that a float can hold."""
    if type(value) is float:  # nearly always, and an abstract class is slow to ask
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond floating point
        return False


def check_number(
    above: float = -math.inf,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    **values: Any,
) -> None:
    """Raises ValueError unless every value is a finite number above `above`, from `least` to `most`, below `below`."""
    for name, value in values.items():
        if not is_number(value) or not (above < value < below and least <= value <= most):
            limits = [f"above {above:g}"] if above > -math.inf else []
            limits += [f"at least {least:g}"] if least > -math.inf else []
            limits += [f"at most {most:g}"] if most < math.inf else []
            limits += [f"below {below:g}"] if below < math.inf else []
            raise ValueError(f"{name} is {shown(value)}: it must be a finite number {' and '.join(limits)}".rstrip())


def check_choice(choices: Iterable[str], **values: Any) -> None:
    """Raises ValueError unless every value is one of `choices`."""
    known = tuple(choices)
    for name, value in values.items():
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} is {shown(value)}: it must be one of {', '.join(known)}")


def check_epochs(name: str, epochs: Any) -> tuple[int, ...]:
    """The epochs as a tuple.

    Raises:
        ValueError: not whole numbers from 1 that increase; none is allowed.
    """
    if isinstance(epochs, str | bytes) or not isinstance(epochs, Iterable):
        raise ValueError(f"{name} is {shown(epochs)}: it must be a sequence of epochs such as (20, 40)")
    marks = tuple(epochs)
    if not all(is_whole(mark, 1) for mark in marks):
        raise ValueError(f"{name} are {shown(marks)}: each must be an integer, 1 or greater")
    if any(b <= a for a, b in pairwise(marks)):
        raise ValueError(f"{name} are {shown(marks)}: they must be increasing such as (20, 40)")
    return marks


def check_unsupported(layer: str, given: dict[str, Any]) -> None:
    """Raises TypeError for an argument that is none, ValueError for one of which `layer` knows the usual value only."""
    for name, value in given.items():
        if name not in UNSUPPORTED:
            raise TypeError(f"{layer} has no argument {name!r}, given as {shown(value)}")
        if value != UNSUPPORTED[name]:
            raise ValueError(f"{name} is {shown(value)}: {layer} does not support it, only {UNSUPPORTED[name]!r}")


def check_flag(**values: Any) -> None:
    """Raises ValueError unless every value is True or False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {shown(value)}: it must be True or False")


def check_scales(scales: Any) -> tuple[float, ...]:
    """The scales as floats.

    Raises:
        ValueError: not a sequence of positive numbers that increase.
    """
    listed = scales.tolist() if hasattr(scales, "tolist") else scales
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable) or not hasattr(listed, "__getitem__"):
        raise ValueError(f"scales is {shown(scales)}: it must be a sequence of numbers such as [1.0, 1.4, 2.0]")
    values = list(listed)
    if not values:
        raise ValueError("scales is empty: at least one scale is needed")
    if not all(is_number(s) and s > 0 for s in values):
        raise ValueError(f"scales are {shown(values)}: every scale must be a positive number of pixels")
    if any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"scales are {shown(values)}: they must increase, smallest first")
    return tuple(float(s) for s in values)


def check_dtype(dtype: Any) -> None:
    """Raises ValueError unless it is a floating-point type of torch that layers compute in."""
    if isinstance(dtype, str) or str(dtype) not in FLOATS:
        raise ValueError(f"dtype is {shown(dtype)}: it must be one of {', '.join(FLOATS)}")


def check_floating(least_axes: int = 1, **values: Any) -> None:
    """Raises ValueError unless every value is a floating-point tensor with so many axes or more."""
    import torch

    for name, value in values.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dim() < least_axes:
            axes = "[..., H, W]" if least_axes == 2 else "[B, ...]"
            raise ValueError(f"{name} is {described(value)}: it must be a floating-point tensor {axes}")


def check_device(name: str) -> tuple[str, str]:
    """The kind and the number (empty for none) in ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: another name.
    """
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (name != kind and not (kind == "cuda" and index.isdecimal())):
        raise DeviceError(f"device is {name!r}: it must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    return kind, index


def check_threads(value: Any) -> None:
    """Raises ValueError unless `value` is a number of processor threads that can be started."""
    check_whole(most=MOST_THREADS, threads=value)


def check_tensor(layer: nn.Module, x: Any) -> str:
    """The name of the layer.

    Raises:
        TypeError: its input is no dense tensor.
    """
    import torch

    name = type(layer).__name__
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"input is {shown(x)}: {name} needs a tensor")
    if x.layout is not torch.strided:
        raise TypeError(f"input is a tensor with layout {x.layout}: {name} needs a dense one, as x.to_dense() gives")
    return name


def check_input(layer: nn.Module, x: Any, axes: str, weight: Tensor | None = None, **sizes: int) -> None:
    """Raises ValueError for a shape other than `axes`, e.g. "BCHW", with `sizes`, e.g. C=3; TypeError for a type."""
    import torch

    name = check_tensor(layer, x)
    if x.dim() != len(axes) or any(x.shape[axes.index(axis)] != size for axis, size in sizes.items()):
        wanted = " and ".join(f"{axis} = {size}" for axis, size in sizes.items())
        raise ValueError(
            f"input has shape {list(x.shape)}: {name} needs [{', '.join(axes)}]" + (f" with {wanted}" if wanted else "")
        )
    if 0 in x.shape[2:]:
        raise ValueError(f"input has shape {list(x.shape)}: no axis but the batch may be empty")
    if weight is None or x.dtype == weight.dtype:
        return
    if not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise TypeError(f"input is {x.dtype}: {name} has weights of {weight.dtype}, convert one of them")


def described(value: Any) -> str:
    """Type and shape of a tensor in one line, or the value if it is none."""
    import torch

    if not isinstance(value, torch.Tensor):
        return shown(value)
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def shown(value: Any, most: int = 120) -> str:
    """A value as one line of at most so many characters, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists
        kind = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
        text = f"{kind}, too large to be shown"
    return text if len(text) <= most else text[: most - 3] + "..."
