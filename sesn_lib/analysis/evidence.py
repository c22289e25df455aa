"""Two kinds of evidence on the cells of the paper's table: means and spreads that were printed, and runs of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sesn_lib.analysis import mixed
from sesn_lib.analysis.published import REGIME
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import NAN, Difference, Sample, contrast

TableCell = tuple[str, str]
Weights = Mapping[TableCell, float]


@dataclass(frozen=True)
class Samples:
    """Cells of which only means and spreads are known, or whose runs nobody can pair."""

    cells: Mapping[TableCell, Sample]

    def shared(self, cells: Iterable[TableCell]) -> int:
        """How many runs each of these cells has at least."""
        return min((self.cells[cell].n if cell in self.cells else 0 for cell in cells), default=0)

    def estimate(self, weights: Weights) -> Difference:
        """The weighted sum of means by a Welch contrast, which takes the cells for independent."""
        return contrast([self.cells[cell] for cell in weights], list(weights.values()))

    def by_model(self, weights: Weights) -> Difference:
        """No runs, no model of them."""
        return Difference(NAN, method="no runs")

    def looks(self, rows: Sequence[Weights]) -> int:
        """None: what is printed does not grow."""
        return 0


@dataclass(frozen=True)
class OurRuns:
    """Our runs; `looked`: with how many of them the results were looked at before (see `results.looks`)."""

    results: Results
    looked: Sequence[int] = ()
    _errors: dict[TableCell, dict[int, float]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_errors", {name: self.results.condition(*name) for name in REGIME})

    @cached_property
    def model(self) -> mixed.Mixed:
        """The mixed model of all runs, those beside the paper's table too: they know the realizations as well."""
        return mixed.fit(self.results.by_regime())

    def common(self, cells: Iterable[TableCell]) -> set[int]:
        """The realizations of which each of these cells has a run."""
        return set.intersection(*(set(self._errors[cell]) for cell in cells))

    def shared(self, cells: Iterable[TableCell]) -> int:
        """How many realizations these cells have in common."""
        return len(self.common(cells))

    def estimate(self, weights: Weights) -> Difference:
        """The weighted sum of the mixed model's means, tested by how it scatters between realizations.

        Where each of the cells has the same realizations it is Student's paired t-test over these.
        """
        return mixed.by_realization(self.model, {REGIME[cell]: weight for cell, weight in weights.items()})

    def by_model(self, weights: Weights) -> Difference:
        """The same with the model's own standard error, which takes realizations for equally hard for all cells."""
        return self.model.contrast({REGIME[cell]: weight for cell, weight in weights.items()})

    def looks(self, rows: Sequence[Weights]) -> int:
        """In how many different states this question was looked at when it had an answer, the present one included.

        A look that found no new run in any of its cells was no new chance. Runs are ordered by when they finished.
        """
        cells = {REGIME[cell] for row in rows for cell in row}
        ended = [(cell.model, cell.extra_scaling, cell.realization) for cell in self.results.by_age()]
        states = set()
        for count in (*(n for n in self.looked if n < len(ended)), len(ended)):
            there = {run for run in ended[:count] if run[:2] in cells}
            if any(_shared(there, {REGIME[cell] for cell in row}) > 1 for row in rows):
                states.add(frozenset(there))
        return max(len(states), 1)


def _shared(runs: set[tuple[str, float, int]], cells: set[tuple[str, float]]) -> int:
    return len(set.intersection(*({r for *regime, r in runs if tuple(regime) == cell} for cell in cells)))
