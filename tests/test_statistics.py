"""Statistics against textbook examples, hand-computed numbers and SciPy; what cannot be tested stays untested."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sesn_lib.analysis.statistics import (
    LEVEL,
    NOMINAL,
    Difference,
    Sample,
    contrast,
    detectable_difference,
    difference,
    holm,
    mean_interval,
    order_p,
    paired,
    permuted_correlation,
    variance_parts,
)

# Student (1908), "The probable error of a mean": hours of sleep gained by ten patients with two drugs. R's `sleep`.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def sample(values: list[float]) -> Sample:
    found = Sample.of(values)
    assert found is not None
    return found


def test_sample_by_hand() -> None:
    found = sample([2.0, 4.0, 9.0])
    assert (found.n, found.mean) == (3, 5.0)
    assert found.std == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert Sample.of([]) is None
    assert math.isnan(sample([1.5]).std)
    assert sample([0.1] * 3).std == 0.0  # rounding must not make a spread
    with pytest.raises(ValueError, match="finite"):
        Sample.of([1.0, math.nan])


def test_welch_on_students_sleep_data() -> None:
    """R: t.test(extra ~ group, sleep) gives t = -1.8608, df = 17.776, p-value = 0.07939, -3.3654832 0.2054832."""
    found = difference(sample(DRUG_1), sample(DRUG_2))
    assert found.method == "Welch"
    assert found.estimate == pytest.approx(-1.58)
    assert found.estimate / found.error == pytest.approx(-1.8608, abs=1e-4)
    assert found.df == pytest.approx(17.776, abs=1e-3)
    assert found.p == pytest.approx(0.07939, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-6)


def test_paired_on_students_sleep_data() -> None:
    """R: t.test(Pair(...)) gives t = -4.0621, df = 9, p-value = 0.002833, -2.4598858 -0.7001142."""
    found = paired([a - b for a, b in zip(DRUG_1, DRUG_2)])
    assert found.estimate / found.error == pytest.approx(-4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-6)


def test_welch_from_published_means_equals_scipy() -> None:
    a, b = Sample(6, 2.08, 0.09), Sample(5, 2.16, 0.12)
    expected = stats.ttest_ind_from_stats(a.mean, a.std, a.n, b.mean, b.std, b.n, equal_var=False)
    assert difference(a, b).p == pytest.approx(expected.pvalue, rel=1e-12)
    assert contrast([a, b], [1, -1]).p == pytest.approx(expected.pvalue, rel=1e-12)


def test_a_contrast_by_hand() -> None:
    """Weights 1/2, 1/2, -1 on s^2 / n = 0.04, 0.16, 0.09: the error is sqrt(0.01 + 0.04 + 0.09)."""
    samples = [Sample(4, 1.0, 0.4), Sample(9, 2.0, 1.2), Sample(16, 5.0, 1.2)]
    found = contrast(samples, [0.5, 0.5, -1.0])
    assert found.estimate == pytest.approx(-3.5)
    assert found.error == pytest.approx(math.sqrt(0.14))
    assert found.df == pytest.approx(0.14**2 / (0.01**2 / 3 + 0.04**2 / 8 + 0.09**2 / 15))
    assert found.p == pytest.approx(2 * stats.t.cdf(-3.5 / math.sqrt(0.14), found.df))


def test_one_run_is_held_against_a_prediction_interval() -> None:
    many = sample([2.0, 2.2, 2.1, 1.9, 2.3, 2.1])
    found = difference(sample([2.6]), many)
    expected = stats.ttest_ind([2.6], many.values, equal_var=True)
    assert found.method == "one run"
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    half = stats.t.ppf(0.975, 5) * many.std * math.sqrt(7 / 6)
    assert found.high - found.estimate == pytest.approx(half)


@pytest.mark.parametrize(
    ("found", "method"),
    [
        (difference(None, Sample(6, 2.0, 0.1)), "no data"),
        (difference(sample([2.0]), sample([2.1])), "one against one"),
        (difference(sample([2.0, 2.0]), sample([2.0, 2.0])), "no spread"),
        (paired([]), "no data"),
        (paired([0.1]), "one pair"),
        (paired([0.1, 0.1, 0.1]), "no spread"),
        (contrast([], []), "no data"),
        (contrast([sample([1.0]), sample([1.0, 2.0])], [1, -1]), "one run in a cell"),
    ],
)
def test_what_cannot_be_tested_says_why_and_has_no_p(found: Difference, method: str) -> None:
    assert found.method == method
    assert not found.tested
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.equivalent(0.1))


def test_mean_interval_by_hand() -> None:
    """n = 2: the quantile of t with one degree of freedom is 12.7062, s / sqrt(2) is 0.5."""
    low, high = mean_interval(sample([1.0, 2.0]))
    assert (low, high) == pytest.approx((1.5 - 12.7062 * 0.5, 1.5 + 12.7062 * 0.5), abs=1e-4)
    assert all(math.isnan(end) for end in mean_interval(sample([1.0])))


def test_equivalence_is_the_90_percent_interval_inside_the_margin() -> None:
    a, b = Sample(12, 2.00, 0.05), Sample(12, 2.01, 0.05)
    found = difference(a, b)
    just = abs(found.estimate) + stats.t.ppf(0.95, found.df) * found.error  # the farther end
    assert difference(a, b).equivalent(just * 1.001) < 0.05 < difference(a, b).equivalent(just * 0.999)
    assert difference(a, Sample(12, 2.3, 0.05)).equivalent(0.1) > 0.99  # negative control
    assert math.isnan(difference(sample([2.0]), sample([2.1])).equivalent(0.1))
    with pytest.raises(ValueError, match="margin is 0: it must be a finite number above 0"):
        difference(a, b).equivalent(0)


def test_holm_by_hand() -> None:
    """0.01 x 4; 0.02 x 3; 0.03 x 2 = 0.06, not below its predecessor; 0.04 x 1 lifted to 0.06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    draws = np.random.default_rng(0).random(12) ** 3
    assert holm(list(draws)) == pytest.approx(list(multipletests(draws, method="holm")[1]), rel=1e-12)
    assert holm([0.01, math.nan], family=10)[0] == pytest.approx(0.1)
    assert math.isnan(holm([0.01, math.nan])[1])
    assert len(holm([math.nan, math.nan])) == 2
    with pytest.raises(ValueError, match="family of 1 cannot hold 2"):
        holm([0.1, 0.2], family=1)


def test_variance_parts_by_hand() -> None:
    within, between = variance_parts([[1.0, 3.0], [5.0, 7.0]])
    assert (within, between) == (4.0, 16.0)
    assert within + between == pytest.approx(3 * np.var([1, 3, 5, 7], ddof=1))


def test_order_p_by_hand() -> None:
    assert order_p([4.0, 3.0, 2.0, 1.0], 2) == pytest.approx(1 / 6)
    assert order_p([1.0, 2.0, 3.0, 4.0], 2) == 1.0
    assert order_p([1.0, 1.0, 1.0, 1.0], 2) == 1.0
    with pytest.raises(ValueError, match="after 4"):
        order_p([1.0, 2.0, 3.0, 4.0], 4)


def test_permuted_correlation_against_the_obvious_loop() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 5))
    r = [float(np.corrcoef(a, order)[0, 1]) for order in permutations(b)]
    found, p = permuted_correlation(a, b)
    assert (found, p) == (pytest.approx(r[0]), pytest.approx(np.mean([x >= r[0] - 1e-9 for x in r])))
    both = permuted_correlation(a, b, two_sided=True)[1]
    assert both == pytest.approx(np.mean([abs(x) >= abs(r[0]) - 1e-9 for x in r]))
    assert permuted_correlation(range(5), range(5), two_sided=True)[1] == pytest.approx(2 / 120)
    drawn = permuted_correlation(range(5), range(5), two_sided=True, draws=100)[1]
    assert drawn == pytest.approx(2 / 120, abs=0.03)
    assert all(math.isnan(one) for one in permuted_correlation([1, 1, 1], [1, 2, 3]))
    with pytest.raises(ValueError, match="2 values against 3: there must be as many on both sides"):
        permuted_correlation([1, 2], [1, 2, 3])


def test_no_order_is_so_good_that_p_is_nil() -> None:
    """The order that was found is one of those that might have been."""
    _, p = permuted_correlation(range(9), range(9), draws=99, two_sided=True)
    assert p >= 1 / 100
    assert (100 * p) == pytest.approx(round(100 * p))


def test_detectable_difference_equals_cohens_tables() -> None:
    """Cohen (1988), table 2.4.1: two-sided 0.05, power 0.80, d = 0.50 needs 64 in each group."""
    assert detectable_difference(1.0, 64) == pytest.approx(0.50, abs=0.005)
    assert math.isnan(detectable_difference(0.1, 1))


def test_detectable_difference_of_pairs_has_the_power_that_it_says() -> None:
    """By simulation: 20,000 times six pairs."""
    draws = np.random.default_rng(0)
    for level in (0.05, 0.05 / 24):
        effect = detectable_difference(1.0, 6, level=level, pairs=True)
        p = stats.ttest_1samp(draws.normal(effect, 1, (20_000, 6)), 0, axis=1).pvalue
        assert np.mean(p < level) == pytest.approx(0.8, abs=0.01)


def test_the_level_is_the_usual_one() -> None:
    assert (NOMINAL, LEVEL) == (0.05, 0.95)
    found = paired([0.1, 0.2, 0.3, 0.25])
    assert found.high - found.estimate == pytest.approx(stats.t.ppf(0.975, 3) * found.error)


def test_no_order_drawn_at_random_is_so_good_that_p_is_nil() -> None:
    """The order that was found is one of those that might have been."""
    _, p = permuted_correlation(range(9), range(9), draws=99)
    assert p >= 1 / 100
    assert 100 * p == pytest.approx(round(100 * p))
