"""What six realizations of one pool of digits cannot show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from scipy import stats

from sesn_lib.analysis import digits
from sesn_lib.analysis.evidence import OurRuns
from sesn_lib.analysis.results import Results
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import Cell

SESN, CNN = ("SESN Vector", "28"), ("CNN", "28")


def test_what_is_hidden_by_a_simulation() -> None:
    """Six test sets drawn from one pool: the scatter of their mean beyond what their own scatter tells."""
    draws = np.random.default_rng(0)
    pool, size, errors = 1400, 1000, []
    seen = []
    for _ in range(600):
        gain = draws.choice([1, 0, -1], pool, p=[0.2, 0.7, 0.1])
        means = np.array([gain[draws.permutation(pool)[:size]].mean() for _ in range(6)])
        errors.append(means.mean())
        seen.append(means.var(ddof=1) / 6)
    hidden = np.var(errors) - np.mean(seen)
    one = (0.3 - 0.1**2) / size
    assert hidden == pytest.approx(one * size / pool, rel=0.15)


def read_by(right: dict[str, set[int]], *, realizations: int = 1) -> Results:
    """Records of 200 digits, all read but those named."""
    return Results(
        {
            Cell(model, 1.0, r): {"correct": encode(i not in wrong for i in range(200)), "test_images": 200}
            for model, wrong in right.items()
            for r in range(realizations)
        }
    )


def test_which_digits_were_right_are_used_where_records_know() -> None:
    assert digits.gains(recorded(), SESN, CNN) == {}
    results = read_by({"mnist_ses_vector_28": {0, 1}, "mnist_cnn_28": {1, 2, 3}})
    (gain,) = digits.gains(results, SESN, CNN).values()
    assert gain[:5].tolist() == [1, 0, -1, -1, 0], "the first's error minus the second's"


def test_digit_by_digit_by_hand() -> None:
    """One digit that only the CNN reads, nine that only SESN reads: McNemar's p is 2 (1 + 10) / 2^10; Holm over two."""
    results = read_by({"mnist_ses_vector_28": {0}, "mnist_cnn_28": set(range(1, 10))}, realizations=2)
    table = digits.discordance_table(results)
    p = 22 / 1024
    assert list(table.iloc[0]) == [200, 9, 1, f"{p:.3f}", f"{2 * p:.3f}"]
    assert table.columns[-1] == "p, Holm over 2"
    assert digits.discordance_table(recorded()).empty


def test_the_table_by_hand() -> None:
    ours = OurRuns(recorded())
    table = digits.digits_table(ours)
    assert len(table) == 8
    row = table.loc["SESN Vector 28 before CNN"]
    errors = [np.mean(list(recorded().condition(*cell).values())) / 100 for cell in (SESN, CNN)]
    bound = 100 * math.sqrt((sum(errors) - (errors[0] - errors[1]) ** 2) / 50000 * 5 / 7)
    assert row["hidden in common digits"] == f"at most {bound:.3f}"
    assert row["known from"] == "the two errors"
    both = math.hypot(ours.estimate({SESN: 1.0, CNN: -1.0}).error, bound)
    assert row["difference / both"] == f"at least {0.369 / both:.1f}"
    assert digits.digits_table(OurRuns(Results({}))).empty


# Synthetic records that say which digits were right: what is hidden is computed


def synthetic(draws: np.random.Generator, alike: float) -> tuple[Results, dict[int, np.ndarray]]:
    """SESN and CNN at 28 on six synthetic test sets of 2,000 out of 2,800 digits.

    A digit is hard for a network with probability 0.05, and then misread. In a share `alike` of the digits it is hard
    or not in every realization alike, in the others it is drawn anew each time.
    """
    pool, size = 2800, 2000
    chosen = {r: draws.permutation(pool)[:size] for r in range(6)}
    always = draws.random(pool) < alike
    records = {}
    for model, rate in (("mnist_ses_vector_28", 0.04), ("mnist_cnn_28", 0.06)):
        ease = draws.random(pool)
        for r, indices in chosen.items():
            wrong = np.where(always, ease, draws.random(pool))[indices] < rate
            records[Cell(model, 1.0, r)] = {
                "correct": encode(~wrong),
                "test_images": size,
                "test_error_50k": 100 * wrong.mean(),
                "timing": {"finished": "2026-01-01T00:00:00Z"},
                "note": "synthetic: made for a test, by no network",
            }
    return Results(records), chosen


@pytest.mark.parametrize("alike", [1.0, 0.5, 0.0])
def test_the_common_part_is_found(alike: float) -> None:
    """Its expectation is alike x overlap x variance / N, the overlap of two test sets being N / T."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(60):
        results, pool = synthetic(draws, alike)
        common = digits.common_variance(digits.gains(results, SESN, CNN), pool)
        assert common is not None
        found.append(common)
    rates = (0.04, 0.06)
    expected = alike * 2000 / 2800 * 100**2 * sum(rate * (1 - rate) for rate in rates) / 2000
    assert np.mean(found) == pytest.approx(expected, abs=0.02 + 0.05 * expected)


@pytest.mark.slow
def test_the_interval_for_other_digits_covers_and_the_one_for_these_does_not() -> None:
    """The truth is a lead of 2 points over all digits there could be; a pool is drawn each of 80 times."""
    draws, inside = np.random.default_rng(1), []
    for _ in range(80):
        results, pool = synthetic(draws, 1.0)
        found = OurRuns(results).estimate({SESN: 1.0, CNN: -1.0})
        common = digits.common_variance(digits.gains(results, SESN, CNN), pool)
        half = stats.t.ppf(0.975, 5)
        both = math.hypot(found.error, math.sqrt(max(common or 0.0, 0.0)))
        inside.append([abs(found.estimate + 2) < half * error for error in (found.error, both)])
    these, others = np.mean(inside, axis=0)
    assert these < 0.85
    assert others > 0.93


def test_the_table_says_whence_it_knows() -> None:
    results, pool = synthetic(np.random.default_rng(2), 0.5)
    (row,) = digits.digits_table(OurRuns(results), pool).to_dict("records")
    assert row["known from"] == "digits of 6 realizations"
    common = digits.common_variance(digits.gains(results, SESN, CNN), pool)
    assert row["hidden in common digits"] == f"{math.sqrt(common or math.nan):.3f}", "the root of a variance"
    both = math.hypot(OurRuns(results).estimate({SESN: 1.0, CNN: -1.0}).error, math.sqrt(common or math.nan))
    assert row["both"] == f"{both:.3f}"
    (bounded,) = digits.digits_table(OurRuns(results)).to_dict("records")
    assert bounded["hidden in common digits"].startswith("at most ")
    assert float(bounded["hidden in common digits"].removeprefix("at most ")) > float(row["hidden in common digits"])
    one = {cell: record for cell, record in results.records.items() if cell.realization == 0}
    rest = {c: {k: v for k, v in r.items() if k != "correct"} for c, r in results.records.items() if c not in one}
    (single,) = digits.digits_table(OurRuns(Results({**one, **rest})), pool).to_dict("records")
    assert single["known from"] == "digits of 1 realization"
    assert single["hidden in common digits"].startswith("at most ")
    blind = Results({c: {k: v for k, v in r.items() if k != "correct"} for c, r in results.records.items()})
    (again,) = digits.digits_table(OurRuns(blind), pool, results).to_dict("records")
    assert again == {**row, "known from": "digits of 6 realizations of repeats"}, "other runs of the same cells"
    own = digits.own_correlation(results, pool)
    assert own == pytest.approx([0.5, 0.5], abs=0.1), "half of the digits are hard or not in every realization alike"
    shuffled = {realization: np.random.default_rng(9).permutation(indices) for realization, indices in pool.items()}
    assert max(map(abs, digits.own_correlation(results, shuffled))) < 0.1, "negative control: digits mixed up"
    (ratio,) = digits.tightness(results, pool)
    assert ratio == pytest.approx(0.5, abs=0.25)


@pytest.mark.slow
def test_which_digits_are_the_same_is_known_from_the_labels(tmp_path: Path) -> None:
    assert digits.pool_of_digits(tmp_path) is None
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"something else")
    assert digits.pool_of_digits(tmp_path) is None
    pool = digits.pool_of_digits()
    if pool is None:
        pytest.skip("MNIST is not here")
    assert all(len(set(indices.tolist())) == 50000 for indices in pool.values())
    shared = [len(np.intersect1d(pool[a], pool[b])) / 50000 for a in pool for b in range(a)]
    assert np.mean(shared) == pytest.approx(5 / 7, abs=0.001)


def test_what_two_test_sets_share_by_hand() -> None:
    """Gains less their means 1/2 and 1/4; digits 1 to 3 are in both: (-1/2 * 3/4 + 1/2 * -1/4 - 1/2 * -1/4) / 16."""
    gains = {0: np.array([1, 0, 1, 0]), 1: np.array([1, 0, 0, 0])}
    found = digits.common_variance(gains, {0: np.arange(4), 1: np.arange(1, 5)})
    assert found == pytest.approx(100**2 * (-0.375 - 0.125 + 0.125) / 16)
