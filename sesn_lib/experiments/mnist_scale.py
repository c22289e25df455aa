"""The cells of the experiment and the grid that they form.

A cell is one training run: a model, the strength of the scale augmentation and the realization of MNIST-scale. The grid
is 8 SESN models and 2 plain networks x 2 augmentations x 6 realizations = 120 cells. Plain data: nothing heavy is
imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CNN_MODELS",
    "GRID",
    "MODELS",
    "PROTOCOL",
    "REALIZATIONS",
    "SCALINGS",
    "SESN_MODELS",
    "Cell",
    "is_complete",
    "select",
]

SESN_MODELS: tuple[str, ...] = tuple(
    f"mnist_ses_{kind}_{size}{suffix}" for size in (28, 56) for kind in ("scalar", "vector") for suffix in ("", "p")
)
CNN_MODELS: tuple[str, ...] = ("mnist_cnn_28", "mnist_cnn_56")
MODELS: tuple[str, ...] = SESN_MODELS + CNN_MODELS
SCALINGS: tuple[float, ...] = (1.0, 0.5)
REALIZATIONS: range = range(6)

PROTOCOL: dict[str, Any] = {
    "data": "paper",
    "epochs": 60,
    "batch_size": 128,
    "optimizer": "Adam",
    "learning_rate": 0.01,
    "milestones": [20, 40],
    "gamma": 0.1,
    "weight_decay": 0.0,
    "train_images": 10000,
}
"""What every run of the published table has in common; precision and device may differ, and each record states them."""

TEST_IMAGES = 50000
TEST_PART = 48000
"""So many test images the earlier report had; each run says its error on the first so many, too."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run of the experiment.

    Arguments:
        model: one of `MODELS`.
        extra_scaling: e in (0, 1]; training images are rescaled by a factor uniform in [e, 1/e]; 1 means never.
        realization: 0..5, which of the six draws of MNIST-scale.

    Raises:
        ValueError: a value that is none of these.
    """

    model: str
    extra_scaling: float
    realization: int

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown model {self.model!r:.80}; the models are {', '.join(MODELS)}")
        scaling = self.extra_scaling
        if isinstance(scaling, bool) or not isinstance(scaling, int | float):
            raise ValueError(f"extra_scaling must be a number, not {scaling!r}")
        if not 0 < scaling <= 1:
            raise ValueError(f"extra_scaling must lie in (0, 1], not {scaling!r:.60}")
        if isinstance(self.realization, bool) or not isinstance(self.realization, int):
            raise ValueError(f"realization must be a whole number, not {self.realization!r}")
        if self.realization not in REALIZATIONS:
            raise ValueError(f"realization must be one of 0 to {REALIZATIONS[-1]}, not {self.realization!r}")
        object.__setattr__(self, "extra_scaling", float(scaling))

    @property
    def name(self) -> str:
        """File-name form, e.g. `mnist_ses_vector_28-x0.5-r3`; `Cell.parse` is its inverse."""
        return f"{self.model}-x{self.extra_scaling!r}-r{self.realization}"

    def __str__(self) -> str:
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """The form in which records hold a cell."""
        return {"model": self.model, "extra_scaling": self.extra_scaling, "realization": self.realization}

    @classmethod
    def parse(cls, name: str) -> Cell:
        """The cell of a name. Raises ValueError if it is not a name that a cell has."""
        match = re.fullmatch(r"(?P<model>\w+)-x(?P<scaling>[0-9.e-]+)-r(?P<realization>\d+)", name, re.ASCII)
        try:
            if match is None:
                raise ValueError
            cell = cls(match["model"], float(match["scaling"]), int(match["realization"]))
            if cell.name != name:
                raise ValueError
        except ValueError as error:
            detail = f": {error}" if str(error) else ""
            raise ValueError(
                f"{name!r} is not the name of a cell such as mnist_ses_vector_28-x0.5-r3{detail}"
            ) from None
        return cell


def _pixels_first(model: str) -> tuple[bool, int]:
    return ("_56" in model, MODELS.index(model))


GRID: tuple[Cell, ...] = tuple(
    Cell(model, scaling, realization)
    for realization in REALIZATIONS
    for model in sorted(MODELS, key=_pixels_first)
    for scaling in SCALINGS
)
"""The 120 cells in running order: realization by realization, so that the table fills evenly; 28-pixel models first."""


def select(
    models: Iterable[str] | None = None,
    scalings: Iterable[float] | None = None,
    realizations: Iterable[int] | None = None,
) -> tuple[Cell, ...]:
    """The cells of the grid with these values, in the grid's order; None stands for all.

    Raises:
        ValueError: a value that the grid does not hold, or an empty choice.
    """
    wanted_models = _checked("model", models, MODELS)
    wanted_scalings = _checked("extra_scaling", scalings, SCALINGS)
    wanted_realizations = _checked("realization", realizations, REALIZATIONS)
    return tuple(
        cell
        for cell in GRID
        if cell.model in wanted_models
        and cell.extra_scaling in wanted_scalings
        and cell.realization in wanted_realizations
    )


def _checked(what: str, chosen: Iterable[Any] | None, valid: Sequence[Any]) -> set[Any]:
    if chosen is None:
        return set(valid)
    wanted = list(chosen)
    if not wanted:
        raise ValueError(f"no {what} was chosen; the grid has {', '.join(map(str, valid))}")
    for value in wanted:
        if value not in valid:
            raise ValueError(f"the grid has no {what} {value!r}; it has {', '.join(map(str, valid))}")
    return set(wanted)


def is_complete(protocol: dict[str, Any], test_images: int) -> bool:
    """Whether a run counts in the published table: it has every value of `PROTOCOL` and is tested on 50,000 images."""
    return test_images == TEST_IMAGES and all(protocol.get(key) == value for key, value in PROTOCOL.items())
