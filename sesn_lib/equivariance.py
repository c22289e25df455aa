"""How far a function is from being equivariant: the transformation L_s, images that need no resampling, the measure.

A scaling acts on an image as `L_s[f](x) = f(s^-1 x)` and on a function on the group H as
`L_s[F](s', x) = F(s^-1 s', s^-1 x)`: enlarged in space and moved along the scale axis. The measure is the one of
Sosnovik, Szmaja and Smeulders, "Scale-Equivariant Steerable Networks" (ICLR 2020), over images f_i:

    Delta = mean_i ||L_s Phi(f_i) - Phi(L_s f_i)||^2 / ||L_s Phi(f_i)||^2.

It is a ratio of squares: 1e-2 means a tenth of the amplitude. Positions are counted from the centre of the pixel grid,
(n - 1) / 2, on which L_s leaves an image where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sesn_lib.checks import check_floating, check_number, check_scales, check_whole, is_number

__all__ = [
    *("GaussianImages", "gaussian_images"),
    *("relative_errors", "relative_error", "group_error", "errors", "error"),
    *("rescale", "shift_scales", "transform", "scale_steps"),
]

METHODS = ("linear", "cubic", "sinc")
TINY = 1e-9  # positions closer than this [pixel] coincide

Map = Callable[[Tensor], Tensor]


# -- the relative error, defined once --------------------------------------------------------------


def relative_errors(expected: Tensor, actual: Tensor) -> Tensor:
    """`||expected - actual||^2 / ||expected||^2` for each element of the first axis: two tensors [B, ...] -> [B].

    Raises:
        ValueError: shapes that differ; an element of `expected` that is zero throughout.
    """
    check_floating(expected=expected, actual=actual)
    if expected.shape != actual.shape:
        raise ValueError(f"shapes {list(expected.shape)} and {list(actual.shape)} differ: they must be equal")
    a, b = expected.detach().flatten(1), actual.detach().flatten(1)
    norm = (a**2).sum(dim=1)
    if (norm == 0).any():
        raise ValueError(f"element {int((norm == 0).nonzero()[0])} of the expected tensor is zero throughout: no error")
    return ((a - b) ** 2).sum(dim=1) / norm


def relative_error(expected: Tensor, actual: Tensor) -> float:
    """Mean of `relative_errors` over the first axis."""
    return relative_errors(expected, actual).mean().item()


def group_error(function: Map, transform_in: Map, transform_out: Map, x: Tensor) -> float:
    """Relative error of `function(transform_in(x))` against `transform_out(function(x))`, for any transformation.

    `transform_in` and `transform_out` are the same group element, acting on inputs [B, ...] and on outputs [B, ...];
    with the identity as transform_out this measures invariance.
    """
    with torch.no_grad():
        return relative_error(transform_out(function(x)), function(transform_in(x)))


# -- test images -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianImages:
    """N images, each a sum of K Gaussians on the plane: `f(x) = sum_k a_k exp(-|x - c_k|^2 / (2 w_k^2))`.

    They are known at every point of the plane, so f(x / s) is sampled and never interpolated.

    Attributes:
        centres: c, float64 [N, K, 2] = (row, column) [pixel], from the centre of the grid.
        widths: w, float64 [N, K] [pixel].
        amplitudes: a, float64 [N, K].
    """

    centres: Tensor
    widths: Tensor
    amplitudes: Tensor

    def __len__(self) -> int:
        return self.centres.shape[0]

    def sample(self, size: int, scale: float = 1.0) -> Tensor:
        """L_s f, that is f(x / s), on `size` x `size` pixels; [N, 1, size, size]."""
        check_whole(size=size)
        check_number(0, scale=scale)
        grid = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        distance = (grid / scale - self.centres[..., None]) / self.widths[..., None, None]  # [N, K, axis, size]
        rows, columns = torch.exp(-(distance**2) / 2).unbind(dim=2)
        return torch.einsum("nk,nkh,nkw->nhw", self.amplitudes, rows, columns)[:, None]


def gaussian_images(
    count: int, *, seed: int, blobs: int = 6, radius: float = 5.0, widths: tuple[float, float] = (1.5, 3.0)
) -> GaussianImages:
    """Random images: centres uniform in a disc, widths uniform, amplitudes of size 0.5 to 1.5 and either sign.

    A grid of 65 pixels holds them, with the defaults, up to a scaling by 2.

    Arguments:
        count, blobs: number of images N, and of Gaussians in each K.
        seed: the same seed gives the same images.
        radius: of the disc of centres [pixel].
        widths: least and greatest width [pixel]; pixels do not resolve a Gaussian much below 1.

    Raises:
        ValueError: a value out of range.
    """
    check_whole(count=count, blobs=blobs)
    check_whole(0, seed=seed)
    check_number(radius=radius, least=0)
    if len(widths) != 2 or not all(map(is_number, widths)) or not 0 < widths[0] <= widths[1]:
        raise ValueError(f"widths are {widths}: they must be positive, the least first")
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, blobs, generator=generator, dtype=torch.float64)

    distance, angle = radius * uniform(0, 1).sqrt(), uniform(0, 2 * math.pi)
    centres = torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)
    signs = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0).double()
    return GaussianImages(centres, uniform(*widths), signs * uniform(0.5, 1.5))


# -- the transformation L_s ------------------------------------------------------------------------


def rescale(x: Tensor, scale: float, *, method: str = "cubic") -> Tensor:
    """L_s on sampled images: `f(x / s)` about the centre of the grid, interpolated; [..., H, W] -> [..., H, W].

    Arguments:
        x: images or feature maps, floating point; zero outside the frame.
        scale: s; above 1 enlarges. Below 1 fine structure aliases: nothing is smoothed.
        method: "linear", "cubic" (Keys, a = -1/2), or "sinc", which is exact for band-limited functions that vanish
            towards the frame and rings for all others. Each returns a sample unchanged where x / s falls on one.

    Raises:
        ValueError: scale not positive, unknown method, x of another kind.
    """
    check_floating(2, x=x)
    rows, columns = (_interpolation(n, scale, method).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.T


def shift_scales(x: Tensor, steps: float) -> Tensor:
    """Move a function on H [B, C, S, H, W] along its scale axis: `out[:, :, i] = x[:, :, i - steps]`, zero beyond.

    A fractional number of steps interpolates linearly between neighbouring scales.

    Raises:
        ValueError: x of another shape, steps that are no number.
    """
    check_number(steps=steps)
    if x.dim() != 5:
        raise ValueError(f"shape is {list(x.shape)}: it must be [B, C, S, H, W]")
    whole = math.floor(steps + TINY)
    part = steps - whole
    moved = _move(x, whole)
    return moved if part < TINY else (1 - part) * moved + part * _move(x, whole + 1)


def transform(x: Tensor, scale: float, *, steps: float | None = None, method: str = "cubic") -> Tensor:
    """L_s on images [B, C, H, W], or on functions on H [B, C, S, H, W], which also move by `steps` scales."""
    _check_steps(x, steps)
    moved = x if steps is None else shift_scales(x, steps)
    return rescale(moved, scale, method=method)


def scale_steps(scale: float, scales: Sequence[float]) -> float:
    """How many steps of a geometric scale axis a scaling by `scale` is: log s / log q, q the mean ratio of neighbours.

    Scales that were rounded to two decimals give 0.998 and the like: round where a whole step is meant.

    Raises:
        ValueError: a scale that is not positive, fewer than two scales.
    """
    check_number(0, scale=scale)
    axis = check_scales(scales)
    if len(axis) < 2:
        raise ValueError(f"scales are {list(axis)}: at least two are needed to tell a step")
    return math.log(scale) * (len(axis) - 1) / math.log(axis[-1] / axis[0])


# -- the measure -----------------------------------------------------------------------------------


def errors(
    function: Map, images: GaussianImages | Tensor, scale: float, *, steps: float | None = None, size: int = 65,
    crop: int = 0, method: str = "samples", resample: str = "cubic",
) -> Tensor:  # fmt: skip
    """The equivariance error of each image, `||L_s Phi(f) - Phi(L_s f)||^2 / ||L_s Phi(f)||^2`; [N].

    Only what is known on both sides is compared: scales and positions that L_s brings in from beyond the scale axis or
    the frame are left out.

    Arguments:
        function: Phi, any callable from images [N, C, H, W] to [N, C', H', W'] or [N, C', S, H', W'], whose output grid
            has the same centre as its input grid.
        images: f; `GaussianImages`, or sampled images [N, C, H, W], for which L_s f is interpolated by `resample`.
        scale: s.
        steps: scales by which L_s moves the output's scale axis (see `scale_steps`); None without such an axis.
        size: pixels of the grid on which `GaussianImages` are sampled; odd, for a comparison without interpolation.
        crop: pixels left out at each border of the output.
        method: how L_s Phi(f) is had. "samples" compares only where x / s is itself a pixel (whole or simple
            fractional s), so that nothing is interpolated; or a method of `rescale`.
        resample: a method of `rescale`, for sampled images.

    Raises:
        ValueError: steps missing or out of place; "samples" where too few pixels coincide; values out of range.
    """
    check_number(0, scale=scale)
    with torch.no_grad():
        if isinstance(images, GaussianImages):
            plain, scaled = function(images.sample(size)), function(images.sample(size, scale))
        else:
            plain, scaled = function(images), function(rescale(images, scale, method=resample))
        _check_steps(plain, steps)
        if steps is not None:
            kept = _known(plain.shape[2], steps)
            plain, scaled = shift_scales(plain, steps)[:, :, kept], scaled[:, :, kept]
        rows, columns = (_compared(n, scale, crop, method) for n in plain.shape[-2:])
        expected = rescale(plain, scale, method="linear" if method == "samples" else method)
        return relative_errors(expected[..., rows, :][..., columns], scaled[..., rows, :][..., columns])


def error(
    function: Map, images: GaussianImages | Tensor, scale: float, *, steps: float | None = None, size: int = 65,
    crop: int = 0, method: str = "samples", resample: str = "cubic",
) -> float:  # fmt: skip
    """The paper's measure Delta: the mean of `errors`, which see for the arguments."""
    options = {"steps": steps, "size": size, "crop": crop, "method": method, "resample": resample}
    return errors(function, images, scale, **options).mean().item()  # type: ignore[arg-type]


def _check_steps(x: Tensor, steps: float | None) -> None:
    if x.dim() == 5 and steps is None:
        raise ValueError(f"shape {list(x.shape)} has a scale axis: say by how many `steps` the scaling moves it")
    if x.dim() == 4 and steps is not None:
        raise ValueError(f"shape {list(x.shape)} has no scale axis: leave out steps={steps}")
    if x.dim() not in (4, 5):
        raise ValueError(f"shape is {list(x.shape)}: it must be [B, C, H, W] or [B, C, S, H, W]")


def _move(x: Tensor, steps: int) -> Tensor:
    if abs(steps) >= x.shape[2]:
        return torch.zeros_like(x)
    kept = x[:, :, : x.shape[2] - steps] if steps >= 0 else x[:, :, -steps:]
    return F.pad(kept, [0, 0, 0, 0, max(steps, 0), max(-steps, 0)])


def _known(count: int, steps: float) -> list[int]:
    kept = [i for i in range(count) if -TINY <= i - steps <= count - 1 + TINY]
    if not kept:
        raise ValueError(f"steps is {steps}: nothing is left of a scale axis of {count} to compare")
    return kept


def _positions(size: int, scale: float) -> np.ndarray:
    """Where pixel i of the scaled image comes from, as a fractional pixel index of the plain one."""
    centre = (size - 1) / 2
    return (np.arange(size) - centre) / scale + centre


def _interpolation(size: int, scale: float, method: str) -> Tensor:
    """Matrix [size, size] that interpolates a row of samples at `_positions`."""
    check_number(0, scale=scale)
    u = _positions(size, scale)
    whole = np.round(u)
    u = np.where(np.abs(u - whole) < TINY, whole, u)
    distance = np.abs(u[:, None] - np.arange(size)[None])
    if method == "linear":
        matrix = np.clip(1 - distance, 0, None)
    elif method == "cubic":
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        matrix = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    elif method == "sinc":
        matrix = np.where(distance == np.round(distance), 1.0 * (distance == 0), np.sinc(distance))
        matrix[(u < 0) | (u > size - 1)] = 0
    else:
        raise ValueError(f"method is {method!r}: it must be one of {', '.join(METHODS)}")
    return torch.from_numpy(matrix)


def _compared(size: int, scale: float, crop: int, method: str) -> list[int]:
    """Output rows that are compared: inside the crop, from inside the frame, and for "samples" from a pixel."""
    if isinstance(crop, bool) or not isinstance(crop, int) or crop < 0 or 2 * crop >= size:
        raise ValueError(f"crop is {crop!r}: it must be 0 or greater and leave something of {size} pixels")
    u = _positions(size, scale)
    kept = (u > -TINY) & (u < size - 1 + TINY)
    if method == "samples":
        kept &= np.abs(u - np.round(u)) < TINY
    kept[:crop] = kept[size - crop :] = False
    if kept.sum() < 3:
        raise ValueError(
            f"scale is {scale}: only {kept.sum()} of {size} rows can be compared by method {method!r}; an odd grid and "
            "a whole scale have many, and method='sinc' interpolates"
        )
    return [int(i) for i in np.flatnonzero(kept)]
