"""What the controls say: records and probes beside the table, question by question, with intervals.

Leads are a SESN's error minus the CNN's, in percentage points, on the same realization: below zero SESN is better.
What is missing gives fewer values, or none, and never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sesn_lib.analysis import results
from sesn_lib.analysis.statistics import LEVEL, NAN, Difference, Sample, over_realizations, paired, permuted_correlation
from sesn_lib.experiments.controls import CHANGES, CNN, EXPERIMENT, FEWER, SCALAR, TUNED, VECTOR, Control
from sesn_lib.experiments.correctness import decode
from sesn_lib.experiments.mnist_scale import REALIZATIONS, TRAIN_IMAGES, Cell, Settings
from sesn_lib.store import probes
from sesn_lib.store.records import Store

__all__ = [
    "BANDS",
    "CNN",
    "SCALAR",
    "VECTOR",
    "Controlled",
    "RankCorrelation",
    "auc",
    "best_less_last",
    "chosen",
    "data_errors",
    "deviation_interval",
    "digit_auc",
    "in_band",
    "lead",
    "load",
    "rank_correlation",
    "repeated",
    "repeats",
    "seed_errors",
    "size_errors",
    "size_lead",
    "slope_of_lead",
]

CHOOSE, HELD_OUT = REALIZATIONS[:3], REALIZATIONS[3:]
BANDS: Mapping[str, tuple[float, float]] = {"below": (0.2, 0.26), "inside": (0.3, 1.0), "above": (1.01, 1.5)}
"""Of the trained range, 0.3 to 1: factors from, to. Above 1.5 too much is cut off; 0.297 is at the edge."""
CONFIGURATIONS = ("unchanged", *TUNED)
"""The sweep; "unchanged" is a learning rate of 0.01 without weight decay."""

Errors = dict[int, float]


@dataclass(frozen=True)
class Controlled:
    """The complete records of controls, the probes, and the table.

    Attributes:
        records, probes: by control.
        table: of the paper's cells.
    """

    records: Mapping[Control, Mapping[str, Any]]
    probes: Mapping[Control, Mapping[str, Any]]
    table: results.Results

    def record(self, network: str, change: str, scaling: float, realization: int) -> Mapping[str, Any] | None:
        """A run; under the protocol, on realizations without a control, that of the table."""
        found = self.records.get(Control(f"{network}@{change}", scaling, realization))
        if found is None and change == "unchanged" and realization in HELD_OUT:
            return self.table.records.get(Cell(network, scaling, realization))
        return found

    def errors(self, network: str, change: str, scaling: float, realizations: Iterable[int] = CHOOSE) -> Errors:
        """Realization -> test error in percent."""
        found = {r: self.record(network, change, scaling, r) for r in realizations}
        return {r: float(record["test_error_50k"]) for r, record in found.items() if record is not None}


def load(folder: str | Path) -> Controlled:
    """Reads `folder`, the results of the table, and those of the controls below it."""
    below = Path(folder) / EXPERIMENT.folder
    records = {cell: one for cell, one in Store(below).records_of(Control).items() if one["complete"]}
    probed = {cell: one for cell, one in probes.load_all(below).items() if isinstance(cell, Control)}
    return Controlled(records, probed, results.load(folder))


def lead(sesn: Errors, cnn: Errors) -> Difference:
    """SESN's error minus the CNN's over the realizations of both."""
    return over_realizations((1, sesn), (-1, cnn))


# 1, the sweep


def chosen(runs: Controlled, network: str, scaling: float) -> tuple[str | None, dict[str, float]]:
    """The configuration of the sweep with the best validation accuracy, and that accuracy of each.

    Means over the realizations that are there to choose by; a configuration counts when all of them have run. Of equals
    the one nearest to the protocol. None where no configuration has.
    """
    accuracy = {}
    for change in CONFIGURATIONS:
        found = [runs.record(network, change, scaling, r) for r in CHOOSE]
        if all(found):
            accuracy[change] = float(np.mean([record["val_accuracy"] for record in found if record]))
    if not accuracy:
        return None, {}
    best = max(accuracy, key=lambda change: (round(accuracy[change], 12), -_distance(change)))
    return best, accuracy


def _distance(change: str) -> float:
    """How far a configuration is from the protocol: in learning rate by its logarithm, then in weight decay."""
    values = CHANGES[change]
    rate = values.get("learning_rate", Settings().learning_rate)
    return abs(math.log(rate / Settings().learning_rate)) + (0.1 if values.get("weight_decay") else 0)


# 2, sizes


def size_errors(runs: Controlled, network: str, change: str, scaling: float) -> dict[int, np.ndarray]:
    """Realization -> error in percent at each factor of the probes."""
    found = {}
    for realization in REALIZATIONS:
        probe = _probe(runs, network, change, scaling, realization)
        if probe is not None:
            read = [np.mean(decode(text, probe["digits"])) for text in probe["correct"]]
            found[realization] = 100 * (1 - np.array(read))
    return found


def _probe(runs: Controlled, network: str, change: str, scaling: float, realization: int) -> Mapping[str, Any] | None:
    try:
        return runs.probes.get(Control(f"{network}@{change}", scaling, realization))
    except ValueError:  # no such control
        return None


def in_band(factors: Sequence[float], band: str) -> np.ndarray:
    """Which factors are in one of `BANDS`."""
    low, high = BANDS[band]
    values = np.asarray(factors)
    return (values >= low) & (values <= high)


def size_lead(sesn: Mapping[int, np.ndarray], cnn: Mapping[int, np.ndarray], kept: np.ndarray) -> Difference:
    """The lead, mean over the factors that are kept, over realizations."""
    both = sorted(sesn.keys() & cnn.keys())
    return paired([float((sesn[r] - cnn[r])[kept].mean()) for r in both])


# 3, equivariance


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two figures of trained networks, some of them of one kind.

    Attributes:
        networks: over all networks, of which there are `count`. Those of a kind are alike: it has no test.
        kinds: over the means of the n kinds; this is what is tested. NaN for fewer than four.
        n: of kinds.
        p: of `kinds`, two-sided: all orders of the kinds' second means (drawn at random where they are many).
    """

    networks: float
    count: int
    kinds: float
    n: int
    p: float


def rank_correlation(groups: Sequence[Sequence[tuple[float, float]]]) -> RankCorrelation:
    """`groups`: of each kind of network its (x, y), one for each realization."""
    full = [group for group in groups if group]
    pairs = [pair for group in full for pair in group]
    over_all = float(stats.spearmanr(*np.transpose(pairs)).statistic) if len(pairs) > 2 else NAN
    if len(full) < 4:
        return RankCorrelation(over_all, len(pairs), NAN, len(full), NAN)
    x, y = (stats.rankdata(column) for column in np.transpose([np.mean(group, axis=0) for group in full]))
    kinds, p = permuted_correlation(x, y, two_sided=True)
    return RankCorrelation(over_all, len(pairs), kinds, len(full), p)


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs, a positive and a negative one, in which the positive has the larger value; ties count half.

    NaN where one side is empty.
    """
    n = int(positive.sum())
    if not 0 < n < len(positive):
        return NAN
    ranks = stats.rankdata(values)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def digit_auc(probe: Mapping[str, Any]) -> float:
    """Of a network: whether digits that it misreads at the smaller of the two sizes have less equivariant logits."""
    by_digit = np.array(probe["equivariance"]["by_digit"])
    nearest = int(np.argmin(np.abs(np.array(probe["factors"]) - probe["equivariance"]["to"])))
    read = np.array(decode(probe["correct"][nearest], probe["digits"]))[: len(by_digit)]
    return auc(by_digit[: len(read)], ~read)


# 4, less data


def data_errors(runs: Controlled, network: str) -> dict[int, Errors]:
    """Number of training images -> realization -> error; all 10,000 as in the table."""
    found = {images: runs.errors(network, f"n{images}", 1.0) for images in FEWER}
    whole = runs.table.errors(network, 1.0)
    return {**found, TRAIN_IMAGES: {r: error for r, error in whole.items() if r in CHOOSE}}


def slope_of_lead(sesn: Mapping[int, Errors], cnn: Mapping[int, Errors]) -> Difference:
    """By how much the lead changes from ten times fewer images to ten times more, over realizations that have all."""
    counts = sorted(sesn)
    slopes = [
        float(np.polyfit(np.log10(counts), [sesn[n][r] - cnn[n][r] for n in counts], 1)[0])
        for r in CHOOSE
        if all(r in side[n] for side in (sesn, cnn) for n in counts)
    ]
    return paired(slopes)


# 5, seeds


def seed_errors(runs: Controlled, network: str) -> list[float]:
    """Errors on realization 0, condition 28, of the protocol's runs that differ in nothing but the seed."""
    changes = ["unchanged", *(change for change in CHANGES if change.startswith("seed"))]
    return [error for change in changes for error in _known(runs, network, change)]


def _known(runs: Controlled, network: str, change: str) -> list[float]:
    found = runs.records.get(Control(f"{network}@{change}", 1.0, 0))
    return [] if found is None else [float(found["test_error_50k"])]


def repeats(runs: Controlled) -> results.Results:
    """The cells of the table that controls trained again: another seed, another device, and which digits were right."""
    return results.Results(
        {Cell(c.base, c.extra_scaling, c.realization): r for c, r in runs.records.items() if c.change == "unchanged"}
    )


def repeated(runs: Controlled) -> dict[int, list[tuple[float, float]]]:
    """Realization -> errors of the table and of the same cell trained again (`repeats`)."""
    pairs: dict[int, list[tuple[float, float]]] = {}
    for cell, record in repeats(runs).records.items():
        if other := runs.table.records.get(cell):
            both = float(other["test_error_50k"]), float(record["test_error_50k"])
            pairs.setdefault(cell.realization, []).append(both)
    return pairs


def deviation_interval(groups: Sequence[Sequence[float]]) -> tuple[float, float, float, int]:
    """Standard deviation within groups, pooled, with its chi-squared interval and degrees of freedom."""
    arrays = [np.asarray(group) for group in groups if len(group) > 1]
    df = sum(len(group) - 1 for group in arrays)
    if not df:
        return NAN, NAN, NAN, 0
    total = sum(float(((group - group.mean()) ** 2).sum()) for group in arrays)
    low, high = (math.sqrt(total / stats.chi2.ppf(q, df)) for q in (0.5 + LEVEL / 2, 0.5 - LEVEL / 2))
    return math.sqrt(total / df), low, high, df


# 6, the last epoch


def best_less_last(
    runs: Controlled, keep: Callable[[Control], bool] = lambda _: True
) -> tuple[Difference, Sample | None]:
    """Test error of the chosen epoch minus that of the last one: a mean for each realization, and all runs."""
    single: dict[int, list[float]] = {}
    for cell, record in runs.records.items():
        if record["protocol"]["train_images"] == TRAIN_IMAGES and keep(cell):
            change = record["test_error_50k"] - record["last_epoch"]["test_error_50k"]
            single.setdefault(cell.realization, []).append(change)
    everything = [change for changes in single.values() for change in changes]
    return paired([float(np.mean(single[r])) for r in sorted(single)]), Sample.of(everything)
