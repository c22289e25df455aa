"""Predictions that were written down before the runs, and what the runs say to them.

A prediction is a range that a difference should lie in. It is judged by Student's t at its ends: *as predicted* when
the data exclude the outside, *not as predicted* when they exclude the inside, both at 5 %, charged for looks and after
Holm's correction over the tests of its family, *undecided* otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from sesn_lib.analysis.effects import charged
from sesn_lib.analysis.statistics import LEAST, NAN, NOMINAL, Difference, holm
from sesn_lib.analysis.text import DASH, interval, p_value

RIGHT, WRONG, OPEN, NONE = "as predicted", "not as predicted", "undecided", "no run yet"


@dataclass(frozen=True)
class Prediction:
    """One row of a table.

    Attributes:
        what: is predicted, in a few words.
        found: the difference, with its interval.
        low, high: ends of the range; one may be infinite. Both are where nothing was predicted.
        decimals: in which the difference is shown.
        tested: p of the outside and of the inside, where the test is not Student's t at the ends.
        share: whether what was found is a percentage, which has no sign.
        named: whether it is one of the tests that its question names although nothing was predicted; it is of zero.

    Raises:
        ValueError: a range that does not go up.
    """

    what: str
    found: Difference
    low: float = -math.inf
    high: float = math.inf
    decimals: int = 2
    tested: tuple[float, float] | None = None
    share: bool = False
    named: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self.what}: the range is {self.low} to {self.high}: it must go up")

    @property
    def made(self) -> bool:
        """Whether there is a prediction."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    def p_values(self) -> tuple[float, float]:
        """(p of the outside, p of the inside): small for what the data exclude. NaN where nothing can be tested.

        With one end both are two-sided tests of that end, by which side the estimate is on; with two ends the first is
        that of two one-sided tests (Schuirmann 1987), the second that of the end that the estimate is beyond.
        """
        if self.tested is not None:
            return self.tested
        d = self.found
        if not math.isfinite(d.error) or d.n[0] < LEAST:
            return NAN, NAN
        if not self.made:
            return (d.p, NAN) if self.named else (NAN, NAN)
        above_low = float(stats.t.sf((d.estimate - self.low) / d.error, d.df))
        below_high = float(stats.t.cdf((d.estimate - self.high) / d.error, d.df))
        if math.isfinite(self.low) and math.isfinite(self.high):
            return max(above_low, below_high), min(1.0, 2 * (1 - max(above_low, below_high)))
        outside = max(above_low, below_high)
        return min(1.0, 2 * outside), min(1.0, 2 * (1 - outside))


def corrected(
    predictions: Sequence[Prediction], family: int | None = None, looks: int = 1
) -> list[tuple[float, float]]:
    """p of the outside and of the inside, each charged for the looks (`effects.charged`), then by Holm.

    The two sides are two families. Each p is already two-sided, so that both together err as seldom as one would.

    Arguments:
        family: how many tests are corrected together, by default the predictions made.
        looks: how often the question was looked at with new runs.
    """
    size = sum(one.made for one in predictions) if family is None else family
    values = [one.p_values() for one in predictions]
    outside, inside = (holm([charged(pair[side], looks) for pair in values], size) for side in (0, 1))
    return list(zip(outside, inside))


def judged(predictions: Sequence[Prediction], family: int | None = None, looks: int = 1) -> list[str]:
    """The verdict on each, by its p as `corrected` has it."""
    words = []
    for one, (right, wrong) in zip(predictions, corrected(predictions, family, looks)):
        if not one.made:
            words.append(DASH)
        elif not one.found.n[0]:
            words.append(NONE)
        else:
            words.append(RIGHT if right < NOMINAL else WRONG if wrong < NOMINAL else OPEN)
    return words


def table(
    predictions: Sequence[Prediction], family: int | None = None, looks: int = 1, among: Sequence[Prediction] = ()
) -> pd.DataFrame:
    """What was predicted, what was found, and the verdict with its n, test and p, before and after correction.

    The p is of the side that the verdict is about: that the truth lies across the range's end from the estimate; it is
    of zero where nothing was predicted, and corrected only if the question names that test.

    Arguments:
        family, looks: as `corrected` takes them.
        among: all predictions that are corrected together, where the table shows some of them.
    """
    together = list(among) or list(predictions)
    size = sum(one.made for one in together) if family is None else family
    verdicts = dict(zip(map(id, together), zip(judged(together, family, looks), corrected(together, family, looks))))
    rows = []
    for one in predictions:
        verdict, both = verdicts[id(one)]
        name, p, side = _test(one)
        counted = one.made or one.named
        rows.append(
            {
                "question": one.what,
                "predicted": _range(one),
                "found [95 %]": interval(one.found, one.decimals, sign=not one.share),
                "n": one.found.n[0] or DASH,
                "test": name,
                "p": p_value(p),
                "looks": looks if counted else DASH,
                "tests": size if counted else DASH,
                "p, corrected": p_value(both[side]) if counted else DASH,
                "verdict": verdict,
            }
        )
    return pd.DataFrame(rows).set_index("question")


def _test(one: Prediction) -> tuple[str, float, int]:
    """Name and p of the test that the verdict goes by, and which of the two p it is: outside, inside."""
    p = one.p_values() if one.made or one.named else (one.found.p, NAN)
    side = int(p[1] < p[0])
    if not math.isfinite(p[side]):
        return DASH, NAN, side
    both_ends = one.tested is None and math.isfinite(one.low) and math.isfinite(one.high)
    return "two one-sided t" if both_ends and side == 0 else one.found.method, p[side], side


def fared(questions: Mapping[str, Sequence[tuple[Sequence[Prediction], int | None, int]]]) -> pd.DataFrame:
    """How the predictions fared: question -> families (predictions, tests, looks); rows without one do not count."""
    words = (RIGHT, WRONG, OPEN, NONE)
    rows = {}
    for name, families in questions.items():
        said = [word for family in families for word in judged(*family)]
        rows[name] = [sum(word != DASH for word in said), *(said.count(word) for word in words)]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["predictions", *words]).rename_axis("question")
    frame.loc["all"] = frame.sum()
    return frame


def _range(one: Prediction) -> str:
    ends = (f"{end:+.3g}".replace("-", "−").replace("+0", "0") if end else "0" for end in (one.low, one.high))
    low, high = (end.lstrip("+") for end in ends) if one.share else ends
    if not one.made:
        return DASH
    if not math.isfinite(one.low):
        return f"below {high}"
    return f"above {low}" if not math.isfinite(one.high) else f"{low} to {high}"
