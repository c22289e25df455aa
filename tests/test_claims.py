"""The paper's claims before evidence: right values on the first 101 runs, and rules that hold as runs arrive."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from recorded import recorded
from scipy import stats
from statsmodels.stats.multitest import multipletests
from toy_cells import make_record

from sesn_lib.analysis import claims, published
from sesn_lib.analysis.claims import CLAIMS, COMPARISONS, INTERACTIONS, REGIMES, Answer, Question
from sesn_lib.analysis.evidence import OurRuns, Samples
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.results import looks as load_looks
from sesn_lib.analysis.statistics import Difference
from sesn_lib.experiments.mnist_scale import Cell

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "results"
PUBLISHED = published.load(FOLDER)
PAPER = Samples(PUBLISHED.paper)
LOOKED = (2, 4, 7, 8, 17, 19, 20, 32, 38, 50, 60, 66)


@pytest.fixture(scope="module")
def ours() -> dict[tuple[str, str], Answer]:
    """(claim, regime) -> what the first 101 runs say."""
    return {(a.question.claim, a.question.where): a for a in claims.answer(REGIMES, OurRuns(recorded(), LOOKED), PAPER)}


def errors(row: str, column: str) -> np.ndarray:
    found = recorded().condition(row, column)
    return np.array([found[r] for r in range(6)])


def lead(column: str) -> np.ndarray:
    return (errors("SESN Scalar", column) + errors("SESN Vector", column)) / 2 - errors("CNN", column)


def test_there_are_twelve_effects_in_four_claims() -> None:
    assert (len(REGIMES), len(CLAIMS), len(COMPARISONS), len(INTERACTIONS)) == (12, 4, 24, 7)
    for question in (*REGIMES, *CLAIMS, *COMPARISONS):
        for row in question.rows:
            assert sum(weight * PUBLISHED.paper[cell].mean for cell, weight in row.items()) < 0, "as the paper has it"
    assert all(sum(row.values()) == 0 for question in INTERACTIONS for row in question.rows)


# Point 1: each regime for itself, the interaction, the size


@pytest.mark.parametrize(
    ("column", "estimate", "verdict"),
    [
        ("28", -0.393, "reproduced"),
        ("28+", -0.100, "undecided"),
        ("56", -0.252, "reproduced"),
        ("56+", -0.090, "undecided"),
    ],
)
def test_the_lead_over_the_cnn_in_each_regime(
    ours: dict[tuple[str, str], Answer], column: str, estimate: float, verdict: str
) -> None:
    found = ours[claims.CNN, column]
    by_hand = stats.ttest_1samp(lead(column), 0)
    assert found.found.estimate == pytest.approx(lead(column).mean(), abs=1e-4)
    assert found.found.estimate == pytest.approx(estimate, abs=0.0006)
    assert found.found.p == pytest.approx(by_hand.pvalue, rel=1e-6)
    assert (found.found.low, found.found.high) == pytest.approx(tuple(by_hand.confidence_interval()), abs=1e-6)
    assert found.by_model.low > found.found.low - 0.02
    assert found.by_model.method == "mixed model"
    assert found.verdict == verdict


def test_the_lead_with_augmentation_differs_from_that_without() -> None:
    """As said by hand: -0.39 [-0.45, -0.34] against -0.10 [-0.22, +0.01], p = 0.0004."""
    change = stats.ttest_1samp(lead("28+") - lead("28"), 0)
    assert change.pvalue == pytest.approx(0.0004, abs=5e-5)
    assert tuple(stats.ttest_1samp(lead("28"), 0).confidence_interval()) == pytest.approx((-0.45, -0.34), abs=0.005)
    assert tuple(stats.ttest_1samp(lead("28+"), 0).confidence_interval()) == pytest.approx((-0.22, 0.01), abs=0.006)
    found = claims.answer(INTERACTIONS, OurRuns(recorded(), LOOKED), PAPER)[0]
    assert found.question.where == "with + less without, 28"
    assert found.found.estimate == pytest.approx((lead("28+") - lead("28")).mean(), abs=1e-3)
    assert found.found.p == pytest.approx(change.pvalue, rel=1e-6)
    assert found.by_model.p < found.found.p, "the larger p counts: at the second look six times, then Holm over seven"
    assert found.p == pytest.approx(7 * 6 * change.pvalue, rel=1e-6)
    # The paper has the same change, of the same size: ours does not contradict it.
    assert found.gap.low < 0 < found.gap.high


def fieller(a: float, sa: float, b: float, sb: float, t: float) -> tuple[float, float]:
    """Roots of (a - r b)^2 = t^2 (sa^2 + r^2 sb^2)."""
    return tuple(sorted(np.roots([b**2 - (t * sb) ** 2, -2 * a * b, a**2 - (t * sa) ** 2])))


def test_the_share_of_the_paper_s_size(ours: dict[tuple[str, str], Answer]) -> None:
    found = ours[claims.CNN, "28"]
    cells = [PUBLISHED.paper[row, "28"] for row in ("SESN Scalar", "SESN Vector", "CNN")]
    paper_error = math.sqrt((cells[0].std ** 2 / 4 + cells[1].std ** 2 / 4 + cells[2].std ** 2) / 6)
    assert found.paper.error == pytest.approx(paper_error)
    assert found.share.estimate == pytest.approx(0.393 / 0.47, abs=0.002)
    low, high = fieller(found.found.estimate, found.found.error, -0.47, paper_error, 2.0)
    assert (found.share.low, found.share.high) == pytest.approx((low, high), abs=0.03)
    assert math.isinf(ours[claims.VECTOR, "28"].share.high)  # the paper's own effect may be zero


def test_two_cells_that_part_in_few_realizations_by_luck_make_no_verdict() -> None:
    """Six differences that lie close together by chance have a tiny paired p; the model knows how much runs scatter."""
    found = {(a.question.claim, a.question.where): a for a in claims.answer(INTERACTIONS, OurRuns(recorded()), PAPER)}
    lucky = found[claims.CNN, "56 less 28"]
    assert lucky.found.p < 0.001 < 0.03 < lucky.by_model.p
    assert claims.larger_p(lucky) == lucky.by_model.p
    assert not lucky.p < 0.05


# Point 2: effect against effect, with both uncertainties, after Holm


def test_not_reproduced_needs_a_difference_from_the_paper() -> None:
    found = {a.question.where: a for a in claims.answer(COMPARISONS, OurRuns(recorded(), LOOKED), PAPER)}
    scalar = found["SESN Scalar 28+ before CNN 28+"]
    theirs = [PUBLISHED.paper[row, "28+"] for row in ("SESN Scalar", "CNN")]
    error = math.sqrt(scalar.found.error**2 + sum(s.std**2 / 6 for s in theirs))
    assert scalar.gap.estimate == pytest.approx(-0.049 + 0.17, abs=2e-3)
    assert scalar.gap.error == pytest.approx(error)
    assert scalar.found.low > -0.17, "the paper's effect taken as exact would be excluded"
    assert scalar.gap.p > 0.05, "it is not, with its own uncertainty"
    assert scalar.verdict == "undecided"
    assert "not reproduced" not in {a.verdict for a in found.values()}


def given(estimate: float, p: float, gap: float = 0.1, p_gap: float = 1.0, runs: int = 6) -> Answer:
    nothing = Difference(math.nan)
    return Answer(
        REGIMES[0], (True, True), Difference(estimate), nothing, nothing, Difference(gap), nothing, 1, runs, p, p_gap
    )


def test_verdicts_by_hand() -> None:
    assert given(-0.2, 0.01).verdict == "reproduced"
    assert given(0.2, 0.01).verdict == "not reproduced"
    assert given(-0.02, 0.6, p_gap=0.01).verdict == "not reproduced"  # no effect, and less than the paper's
    assert given(-0.02, 0.6, gap=-0.1, p_gap=0.01).verdict == "undecided"  # more than the paper's
    assert given(-0.02, 0.6).verdict == "undecided"
    assert given(-0.2, 0.01, runs=2).verdict == "undecided"
    assert given(math.nan, math.nan).verdict == "no data"
    assert claims.size_word(given(-0.1, 0.01, gap=0.1, p_gap=0.01)) == "smaller"
    assert claims.size_word(given(-0.1, 0.01, gap=-0.1, p_gap=0.01)) == "larger"
    assert claims.size_word(given(-0.1, 0.01)) == "not told apart"


def test_corrections_by_hand(ours: dict[tuple[str, str], Answer]) -> None:
    """The larger p of the two tests; at the k-th look it counts k (k + 1) times, then Holm over the twelve."""
    charged = [min(1.0, max(a.found.p, a.by_model.p) * a.looks * (a.looks + 1)) for a in ours.values()]
    assert [a.p for a in ours.values()] == pytest.approx(list(multipletests(charged, method="holm")[1]), rel=1e-9)
    # The look at 101 runs, and those before it at which this comparison had new runs.
    assert {a.question.where: a.looks for (c, _), a in ours.items() if c == claims.CNN} == {
        "28": 4,
        "28+": 2,
        "56": 1,
        "56+": 1,
    }


def test_what_cannot_be_tested_yet_counts_in_both_corrections() -> None:
    far = {cell: replace(s, mean=s.mean + 0.7 * (cell[0] == "CNN")) for cell, s in PUBLISHED.paper.items()}
    answers = claims.answer(REGIMES, OurRuns(recorded(60), LOOKED[:-2]), Samples(far))
    judged = [a for a in answers if a.runs >= 3]
    assert 0 < len(judged) < 12
    assert min(a.p_gap for a in judged) < 0.5, "a correction can be seen"
    for found, p in ((lambda a: a.p, claims.larger_p), (lambda a: a.p_gap, lambda a: a.gap.p)):
        charged = [min(1.0, p(a) * a.looks * (a.looks + 1)) for a in judged] + [1.0] * (12 - len(judged))
        by_hand = multipletests(charged, method="holm")[1][: len(judged)]
        assert [found(a) for a in judged] == pytest.approx(list(by_hand), rel=1e-9)
        assert all(math.isnan(found(a)) for a in answers if a.runs < 3)


def test_a_look_that_finds_no_new_run_is_no_chance() -> None:
    few = OurRuns(recorded(), (101,)).looks(REGIMES[0].rows)
    same = OurRuns(recorded(), (99, 100)).looks(REGIMES[0].rows)  # the last runs are of 56 pixels
    assert (few, same) == (1, 1)
    assert OurRuns(recorded(60), (1, 2, 5)).looks(REGIMES[0].rows) == 1, "one realization has no p"
    pair = recorded(keep=lambda c: c.model in ("mnist_cnn_28", "mnist_ses_vector_28") and c.extra_scaling == 1.0)
    assert OurRuns(pair, (11,)).looks(REGIMES[0].rows) == 2, "any of its comparisons"
    assert Samples(PUBLISHED.paper).looks(REGIMES[0].rows) == 0


def numbers(pattern: str) -> Callable[[str], list[int]]:
    return lambda said: [int(number) for number in re.findall(pattern, said)]


def summed(said: str) -> list[int]:
    """The runs of all parts in the table of controls."""
    return [sum(map(int, re.findall(r"\| [\w-]+ \| (\d+) of \d+ \|", said)))]


def history(names: tuple[str, ...], count: Callable[[str], list[int]]) -> list[int]:
    """The numbers that a notebook, under each of its names, showed in its committed states, zero left out."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(FOLDER), *arguments], capture_output=True, text=True).stdout

    found = []
    for name, commit in ((n, c) for n in names for c in git("log", "--format=%h", "--", f":/notebooks/{n}").split()):
        if not (text := git("show", f"{commit}:notebooks/{name}")):
            continue  # the commit that took the name away
        outputs = [output for cell in nbformat.reads(text, as_version=4).cells for output in cell.get("outputs", [])]
        data = [output.get("data", {}) for output in outputs]
        said = [output.get("text", "") for output in outputs]
        found += count(
            "\n".join([*said, *(one.get(f"text/{kind}", "") for one in data for kind in ("plain", "markdown"))])
        )
    return sorted(set(found) - {0})


RESULTS = ("00_poster.ipynb", "08_results.ipynb", "10_results.ipynb")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "names", "count"),
    [
        ("table", RESULTS, numbers(r"(\d+) of 120 runs (?:are there|of SESN)")),
        ("rivals", RESULTS, numbers(r"(\d+) of 168 runs of (?:other methods are there|the seven other ways)")),
        ("precision", ("06_train_mnist_scale.ipynb", "08_train_mnist_scale.ipynb"), numbers(r"n = (\d+) pairs")),
        ("controls", ("11_beyond_the_table.ipynb",), summed),
    ],
)
def test_the_looks_are_those_of_the_history(
    key: str, names: tuple[str, ...], count: Callable[[str], list[int]]
) -> None:
    listed, found = load_looks(FOLDER)[key], history(names, count)
    if len(found) < 2:
        pytest.skip("the history is not here")
    newest = set(found[-1:])
    assert set(found) - set(listed) <= newest, f"add {found} to looks.yml; the newest may be missing"
    assert set(found) >= set(listed[:5])  # negative control: the history was read


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"table": [2, 1], "precision": []},
        {key: [2, 2] for key in ("table", "precision", "rivals", "controls")},
        {"table": ["2"], "rivals": []},
        [1],
    ],
)
def test_other_looks_are_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "looks.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"looks.yml: table is .*: it must be a list of numbers of runs that increase"):
        load_looks(tmp_path)


# Point 8: more data never make it worse


def results(runs: dict[Cell, float]) -> Results:
    stamp = {cell: f"2026-01-01T00:00:{index:02d}Z" for index, cell in enumerate(runs)}
    return Results(
        {c: make_record(c, error=e, timing={"finished": stamp[c], "train_seconds": 1.0}) for c, e in runs.items()}
    )


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_more_runs_never_blur_an_effect(seed: int) -> None:
    """The model's standard error, in units of what the seed leaves, of every regime, as the table fills in any order.

    That over realizations is an estimate from six values and scatters about it.
    """
    draws = np.random.default_rng(seed)
    cells = [Cell(model, scaling, r) for model, scaling in published.REGIME.values() for r in range(6)]
    common = draws.normal(0, 3.0, 6)  # far above the seed's: then the weights hardly depend on what is estimated
    order = [cells[i] for i in draws.permutation(len(cells))]
    runs: dict[Cell, float] = {}
    last: dict[tuple[str, str], float] = {}
    for count, cell in enumerate(order, start=1):
        runs[cell] = float(10 + common[cell.realization] + draws.normal(0, 0.07))
        if count < 24 or count % (6 if seed == 0 else 2):
            continue
        source = OurRuns(results(runs))
        for a in claims.answer(REGIMES, source, PAPER):
            key = (a.question.claim, a.question.where)
            if a.runs >= 3:
                now = a.by_model.error / source.model.seed
                assert now <= last.get(key, math.inf) * 1.001
                last[key] = now
            else:
                assert key not in last, "what could be judged stays judged"
    assert len(last) == 12


def test_a_late_comer_does_not_cost_the_others() -> None:
    """A first run at 56 pixels does not reduce what six realizations at 28 say."""
    early = recorded(keep=lambda cell: "56" not in cell.model)
    late = recorded(keep=lambda cell: "56" not in cell.model or cell.realization == 4)
    answers = [claims.answer(CLAIMS, OurRuns(found), PAPER) for found in (early, late)]
    judged = [(before, after) for before, after in zip(*answers) if any(before.used)]
    assert len(judged) == 3
    for before, after in judged:
        assert after.used == before.used
        assert after.found.estimate == pytest.approx(before.found.estimate, abs=0.01)
        assert after.found.n == before.found.n


def test_augmentation_at_66_runs_uses_all_six_realizations() -> None:
    """The first runs of 56 pixels took it from six realizations to three."""
    found = claims.answer(CLAIMS, OurRuns(recorded(66), LOOKED[:-1]), PAPER)[2]
    assert (found.question.claim, sum(found.used), found.runs) == (claims.AUGMENTATION, 4, 3)
    narrow = claims.answer(CLAIMS, OurRuns(recorded(60), LOOKED[:-2]), PAPER)[2]
    assert narrow.runs == 6
    assert found.by_model.error < narrow.by_model.error


def test_some_cells_only() -> None:
    some = recorded(keep=lambda cell: cell.model in ("mnist_cnn_28", "mnist_ses_vector_28") and cell.extra_scaling == 1)
    first, *others = claims.answer(REGIMES, OurRuns(some), PAPER)
    assert first.used == (False, True)
    assert first.partial
    assert first.paper.estimate == pytest.approx(2.08 - 2.56), "held against the same part of the paper"
    assert first.verdict == "reproduced"
    assert first.p == pytest.approx(min(1.0, 12 * 2 * max(first.found.p, first.by_model.p))), (
        "the family is the table, from the first run on"
    )
    assert {a.verdict for a in others} == {"no data"}
    assert {a.verdict for a in claims.answer(REGIMES, OurRuns(Results({})), PAPER)} == {"no data"}


def test_two_realizations_decide_nothing() -> None:
    few = recorded(keep=lambda cell: cell.realization < 2 and "28" in cell.model)
    found = claims.answer(REGIMES, OurRuns(few), PAPER)[0]
    assert found.runs == 2
    assert found.by_model.p < 0.001
    assert found.verdict == "undecided"
    assert math.isnan(found.p)


def test_no_common_realization_is_not_no_data() -> None:
    few = recorded(
        keep=lambda c: (
            c.extra_scaling == 1 and (c.model, c.realization) in {("mnist_cnn_28", 0), ("mnist_ses_vector_28", 1)}
        )
    )
    assert claims.answer(REGIMES, OurRuns(few), PAPER)[0].verdict == "no data"


# What the published figures alone say


def test_the_paper_s_own_figures() -> None:
    said = {(a.question.claim, a.question.where): a.verdict for a in claims.answer(REGIMES, PAPER, PAPER)}
    undecided = {key for key, word in said.items() if word != "reproduced"}
    assert undecided == {(claims.CNN, "56+"), *((claims.VECTOR, column) for column in published.COLUMNS)}
    vector = claims.answer(CLAIMS, PAPER, PAPER)[1]
    # As a Welch contrast by hand: all four columns, -0.048, p = 0.053.
    parts = [
        PUBLISHED.paper[row, c].std ** 2 / 6 / 16 for row in ("SESN Vector", "SESN Scalar") for c in published.COLUMNS
    ]
    df = sum(parts) ** 2 / sum(part**2 / 5 for part in parts)
    p = 2 * stats.t.sf(0.0475 / math.sqrt(sum(parts)), df)
    assert vector.found.estimate == pytest.approx(-0.0475)
    assert vector.found.p == pytest.approx(p)
    assert p == pytest.approx(0.053, abs=5e-4)


def test_a_question_is_a_mean_of_its_rows() -> None:
    two: Question = Question("x", "y", (REGIMES[0].rows[0], REGIMES[1].rows[0]))
    whole = claims.answer([two], PAPER, PAPER)[0].found.estimate
    parts = [claims.answer([replace(two, rows=(row,))], PAPER, PAPER)[0].found.estimate for row in two.rows]
    assert whole == pytest.approx(np.mean(parts))
