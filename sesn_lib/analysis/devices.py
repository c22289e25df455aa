"""Does it matter on what a network was trained? Runs of processors against those of GPUs, float32 against bf16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import NAN, Difference, Sample, detectable_difference, difference, paired
from sesn_lib.analysis.text import interval, mean, p_value
from sesn_lib.experiments.mnist_scale import MODELS, REALIZATIONS, SCALINGS

KINDS = ("cuda", "cpu")


@dataclass(frozen=True)
class DeviceCheck:
    """GPU minus processor for one network, in percentage points.

    Attributes:
        values: realization -> (kind of device, error, error without the realization's own difficulty); errors are
            means over the conditions.
        references: (model, extra_scaling) of the runs that the difficulty was taken from.
        raw: of the errors, as Welch's test sees it.
        adjusted: likewise without the difficulty.
        detectable: the difference that a test of so many runs with this spread finds four times out of five.
    """

    values: Mapping[int, tuple[str, float, float]]
    references: tuple[tuple[str, float], ...]
    raw: Difference
    adjusted: Difference
    detectable: float


def compare_devices(results: Results, model: str = "mnist_cnn_56") -> DeviceCheck:
    """The runs of a network on a GPU against those on a processor, where they are of different realizations.

    Realizations differ in difficulty, for all networks alike. With y[c, r] the error of condition c on realization r,

        u[r] = mean over references c of (y[c, r] - mean over r of y[c, r])

    is that difficulty, where a reference is a condition of another network with a run on each realization, all on one
    kind of device. What is compared is y - u, averaged over the network's conditions. That u is itself a mean of
    finitely many runs is part of the spread.
    """
    own = {scaling: _errors_and_kinds(results, model, scaling) for scaling in SCALINGS}
    shared = set.intersection(*(set(runs) for runs in own.values()))
    kinds = {r: {own[scaling][r][1] for scaling in SCALINGS} for r in shared}
    references = _references(results, model)
    difficulty = dict.fromkeys(REALIZATIONS, 0.0)
    if references:
        table = np.array([[runs[r][0] for r in REALIZATIONS] for runs in references.values()])
        difficulty = dict(zip(REALIZATIONS, (table - table.mean(axis=1, keepdims=True)).mean(axis=0).tolist()))
    values = {}
    for r in sorted(shared):
        if len(kinds[r]) == 1 and next(iter(kinds[r])) in KINDS:
            error = float(np.mean([own[scaling][r][0] for scaling in SCALINGS]))
            values[r] = (next(iter(kinds[r])), error, error - difficulty[r])
    raw, adjusted = (_between(values, place) for place in (1, 2))
    n = min(adjusted.n, default=0)
    spread = adjusted.error * (n / 2) ** 0.5 if n > 1 else NAN
    detectable = detectable_difference(spread, n) if n > 1 and spread > 0 else NAN
    return DeviceCheck(values, tuple(references), raw, adjusted, detectable)


def _errors_and_kinds(results: Results, model: str, scaling: float) -> dict[int, tuple[float, str]]:
    runs = results.runs(model, scaling)
    return {r: (float(one["test_error_50k"]), str(one["environment"]["device_type"])) for r, one in runs.items()}


def _references(results: Results, model: str) -> dict[tuple[str, float], dict[int, tuple[float, str]]]:
    references = {}
    for other in MODELS:
        for scaling in SCALINGS:
            runs = _errors_and_kinds(results, other, scaling)
            if other != model and set(runs) == set(REALIZATIONS) and len({kind for _, kind in runs.values()}) == 1:
                references[other, scaling] = runs
    return references


def _between(values: Mapping[int, tuple[Any, ...]], place: int) -> Difference:
    gpu, cpu = (Sample.of([one[place] for one in values.values() if one[0] == kind]) for kind in KINDS)
    return difference(gpu, cpu)


def lead_over_cnn(by_precision: Mapping[str, Results], rows: Iterable[str], column: str) -> pd.DataFrame:
    """SESN minus the CNN of one column of the paper's table, paired by realization, in each precision.

    For each network, and for the mean of all over the realizations that they share. What is not there is shown as 0
    runs.

    Arguments:
        by_precision: results of each precision; a run of another one is refused.
        rows: e.g. "SESN Scalar", "SESN Vector".

    Raises:
        ValueError: a record is of another precision than it is taken for.
    """
    chosen, table = tuple(rows), []
    for precision, results in by_precision.items():
        for cell, record in results.records.items():
            if record["protocol"]["precision"] != precision:
                other = record["protocol"]["precision"]
                raise ValueError(f"the record of {cell} is in {other}: it must be in {precision}")
        cnn = results.condition("CNN", column)
        leads = {}
        for row in chosen:
            ours = results.condition(row, column)
            leads[row] = {r: ours[r] - cnn[r] for r in sorted(ours.keys() & cnn.keys())}
            samples = Sample.of([ours[r] for r in leads[row]]), Sample.of([cnn[r] for r in leads[row]])
            table.append(_lead_row(row, precision, samples, paired(list(leads[row].values()))))
        common = sorted(set.intersection(*(set(lead) for lead in leads.values())))
        overall = paired([float(np.mean([leads[row][r] for row in chosen])) for r in common])
        table.append(_lead_row("mean of these", precision, (None, None), overall))
    return pd.DataFrame(table).set_index(["network", "precision"])


def _lead_row(
    name: str, precision: str, samples: tuple[Sample | None, Sample | None], lead: Difference
) -> dict[str, Any]:
    known = np.isfinite(lead.estimate)
    return {
        "network": name,
        "precision": precision,
        "runs": lead.n[0] if known else 0,
        "SESN": mean(samples[0], n=False),
        "CNN": mean(samples[1], n=False),
        "SESN − CNN [95 %]": interval(lead, 3),
        "p, paired t, one look": p_value(lead.p),
    }


@dataclass(frozen=True)
class Timetable:
    """When runs were at work.

    Attributes:
        runs: how many.
        fastest: seconds of the shortest one, all in all.
        minutes: from the first start to the last end, without the pauses in which none was at work.
        at_once: the most that were at work at one time.
    """

    runs: int
    fastest: float
    minutes: float
    at_once: int


def timetable(records: Iterable[Mapping[str, Any]]) -> Timetable:
    """From the times that records hold, which are to the second. Of none: all 0."""
    spans = sorted(_span(record) for record in records)
    busy, until = 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    at_once = max((sum(a <= start < b for a, b in spans) for start, _ in spans), default=0)
    fastest = min((end - start for start, end in spans), default=0.0)
    return Timetable(len(spans), fastest, busy / 60, at_once)


def _span(record: Mapping[str, Any]) -> tuple[float, float]:
    end = datetime.fromisoformat(record["timing"]["finished"]).timestamp()
    return end - float(record["timing"]["wall_seconds"]), end
