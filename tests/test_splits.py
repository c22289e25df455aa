"""Plans: sizes, strata, seeds, and no ambient randomness."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from data_prep import splits

LABELS = np.random.RandomState(3).choice(10, 70_000, p=np.arange(5, 15) / 95).astype(np.uint8)


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_sizes_strata_and_factors(protocol: str) -> None:
    plan = splits.plan(LABELS, 0, protocol)
    assert list(plan) == ["train", "test", "val"]
    assert {name: len(part.indices) for name, part in plan.items()} == splits.SIZES[protocol]
    every = np.concatenate([part.indices for part in plan.values()])
    assert len(np.unique(every)) == len(every)  # no image twice
    assert every.max() < splits.TOTALS[protocol]
    whole = np.bincount(LABELS[: splits.TOTALS[protocol]]) / splits.TOTALS[protocol]
    for part in plan.values():
        share = np.bincount(LABELS[part.indices]) / len(part.indices)
        assert np.abs(share - whole).max() <= 2 / len(part.indices)
        assert part.factors.min() >= 0.3
        assert part.factors.max() < 1.0
        assert abs(part.factors.mean() - 0.65) < 0.02


def test_paper_skips_every_other_draw() -> None:
    draws = random.Random(4)
    stream = [draws.random() for _ in range(2 * 62_000)][1::2]
    plan = splits.plan(LABELS, 4, "paper")
    factors = np.concatenate([part.factors for part in plan.values()])
    assert np.array_equal(factors, 0.3 + (1.0 - 0.3) * np.array(stream))


def test_paper_with_private_generators_equals_the_seeded_global_one() -> None:
    from sklearn.model_selection import train_test_split

    np.random.seed(2)
    learn, test = train_test_split(np.arange(70_000), train_size=12_000, test_size=50_000, stratify=LABELS)
    train, val = train_test_split(learn, train_size=10_000, test_size=2_000, stratify=LABELS[learn])
    plan = splits.plan(LABELS, 2, "paper")
    for name, indices in (("train", train), ("test", test), ("val", val)):
        assert np.array_equal(plan[name].indices, indices)


def test_report_gives_each_image_its_factor_before_splitting() -> None:
    draws = random.Random(1)
    factors = np.array([draws.uniform(0.3, 1.0) for _ in range(60_000)])
    plan = splits.plan(LABELS, 1, "report")
    assert sum(len(part.indices) for part in plan.values()) == 60_000
    for part in plan.values():
        assert np.array_equal(part.factors, factors[part.indices])
    other = splits.plan(LABELS, 2, "report")
    assert not np.array_equal(plan["val"].indices, other["val"].indices), "another realization, other digits"


def test_global_generators_are_neither_read_nor_moved() -> None:
    np.random.seed(11)
    random.seed(11)
    first = splits.plan(LABELS, 0, "paper")
    after = (np.random.random(), random.random())
    np.random.seed(11)
    random.seed(11)
    assert after == (np.random.random(), random.random())
    second = splits.plan(LABELS, 0, "paper")
    assert np.array_equal(first["test"].factors, second["test"].factors)
    other = splits.plan(LABELS, 1, "paper")
    assert not np.array_equal(first["test"].indices, other["test"].indices)


@pytest.mark.parametrize("realization", [7, -1, 6, 1.0, "0", True, None])
def test_wrong_realizations_are_quoted(realization: object) -> None:
    with pytest.raises(ValueError, match=f"{realization}.*choose 0 to 5"):
        splits.check("paper", realization)  # type: ignore[arg-type]


def test_wrong_protocols_and_short_data_are_quoted() -> None:
    with pytest.raises(ValueError, match="unknown protocol 'papper'; choose one of paper, report"):
        splits.check("papper", 0)
    with pytest.raises(ValueError, match="500 labels given; protocol 'paper' needs 70000"):
        splits.plan(LABELS[:500], 0, "paper")


def test_realizations_overlap() -> None:
    """Test sets by 71 %, training sets by 14 %: realizations are no independent draws."""
    plans = [splits.plan(LABELS, realization, "paper") for realization in range(3)]
    for split, share in (("test", 0.71), ("train", 0.14)):
        assert splits.overlap("paper", split) == pytest.approx(share, abs=0.005)
        for a, b in combinations(plans, 2):
            common = len(np.intersect1d(a[split].indices, b[split].indices)) / len(a[split].indices)
            assert common == pytest.approx(splits.overlap("paper", split), abs=0.01)
    assert splits.overlap("report", "test") == pytest.approx(48_000 / 60_000), "of its own pool"
