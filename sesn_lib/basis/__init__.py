"""Steerable filter bases: Hermite-Gauss functions sampled on the pixel grid, at every scale.

The functions (Sosnovik, Szmaja and Smeulders, "Scale-Equivariant Steerable Networks", ICLR 2020, equation 9) are

    psi_{sigma,n,m}(x, y) = A sigma^-2 He_n(x / sigma) He_m(y / sigma) exp(-(x^2 + y^2) / (2 sigma^2)),

with He_n the probabilists' Hermite polynomials. A filter at scale s is `sum_b w_b psi_b(s)`: the same weights w on a
basis that is fixed in advance, so scaling a filter never resamples it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermeval
from torch import Tensor, nn

from sesn_lib.basis.consistency import consistent, dilated
from sesn_lib.basis.constants import Constant
from sesn_lib.checks import NotScriptable, check_dtype, check_number, check_scales, check_whole, is_whole

__all__ = ["Basis", "disco", "hermite_a", "hermite_b", "hermite_gauss", "make_basis", "support"]

LARGEST = 1e4  # value of a function whose norm is 1 at the first scale; those of the paper's networks stay below 3


def hermite_gauss(coordinates: np.ndarray, sigma: float, order: int) -> np.ndarray:
    """One-dimensional factor of psi: `He_n(x / sigma) exp(-x^2 / (2 sigma^2)) / sigma`, at the given coordinates
    [pixel].

    The two-dimensional function is the outer product of two such factors, which gives it the factor sigma^-2.
    """
    x = np.asarray(coordinates, dtype=np.float64) / sigma
    return hermeval(x, [0.0] * order + [1.0]) * np.exp(-(x**2) / 2) / sigma


def support(size: int, scale: float, largest: float) -> int:
    """Odd number of pixels on which the filters of a scale are sampled, out of `size` at the largest scale."""
    return int(size * scale / largest) // 2 * 2 + 1


def hermite_a(size: int, scales: Sequence[float], effective_size: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Type A: one width per scale, sigma = s, and all orders 0 .. effective_size - 1 in both directions.

    Arguments:
        size: odd number of pixels of the filters at the largest scale.
        scales: increasing positive scales s [pixel].
        effective_size: number of orders per direction; the basis has effective_size^2 functions.
        dtype: type of the result. Everything is computed in float64 and rounded once.

    Returns:
        Tensor [N_b, S, size, size] = [function, scale, row (x), column (y)]; order n of x runs fastest. Every function
        is divided by its own L2 norm at the first scale, and sampled on that scale's own support (see `support`), zero
        outside.

    Raises:
        ValueError: even size, scales not positive and increasing, effective_size below 1 or above size, another dtype
            than float16, bfloat16, float32 or float64; functions that (almost) vanish at the first scale.
    """
    check_dtype(dtype)
    return torch.from_numpy(_type_a(size, scales, effective_size)).to(dtype)


def hermite_b(
    size: int,
    scales: Sequence[float],
    effective_size: int,
    *,
    mult: float,
    max_order: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Type B: several widths per scale, sigma = s, s / mult, s / mult^2, ..., and total order n + m <= max_order.

    Functions are listed width by width, then by the order m of y, then by the order n of x, and the list is cut after
    effective_size^2 functions, so that a filter has as many weights as an effective_size x effective_size kernel.

    Arguments and result as `hermite_a`, and:
        mult: ratio of neighbouring widths, greater than 1.
        max_order: highest total order n + m.

    Raises:
        ValueError: as `hermite_a`; mult not above 1; max_order negative.
    """
    check_dtype(dtype)
    return torch.from_numpy(_type_b(size, scales, effective_size, mult, max_order)).to(dtype)


def _type_a(size: int, scales: Sequence[float], effective_size: int) -> np.ndarray:
    scales = _check(size, scales, effective_size)
    orders = [(n, m) for m in range(effective_size) for n in range(effective_size)]
    return _sample(size, scales, [(1.0, n, m) for n, m in orders])


def _type_b(size: int, scales: Sequence[float], effective_size: int, mult: float, max_order: int) -> np.ndarray:
    scales = _check(size, scales, effective_size)
    check_number(1, mult=mult)
    check_whole(0, max_order=max_order)
    listed = (
        (float(mult) ** -k, n, m) for k in count() for m in range(max_order + 1) for n in range(max_order + 1 - m)
    )
    return _sample(size, scales, list(islice(listed, effective_size**2)))


def disco(size: int, scales: Sequence[float], effective_size: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Filters that are free at the first scale, pixel by pixel, and follow from consistency at all others.

    Sosnovik, Moskalev and Smeulders, "DISCO: accurate Discrete Scale Convolutions" (BMVC 2021, arXiv 2106.02733), ask
    of filters k_i, k_j at scales of ratio r = s_j / s_i that rescaling commutes with filtering, for every image f:

        R_r[f * k_j] = R_r[f] * k_i,    R_r[f](x) = f(r x), interpolated.

    For whole r no interpolation is needed, and the dilated filter `k_j(r u) = k_i(u)`, zero elsewhere, is the exact
    solution. For other r there is none; the best one for white noise f is had by least squares, from all equations with
    scales whose filters are known (see `consistency`). With Keys' cubic interpolation that is the projection of taps at
    the real positions r u onto taps at pixels.

    Arguments:
        size: odd number of pixels of the filters at the largest scale.
        scales: increasing positive scales; only their ratios matter. Ratios within 1 % of a whole number count as it,
            for scales that were rounded.
        effective_size: odd number of pixels of the filters at the first scale; there are effective_size^2 functions,
            one a pixel, row by row.
        dtype: type of the result. Everything is computed in float64 and rounded once.

    Returns: tensor [N_b, S, size, size], as `hermite_a`; at the first scale every function is one pixel.

    Raises:
        ValueError: as `hermite_a`; an even effective_size; a size that does not hold the dilated filters.
    """
    check_dtype(dtype)
    return torch.from_numpy(_disco(size, scales, effective_size)).to(dtype)


def _disco(size: int, scales: Sequence[float], effective_size: int) -> np.ndarray:
    scales = _check(size, scales, effective_size)
    if effective_size % 2 == 0:
        raise ValueError(f"effective_size is {effective_size}: it must be odd, so that a filter has a centre pixel")
    first = np.eye(effective_size**2).reshape(-1, effective_size, effective_size)
    known: dict[int, np.ndarray] = {0: first}
    for multiples_of in ((0,), range(len(scales))):  # of the first scale, then of any
        for j in range(1, len(scales)):
            exact = next(
                (i for i in multiples_of if i in known and i < j and _whole_ratio(scales[j] / scales[i])), None
            )
            if j in known or (exact is None and multiples_of == (0,)):
                continue
            if exact is not None:
                known[j] = dilated(known[exact], round(scales[j] / scales[exact]))
            else:
                width = support(size, scales[j], max(scales))
                known[j] = consistent({scales[j] / scales[i]: kernels for i, kernels in known.items()}, width)
    functions = np.zeros((effective_size**2, len(scales), size, size))
    for j, kernels in known.items():
        margin = (size - kernels.shape[-1]) // 2
        if margin < 0:
            raise ValueError(
                f"kernel size is {size}: scale {scales[j]} of {scales} has filters of {kernels.shape[-1]} pixels, so "
                "it must be at least that"
            )
        functions[:, j, margin : size - margin, margin : size - margin] = kernels
    return functions


def _whole_ratio(ratio: float) -> bool:
    return round(ratio) >= 2 and abs(ratio / round(ratio) - 1) < 0.01


def _check(size: int, scales: Sequence[float], effective_size: int) -> tuple[float, ...]:
    """The scales as floats; raises ValueError for what no basis has."""
    _check_size(size)
    checked = check_scales(scales)
    check_whole(effective_size=effective_size)
    if effective_size > size:
        raise ValueError(
            f"effective_size is {effective_size}: it must be at most {size}, the kernel size: {size}x{size} pixels "
            "have no more independent functions"
        )
    return checked


def _check_size(size: int) -> None:
    if not is_whole(size, 1) or size % 2 == 0:
        raise ValueError(f"kernel size is {size!r}: it must be odd and positive, so that a filter has a centre pixel")


def _sample(size: int, scales: Sequence[float], functions: Sequence[tuple[float, int, int]]) -> np.ndarray:
    """Sample functions (width relative to s, order in x, order in y) at every scale and normalise at the first one."""
    sampled = np.zeros((len(functions), len(scales), size, size))
    with np.errstate(all="ignore"):  # what overflows is refused below
        for i, scale in enumerate(scales):
            width = support(size, scale, max(scales))
            margin = (size - width) // 2
            inner = slice(margin, margin + width)
            grid = np.arange(width) - width // 2
            for b, (ratio, n, m) in enumerate(functions):
                sigma = scale * ratio
                sampled[b, i, inner, inner] = np.outer(hermite_gauss(grid, sigma, n), hermite_gauss(grid, sigma, m))
        norms = np.sqrt((sampled[:, :1] ** 2).sum(axis=(2, 3), keepdims=True))
        normalised = sampled / norms
        largest = np.abs(normalised).max(axis=(1, 2, 3))
    wrong = np.flatnonzero(~(largest <= LARGEST))
    if len(wrong):
        vanish = bool((norms.ravel()[wrong] == 0).any())
        how = (
            "vanish" if vanish else f"almost vanish (normalised there, they reach {largest[wrong].max():.2g} elsewhere)"
        )
        raise ValueError(
            f"basis functions of orders {[functions[b][1:] for b in wrong[:20]]} {how} on the "
            f"{support(size, scales[0], max(scales))}-pixel support of the first scale {scales[0]}: use a larger size "
            f"than {size}, a larger scale, wider functions or lower orders"
        )
    return normalised


class Basis(NotScriptable, nn.Module):
    """A fixed set of functions at S scales; maps weights to filters, in the type and on the device of the weights.

    Arguments:
        functions: tensor or array [N_b, S, size, size], as `hermite_a` and `hermite_b` make it.
        scales: the S scales, increasing.

    Raises:
        ValueError: another shape, even size, another dtype, values that are not finite or that are none, as on the meta
            device; scales that do not increase.

    Attributes:
        functions: the tensor in the module's type and on its device; no part of its state dict.
        supports: per scale, the odd number of pixels outside of which every function is zero.
    """

    def __init__(self, functions: Tensor | np.ndarray, scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = check_scales(scales)
        self.functions = functions
        self.supports = tuple(support(self.size, s, max(self.scales)) for s in self.scales)
        # Without numbers: all that it knows is the module's device and type, at first those of the given tensor.
        dtype = functions.dtype if isinstance(functions, Tensor) else None
        self.register_buffer("_place", torch.empty(0, dtype=dtype), persistent=False)

    def follow(self, weight: Tensor) -> None:
        """Show `functions` in the type and on the device of a tensor."""
        self._place = weight.new_empty(0)

    @property
    def functions(self) -> Tensor:
        return self.constant.like(self.get_buffer("_place")).clone()

    @functions.setter
    def functions(self, functions: Tensor | np.ndarray) -> None:
        if not isinstance(functions, Tensor | np.ndarray):
            raise ValueError(f"functions is a {type(functions).__name__}: it must be a tensor")
        shape = list(functions.shape)
        if len(shape) != 4 or shape[1] != len(self.scales) or shape[2] != shape[3]:
            raise ValueError(
                f"functions has shape {shape}: it must be [N_b, S, size, size] with S = {len(self.scales)}, the number "
                "of scales"
            )
        _check_size(shape[2])
        check_dtype(functions.dtype if isinstance(functions, Tensor) else getattr(torch, functions.dtype.name, None))
        self.constant = Constant(functions)
        if not (finite := np.isfinite(self.constant.values)).all():
            raise ValueError(f"functions holds {self.constant.values[~finite][0]}: every value must be finite")
        self.num_functions, self.num_scales, self.size, _ = shape

    def forward(self, weight: Tensor) -> Tensor:
        """Filters at all scales: `kappa(s) = sum_b w_b psi_b(s)`; weight [..., N_b] -> [..., S, size, size]."""
        kernels = weight @ self.constant.like(weight).flatten(1)
        return kernels.view(*weight.shape[:-1], self.num_scales, self.size, self.size)

    def on_support(self, weight: Tensor, scale: int) -> Tensor:
        """Filters at one scale on its own support t: weight [..., N_b] -> [..., t, t]; zero beyond."""
        width = self.supports[scale]
        margin = (self.size - width) // 2
        inner = self.constant.like(weight)[:, scale, margin : margin + width, margin : margin + width]
        return (weight @ inner.flatten(1)).view(*weight.shape[:-1], width, width)

    def extra_repr(self) -> str:
        return f"functions={self.num_functions}, scales={self.scales}, size={self.size}, supports={self.supports}"


def make_basis(
    kind: str,
    size: int,
    scales: Sequence[float],
    effective_size: int,
    *,
    mult: float | None = None,
    max_order: int | None = None,
) -> Basis:
    """A `Basis` by its kind: "A" (`hermite_a`), "B" (`hermite_b`, which needs mult and max_order) or "DISCO" (`disco`).

    Raises:
        ValueError: unknown kind; options that the kind does not have, or lacks; and what the functions raise.
    """
    if kind in ("A", "DISCO"):
        if mult is not None or max_order is not None:
            raise ValueError(
                f"mult={mult}, max_order={max_order} given: a type {kind} basis has neither, leave them out"
            )
        return Basis((_type_a if kind == "A" else _disco)(size, scales, effective_size), scales)
    if kind == "B":
        if mult is None or max_order is None:
            raise ValueError(
                f"mult={mult}, max_order={max_order}: a type B basis needs both, e.g. mult=1.4, max_order=4"
            )
        return Basis(_type_b(size, scales, effective_size, mult, max_order), scales)
    raise ValueError(f"basis kind is {kind!r}: it must be 'A', 'B' or 'DISCO'")
