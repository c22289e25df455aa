"""The MNIST-scale experiment: its cells, its protocol, its records. Plain data: nothing heavy is imported.

A cell is one training run: a model, the strength of the scale augmentation and the realization of MNIST-scale. The
part "sesn" of the grid is 8 SESN models and 2 plain networks x 2 augmentations x 6 realizations = 120 cells, the part
"rivals" the 14 networks of the paper's other methods, 168 cells; a further part is a further row of `PART_MODELS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sesn_lib.checks import check_number
from sesn_lib.experiments import correctness
from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.rules import FRACTION, PERCENT, SECONDS, RecordError, Rules, check, number, short, whole
from sesn_lib.experiments.settings import BaseSettings, RunOptions

SESN_MODELS: tuple[str, ...] = tuple(
    f"mnist_ses_{kind}_{size}{suffix}" for size in (28, 56) for kind in ("scalar", "vector") for suffix in ("", "p")
)
CNN_MODELS: tuple[str, ...] = ("mnist_cnn_28", "mnist_cnn_56")
MODELS: tuple[str, ...] = SESN_MODELS + CNN_MODELS
RIVAL_MODELS: tuple[str, ...] = tuple(
    f"mnist_{method}_{size}"
    for size in (28, 56)
    for method in ("xu", "kanazawa", "sevf_scalar", "sevf_vector", "dss_scalar", "dss_vector", "ss")
)
"""Of the methods that the paper compares with, in the order of its table."""
PART_MODELS: dict[str, tuple[str, ...]] = {"sesn": MODELS, "rivals": RIVAL_MODELS}
"""The models of each part of the grid; every one is run in each scaling and realization."""
ALL_MODELS = tuple(dict.fromkeys(model for models in PART_MODELS.values() for model in models))
SCALINGS: tuple[float, ...] = (1.0, 0.5)
REALIZATIONS: range = range(6)
TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES = 10000, 2000, 50000
TEST_PART = 48000
"""So many test images the earlier report had; each run says its error on the first so many, too."""


@dataclass(frozen=True, kw_only=True)
class Settings(BaseSettings):
    """The paper's protocol by default.

    `milestones`: the learning rate is multiplied by `gamma` after these epochs. `extra_scaling`: e of the scale
    augmentation, 1 for none.

    Raises:
        ValueError: an impossible value, named, with what would be right.
    """

    DATA = "paper"
    OPTIMIZER = "Adam"

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.01
    milestones: tuple[int, ...] = (20, 40)
    gamma: float = 0.1
    extra_scaling: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size == 1:
            raise ValueError("batch_size is 1: it must be at least 2, batch normalisation needs more than one image")
        check_number(0, most=1, extra_scaling=self.extra_scaling)

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate that epoch 1, 2, ... is trained with: multiplied step by step, as records have it."""
        rate = self.learning_rate
        for milestone in self.milestones:
            if milestone < epoch:
                rate *= self.gamma
        return rate

    def protocol(self, train_images: int) -> dict[str, Any]:
        return {**super().protocol(train_images), "weight_decay": 0.0}


PROTOCOL: dict[str, Any] = {k: v for k, v in Settings().protocol(TRAIN_IMAGES).items() if k != "precision"}
"""What every run of the published table has in common; precision and device may differ, and each record states them."""


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


@dataclass(frozen=True, order=True)
class Cell(DrawnCell):
    """One run of the experiment; `model` is one of those of `PART_MODELS`.

    Raises:
        ValueError: an unknown model, and as `DrawnCell`.
    """

    PATTERN = r"(\w+)" + DrawnCell.DRAW
    EXAMPLE = "a cell such as mnist_ses_vector_28-x0.5-r3"

    def __post_init__(self) -> None:
        if self.model not in ALL_MODELS:
            new = "a new one goes into PART_MODELS of experiments/mnist_scale.py and into models/zoo.py"
            raise ValueError(f"unknown model {self.model!r:.80}; the models are {', '.join(ALL_MODELS)}; {new}")
        super().__post_init__()


def cells_of(models: Iterable[str]) -> tuple[Cell, ...]:
    """The cells of some models, realization by realization, so that a table fills evenly; 28-pixel models first."""
    ordered = sorted(models, key=lambda model: "_56" in model)  # stable
    return tuple(
        Cell(model, scaling, realization) for realization in REALIZATIONS for model in ordered for scaling in SCALINGS
    )


GRID: tuple[Cell, ...] = cells_of(MODELS)
"""The 120 cells of the paper's table in running order."""


class MNISTScale(Experiment[Settings]):
    """The paper's classification experiment."""

    name, title = "mnist-scale", "MNIST-scale"
    cell: type[AnyCell] = Cell
    models = ALL_MODELS
    parts: ClassVar[Mapping[str, tuple[AnyCell, ...]]] = {p: cells_of(m) for p, m in PART_MODELS.items()}
    training = "sesn_lib.training.mnist_scale"
    train_images, test_images = TRAIN_IMAGES, TEST_IMAGES
    least_images = 2
    several_ways = True
    settings = Settings()
    error = "test_error_50k"
    table_header = """\
# Test errors in percent on the 50,000 test images of MNIST-scale, made from the records in runs/ by `sesn collect`.
# Only runs of the full protocol count. by_condition: model, extra_scaling, realization. single_runs: the same errors as
# one list per model, extra_scaling 1.0 first and realizations in order, the shape in which others published theirs.
"""

    RECORD_RULES: ClassVar[Rules] = {
        "best_epoch": whole(1),
        "val_accuracy": FRACTION,
        "test_error_50k": PERCENT,
        "test_error_48k": PERCENT,
    }
    EPOCH_RULES: ClassVar[Rules] = {"val_loss": number(), "val_accuracy": FRACTION}
    TIMING_RULES: ClassVar[Rules] = {"evaluation_seconds": SECONDS}
    LAST_EPOCH_RULES: ClassVar[Rules] = {"test_error_50k": PERCENT, "test_error_48k": PERCENT}

    def cell_for(self, model: str, scaling: float | None, realization: int) -> AnyCell:
        return Cell(model, 1.0 if scaling is None else scaling, realization)

    def settings_of(self, cell: AnyCell, options: RunOptions) -> Settings:
        return replace(super().settings_of(cell, options), extra_scaling=cell.condition)  # type: ignore[arg-type]

    def check(self, options: RunOptions) -> None:
        super().check(options)
        if options.micro_batch is not None or options.small_memory:
            raise ValueError("--micro-batch and --small-memory are for --experiment stl10")
        images = self.train_images if options.train_images is None else options.train_images
        batch = self.settings.batch_size if options.batch_size is None else options.batch_size
        if images % batch == 1:
            raise ValueError(
                f"--train-images {images} in batches of {batch} leaves a last batch of one image, which batch "
                f"normalisation cannot take; use {images - 1}"
            )

    def whole_protocols(self, cell: AnyCell | None = None) -> tuple[dict[str, Any], ...]:
        return (PROTOCOL,)

    def evaluated_images(self, settings: Settings, test_images: int) -> int:
        return settings.epochs * VALIDATION_IMAGES + test_images

    def check_record(self, record: Mapping[str, Any]) -> None:
        if record["best_epoch"] > len(record["history"]):
            raise RecordError(f"best_epoch is {record['best_epoch']} of {len(record['history'])}")
        self._check_last_epoch(record)
        self._check_correct(record)

    def _check_last_epoch(self, record: Mapping[str, Any]) -> None:
        last = record.get("last_epoch", {})
        if not isinstance(last, dict):
            raise RecordError(f"last_epoch cannot be {short(last)}")
        if "last_epoch" in record:
            check(last, self.LAST_EPOCH_RULES, "last_epoch.")
        if record["best_epoch"] == len(record["history"]):  # then it is the same network
            for key, value in last.items():
                if key in self.LAST_EPOCH_RULES and value != record[key]:
                    raise RecordError(f"last_epoch.{key} is {value}, but {key} of that same epoch is {record[key]}")

    def _check_correct(self, record: Mapping[str, Any]) -> None:
        if "correct" not in record:
            return
        images = record["test_images"]
        try:
            correct = correctness.decode(record["correct"], images)
        except ValueError as error:
            raise RecordError(f"correct {error}") from None
        for key, n in (("test_error_50k", images), ("test_error_48k", min(TEST_PART, images))):
            percent = 100.0 * correct[:n].count(False) / n
            if not math.isclose(record[key], percent, rel_tol=1e-12):
                raise RecordError(f"{key} is {record[key]}, but by its images (correct) it would be {percent}")
        by_scale = record.get("by_scale")
        if not isinstance(by_scale, dict):
            return
        for key, total in (("images", images), ("errors", correct.count(False))):
            counts = by_scale.get(key)
            if not isinstance(counts, list) or not all(map(whole(0), counts)) or sum(counts) != total:
                raise RecordError(
                    f"by_scale.{key} is {short(counts)}, must come to {total}, as its images (correct) say"
                )

    def result_line(self, record: Mapping[str, Any]) -> str:
        return (
            f"test error {record['test_error_50k']:.3f} % on {record['test_images']:,} images, "
            f"best epoch {record['best_epoch']} of {record['protocol']['epochs']} "
            f"(validation {100 * (1 - record['val_accuracy']):.2f} %)"
        )


EXPERIMENT = MNISTScale()
