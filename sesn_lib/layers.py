"""Scale-equivariant steerable layers.

A feature map is either an image [B, C, H, W] (a function on the translations T) or a function on the group H of
scalings and translations, [B, C, S, H, W]: one more axis, the scale. The layers implement equation 7 of Sosnovik,
Szmaja and Smeulders, "Scale-Equivariant Steerable Networks" (ICLR 2020),

    [f * kappa](s, x) = sum_{s'} sum_{x'} f(s', x') kappa_s(s^-1 s', x' - x),

with filters kappa_s = sum_b w_b psi_b(s) on a fixed basis. As in every deep learning library, "convolution" means
cross-correlation.

Each scale is convolved with the filter's own support. Padding every filter to the largest support, as a literal
reading of the equation does, gives the same numbers for about twice the work; `method="literal"` does that, for tests
and comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.basis import Basis, make_basis
from sesn_lib.checks import (
    NotScriptable,
    check_choice,
    check_flag,
    check_input,
    check_scales,
    check_unsupported,
    check_whole,
)

__all__ = ["ConvHH", "ConvHH1x1", "ConvTH", "ScaleMaxProjection", "set_method"]

METHODS = ("supports", "literal")


class _SteerableConv(NotScriptable, nn.Module):
    """What the two steerable convolutions share: the basis, the weights and their initial values."""

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        kernel_size: int,
        effective_size: int,
        scales: Sequence[float],
        *,
        basis: str | Basis,
        mult: float | None,
        max_order: int | None,
        stride: int,
        padding: int,
        bias: bool,
        method: str,
        **others: Any,
    ) -> None:
        super().__init__()
        check_unsupported(type(self).__name__, others)
        check_whole(stride=stride)
        check_whole(0, padding=padding)
        check_flag(bias=bias)
        if isinstance(basis, Basis):
            if mult is not None or max_order is not None:
                raise ValueError(f"mult={mult}, max_order={max_order} given: the basis is made already, leave them out")
            if basis.size != kernel_size or basis.scales != check_scales(scales):
                raise ValueError(
                    f"basis has size {basis.size} and scales {basis.scales}, the layer asks for {kernel_size} and "
                    f"{tuple(scales)}: they must agree"
                )
            self.basis = basis
        else:
            self.basis = make_basis(basis, kernel_size, scales, effective_size, mult=mult, max_order=max_order)
        self.stride, self.padding = int(stride), int(padding)
        check_choice(METHODS, method=method)
        self.method = method
        self.weight = nn.Parameter(torch.empty(*weight_shape, self.basis.num_functions))
        self.bias = nn.Parameter(torch.zeros(weight_shape[0])) if bias else None
        # Kaiming's uniform rule with a = sqrt(5), as torch's own convolutions, on the weights of the basis functions.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    @property
    def out_channels(self) -> int:
        return self.weight.shape[0]

    @property
    def in_channels(self) -> int:
        return self.weight.shape[1]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.basis.follow(self.weight)  # with assign=True it may be elsewhere now, or of another type

    def _check_pixels(self, x: Tensor) -> None:
        least = max(self.basis.size - 2 * self.padding, 1)
        if min(x.shape[-2:]) < least:
            raise ValueError(f"input has shape {list(x.shape)}: H and W must be at least {least}, or more padding")

    def _convolve_scale(self, x: Tensor, weight: Tensor, scale: int) -> Tensor:
        """Plain convolution of x [B, C, H, W] with the filters [C', C] of one scale, on their own support."""
        kernel = self.basis.on_support(weight, scale)
        # A filter smaller than `size` needs that much less padding; less than none means cropping the image.
        padding = self.padding - (self.basis.size - self.basis.supports[scale]) // 2
        if padding < 0:
            x = F.pad(x, [padding] * 4)
        return F.conv2d(x, kernel, self.bias, self.stride, max(padding, 0))

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, bias={self.bias is not None}"


class ConvTH(_SteerableConv):
    """Lifting convolution T -> H: from an image to a function of scale and position.

    `out[b, o, s, x] = bias[o] + sum_{c, x'} f[b, c, x + x'] kappa[o, c, s, x']` with
    `kappa[o, c, s] = sum_n weight[o, c, n] psi_n(s)`.

    Arguments:
        in_channels, out_channels: C and C'.
        kernel_size: odd number of pixels of the filters at the largest scale.
        effective_size: square root of the number of basis functions, so that the layer has as many weights as a plain
            convolution of that kernel size.
        scales: increasing positive scales [pixel]; their number is S.
        basis: "A", "B", or a `Basis`, which has its own number of functions whatever effective_size is.
        mult, max_order: of a type B basis (see `sesn_lib.basis.hermite_b`).
        stride, padding: in space, as of `torch.nn.Conv2d`.
        bias: whether to add one number per output channel.
        method: "supports", or "literal", the slow twin. `padding_mode`, `dilation`, `groups` are refused by name.

    Shapes: input [B, C, H, W], output [B, C', S, H', W'], weight [C', C, N_b], bias [C'].

    Raises:
        ValueError: values out of range, at construction; an input of another shape. TypeError: of another dtype.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        effective_size: int,
        scales: Sequence[float],
        *,
        basis: str | Basis = "B",
        mult: float | None = None,
        max_order: int | None = None,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        method: str = "supports",
        **others: Any,
    ) -> None:
        check_whole(in_channels=in_channels, out_channels=out_channels)
        super().__init__(
            (out_channels, in_channels), kernel_size, effective_size, scales, basis=basis, mult=mult,
            max_order=max_order, stride=stride, padding=padding, bias=bias, method=method, **others,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCHW", self.weight, C=self.in_channels)
        self._check_pixels(x)
        if self.method == "literal":
            return self._literal(x)
        return torch.stack([self._convolve_scale(x, self.weight, i) for i in range(self.basis.num_scales)], dim=2)

    def _literal(self, x: Tensor) -> Tensor:
        """One convolution with the zero-padded filters of all scales as C' S output channels."""
        kernels = self.basis(self.weight).transpose(1, 2).flatten(0, 1)  # [C' S, C, size, size]
        out = F.conv2d(x, kernels, stride=self.stride, padding=self.padding)
        out = out.unflatten(1, (self.out_channels, self.basis.num_scales))
        return out if self.bias is None else out + self.bias.view(-1, 1, 1, 1)


class ConvHH(_SteerableConv):
    """Group convolution H -> H, with K neighbouring scales seen by each output scale.

    `out[b, o, s, x] = bias[o] + sum_{k < K} sum_{c, x'} f[b, c, s + k, x + x'] kappa_k[o, c, s, x']`, where
    kappa_k[o, c, s] = sum_b weight[o, c, k, b] psi_b(s) and f is zero beyond the last scale.

    Arguments: as `ConvTH`, and
        scale_extent: K; 1 means that scales do not mix.

    Shapes: input [B, C, S, H, W], output [B, C', S, H', W'], weight [C', C, K, N_b], bias [C'].

    Raises:
        ValueError: values out of range, at construction; an input of another shape. TypeError: of another dtype.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        scale_extent: int,
        kernel_size: int,
        effective_size: int,
        scales: Sequence[float],
        *,
        basis: str | Basis = "B",
        mult: float | None = None,
        max_order: int | None = None,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        method: str = "supports",
        **others: Any,
    ) -> None:
        check_whole(in_channels=in_channels, out_channels=out_channels, scale_extent=scale_extent)
        if scale_extent > (most := len(check_scales(scales))):
            raise ValueError(f"scale_extent is {scale_extent}: it must be at most {most}, the number of scales")
        super().__init__(
            (out_channels, in_channels, scale_extent), kernel_size, effective_size, scales, basis=basis, mult=mult,
            max_order=max_order, stride=stride, padding=padding, bias=bias, method=method, **others,
        )  # fmt: skip

    @property
    def scale_extent(self) -> int:
        return self.weight.shape[2]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale_extent={self.scale_extent}"

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCSHW", self.weight, C=self.in_channels, S=self.basis.num_scales)
        self._check_pixels(x)
        if self.method == "literal":
            return self._literal(x)
        if self.scale_extent == 1:
            # Whole planes, not slices of the scale axis, whose gradients would each be as large as the whole input.
            weight = self.weight[:, :, 0]
            return torch.stack([self._convolve_scale(plane, weight, i) for i, plane in enumerate(x.unbind(2))], dim=2)
        out = []
        for i in range(self.basis.num_scales):
            seen = x[:, :, i : i + self.scale_extent]  # fewer than K scales at the end of the axis: the rest is zero
            weight = self.weight[:, :, : seen.shape[2]]
            out.append(self._convolve_scale(seen.flatten(1, 2), weight.flatten(1, 2), i))
        return torch.stack(out, dim=2)

    def _literal(self, x: Tensor) -> Tensor:
        """Per k: shift the scale axis, then convolve all scales at once, as groups, with their zero-padded filters."""
        scales = self.basis.num_scales
        total: Tensor | None = None
        for k in range(self.scale_extent):
            shifted = F.pad(x[:, :, k:], [0, 0, 0, 0, 0, k])
            kernels = self.basis(self.weight[:, :, k]).permute(2, 0, 1, 3, 4).flatten(0, 1)  # [S C', C, size, size]
            grouped = shifted.transpose(1, 2).flatten(1, 2)  # [B, S C, H, W]
            out = F.conv2d(grouped, kernels, stride=self.stride, padding=self.padding, groups=scales)
            total = out if total is None else total + out
        assert total is not None
        result = total.unflatten(1, (scales, self.out_channels)).transpose(1, 2)
        return result if self.bias is None else result + self.bias.view(-1, 1, 1, 1)


class ConvHH1x1(NotScriptable, nn.Module):
    """One linear map of the channels, the same at every scale and position: H -> H.

    Shapes: input [B, C, S, H, W], output [B, C', S, H', W'], weight [C', C], bias [C'].

    Raises:
        ValueError: values out of range, at construction; an input of another shape. TypeError: of another dtype.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        check_whole(in_channels=in_channels, out_channels=out_channels, stride=stride)
        check_flag(bias=bias)
        self.stride = int(stride)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCSHW", self.weight, C=self.weight.shape[1])
        return F.conv3d(x, self.weight[:, :, None, None, None], self.bias, stride=(1, self.stride, self.stride))

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape
        return f"{in_channels}, {out_channels}, stride={self.stride}, bias={self.bias is not None}"


class ScaleMaxProjection(NotScriptable, nn.Module):
    """Maximum over the scale axis, H -> T: [B, C, S, H, W] -> [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, "BCSHW")
        return x.amax(dim=2)


def set_method(module: nn.Module, method: str) -> nn.Module:
    """Make every steerable convolution in `module` compute by `method` (ValueError: unknown); returns the module."""
    check_choice(METHODS, method=method)
    for layer in module.modules():
        if isinstance(layer, _SteerableConv):
            layer.method = method
    return module
