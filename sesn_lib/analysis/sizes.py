"""Errors by the size of the digit: who gains where, in ratios and in counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sesn_lib.analysis.effects import charged
from sesn_lib.analysis.evidence import OurRuns
from sesn_lib.analysis.published import COLUMNS, REGIME, ROWS, SESN_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, NAN, NOMINAL, Difference, holm, paired
from sesn_lib.analysis.text import DASH, interval, listed, number, p_is, p_value

Counts = Mapping[str, Any]
"""Of a record, `by_scale`: `edges` (n + 1 scale factors), `images` and `errors` (n counts)."""


def errors_by_size(results: Results) -> dict[str, dict[str, list[Counts]]]:
    """Column -> row of the paper's table -> the counts by size of the digit, of those records that have them."""
    found: dict[str, dict[str, list[Counts]]] = {}
    for column in COLUMNS:
        for row in ROWS:
            counted = list(_sizes(results, row, column).values())
            if counted:
                found.setdefault(column, {})[row] = counted
    return found


def size_table(results: Results) -> pd.DataFrame:
    """How many errors SESN makes for each error of the CNN, by size of the digit, over the realizations of both."""
    rows = []
    for row, column, both in _beside_cnn(results):
        edges = next(iter(both.values()))[0]["edges"]
        ours, cnn = (np.sum([pair[side]["errors"] for pair in both.values()], axis=0) for side in (0, 1))
        shares = {
            f"{low:g}–{high:g}": number(a / b, 2) if b else DASH for low, high, a, b in zip(edges, edges[1:], ours, cnn)
        }
        rows.append({"network": f"{row} {column}", "runs": len(both), **shares})
    return pd.DataFrame(rows).set_index("network") if rows else pd.DataFrame()


def gain_by_size(results: Results) -> dict[str, tuple[list[float], list[float]]]:
    """Column -> (edges of the sizes, errors of SESN per error of the CNN in each), Scalar and Vector together."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for column in COLUMNS:
        pairs = [pair for _, where, both in _beside_cnn(results) if where == column for pair in both.values()]
        if pairs:
            ours, cnn = (np.sum([pair[side]["errors"] for pair in pairs], axis=0) for side in (0, 1))
            found[column] = (list(pairs[0][0]["edges"]), [a / b if b else float("nan") for a, b in zip(ours, cnn)])
    return found


@dataclass(frozen=True)
class Trend:
    """How SESN's gain over the CNN changes from the smallest digits to the largest, under one training condition.

    Attributes:
        ratio: log of `as_ratio`; below zero SESN saves the smaller share of the CNN's errors among small digits.
        count: `as_count`; above zero it saves more errors per digit there.
        looks: how often the condition was looked at with new runs.
        p_ratio, p_count: charged for the looks, then Holm over the conditions; NaN below `LEAST` realizations.
    """

    column: str
    ratio: Difference
    count: Difference
    looks: int
    p_ratio: float = NAN
    p_count: float = NAN


def size_trends(results: Results, looked: Sequence[int] = ()) -> list[Trend]:
    """Both trends in every training condition; each of the two is a family of tests over the conditions.

    Nobody foretold them: they are tested because a figure suggested them (post hoc). `looked`: as `results.looks` has
    it for "table".
    """
    ours = OurRuns(results, looked)
    found = []
    for column in COLUMNS:
        looks = ours.looks([{(row, column): 1.0, ("CNN", column): -1.0} for row in SESN_ROWS])
        found.append(Trend(column, size_trend(results, column, as_ratio), size_trend(results, column, as_count), looks))
    p_ratio = _corrected([(t.ratio, t.looks) for t in found])
    p_count = _corrected([(t.count, t.looks) for t in found])
    return [replace(t, p_ratio=p, p_count=q) for t, p, q in zip(found, p_ratio, p_count)]


def _corrected(tests: Sequence[tuple[Difference, int]]) -> list[float]:
    """p of (test, looks), charged for the looks, then Holm over all of them; NaN below `LEAST` realizations."""
    return holm([charged(one.p, looks) if one.n[0] >= LEAST else NAN for one, looks in tests], len(tests))


def gain_sentence(results: Results, looked: Sequence[int] = ()) -> str:
    """Whether SESN saves a smaller or larger share of the CNN's errors on small digits, in one short sentence."""
    found = [trend for trend in size_trends(results, looked) if trend.count.n[0]]
    if not found:
        return "No SESN and CNN have run on the same digits yet: where SESN gains is not known."
    said = [
        f"{word} share on small digits than on large ones at {listed([t.column for t in some])}"
        for word, some in _smaller_and_larger(found, "ratio").items()
    ]
    if not said:
        said = [f"a share whose trend with size is undecided at {listed([t.column for t in found])}"]
    elif any(not t.p_ratio < NOMINAL for t in found):
        said.append("elsewhere the trend is undecided")
    return f"Of the plain CNN’s errors SESN (mean of Scalar and Vector) saves {'; '.join(said)}."


def gain_details(results: Results, looked: Sequence[int] = ()) -> str:
    """The numbers behind `gain_sentence`, what is shown in errors per digit, and the test; empty without runs."""
    found = [trend for trend in size_trends(results, looked) if trend.count.n[0]]
    if not found:
        return ""
    shown = [t for t in found if t.p_ratio < NOMINAL]
    ratios = (
        f"this ratio on the largest digits is {', '.join(map(_with_p, shown))}" if shown else "no significant trend"
    )
    counts = _smaller_and_larger(found, "count")
    numbers = [f"{word} number on small digits at {listed([t.column for t in some])}" for word, some in counts.items()]
    saved = (
        f"Per 1,000 digits SESN saves {'; '.join(numbers)}"
        if numbers
        else "In errors saved per 1,000 digits no trend is shown"
    )
    alone = holm([t.ratio.p if t.ratio.n[0] >= LEAST else NAN for t in found], len(COLUMNS))
    more = listed([t.column for t, p in zip(found, alone) if p < NOMINAL <= t.p_ratio])
    n = " or ".join(map(str, sorted({t.count.n[0] for t in found})))
    return (
        f"SESN’s errors / the CNN’s: {ratios}. Looked for afterwards (paired t over {n} realizations, charged for "
        f"looks, Holm over {len(COLUMNS)}){f'; without that charge significant also at {more}' if more else ''}. "
        f"{saved}."
    )


def _with_p(trend: Trend) -> str:
    return f"{_factor(trend.ratio)} times that on the smallest at {trend.column} ({p_is(trend.p_ratio)})"


def _smaller_and_larger(found: Sequence[Trend], side: str) -> dict[str, list[Trend]]:
    """The significant trends by what SESN saves on small digits; in neither word, none."""
    words: dict[str, list[Trend]] = {"a smaller": [], "a larger": []}
    for t in found:
        if getattr(t, f"p_{side}") < NOMINAL:
            words["a smaller" if getattr(t, side).estimate < 0 else "a larger"].append(t)
    return {word: some for word, some in words.items() if some}


def as_ratio(ours: Counts, cnn: Counts) -> float | None:
    """log of errors of SESN per error of the CNN, largest digits less smallest; None where there are no errors."""
    ends = [float(side["errors"][end]) for side in (ours, cnn) for end in (0, -1)]
    return float(np.log(ends[1] / ends[3]) - np.log(ends[0] / ends[2])) if min(ends) > 0 else None


def as_count(ours: Counts, cnn: Counts) -> float:
    """Errors that SESN saves per 1,000 digits, smallest less largest."""
    gained = [cnn["errors"][end] / cnn["images"][end] - ours["errors"][end] / ours["images"][end] for end in (0, -1)]
    return 1000 * float(gained[0] - gained[1])


def size_trend(results: Results, column: str, how: Callable[[Counts, Counts], float | None]) -> Difference:
    """How SESN's gain over the CNN changes between the smallest digits and the largest, under one training condition.

    A value for each realization, the mean over its networks; Student's t over realizations.
    """
    changes: dict[int, list[float]] = {}
    for _, found, both in _beside_cnn(results):
        for realization, pair in both.items() if found == column else ():
            change = how(*pair)
            if change is not None:
                changes.setdefault(realization, []).append(change)
    return paired([float(np.mean(changes[realization])) for realization in sorted(changes)])


def trend_table(results: Results, looked: Sequence[int] = ()) -> pd.DataFrame:
    """The trend in each training condition, in two ways that need not agree.

    In ratios: errors of SESN per error of the CNN at the largest digits over the same at the smallest; below 1 the
    advantage grows with the digit. In counts: errors saved per 1,000 digits, at the smallest less at the largest;
    above 0 more is saved among small digits, where there are more errors to save.
    """
    rows = {
        t.column: [
            str(t.count.n[0]), str(t.looks), _factor(t.ratio), p_value(t.ratio.p), p_value(t.p_ratio),
            interval(t.count, 1), p_value(t.count.p), p_value(t.p_count),
        ]
        for t in size_trends(results, looked)
        if t.count.n[0]
    }  # fmt: skip
    columns = ["n", "looks", "ratio, largest over smallest", "p, paired t", "p, corrected"]
    columns += ["errors saved per 1,000, smallest less largest", "p, paired t, of that", "p of that, corrected"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("column")


def _factor(log: Difference) -> str:
    """`0.81 [0.70, 0.93]` of its logarithm."""
    ends = f" [{number(math.exp(log.low))}, {number(math.exp(log.high))}]" if log.tested else ""
    return number(math.exp(log.estimate)) + ends


def _beside_cnn(results: Results) -> Iterator[tuple[str, str, dict[int, tuple[Counts, Counts]]]]:
    """Each SESN of the table by row and column, with realization -> the counts by size of its run and of the CNN's."""
    for column in COLUMNS:
        cnn = _sizes(results, "CNN", column)
        for row in SESN_ROWS:
            ours = _sizes(results, row, column)
            both = {realization: (ours[realization], cnn[realization]) for realization in sorted(ours.keys() & cnn)}
            if both:
                yield row, column, both


def _sizes(results: Results, row: str, column: str) -> dict[int, Counts]:
    """Realization -> the counts by size of the digit, of those records that have them."""
    runs = results.runs(*REGIME[row, column])
    return {realization: record["by_scale"] for realization, record in runs.items() if "by_scale" in record}
