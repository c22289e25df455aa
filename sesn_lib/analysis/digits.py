"""How far the digits themselves limit what can be said: six realizations share one pool of 70,000.

Two test sets have 71 % of their digits in common, so what the digits drawn do to a difference is largely the same in
all six realizations: it shows in no scatter between them, and no number of runs averages it out.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from data_prep.splits import SIZES, overlap
from sesn_lib.analysis.effects import difference_of_digits
from sesn_lib.analysis.evidence import OurRuns, TableCell
from sesn_lib.analysis.published import COLUMNS, REGIME, SESN_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST
from sesn_lib.experiments.correctness import decode
from sesn_lib.plotting.tables import number, signed

__all__ = ["digits_table", "discordant", "hidden"]


def discordant(results: Results, a: TableCell, b: TableCell) -> float | None:
    """Percentage of digits that only one of two cells reads, mean over realizations; None if no records can tell."""
    by_run = {(cell.model, cell.extra_scaling, cell.realization): record for cell, record in results.records.items()}
    shares = []
    for realization in sorted({cell.realization for cell in results.records}):
        pair = [by_run.get((*REGIME[name], realization), {}) for name in (a, b)]
        if all("correct" in record for record in pair):
            first, second = (np.array(decode(record["correct"], record["test_images"])) for record in pair)
            shares.append(100 * float(np.mean(first != second)))
    return float(np.mean(shares)) if shares else None


def hidden(first: float, second: float, share: float | None = None) -> float:
    """The part of `effects.difference_of_digits` that all realizations have in common: its root of the overlap."""
    return difference_of_digits(first, second, share, SIZES["paper"]["test"]) * math.sqrt(overlap("paper", "test"))


def digits_table(ours: OurRuns) -> pd.DataFrame:
    """SESN before the CNN for *other* digits: the standard error that the runs show, what they hide, both together.

    Where records hold which digits were right, what is hidden is computed from the digits that only one network reads;
    else it is the most that the two errors allow.
    """
    rows = {}
    for column in COLUMNS:
        for row in SESN_ROWS:
            pair = (row, column), ("CNN", column)
            if ours.shared(pair) < LEAST:
                continue
            found = ours.estimate({pair[0]: 1.0, pair[1]: -1.0})
            errors = [ours.model.means[REGIME[cell]] for cell in pair]
            share = discordant(ours.results, *pair)
            unseen = hidden(errors[0], errors[1], share)
            both = math.hypot(found.error, unseen)
            known = "at most " if share is None else ""
            rows[f"{row} {column} before CNN"] = [
                signed(found.estimate), number(found.error, 3), known + number(unseen, 3), known + number(both, 3),
                ("at least " if share is None else "") + number(abs(found.estimate) / both, 1),
            ]  # fmt: skip
    columns = ["difference", "standard error seen", "hidden in common digits", "both", "difference / both"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("comparison")
