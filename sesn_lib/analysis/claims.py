"""The paper's claims, one by one, before three bodies of evidence: its own figures, the earlier report's runs, ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sesn_lib.analysis.published import COLUMNS, ROWS, SESN_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, NOMINAL, Difference, Sample, contrast, difference, holm, paired

__all__ = ["CLAIMS", "PAPER", "REPORT", "US", "Claim", "Judged", "corrected", "judge_ours", "judge_samples", "verdict"]

PAPER, REPORT, US = "the paper's figures", "the report's runs", "this repetition"
"""The three bodies of evidence, as tables and figures call them."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper as comparisons (better cell, worse cell): the first has the smaller error."""

    key: str
    text: str
    pairs: tuple[tuple[tuple[str, str], tuple[str, str]], ...]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "cnn",
        "SESN beats the plain CNN",
        tuple(((row, column), ("CNN", column)) for row in SESN_ROWS for column in COLUMNS),
    ),
    Claim(
        "vector",
        "vector features beat scalar ones",
        tuple((("SESN Vector", column), ("SESN Scalar", column)) for column in COLUMNS),
    ),
    Claim(
        "augmentation",
        "scale augmentation helps",
        tuple(((row, f"{pixels}+"), (row, pixels)) for row in ROWS for pixels in ("28", "56")),
    ),
    Claim(
        "pixels",
        "56 pixels beat 28",
        tuple(((row, f"56{sign}"), (row, f"28{sign}")) for row in ROWS for sign in ("", "+")),
    ),
)


@dataclass(frozen=True)
class Judged:
    """A claim before one body of evidence.

    Attributes:
        differences: per comparison, better minus worse; negative is as claimed.
        corrected: their p-values, Holm over the claim's comparisons.
        verdicts: per comparison.
        used: which comparisons the overall mean is over: those for which there are (enough) data.
        overall: that mean, its verdict in `verdict`.
        claimed: the paper's own value of it.
    """

    claim: Claim
    differences: tuple[Difference, ...]
    corrected: tuple[float, ...]
    verdicts: tuple[str, ...]
    used: tuple[bool, ...]
    overall: Difference
    claimed: float
    verdict: str


def verdict(found: Difference, p: float, claimed: float) -> str:
    """reproduced, not reproduced, undecided, or no data.

    Reproduced: p < 0.05 and the difference is negative. Not reproduced: p < 0.05 and it is positive; or no effect is
    found although the interval excludes one as large as the paper's, `claimed`. Else undecided: more runs would tell.
    Fewer than `LEAST` pairs decide nothing, whatever their p.
    """
    if not math.isfinite(found.estimate):
        return "no data"
    if found.method == "paired t" and found.n[0] < LEAST:
        return "undecided"
    if p < NOMINAL:
        return "reproduced" if found.estimate < 0 else "not reproduced"
    return "not reproduced" if found.low > claimed else "undecided"


Cells = Mapping[tuple[str, str], Sample]


def _claimed(pairs: Iterable[tuple[tuple[str, str], tuple[str, str]]], paper: Cells) -> list[float]:
    return [paper[better].mean - paper[worse].mean for better, worse in pairs]


def _judge(
    claim: Claim, differences: Sequence[Difference], overall: Difference, used: Sequence[bool], paper: Cells
) -> Judged:
    p_values = holm([d.p for d in differences], family=len(claim.pairs))
    claimed = _claimed(claim.pairs, paper)
    verdicts = tuple(verdict(d, p, c) for d, p, c in zip(differences, p_values, claimed))
    average = float(np.mean([c for c, u in zip(claimed, used) if u])) if any(used) else math.nan
    said = verdict(overall, overall.p, average)
    return Judged(claim, tuple(differences), tuple(p_values), verdicts, tuple(used), overall, average, said)


def judge_samples(claim: Claim, cells: Cells, paper: Cells) -> Judged:
    """From means and spreads only: Welch's test per comparison, a Welch contrast over all that can be made.

    Comparisons that cannot be made count in the correction.
    """
    differences = [difference(cells.get(better), cells.get(worse)) for better, worse in claim.pairs]
    known = [better in cells and worse in cells for better, worse in claim.pairs]
    weights: dict[tuple[str, str], float] = {}
    for (better, worse), there in zip(claim.pairs, known):
        if there:
            weights[better] = weights.get(better, 0.0) + 1 / sum(known)
            weights[worse] = weights.get(worse, 0.0) - 1 / sum(known)
    overall = contrast([cells[name] for name in weights], list(weights.values()))
    return _judge(claim, differences, overall, known, paper)


def judge_ours(claim: Claim, results: Results, paper: Cells) -> Judged:
    """From runs: differences paired by realization, which both sides were trained and tested on.

    The overall mean is over realizations that the comparisons used have in common: as many comparisons as share
    `LEAST` realizations. Where not one has so many, those are used that share the most.
    """
    pairs = []
    for better, worse in claim.pairs:
        left, right = results.condition(*better), results.condition(*worse)
        pairs.append({r: left[r] - right[r] for r in sorted(left.keys() & right.keys())})
    used, common = _balanced([set(p) for p in pairs])
    overall = paired([float(np.mean([p[r] for p, u in zip(pairs, used) if u])) for r in sorted(common)])
    return _judge(claim, [paired(list(p.values())) for p in pairs], overall, used, paper)


def _balanced(realizations: Sequence[set[int]]) -> tuple[list[bool], set[int]]:
    """Which of the comparisons to average, and over which realizations, so that a late comer does not cost the rest."""
    enough = min(LEAST, max(map(len, realizations), default=0))
    used, common = [False] * len(realizations), set[int]()
    for index in sorted(range(len(realizations)), key=lambda i: -len(realizations[i])):
        shared = common & realizations[index] if any(used) else realizations[index]
        if shared and len(shared) >= enough:
            used[index], common = True, shared
    return used, common


def corrected(judged: Sequence[Judged]) -> list[Judged]:
    """The same judgements with the overall verdicts corrected (Holm) for the number of claims."""
    p_values = holm([j.overall.p for j in judged], family=len(judged))
    return [replace(j, verdict=verdict(j.overall, p, j.claimed)) for j, p in zip(judged, p_values)]
