"""Effects against one another: by hand, by SciPy, and where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sesn_lib.analysis import effects
from sesn_lib.analysis.statistics import Difference, Sample, paired


def known(estimate: float, error: float, df: float = 1e9) -> Difference:
    return Difference(estimate, error=error, df=df, n=(6, 6))


def test_minus_is_welch_s_test_on_means() -> None:
    """Two means as two estimates: R's t.test and SciPy's have the same t, df and p."""
    a, b = np.array([2.0, 2.2, 2.1, 1.9]), np.array([1.7, 1.9, 1.65, 1.8, 1.75])
    found = effects.minus(*(known(x.mean(), x.std(ddof=1) / math.sqrt(len(x)), len(x) - 1) for x in (a, b)))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert (found.p, found.df) == pytest.approx((expected.pvalue, expected.df))
    low, high = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))
    untested = effects.minus(known(1, 0.1), Difference(2.0, n=(3, 3)))
    assert (untested.tested, untested.n) == (False, (6, 3))


@pytest.mark.parametrize(("a", "b"), [((-0.4, 0.04), (-0.5, 0.05)), ((0.1, 0.05), (-0.5, 0.05))])
def test_fieller_by_its_quadratic(a: tuple[float, float], b: tuple[float, float]) -> None:
    """(a - r b)^2 = z^2 (sa^2 + r^2 sb^2), for many degrees of freedom."""
    found = effects.ratio(known(*a), known(*b))
    z = stats.norm.ppf(0.975)
    roots = np.roots([b[0] ** 2 - (z * b[1]) ** 2, -2 * a[0] * b[0], a[0] ** 2 - (z * a[1]) ** 2])
    assert found.estimate == pytest.approx(a[0] / b[0])
    assert (found.low, found.high) == pytest.approx(tuple(sorted(roots)), abs=1e-6)


def test_a_ratio_to_what_may_be_nothing_has_no_end() -> None:
    found = effects.ratio(known(-0.4, 0.04), known(-0.05, 0.05))
    assert math.isinf(found.high)
    assert 0 < found.low < 8
    both = effects.ratio(known(-0.02, 0.04), known(-0.05, 0.05))
    assert (both.low, both.high) == (-math.inf, math.inf)
    assert math.isnan(effects.ratio(known(1, 0.1), known(0, 0.1)).estimate)
    assert effects.ratio(known(1, 0.1), Difference(2.0)).method == "no spread"


def test_looks_are_charged_and_never_add_up_to_more_than_the_level() -> None:
    assert [effects.charged(0.01, k) for k in range(4)] == pytest.approx([0.01, 0.02, 0.06, 0.12])
    assert effects.charged(0.5, 3) == 1.0
    assert math.isnan(effects.charged(math.nan, 3))
    assert sum(1 / (k * (k + 1)) for k in range(1, 1000)) < 1
    with pytest.raises(ValueError, match="looks is -1"):
        effects.charged(0.5, -1)


def test_clusters_by_hand() -> None:
    found = effects.clustered({0: [1.0, 3.0], 1: [4.0], 2: [1.0, 2.0, 3.0], 3: []})
    assert (found.estimate, found.n, found.method) == (pytest.approx(8 / 3), (3, 3), "clustered t")
    assert found.p == pytest.approx(stats.ttest_1samp([2.0, 4.0, 2.0], 0).pvalue)
    assert effects.clustered({}).method == "no data"
    assert effects.clustered({0: [1.0, 2.0]}).method == "one pair"


def test_the_mean_of_cells_that_share_realizations() -> None:
    """Fully correlated cells of one spread are one cell; uncorrelated ones are as many as there are."""
    cells = [Sample(6, 2.0, 0.12)] * 4
    one = paired([2.0 + 0.12 * z for z in stats.zscore([1, 2, 3, 4, 5, 9.0], ddof=1)])
    assert effects.fitted_mean(cells, 1.0).error == pytest.approx(one.error)
    assert effects.fitted_mean(cells, 0.0).error == pytest.approx(one.error / 2)
    alone = effects.fitted_mean(cells, 0.5, shared=True)
    assert alone.error == pytest.approx(math.sqrt(0.5) * effects.fitted_mean(cells, 0.0).error)
    assert alone.df == (len(cells) - 1) * (cells[0].n - 1)
    assert effects.fitted_mean([], 0.5).method == "no data"
    assert effects.fitted_mean([Sample(1, 2.0, math.nan)], 0.5).method == "one run in a cell"
    with pytest.raises(ValueError, match=r"correlation is 1\.2"):
        effects.fitted_mean(cells, 1.2)


def test_the_digits_of_a_difference_by_hand() -> None:
    """Of 100 digits 2 are misread by both and 8 by the first alone: a mean of 0.08, a variance of 0.08 - 0.08^2."""
    assert effects.difference_of_digits(10.0, 2.0, 8.0, images=100) == pytest.approx(100 * (0.0736 / 100) ** 0.5)


def test_how_far_the_digits_move_a_difference() -> None:
    """Against draws of 50,000 digits of which each network alone reads some."""
    draws = np.random.default_rng(0)
    only_a, only_b, both = 0.008, 0.011, 0.014  # wrong with a alone, with b alone, with both
    counts = draws.multinomial(50000, [only_a, only_b, both, 1 - only_a - only_b - both], 4000)
    seen = 100 * np.std((counts[:, 0] - counts[:, 1]) / 50000)
    errors = 100 * (only_a + both), 100 * (only_b + both)
    assert effects.difference_of_digits(*errors, discordant=100 * (only_a + only_b)) == pytest.approx(seen, rel=0.05)
    assert effects.difference_of_digits(*errors) > seen, "a bound where it is not known which digits were right"
