"""How large an effect has to be for so few realizations to show it, after all that a verdict is corrected for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from sesn_lib.analysis.claims import PAPER, US, Answer, mean_weights
from sesn_lib.analysis.statistics import LEAST, NOMINAL, detectable_difference
from sesn_lib.analysis.text import number, signed
from sesn_lib.analysis.verdicts import Findings


@dataclass(frozen=True)
class Power:
    """The smallest true effects that a paired t over realizations finds four times out of five; percentage points.

    All at the step of Holm's correction that an undecided effect has to pass: what is rejected went before it, so its p
    counts as often as there are effects `left`.

    Attributes:
        answer: what is asked, by our runs; `paper`: the paper's own effect.
        first: at a first look, were realizations equally hard for all networks, so that seeds alone scatter.
        seeds: likewise, charged for the looks that were spent.
        own: charged likewise, if the effect scatters over realizations as it was seen to.
    """

    answer: Answer
    paper: float
    first: float
    seeds: float
    own: float

    @property
    def needed(self) -> float:
        """The larger of both charged ones: seeds alone are the least that scatters."""
        return max(self.seeds, self.own)


def left(findings: Findings) -> int:
    """How many effects of the family are not rejected, those without runs included."""
    return sum(not a.p < NOMINAL for a in findings.regimes[US])


def undecided(findings: Findings) -> list[Power]:
    """Of every effect that is undecided with `LEAST` realizations or more."""
    found = []
    level = NOMINAL / max(left(findings), 1)
    for a, paper in zip(findings.regimes[US], findings.regimes[PAPER]):
        if a.verdict != "undecided" or a.runs < LEAST or not findings.model.seed > 0:
            continue
        seeds = findings.model.seed * math.sqrt(sum(w**2 for w in mean_weights(a.question.rows).values()))
        own = a.found.error * math.sqrt(a.runs)
        first, *charged = (
            detectable_difference(spread, a.runs, level=level / (looks * (looks + 1)), pairs=True)
            for spread, looks in ((seeds, 1), (seeds, a.looks), (own, a.looks))
        )
        found.append(Power(a, paper.found.estimate, first, *charged))
    return found


def sentence(findings: Findings) -> str:
    """Whether what is undecided could have been shown at all, were it as large as the paper's; empty if nothing is."""
    found = undecided(findings)
    if not found:
        return ""
    ends = [number(end(one.needed for one in found)) for end in (min, max)]
    less = sum(abs(one.paper) < one.needed for one in found)
    all_of = f"all {less}" if less == len(found) else f"{less} of the {len(found)}"
    return (
        f"For a chance of 80 % to be found, an undecided effect must be {ends[0]} to {ends[1]} points "
        f"(depending on looks and scatter; Holm over the {left(findings)} left); in the paper {all_of} are "
        "smaller, so they may be missed."
    )


def table(findings: Findings) -> pd.DataFrame:
    """A line for every effect that is undecided."""
    rows = {
        (one.answer.question.claim, one.answer.question.where): [
            str(one.answer.runs), str(one.answer.looks), signed(one.paper),
            *map(number, (one.first, one.seeds, one.own)),
        ]
        for one in undecided(findings)
    }  # fmt: skip
    columns = ["n", "looks", "the paper's effect", "first look, seeds alone", "as charged, seeds alone"]
    columns += ["as charged, its own scatter"]
    index = pd.MultiIndex.from_tuples(rows, names=["undecided", "where"]) if rows else None
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)
