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
from sesn_lib.analysis.statistics import Difference

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
    steps = np.array(runs[:6]) - np.array(runs[6:])
    spread = math.hypot(steps.std(ddof=1) / math.sqrt(6), model.contrast({(name, 1.0): 1.0, (name, 0.5): -1.0}).error)
    # Student's t with five degrees of freedom: (1 + t^2 / 5)^-3.
    log = 3 * np.log10([1 + ((steps.mean() + sign * ours) / spread) ** 2 / 5 for sign in (1, -1)])
    assert found[name] == pytest.approx(log[0] - log[1], rel=1e-3)
    assert len(found) == 5
    assert 2 < min(found.values()) < max(found.values()) < 4, "hundreds to thousands to one"
    swapped = published.Published(
        PUBLISHED.paper,
        PUBLISHED.report,
        {k: (*v[6:], *v[:6]) if len(v) == 12 else v for k, v in PUBLISHED.runs.items()},
        {},
    )
    assert passes.likelihood_ratio(swapped, model)[name] < -2, "negative control"
    assert passes.likelihood_ratio(PUBLISHED, mixed.fit({})) == {}

    # A list that lacks its last run has five pairs.
    eleven = published.Published(PUBLISHED.paper, PUBLISHED.report, {name: runs[:11]}, {})
    pair = model.contrast({(name, 1.0): 1.0, (name, 0.5): -1.0})
    assert passes.likelihood_ratio(eleven, model)[name] == pytest.approx(passes.log_ratio(steps[:5].tolist(), pair))


@pytest.mark.parametrize("effect", [0.05, 0.15, 0.3])
def test_a_likelihood_ratio_of_k_misleads_less_than_once_in_k(effect: float) -> None:
    """On simulated lists whose *first* pass is the augmented one; a normal tail would mislead more often."""
    draws, ours = np.random.default_rng(0), Difference(effect, error=0.02, df=77)
    logs = np.array([passes.log_ratio(draws.normal(-effect, 0.1, 6).tolist(), ours) for _ in range(2000)])
    for k in (10, 100):
        assert np.mean(logs > math.log10(k)) <= 1 / k
    right = [passes.log_ratio(draws.normal(effect, 0.1, 6).tolist(), ours) for _ in range(200)]
    assert np.median(right) > 0.2, "and it does tell"


def test_the_report_s_places_are_our_realizations() -> None:
    ours = passes.our_realizations(recorded().by_regime())
    assert ours is not None
    r, p = statistics.permuted_correlation(passes.by_place(PUBLISHED), ours)
    assert r == pytest.approx(stats.pearsonr(passes.by_place(PUBLISHED), ours).statistic)
    assert r == pytest.approx(0.87, abs=0.005)
    assert p == pytest.approx(5 / 720)
    assert statistics.permuted_correlation(passes.by_place(PUBLISHED), -ours)[1] > 0.9, "negative control"
    assert passes.our_realizations({}) is None
    sesn = passes.our_realizations({cell: runs for cell, runs in recorded().by_regime().items() if "ses" in cell[0]})
    assert sesn is not None
    r, p = statistics.permuted_correlation(passes.by_place(PUBLISHED), sesn)
    assert r == pytest.approx(0.80, abs=0.005), "like for like: the report trained no CNN"
    assert p == pytest.approx(0.003, abs=5e-4)


def test_which_realization_is_easiest_by_source() -> None:
    """The first one in the report's lists and in all of our CNN's conditions, and in 2 of 12 of our SESN's."""
    cells = {kind: [[by_r[r] for r in sorted(by_r)] for cell, by_r in recorded().by_regime().items() if kind in cell[0]]
             for kind in ("cnn", "ses")}  # fmt: skip
    report, cnn, sesn = map(passes.place_ranks, (passes.full_lists(PUBLISHED).values(), *cells.values()))
    assert [places.shape for places in (report, cnn, sesn)] == [(6, 6), (4, 6), (12, 6)]
    assert [int((places[:, 0] == 1).sum()) for places in (report, cnn, sesn)] == [5, 4, 2]
    means = [places.mean(axis=0) for places in (report, cnn, sesn)]
    assert [int(mean.argmin()) for mean in means] == [0, 0, 3]
    assert [float(mean.min()) for mean in means] == pytest.approx([1.17, 1.00, 2.29], abs=0.005)
    assert means[2][0] == pytest.approx(2.46, abs=0.005)
    assert passes.place_ranks([[2.0, 1.0, 3.0, 6.0, 5.0, 4.0, 0.0], [1.0, 2.0]]).tolist() == [[2, 1, 3, 6, 5, 4]]
    assert passes.place_ranks([]).shape == (0, 6)


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
