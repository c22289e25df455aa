"""What the controls say: each figure against one worked out by hand or by brute force."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy import stats
from test_controls import record_of
from toy_cells import make_record

from sesn_lib.analysis import controls, mixed, questions, results
from sesn_lib.analysis.controls import Controlled, RankCorrelation
from sesn_lib.analysis.effects import clustered
from sesn_lib.analysis.fared import fared, first_layer, looks
from sesn_lib.analysis.predictions import Prediction, corrected, judged, table
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import Difference, paired
from sesn_lib.analysis.text import p_value
from sesn_lib.experiments.controls import CHANGES, Control
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.plotting import controls as figures
from sesn_lib.provenance import cell_seed
from sesn_lib.runner.audit import audit
from sesn_lib.store.records import Store

CNN, VECTOR = "mnist_cnn_28", "mnist_ses_vector_28"
RESULTS = Path(__file__).resolve().parent.parent / "notebooks" / "results"
EMPTY = Controlled({}, {}, Results({}))


def run(network: str, change: str, realization: int, error: float, **changes: Any) -> tuple[Control, dict[str, Any]]:
    cell = Control(f"{network}@{change}", 1.0, realization)
    last = {"test_error_50k": error, "test_error_48k": error}
    return cell, {**record_of(cell, error=error), "last_epoch": last, **changes}


def controlled(runs: Iterable[tuple[Control, dict[str, Any]]], table: dict[Cell, float] | None = None) -> Controlled:
    found = {cell: make_record(cell, error=error) for cell, error in (table or {}).items()}
    return Controlled(dict(runs), {}, Results(found))


# The sweep


def test_validation_chooses_and_the_test_does_not() -> None:
    accuracy = {"unchanged": 0.97, "lr0.03-wd0": 0.98, "lr0.003-wd0": 0.975}
    runs = controlled(
        run(CNN, change, r, error=2.0 if change == "unchanged" else 9.0, val_accuracy=value)
        for change, value in accuracy.items()
        for r in range(3)
    )
    assert controls.chosen(runs, CNN, 1.0) == ("lr0.03-wd0", pytest.approx(accuracy))
    assert controls.chosen(EMPTY, CNN, 1.0) == (None, {})
    marked = questions.sweep(runs)[""].loc["CNN, 28"]
    assert [change for change, mark in marked.items() if mark] == ["lr0.03-wd0"]
    alone = controlled(run(CNN, "unchanged", r, 2.0, val_accuracy=0.97) for r in range(3))
    assert not any(questions.sweep(alone)[""]), "one of one was not chosen"


def test_of_equals_the_nearest_to_the_protocol_and_none_that_has_not_run_everywhere() -> None:
    runs = [
        run(CNN, change, r, 2.0, val_accuracy=0.97) for change in ("lr0.03-wd0", "lr0.01-wd0.0005") for r in range(3)
    ]
    assert controls.chosen(controlled(runs), CNN, 1.0)[0] == "lr0.01-wd0.0005"
    runs += [run(CNN, "unchanged", r, 2.0, val_accuracy=0.97) for r in range(3)]
    assert controls.chosen(controlled(runs), CNN, 1.0)[0] == "unchanged"
    partly = [run(CNN, "lr0.003-wd0", r, 2.0, val_accuracy=1.0) for r in range(2)]
    assert controls.chosen(controlled([*runs, *partly]), CNN, 1.0)[0] == "unchanged"


def test_held_out_realizations_of_the_protocol_are_those_of_the_table() -> None:
    runs = controlled([run(CNN, "unchanged", 0, 2.0)], {Cell(CNN, 1.0, r): 2.5 + r for r in range(6)})
    assert runs.errors(CNN, "unchanged", 1.0) == {0: 2.0}
    assert runs.errors(CNN, "unchanged", 1.0, range(3, 6)) == {3: 5.5, 4: 6.5, 5: 7.5}
    assert runs.errors(CNN, "lr0.03-wd0", 1.0, range(3, 6)) == {}
    assert controls.repeated(runs) == {0: [(2.5, 2.0)]}
    found = controls.lead({0: 2.0, 1: 2.2, 2: 9.0}, {0: 2.5, 1: 2.5, 5: 0.0})
    assert (found.estimate, found.n) == (pytest.approx(-0.4), (2, 2))


def test_what_tuning_leaves_of_a_lead() -> None:
    """By hand: 1.0 ahead under the protocol, 0.6 once both are tuned, 0.8 on realizations that had no part in it."""
    runs = [
        run(CNN, change, r, error + 0.1 * r, val_accuracy=accuracy)
        for r in range(3)
        for change, error, accuracy in (("unchanged", 3.0, 0.97), ("lr0.03-wd0", 2.6, 0.98))
    ]
    for network in (controls.SCALAR, VECTOR):
        runs += [run(network, "unchanged", r, 2.0 + 0.1 * r, val_accuracy=0.98) for r in range(3)]
    runs += [run(CNN, "lr0.03-wd0", r, 2.9) for r in range(3, 6)]
    table = {Cell(name, 1.0, r): 2.1 for name in (controls.SCALAR, VECTOR) for r in range(3, 6)}
    found = questions.tuned(controlled(runs, table))
    estimates = {key: [one.found.estimate for one in some if one.found.n[0]] for key, some in found.items()}
    assert estimates["gains"] == pytest.approx([-0.4])
    assert estimates["leads"] == pytest.approx([-1.0, -0.6] * 2)
    assert estimates["halves"] == pytest.approx([-0.1] * 2)
    assert estimates["again"] == pytest.approx([-0.8] * 2)


# Sizes and equivariance


def probe(wrong: list[int], by_digit: list[float] | None = None, digits: int = 10) -> dict[str, Any]:
    """Reads all but the first so many digits at sizes 0.25, 0.6, 1 and 1.2."""
    return {
        "digits": digits,
        "factors": [0.25, 0.6, 1.0, 1.2],
        "correct": [encode([i >= w for i in range(digits)]) for w in wrong],
        "equivariance": {"to": 0.59, "by_digit": by_digit or [1.0] * digits},
    }


def test_errors_by_size_and_their_bands() -> None:
    found = {Control(f"{n}@unchanged", 1.0, r): probe(w) for n, r, w in (
        (VECTOR, 0, [5, 1, 0, 2]), (VECTOR, 1, [6, 1, 0, 3]), (CNN, 0, [5, 2, 1, 6]), (CNN, 1, [5, 3, 1, 8]),
    )}  # fmt: skip
    runs = Controlled({}, found, Results({}))
    sesn, cnn = (controls.size_errors(runs, name, "unchanged", 1.0) for name in (VECTOR, CNN))
    np.testing.assert_allclose(sesn[0], [50, 10, 0, 20])
    leads = {}
    for band in controls.BANDS:
        kept = controls.in_band([0.25, 0.6, 1.0, 1.2], band)
        leads[band] = controls.size_lead(sesn, cnn, kept).estimate
    assert leads == {"below": pytest.approx(5), "inside": pytest.approx(-12.5), "above": pytest.approx(-45)}
    assert [controls.in_band([0.21, 0.297, 0.3, 1.0, 1.41, 1.68], b).sum() for b in controls.BANDS] == [1, 2, 1]
    assert controls.size_errors(EMPTY, CNN, "no such change", 1.0) == {}


def test_the_share_of_pairs() -> None:
    draws = np.random.default_rng(0)
    values, positive = draws.integers(0, 6, 40).astype(float), draws.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    assert controls.auc(values, positive) == pytest.approx(np.mean(pairs))
    assert math.isnan(controls.auc(values, np.zeros(40, dtype=bool)))
    assert math.isnan(controls.auc(values, np.ones(40, dtype=bool)))
    marked = probe([0, 3, 0, 0], by_digit=[9.0, 8.0, 7.0, *[1.0] * 7])
    assert controls.digit_auc(marked) == 1, "of the size nearest to the second"
    assert controls.digit_auc(probe([3, 2, 3, 3], by_digit=[1.0, 1.0, *[2.0] * 8])) == 0


def test_rank_correlation_is_tested_over_kinds_not_networks() -> None:
    """Five kinds in order are one of 120 arrangements, or its mirror, however many networks there are of each."""
    groups = [[(k + 2.0 * r, 10 * k + r) for r in range(3)] for k in range(5)]
    rho = controls.rank_correlation(groups)
    pairs = np.array([pair for group in groups for pair in group])
    assert (rho.networks, rho.count) == (pytest.approx(stats.spearmanr(*pairs.T).statistic), 15)
    assert rho.networks < 0.9 < rho.kinds == pytest.approx(1), "the figure that is tested is that of the means"
    assert (rho.n, rho.p) == (5, pytest.approx(2 / 120)), "exact"
    few = controls.rank_correlation(groups[:3])
    assert math.isnan(few.p)
    assert math.isnan(few.kinds)
    least = controls.rank_correlation(groups[:4])
    assert (least.n, least.p) == (4, pytest.approx(2 / 24))
    falling = controls.rank_correlation([[(x, -y) for x, y in group] for group in groups])
    assert (falling.kinds, falling.p) == (pytest.approx(-rho.kinds), pytest.approx(rho.p)), "two-sided"
    shuffled = [groups[k][:1] for k in (2, 0, 4, 1, 3)]
    mixed = [[(float(i), y)] for i, [(_, y)] in enumerate(shuffled)]
    assert controls.rank_correlation(mixed).p > 0.2, "the control"


def test_kinds_of_networks_are_named_as_in_the_table() -> None:
    cells = [("mnist_cnn_28", 0.5), ("mnist_cnn_28", 1.0), ("mnist_ses_vector_28p", 0.5), ("mnist_ses_vector_28", 1.0)]
    probed = {Control(f"{network}@unchanged", scaling, r): {} for network, scaling in cells for r in (0, 1)}
    found = questions.kinds(Controlled({}, {**probed, Control(f"{VECTOR}@raised", 1.0, 0): {}}, Results({})))
    counts = {kind: len(some) for kind, some in found.items()}
    assert counts == {"CNN 28": 2, "CNN 28+": 2, "SESN Vector 28": 2, "SESN Vector 28+": 2, "SESN Vector 28, raised": 1}


def test_a_threefold_lower_error_is_foretold_by_its_logarithm() -> None:
    errors = {"unchanged": 0.1, "raised": 0.01, "size21": 0.05}
    probed = {
        Control(f"{VECTOR}@{change}", 1.0, r): {"equivariance": {"by_layer": {"1": error * (1 + r)}}}
        for change, error in errors.items()
        for r in range(3)
    }
    lower = {one.what.split(":")[0]: one for one in first_layer(Controlled({}, probed, Results({})))}
    raised, wide, none = (lower[f"SESN {name}"] for name in ("Vector, raised", "Vector, size21", "Scalar, raised"))
    assert (raised.found.estimate, raised.found.n) == (pytest.approx(-1), (3, 3))
    assert wide.found.estimate == pytest.approx(math.log10(0.5))
    assert (none.found.n, 10**raised.high) == ((0, 0), pytest.approx(1 / 3))


# Data, seeds, epochs


def test_the_slope_of_the_lead_is_for_ten_times_the_images() -> None:
    sesn = {n: {r: 5 - math.log10(n) + 0.01 * r for r in range(3)} for n in (1000, 2500, 10000)}
    cnn = {n: {r: 9 - 1.5 * math.log10(n) for r in range(3)} for n in (1000, 2500, 10000)}
    found = controls.slope_of_lead(sesn, cnn)
    assert (found.estimate, found.n) == (pytest.approx(0.5), (3, 3))
    del sesn[2500][1]
    assert controls.slope_of_lead(sesn, cnn).n == (2, 2)
    runs = controlled([run(CNN, "n1000", 1, 7.0)], {Cell(CNN, 1.0, r): 2.0 for r in range(6)})
    assert controls.data_errors(runs, CNN) == {1000: {1: 7.0}, 2500: {}, 5000: {}, 10000: {0: 2.0, 1: 2.0, 2: 2.0}}


def test_the_lead_at_few_images_is_held_against_twice_that_at_all() -> None:
    """4 and 0.5 points ahead: 3 more than twice; each ten times the images take 3.5 of it."""
    cnn = {1000: 9.0, 2500: 6.0, 5000: 4.0, 10000: 2.5}
    lead = {n: 0.5 + 3.5 * (4 - math.log10(n)) for n in cnn}
    errors = {n: {r: error + r / 10 for r in range(3)} for n, error in cnn.items()}
    ours = {n: {r: error - lead[n] for r, error in some.items()} for n, some in errors.items()}
    found = questions.less_data({"CNN": errors, **dict.fromkeys(questions.SESN, ours)})
    assert [one.found.estimate for one in found] == pytest.approx([3.5, 3.5, -3.0, -3.0])
    assert [(one.low, one.high) for one in found] == [(0, math.inf)] * 2 + [(-math.inf, 0)] * 2


def test_ratios_are_errors_of_sesn_for_each_of_the_cnn() -> None:
    fewer = {"CNN": {1000: {0: 8.0, 1: 4.0}}, **{name: {1000: {0: 6.0, 1: 2.0, 2: 9.0}} for name in questions.SESN}}
    assert questions.data_ratios(fewer).loc["SESN Vector", "1,000 images"] == "0.62 ± 0.18 (2)"
    curves = {"CNN": {0: np.array([8.0, 2.0]), 1: np.array([4.0, 2.0])}, "SESN Scalar": {0: np.array([3.0, 1.0])}}
    table = questions.size_ratios({"28": {**curves, "SESN Vector": {}}}, [0.5, 1.0])
    assert (list(table.index), list(table.loc["SESN Scalar 28"])) == (["SESN Scalar 28"], ["0.50", "0.50"])


def test_the_deviation_of_seeds_and_its_interval() -> None:
    seeds = [change for change in CHANGES if change.startswith("seed")]
    runs = controlled(run(CNN, change, 0, 2 + 0.1 * i) for i, change in enumerate(["unchanged", *seeds]))
    errors = controls.seed_errors(runs, CNN)
    assert errors == pytest.approx([2.0, 2.1, 2.2, 2.3, 2.4, 2.5])
    std, low, high, df = controls.deviation_interval([errors, [1.0], [5.0, 5.2]])
    total = 5 * np.var(errors, ddof=1) + 0.02
    assert (std, df) == (pytest.approx(math.sqrt(total / 6)), 6)
    assert low == pytest.approx(math.sqrt(total / stats.chi2.ppf(0.975, 6)))
    assert high == pytest.approx(math.sqrt(total / stats.chi2.ppf(0.025, 6)))
    assert controls.deviation_interval([[1.0]])[3] == 0


def test_seeds_are_held_against_the_scatter_of_the_table() -> None:
    """By its own interval, whose ends are near to or far from what the mixed model finds; neither by the estimate."""
    ease, noise = np.array([0.4, -0.3, 0.5, -0.4, 0.1, -0.3]), np.array([2, -1, 1, -2, 1, -1]) / 10
    table = {Cell(m, 1.0, r): 3 + ease[r] + s * noise[r] for m, s in ((CNN, 1), (VECTOR, -1)) for r in range(6)}
    seed = mixed.fit(controlled([], table).table.by_regime()).seed
    assert 0.1 < seed < 0.4
    changes = ["unchanged", *(change for change in CHANGES if change.startswith("seed"))]
    for spread, said in ((seed, "holds the model's"), (seed / 5, "excludes the model's"), (5 * seed, "excludes")):
        errors = 3 + spread * np.array([1, -1, 1, -1, 1, -1])
        runs = controlled((run(n, c, 0, e) for n in (CNN, VECTOR) for c, e in zip(changes, errors)), table)
        frame, spreads = questions.seeds(runs)
        std, low, high, df = spreads["seeds on realization 0"]
        assert (std, df) == (pytest.approx(spread * math.sqrt(1.2)), 10)
        assert frame.iloc[0, -1].startswith(said)
        none: dict[str, list[Prediction]] = {"halves": [], "again": [], "gains": []}
        row = fared(runs, none, [], [], [], [], spreads, looks(runs, [])).loc["5 seeds"]
        assert (row["as predicted"], row["not as predicted"]) == ((1, 0) if low <= seed <= high else (0, 1))


def test_best_less_last_is_a_mean_for_each_realization_of_full_runs() -> None:
    def differing(change: str, r: int, by: float) -> tuple[Control, dict[str, Any]]:
        return run(CNN, change, r, 2.0, last_epoch={"test_error_50k": 2.0 - by, "test_error_48k": 2.0})

    runs = [differing("unchanged", 0, 0.1), differing("lr0.03-wd0", 0, 0.3), differing("unchanged", 1, -0.1)]
    found, single = controls.best_less_last(controlled([*runs, differing("n1000", 2, 5.0)]))
    assert (found.estimate, found.n) == (pytest.approx(0.05), (2, 2))
    assert single is not None
    assert (single.n, single.mean) == (3, pytest.approx(0.1))
    kept, _ = controls.best_less_last(controlled(runs), lambda cell: cell.realization == 1)
    assert kept.estimate == pytest.approx(-0.1)
    assert controls.best_less_last(EMPTY)[1] is None


# Predictions


def test_a_prediction_is_judged_by_what_the_data_exclude() -> None:
    sure = paired([-0.50, -0.51, -0.49, -0.50])
    wide = paired([-1.5, 0.5, -0.8, 0.1])
    for found, low, high, word in (
        (sure, -math.inf, 0, "as predicted"),
        (sure, 0, math.inf, "not as predicted"),
        (sure, -0.6, -0.4, "as predicted"),
        (sure, -0.1, 0.1, "not as predicted"),
        (wide, -math.inf, 0, "undecided"),
        (wide, -0.1, 0.1, "undecided"),
        (sure, -math.inf, math.inf, "–"),
        (paired([-0.5, -0.5001]), -math.inf, 0, "undecided"),
        (Difference(math.nan), -math.inf, 0, "no run yet"),
    ):
        assert judged([Prediction("x", found, low, high)]) == [word], (found.estimate, low, high)
    assert judged([]) == []


def test_one_end_is_the_t_test_of_that_end() -> None:
    values = [-0.3, -0.1, -0.2, -0.25]
    right, wrong = Prediction("x", paired(values), high=-0.05).p_values()
    assert right == pytest.approx(stats.ttest_1samp(values, -0.05).pvalue)
    assert wrong == 1
    both, _ = Prediction("x", paired(values), -0.5, 0.0).p_values()
    assert both == pytest.approx(
        max(
            stats.ttest_1samp(values, -0.5, alternative="greater").pvalue,
            stats.ttest_1samp(values, 0.0, alternative="less").pvalue,
        )
    )


def test_many_tests_make_a_verdict_harder() -> None:
    values = paired([-0.3, -0.1, -0.2, -0.25])
    one = Prediction("x", values, high=0)
    assert judged([one]) == ["as predicted"]
    assert judged([one], family=12) == ["undecided"]
    assert judged([one, *[Prediction("none made", values)] * 11]) == ["as predicted", *["–"] * 11]
    with pytest.raises(ValueError, match="the range is 1 to 0: it must go up"):
        Prediction("x", values, 1, 0)


def test_the_table_says_of_each_verdict_its_n_test_and_p() -> None:
    values = [-0.5, -0.51, -0.49]
    rows = [Prediction("a", paired(values), high=-0.4), Prediction("b", Difference(math.nan), 0)]
    more = [Prediction("c", paired(values)), Prediction("d", paired(values), -0.6, -0.4)]
    frame = table([*rows, *more], looks=1)
    columns = ["predicted", "found [95 %]", "n", "test", "p", "looks", "tests", "p, corrected", "verdict"]
    assert list(frame.columns) == columns
    p = stats.ttest_1samp(values, -0.4).pvalue
    assert f"{p:.3f} {2 * 2 * p:.3f} {p / 2:.3f} {2 * 3 * p / 2:.3f}" == "0.003 0.013 0.002 0.010"
    found = "−0.50 [−0.52, −0.48]"
    assert list(frame.loc["a"]) == ["below −0.4", found, 3, "paired t", "0.003", 1, 3, "0.013", "as predicted"]
    assert list(frame.loc["b"]) == ["above 0", "–", "–", "–", "–", 1, 3, "–", "no run yet"]
    assert list(frame.loc["c"]) == ["–", found, 3, "paired t", "< 0.001", "–", "–", "–", "–"], "of zero, no verdict"
    assert list(frame.loc["d"]) == [
        "−0.6 to −0.4", found, 3, "two one-sided t", "0.002", 1, 3, "0.010", "as predicted",
    ]  # fmt: skip
    beyond = table([Prediction("e", paired(values), -0.3, 0.3)])
    assert list(beyond.loc["e"])[3:5] == ["paired t", p_value(stats.ttest_1samp(values, -0.3).pvalue)]
    assert list(beyond.loc["e"])[-1] == "not as predicted"


def test_a_test_that_is_named_without_a_prediction_is_corrected_with_the_others() -> None:
    named = Prediction("x", paired([-0.5, -0.6, -0.4]), named=True)
    assert named.p_values()[0] == pytest.approx(stats.ttest_1samp([-0.5, -0.6, -0.4], 0).pvalue)
    frame = table([named], family=4)
    p = named.found.p
    assert list(frame.loc["x"])[3:] == ["paired t", p_value(p), 1, 4, p_value(2 * 4 * p), "–"]
    assert list(table([named], family=4, looks=3).loc["x"])[5:8] == [3, 4, p_value(12 * 4 * p)]
    assert math.isnan(Prediction("x", paired([-0.5, -0.6]), named=True).p_values()[0]), "two values test nothing"


def test_what_is_corrected_together_is_judged_together() -> None:
    """Three p of 0.03 or less: alone each is significant, as three of sixteen none but the first."""
    some = [Prediction(str(p), Difference(1.0, n=(3, 3)), low=0, tested=(p, 1.0)) for p in (0.002, 0.02, 0.03)]
    assert [judged([one], looks=0) for one in some] == [["as predicted"]] * 3
    assert [p for p, _ in corrected(some, 16, 0)] == pytest.approx([0.032, 0.30, 0.42])
    assert [p for p, _ in corrected(some, 16)] == pytest.approx([0.064, 0.60, 0.84]), "the first look counts twice"
    assert list(table(some[1:], family=16, looks=0, among=some)["verdict"]) == ["undecided"] * 2
    assert list(table(some[:1], family=16, looks=0, among=some)["verdict"]) == ["as predicted"]


def rho(kinds: float, p: float, n: int = 6) -> RankCorrelation:
    return RankCorrelation(0.91, 18, kinds, n, p)


def test_the_correlation_is_a_prediction_with_kinds_as_its_n() -> None:
    one = questions.correlated(rho(0.94, 1 / 60))
    assert (one.found.estimate, one.found.n, one.p_values()) == (0.94, (6, 6), (1 / 60, 1.0))
    assert questions.correlated(rho(-0.94, 1 / 60)).p_values() == (1.0, 1 / 60)
    none = questions.correlated(rho(math.nan, math.nan, 0))
    assert judged([none]) == ["no run yet"]
    assert list(table([none]).iloc[0])[2:5] == ["–"] * 3
    others = [Prediction("x", Difference(math.nan), low=0)] * 15
    said = questions.in_words({}, [one, *others], rho(0.94, 1 / 60))
    assert "Spearman +0.94 over the means of n = 6 kinds of networks, exact permutation p = 0.017" in said
    assert "p = 0.53 charged for 1 look and after Holm over the question's 16 tests; over all 18 networks" in said
    assert said.endswith("not tested, +0.91.")


@pytest.mark.slow
def test_the_stored_networks_correlate_as_the_notebook_says() -> None:
    runs = controls.load(RESULTS)
    points = [
        [(one["equivariance"]["by_layer"]["logits"], one["test_error_50k"]) for one in some]
        for kind, some in questions.kinds(runs).items()
        if "," not in kind  # unchanged networks: three realizations of each were shown
    ]
    found = controls.rank_correlation(points)
    assert (found.count, found.n, found.p) == (18, 6, pytest.approx(12 / 720))
    assert (found.networks, found.kinds) == (pytest.approx(0.905, abs=5e-4), pytest.approx(0.943, abs=5e-4))


@pytest.mark.slow
def test_repeats_of_the_table_ran_on_another_device() -> None:
    """As notebooks 10 and 11 say: all of 28 pixels, no mean difference is seen."""
    runs = controls.load(RESULTS)
    pairs = controls.repeated(runs)
    assert {r: len(some) for r, some in pairs.items()} == {0: 6, 1: 6, 2: 6}
    moved = [
        (cell, record["environment"]["device"], other["environment"]["device"])
        for cell, record in runs.records.items()
        if cell.change == "unchanged"
        and (other := runs.table.records.get(Cell(cell.base, cell.extra_scaling, cell.realization)))
    ]
    assert len(moved) == 18
    assert all("28" in cell.base and control != first for cell, control, first in moved)
    gap = clustered({r: [control - first for first, control in some] for r, some in pairs.items()})
    assert (gap.estimate, gap.p) == (pytest.approx(-0.012, abs=5e-4), pytest.approx(0.41, abs=0.005))


@pytest.mark.slow
def test_predictions_are_counted_and_rows_without_one_are_not() -> None:
    """The stored records: 37 predictions in six questions; what has no run is said so."""
    runs = controls.load(RESULTS)
    factors = [2 ** (k / 4) for k in range(-9, 5)]
    kinds, changed = questions.kinds(runs), questions.changes(runs)
    points = [[(p["equivariance"]["by_layer"]["logits"], p["test_error_50k"]) for p in some] for some in kinds.values()]
    third = [questions.correlated(controls.rank_correlation(points)), *questions.within(kinds), *changed]
    assert len(third) == questions.TESTS["3"], "the question's family"
    less = questions.less_data(questions.networks_by_data(runs))
    sizes = questions.sizes(questions.errors_by_size(runs), factors)
    last, spreads = questions.last_epoch(runs), questions.seeds(runs)[1]
    times = looks(runs, results.looks(RESULTS)["controls"])
    assert times == {"1": 3, "2": 1, "3": 1, "4": 1, "5": 1, "6": 4}
    frame = fared(runs, questions.tuned(runs), third, sizes, less, last, spreads, times)
    assert list(frame["predictions"]) == [6, 8, 17, 4, 1, 1, 37]
    assert sum(one.made for one in changed) == 6, "nine changes, of which three have no prediction"
    assert list(frame.loc["3 equivariance"]) == [17, 0, 0, 7, 10]
    assert (frame["predictions"] == frame.drop(columns="predictions").sum(axis=1)).all()


def test_a_question_is_charged_for_each_state_that_it_was_looked_at_in() -> None:
    """Four looks: before any run, at two sizes and a tuned network, at one more of either, and now."""
    order = [("unchanged", 0), ("unchanged", 1), ("lr0.03-wd0", 0), ("lr0.03-wd0", 1), ("n1000", 0)]
    cells = [
        run(CNN, change, r, 2.0, timing={"finished": f"2026-01-01T00:00:0{i}Z"}) for i, (change, r) in enumerate(order)
    ]
    runs = controlled(cells)
    assert looks(runs, (3, 4)) == {"1": 2, "2": 1, "3": 1, "4": 1, "5": 1, "6": 2}
    assert looks(runs, (1, 2, 3, 9)) == {"1": 2, "2": 2, "3": 2, "4": 1, "5": 1, "6": 4}
    assert set(looks(EMPTY, (1, 2)).values()) == {1}


# Together


def test_predictions_and_tests_are_those_that_the_notebook_stated_before_the_runs() -> None:
    def ranges(some: Iterable[Prediction]) -> list[tuple[float, float]]:
        return [(one.low, one.high) for one in some]

    none, up = (-math.inf, math.inf), math.inf
    tuned = questions.tuned(EMPTY)
    assert ranges(tuned["gains"]) == [(-0.15, up)] * 2, "better by less than 0.15"
    assert ranges(tuned["leads"]) == [none] * 4
    assert ranges(tuned["halves"]) == [(-up, 0)] * 2, "at least half of the lead"
    assert ranges(tuned["again"]) == [(-up, -0.10)] * 2
    sizes = questions.sizes(questions.errors_by_size(EMPTY), (0.25, 0.5, 1.2))
    foretold = {"28, below": (-0.10, up), "28, inside": (-up, 0), "28, above": (-up, -5), "28+, above": (-1, up)}
    assert {one.what: (one.low, one.high) for one in sizes} == {
        f"{name} {column}, {band}": foretold.get(f"{column}, {band}", none)
        for name in ("SESN Scalar", "SESN Vector")
        for column in ("28", "28+")
        for band in ("below", "inside", "above")
    }
    same, halfway = (-0.10, 0.10), (0, up)
    changes = questions.changes(EMPTY)
    assert ranges(changes) == [same, same, none, none, halfway, same, same, none, halfway]
    assert ranges(first_layer(EMPTY)) == [(-up, pytest.approx(-0.4771, abs=1e-4))] * 4, "a third"
    assert ranges(questions.less_data(questions.networks_by_data(EMPTY))) == [(0, up)] * 2 + [(-up, 0)] * 2
    last = questions.last_epoch(EMPTY)
    assert ranges(last) == [(-0.03, 0.03), none, none]
    kinds = questions.within({name: [] for name in questions.NAMES})  # of networks; the correlation comes first
    assert ranges(kinds) == [(60, up)] * len(kinds)
    counts = {"1": 4, "2": len(sizes), "3": 1 + len(changes) + 6, "4": 2, "6": sum(one.made for one in last)}
    assert counts == questions.TESTS


def test_records_and_the_table_are_read_apart(tmp_path: Path) -> None:
    Store(tmp_path).write(make_record(Cell(CNN, 1.0, 0), error=3.0))
    cell, record = run(CNN, "n1000", 0, 7.0)
    Store(tmp_path / "controls").write(record)
    Store(tmp_path / "controls").write({**run(CNN, "n2500", 0, 5.0)[1], "complete": False, "test_images": 40000})
    runs = controls.load(tmp_path)
    assert list(runs.records) == [cell]
    assert runs.table.errors(CNN, 1.0) == {0: 3.0}
    assert controls.load(tmp_path / "none").records == {}
    problems = " ".join(audit(tmp_path / "controls").problems)
    assert "parameters" not in problems
    assert f"seed is 7; that of its cell is {cell_seed(cell)}" in problems


@pytest.mark.parametrize("full", [True, False])
def test_figures_are_drawn_with_and_without_runs(full: bool) -> None:
    factors = np.array([0.25, 0.5, 1.0, 1.5])
    names = ("CNN", "SESN Scalar", "SESN Vector")
    curves = {name: {r: np.array([30.0, 3, 2, 20]) + r for r in range(3)} if full else {} for name in names}
    drawn: list[tuple[Callable[..., Any], tuple[Any, ...], int]] = [
        (
            figures.errors_by_factor,
            (factors, {"28": curves, "28+": curves}, {"28": (0.3, 1), "28+": (0.15, 2)}, 1.2),
            2,
        ),
        (figures.errors_by_images, ({n: {1000: {0: 7.0, 1: 7.5}, 10000: {0: 2.0}} if full else {} for n in names},), 2),
        (figures.equivariance_and_error, ({"1": {"CNN 28": [(0.1, 2.0)]} if full else {}, "logits": {}},), 2),
    ]
    for draw, arguments, panels in drawn:
        figure = draw(*arguments)
        assert len(figure.axes) == panels
        assert bool(figure.axes[0].lines) or not full
        figure.canvas.draw()
        plt.close(figure)


def test_bars_are_intervals_and_a_lead_is_below_zero() -> None:
    errors = {"CNN": [7.0, 7.5, 7.4], "SESN Scalar": [6.0, 6.4, 6.6]}
    figure = figures.errors_by_images({name: {1000: dict(enumerate(some))} for name, some in errors.items()})
    less = [b - a for a, b in zip(errors["CNN"], errors["SESN Scalar"])]
    for axis, expected in zip(figure.axes, (errors, {"SESN Scalar": less})):
        for bars, (name, values) in zip(axis.containers, expected.items(), strict=True):
            mean, half = np.mean(values), stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
            (((_, low), (_, high)),) = bars.lines[2][0].get_segments()  # type: ignore[union-attr]
            assert (bars.get_label(), low, high) == (name, pytest.approx(mean - half), pytest.approx(mean + half))
    plt.close(figure)
    two = figures.errors_by_images({"CNN": {1000: {0: 7.0, 1: 8.0}, 5000: {0: 4.0}}})
    for_two, for_one = two.axes[0].containers[0].lines[2][0].get_segments()  # type: ignore[union-attr]
    assert for_two[1][1] - for_two[0][1] == pytest.approx(2 * stats.t.ppf(0.975, 1) * 0.5), "two runs have an interval"
    assert for_one[1][1] == for_one[0][1] == 4.0, "one has none"
    plt.close(two)
