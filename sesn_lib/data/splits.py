"""A data set as tensors on a device: shuffling, the scale augmentation and normalisation happen there.

MNIST-scale is small (10,000 training images are 7.8 MB), so the whole split lives on the device as ``uint8`` and no
worker process, no copy and no Pillow call stands between two training steps. All randomness comes from a CPU
``torch.Generator`` that the caller owns, so that a run on a GPU sees the same order and the same factors as a run on a
CPU.

The augmentation is the authors': each image, each epoch, is rescaled about one point by a factor uniform in
``[e, 1/e]``, through Pillow's affine transform with bicubic resampling. A pure scaling is separable, so here it is two
small matrix products per image (:func:`rescale`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from data_prep.mnist_scale import MEAN, STD
from sesn_lib.checks import check_number, check_whole, described

# Images rescaled at a time: on a CPU what the caches hold (1000 takes three times as long), on a GPU few launches.
CHUNK = {"cpu": 128, "cuda": 5000}
_TRUNCATION_SLACK = 1e-9  # see `rescale`


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 ``[N, ...]`` and labels ``int64 [N]``, both on one device.

    Raises:
        ValueError: other types, unequal lengths, two devices.
    """

    images: Tensor
    labels: Tensor

    AXES: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.fits(self.images):
            raise ValueError(f"images are {described(self.images)}: they must be uint8 {self.AXES}")
        labels, count = self.labels, len(self.images)
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (count,):
            raise ValueError(f"labels are {described(labels)}: they must be int64 [{count}]")
        if self.images.device != labels.device:
            raise ValueError(f"images on {self.images.device}, labels on {labels.device}: they must be on one device")

    @classmethod
    def fits(cls, images: Any) -> bool:
        """Whether these are images of this kind."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Self:
        return type(self)(self.images[index], self.labels[index])

    @property
    def device(self) -> torch.device:
        return self.images.device

    def first(self, count: int) -> Self:
        """The first `count` images.

        Raises:
            ValueError: a count below 1 or above N.
        """
        check_whole(most=len(self), count=count)
        return self[:count]


AnySplit = TypeVar("AnySplit", bound=Split)


class DeviceSplit(Split):
    """Grey images ``uint8 [N, H, W]`` and their labels."""

    AXES = "[N, H, W]"

    @classmethod
    def fits(cls, images: Any) -> bool:
        return isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 3


def first(split: AnySplit, count: int | None, name: str) -> AnySplit:
    """The first `count` images of a split, all for None.

    Raises:
        ValueError: naming the option: there are not so many.
    """
    if count is None:
        return split
    check_whole(most=len(split), **{name: count})
    return split.first(count)


def to_device(split: Any, device: torch.device | str) -> DeviceSplit:
    """A split of `data_prep` (anything with array ``images`` and ``labels``) as tensors on `device`; copies."""
    images = torch.tensor(split.images, dtype=torch.uint8)
    labels = torch.tensor(split.labels, dtype=torch.int64)
    return DeviceSplit(images.to(device), labels.to(device))


def noise(count: int, device: torch.device) -> DeviceSplit:
    """Random images of 28 x 28 pixels and labels, always the same, to see how fast something is."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return DeviceSplit(images.to(device), labels.to(device))


def normalise(images: Tensor) -> Tensor:
    """``uint8 [B, H, W]`` to ``(x / 255 - MEAN) / STD``, ``float32 [B, 1, H, W]``."""
    return (images.float() * (1 / (255 * STD)) - MEAN / STD).unsqueeze(1)


def rescale(images: Tensor, factors: Tensor, *, centre: float | None = None) -> Tensor:
    """Each image scaled by its factor about one point, as Pillow's affine transform with ``BICUBIC`` does it on uint8.

    Pillow's pixel ``i`` covers ``[i, i + 1]``. Output pixel ``i`` looks at ``u = (i + 1/2) / s + c - c / s`` in the
    source; is ``u`` outside ``[0, n)`` the result is 0, else it is the cubic convolution with a = -1 (Pillow's
    ``resize`` has a = -1/2, its ``transform`` has not) over the four source pixels around ``u - 1/2``, those beyond the
    border taking the border pixel's value. The result is clipped to [0, 255] and truncated, not rounded. The same holds
    along both axes, hence ``out = W image W^T`` with one matrix ``W [n, n]`` per image.

    float64 throughout: the products are small, TF32 and autocast leave them alone, and truncation would turn a rounding
    error at, say, exactly 253 into a whole grey level. A slack of 1e-9 grey levels takes care of what remains.

    Arguments:
        images: ``uint8 [B, n, n]`` on any device.
        factors: ``[B]``, finite and positive; above 1 enlarges.
        centre: c in pixels, the point that stays, along both axes; ``n / 2 + 1/2`` when left out (14.5 for 28 pixels),
            as in the data set itself.

    Returns: ``uint8 [B, n, n]``.

    Raises:
        ValueError: other shapes, types or factors.
    """
    if images.dtype != torch.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {described(images)}: they must be uint8 [B, n, n]")
    if factors.shape != images.shape[:1]:
        raise ValueError(f"factors are {described(factors)} for {len(images)} images: they must be one for each")
    possible = factors.isfinite() & (factors > 0)
    if not possible.all():
        raise ValueError(f"a factor is {factors[~possible][0].item()}: it must be a finite number above 0")
    size = images.shape[-1]
    fixed = size / 2 + 0.5 if centre is None else centre
    weights = _cubic_matrices(factors.to(images.device, torch.float64), size, fixed)
    scaled = weights @ images.to(torch.float64) @ weights.mT
    return scaled.add_(_TRUNCATION_SLACK).clamp_(0, 255).to(torch.uint8)


def _cubic_matrices(factors: Tensor, size: int, centre: float) -> Tensor:
    """The matrices W of :func:`rescale`: factors ``[B]`` to ``[B, size (out), size (in)]``."""
    inverse = factors.reciprocal()[:, None]
    pixels = torch.arange(size, dtype=factors.dtype, device=factors.device) + 0.5
    source = inverse * pixels + (centre - inverse * centre)
    inside = (source >= 0) & (source < size)
    position = source.sub_(0.5).clamp_(-0.5, size - 0.5)
    first = position.floor()
    d = position - first
    e = 1 - d
    taps = torch.stack([-d * e * e, 1 - d * d * (2 - d), 1 - e * e * (2 - e), -e * d * d], dim=-1) * inside[..., None]
    # Source pixels -2 .. size + 1 have a column each; those beyond the border are then folded onto the border pixel.
    columns = first.long()[..., None] + torch.arange(1, 5, device=factors.device)
    wide = torch.zeros(*source.shape, size + 4, dtype=factors.dtype, device=factors.device).scatter_(-1, columns, taps)
    matrices = wide[..., 2 : size + 2]
    matrices[..., 0] += wide[..., :2].sum(-1)
    matrices[..., -1] += wide[..., size + 2 :].sum(-1)
    return matrices


def shuffled(split: DeviceSplit, generator: torch.Generator, extra_scaling: float = 1.0) -> DeviceSplit:
    """The split as one epoch sees it: every image once, in random order, rescaled if e = `extra_scaling` is below 1.

    The factors are uniform in ``[e, 1/e]``. `generator`, on the CPU, is advanced by one permutation and, for e < 1, one
    number an image.
    """
    check_number(0, most=1, extra_scaling=extra_scaling)
    order = torch.randperm(len(split), generator=generator).to(split.device)
    images, labels = split.images[order], split.labels[order]
    if extra_scaling < 1:
        uniform = torch.rand(len(split), generator=generator, dtype=torch.float64)
        factors = uniform.mul_(1 / extra_scaling - extra_scaling).add_(extra_scaling).to(split.device)
        chunk = CHUNK.get(split.device.type, 128)
        for start in range(0, len(split), chunk):
            part = slice(start, start + chunk)
            images[part] = rescale(images[part], factors[part])
    return DeviceSplit(images, labels)


def epoch_batches(
    split: DeviceSplit, batch_size: int, generator: torch.Generator, extra_scaling: float = 1.0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (normalised images ``[B, 1, H, W]``, labels ``[B]``); the last batch holds what is left."""
    check_whole(batch_size=batch_size)
    epoch = shuffled(split, generator, extra_scaling)
    for images, labels in zip(epoch.images.split(batch_size), epoch.labels.split(batch_size)):
        yield normalise(images), labels
