"""The mixed model against closed forms, against REML written out, and with runs missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from recorded import recorded
from scipy import linalg, optimize, stats

from sesn_lib.analysis import mixed
from sesn_lib.analysis.published import REGIME

Runs = dict[Any, dict[int, float]]


def simulated(seed: int, cells: int = 5, *, missing: float = 0.0, realization: float = 0.1) -> Runs:
    draws = np.random.default_rng(seed)
    common = draws.normal(0, realization, 6)
    return {
        c: {r: float(2 + c / 10 + common[r] + draws.normal(0, 0.07)) for r in range(6) if draws.random() >= missing}
        for c in range(cells)
    }


def reml(runs: Runs) -> tuple[float, float, dict[Any, float], np.ndarray]:
    """Written out: variance of realizations and of seeds, means, their covariance; Patterson and Thompson (1971)."""
    places = [(list(runs).index(c), r, y) for c, found in runs.items() for r, y in found.items()]
    cell, group, y = (np.array(column) for column in zip(*places))
    x, z = np.eye(len(runs))[cell.astype(int)], (group[:, None] == np.unique(group)).astype(float)

    def at(log_ratio: float) -> tuple[float, float, np.ndarray, np.ndarray]:
        v = np.eye(len(y)) + math.exp(log_ratio) * z @ z.T
        information = x.T @ np.linalg.solve(v, x)
        means = np.linalg.solve(information, x.T @ np.linalg.solve(v, y))
        left = y - x @ means
        seed = left @ np.linalg.solve(v, left) / (len(y) - x.shape[1])
        logs = (len(y) - x.shape[1]) * math.log(seed) + np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1]
        return logs, seed, means, seed * np.linalg.inv(information)

    best = optimize.minimize_scalar(lambda t: at(t)[0], bounds=(-10, 8), method="bounded", options={"xatol": 1e-9}).x
    _, seed, means, covariance = at(best)
    return math.exp(best) * seed, seed, dict(zip(runs, means)), covariance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_against_reml_written_out(seed: int, missing: float) -> None:
    runs = simulated(seed, missing=missing, realization=0.2)
    found = mixed.fit(runs)
    between, within, means, covariance = reml(runs)
    assert found.method == "mixed model"
    assert (found.realization**2, found.seed**2) == pytest.approx((between, within), rel=1e-2)
    assert found.means == pytest.approx(means, abs=1e-3)
    contrast = found.contrast({0: 1, 1: -0.5, 2: -0.5})
    weights = np.array([1, -0.5, -0.5, 0, 0])
    assert contrast.error == pytest.approx(math.sqrt(weights @ covariance @ weights), rel=1e-2)


def test_complete_data_have_closed_forms() -> None:
    """Two-way analysis of variance: seed^2 = MS(residual), realization^2 = (MS(rows) - MS(residual)) / cells."""
    runs = simulated(7)
    table = np.array([[runs[c][r] for r in range(6)] for c in runs])
    rows, columns = table.mean(0), table.mean(1)
    residual = ((table - rows - columns[:, None] + table.mean()) ** 2).sum() / (5 * 4)
    between = (5 * ((rows - table.mean()) ** 2).sum() / 5 - residual) / 5
    found = mixed.fit(runs)
    assert (found.seed**2, found.realization**2) == pytest.approx((residual, between), rel=1e-3)
    contrast = found.contrast({0: 1, 1: -1})
    assert contrast.df == found.df == 20
    assert contrast.estimate == pytest.approx(columns[0] - columns[1], abs=1e-6)
    t = (columns[0] - columns[1]) / math.sqrt(residual * 2 / 6)
    assert contrast.p == pytest.approx(2 * stats.t.sf(abs(t), 20), rel=5e-3)


def test_without_a_realization_effect_the_realizations_are_fixed() -> None:
    runs = simulated(3, missing=0.3, realization=0.0)
    found = mixed.fit(runs)
    assert found.method == "fixed realizations"
    assert math.isnan(found.realization)
    assert found.correlation == 0
    places = [(c, r, y) for c, some in runs.items() for r, y in some.items()]
    design = np.array([[c == k for k in range(5)] + [r == k for k in range(1, 6)] for c, r, _ in places], float)
    y = np.array([value for *_, value in places])
    means, (rss,), rank, _ = np.linalg.lstsq(design, y, rcond=None)
    contrast = found.contrast({0: 1, 1: -1})
    weights = np.array([1, -1, *[0] * 8])
    error = math.sqrt(rss / (len(y) - rank) * weights @ np.linalg.inv(design.T @ design) @ weights)
    assert (contrast.estimate, contrast.error) == pytest.approx((means[0] - means[1], error), rel=1e-9)
    assert contrast.df == len(y) - rank


def test_a_cell_without_a_run_is_none() -> None:
    runs = simulated(3)
    with_none = mixed.fit({"none": {}, **runs})
    assert with_none.runs == runs
    assert with_none.contrast({0: 1, 1: -1}) == mixed.fit(runs).contrast({0: 1, 1: -1})


@pytest.mark.parametrize("seed", range(6))
def test_near_no_realization_effect_the_optimum_is_not_trusted(seed: int) -> None:
    """Below 0.15 of the seed's variance, by REML written out."""
    runs = simulated(seed, realization=0.02)
    between, within, *_ = reml(runs)
    assert (mixed.fit(runs).method == "mixed model") == (between > 0.15 * within)


def test_a_fit_that_does_not_converge_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent wrong number: what REML cannot say comes from comparisons within realizations."""
    import statsmodels.api as sm

    runs = simulated(1)
    sound = mixed.fit(runs).contrast({0: 1, 1: -1})
    real = sm.MixedLM.fit

    def unfinished(self: Any, **options: Any) -> Any:
        found = real(self, **options)
        found._results.converged = False
        return found

    def broken(self: Any, **options: Any) -> Any:
        raise np.linalg.LinAlgError("singular")

    for wrong in (unfinished, broken):
        monkeypatch.setattr(sm.MixedLM, "fit", wrong)
        found = mixed.fit(runs)
        assert found.method == "fixed realizations"
        assert found.contrast({0: 1, 1: -1}).estimate == pytest.approx(sound.estimate, abs=1e-6)
        assert found.contrast({0: 1, 1: -1}).p == pytest.approx(sound.p, rel=1e-2)


def test_what_cannot_be_compared_says_why() -> None:
    with pytest.raises(ValueError, match="the weights add up to 1: a contrast's must add up to 0"):
        mixed.fit(simulated(0)).contrast({0: 1})
    assert mixed.fit({}).contrast({0: 1, 1: -1}).method == "no data"
    one = mixed.fit({0: {0: 2.0}, 1: {0: 2.5}})
    assert one.contrast({0: 1, 1: -1}).method == "no degree of freedom"
    assert one.contrast({0: 1, 1: -1}).estimate == -0.5
    apart = mixed.fit({0: {0: 2.0, 1: 2.1, 2: 2.3}, 1: {3: 2.0, 4: 2.2, 5: 2.1}})
    assert apart.contrast({0: 1, 1: -1}).method == "no degree of freedom"
    apart = mixed.fit({**simulated(0, 2), 7: {9: 2.0, 10: 2.4}, 8: {9: 2.5, 10: 2.8}})
    assert apart.contrast({0: 1, 7: -1}).method == "no realization in common"
    assert apart.contrast({7: 1, 8: -1}).tested  # negative control
    equal = mixed.fit({c: dict.fromkeys(range(3), 2.0) for c in range(3)})
    assert equal.contrast({0: 1, 1: -1}).method == "no spread"


def test_a_bridge_of_other_cells_counts_as_common() -> None:
    """Two cells without a common realization are comparable if a third has runs of both their realizations."""
    runs = {0: {0: 2.0, 1: 2.1}, 1: {2: 2.2, 3: 2.35}, 2: {0: 2.5, 1: 2.62, 2: 2.71, 3: 2.83}}
    bridged = mixed.fit(runs).contrast({0: 1, 1: -1})
    assert bridged.tested
    # The cells' means differ by 0.225, of which realizations make 0.21, as the bridge says; REML shrinks it.
    assert bridged.estimate == pytest.approx(2.05 - 2.275 + 0.21, abs=0.005)
    alone = {cell: errors for cell, errors in runs.items() if cell != 2}
    assert not mixed.fit(alone).contrast({0: 1, 1: -1}).tested, "the control: without the bridge"


@pytest.mark.slow
def test_the_components_of_the_records() -> None:
    """As seen in the first 66 runs: 0.072 and 0.089."""
    found = mixed.fit(recorded(66).by_regime())
    assert (found.seed, found.realization) == pytest.approx((0.072, 0.089), abs=0.0006)
    runs = recorded().by_regime()
    found = mixed.fit(runs)
    between, within, means, _ = reml(runs)
    assert (found.n, found.df) == (101, 101 - 19 - 5)
    assert (found.seed, found.realization) == pytest.approx((math.sqrt(within), math.sqrt(between)), rel=2e-3)
    assert found.means[REGIME["CNN", "28"]] == pytest.approx(means[REGIME["CNN", "28"]], abs=1e-4)


def test_the_realizations_are_not_quite_equally_hard_for_all() -> None:
    """By a comparison of two least-squares fits, here with statsmodels' formulas."""
    import pandas as pd
    import statsmodels.formula.api as smf

    runs = recorded().by_regime()
    rows = [(str(c), r, y, "cnn" in c[0]) for c, found in runs.items() for r, y in found.items()]
    frame = pd.DataFrame(rows, columns=["cell", "r", "y", "cnn"])
    expected = smf.ols("y ~ C(cell) + C(r) + C(r):cnn", frame).fit()
    f, p, df = expected.compare_f_test(smf.ols("y ~ C(cell) + C(r)", frame).fit())
    found = mixed.heterogeneity(runs, lambda cell: "cnn" in cell[0])
    assert found == (pytest.approx(f), (int(df), int(expected.df_resid)), pytest.approx(p))
    assert found[2] == pytest.approx(0.041, abs=0.001)
    assert math.isnan(mixed.heterogeneity({}, str)[2])
    assert math.isnan(mixed.heterogeneity({0: {0: 1.0}}, str)[2])


def test_the_correlation_of_two_runs_of_a_realization() -> None:
    assert mixed.Mixed({}, 0.3, 0.1, 5, "by hand").correlation == pytest.approx(0.9)
    assert mixed.Mixed({}, math.nan, 0.1, 5, "no effect").correlation == 0


def cr2(runs: Runs, weights: dict[Any, float], seed: float, realization: float) -> tuple[float, float, float]:
    """Written out: estimate, standard error and degrees of freedom by CR2; Bell and McCaffrey (2002)."""
    places = [(list(runs).index(c), r, y) for c, found in runs.items() for r, y in found.items()]
    cell, group, y = (np.array(column) for column in zip(*places))
    x = np.eye(len(runs))[cell.astype(int)]
    v = seed**2 * np.eye(len(y)) + realization**2 * (group[:, None] == group)
    covariance = np.linalg.inv(x.T @ np.linalg.inv(v) @ x)
    means = covariance @ x.T @ np.linalg.inv(v) @ y
    w = np.array([weights.get(c, 0.0) for c in runs])
    form, variance = np.zeros((len(y), len(y))), 0.0  # variance = y' form y
    hat = np.eye(len(y)) - x @ covariance @ x.T @ np.linalg.inv(v)
    for r in np.unique(group):
        at = np.flatnonzero(group == r)
        d = np.linalg.cholesky(v[np.ix_(at, at)]).T
        inner = d @ (v[np.ix_(at, at)] - x[at] @ covariance @ x[at].T) @ d.T
        adjust = d.T @ linalg.sqrtm(np.linalg.pinv(inner, rcond=1e-9, hermitian=True)).real @ d
        score = (w @ covariance @ x[at].T @ np.linalg.inv(v[np.ix_(at, at)]) @ adjust) @ hat[at]
        form += np.outer(score, score)
        variance += float(score @ y) ** 2
    product = form @ v  # a quadratic form of normal values: mean tr(QV), variance 2 tr(QVQV)
    return float(w @ means), math.sqrt(variance), float(np.trace(product) ** 2 / np.trace(product @ product))


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.35])
@pytest.mark.parametrize("weights", [{0: 1.0, 1: -1.0}, {0: 1.0, 1: -0.5, 3: -0.5}])
def test_between_realizations_as_written_out(missing: float, weights: dict[Any, float]) -> None:
    runs = simulated(4, missing=missing, realization=0.15)
    model = mixed.fit(runs)
    assert math.isfinite(model.realization), "else another form is used"
    estimate, error, df = cr2(runs, weights, model.seed, model.realization)
    found = mixed.by_realization(model, weights)
    half = stats.t.ppf(0.975, df) * error
    expected = (estimate, estimate - half, estimate + half)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, abs=1e-9)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, df), abs=1e-9)
