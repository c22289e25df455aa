"""A third experiment in one file: read a bar's row in a small noisy picture. Its training is in `toy_training`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.rules import PERCENT, RecordError, Rules
from sesn_lib.experiments.settings import BaseSettings

MODELS = ("bar_small", "bar_large")


@dataclass(frozen=True, kw_only=True)
class BarSettings(BaseSettings):
    DATA = "bars"
    OPTIMIZER = "SGD"

    epochs: int = 4
    batch_size: int = 10
    learning_rate: float = 0.5
    milestones: tuple[int, ...] = (3,)
    gamma: float = 0.1

    def protocol(self, train_images: int) -> dict[str, Any]:
        return {**super().protocol(train_images), "weight_decay": 0.0}


@dataclass(frozen=True, order=True)
class BarCell(AnyCell):
    TAG = "bars"
    PATTERN = r"(bar_\w+)-n(0|100)-d(\d)"
    KINDS = (str, int, int)
    EXAMPLE = "a bar's reading such as bar_small-n0-d0"

    noise: int
    draw: int

    def __post_init__(self) -> None:
        if self.model not in MODELS or self.noise not in (0, 100) or self.draw not in range(3):
            raise ValueError(f"no bars are read like that: {(self.model, self.noise, self.draw)!r:.80}")

    @property
    def condition(self) -> float:
        return self.noise

    @property
    def repetition(self) -> int:
        return self.draw

    @property
    def name(self) -> str:
        return f"{self.model}-n{self.noise}-d{self.draw}"


class Bars(Experiment):
    name, title = "bars", "Bars"
    cell = BarCell
    training = "toy_training"
    models = MODELS
    parts: ClassVar[Mapping[str, tuple[AnyCell, ...]]] = {
        "few": tuple(BarCell("bar_small", noise, draw) for draw in range(2) for noise in (0, 100)),
        "large": (BarCell("bar_large", 0, 0),),
    }
    train_images, test_images = 40, 20
    settings = BarSettings()
    error = "bar_error"
    folder = "bars"

    RECORD_RULES: ClassVar[Rules] = {"bar_error": PERCENT}

    def cell_for(self, model: str, scaling: float | None, realization: int) -> BarCell:
        return BarCell(model, int(scaling or 0), realization)

    def check_record(self, record: Mapping[str, Any]) -> None:
        if record["bar_error"] > 95:
            raise RecordError("no bar was read")

    def result_line(self, record: Mapping[str, Any]) -> str:
        return f"{record['bar_error']:.0f} % of the bars misread"


EXPERIMENT = Bars()
