"""How the predictions of all six questions fared, counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from sesn_lib.analysis import controls, mixed, predictions
from sesn_lib.analysis.controls import SCALAR, VECTOR, Controlled
from sesn_lib.analysis.predictions import Prediction
from sesn_lib.analysis.questions import TESTS
from sesn_lib.analysis.statistics import Difference, paired
from sesn_lib.experiments.controls import EXPERIMENT, Control


def first_layer(runs: Controlled) -> list[Prediction]:
    """log10 of the first layer's equivariance error, changed network over unchanged: at least threefold lower."""
    found = []
    for name, network in (("SESN Scalar", SCALAR), ("SESN Vector", VECTOR)):
        for change in ("raised", "size21"):
            pairs = [
                [runs.probes.get(Control(f"{network}@{one}", 1.0, r)) for one in (change, "unchanged")]
                for r in controls.CHOOSE
            ]
            logs = [
                float(np.log10(np.divide(*(one["equivariance"]["by_layer"]["1"] for one in pair if one))))
                for pair in pairs
                if all(pair)
            ]
            found.append(Prediction(f"{name}, {change}: log10 of the error's ratio", paired(logs), high=-math.log10(3)))
    return found


PARTS: Mapping[str, Sequence[str]] = {
    "1": ("tuning", "held-out"), "2": ("sizes",), "3": ("sizes", "bases"), "4": ("less-data",), "5": ("seeds",),
    "6": ("sizes", "tuning", "bases", "seeds", "held-out"),
}  # fmt: skip
"""The parts of the controls that a question is answered by."""


def looks(runs: Controlled, looked: Iterable[int]) -> dict[str, int]:
    """In how many different states each question was looked at, the present one included.

    `looked`: as `results.looks` has it for "controls". A question is charged for all of its runs, although some of its
    tests had no new ones: that errs on the side of finding nothing.
    """
    ended = sorted(runs.records, key=lambda cell: (runs.records[cell]["timing"]["finished"], cell))
    found = {}
    for question, parts in PARTS.items():
        cells = {cell for part in parts for cell in EXPERIMENT.cells(part)}
        counts = (*(n for n in looked if n < len(ended)), len(ended))
        states = {frozenset(cell for cell in ended[:count] if cell in cells) for count in counts}
        found[question] = max(len(states - {frozenset()}), 1)
    return found


def fared(
    runs: Controlled, tuned: Mapping[str, Sequence[Prediction]], third: Sequence[Prediction],
    sizes: Sequence[Prediction], less: Sequence[Prediction], last: Sequence[Prediction],
    spreads: Mapping[str, tuple[float, float, float, int]], times: Mapping[str, int],
) -> pd.DataFrame:  # fmt: skip
    """How the predictions of every question fared; those for which no test was named are families of their own.

    `times`: what `looks` found.
    """
    std, low, high, df = spreads["seeds on realization 0"]
    model = mixed.fit(runs.table.by_regime()).seed
    held = (0.0, 1.0) if low <= model <= high else (1.0, 0.0)
    planned = Difference(std - model, n=(df, df))
    seeds = Prediction("seeds", planned, low=0, tested=held if df else (math.nan, math.nan))
    return predictions.fared(
        {
            "1 tuned CNN": [
                ([*tuned["halves"], *tuned["again"]], TESTS["1"], times["1"]),
                (tuned["gains"], None, times["1"]),
            ],
            "2 sizes": [(sizes, TESTS["2"], times["2"])],
            "3 equivariance": [(third, TESTS["3"], times["3"]), (first_layer(runs), None, times["3"])],
            "4 less data": [(less[:2], TESTS["4"], times["4"]), (less[2:], None, times["4"])],
            "5 seeds": [([seeds], 1, times["5"])],
            "6 last epoch": [(last, TESTS["6"], times["6"])],
        }
    )
