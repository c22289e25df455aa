"""From records to answers: pooled as the earlier report did, per condition as the paper did.

Works with however many records there are, none included; what is missing is said, not filled in.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sesn_lib.analysis.effects import charged, clustered
from sesn_lib.analysis.published import COLUMNS, REGIME, REPORT_RUNS, RIVAL_REGIME, ROWS, Published, regroup
from sesn_lib.analysis.statistics import LEAST, NOMINAL, Difference, Sample, contrast, difference, holm
from sesn_lib.checks import is_whole
from sesn_lib.experiments.base import ALL
from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID, REALIZATIONS, SCALINGS, Cell
from sesn_lib.store.records import Store

RIVALS = frozenset(cell for cell in EXPERIMENT.cells("rivals") if isinstance(cell, Cell))


@dataclass(frozen=True)
class Results:
    """The complete records of the grid.

    Attributes:
        records: of SESN and the plain CNN by cell, in the grid's order.
        rivals: likewise of the paper's other methods.
        partial: cells whose record is of a shorter protocol; they count nowhere.
        failed: cells that failed, and how.
        damaged: files named after a cell that are no records.
    """

    records: Mapping[Cell, Mapping[str, Any]]
    rivals: Mapping[Cell, Mapping[str, Any]] = field(default_factory=dict)
    partial: tuple[Cell, ...] = ()
    failed: Mapping[Cell, str] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Cells of the grid without a complete record."""
        return tuple(cell for cell in GRID if cell not in self.records)

    def errors(self, model: str, scaling: float, images: str = "50k") -> dict[int, float]:
        """Realization -> test error in percent of one model under one training condition."""
        return {r: float(record[f"test_error_{images}"]) for r, record in self.runs(model, scaling).items()}

    def runs(self, model: str, scaling: float) -> dict[int, Mapping[str, Any]]:
        """Likewise the records."""
        cells = (Cell(model, scaling, realization) for realization in REALIZATIONS)
        known = ((cell, self.records.get(cell) or self.rivals.get(cell)) for cell in cells)
        return {cell.realization: record for cell, record in known if record}

    def condition(self, row: str, column: str) -> dict[int, float]:
        """Realization -> error for a cell of the paper's table."""
        return self.errors(*(REGIME.get((row, column)) or RIVAL_REGIME[row, column]))

    @property
    def everything(self) -> dict[Cell, Mapping[str, Any]]:
        """The records of the whole table, ten methods."""
        return {**self.records, **self.rivals}

    def by_regime(self) -> dict[Hashable, dict[int, float]]:
        """(model, extra_scaling) -> realization -> error, where there are runs."""
        regimes: dict[Hashable, dict[int, float]] = {}
        for cell, record in self.records.items():
            regimes.setdefault((cell.model, cell.extra_scaling), {})[cell.realization] = float(record["test_error_50k"])
        return regimes

    def by_age(self) -> list[Cell]:
        """The cells in the order in which their runs finished."""
        return sorted(self.records, key=lambda cell: (self.records[cell]["timing"]["finished"], cell))

    def pooled(self, model: str) -> Sample | None:
        """All runs of a model, both training conditions, as the report pooled them."""
        return Sample.of([error for scaling in SCALINGS for error in self.errors(model, scaling).values()])


def load(folder: str | Path) -> Results:
    """Reads the records of a results folder; an empty or absent folder gives empty results. Never trains."""
    store = Store(folder)
    table = set(GRID) | set(RIVALS)
    others = set(EXPERIMENT.cells(ALL)) - table  # of other parts, which are no part of this table
    every = {cell: record for cell, record in store.records_of(Cell).items() if cell not in others}
    counted = {cell: record for cell, record in every.items() if record["complete"] and cell in table}
    records, rivals = ({c: r for c, r in counted.items() if (c in RIVALS) == other} for other in (False, True))
    partial = tuple(cell for cell in every if cell not in counted)
    failed = {cell: error for cell, error in store.failures_of(Cell).items() if cell not in others}
    damaged = tuple(f"{path.name}: {reason}" for path, reason in store.damaged)
    return Results(records, rivals, partial, failed, damaged)


def looks(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """How often results were looked at before, by the number of runs ("table", "rivals", "controls") or pairs
    ("precision") that there were.

    Raises:
        OSError: `looks.yml` is not there.
        ValueError: it is not four lists of whole numbers that increase.
    """
    path = Path(folder) / "looks.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    counted = {}
    for key in ("table", "precision", "rivals", "controls"):
        counts = content.get(key) if isinstance(content, dict) else None
        if not isinstance(counts, list) or not all(is_whole(n, 1) for n in counts) or counts != sorted(set(counts)):
            raise ValueError(f"{path.name}: {key} is {counts}: it must be a list of numbers of runs that increase")
        counted[key] = tuple(counts)
    return counted


def nth_look(before: Sequence[int], count: int) -> int:
    """The how-manieth look it is at so many runs or pairs, after looks at the numbers `before`."""
    return sum(earlier < count for earlier in before) + 1


# Ours against published means


@dataclass(frozen=True)
class Comparison:
    """One cell of a table, ours against theirs.

    Attributes:
        name: (row, column) or (model,).
        ours, theirs: samples, None where there is none.
        difference: ours minus theirs, in percentage points.
        corrected: p of the difference, Holm over the table's planned cells; NaN below `LEAST` runs on a side.
        equivalent: p of equivalence within the margin, corrected likewise.
        verdict: "differs", "the same" (within the margin), "undecided" (too few runs included), or "no run yet".
    """

    name: tuple[str, ...]
    ours: Sample | None
    theirs: Sample | None
    difference: Difference
    corrected: float = math.nan
    equivalent: float = math.nan
    verdict: str = "no run yet"


def _compare(
    cells: Sequence[tuple[tuple[str, ...], Sample | None, Sample | None, Difference, int]], margin: float
) -> list[Comparison]:
    """Cells are (name, ours, theirs, difference, runs of the emptiest group)."""
    corrected = holm([d.p if runs >= LEAST else math.nan for *_, d, runs in cells], family=len(cells))
    same = holm([d.equivalent(margin) if runs >= LEAST else math.nan for *_, d, runs in cells], family=len(cells))
    comparisons = []
    for (name, ours, theirs, d, _), p, q in zip(cells, corrected, same):
        said = "no run yet" if ours is None or theirs is None else _verdict(p, q)
        comparisons.append(Comparison(name, ours, theirs, d, p, q, said))
    return comparisons


def _verdict(differs: float, same: float) -> str:
    return "differs" if differs < NOMINAL else "the same" if same < NOMINAL else "undecided"


def compare_conditions(
    ours: Mapping[tuple[str, str], Sample | None],
    theirs: Mapping[tuple[str, str], Sample],
    margin: float,
    rows: Sequence[str] = ROWS,
) -> list[Comparison]:
    """Each cell of the paper's table, by Welch's test; missing cells of ours stay in the family of tests."""
    names = [(row, column) for row in rows for column in COLUMNS]
    differences = {n: difference(ours.get(n), theirs.get(n)) for n in names}
    return _compare([(n, ours.get(n), theirs.get(n), d, min(d.n)) for n, d in differences.items()], margin)


def compare_pooled(results: Results, published: Published, margin: float) -> list[Comparison]:
    """Each model's pooled mean against the report's: a Welch contrast of conditions where 12 runs of it are known.

    A pooled mean is over conditions that were chosen, not drawn, so only what runs of one condition scatter counts.
    Where they are not, or were only 11, Welch's test against the published mean and spread; it takes the two conditions
    for chance, so its interval is too wide.
    """
    cells = []
    for model, theirs in published.report.items():
        ours = results.pooled(model)
        runs = published.runs[model]
        groups = [list(results.errors(model, scaling).values()) for scaling in SCALINGS]
        half = len(REALIZATIONS)
        samples = [Sample.of(group) for group in (*groups, runs[:half], runs[half:])]
        if len(runs) == REPORT_RUNS and all(samples):
            gap = contrast([s for s in samples if s], [0.5, 0.5, -0.5, -0.5])
        else:
            gap = difference(ours, theirs)
        if ours is not None and len(set(map(len, groups))) > 1:
            # A pooled mean of unequally filled conditions is not the report's quantity: there is nothing to subtract.
            gap = Difference(math.nan, n=gap.n, method="conditions unequally filled")
        cells.append(((model,), ours, theirs, gap, min(map(len, groups))))
    return _compare(cells, margin)


# Why the report's table looks different


@dataclass(frozen=True)
class Aggregation:
    """One cell of the paper's table and how the report's figure at the same place comes about.

    `table - paper = printing + pooling + rest`, exactly:
        printing: table minus the mean of the single runs that are known of that model (cut decimals, missing runs).
        pooling: that mean minus the mean of the runs that the paper's cell is about.
        rest: that mean minus the paper's: what is left when like is compared with like.
    """

    row: str
    column: str
    model: str
    basis: str
    table: float
    pooled: float
    regrouped: float
    paper: float

    @property
    def parts(self) -> tuple[float, float, float]:
        """printing, pooling, rest."""
        return self.table - self.pooled, self.pooled - self.regrouped, self.regrouped - self.paper


def aggregation(published: Published) -> list[Aggregation]:
    """The decomposition for the cells whose runs can be told apart."""
    parts = []
    for (row, column), cell in regroup(published).items():
        model, _ = REGIME[row, column]
        pooled = float(np.mean(published.runs[model]))
        table, paper = published.report[model].mean, published.paper[row, column].mean
        parts.append(Aggregation(row, column, model, cell.basis, table, pooled, cell.sample.mean, paper))
    return parts


# 48,000 against 50,000 images


def part_by_chance(error: float) -> float:
    """How far chance moves an error, in percent, if 2,000 of 50,000 test images are left out: one standard deviation.

    For a rate e it is sqrt(e (1 - e) (1/48000 - 1/50000)).
    """
    return 100 * math.sqrt(error / 100 * (1 - error / 100) * (1 / 48000 - 1 / 50000))


def part_effect(results: Results) -> tuple[Sample | None, float]:
    """Error on the first 48,000 test images minus that on all 50,000, over all runs; and its spread by chance alone."""
    records: Iterable[Mapping[str, Any]] = results.records.values()
    pairs = [(float(r["test_error_48k"]), float(r["test_error_50k"])) for r in records]
    error = float(np.mean([b for _, b in pairs])) if pairs else 2.0
    return Sample.of([a - b for a, b in pairs]), part_by_chance(error)


# float32 against bf16


def precision_pairs(float32: Results, bf16: Results) -> dict[Cell, tuple[float, float]]:
    """Cells run in both precisions: test error in percent in float32 and in bf16, same seed and data.

    Raises:
        ValueError: a record is of another precision than it is taken for, or the two of a pair are of other data.
    """
    pairs = {}
    for cell, record in float32.records.items():
        if cell not in bf16.records:
            continue
        both = {"float32": record, "bf16": bf16.records[cell]}
        for name, one in both.items():
            if one["protocol"]["precision"] != name:
                raise ValueError(f"the record of {cell} is in {one['protocol']['precision']}: it must be in {name}")
        for key in ("seed", "data_checksum"):
            values = [one[key] for one in both.values()]
            if values[0] != values[1]:
                raise ValueError(f"the records of {cell} have the {key} {values[0]} and {values[1]}: must be equal")
        pairs[cell] = (float(record["test_error_50k"]), float(bf16.records[cell]["test_error_50k"]))
    return pairs


def compare_precisions(pairs: Mapping[Cell, tuple[float, float]], margin: float, looks: int = 0) -> Comparison:
    """bf16 ("ours") minus float32 ("theirs") over `precision_pairs`: Student's t over the means of the realizations.

    Pairs of one realization share its digits and are no independent draws. `looks`: how often the question was asked
    with more pairs each time, for which both p are charged.
    """
    full, rounded = ([both[side] for both in pairs.values()] for side in (0, 1))
    groups: dict[int, list[float]] = {}
    for cell, (a, b) in pairs.items():
        groups.setdefault(cell.realization, []).append(b - a)
    change = clustered(groups)
    whole = _compare([(("bf16 against float32",), Sample.of(rounded), Sample.of(full), change, len(groups))], margin)[0]
    p, q = charged(whole.corrected, looks), charged(whole.equivalent, looks)
    if whole.verdict in ("differs", "the same", "undecided"):
        whole = replace(whole, corrected=p, equivalent=q, verdict=_verdict(p, q))
    return whole
