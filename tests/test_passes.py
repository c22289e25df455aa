"""The order of the earlier report's runs, and on how many images they were tested."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from scipy import stats

from sesn_lib.analysis import mixed, passes, published, statistics

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")


def test_the_gaps_are_contiguous_in_the_order_of_the_script() -> None:
    """Of the list of eight the first two are high and six are low; of the list of five only its start is known."""
    eight = PUBLISHED.runs["mnist_ses_scalar_28p"]
    assert [error > 2.02 for error in eight] == [True, True, *[False] * 6]
    assert (2, 4) in passes.gaps_that_fit(eight, 2.02, "scaling"), "realizations 2 to 5 of the first pass"
    assert passes.gaps_that_fit(eight, 2.02, "realization") == []
    assert (5, 7) in passes.gaps_that_fit(PUBLISHED.runs["mnist_ses_vector_56"], 1.66, "scaling")
    with pytest.raises(ValueError, match="outer is 'model': it must be one of scaling, realization"):
        passes.gaps_that_fit(eight, 2.0, "model")


def test_the_likelihood_ratio_by_hand() -> None:
    model = mixed.fit(recorded().by_regime())
    found = passes.likelihood_ratio(PUBLISHED, model)
    name = "mnist_ses_scalar_28"
    runs = PUBLISHED.runs[name]
    table = recorded().by_regime()
    ours = np.mean(list(table[name, 1.0].values())) - np.mean(list(table[name, 0.5].values()))
    variance = model.seed**2 * 4 / 6
    step = np.mean(runs[:6]) - np.mean(runs[6:])
    # log LR of two normals about +-m with one variance: 2 m x / v.
    assert found[name] == pytest.approx(2 * ours * step / variance / math.log(10), rel=0.02)
    assert len(found) == 5
    assert min(found.values()) > 7
    swapped = published.Published(
        PUBLISHED.paper,
        PUBLISHED.report,
        {k: (*v[6:], *v[:6]) if len(v) == 12 else v for k, v in PUBLISHED.runs.items()},
        {},
    )
    assert passes.likelihood_ratio(swapped, model)[name] < -7, "negative control"
    assert passes.likelihood_ratio(PUBLISHED, mixed.fit({})) == {}

    # A list that lacks its last run has five in its second pass, whose mean is the less sure.
    eleven = published.Published(PUBLISHED.paper, PUBLISHED.report, {name: runs[:11]}, {})
    step = np.mean(runs[:6]) - np.mean(runs[6:11])
    by_hand = 2 * ours * step / (model.seed**2 * (3 / 6 + 1 / 5)) / math.log(10)
    assert passes.likelihood_ratio(eleven, model)[name] == pytest.approx(by_hand, rel=0.02)


def test_the_report_s_places_are_our_realizations() -> None:
    ours = passes.our_realizations(recorded().by_regime())
    assert ours is not None
    r, p = statistics.permuted_correlation(passes.by_place(PUBLISHED), ours)
    assert r == pytest.approx(stats.pearsonr(passes.by_place(PUBLISHED), ours).statistic)
    assert r == pytest.approx(0.87, abs=0.005)
    assert p == pytest.approx(5 / 720)
    assert statistics.permuted_correlation(passes.by_place(PUBLISHED), -ours)[1] > 0.9, "negative control"
    assert passes.our_realizations({}) is None


def test_the_number_of_test_images() -> None:
    """Exact, by fractions: k errors of n print as e if |100 k / n - e| <= 0.0005."""
    errors = [error for runs in PUBLISHED.runs.values() for error in runs]
    assert len(errors) == 83
    fits = published.fitting_counts(errors, range(1000, 75001))
    assert [n for n in fits if n <= 70000] == list(range(49990, 50011)), "MNIST has 70,000 images"
    assert [n for n in fits if n > 70000] == list(range(74984, 74991))

    def exactly(n: int) -> bool:
        exact = [Fraction(round(1000 * e), 1000) for e in errors]
        return all(abs(Fraction(100 * round(e * n / 100), n) - e) <= Fraction(1, 2000) for e in exact)

    assert [n for n in (*range(49980, 50021), *range(74980, 74995)) if exactly(n)] == fits


def test_two_cells_had_eleven_runs() -> None:
    """Their published mean and spread are those of the eleven known ones, cut after two decimals."""
    for model in ("mnist_ses_vector_28p", "mnist_ses_vector_56p"):
        runs, cell = PUBLISHED.runs[model], PUBLISHED.report[model]
        assert len(runs) == 11
        assert published.printed(float(np.mean(runs)), "cut") == cell.mean
        assert published.printed(float(np.std(runs, ddof=1)), "cut") == cell.std
