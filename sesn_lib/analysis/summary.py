"""The report's tables as readers see them; the one-page summary and the full results share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from sesn_lib.analysis.claims import US
from sesn_lib.analysis.published import (
    ALL_ROWS,
    COLUMNS,
    PAPER_RUNS,
    REGIME,
    RIVAL_REGIME,
    SESN_ROWS,
    Published,
    regroup,
)
from sesn_lib.analysis.results import Comparison, Results
from sesn_lib.analysis.statistics import Sample
from sesn_lib.analysis.text import interval, mean, number, p_value
from sesn_lib.experiments.mnist_scale import MODELS, RIVAL_MODELS
from sesn_lib.runner.budget import training_seconds

MISSING = "no run yet"


def by_condition(results: Results) -> dict[tuple[str, str], Sample]:
    """Ours by cell of the paper's table; cells without a run are left out."""
    samples = {name: Sample.of(list(results.condition(*name).values())) for name in (*REGIME, *RIVAL_REGIME)}
    return {name: sample for name, sample in samples.items() if sample is not None}


def paper_table(results: Results, published: Published) -> pd.DataFrame:
    """The paper's ten methods: our runs, the paper's below them, the report's regrouped where it has some."""
    regrouped = {name: cell.sample for name, cell in regroup(published).items()}
    sources = {US: by_condition(results), "the paper": published.paper, "the report, regrouped": regrouped}
    rows = {
        (row, source): [
            MISSING if source == US and (row, column) not in cells else mean(cells.get((row, column)))
            for column in COLUMNS
        ]
        for row in ALL_ROWS
        for source, cells in sources.items()
        if row in SESN_ROWS or source != "the report, regrouped"  # it trained no other
    }
    index = pd.MultiIndex.from_tuples(rows, names=["network", "error, % (runs)"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))


def beside_table(results: Results, published: Published) -> pd.DataFrame:
    """The paper's ten methods, a line each: ours and, beside it, the paper's in every column; n where it is not six."""
    ours = by_condition(results)

    def said(source: str, sample: Sample | None) -> str:
        return (
            MISSING if source == "ours" and sample is None else mean(sample, n=sample is None or sample.n != PAPER_RUNS)
        )

    sources = {"ours": ours, "paper": published.paper}
    rows = {
        row: {
            f"{column} {name}": said(name, cells.get((row, column)))
            for column in COLUMNS
            for name, cells in sources.items()
        }
        for row in ALL_ROWS
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("network")


def comparison_table(comparisons: Sequence[Comparison], theirs: str, ours: str = "ours") -> pd.DataFrame:
    """Comparisons cell by cell: both sides, the difference with its interval, the tests, the verdict."""
    rows = [
        {
            "cell": " ".join(c.name).removeprefix("mnist_ses_").replace("_", " "),
            ours: mean(c.ours),
            theirs: mean(c.theirs),
            "difference [95 %]": interval(c.difference),
            "test": c.difference.method,
            "p": p_value(c.difference.p),
            "p, Holm": p_value(c.corrected),
            "p, same": p_value(c.equivalent),
            "verdict": c.verdict,
        }
        for c in comparisons
    ]
    return pd.DataFrame(rows).set_index("cell")


def tally(comparisons: Sequence[Comparison]) -> str:
    """How many cells of a comparison have which verdict, in words."""
    counts = Counter(c.verdict for c in comparisons)
    return ", ".join(f"{word}: {counts[word]}" for word in ("differs", "the same", "undecided", "no run yet"))


def numbers(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The same without rounding, for a file."""
    rows = []
    for c in comparisons:
        row: dict[str, object] = {"cell": " ".join(c.name)}
        for side, sample in (("ours", c.ours), ("theirs", c.theirs)):
            for key in ("n", "mean", "std"):
                row[f"{side}_{key}"] = getattr(sample, key) if sample is not None else None
        row |= {key: getattr(c.difference, key) for key in ("estimate", "low", "high", "p", "method")}
        rows.append({**row, "p_holm": c.corrected, "p_same": c.equivalent, "verdict": c.verdict})
    return pd.DataFrame(rows)


def cost_table(results: Results) -> pd.DataFrame:
    """Training time by model and device: the fastest run's, and all runs by the clock.

    A run's time is that at its usual speed (`budget.training_seconds`). Other work on the machine can only make it
    longer, as can an older version of the code, so the fastest run says best what one costs.
    """
    rows = []
    everything = results.everything
    devices = sorted({str(record["environment"]["device"]) for record in everything.values()})
    for device in devices:
        for model in (*MODELS, *RIVAL_MODELS):
            chosen = [
                record
                for cell, record in everything.items()
                if cell.model == model and record["environment"]["device"] == device
            ]
            if chosen:
                fastest = min(map(training_seconds, chosen)) / 60
                clock = sum(record["timing"]["train_seconds"] for record in chosen) / 3600
                rows.append([device, model, len(chosen), number(fastest, 1), number(clock, 1)])
    return pd.DataFrame(rows, columns=["device", "model", "runs", "fastest run, minutes", "all, hours by the clock"])


def error_against_time(results: Results) -> dict[str, dict[tuple[str, str], tuple[float, Sample]]]:
    """Device -> cell of the paper's table -> (minutes of its fastest run, the errors of all), as in `cost_table`."""
    points: dict[str, dict[tuple[str, str], tuple[float, Sample]]] = {}
    for device in sorted({str(record["environment"]["device"]) for record in results.records.values()}):
        for name, regime in REGIME.items():
            runs = [r for r in results.runs(*regime).values() if r["environment"]["device"] == device]
            errors = Sample.of([float(r["test_error_50k"]) for r in runs])
            if errors is not None:
                minutes = min(map(training_seconds, runs)) / 60
                points.setdefault(device, {})[name] = (minutes, errors)
    return points


def provenance_table(results: Results, made: Callable[[str], float | None] = lambda _: None) -> pd.DataFrame:
    """How many records come from which commit, device, precision and version.

    `made`: when a commit was made, seconds since 1970 (`provenance.commit_time`). A run that began before the commit
    that it names was another code's: which one cannot be known.
    """
    keys: Counter[tuple[str, ...]] = Counter()
    for record in results.everything.values():
        environment = record["environment"]
        name = str(environment.get("git_commit") or "unknown")
        changed = "" if environment.get("git_dirty") is False else ", perhaps changed"
        changed = ", made after the run began: its code cannot be known" if _named_late(record, made(name)) else changed
        versions = ", ".join(
            f"{name} {environment[name]}" for name in ("torch", "numpy", "python") if name in environment
        )
        keys[(name[:10] + changed, str(environment["device"]), str(record["protocol"]["precision"]), versions)] += 1
    rows = [[*key, count] for key, count in sorted(keys.items())]
    return pd.DataFrame(rows, columns=["commit", "device", "precision", "versions", "runs"])


def _named_late(record: Mapping[str, Any], made: float | None) -> bool:
    finished = datetime.fromisoformat(record["timing"]["finished"].replace("Z", "+00:00")).timestamp()
    return made is not None and made > finished - record["timing"]["wall_seconds"]
