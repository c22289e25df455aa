"""The augmentation of the STL-10 experiment, for a whole batch at once on the device where the images are.

Pad by 12 pixels and crop at random, flip half of the images, cut a hole of side 32. The authors normalise
between the flip and the hole, so that what was padded is black and the hole has the mean colour; the earlier
report normalises first, so that both have the mean colour. Everything else is the same in both orders, and so
are the random numbers (`Draws`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sesn_lib.basis.constants import Constant
from sesn_lib.checks import check_choice, check_whole, described
from sesn_lib.data.splits import Split

MEAN = (0.4467, 0.4398, 0.4066)
STD = (0.2603, 0.2566, 0.2713)
_MEAN, _STD = (Constant(np.reshape(values, (3, 1, 1))) for values in (MEAN, STD))
PAD = 12
HOLE = 32
ORDERS = ("authors", "report")


class ColourSplit(Split):
    """Colour images uint8 [N, 3, H, H] and their labels."""

    AXES = "[N, 3, H, H]"

    @classmethod
    def fits(cls, images: Any) -> bool:
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
            return False
        return images.shape[1] == 3 and images.shape[2] == images.shape[3]


@dataclass(frozen=True, eq=False)
class Draws:
    """The random numbers for B images.

    Attributes:
        top, left: int64 [B], 0 .. 24: first row and column of the crop in the padded image [pixel].
        flip: bool [B].
        row, column: int64 [B], 0 .. size - 1: centre of the hole in the cropped image [pixel].
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    row: Tensor
    column: Tensor

    @classmethod
    def sample(cls, count: int, generator: torch.Generator, *, size: int = 96) -> Draws:
        """Uniform draws for images of size x size pixels; a CPU generator gives the same ones for every device.

        Raises:
            ValueError: a count below 0 or a size below 1.
        """
        check_whole(0, count=count)
        check_whole(size=size)

        def uniform(values: int) -> Tensor:
            return torch.randint(values, (count,), generator=generator, device=generator.device)

        top, left, flip = uniform(2 * PAD + 1), uniform(2 * PAD + 1), uniform(2) == 1
        return cls(top, left, flip, uniform(size), uniform(size))

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, index: slice | Tensor) -> Draws:
        return Draws(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def to(self, device: torch.device | str) -> Draws:
        """The same numbers on another device."""
        return Draws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def normalise(images: Tensor) -> Tensor:
    """`(x / 255 - mean) / std` per colour: uint8 [..., 3, H, W] to float32 of the same shape."""
    x = images.float()
    return x.div_(255).sub_(_MEAN.like(x)).div_(_STD.like(x))


def augment(images: Tensor, draws: Draws, *, order: str = "authors") -> Tensor:
    """Augmented and normalised images, made in one go.

    Arguments:
        images: uint8 [B, 3, H, W].
        draws: the random numbers, one set per image.
        order: "authors" or "report", see above.

    Returns: float32 [B, 3, H, W].

    Raises:
        ValueError: another type or shape, a number of draws that is not B, an unknown order.
    """
    _check(images, draws, order)
    size, device = images.shape[-1], images.device
    draws = draws.to(device)
    at = torch.arange(size, device=device)
    # Row i of the result is row i + top - PAD of the image; columns likewise, from the right where it is flipped.
    rows = at + draws.top[:, None]
    columns = torch.where(draws.flip[:, None], size - 1 - at, at) + draws.left[:, None]
    batch = torch.arange(len(images), device=device)[:, None, None]
    padded = F.pad(images, [PAD] * 4).permute(0, 2, 3, 1)
    taken = padded[batch, rows[:, :, None], columns[:, None, :]]  # [B, H, W, 3]
    result = normalise(taken.permute(0, 3, 1, 2))
    zero = _near(at, draws.row)[:, :, None] & _near(at, draws.column)[:, None, :]
    if order == "report":
        zero |= ~(_inside(rows, size)[:, :, None] & _inside(columns, size)[:, None, :])
    return result.masked_fill_(zero[:, None], 0.0).contiguous()


def steps(images: Tensor, draws: Draws, *, order: str = "authors") -> dict[str, Tensor]:
    """The same one step after another: what there is after each, in order, for pictures and as a check of `augment`.

    Values are in [0, 1] before the step "normalised" and in normalised units from it on; what is padded has H + 24
    rows and columns. Arguments and errors as `augment`.
    """
    _check(images, draws, order)
    done = {"original": images.float() / 255}
    if order == "report":
        done["normalised"] = normalise(images)
    done["padded"] = F.pad(_last(done), [PAD] * 4)
    size = images.shape[-1]
    corners = zip(draws.top.tolist(), draws.left.tolist())
    done["cropped"] = torch.stack(
        [image[:, top : top + size, left : left + size] for image, (top, left) in zip(done["padded"], corners)]
    )
    done["flipped"] = torch.where(draws.flip.to(images.device)[:, None, None, None], _last(done).flip(-1), _last(done))
    if order == "authors":
        mean, std = (values.like(done["flipped"]) for values in (_MEAN, _STD))
        done["normalised"] = (done["flipped"] - mean) / std
    done["cutout"] = _last(done).clone()
    for image, row, column in zip(done["cutout"], draws.row.tolist(), draws.column.tolist()):
        half = HOLE // 2
        image[:, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
    return done


def _last(done: dict[str, Tensor]) -> Tensor:
    return next(reversed(done.values()))


def _near(at: Tensor, centre: Tensor) -> Tensor:
    """Whether a row or column lies in the hole, `centre - 16 .. centre + 15`: [H], [B] -> bool [B, H]."""
    offset = at - centre[:, None]
    return (offset >= -(HOLE // 2)) & (offset < HOLE // 2)


def _inside(position: Tensor, size: int) -> Tensor:
    return (position >= PAD) & (position < PAD + size)


def _check(images: Tensor, draws: Draws, order: str) -> None:
    if not ColourSplit.fits(images):
        raise ValueError(f"images are {described(images)}: they must be uint8 [B, 3, H, H]")
    if len(draws) != len(images):
        raise ValueError(f"{len(draws)} draws for {len(images)} images: there must be one for each")
    check_choice(ORDERS, order=order)
