"""How large an effect has to be to be shown: by simulations in which it is found four times out of five."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from scipy import stats

from sesn_lib.analysis import power, published, statistics, verdicts
from sesn_lib.analysis.claims import PAPER, US
from sesn_lib.analysis.statistics import NOMINAL
from sesn_lib.analysis.verdicts import Findings

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
LOOKED = (2, 4, 7, 8, 17, 19, 20, 32, 38, 50, 60, 66)
PLACES = ["28+", "56+", "28", "28+", "56", "56+"]  # of SESN before the CNN; of vector before scalar features


@pytest.fixture(scope="module")
def findings() -> Findings:
    return verdicts.evidence(recorded(), PUBLISHED, LOOKED)


def found(effect: float, spread: float, level: float) -> float:
    """How often a paired t over six realizations finds it, of 40,000 simulations."""
    draws = np.random.default_rng(0).normal(effect, spread, (40_000, 6))
    return float(np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < level))


def test_what_is_needed_is_found_four_times_out_of_five(findings: Findings) -> None:
    """Seeds alone: two SESN before the CNN scatter by seed sqrt(1 + 1/4 + 1/4), vector before scalar by seed sqrt 2."""
    given = power.undecided(findings)
    assert [one.answer.question.where for one in given] == PLACES
    assert [one.answer.looks for one in given] == [2, 1, 3, 2, 1, 1]
    for one in given:
        seeds = findings.model.seed * (1.5 if "CNN" in one.answer.question.claim else 2.0) ** 0.5
        own = one.answer.found.error * 6**0.5
        k = one.answer.looks
        level = NOMINAL / 6 / (k * (k + 1))
        assert found(one.first, seeds, NOMINAL / 12) == pytest.approx(0.8, abs=0.01)
        assert found(one.seeds, seeds, level) == pytest.approx(0.8, abs=0.01)
        assert found(one.own, own, level) == pytest.approx(0.8, abs=0.01)
        assert one.needed == max(one.seeds, one.own) >= one.first
        if k > 1:
            assert found(one.first, seeds, level) < 0.7, "negative control: looks that were not charged"
        assert found(one.needed, max(seeds, own), level / 2) < 0.75, "negative control: Holm's first step, of 12"


def test_the_values_of_the_first_101_runs(findings: Findings) -> None:
    given = power.undecided(findings)
    assert [round(one.first, 2) for one in given] == [0.23, 0.23, 0.26, 0.26, 0.26, 0.26]
    assert [round(one.seeds, 2) for one in given] == [0.29, 0.23, 0.38, 0.33, 0.26, 0.26]
    assert [round(one.own, 2) for one in given] == [0.35, 0.26, 0.29, 0.22, 0.18, 0.27]
    assert power.sentence(findings) == (
        "For a chance of 80 % to be found, an undecided effect must be 0.26 to 0.38 points (depending on looks and "
        "scatter; Holm over the 6 left); in the paper all 6 are smaller, so they may be missed."
    )
    shown = power.table(findings)
    assert list(shown["as charged, seeds alone"]) == ["0.29", "0.23", "0.38", "0.33", "0.26", "0.26"]
    assert list(shown["looks"]) == ["2", "1", "3", "2", "1", "1"]


def test_the_step_of_holm_is_the_one_that_an_undecided_effect_has_to_pass(findings: Findings) -> None:
    """Six of twelve are rejected: a seventh is, if six times its p is below 0.05, as Holm's procedure itself says."""
    assert power.left(findings) == 6
    answers = findings.regimes[US]
    rejected = [a.p for a in answers if a.verdict == "reproduced"]
    assert len(rejected) == 6
    one = power.undecided(findings)[0]
    for p, passes in ((0.049 / 6, True), (0.051 / 6, False)):
        assert (statistics.holm([*([1e-6] * 6), p, *([0.9] * 5)])[6] < NOMINAL) == passes
    open_ = [replace(a, p=1.0) for a in answers]
    none = replace(findings, regimes={**findings.regimes, US: open_})
    assert power.left(none) == 12
    assert power.undecided(none)[0].needed > one.needed


def test_three_realizations_are_enough_to_ask(findings: Findings) -> None:
    def with_runs(count: int) -> Findings:
        ours = [replace(a, runs=count) for a in findings.regimes[US]]
        return replace(findings, regimes={**findings.regimes, US: ours})

    assert len(power.undecided(with_runs(3))) == len(PLACES)
    assert power.undecided(with_runs(2)) == []


def test_an_effect_as_large_as_what_is_needed_would_not_be_missed(findings: Findings) -> None:
    needed = power.undecided(findings)[0]
    paper = [
        replace(a, found=replace(a.found, estimate=-1.0)) if a.question == needed.answer.question else a
        for a in findings.regimes[PAPER]
    ]
    said = power.sentence(replace(findings, regimes={**findings.regimes, PAPER: paper}))
    assert "in the paper 5 of the 6 are smaller" in said


def test_nothing_undecided_says_nothing() -> None:
    none = verdicts.evidence(recorded(0), PUBLISHED)
    assert power.sentence(none) == ""
    assert power.table(none).empty
