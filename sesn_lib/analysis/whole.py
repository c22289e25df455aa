"""Ours against another's table as a whole: means over cells, where both sides ran on the same six realizations.

What a realization's ease does to a mean over cells no number of cells averages out. If the other side found the
realizations as easy and as hard as ours did, it cancels in the difference; if not, it counts twice. The paper prints no
runs, so both ends are shown. The earlier report printed its runs, so there the difference is paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sesn_lib.analysis.effects import fitted_mean, minus
from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.passes import whole_passes
from sesn_lib.analysis.published import ROWS, SESN_ROWS, Published
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, Difference, Sample, paired, student
from sesn_lib.analysis.text import interval, p_value
from sesn_lib.experiments.mnist_scale import SCALINGS

HARD = ("as hard for both", "other ones")
"""The two ends: what the realizations of the two sides have in common."""


@dataclass(frozen=True)
class Whole:
    """A mean over cells, ours minus theirs.

    Attributes:
        which: networks.
        cells: how many.
        found: by what the realizations of the two sides have in common (`HARD`).
    """

    which: str
    cells: int
    found: Mapping[str, Difference]


def mean_difference(ours: Sequence[Sample], theirs: Sequence[Sample], correlation: float) -> dict[str, Difference]:
    """Mean over the same cells of two sides of which only means and spreads are known, at both ends.

    `correlation`: of two runs of a realization (`Mixed.correlation`), for both sides.
    """
    return {
        word: minus(*(fitted_mean(side, correlation, shared=word == HARD[0]) for side in (ours, theirs)))
        for word in HARD
    }


def against(results: Results, theirs: Mapping[tuple[str, str], Sample], model: Mixed) -> list[Whole]:
    """Ours minus another's over the cells of their table in which ours have `LEAST` runs, together and apart.

    Where realizations are as hard for both, the seeds are left: ours by the model, theirs as `effects.fitted_mean` has
    it. Where they are other ones, ours are averaged within each realization that has all of the cells.
    """
    enough = {cell: results.condition(*cell) for cell in theirs}
    enough = {cell: errors for cell, errors in enough.items() if len(errors) >= LEAST}
    found: list[Whole] = []
    for which, rows in (("all networks", ROWS), ("the plain CNN", ROWS[:1]), ("SESN", SESN_ROWS)):
        runs = {cell: errors for cell, errors in enough.items() if cell[0] in rows}
        if not runs or len(runs) in {one.cells for one in found}:  # the report has no CNN: all is SESN
            continue
        common = sorted(set.intersection(*map(set, runs.values())))
        ours = paired([float(np.mean([errors[r] for errors in runs.values()])) for r in common])
        error = model.seed * math.sqrt(sum(1 / len(errors) for errors in runs.values())) / len(runs)
        estimate = float(np.mean([np.mean(list(errors.values())) for errors in runs.values()]))
        seeds = student(estimate, error, model.df, ours.n, "mixed model")
        samples = [theirs[cell] for cell in runs]
        both = {
            word: minus(side, fitted_mean(samples, model.correlation, shared=word == HARD[0]))
            for word, side in zip(HARD, (seeds, ours))
        }
        found.append(Whole(which, len(runs), both))
    return found


def frame(found: Mapping[str, Sequence[Whole]], margin: float) -> pd.DataFrame:
    """What was found against each other side, a line for each end."""
    rows = {}
    for name, some in found.items():
        for one in some:
            for word, d in one.found.items():
                rows[f"{one.which}, ours minus {name}", word] = [
                    one.cells, d.n[0], interval(d, 3), p_value(d.p), p_value(d.equivalent(margin)),
                ]  # fmt: skip
    columns = ["cells", "n", "difference [95 %]", "p", f"p, same within {margin:.2f}"]
    if not rows:
        return pd.DataFrame(columns=columns)
    index = pd.MultiIndex.from_tuples(rows, names=["mean over cells", "realizations"])
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def paired_with_report(results: Results, published: Published) -> tuple[int, Difference]:
    """Ours minus the report's by realization, mean over the report's whole passes of which ours have all six runs.

    A pass is six runs of one model under one condition in the order of the realizations (`passes`). Returns the number
    of passes, and Student's paired t over realizations.
    """
    pairs = []
    for (name, place), runs in whole_passes(published).items():
        ours = results.errors(name, SCALINGS[place])
        if len(ours) == len(runs):
            pairs.append([ours[r] - runs[r] for r in range(len(runs))])
    return len(pairs), paired(list(map(float, np.mean(pairs, axis=0)))) if pairs else paired([])
