"""On simulated data with known effects: how often each interval covers the truth, how often each test errs.

Coverage must lie between 93 and 97 %, the size of a test below 6 %. 2,000 simulations tell this to half a per cent and
take minutes for the mixed model: `pytest -m long`. By default there are fewer, and the limits are as much wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sesn_lib.analysis import effects, mixed, sizes
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import Difference, Sample, contrast, difference, holm, mean_interval, paired
from sesn_lib.experiments.mnist_scale import Cell

MANY = 2000
SEED, REALIZATION = 0.07, 0.075  # as seen in the records
Draw = np.random.Generator
WEIGHTS = {0: 0.5, 1: 0.5, 2: -1.0}  # two SESN before the CNN
EFFECT = -0.2


def sample(values: Any) -> Sample:
    found = Sample.of(list(values))
    assert found is not None
    return found


def grid(draws: Draw, *, realization: float = REALIZATION, missing: float = 0.0, mixing: float = 0.0) -> dict[Any, Any]:
    """12 cells of 6 realizations around 2 %, of which a share is missing; cells 0 and 1 lead 2 by `EFFECT`.

    `mixing`: how much harder a realization is for cell 2 than for others, which the model does not know.
    """
    common, own = draws.normal(0, realization, 6), draws.normal(0, mixing, 6)
    lead = {0: EFFECT, 1: EFFECT}
    runs: dict[Any, Any] = {c: {} for c in range(12)}
    for c, found in runs.items():
        for r in range(6):
            if draws.random() >= missing or r < 2:
                found[r] = 2 + lead.get(c, 0.0) + common[r] + own[r] * (c == 2) + draws.normal(0, SEED)
    return runs


def by_model(**options: float) -> Callable[[Draw], tuple[Difference, float]]:
    return lambda draws: (mixed.fit(grid(draws, **options)).contrast(WEIGHTS), EFFECT)


def over_realizations(**options: float) -> Callable[[Draw], tuple[Difference, float]]:
    return lambda draws: (mixed.by_realization(mixed.fit(grid(draws, **options)), WEIGHTS), EFFECT)


def by_hand(draws: Draw) -> tuple[Difference, float]:
    runs = grid(draws, mixing=0.05)
    return paired([sum(w * runs[c][r] for c, w in WEIGHTS.items()) for r in range(6)]), EFFECT


def welch(draws: Draw) -> tuple[Difference, float]:
    return difference(sample(draws.normal(2, 0.05, 6)), sample(draws.normal(1.8, 0.15, 6))), 0.2


def welch_contrast(draws: Draw) -> tuple[Difference, float]:
    cells = [sample(draws.normal(mean, std, 6)) for mean, std in ((2, 0.05), (1.8, 0.1), (2, 0.15), (2, 0.1))]
    return contrast(cells, [0.5, 0.5, -0.5, -0.5]), -0.1


def one_run(draws: Draw) -> tuple[Difference, float]:
    return difference(sample(draws.normal(2.1, 0.1, 1)), sample(draws.normal(2, 0.1, 6))), 0.1


def a_mean(draws: Draw) -> tuple[Difference, float]:
    return Difference(math.nan, *mean_interval(sample(draws.normal(2, 0.1, 6)))), 2.0


def two_estimates(draws: Draw) -> tuple[Difference, float]:
    return effects.minus(mixed_like(draws, -0.15), paper_like(draws, -0.3)), 0.15


def mixed_like(draws: Draw, effect: float) -> Difference:
    """An estimate such as the mixed model's: 77 degrees of freedom, without the cost of fitting it."""
    error = 0.036 * math.sqrt(draws.chisquare(77) / 77)
    return Difference(draws.normal(effect, 0.036), error=error, df=77, n=(6, 6))


def paper_like(draws: Draw, effect: float) -> Difference:
    return contrast([sample(draws.normal(effect, 0.09, 6)), sample(draws.normal(0, 0.06, 6))], [1, -1])


def a_ratio(effect: float) -> Callable[[Draw], tuple[Difference, float]]:
    return lambda draws: (effects.ratio(mixed_like(draws, 0.7 * effect), paper_like(draws, effect)), 0.7)


def in_clusters(draws: Draw) -> tuple[Difference, float]:
    """Pairs of two precisions: four or five in a realization, which has a part in all of them."""
    return effects.clustered({r: draws.normal(0.05 + draws.normal(0, 0.05), 0.08, 4 + r % 2) for r in range(6)}), 0.05


CHEAP: dict[str, Callable[[Draw], tuple[Difference, float]]] = {
    "Welch": welch,
    "Welch contrast": welch_contrast,
    "one run": one_run,
    "mean": a_mean,
    "paired": by_hand,
    "minus": two_estimates,
    "Fieller": a_ratio(-0.3),
    "Fieller, faint": a_ratio(-0.1),
    "clustered": in_clusters,
}
DEAR: dict[str, Callable[[Draw], tuple[Difference, float]]] = {
    "all runs": by_model(),
    "a third missing": by_model(missing=0.33),
    "half missing": by_model(missing=0.5),
    "easy realizations": by_model(realization=0.0),
    "hard realizations": by_model(realization=0.3, missing=0.33),
    "over realizations": over_realizations(),
    "over realizations, a third missing": over_realizations(missing=0.33),
    "over realizations, unequally hard": over_realizations(mixing=0.1),
    "over realizations, unequally hard, a third missing": over_realizations(mixing=0.1, missing=0.33),
    "over realizations, all easy": over_realizations(realization=0.0, missing=0.33),
}


def coverage(simulate: Callable[[Draw], tuple[Difference, float]], count: int) -> float:
    draws = np.random.default_rng(0)
    found = [simulate(draws) for _ in range(count)]
    return float(np.mean([d.low <= truth <= d.high for d, truth in found]))


def between(count: int) -> tuple[float, float]:
    """93 to 97 %, widened by what fewer simulations scatter (three standard errors)."""
    more = 0.0 if count >= MANY else 3 * math.sqrt(0.95 * 0.05 / count)
    return 0.93 - more, 0.97 + more


@pytest.mark.parametrize("name", CHEAP)
def test_intervals_cover(name: str) -> None:
    low, high = between(300)
    assert low <= coverage(CHEAP[name], 300) <= high


@pytest.mark.parametrize(
    "name", ["a third missing", "easy realizations", "over realizations, unequally hard, a third missing"]
)
def test_the_model_covers(name: str) -> None:
    low, high = between(40)
    assert low <= coverage(DEAR[name], 40) <= high


@pytest.mark.long
@pytest.mark.parametrize("name", [*CHEAP, *DEAR])
def test_intervals_cover_in_full(name: str) -> None:
    found = coverage({**CHEAP, **DEAR}[name], MANY)
    print(f"{name}: {found:.4f}")
    assert 0.93 <= found <= 0.97


def test_the_check_of_coverage_notices_a_wrong_interval() -> None:
    """Twelve correlated cells taken for independent, as a table-wide test should not do."""

    def blind(draws: Draw) -> tuple[Difference, float]:
        cells = draws.normal(0, REALIZATION, (6, 1)) + draws.normal(2, SEED, (6, 12))
        found = contrast([sample(cells[:, c]) for c in range(12)], [1 / 12] * 12)
        return found, 2.0

    assert coverage(blind, 300) < between(300)[0]


def test_the_model_alone_does_not_cover_where_realizations_are_unequally_hard() -> None:
    """Why verdicts do not rest on it alone."""
    assert coverage(by_model(mixing=0.15), 100) < between(100)[0]


ONE, ALL = (2,), (2, 5, 8, 11)
"""Cells that are not as hard as others on the same realization: one CNN of the table, all four of them."""


@pytest.mark.parametrize(
    ("cells", "mixing", "expected"),
    [(ONE, 0.0, 0.95), (ALL, 0.05, 0.93), (ALL, 0.10, 0.88), (ONE, 0.05, 0.92), (ONE, 0.10, 0.84)],
)
def test_how_much_the_model_alone_covers(cells: tuple[int, ...], mixing: float, expected: float) -> None:
    """As notebook 10 says. Of complete runs its contrasts are those of the analysis of variance, all 20,000 at once.

    All four cells of the CNN share what is harder for it, so the model, which looks at all cells, sees more of it.
    """
    draws, count = np.random.default_rng(0), 20_000
    runs = draws.normal(0, REALIZATION, (count, 1, 6)) + draws.normal(0, SEED, (count, 12, 6))
    runs[:, list(cells)] += draws.normal(0, mixing, (count, 1, 6))
    row = np.array([WEIGHTS.get(c, 0.0) for c in range(12)])
    within = runs - runs.mean(axis=2, keepdims=True)
    residual = ((within - within.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) / 55
    error = np.sqrt(residual * (row**2).sum() / 6)
    estimate = np.einsum("scr,c->s", runs, row) / 6
    one = mixed.fit({c: dict(enumerate(runs[0, c])) for c in range(12)}).contrast(WEIGHTS)
    assert (one.estimate, one.error, one.df) == pytest.approx((estimate[0], error[0], 55), rel=1e-3)
    covered = np.mean(np.abs(estimate) <= stats.t.ppf(0.975, 55) * error)
    assert covered == pytest.approx(expected, abs=0.006)


def test_where_runs_are_complete_the_test_over_realizations_is_the_paired_one() -> None:
    runs = grid(np.random.default_rng(4))
    found = mixed.by_realization(mixed.fit(runs), WEIGHTS)
    plain = paired([sum(w * runs[c][r] for c, w in WEIGHTS.items()) for r in range(6)])
    assert (found.estimate, found.error, found.df, found.p) == pytest.approx(
        (plain.estimate, plain.error, plain.df, plain.p), rel=1e-6
    )
    one = mixed.by_realization(mixed.fit({c: {0: some[0]} for c, some in runs.items()}), WEIGHTS)
    assert not one.tested, "one realization has no scatter"


# Sizes


def size(simulate: Callable[[Draw], bool], count: int) -> float:
    draws = np.random.default_rng(1)
    return float(np.mean([simulate(draws) for _ in range(count)]))


def family(draws: Draw) -> bool:
    """Holm over twelve differences that are none: any false alarm."""
    return min(holm([paired(list(draws.normal(0, 0.1, 6))).p for _ in range(12)])) < 0.05


def looks(draws: Draw) -> bool:
    """A question asked at 3, 4, 5 and 6 realizations: an alarm at any of the four looks."""
    values = list(draws.normal(0, 0.1, 6))
    return any(effects.charged(paired(values[:n]).p, k) < 0.05 for k, n in enumerate(range(3, 7), start=1))


def same_size(draws: Draw) -> bool:
    """Effects of two studies that are equally large, told apart."""
    return effects.minus(mixed_like(draws, -0.2), paper_like(draws, -0.2)).p < 0.05


def at_the_margin(draws: Draw) -> bool:
    """A difference as large as the margin, called the same."""
    return paired(list(draws.normal(0.1, 0.05, 6))).equivalent(0.1) < 0.05


def equally_hard(draws: Draw) -> bool:
    return mixed.heterogeneity(grid(draws, missing=0.2), lambda c: c % 2)[2] < 0.05


NOTHING = {3: 0.5, 4: 0.5, 5: -1.0}


def no_lead(draws: Draw) -> bool:
    return mixed.fit(grid(draws, missing=0.33)).contrast(NOTHING).p < 0.05


def no_lead_over_realizations(draws: Draw) -> bool:
    return mixed.by_realization(mixed.fit(unequal(draws)), NOTHING).p < 0.05


def no_lead_by_both(draws: Draw) -> bool:
    """As verdicts are given: by the larger p."""
    model = mixed.fit(unequal(draws))
    return max(model.contrast(NOTHING).p, mixed.by_realization(model, NOTHING).p) < 0.05


def unequal(draws: Draw) -> dict[Any, Any]:
    """Realizations are unequally hard for the network that is compared with, and a third of the runs is missing."""
    runs = grid(draws, missing=0.33)
    for r, own in enumerate(draws.normal(0, 0.1, 6)):
        runs[5] |= {r: runs[5][r] + own} if r in runs[5] else {}
    return runs


def same_after_looks(draws: Draw) -> bool:
    """A difference as large as the margin, called the same at any of four looks."""
    values = list(draws.normal(0.1, 0.05, 6))
    return any(effects.charged(paired(values[:n]).equivalent(0.1), k) < 0.05 for k, n in enumerate(range(3, 7), 1))


def no_size_trend(draws: Draw) -> bool:
    """SESN makes four fifths of the CNN's errors, among the smallest digits as among the largest."""
    ours, cnn = (draws.poisson(share * np.array([[230], [35]]), (2, 6)) for share in (0.8, 1.0))
    records = {}
    for model, errors in (("mnist_ses_vector_28", ours), ("mnist_cnn_28", cnn)):
        for r in range(6):
            counts = {
                "edges": [0.3, 0.4, 0.9, 1.0],
                "images": [7143] * 3,
                "errors": [*errors[:1, r], 9, *errors[1:, r]],
            }
            records[Cell(model, 1.0, r)] = {"by_scale": counts}
    return sizes.size_trend(Results(records), "28", sizes.as_ratio).p < 0.05


SIZES: dict[str, Callable[[Draw], bool]] = {
    "Holm": family, "looks": looks, "effect against effect": same_size, "equivalence": at_the_margin,
    "equally hard": equally_hard, "mixed model": no_lead, "equivalence after looks": same_after_looks,
    "size trend": no_size_trend, "over realizations": no_lead_over_realizations, "larger p": no_lead_by_both,
}  # fmt: skip


SLOW = ("mixed model", "over realizations", "larger p")


@pytest.mark.parametrize("name", [name for name in SIZES if name not in SLOW])
def test_tests_hold_their_size(name: str) -> None:
    assert size(SIZES[name], 200) <= 0.06 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.long
@pytest.mark.parametrize("name", SIZES)
def test_tests_hold_their_size_in_full(name: str) -> None:
    found = size(SIZES[name], MANY)
    print(f"{name}: {found:.4f}")
    assert found < 0.06


def test_the_check_of_size_notices_looks_that_are_not_charged() -> None:
    def eager(draws: Draw) -> bool:
        values = list(draws.normal(0, 0.1, 6))
        return any(paired(values[:n]).p < 0.05 for n in range(3, 7))

    assert size(eager, 1000) > 0.08


def test_effects_that_are_there_are_found() -> None:
    draws = np.random.default_rng(2)
    found = [mixed.fit(grid(draws, missing=0.2)).contrast(WEIGHTS).p < 0.05 for _ in range(20)]
    assert np.mean(found) > 0.9
    unequal = [effects.minus(mixed_like(draws, -0.1), paper_like(draws, -0.5)).p < 0.05 for _ in range(20)]
    assert np.mean(unequal) > 0.9
    mixed_up = [mixed.heterogeneity(grid(draws, mixing=0.3), lambda c: c == 2)[2] < 0.05 for _ in range(20)]
    assert np.mean(mixed_up) > 0.9


@pytest.mark.parametrize("n", [200, 285])
def test_wilson_intervals_cover_exactly(n: int) -> None:
    """As the figures of errors by size draw them: exact coverage for errors of 3 to 50 %, of about as many digits.

    It goes up and down with the rate, as counts are whole numbers; below 3 % it falls to 92 %.
    """
    counts = np.arange(n + 1)
    ends = np.array([stats.binomtest(int(k), n).proportion_ci(method="wilson") for k in counts])
    rates = np.linspace(0.03, 0.5, 100)
    inside = (ends[:, :1] <= rates) & (rates <= ends[:, 1:])
    covered = (stats.binom.pmf(counts[:, None], n, rates) * inside).sum(axis=0)
    assert 0.93 <= covered.min() < covered.max() <= 0.97
    assert covered.mean() == pytest.approx(0.95, abs=0.003)
    wald = np.abs(counts[:, None] / n - rates) <= 1.96 * np.sqrt(counts * (n - counts) / n**3)[:, None]
    assert (stats.binom.pmf(counts[:, None], n, rates) * wald).sum(axis=0).min() < 0.93, "negative control"
