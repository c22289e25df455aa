"""What is done with estimated effects: one held against another, corrected for looks, spread over clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import optimize, special

from sesn_lib.analysis.statistics import LEVEL, NAN, Difference, Sample, contrast, paired, student
from sesn_lib.checks import check_number, check_whole


def minus(a: Difference, b: Difference) -> Difference:
    """a - b of two independent estimates, each with its own uncertainty; Satterthwaite's degrees of freedom.

    Without a standard error on either side there is an estimate and no test.
    """
    estimate, n = a.estimate - b.estimate, (a.n[0], b.n[0])
    parts = [(side.error**2, side.df) for side in (a, b)]
    if not all(math.isfinite(part) and df > 0 for part, df in parts):
        return Difference(estimate, n=n, method="no spread")
    return student(estimate, math.sqrt(parts[0][0] + parts[1][0]), satterthwaite(parts), n, "Satterthwaite")


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances (variance, its degrees of freedom)."""
    return sum(part for part, _ in parts) ** 2 / sum(part**2 / df for part, df in parts)


def ratio(a: Difference, b: Difference) -> Difference:
    """a / b of two independent estimates with Fieller's interval (1954).

    That is all r for which the test that a - r b is zero does not reject. Where b may be zero the interval has no end
    on one side or on both (infinity). There is no p: what a ratio is tested against is the caller's question.
    """
    n = (a.n[0], b.n[0])
    if not (math.isfinite(a.estimate) and math.isfinite(b.estimate)) or b.estimate == 0:
        return Difference(NAN, n=n)
    centre = a.estimate / b.estimate
    if not (a.error > 0 and b.error > 0 and a.df > 0 and b.df > 0):
        return Difference(centre, n=n, method="no spread")

    def beyond(r: float) -> float:
        """Positive where r is rejected."""
        parts = [(a.error**2, a.df), ((r * b.error) ** 2, b.df)]
        bound = special.stdtrit(satterthwaite(parts), 0.5 + LEVEL / 2) * math.sqrt(sum(part for part, _ in parts))
        return float(abs(a.estimate - r * b.estimate) - bound)

    ends = []
    for sign in (-1, 1):
        inner, step = centre, a.error / abs(b.estimate)
        while beyond(inner + sign * step) < 0 and step < 1e6:
            inner, step = inner + sign * step, 2 * step
        bounded = step < 1e6
        ends.append(float(optimize.brentq(beyond, inner, inner + sign * step)) if bounded else sign * math.inf)
    return Difference(centre, ends[0], ends[1], n=n, method="Fieller")


def charged(p: float, looks: int) -> float:
    """p as it counts at the k-th look at growing data: k (k + 1) p, at most 1; NaN stays NaN. 0: data that do not grow.

    The k-th look is allowed 1 / (k (k + 1)) of the level. That adds up to the whole of it however often one looks and
    for whatever reason one stops (alpha spending; Bonferroni, so also for looks that depend on one another).
    """
    check_whole(0, looks=looks)
    return min(1.0, max(looks * (looks + 1), 1) * p) if math.isfinite(p) else NAN


def clustered(values: Mapping[int, Sequence[float]]) -> Difference:
    """Student's t over the means of clusters, here realizations: what they share is in every value of a cluster."""
    tested = paired([float(np.mean(group)) for group in values.values() if len(group)])
    return replace(tested, method="clustered t") if tested.method == "paired t" else tested


def fitted_mean(samples: Sequence[Sample], correlation: float, *, shared: bool = False) -> Difference:
    """Mean over cells whose runs share realizations, from means and spreads and the `correlation` of two such runs.

    Its variance is (1 / K^2) sum_ij rho_ij s_i s_j / n with rho_ii = 1, and n - 1 degrees of freedom, n the fewest runs
    of a cell. Correlation 0 would be the contrast of independent cells. `shared`: what the realizations do is left out,
    for a difference in which it cancels; (1 / K^2) sum_i (1 - rho) s_i^2 / n with (K - 1) (n - 1) degrees of freedom.
    """
    check_number(least=0, most=1, correlation=correlation)
    if not samples:
        return Difference(NAN)
    estimate, least = float(np.mean([s.mean for s in samples])), min(s.n for s in samples)
    if least < 2:
        return contrast(samples, [1 / len(samples)] * len(samples))
    errors = np.array([s.std / math.sqrt(s.n) for s in samples])
    variance, df = (1 - correlation) * (errors**2).sum(), max(len(samples) - 1, 1) * (least - 1)
    if not shared:
        variance, df = variance + correlation * errors.sum() ** 2, least - 1
    return student(estimate, math.sqrt(variance) / len(samples), df, (least, least), "clustered")


def difference_of_digits(first: float, second: float, discordant: float | None = None, images: int = 50000) -> float:
    """How far the digits drawn move the difference of two errors, both in percent and on the same digits: one sigma.

    With d the share of digits that only one of the two reads, it is sqrt((d - (e1 - e2)^2) / N). Where it is not
    known which digits were right, d is at most e1 + e2.
    """
    check_number(first=first, second=second)
    check_whole(images=images)
    most = first + second if discordant is None else discordant
    return 100 * math.sqrt(max(most / 100 - ((first - second) / 100) ** 2, 0.0) / images)
