"""The report's tables as readers see them; the one-page summary and the full results share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .claims import CLAIMS, Judged, corrected, judge_ours, judge_samples
from .experiments import GRID, MODELS
from .published import COLUMNS, REGIME, ROWS, Published, regroup
from .results import Comparison, Results
from .statistics import Difference, Sample
from .tables import interval, mean, number, p_value

__all__ = [
    "PAPER",
    "REPORT",
    "US",
    "by_condition",
    "claims_table",
    "comparison_table",
    "comparisons_table",
    "cost_table",
    "evidence",
    "headline",
    "numbers",
    "paper_table",
    "provenance_table",
]

PAPER, REPORT, US = "the paper's figures", "the report's runs", "this repetition"


def by_condition(results: Results) -> dict[tuple[str, str], Sample]:
    """Ours by cell of the paper's table; cells without a run are left out."""
    samples = {name: Sample.of(list(results.condition(*name).values())) for name in REGIME}
    return {name: sample for name, sample in samples.items() if sample is not None}


def paper_table(results: Results, published: Published) -> pd.DataFrame:
    """The paper's table with the report's regrouped runs and ours below each of its rows."""
    regrouped = {name: cell.sample for name, cell in regroup(published).items()}
    sources = {"the paper": published.paper, "the report, regrouped": regrouped, US: by_condition(results)}
    rows = {}
    for row in ROWS:
        for source, cells in sources.items():
            if row != "CNN" or source != "the report, regrouped":
                rows[f"{row}: {source}"] = [mean(cells.get((row, column))) for column in COLUMNS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).rename_axis("error, % (runs)")


def comparison_table(found: Sequence[Comparison], theirs: str, ours: str = "ours") -> pd.DataFrame:
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
        for c in found
    ]
    return pd.DataFrame(rows).set_index("cell")


def numbers(found: Sequence[Comparison]) -> pd.DataFrame:
    """The same without rounding, for a file."""
    rows = []
    for c in found:
        row: dict[str, object] = {"cell": " ".join(c.name)}
        for side, sample in (("ours", c.ours), ("theirs", c.theirs)):
            for key in ("n", "mean", "std"):
                row[f"{side}_{key}"] = getattr(sample, key) if sample is not None else None
        row |= {key: getattr(c.difference, key) for key in ("estimate", "low", "high", "p", "method")}
        rows.append({**row, "p_holm": c.corrected, "p_same": c.equivalent, "verdict": c.verdict})
    return pd.DataFrame(rows)


def evidence(results: Results, published: Published) -> dict[str, dict[str, Judged]]:
    """Claim -> source -> judgement, corrected for the number of claims; the sources are `PAPER`, `REPORT`, `US`."""
    regrouped = {name: cell.sample for name, cell in regroup(published).items()}
    sources = {
        PAPER: corrected([judge_samples(claim, published.paper, published.paper) for claim in CLAIMS]),
        REPORT: corrected([judge_samples(claim, regrouped, published.paper) for claim in CLAIMS]),
        US: corrected([judge_ours(claim, results, published.paper) for claim in CLAIMS]),
    }
    return {claim.text: {name: j[index] for name, j in sources.items()} for index, claim in enumerate(CLAIMS)}


def claims_table(judged: Mapping[str, Mapping[str, Judged]]) -> pd.DataFrame:
    """Verdict and mean difference per claim and source. The paper's own figures support a claim or do not."""
    rows = {}
    for text, sources in judged.items():
        rows[text] = [_said(source, j.verdict, j.overall) for source, j in sources.items()]
        known = sum(d.n[0] > 0 for d in sources[US].differences)
        if known:
            pairs = f"{sources[US].overall.n[0]} realizations, {known} of {len(sources[US].differences)} comparisons"
            rows[text][-1] += f"; {pairs}"
    columns = list(next(iter(judged.values())))
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("claim")


def comparisons_table(judged: Mapping[str, Mapping[str, Judged]]) -> pd.DataFrame:
    """Verdict and difference of every comparison of every claim, per source."""
    rows = []
    for text, sources in judged.items():
        for index, (better, worse) in enumerate(next(iter(sources.values())).claim.pairs):
            cells = [_said(source, j.verdicts[index], j.differences[index]) for source, j in sources.items()]
            rows.append([text, f"{' '.join(better)} before {' '.join(worse)}", *cells])
    return pd.DataFrame(rows, columns=["claim", "comparison", *next(iter(judged.values()))])


def _said(source: str, word: str, found: Difference) -> str:
    if source == PAPER:
        word = {"reproduced": "supported", "not reproduced": "not supported"}.get(word, word)
    return word if word == "no data" else f"{word}: {interval(found)}"


def headline(results: Results, judged: Mapping[str, Mapping[str, Judged]]) -> str:
    """Where this repetition stands, in one or two sentences."""
    done = len(results.records)
    state = f"{done} of {len(GRID)} runs are done" if done else f"None of the {len(GRID)} runs is done yet"
    verdicts = {text: sources[US].verdict for text, sources in judged.items()}
    if set(verdicts.values()) == {"no data"}:
        return f"{state}: nothing can be said from our own runs, only from published figures."
    said = []
    for word in ("reproduced", "not reproduced", "undecided", "no data"):
        chosen = [text for text, verdict in verdicts.items() if verdict == word]
        said += [f"{word}: {'; '.join(chosen)}"] if chosen else []
    return f"{state}. By our own runs, {'. '.join(s[0].upper() + s[1:] if i else s for i, s in enumerate(said))}."


def cost_table(results: Results) -> pd.DataFrame:
    """Training time by model and device."""
    rows = []
    devices = sorted({str(record["environment"]["device"]) for record in results.records.values()})
    for device in devices:
        for model in MODELS:
            chosen = [
                record["timing"]["train_seconds"]
                for cell, record in results.records.items()
                if cell.model == model and record["environment"]["device"] == device
            ]
            if chosen:
                minutes = np.asarray(chosen) / 60
                rows.append(
                    [device, model, len(chosen), number(float(minutes.mean()), 1), number(minutes.sum() / 60, 1)]
                )
    return pd.DataFrame(rows, columns=["device", "model", "runs", "minutes a run", "hours in all"])


def provenance_table(results: Results) -> pd.DataFrame:
    """How many records come from which commit, device, precision and version."""
    keys: Counter[tuple[str, ...]] = Counter()
    for record in results.records.values():
        environment = record["environment"]
        commit = str(environment.get("git_commit") or "unknown")[:10]
        changed = "" if environment.get("git_dirty") is False else ", perhaps changed"
        versions = f"torch {environment['torch']}"
        keys[(commit + changed, str(environment["device"]), str(record["protocol"]["precision"]), versions)] += 1
    rows = [[*key, count] for key, count in sorted(keys.items())]
    return pd.DataFrame(rows, columns=["commit", "device", "precision", "versions", "runs"])
