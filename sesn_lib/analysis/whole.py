"""Means over cells of two sides that ran on the same six realizations: ours, the report's, the paper's.

What a realization's ease does to a mean over cells no number of cells averages out. If the other side found the
realizations as easy and as hard as ours did, it cancels in the difference; if not, it counts twice. The paper prints no
runs, so both ends are shown, and between them what is seen where runs can be paired: between ours and the report's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import optimize, stats

from sesn_lib.analysis.effects import charged, fitted_mean, minus, satterthwaite
from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.passes import whole_passes
from sesn_lib.analysis.published import PAPER_RUNS, ROWS, SESN_ROWS, Published, regroup
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, NAN, NOMINAL, Difference, Sample, paired, student
from sesn_lib.analysis.text import interval, p_value
from sesn_lib.checks import check_number
from sesn_lib.experiments.mnist_scale import SCALINGS

SAME, ALIKE, OTHER = "as hard for both", "as alike as for ours and the report", "other ones"
"""What the realizations of two sides have in common: both ends, and what is seen in pairs between them."""


@dataclass(frozen=True)
class Whole:
    """A mean over cells, one side minus another.

    Attributes:
        which: networks.
        cells: how many.
        found: by what the realizations of the two sides have in common: `SAME`, `OTHER`, and `ALIKE` if known.
    """

    which: str
    cells: int
    found: Mapping[str, Difference]


def mean_difference(ours: Sequence[Sample], theirs: Sequence[Sample], correlation: float) -> dict[str, Difference]:
    """Mean over the same cells of two sides of which only means and spreads are known, at both ends.

    `correlation`: of two runs of a realization (`Mixed.correlation`), for both sides.
    """
    return {
        word: minus(*(fitted_mean(side, correlation, shared=word == SAME) for side in (ours, theirs)))
        for word in (SAME, OTHER)
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
        if not runs or (rows == ROWS and len({row in SESN_ROWS for row, _ in runs}) == 1):  # one kind: below
            continue
        common = sorted(set.intersection(*map(set, runs.values())))
        ours = paired([float(np.mean([errors[r] for errors in runs.values()])) for r in common])
        error = model.seed * math.sqrt(sum(1 / len(errors) for errors in runs.values())) / len(runs)
        estimate = float(np.mean([np.mean(list(errors.values())) for errors in runs.values()]))
        seeds = student(estimate, error, model.df, ours.n, "mixed model")
        samples = [theirs[cell] for cell in runs]
        both = {
            word: minus(side, fitted_mean(samples, model.correlation, shared=word == SAME))
            for word, side in ((SAME, seeds), (OTHER, ours))
        }
        found.append(Whole(which, len(runs), both))
    return found


def between(found: Mapping[str, Difference], shared: float) -> Difference:
    """The difference if the eases of a realization for the two sides correlate by `shared`, 0 to 1, alike on average.

    The variance goes in a straight line from `OTHER` to `SAME`; degrees of freedom by Satterthwaite.
    """
    check_number(least=0, most=1, shared=shared)
    ends = [(weight * d.error**2, d.df) for weight, d in ((shared, found[SAME]), (1 - shared, found[OTHER]))]
    if not all(math.isfinite(part) and df > 0 for part, df in ends):
        return replace(found[SAME], low=NAN, high=NAN, p=NAN, error=NAN, df=NAN, method="no spread")
    error = math.sqrt(sum(part for part, _ in ends))
    return student(found[SAME].estimate, error, satterthwaite(ends), found[SAME].n, "between both ends")


def shared_enough(found: Mapping[str, Difference], margin: float, looks: int = 1) -> float:
    """From which shared part of the ease on (`between`) two one-sided tests find the same within the margin.

    At `NOMINAL`, charged for the looks (`effects.charged`). 0 if they do at every part, NaN if at none.
    """

    def over(shared: float) -> float:
        return charged(between(found, shared).equivalent(margin), looks) - NOMINAL

    if not over(1) <= 0:
        return NAN
    return 0.0 if over(0) <= 0 else float(optimize.brentq(over, 0, 1))


def beside_pairs(one: Whole, pairs: Difference) -> Whole:
    """With the standard error of `paired_with_report` between both ends; without pairs as it is.

    For as many cells that is exact if the paper's runs part from each repetition's as these do from one another.
    """
    if not pairs.tested:
        return one
    alike = student(one.found[SAME].estimate, pairs.error, pairs.df, pairs.n, "paired t's error")
    return replace(one, found={SAME: one.found[SAME], ALIKE: alike, OTHER: one.found[OTHER]})


def report_pairs(results: Results, published: Published) -> np.ndarray:
    """Ours minus the report's, of the report's whole passes of which ours have all six runs: [passes, realizations].

    A pass is six runs of one model under one condition in the order of the realizations (`passes`).
    """
    pairs = []
    for (name, place), runs in whole_passes(published).items():
        ours = results.errors(name, SCALINGS[place])
        if len(ours) == len(runs):
            pairs.append([ours[r] - runs[r] for r in range(len(runs))])
    return np.array(pairs).reshape(-1, PAPER_RUNS)


def paired_with_report(results: Results, published: Published) -> tuple[int, Difference]:
    """How many passes there are in `report_pairs`, and Student's paired t over realizations of the mean over them."""
    pairs = report_pairs(results, published)
    return len(pairs), paired(list(map(float, pairs.mean(axis=0)))) if len(pairs) else paired([])


def beyond_seeds(passes: int, pairs: Difference, model: Mixed) -> tuple[float, tuple[int, int], float]:
    """Whether paired realizations scatter more than seeds explain: F, its df, p.

    The variance of the pairs' means over that of two seeds, 2 seed^2 / passes. Both sides' seeds are taken to scatter
    as our model's. A small p: not all of a realization's ease is common to both sides. NaN without pairs.
    """
    if not (pairs.tested and model.seed > 0 and model.df > 0):
        return NAN, (0, 0), NAN
    f = pairs.error**2 * pairs.n[0] / (2 * model.seed**2 / passes)
    df = (int(pairs.df), model.df)
    return f, df, float(stats.f.sf(f, *df))


def beyond_residual(pairs: np.ndarray) -> tuple[float, tuple[int, int], float]:
    """The same by the pairs alone: realizations against what is left in a table [passes, realizations]; F, its df, p.

    Two-way analysis of variance with one value a place. The residual takes in what is peculiar to a pass and a
    realization, so it is larger than two seeds where networks find different realizations hard. NaN without two passes.
    """
    passes, n = pairs.shape
    if passes < 2:
        return NAN, (0, 0), NAN
    rest = pairs - pairs.mean(axis=0) - pairs.mean(axis=1, keepdims=True) + pairs.mean()
    df = (n - 1, (passes - 1) * (n - 1))
    f = float(passes * pairs.mean(axis=0).var(ddof=1) / ((rest**2).sum() / df[1]))
    return f, df, float(stats.f.sf(f, *df))


OURS, REPORTS, PAIRED = "ours minus the paper", "the report minus the paper", "ours minus the report"
REPORT_CORRELATION = 0.5
"""Of the report's runs of a realization, which nobody fitted a model to; about as ours."""


def sides(results: Results, published: Published, model: Mixed) -> dict[str, list[Whole]]:
    """All three sides against one another; what the report has is SESN alone, its own runs grouped as the paper's."""
    passes, pairs = paired_with_report(results, published)
    report = {name: cell.sample for name, cell in regroup(published).items()}
    cells = [published.paper[name] for name in report]
    theirs = Whole("SESN", len(report), mean_difference(list(report.values()), cells, REPORT_CORRELATION))
    ours = against(results, published.paper, model)
    return {
        OURS: [beside_pairs(one, pairs) if one.which == "SESN" else one for one in ours],
        REPORTS: [beside_pairs(theirs, pairs)],
        PAIRED: [Whole("SESN", passes, {"in pairs": pairs})] if pairs.tested else [],
    }


def frame(found: Mapping[str, Sequence[Whole]], margin: float) -> pd.DataFrame:
    """A line for each difference and for each thing that its realizations may have in common."""
    rows = {}
    for name, some in found.items():
        for one in some:
            for word, d in one.found.items():
                rows[f"{one.which}, {name}", word] = [
                    one.cells, d.n[0], f"{d.error:.3f}", interval(d, 3), p_value(d.p), p_value(d.equivalent(margin)),
                ]  # fmt: skip
    columns = ["cells", "n", "standard error", "difference [95 %]", "p", f"p, same within {margin:.2f}"]
    if not rows:
        return pd.DataFrame(columns=columns)
    index = pd.MultiIndex.from_tuples(rows, names=["mean over cells", "realizations"])
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def sentence(found: Mapping[str, Sequence[Whole]]) -> str:
    """How far SESN's mean error is from the paper's in both repetitions, and whether by more than chance."""
    both = [one for name in (OURS, REPORTS) for one in found[name] if one.which == "SESN" and ALIKE in one.found]
    if len(both) < 2:
        return "no run of ours can be paired with the report’s yet."
    ours, report = (interval(one.found[ALIKE]) for one in both)
    n = both[0].found[ALIKE].n[0]
    p = {word: [one.found[word].p for one in both] for word in (SAME, OTHER)}
    if max(p[OTHER]) < NOMINAL:
        judged = "That is more than chance, however hard each realization was for the paper’s runs"
    elif min(p[SAME]) >= NOMINAL:
        judged = "Chance may do that"
    else:
        judged = "Whether that is chance is open"
    return (
        f"minus the paper’s: {ours} points in our runs, {report} in the report’s (n = {n} realizations; how the "
        f"interval is made, notebook 10 says). {judged}."
    )
