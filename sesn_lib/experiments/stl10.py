"""The STL-10 experiment: its recipe, its runs, its records. Plain data: nothing heavy is imported.

The recipe is the authors' (Sosnovik, Szmaja and Smeulders, ICLR 2020): SGD with Nesterov momentum on the 5,000
labelled images for 1,000 epochs, the error on the 8,000 test images measured at fixed epochs, and the final one
reported. Nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from sesn_lib.checks import check_choice, check_epochs, check_number, check_whole
from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.rules import PERCENT, RecordError, Rules, check, is_a, number, short, text, whole
from sesn_lib.experiments.settings import BaseSettings, RunOptions

MODELS = ("wrn_16_8", "wrn_16_8_ses_a", "wrn_16_8_ses_b", "wrn_16_8_ses_c")
TRAIN_IMAGES, TEST_IMAGES = 5000, 8000
SELECTIONS = ("final", "validation")


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseSettings):
    """The authors' recipe by default.

    Attributes:
        momentum, weight_decay: of SGD with Nesterov momentum; the decay acts on every parameter.
        evaluate_after: epochs after which the test images are looked at; after the last one they always are.
        validation_images: so many training images are held out, the same number of each class, and evaluated with
            the test images. 0 for none.
        selection: whose test error is the result: that of the "final" epoch, or of the evaluated epoch with the best
            "validation" accuracy.
        micro_batch: images that are on their way through the network at a time; a batch is then made of several, whose
            gradients are added. None: all of a batch. Batch normalisation sees micro-batches, so this changes the
            result somewhat, and the record says so.
        augmentation: "authors" or "report", see `sesn_lib.data.augment`; "none" for none.
        seed: of the order, the augmentation, the dropout and the held-out images.

    Raises:
        ValueError: an impossible value, named.
    """

    DATA = "stl10"
    OPTIMIZER = "SGD, Nesterov"

    epochs: int = 1000
    batch_size: int = 128
    learning_rate: float = 0.1
    milestones: tuple[int, ...] = (300, 400, 600, 800)
    gamma: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    # The authors compare a counter that starts at 0 with 50, 300, 400, 600, 800, 900, 920, ..., 980.
    evaluate_after: tuple[int, ...] = (51, 301, 401, 601, 801, 901, 921, 941, 961, 981)
    validation_images: int = 0
    selection: str = "final"
    micro_batch: int | None = None
    augmentation: str = "authors"
    eval_batch: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(0, validation_images=self.validation_images)
        check_number(least=0, below=1, momentum=self.momentum)
        check_number(least=0, weight_decay=self.weight_decay)
        object.__setattr__(self, "evaluate_after", check_epochs("evaluate_after", self.evaluate_after))
        if self.micro_batch is not None:
            check_whole(micro_batch=self.micro_batch)
        check_choice(("authors", "report", "none"), augmentation=self.augmentation)
        check_choice(SELECTIONS, selection=self.selection)
        if self.selection == "validation" and not self.validation_images:
            raise ValueError("selection is 'validation', but validation_images is 0: hold out some, e.g. 500")

    def small_memory(self) -> Recipe:
        """The authors' variant for less memory: batches of 64, learning rate 0.05."""
        return replace(self, batch_size=64, learning_rate=0.05)

    def shortened(self, epochs: int) -> Self:
        """Fewer epochs, with the milestones and the evaluated epochs at the same fractions. Not the authors' recipe."""
        return replace(super().shortened(epochs), evaluate_after=self._scaled(self.evaluate_after, epochs))

    def evaluates(self, epoch: int) -> bool:
        """Whether the test images are looked at after epoch 1, 2, ..."""
        return epoch == self.epochs or epoch in self.evaluate_after

    def protocol(self, train_images: int) -> dict[str, Any]:
        return {
            **super().protocol(train_images),
            "micro_batch": self.micro_batch,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "augmentation": self.augmentation,
            "validation_images": self.validation_images,
            "selection": self.selection,
        }


@dataclass(frozen=True, order=True)
class STL10Cell(AnyCell):
    """One run: a model, and the number that its seed comes from.

    Raises:
        ValueError: an unknown model, a number that is not whole or is negative.
    """

    TAG = "stl10"
    PATTERN = r"stl10-(\w+)-r(0|[1-9][0-9]*)"
    KINDS = (str, int)
    EXAMPLE = "an STL-10 run such as stl10-wrn_16_8-r0"

    run: int

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown model {self.model!r:.80}; the STL-10 models are {', '.join(MODELS)}")
        if isinstance(self.run, bool) or not isinstance(self.run, int) or self.run < 0:
            raise ValueError(f"run must be a whole number of at least 0, not {self.run!r}")

    @property
    def condition(self) -> None:
        return None

    @property
    def repetition(self) -> int:
        return self.run

    @property
    def name(self) -> str:
        """File-name form, e.g. `stl10-wrn_16_8_ses_b-r0`; `parse` is its inverse."""
        return f"{self.TAG}-{self.model}-r{self.run}"


class STL10(Experiment[Recipe]):
    """The paper's experiment on natural images; the authors trained each model once."""

    name, title = "stl10", "STL-10"
    cell = STL10Cell
    training = "sesn_lib.training.stl10"
    models = MODELS
    parts: ClassVar[Mapping[str, tuple[AnyCell, ...]]] = {"sesn": tuple(STL10Cell(model, 0) for model in MODELS)}
    train_images, test_images = TRAIN_IMAGES, TEST_IMAGES
    settings = Recipe()
    error = "test_error"
    table_header = (
        "# Test errors in percent on the 8,000 test images of STL-10, made from the records by `sesn collect`.\n"
    )
    folder = "stl10"

    RECORD_RULES: ClassVar[Rules] = {"reported_epoch": whole(1), "test_error": PERCENT, "evaluations": is_a(list)}
    PROTOCOL_RULES: ClassVar[Rules] = {
        "momentum": number(0),
        "augmentation": text,
        "validation_images": whole(0),
        "selection": text,
    }
    EVALUATION_RULES: ClassVar[Rules] = {"epoch": whole(1), "test_error": PERCENT, "test_loss": number()}

    def cell_for(self, model: str, scaling: float | None, realization: int) -> STL10Cell:
        if scaling is not None:
            raise ValueError(f"a scaling of {scaling} is for mnist-scale; the augmentation of STL-10 is fixed")
        return STL10Cell(model, realization)

    def select(
        self,
        models: Iterable[str] | None = None,
        scalings: Iterable[float] | None = None,
        realizations: Iterable[int] | None = None,
        *,
        part: str | None = None,
    ) -> tuple[STL10Cell, ...]:
        """Cells of these models and runs, run by run; None stands for all models, or for run 0.

        Raises:
            ValueError: an unknown model, an impossible run, an empty choice; any scaling.
        """
        if scalings is not None:
            raise ValueError("--scalings is for mnist-scale; the augmentation of STL-10 is fixed")
        known = [cell.model for cell in self.cells(part)]
        wanted, runs = list(known if models is None else models), list((0,) if realizations is None else realizations)
        cells = {STL10Cell(model, run) for model in wanted for run in runs}
        if not cells:
            raise ValueError(f"no STL-10 run was chosen; the models are {', '.join(known)}")
        return tuple(sorted(cells, key=lambda cell: (cell.run, cell.model)))

    def settings_of(self, cell: AnyCell, options: RunOptions) -> Recipe:
        settings = super().settings_of(cell, options)
        if options.small_memory:
            small = settings.small_memory()
            settings = small if options.batch_size is None else replace(small, batch_size=options.batch_size)
        return replace(settings, micro_batch=options.micro_batch)

    def whole_protocols(self, cell: AnyCell | None = None) -> tuple[dict[str, Any], ...]:
        return tuple(self.protocol(recipe, RunOptions()) for recipe in (Recipe(), Recipe().small_memory()))

    def trained_images(self, settings: Recipe, train_images: int) -> int:
        return super().trained_images(settings, train_images - settings.validation_images)

    def evaluated_images(self, settings: Recipe, test_images: int) -> int:
        evaluations = sum(settings.evaluates(epoch) for epoch in range(1, settings.epochs + 1))
        return evaluations * (test_images + settings.validation_images)

    def check_record(self, record: Mapping[str, Any]) -> None:
        for count, evaluation in enumerate(record["evaluations"], start=1):
            if not isinstance(evaluation, dict):
                raise RecordError(f"evaluations: number {count} cannot be {short(evaluation)}")
            check(evaluation, self.EVALUATION_RULES, f"evaluations: number {count}: ")
        epoch = record["reported_epoch"]
        errors = [evaluation["test_error"] for evaluation in record["evaluations"] if evaluation["epoch"] == epoch]
        if errors != [record["test_error"]]:
            raise RecordError(
                f"test_error is {record['test_error']}, but evaluations have after epoch {epoch} (reported_epoch) "
                f"{short(errors)}"
            )

    def result_line(self, record: Mapping[str, Any]) -> str:
        return (
            f"test error {record['test_error']:.2f} % on {record['test_images']:,} images, "
            f"after epoch {record['reported_epoch']} of {record['protocol']['epochs']}"
        )


EXPERIMENT = STL10()
