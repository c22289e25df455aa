"""What cells have in common that are trained on a draw of MNIST-scale: its number, and the strength of augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from sesn_lib.experiments.base import AnyCell

__all__ = ["REALIZATIONS", "DrawnCell"]

REALIZATIONS: range = range(6)


@dataclass(frozen=True, order=True)
class DrawnCell(AnyCell):
    """A run on one draw of MNIST-scale: of the table here, and of others in modules of their own.

    Attributes:
        DRAW: the end of the pattern of names, after the model.
        extra_scaling: e in (0, 1]; training images are rescaled by a factor uniform in [e, 1/e]; 1 means never.
        realization: 0..5, which of the six draws of MNIST-scale.

    Raises:
        ValueError: a value that is none of these.
    """

    DRAW = r"-x([0-9.e-]+)-r(\d+)"
    KINDS = (str, float, int)

    extra_scaling: float
    realization: int

    def __post_init__(self) -> None:
        scaling, realization = self.extra_scaling, self.realization
        if isinstance(scaling, bool) or not isinstance(scaling, int | float):
            raise ValueError(f"extra_scaling must be a number, not {scaling!r}")
        if not 0 < scaling <= 1:
            raise ValueError(f"extra_scaling must lie in (0, 1], not {scaling!r:.60}")
        if isinstance(realization, bool) or not isinstance(realization, int):
            raise ValueError(f"realization must be a whole number, not {realization!r}")
        if realization not in REALIZATIONS:
            raise ValueError(f"realization must be one of 0 to {REALIZATIONS[-1]}, not {realization!r}")
        object.__setattr__(self, "extra_scaling", float(scaling))

    @property
    def condition(self) -> float:
        return self.extra_scaling

    @property
    def repetition(self) -> int:
        return self.realization

    @property
    def name(self) -> str:
        """File-name form, e.g. `mnist_ses_vector_28-x0.5-r3`; `parse` is its inverse."""
        return f"{self.model}-x{self.extra_scaling!r}-r{self.realization}"
