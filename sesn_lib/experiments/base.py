"""What an experiment is: its cells, the settings they are run with, and what its records must say. Plain data.

How its networks are trained is the `Task` in the module that `Experiment.training` names.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, Self

from sesn_lib.experiments.rules import Rules
from sesn_lib.experiments.settings import RunOptions, SettingsType

ALL = "all"
"""The name that stands for every part of an experiment's grid."""


@dataclass(frozen=True, order=True)
class AnyCell(ABC):
    """One training run: a model under one condition, once more or once less. Each experiment has a subclass.

    Attributes:
        TAG: the experiment as records of it name it; empty for the first one, whose cells are known by their keys.
        PATTERN: of names, with a group for each field.
        KINDS: the types of the fields.
        EXAMPLE: a name, with its article and kind, for messages.
    """

    TAG: ClassVar[str] = ""
    PATTERN: ClassVar[str]
    KINDS: ClassVar[tuple[Callable[[str], Any], ...]]
    EXAMPLE: ClassVar[str]

    model: str

    @property
    @abstractmethod
    def condition(self) -> float | None:
        """What distinguishes runs of a model that are not repetitions of each other; None if nothing does."""

    @property
    @abstractmethod
    def repetition(self) -> int:
        """Which of the runs of this model under this condition it is."""

    @property
    @abstractmethod
    def name(self) -> str:
        """File-name form, of which `parse` is the inverse; the seed follows from it."""

    @property
    def network(self) -> str:
        """The network that is trained, as `models.build` knows it."""
        return self.model

    @classmethod
    def parse(cls, name: str) -> Self:
        """The cell of a name.

        Raises:
            ValueError: it is not a name that a cell has.
        """
        match = re.fullmatch(cls.PATTERN, name, re.ASCII)
        try:
            if match is None:
                raise ValueError
            cell = cls(*(kind(text) for kind, text in zip(cls.KINDS, match.groups(), strict=True)))
            if cell.name != name:
                raise ValueError
        except ValueError as error:
            detail = f": {error}" if str(error) else ""
            raise ValueError(f"{name!r} is not the name of {cls.EXAMPLE}{detail}") from None
        return cell

    def __str__(self) -> str:
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """The form in which records hold a cell."""
        return {**({"experiment": self.TAG} if self.TAG else {}), **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self | None:
        """The cell that `as_dict` made this of, None if it is of another experiment.

        Raises:
            ValueError: values that no cell has.
        """
        names = [field.name for field in fields(cls)]
        if set(values) != {*names, *(["experiment"] if cls.TAG else [])} or values.get("experiment", "") != cls.TAG:
            return None
        return cls(**{name: values[name] for name in names})


class Experiment(ABC, Generic[SettingsType]):
    """One experiment; the registry is `sesn_lib.experiments.registry`.

    Attributes:
        name: on the command line.
        title: in headings.
        cell: the type of its cells.
        training: the module with its `Task`.
        models: of all parts, in the order of tables.
        parts: cells in running order, by the name of the part of the grid; the first part is the paper's table.
        train_images, test_images: all that there are.
        least_images: fewest that can be trained on.
        several_ways: whether its networks can be computed in several ways, which are measured against each other.
        settings: the protocol.
        error: the key of a record that holds the test error in percent.
        table_header: comment at the head of the table of errors that `store.collect` writes.
        folder: of its results, below the folder where those of the first experiment are.
        RECORD_RULES, PROTOCOL_RULES, EPOCH_RULES, TIMING_RULES: for its records, beside those for all records.
    """

    name: str
    title: str
    cell: type[AnyCell]
    training: str
    models: tuple[str, ...]
    parts: ClassVar[Mapping[str, tuple[AnyCell, ...]]]
    train_images: int
    test_images: int
    least_images = 1
    several_ways = False
    settings: SettingsType
    error: str
    table_header = ""
    folder = ""

    RECORD_RULES: ClassVar[Rules]
    PROTOCOL_RULES: ClassVar[Rules] = {}
    EPOCH_RULES: ClassVar[Rules] = {}
    TIMING_RULES: ClassVar[Rules] = {}

    def cells(self, part: str | None = None) -> tuple[AnyCell, ...]:
        """The cells of a part of the grid in running order, of the first by default, of every part for `ALL`.

        Raises:
            ValueError: no such part.
        """
        if part == ALL:
            return tuple(dict.fromkeys(cell for cells in self.parts.values() for cell in cells))
        name = next(iter(self.parts)) if part is None else part
        if name not in self.parts:
            raise ValueError(f"{self.name} has no part {name!r:.60}; the parts are {', '.join(self.parts)}, or {ALL}")
        return self.parts[name]

    @abstractmethod
    def cell_for(self, model: str, scaling: float | None, realization: int) -> AnyCell:
        """One cell, in the grid or not; None stands for the usual condition.

        Raises:
            ValueError: there is none.
        """

    def select(
        self,
        models: Iterable[str] | None = None,
        scalings: Iterable[float] | None = None,
        realizations: Iterable[int] | None = None,
        *,
        part: str | None = None,
    ) -> tuple[Any, ...]:
        """The cells of a part of the grid of these models, conditions and repetitions, in running order; None stands
        for all.

        Raises:
            ValueError: a value that the part does not hold, or an empty choice.
        """
        cells = self.cells(part)
        models = _chosen("model", models, sorted({cell.model for cell in cells}, key=self.models.index))
        scalings = _chosen("extra_scaling", scalings, list(dict.fromkeys(cell.condition for cell in cells)))
        realizations = _chosen("realization", realizations, sorted({cell.repetition for cell in cells}))
        chosen = (cell for cell in cells if cell.model in models and cell.repetition in realizations)
        return tuple(cell for cell in chosen if cell.condition in scalings)

    def settings_of(self, cell: AnyCell, options: RunOptions) -> SettingsType:
        """The protocol for a cell, changed as the options say; its seed is for who runs it to set.

        Raises:
            ValueError: an impossible value.
        """
        settings = replace(self.settings, precision=options.precision)
        if options.epochs is not None and options.epochs != settings.epochs:
            settings = settings.shortened(options.epochs)
        return settings if options.batch_size is None else replace(settings, batch_size=options.batch_size)

    def check(self, options: RunOptions) -> None:
        """Refuses, before anything is begun, what no run of this experiment can be made with.

        Raises:
            ValueError: naming the option.
        """
        for name, least, most in (
            ("train_images", self.least_images, self.train_images),
            ("test_images", 1, self.test_images),
        ):
            count = getattr(options, name)
            if count is not None and not least <= count <= most:
                raise ValueError(f"--{name.replace('_', '-')} must be {least} to {most}, not {count}")
        self.settings_of(self.cells()[0], options)

    def protocol(self, settings: SettingsType, options: RunOptions) -> dict[str, Any]:
        """What the records of such runs will say, the precision aside, which may differ."""
        images = self.train_images if options.train_images is None else options.train_images
        tested = self.test_images if options.test_images is None else options.test_images
        said = {**settings.protocol(images), "test_images": tested}
        return {key: value for key, value in said.items() if key != "precision"}

    def whole_protocols(self, cell: AnyCell | None = None) -> tuple[dict[str, Any], ...]:
        """What the protocol of a cell's record must hold for the run to count as whole: one of these; of any cell for
        None."""
        return (self.protocol(self.settings, RunOptions()),)

    def is_complete(self, protocol: Mapping[str, Any], test_images: int, cell: AnyCell | None = None) -> bool:
        """Whether a run, of this cell, counts: by the protocol, with all images. Precision and device may differ."""
        said = {**protocol, "test_images": test_images}
        return any(
            all(said.get(key) == value for key, value in {**whole, "test_images": self.test_images}.items())
            for whole in self.whole_protocols(cell)
        )

    def trained_images(self, settings: SettingsType, train_images: int) -> int:
        """How many images a whole run takes steps on, of so many handed in, for an estimate of its time."""
        return settings.epochs * train_images

    def evaluated_images(self, settings: SettingsType, test_images: int) -> int:
        """Likewise how many it evaluates."""
        return test_images

    @abstractmethod
    def check_record(self, record: Mapping[str, Any]) -> None:
        """Raises RecordError for what the rules for single values cannot say; called once they hold."""

    @abstractmethod
    def result_line(self, record: Mapping[str, Any]) -> str:
        """The result of a run in a few words."""


def _chosen(what: str, wanted: Iterable[Any] | None, held: Sequence[Any]) -> set[Any]:
    chosen = list(held if wanted is None else wanted)
    for value in chosen:
        if value not in held:
            raise ValueError(f"the grid has no {what} {value!r}; it has {', '.join(map(str, held))}")
    if not chosen:
        raise ValueError(f"no {what} was chosen; the grid has {', '.join(map(str, held))}")
    return set(chosen)
