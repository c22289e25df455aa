"""The answer for a reader with three minutes, and its figures: what is said and drawn is what was found."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from recorded import recorded
from test_duels import NEVER, synthetic
from test_plotting_results import overlaps

from sesn_lib.analysis import brief, duels, published, sizes, verdicts
from sesn_lib.analysis.claims import US
from sesn_lib.analysis.results import Results
from sesn_lib.plotting import comparisons, style

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
LOOKED = (2, 4, 7, 8, 17, 19, 20, 32, 38, 50, 60, 66)

pytestmark = pytest.mark.usefixtures("clean_figures")


def said(results: Results, looked: tuple[int, ...] = ()) -> dict[str, str]:
    findings = verdicts.evidence(results, PUBLISHED, looked)
    found = duels.duels(results, PUBLISHED, {"table": looked, "rivals": ()})
    text = brief.in_brief(findings, results, PUBLISHED, found, looked)
    lines = [line[4:].split(".** ", 1) for line in text.splitlines() if line.startswith("- ")]
    return {"head": text.splitlines()[0], **dict(lines)}


def test_the_answer_of_the_first_101_runs() -> None:
    found = said(recorded(), LOOKED)
    assert found["head"] == (
        "From all 72 runs of SESN and CNN in the table (28, 56: pixels a side; +: training digits rescaled at random):"
    )
    assert found["In direction (who is better)"] == (
        "Reproduced: SESN beats the plain CNN (28, 56); scale augmentation helps (28, 56); "
        "56 pixels beat 28 (without +, with +)."
    )
    assert found["Where not"] == (
        "Undecided: SESN beats the plain CNN (28+, 56+); vector features beat scalar ones (28, 28+, 56, 56+)."
    )
    assert found["In size"].startswith("Of 12 effects none differs significantly in size")
    assert found["How sure"].startswith(
        "Each effect is seen in 6 realizations and tested twice, by a paired t-test and by one statistical model of "
        "all runs; the larger p counts. The least sure of what is reproduced has p = 0.015 (charged for looks, Holm "
        "over 12). "
    )
    assert found["How sure"].endswith(
        "For a chance of 80 % to be found, an undecided effect must be 0.26 to 0.38 points (depending on looks and "
        "scatter; Holm over the 6 left); in the paper all 6 are smaller, so they may be missed."
    )
    above = "+0.04 [−0.03, +0.11] points in our runs, +0.04 [−0.03, +0.11] in the report’s"
    assert found["SESN’s mean error"].startswith(f"Minus the paper’s: {above} (n = 6 ")
    assert found["SESN’s mean error"].endswith(" Whether that is chance is open.")
    assert "a smaller share on small digits than on large ones at 56; " in found["Small digits"]
    assert "Not judged, for none of the 168 runs of the seven is" in found["Every other method"]
    settled = "settled at 28, 56 and 56+, not at 28+ (Welch, n = 6 a side, Holm likewise)."
    assert settled in found["Every other method"]
    assert found["The earlier report’s runs"].endswith("(Welch contrast, n = 5 runs a cell or more, Holm over 12).")


@pytest.mark.parametrize("count", [0, 1, 7, 20, 40])
def test_there_is_an_answer_at_any_time(count: int) -> None:
    found = said(recorded(count))
    assert ("none of the 120" in found["head"]) == (count == 0)
    if count in (7, 20):  # at 20 one effect of the twelve has six realizations
        assert "a direction, not a verdict" in found["How sure"]
    if count == 7:
        assert found["In direction (who is better)"] == "Nothing is reproduced yet."
    assert "nan" not in " ".join(found.values())


def test_every_other_method_in_brief() -> None:
    whole = synthetic({**dict.fromkeys(duels.OTHERS, 0.4), "SiCNN": -0.4})
    line = duels.short_sentence(whole, duels.duels(whole, PUBLISHED, NEVER))
    said = "At 28, 28+, 56 and 56+ not reproduced (from 168 of 168 runs of the seven; paired t"
    assert said in line


def test_places_group_by_claim() -> None:
    regimes = verdicts.evidence(recorded(), PUBLISHED, LOOKED).regimes[US]
    assert brief.places(regimes, "no data") == ""
    assert brief.places(regimes, "reproduced", "undecided").count("(") == 4


# Figures


@pytest.mark.slow
@pytest.mark.parametrize("realizations", [0, 2, 6])
def test_duels_are_where_their_differences_are(realizations: int) -> None:
    whole = synthetic(dict.fromkeys(duels.OTHERS, 0.4), realizations=realizations)
    found = duels.duels(whole, PUBLISHED, NEVER)
    figure = comparisons.duels(found)
    assert overlaps(figure) == []
    for axis, column in zip(figure.axes, published.COLUMNS):
        points = {
            (line.get_color(), round(float(line.get_ydata()[0]))): float(line.get_xdata()[0])
            for line in axis.lines
            if line.get_marker() in ("o", "D")
        }
        for place, other in enumerate(reversed(duels.OTHERS)):
            duel = next(d for d in found if (d.column, d.other) == (column, other))
            assert points[style.PAPER, place] == pytest.approx(duel.paper.estimate)
            assert ((style.OURS, place) in points) == (realizations > 0)
            if realizations:
                assert points[style.OURS, place] == pytest.approx(duel.ours.estimate)


@pytest.mark.slow
def test_gains_are_ratios_of_errors() -> None:
    gains = sizes.gain_by_size(recorded())
    figure = comparisons.gain_by_size(gains)
    assert overlaps(figure) == []
    drawn = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert drawn["28 pixels, augmented"] == pytest.approx(gains["28+"][1])
    assert isinstance(comparisons.gain_by_size({}), matplotlib.figure.Figure)
