"""Errors by the size of the digit: who gains where, in ratios and in counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sesn_lib.analysis.published import COLUMNS, REGIME, ROWS, SESN_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import Difference, paired
from sesn_lib.analysis.text import DASH, interval, number, p_value

__all__ = [
    "as_count",
    "as_ratio",
    "errors_by_size",
    "gain_by_size",
    "gain_sentence",
    "size_table",
    "size_trend",
    "trend_table",
]

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


def gain_sentence(results: Results) -> str:
    """Whether SESN gains most or least with small digits, over all of its networks that have runs beside the CNN."""
    ends = []
    for _, _, both in _beside_cnn(results):
        ours, cnn = (np.sum([pair[side]["errors"] for pair in both.values()], axis=0) for side in (0, 1))
        if min(cnn[0], cnn[-1]) > 0:
            edges = next(iter(both.values()))[0]["edges"]
            ends.append((ours[0] / cnn[0], ours[-1] / cnn[-1]))
    if not ends:
        return "No SESN and CNN have run on the same digits yet: where SESN gains is not known."
    small, large = (sorted(values) for values in zip(*ends))
    less = sum(a > b for a, b in ends)
    size = "least" if less == len(ends) else "most" if less == 0 else "not alike everywhere"
    said = f"SESN’s gain over the plain CNN is {size} for small digits"
    return (
        f"{said}: for each error of the CNN it makes {small[0]:.2f} to {small[-1]:.2f} at sizes {edges[0]:g} to "
        f"{edges[1]:g}, and {large[0]:.2f} to {large[-1]:.2f} at {edges[-2]:g} to {edges[-1]:g}, fewer there "
        f"in {less} of {len(ends)} networks and conditions."
    )


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


def trend_table(results: Results) -> pd.DataFrame:
    """The trend in each training condition, in two ways that need not agree.

    In ratios: errors of SESN per error of the CNN at the largest digits over the same at the smallest; below 1 the
    advantage grows with the digit. In counts: errors saved per 1,000 digits, at the smallest less at the largest;
    above 0 more is saved among small digits, where there are more errors to save.
    """
    rows = {}
    for column in COLUMNS:
        ratio, count = size_trend(results, column, as_ratio), size_trend(results, column, as_count)
        if not count.n[0]:
            continue
        factor = Difference(*np.exp([ratio.estimate, ratio.low, ratio.high])) if ratio.n[0] else ratio
        ends = f" [{number(factor.low)}, {number(factor.high)}]" if ratio.tested else ""
        rows[column] = [
            count.n[0], number(factor.estimate) + ends, p_value(ratio.p), interval(count, 1), p_value(count.p),
        ]  # fmt: skip
    columns = ["n", "ratio, largest over smallest", "p", "errors saved per 1,000, smallest less largest", "p of that"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("column")


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
    regime = REGIME[row, column]
    return {
        cell.realization: record["by_scale"]
        for cell, record in results.records.items()
        if (cell.model, cell.extra_scaling) == regime and "by_scale" in record
    }
