"""The report's tables as readers see them; the one-page summary and the full results share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sesn_lib.analysis.claims import CLAIMS, PAPER, REPORT, US, Judged, corrected, judge_ours, judge_samples
from sesn_lib.analysis.published import COLUMNS, REGIME, ROWS, SESN_ROWS, Published, regroup
from sesn_lib.analysis.results import Comparison, Results, contrast_of_tables
from sesn_lib.analysis.statistics import LEAST, Difference, Sample, paired
from sesn_lib.experiments.mnist_scale import GRID, MODELS
from sesn_lib.plotting.tables import interval, mean, number, p_value, signed
from sesn_lib.runner.budget import training_seconds

__all__ = [
    "PAPER",
    "REPORT",
    "US",
    "by_condition",
    "claims_table",
    "comparison_table",
    "comparisons_table",
    "cost_table",
    "error_against_time",
    "errors_by_size",
    "evidence",
    "headline",
    "numbers",
    "paper_table",
    "provenance_table",
    "size_table",
    "size_trend",
    "tally",
    "whole_table",
]


def by_condition(results: Results) -> dict[tuple[str, str], Sample]:
    """Ours by cell of the paper's table; cells without a run are left out."""
    samples = {name: Sample.of(list(results.condition(*name).values())) for name in REGIME}
    return {name: sample for name, sample in samples.items() if sample is not None}


def paper_table(results: Results, published: Published) -> pd.DataFrame:
    """The paper's table with the report's regrouped runs and ours below each of its rows."""
    regrouped = {name: cell.sample for name, cell in regroup(published).items()}
    sources = {"the paper": published.paper, "the report, regrouped": regrouped, US: by_condition(results)}
    rows = {
        (row, source): [mean(cells.get((row, column))) for column in COLUMNS]
        for row in ROWS
        for source, cells in sources.items()
        if row != "CNN" or source != "the report, regrouped"  # it trained none
    }
    index = pd.MultiIndex.from_tuples(rows, names=["network", "error, % (runs)"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))


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


def tally(found: Sequence[Comparison]) -> str:
    """How many cells of a comparison have which verdict, in words."""
    counts = Counter(c.verdict for c in found)
    return ", ".join(f"{word}: {counts[word]}" for word in ("differs", "the same", "undecided", "no run yet"))


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
    """Verdict and mean difference per claim and source. The paper's own figures support a claim or do not.

    Where a source has only some of a claim's comparisons, its mean may be held only against the paper's mean over the
    same ones: `(3 of 6; the paper −0.41; n = 4)` says how many, that mean, and the number of realizations.
    """
    rows = {}
    for text, sources in judged.items():
        rows[text] = [_said(source, j.verdict, j.overall) for source, j in sources.items()]
        for index, (source, j) in enumerate(sources.items()):
            notes = []
            if any(j.used) and not all(j.used):
                notes += [f"{sum(j.used)} of {len(j.used)}", f"the paper {signed(j.claimed)}"]
            if any(j.used) and source == US:
                notes.append(f"n = {j.overall.n[0]}")
            rows[text][index] += f" ({'; '.join(notes)})" if notes else ""
    columns = list(next(iter(judged.values())))
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("claim")


def _coverage(judged: Judged) -> str:
    """How many realizations and comparisons a mean is over; a single comparison is named."""
    count = judged.overall.n[0]
    said = f"{sum(judged.used)} of {len(judged.used)} comparisons"
    if sum(judged.used) == 1:
        better, worse = judged.claim.pairs[judged.used.index(True)]
        said += f", {' '.join(better)} before {' '.join(worse)}"
    return f"{count} realization{'s' * (count != 1)}, {said}"


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
    """Where the claims stand, as Markdown: a paragraph for what was published, one for this repetition, a caution."""
    done, planned = len(results.records), len(GRID)
    published = f"**From published figures alone** (the report's runs). {_verdicts(judged, REPORT)}"
    if not done:
        return f"{published}\n\n**From our own runs.** Nothing yet: none of the {planned} is done."
    lines = [published, f"**From our own runs** ({done} of {planned} so far). {_verdicts(judged, US)}"]
    counts = [sources[US].overall.n[0] for sources in judged.values() if any(sources[US].used)]
    if counts and min(counts) < LEAST:
        lines.append(
            f"Fewer than {LEAST} realizations decide nothing: such a difference is a direction, not a verdict."
        )
    return "\n\n".join(lines)


def _verdicts(judged: Mapping[str, Mapping[str, Judged]], source: str) -> str:
    said = []
    for word in ("reproduced", "not reproduced", "undecided", "no data"):
        found = [
            f"{text} ({_coverage(sources[US])})" if source == US and any(sources[US].used) else text
            for text, sources in judged.items()
            if sources[source].verdict == word
        ]
        said += [f"*{word.capitalize()}:* {', '.join(found)}."] if found else []
    return " ".join(said)


def whole_table(results: Results, theirs: Mapping[tuple[str, str], Sample], name: str, margin: float) -> str:
    """Ours against another's, averaged over the cells of their table that have runs enough; the test and its verdict.

    `theirs`: by row and column of the paper's table, whose rows that nobody runs here do not count; `name`: whose.
    """
    cells = by_condition(results)
    enough = sum(cell in cells and cells[cell].n >= LEAST for cell in theirs)
    found = contrast_of_tables(cells, theirs)
    if not enough:
        return f"no cell has {LEAST} runs yet: nothing can be said about the table as a whole"
    differs, same = (p if p[0] == "<" else f"= {p}" for p in map(p_value, (found.p, found.equivalent(margin))))
    said = [
        f"ours minus {name}, mean over {enough} of {len(theirs.keys() & REGIME.keys())} cells: {interval(found, 3)}",
        f"p {differs} that there is no difference",
        f"p {same} for the same within {margin:.2f}",
    ]
    return "; ".join(said)


def cost_table(results: Results) -> pd.DataFrame:
    """Training time by model and device: the fastest run's, and all runs by the clock.

    A run's time is that at its usual speed (`budget.training_seconds`). Other work on the machine can only make it
    longer, as can an older version of the code, so the fastest run says best what one costs.
    """
    rows = []
    devices = sorted({str(record["environment"]["device"]) for record in results.records.values()})
    for device in devices:
        for model in MODELS:
            chosen = [
                record
                for cell, record in results.records.items()
                if cell.model == model and record["environment"]["device"] == device
            ]
            if chosen:
                fastest = min(map(training_seconds, chosen)) / 60
                clock = sum(record["timing"]["train_seconds"] for record in chosen) / 3600
                rows.append([device, model, len(chosen), number(fastest, 1), number(clock, 1)])
    return pd.DataFrame(rows, columns=["device", "model", "runs", "fastest run, minutes", "all, hours by the clock"])


def error_against_time(results: Results) -> dict[str, dict[tuple[str, str], tuple[float, Sample]]]:
    """Device -> cell of the paper's table -> (minutes of its fastest run, the errors of all), as in `cost_table`."""
    found: dict[str, dict[tuple[str, str], tuple[float, Sample]]] = {}
    for device in sorted({str(record["environment"]["device"]) for record in results.records.values()}):
        for name, regime in REGIME.items():
            runs = [r for r in _records(results, regime) if r["environment"]["device"] == device]
            errors = Sample.of([float(r["test_error_50k"]) for r in runs])
            if errors is not None:
                minutes = min(map(training_seconds, runs)) / 60
                found.setdefault(device, {})[name] = (minutes, errors)
    return found


def errors_by_size(results: Results) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Column -> row of the paper's table -> the counts by size of the digit, of those records that have them."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for column in COLUMNS:
        for row in ROWS:
            counted = list(_sizes(results, row, column).values())
            if counted:
                found.setdefault(column, {})[row] = counted
    return found


def size_table(results: Results) -> pd.DataFrame:
    """How many errors SESN makes for each error of the CNN, by size of the digit, over the realizations of both."""
    rows = []
    for network, both in _beside_cnn(results):
        edges = next(iter(both.values()))[0]["edges"]
        ours, cnn = (np.sum([pair[side]["errors"] for pair in both.values()], axis=0) for side in (0, 1))
        shares = {
            f"{low:g}–{high:g}": number(a / b, 2) if b else "–" for low, high, a, b in zip(edges, edges[1:], ours, cnn)
        }
        rows.append({"network": network, "runs": len(both), **shares})
    return pd.DataFrame(rows).set_index("network") if rows else pd.DataFrame()


def size_trend(results: Results) -> Difference:
    """How SESN's errors per error of the CNN change from the smallest digits to the largest, as a natural logarithm.

    Negative: SESN's advantage grows with the digit. A value for each realization, the mean over its networks; a test of
    their mean.
    """
    changes: dict[int, list[float]] = {}
    for _, both in _beside_cnn(results):
        for realization, pair in both.items():
            (small, large), (small_cnn, large_cnn) = ((s["errors"][0], s["errors"][-1]) for s in pair)
            if min(small, large, small_cnn, large_cnn) > 0:
                changes.setdefault(realization, []).append(np.log(large / large_cnn) - np.log(small / small_cnn))
    return paired([float(np.mean(changes[realization])) for realization in sorted(changes)])


def _beside_cnn(results: Results) -> Iterator[tuple[str, dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]]]:
    """Each SESN of the table by name, with realization -> the counts by size of its run and of the CNN's."""
    for column in COLUMNS:
        cnn = _sizes(results, "CNN", column)
        for row in SESN_ROWS:
            ours = _sizes(results, row, column)
            both = {realization: (ours[realization], cnn[realization]) for realization in sorted(ours.keys() & cnn)}
            if both:
                yield f"{row} {column}", both


def _sizes(results: Results, row: str, column: str) -> dict[int, Mapping[str, Any]]:
    """Realization -> the counts by size of the digit, of those records that have them."""
    return {r["cell"]["realization"]: r["by_scale"] for r in _records(results, REGIME[row, column]) if "by_scale" in r}


def _records(results: Results, regime: tuple[str, float]) -> list[Mapping[str, Any]]:
    return [record for cell, record in results.records.items() if (cell.model, cell.extra_scaling) == regime]


def provenance_table(results: Results) -> pd.DataFrame:
    """How many records come from which commit, device, precision and version."""
    keys: Counter[tuple[str, ...]] = Counter()
    for record in results.records.values():
        environment = record["environment"]
        commit = str(environment.get("git_commit") or "unknown")[:10]
        changed = "" if environment.get("git_dirty") is False else ", perhaps changed"
        versions = ", ".join(
            f"{name} {environment[name]}" for name in ("torch", "numpy", "python") if name in environment
        )
        keys[(commit + changed, str(environment["device"]), str(record["protocol"]["precision"]), versions)] += 1
    rows = [[*key, count] for key, count in sorted(keys.items())]
    return pd.DataFrame(rows, columns=["commit", "device", "precision", "versions", "runs"])
