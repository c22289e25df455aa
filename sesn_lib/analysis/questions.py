"""The six questions about the result, each as tables and predictions made from the controls' records.

The predictions stand in notebook 11, with what would change our mind; they were stored before the first run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sesn_lib.analysis import controls, mixed, predictions
from sesn_lib.analysis.controls import Controlled, Errors, RankCorrelation
from sesn_lib.analysis.predictions import Prediction
from sesn_lib.analysis.statistics import Difference, Sample, over_realizations, paired
from sesn_lib.analysis.text import DASH, interval, mean, number, p_is, signed
from sesn_lib.experiments.controls import CNN, EXPERIMENT, SCALAR, VECTOR, Control

SWEPT = {
    "CNN, 28": (CNN, 1.0), "CNN, 28+": (CNN, 0.5), "SESN Scalar, 28": (SCALAR, 1.0), "SESN Vector, 28": (VECTOR, 1.0),
}  # fmt: skip
SESN = ("SESN Scalar", "SESN Vector")
REGIMES: Mapping[str, tuple[float, Mapping[str, str]]] = {
    "28": (1.0, {"CNN": CNN, "SESN Scalar": SCALAR, "SESN Vector": VECTOR}),
    "28+": (0.5, {"CNN": CNN, "SESN Scalar": f"{SCALAR}p", "SESN Vector": f"{VECTOR}p"}),
}
"""Column -> augmentation, and the networks in it."""
NAMES = {network: name for _, networks in REGIMES.values() for name, network in networks.items()}
BandErrors = Mapping[str, Mapping[str, Mapping[int, np.ndarray]]]


def done(runs: Controlled) -> pd.DataFrame:
    """How many controls of each part have been run."""
    parts = [part for part in EXPERIMENT.parts if part != "controls"]
    cells = {part: EXPERIMENT.cells(part) for part in parts}
    counted = {part: f"{sum(cell in runs.records for cell in cells[part])} of {len(cells[part])}" for part in parts}
    return pd.DataFrame({"runs": counted}).rename_axis("part")


# 1


def sweep(runs: Controlled) -> pd.DataFrame:
    """Validation and test error of each configuration, and which one validation chooses."""
    rows = {}
    for name, (network, scaling) in SWEPT.items():
        best, accuracy = controls.chosen(runs, network, scaling)
        for change in controls.CONFIGURATIONS:
            valid = number(100 * (1 - accuracy[change])) if change in accuracy else DASH
            test = mean(Sample.of(list(runs.errors(network, change, scaling).values())))
            rows[name, change] = [valid, test, "chosen" if change == best and len(accuracy) > 1 else ""]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["validation error, %", "test error, %", ""])
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["network", "learning rate and weight decay"])
    return frame


def tuned(runs: Controlled) -> dict[str, list[Prediction]]:
    """What tuning gains, the leads, whether half of the lead is left, and the leads on held-out realizations."""

    def errors(name: str, change: str | None, realizations: Any = controls.CHOOSE) -> Errors:
        network, scaling = SWEPT[name]
        best = change or controls.chosen(runs, network, scaling)[0] or "unchanged"
        return runs.errors(network, best, scaling, realizations)

    def half(name: str) -> Any:
        a, b, c, d = (errors(one, change) for change in (None, "unchanged") for one in (name, "CNN, 28"))
        return over_realizations((1, a), (-1, b), (-0.5, c), (0.5, d))

    names = [f"{name}, 28" for name in SESN]
    found: dict[str, list[Prediction]] = {"gains": [], "leads": [], "halves": [], "again": []}
    for name in ("CNN, 28", "CNN, 28+"):
        gain = controls.lead(errors(name, None), errors(name, "unchanged"))
        found["gains"].append(Prediction(f"{name}: chosen minus protocol", gain, low=-0.15))
    for name in names:
        for what, change in (("protocol", "unchanged"), ("chosen", None)):
            lead = controls.lead(errors(name, change), errors("CNN, 28", change))
            found["leads"].append(Prediction(f"{name}: lead, {what}", lead))
        found["halves"].append(Prediction(f"{name}: chosen lead minus half the protocol's", half(name), high=0))
        held = controls.lead(*(errors(one, None, controls.HELD_OUT) for one in (name, "CNN, 28")))
        found["again"].append(Prediction(f"{name}: chosen lead, realizations 3 to 5", held, high=-0.10))
    return found


# 2


def errors_by_size(runs: Controlled) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """Column -> network -> realization -> error in percent at each size."""
    return {
        column: {name: controls.size_errors(runs, network, "unchanged", scaling) for name, network in networks.items()}
        for column, (scaling, networks) in REGIMES.items()
    }


def sizes(by_size: BandErrors, factors: Sequence[float]) -> list[Prediction]:
    """The lead inside, above and below the trained sizes: 12 tests, of which 8 have a prediction."""
    ends = {("28", "inside"): (-math.inf, 0.0), ("28", "above"): (-math.inf, -5.0), ("28", "below"): (-0.10, math.inf)}
    ends["28+", "above"] = (-1.0, math.inf)
    return [
        Prediction(
            f"{name} {column}, {band}",
            controls.size_lead(networks[name], networks["CNN"], controls.in_band(factors, band)),
            *ends.get((column, band), (-math.inf, math.inf)),
            named=True,
        )
        for column, networks in by_size.items()
        for name in SESN
        for band in controls.BANDS
    ]


def size_ratios(by_size: BandErrors, factors: Sequence[float]) -> pd.DataFrame:
    """Errors of SESN for each of the CNN, at each size."""
    rows = {}
    for column, networks in by_size.items():
        for name in SESN:
            ours, cnn = (list(networks[side].values()) for side in (name, "CNN"))
            if ours and cnn:
                rows[f"{name} {column}"] = list(map(number, np.mean(ours, axis=0) / np.mean(cnn, axis=0)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"{f:.3g}" for f in factors]).rename_axis("network")


# 3


def kinds(runs: Controlled) -> dict[str, list[Mapping[str, Any]]]:
    """The probes by kind of network: its row and column in the table, and its change."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for cell in sorted(runs.probes, key=lambda cell: (_kind(cell), cell)):
        found.setdefault(_kind(cell), []).append(runs.probes[cell])
    return found


def _kind(cell: Control) -> str:
    column = "28" if cell.extra_scaling == 1 else "28+"
    return f"{NAMES[cell.base]} {column}" + ("" if cell.change == "unchanged" else f", {cell.change}")


def within(probes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Prediction]:
    """Of unchanged networks, how often the misread digit is the less equivariant one, %."""
    shares = {
        kind: [100 * controls.digit_auc(one) for one in found] for kind, found in probes.items() if "," not in kind
    }
    return [Prediction(kind, paired(values), low=60, decimals=0, share=True) for kind, values in shares.items()]


def correlated(rho: RankCorrelation) -> Prediction:
    """The rank correlation of the logits' equivariance error with the test error, over the means of kinds.

    Its permutation test is of zero; that it be 0.5 at least was predicted too, and no test was named for that.
    """
    p, n = rho.p, rho.n if math.isfinite(rho.p) else 0
    other = 1.0 if n else math.nan
    found = Difference(rho.kinds, p=p, n=(n, n), method="permutation of kinds")
    what = "logits: rank correlation over the means of kinds"
    return Prediction(what, found, low=0, tested=(p, other) if rho.kinds > 0 else (other, p))


TESTS = {"1": 4, "2": 12, "3": 16, "4": 2, "6": 1}
"""How many tests each question names; Holm's correction is over these. Question 5 has one interval and no p."""


def changes(runs: Controlled) -> list[Prediction]:
    """What each change of the basis does to the test error: 9 tests."""
    found = []
    cnn = runs.errors(CNN, "unchanged", 1.0)
    for name, network in (("SESN Scalar", SCALAR), ("SESN Vector", VECTOR)):
        plain = runs.errors(network, "unchanged", 1.0)
        for change, end in {"raised": 0.10, "size21": 0.10, "basis-a": math.inf, "disco": math.inf}.items():
            if f"{network}@{change}" in EXPERIMENT.models:
                moved = controls.lead(runs.errors(network, change, 1.0), plain)
                found.append(Prediction(f"{name}, {change}: minus unchanged", moved, -end, end, named=True))
        one = runs.errors(network, "one-scale", 1.0)
        lost = over_realizations((1, one), (-0.5, plain), (-0.5, cnn))
        found.append(Prediction(f"{name}, one-scale: minus halfway to the CNN", lost, low=0))
    return found


# 4, 5, 6


def networks_by_data(runs: Controlled) -> dict[str, dict[int, Errors]]:
    """Network -> number of training images -> realization -> error."""
    return {name: controls.data_errors(runs, network) for name, network in REGIMES["28"][1].items()}


def less_data(fewer: Mapping[str, Mapping[int, Errors]]) -> list[Prediction]:
    """How the lead changes with the number of images, in two ways."""

    def twice(name: str) -> Any:
        a, b, c, d = (fewer[side][n] for n in (1000, 10000) for side in (name, "CNN"))
        return over_realizations((1, a), (-1, b), (-2, c), (2, d))

    slopes = {name: controls.slope_of_lead(fewer[name], fewer["CNN"]) for name in SESN}
    return [
        *(Prediction(f"{name}: slope of the lead, for ten times the images", slopes[name], low=0) for name in SESN),
        *(Prediction(f"{name}: lead at 1,000 minus twice that at 10,000", twice(name), high=0) for name in SESN),
    ]


def data_ratios(fewer: Mapping[str, Mapping[int, Errors]]) -> pd.DataFrame:
    """Errors of SESN for each of the CNN, by number of training images."""
    rows: dict[str, dict[str, str]] = {name: {} for name in SESN}
    for name in SESN:
        for n, errors in fewer[name].items():
            cnn = fewer["CNN"][n]
            rows[name][f"{n:,} images"] = mean(Sample.of([errors[r] / cnn[r] for r in errors.keys() & cnn.keys()]))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("network")


def seeds(runs: Controlled) -> tuple[pd.DataFrame, dict[str, tuple[float, float, float, int]]]:
    """What the seed alone does: planned runs, pairs with the table, the mixed model; and the numbers."""
    fitted = mixed.fit(runs.table.by_regime())
    planned = [controls.seed_errors(runs, network) for network in (CNN, VECTOR)]
    groups: dict[str, Sequence[Sequence[float]]] = {}
    groups["seeds on realization 0"] = planned if all(len(g) > 1 for g in planned) else []
    groups["pairs with the table (not planned)"] = [pair for some in controls.repeated(runs).values() for pair in some]
    numbers = {name: controls.deviation_interval(found) for name, found in groups.items()}
    rows: dict[str, list[Any]] = {}
    for name, (std, low, high, df) in numbers.items():
        said = DASH if not df else "holds the model's" if low <= fitted.seed <= high else "excludes the model's"
        rows[name] = [number(std, 3), f"[{number(low, 3)}, {number(high, 3)}]" if df else DASH, df, said]
    rows["mixed model"] = [number(fitted.seed, 3), DASH, fitted.df, f"realizations {number(fitted.realization, 3)}"]
    columns = ["seed, standard deviation", "95 %", "df", ""]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("from"), numbers


def last_epoch(runs: Controlled) -> list[Prediction]:
    """The chosen epoch's test error minus the last one's: of all full runs, of the CNN, of SESN."""
    chosen = (("all runs", lambda _: True), ("CNN", lambda c: c.base == CNN), ("SESN", lambda c: c.base != CNN))
    ends = {"all runs": 0.03}
    return [
        Prediction(f"best minus last, {name}", controls.best_less_last(runs, keep)[0], -end, end, decimals=3)
        for name, keep in chosen
        for end in [ends.get(name, math.inf)]
    ]


def in_words(
    found: Mapping[str, Sequence[Prediction]], third: Sequence[Prediction], rho: RankCorrelation, looks: int = 1
) -> str:
    """The findings as a list: of each prediction what was found, those without runs left out.

    `third`: all tests of question 3, `correlated(rho)` first; `looks`: at that question.
    """
    titles = {
        "gains": "Tuning changes the CNN's test error", "leads": "Leads", "again": "Held-out leads",
        "sizes": "Leads by size", "within": "The misread digit is the less equivariant one (% of pairs, 100 at most)",
        "data": "Less data", "last": "Epochs",
    }  # fmt: skip
    lines = []
    for key, title in titles.items():
        said = [
            f"{one.what} {interval(one.found, one.decimals, sign=not one.share)}"
            for one in found.get(key, ())
            if one.found.n[0]
        ]
        lines += [f"- **{title}**: {'; '.join(said)}."] if said else []
    if third[0].found.n[0]:
        family = TESTS["3"]
        p = predictions.corrected(third, family, looks)[0]
        lines.append(
            f"- **Logits' equivariance and test error**: Spearman {signed(rho.kinds)} over the means of n = {rho.n} "
            f"kinds of networks, exact permutation {p_is(rho.p)}, {p_is(min(p))} charged for {looks} "
            f"look{'s' * (looks > 1)} and after Holm over the question's {family} tests; over all {rho.count} "
            "networks, which are alike within a kind and so not tested, "
            f"{signed(rho.networks)}."
        )
    return "\n".join(lines) or "No control has been run yet."
