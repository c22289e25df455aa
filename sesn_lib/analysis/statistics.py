"""The statistics of the report: few runs, small differences, published means without their runs.

All tests are two-sided unless said otherwise. What cannot be tested (too few values, no spread) gives NaN and a method
that says why, never an exception and never a p-value made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.power import TTestIndPower

from sesn_lib.checks import check_number, check_whole, is_number, is_whole

NOMINAL = 0.05
"""Level of the tests."""
LEVEL = 0.95
"""Confidence of the intervals, 1 - NOMINAL."""
LEAST = 3
"""Fewer runs on a side give no verdict, whatever their p: two values that happen to agree show no spread."""
NAN = math.nan


@dataclass(frozen=True)
class Sample:
    """n values by their mean and sample standard deviation (divisor n - 1; NaN for n = 1); the values if known.

    Raises:
        ValueError: no value, a mean that is no number, a standard deviation below zero.
    """

    n: int
    mean: float
    std: float
    values: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.n, 1):
            raise ValueError(f"a sample has at least one value, not {self.n!r}")
        check_number(mean=self.mean)
        if self.n > 1 and not (is_number(self.std) and self.std >= 0):
            raise ValueError(f"a standard deviation is a number and not negative: {self.std!r}")

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample | None:
        """The sample of some values; None for no values."""
        if not len(values):
            return None
        array = _finite(values)
        # Equal values have no spread, to the last bit: rounding must not make one.
        std = NAN if len(array) == 1 else 0.0 if np.ptp(array) == 0 else float(array.std(ddof=1))
        return cls(len(array), float(array.mean()), std, tuple(float(value) for value in array))

    @property
    def squared_error(self) -> float:
        """s^2 / n, the squared standard error of the mean; NaN for n = 1."""
        return self.std**2 / self.n


@dataclass(frozen=True)
class Difference:
    """An estimated difference with its confidence interval.

    Attributes:
        estimate: of the difference, first minus second; NaN if there is none.
        low, high: ends of the confidence interval at `LEVEL`.
        p: of the test that the difference is zero.
        error, df: standard error and degrees of freedom of Student's t.
        n: values on either side, or pairs twice.
        method: the test by name, or why there is none.
    """

    estimate: float
    low: float = NAN
    high: float = NAN
    p: float = NAN
    error: float = NAN
    df: float = NAN
    n: tuple[int, int] = (0, 0)
    method: str = "no data"

    @property
    def tested(self) -> bool:
        """Whether there is a p-value."""
        return math.isfinite(self.p)

    def equivalent(self, margin: float) -> float:
        """p of two one-sided t-tests (Schuirmann 1987) that the difference lies inside -margin..margin."""
        check_number(0, margin=margin)
        if not math.isfinite(self.error):
            return NAN
        above = stats.t.sf((self.estimate + margin) / self.error, self.df)
        below = stats.t.cdf((self.estimate - margin) / self.error, self.df)
        return float(max(above, below))


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """As float64. Raises ValueError for what is no finite number."""
    if not all(is_number(value) for value in values):
        raise ValueError(f"values must be finite numbers: {list(values)}")
    return np.asarray(values, dtype=np.float64)


def student(estimate: float, error: float, df: float, n: tuple[int, int], method: str) -> Difference:
    """The test by name that an estimate with a standard error is zero; without spread there is none."""
    if not error > 0:
        return Difference(estimate, n=n, method="no spread")
    half = stats.t.ppf(0.5 + LEVEL / 2, df) * error
    p = float(2 * stats.t.sf(abs(estimate) / error, df))
    return Difference(estimate, float(estimate - half), float(estimate + half), p, error, df, n, method)


def _welch_df(parts: Sequence[tuple[float, int]]) -> float:
    """Welch-Satterthwaite degrees of freedom of a sum of independent means: parts are (c^2 s^2 / n, n)."""
    total = sum(part for part, _ in parts)
    below = sum(part**2 / (n - 1) for part, n in parts)
    return total**2 / below if below else NAN


def difference(a: Sample | None, b: Sample | None) -> Difference:
    """Mean of a minus mean of b, two independent samples.

    Two or more values on both sides: Welch's t-test. A single value against n: Student's t with the spread of the n,
    that is, the prediction interval `m +- t s sqrt(1 + 1/n)`; it assumes that both sides spread alike.
    """
    if a is None or b is None:
        return Difference(NAN)
    estimate, n = a.mean - b.mean, (a.n, b.n)
    if a.n > 1 and b.n > 1:
        error = math.sqrt(a.squared_error + b.squared_error)
        df = _welch_df([(a.squared_error, a.n), (b.squared_error, b.n)])
        return student(estimate, error, df, n, "Welch")
    if max(n) > 1:
        many = a if a.n > 1 else b
        return student(estimate, many.std * math.sqrt(1 + 1 / many.n), many.n - 1, n, "one run")
    return Difference(estimate, n=n, method="one against one")


def contrast(samples: Sequence[Sample], weights: Sequence[float]) -> Difference:
    """The weighted sum of independent means, with Satterthwaite's degrees of freedom; two weights +1, -1 are Welch's.

    Raises:
        ValueError: not one weight per sample.
    """
    if len(samples) != len(weights):
        raise ValueError(f"{len(samples)} samples and {len(weights)} weights: there must be one for each")
    _finite(weights)
    if not samples:
        return Difference(NAN)
    estimate = float(sum(w * s.mean for w, s in zip(weights, samples)))
    n = (min(s.n for s in samples),) * 2
    if n[0] < 2:
        return Difference(estimate, n=n, method="one run in a cell")
    parts = [(w**2 * s.squared_error, s.n) for w, s in zip(weights, samples)]
    return student(estimate, math.sqrt(sum(p for p, _ in parts)), _welch_df(parts), n, "Welch contrast")


def paired(differences: Sequence[float]) -> Difference:
    """Student's t-test on differences of pairs."""
    sample = Sample.of(differences)
    if sample is None:
        return Difference(NAN)
    n = (sample.n, sample.n)
    if sample.n == 1:
        return Difference(sample.mean, n=n, method="one pair")
    return student(sample.mean, math.sqrt(sample.squared_error), sample.n - 1, n, "paired t")


def over_realizations(*terms: tuple[float, Mapping[int, float]]) -> Difference:
    """Student's paired t on a weighted sum of errors, (weight, realization -> error) each, where all have a run."""
    common = sorted(set.intersection(*(set(errors) for _, errors in terms)))
    return paired([sum(weight * errors[r] for weight, errors in terms) for r in common])


def mean_interval(sample: Sample) -> tuple[float, float]:
    """Student's confidence interval of a mean; NaN for one value or no spread."""
    found = contrast([sample], [1.0])
    return found.low, found.high


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """Holm's step-down correction; NaN stays NaN.

    Arguments:
        family: number of tests that are planned, at least the number of p-values. Tests that cannot be done yet count
            as p = 1, so that a verdict does not get harder to reach as runs arrive. None: those done.

    Raises:
        ValueError: a p outside of 0 to 1; a family smaller than what was tested.
    """
    for p in p_values:
        if not (math.isnan(p) or 0 <= p <= 1):
            raise ValueError(f"p is {p!r}: it must lie between 0 and 1, or be NaN where nothing was tested")
    known = [p for p in p_values if math.isfinite(p)]
    if family is not None:
        check_whole(0, family=family)
    size = len(known) if family is None else family
    if size < len(known):
        raise ValueError(f"a family of {size} cannot hold {len(known)} tests")
    if not known:
        return [NAN] * len(p_values)
    # Not statsmodels' multipletests: it collects garbage, which takes longer than all of a notebook's tests.
    order = np.argsort(known, kind="stable")
    stepped = np.maximum.accumulate(np.minimum((size - np.arange(len(known))) * np.asarray(known)[order], 1.0))
    corrected = dict(zip(order.tolist(), stepped.tolist()))
    places = iter(range(len(known)))
    return [corrected[next(places)] if math.isfinite(p) else NAN for p in p_values]


def variance_parts(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """(within, between) sums of squares; they add up to (n - 1) s^2 of all values pooled.

    Raises:
        ValueError: no values at all.
    """
    arrays = [_finite(g) for g in groups if len(g)]
    if not arrays:
        raise ValueError(f"groups are {list(groups)}: at least one value is needed")
    everything = np.concatenate(arrays)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in arrays)
    between = sum(len(g) * float((g.mean() - everything.mean()) ** 2) for g in arrays)
    return within, between


def order_p(values: Sequence[float], first: int) -> float:
    """How often chance alone puts so large a mean before so small a one: the exact one-sided permutation test.

    The share, among all ways to choose `first` of the values, of those whose mean is at least that of the first ones.

    Raises:
        ValueError: nothing on one of the two sides.
    """
    _finite(values)
    if not is_whole(first, 1, len(values) - 1):
        raise ValueError(f"cannot split {len(values)} values after {first!r}")
    total = sum(values[:first]) - 1e-9
    choices = [sum(chosen) >= total for chosen in combinations(values, first)]
    return sum(choices) / len(choices)


def permuted_correlation(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray,
    *, two_sided: bool = False, draws: int = 10_000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """Pearson's r, and the share of orders of b that correlate as well or better (`two_sided`: either way).

    Of ranks it is Spearman's. The test is exact over all orders if these are at most `draws`; else over so many drawn
    at random, beside the order that was found. NaN for both where one side has no spread.

    Raises:
        ValueError: different numbers of values, one that is no finite number.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: there must be as many on both sides")
    first, second = (_finite(values) - np.mean(values) for values in (a, b))
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return NAN, NAN
    size = len(second)
    exact = math.factorial(size) <= draws
    generator = np.random.default_rng(seed)
    orders = permutations(range(size)) if exact else (generator.permutation(size) for _ in range(draws))
    products = second[np.array(list(orders))] @ first / (np.linalg.norm(first) * np.linalg.norm(second))
    found = float(np.corrcoef(first, second)[0, 1])
    reached = np.abs(products) >= abs(found) - 1e-12 if two_sided else products >= found - 1e-12
    return found, float(reached.mean()) if exact else float((reached.sum() + 1) / (draws + 1))


def detectable_difference(
    std: float, n: int, *, power: float = 0.8, level: float = NOMINAL, pairs: bool = False
) -> float:
    """The true difference between two samples of n that a two-sided t-test finds with probability `power`.

    `pairs`: of n pairs, `std` that of their differences.
    """
    check_number(std=std, least=0)
    check_number(0, below=1, power=power)
    check_number(0, below=1, level=level)
    check_whole(0, n=n)
    if n < 2:
        return NAN
    if pairs:  # not statsmodels' TTestPower: SciPy's far left tail of the noncentral t, which it adds, is wrong
        bound, most = stats.t.isf(level / 2, n - 1), 1.0
        while stats.nct.sf(bound, n - 1, most * math.sqrt(n)) < power:
            most *= 2
        found = optimize.brentq(lambda d: stats.nct.sf(bound, n - 1, d * math.sqrt(n)) - power, 0, most)
        return std * float(found)
    return std * float(TTestIndPower().solve_power(nobs1=n, alpha=level, power=power, ratio=1.0))
