"""Controls: networks of the MNIST-scale table with one thing changed. Plain data: nothing heavy is imported.

A control is a network of the table under a change that has a name; `mnist_cnn_28@lr0.003-wd0` is a model here. Seeds
follow from names, so no control repeats a run of the table, not even one of the change "unchanged". Records have a
folder of their own, beside those of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from sesn_lib.checks import check_number, check_whole
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.mnist_scale import REALIZATIONS, TRAIN_IMAGES, DrawnCell, MNISTScale, Settings
from sesn_lib.experiments.settings import RunOptions

DECAY = 5e-4
RATES = (0.003, 0.01, 0.03)
BASES = ("basis-a", "one-scale", "raised", "size21", "disco")
"""Changes of the network itself; `models.CHANGED` says what they are."""
FEWER = (1000, 2500, 5000)
SEEDS = range(1, 6)


@dataclass(frozen=True, kw_only=True)
class ControlSettings(Settings):
    """The protocol, with what a control may change.

    Attributes:
        weight_decay: decoupled, as Loshchilov and Hutter (ICLR 2019, algorithm 2) have it: each step takes away this
            share of every parameter, times the schedule's multiplier; the learning rate's size has no part in it. 0 is
            plain Adam.
        train_images: so many are trained on, the first of the split.

    Raises:
        ValueError: an impossible value, named.
    """

    weight_decay: float = 0.0
    train_images: int = TRAIN_IMAGES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(least=0, below=1, weight_decay=self.weight_decay)
        check_whole(2, most=TRAIN_IMAGES, train_images=self.train_images)

    def protocol(self, train_images: int) -> dict[str, Any]:
        said = {**super().protocol(train_images), "weight_decay": self.weight_decay}
        return {**said, "optimizer": "AdamW"} if self.weight_decay else said


CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "unchanged": {},
        **{
            f"lr{rate}-wd{decay:g}": {"learning_rate": rate, "weight_decay": decay}
            for rate in RATES
            for decay in (0, DECAY)
            if (rate, decay) != (Settings().learning_rate, 0)  # that is "unchanged"
        },
        **{f"n{images}": {"train_images": images} for images in FEWER},
        **{basis: {} for basis in BASES},
        **{f"seed{seed}": {} for seed in SEEDS},
    }
)
"""What each change does to the settings."""

CNN, SCALAR, VECTOR = "mnist_cnn_28", "mnist_ses_scalar_28", "mnist_ses_vector_28"
PLAIN = (CNN, SCALAR, VECTOR)
AUGMENTED = (CNN, f"{SCALAR}p", f"{VECTOR}p")
TUNED = tuple(change for change in CHANGES if change.startswith("lr"))
PAIRS: tuple[tuple[str, str], ...] = (
    *((network, "unchanged") for network in dict.fromkeys((*PLAIN, *AUGMENTED))),
    *((network, change) for network in PLAIN for change in (*TUNED, *(f"n{images}" for images in FEWER))),
    *((network, basis) for network in (SCALAR, VECTOR) for basis in BASES if (network, basis) != (VECTOR, "disco")),
    *((network, f"seed{seed}") for network in (CNN, VECTOR) for seed in SEEDS),
)
MODELS: tuple[str, ...] = tuple(f"{network}@{change}" for network, change in PAIRS)


def network_of(model: str) -> str:
    """The network that is trained under this name: one of the table, or, where its basis is changed, one of its own."""
    network, _, change = model.partition("@")
    return model if change in BASES else network


@dataclass(frozen=True, order=True)
class Control(DrawnCell):
    """One run; `model` is one of `MODELS`, e.g. `mnist_cnn_28@n1000`.

    Raises:
        ValueError: an unknown control, and as `DrawnCell`.
    """

    TAG = "controls"
    PATTERN = r"(\w+@[\w.-]+)" + DrawnCell.DRAW
    EXAMPLE = f"a control such as {MODELS[0]}-x1.0-r0"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown control {self.model!r:.80}; the controls are {', '.join(MODELS)}")
        super().__post_init__()

    @property
    def network(self) -> str:
        return network_of(self.model)

    @property
    def base(self) -> str:
        """The network of the table."""
        return self.model.partition("@")[0]

    @property
    def change(self) -> str:
        """What is changed, one of `CHANGES`."""
        return self.model.partition("@")[2]


def _cells(
    networks: Iterable[str], changes: Iterable[str], scaling: float, realizations: Iterable[int]
) -> tuple[Control, ...]:
    """Realization by realization, change by change, so that comparisons fill evenly."""
    kept, changed = tuple(networks), tuple(changes)
    return tuple(Control(f"{n}@{c}", scaling, r) for r in realizations for c in changed for n in kept)


FIRST, LAST = REALIZATIONS[:3], REALIZATIONS[3:]
SIZES = _cells(PLAIN, ["unchanged"], 1.0, FIRST) + _cells(AUGMENTED, ["unchanged"], 0.5, FIRST)
TUNING_CNN = _cells([CNN], TUNED, 1.0, FIRST) + _cells([CNN], TUNED, 0.5, FIRST)
TUNING_SESN = _cells([SCALAR, VECTOR], TUNED, 1.0, FIRST)
LESS_DATA = _cells(PLAIN, [f"n{images}" for images in FEWER], 1.0, FIRST)
CHANGED_BASES = _cells([SCALAR, VECTOR], BASES[:-1], 1.0, FIRST) + _cells([SCALAR], ["disco"], 1.0, FIRST)
OTHER_SEEDS = _cells([CNN, VECTOR], [f"seed{seed}" for seed in SEEDS], 1.0, [0])
HELD_OUT = (
    *_cells([CNN], TUNED, 1.0, LAST),
    *_cells([CNN], TUNED, 0.5, LAST),
    *_cells([SCALAR, VECTOR], TUNED, 1.0, LAST),
)


class Controls(MNISTScale):
    """What would overturn the result of the table. The first part is all of them, in order of weight; each of the
    others answers a question, and "held-out" the first one once more, on realizations that had no part in a choice."""

    name, title = "controls", "Controls on MNIST-scale"
    cell = Control
    models = MODELS
    parts: ClassVar[Mapping[str, tuple[AnyCell, ...]]] = {
        "controls": SIZES + TUNING_CNN + LESS_DATA + TUNING_SESN + CHANGED_BASES + OTHER_SEEDS,
        "sizes": SIZES,
        "tuning": TUNING_CNN + TUNING_SESN,
        "less-data": LESS_DATA,
        "bases": CHANGED_BASES,
        "seeds": OTHER_SEEDS,
        "held-out": HELD_OUT,
    }
    training = "sesn_lib.training.controls"
    several_ways = False
    settings = ControlSettings()
    table_header = """\
# Test errors in percent on the 50,000 test images of MNIST-scale, of controls: no run here is one of the paper's table.
# Made from the records in runs/ by `sesn collect`. by_condition: model, extra_scaling, realization.
"""
    folder = "controls"

    def cell_for(self, model: str, scaling: float | None, realization: int) -> Control:
        return Control(model, 1.0 if scaling is None else scaling, realization)

    def settings_of(self, cell: AnyCell, options: RunOptions) -> ControlSettings:
        assert isinstance(cell, Control)
        settings = super().settings_of(cell, options)
        assert isinstance(settings, ControlSettings)
        settings = replace(settings, **CHANGES[cell.change])
        return settings if options.train_images is None else replace(settings, train_images=options.train_images)

    def protocol(self, settings: Settings, options: RunOptions) -> dict[str, Any]:
        assert isinstance(settings, ControlSettings)
        return super().protocol(settings, replace(options, train_images=settings.train_images))

    def check(self, options: RunOptions) -> None:
        for images in (TRAIN_IMAGES, *FEWER) if options.train_images is None else (options.train_images,):
            super().check(replace(options, train_images=images))

    def whole_protocols(self, cell: AnyCell | None = None) -> tuple[dict[str, Any], ...]:
        cells = self.cells("controls") if cell is None else (cell,)
        return tuple(self.protocol(self.settings_of(one, RunOptions()), RunOptions()) for one in cells)


EXPERIMENT = Controls()
