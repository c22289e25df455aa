"""The STL-10 experiment: its recipe, its runs, its records. Plain data: nothing heavy is imported.

The recipe is the authors' (Sosnovik, Szmaja and Smeulders, ICLR 2020): SGD with Nesterov momentum on the 5,000
labelled images for 1,000 epochs, the error on the 8,000 test images measured at fixed epochs, and the final one
reported. Nothing is chosen by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sesn_lib.checks import check_choice, check_epochs, check_number, check_whole
from sesn_lib.experiments.settings import PRECISION_CHOICES

__all__ = ["EXPERIMENT", "GRID", "MODELS", "Recipe", "STL10Cell", "is_complete", "select"]

EXPERIMENT = "stl10"
MODELS = ("wrn_16_8", "wrn_16_8_ses_a", "wrn_16_8_ses_b", "wrn_16_8_ses_c")
TRAIN_IMAGES, TEST_IMAGES = 5000, 8000
SELECTIONS = ("final", "validation")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides a run, apart from model and data.

    Attributes:
        epochs, batch_size: the last batch of an epoch holds what is left.
        learning_rate: multiplied by `gamma` after each of the epochs `milestones`.
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
        precision: "float32", "bf16" for autocast (weights, loss and optimiser stay float32), or "auto".
        seed: of the order, the augmentation, the dropout and the held-out images.
        eval_batch: images at a time in evaluation.

    Raises:
        ValueError: an impossible value, named.
    """

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
    precision: str = "float32"
    seed: int = 0
    eval_batch: int = 250

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, batch_size=self.batch_size, eval_batch=self.eval_batch)
        check_whole(0, validation_images=self.validation_images, seed=self.seed)
        check_number(0, learning_rate=self.learning_rate, gamma=self.gamma)
        check_number(least=0, below=1, momentum=self.momentum)
        check_number(least=0, weight_decay=self.weight_decay)
        for name in ("milestones", "evaluate_after"):
            object.__setattr__(self, name, check_epochs(name, getattr(self, name)))
        if self.micro_batch is not None:
            check_whole(micro_batch=self.micro_batch)
        check_choice(("authors", "report", "none"), augmentation=self.augmentation)
        check_choice(SELECTIONS, selection=self.selection)
        check_choice(PRECISION_CHOICES, precision=self.precision)
        if self.selection == "validation" and not self.validation_images:
            raise ValueError("selection is 'validation', but validation_images is 0: hold out some, e.g. 500")

    def small_memory(self) -> Recipe:
        """The authors' variant for less memory: batches of 64, learning rate 0.05."""
        return replace(self, batch_size=64, learning_rate=0.05)

    def shortened(self, epochs: int) -> Recipe:
        """Fewer epochs, with the milestones and the evaluated epochs at the same fractions. Not the authors' recipe."""
        check_whole(epochs=epochs)

        def scaled(marks: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted({round(mark * epochs / self.epochs) for mark in marks} & set(range(1, epochs))))

        return replace(
            self, epochs=epochs, milestones=scaled(self.milestones), evaluate_after=scaled(self.evaluate_after)
        )

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate that epoch 1, 2, ... is trained with."""
        return self.learning_rate * self.gamma ** sum(milestone < epoch for milestone in self.milestones)

    def evaluates(self, epoch: int) -> bool:
        """Whether the test images are looked at after epoch 1, 2, ..."""
        return epoch == self.epochs or epoch in self.evaluate_after

    def protocol(self, train_images: int) -> dict[str, Any]:
        """What a record says of the recipe; `train_images` counts those that are trained on."""
        return {
            "data": EXPERIMENT,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "micro_batch": self.micro_batch,
            "optimizer": "SGD, Nesterov",
            "momentum": self.momentum,
            "learning_rate": self.learning_rate,
            "milestones": list(self.milestones),
            "gamma": self.gamma,
            "weight_decay": self.weight_decay,
            "augmentation": self.augmentation,
            "train_images": train_images,
            "validation_images": self.validation_images,
            "selection": self.selection,
            "precision": self.precision,
        }


def is_complete(protocol: dict[str, Any], test_images: int) -> bool:
    """Whether a run counts as the authors' experiment: their recipe or its small-memory variant, all images.

    Precision and device may differ; the record states them.
    """
    free = {"precision"}
    wanted = [recipe.protocol(TRAIN_IMAGES) for recipe in (Recipe(), Recipe().small_memory())]
    return test_images == TEST_IMAGES and any(
        all(protocol.get(key) == value for key, value in full.items() if key not in free) for full in wanted
    )


@dataclass(frozen=True, order=True)
class STL10Cell:
    """One run: a model, and the number that its seed comes from.

    Raises:
        ValueError: an unknown model, a number that is not whole or is negative.
    """

    model: str
    run: int

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown model {self.model!r:.80}; the STL-10 models are {', '.join(MODELS)}")
        if isinstance(self.run, bool) or not isinstance(self.run, int) or self.run < 0:
            raise ValueError(f"run must be a whole number of at least 0, not {self.run!r}")

    @property
    def name(self) -> str:
        """File-name form, e.g. `stl10-wrn_16_8_ses_b-r0`; `parse` is its inverse."""
        return f"{EXPERIMENT}-{self.model}-r{self.run}"

    def __str__(self) -> str:
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """The form in which records hold a cell."""
        return {"experiment": EXPERIMENT, "model": self.model, "run": self.run}

    @classmethod
    def parse(cls, name: str) -> STL10Cell:
        """The cell of a name. Raises ValueError if it is not a name that a cell has."""
        match = re.fullmatch(rf"{EXPERIMENT}-(?P<model>\w+)-r(?P<run>0|[1-9][0-9]*)", name, re.ASCII)
        if match is None or match["model"] not in MODELS:
            raise ValueError(f"{name!r} is not the name of an STL-10 run such as {GRID[0].name}")
        return cls(match["model"], int(match["run"]))


GRID: tuple[STL10Cell, ...] = tuple(STL10Cell(model, 0) for model in MODELS)
"""The authors trained each model once."""


def select(models: Iterable[str] | None = None, runs: Iterable[int] | None = None) -> tuple[STL10Cell, ...]:
    """Cells of these models and runs, run by run; None stands for all models, or for run 0.

    Raises:
        ValueError: an unknown model, an impossible run, an empty choice.
    """
    wanted, numbers = list(MODELS if models is None else models), list((0,) if runs is None else runs)
    cells = {STL10Cell(model, run) for model in wanted for run in numbers}
    if not cells:
        raise ValueError(f"no STL-10 run was chosen; the models are {', '.join(MODELS)}")
    return tuple(sorted(cells, key=lambda cell: (cell.run, cell.model)))
