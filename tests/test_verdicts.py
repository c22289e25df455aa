"""The claims in words and tables: whatever there is of runs, what is said is what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import recorded

from sesn_lib.analysis import published, verdicts
from sesn_lib.analysis.claims import PAPER, REPORT, US
from sesn_lib.analysis.results import Results

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
LOOKED = (2, 4, 7, 8, 17, 19, 20, 32, 38, 50, 60, 66)


@pytest.fixture(scope="module")
def whole() -> verdicts.Findings:
    return verdicts.evidence(recorded(), PUBLISHED, LOOKED)


def test_the_headline_of_the_first_101_runs(whole: verdicts.Findings) -> None:
    said = verdicts.headline(whole).replace("*", "")
    lines = said.splitlines()
    assert lines[0] == "From our own runs (101 of 120), effect by effect and regime by regime:"
    assert lines[2] == "- SESN beats the plain CNN: reproduced at 28 and 56; undecided at 28+ and 56+."
    assert lines[3] == "- vector features beat scalar ones: undecided in all."
    answers = dict(verdicts.closing_table(whole)["answer"])
    assert answers["SESN beats the plain CNN"].startswith(
        "reproduced at 28 (−0.39 [−0.45, −0.34]; 84 % of the paper’s), 56 ("
    )
    said_of = answers["SESN beats the plain CNN"]
    assert "; undecided at 28+ (−0.10 [−0.21, +0.01]; 54 % of the paper’s), 56+ (−0.09 [−0.20, +0.02]; " in said_of
    assert answers["vector features beat scalar ones"].startswith("undecided at 28 (+0.05 [")
    size = "Of 12 effects none differs significantly in size from the paper’s, not even before correction"
    assert f"{size} (Satterthwaite’s t, n = 6 " in said
    assert (
        "smallest p = 0.060, not corrected). That is no sameness: the 8 shares that are given are 54 to 107 %, with "
        "intervals from −12 to 230 %." in said
    )
    assert "SESN beats the plain CNN, with + less without, 28: +0.29 [+0.21, +0.38], p = 0.015" in said
    test = "paired t over 6 realizations and mixed model, the larger p; charged for looks, then Holm over 7"
    assert test in said
    assert "scale augmentation helps: reproduced in all. 56 pixels beat 28: reproduced in all." in lines[-1]
    assert "a direction, not a verdict" not in said


def test_where_the_model_alone_is_surer_and_what_changes_between_regimes(whole: verdicts.Findings) -> None:
    """With augmentation the model's interval leaves out zero and the paired one does not; corrected neither."""
    narrower = verdicts.narrower_sentence(whole)
    assert "(mixed model, n = 101 runs; charged for looks, Holm over 12): " in narrower
    assert "SESN beats the plain CNN, 28+: −0.10 [−0.17, −0.03], p = 0.16; " in narrower
    assert narrower.endswith("SESN beats the plain CNN, 56+: −0.09 [−0.16, −0.02], p = 0.14.")
    assert narrower.count("p = ") == 2, "no others part"
    lines = verdicts.headline(whole).splitlines()
    (change,) = [line for line in lines if line.startswith("- It depends on the regime")]
    assert "SESN beats the plain CNN, with + less without, 28: +0.29 [+0.21, +0.38], p = 0.015" in change
    assert "vector" not in change, "not significant after correction"


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_there_is_something_to_say_at_any_time(count: int) -> None:
    found = verdicts.evidence(recorded(count), PUBLISHED)
    said = verdicts.headline(found)
    assert ("none of the 120" in said) == (count == 0)
    assert ("a direction, not a verdict" in said) == (count == 7)
    assert verdicts.claims_table(found).shape == (12, 4)
    assert verdicts.how_tested(found.regimes[US]).shape == (12, 9)
    assert verdicts.comparisons_table(found).shape == (24, 5)
    assert verdicts.interactions_table(found).shape == (7, 3)
    assert len(verdicts.closing_table(found)) == 4
    assert "nan" not in "".join(map(str, verdicts.how_tested(found.regimes[US]).to_numpy().flat))


def test_the_table_of_claims(whole: verdicts.Findings) -> None:
    table = verdicts.claims_table(whole)
    assert table.loc[("SESN beats the plain CNN", "28"), PAPER].startswith("supported: −0.47 [")
    assert table.loc[("SESN beats the plain CNN", "28"), REPORT] == "no data"
    assert table.loc[("scale augmentation helps", "28"), REPORT].endswith("(2 of 3; the paper −0.32)")
    assert table.loc[("vector features beat scalar ones", "28")].iloc[1] == "–"
    assert table.loc[("SESN beats the plain CNN", "56")].iloc[1] == "81 % [50, 120]"


def test_what_the_single_comparisons_say_is_a_sentence(whole: verdicts.Findings) -> None:
    """With augmentation Scalar and Vector at 28 were judged in a table, and no sentence told."""
    closing = verdicts.closing_table(whole)
    cnn = closing.loc["SESN beats the plain CNN"]
    assert "28+" in cnn["answer"]
    assert "SESN Scalar 28+ before CNN 28+: undecided" in cnn["comparisons that are not clear"]
    assert "SESN Vector 28 before" not in cnn["comparisons that are not clear"], "that one is"
    assert "the model" in cnn["how sure"]
    assert "28+, 56+" in cnn["how sure"], "where the paired test by hand finds less than the model"
    largest = max(a.p for a in whole.regimes[US] if a.question.claim == cnn.name and a.verdict == "reproduced")
    assert round(largest, 3) == 0.015
    assert "corrected p of what is reproduced at most 0.015;" in cnn["how sure"]


def test_how_sure_one_can_be_is_said_by_the_regime_with_the_fewest_runs() -> None:
    few = recorded(keep=lambda cell: cell.realization < (6 if cell.model.endswith("_28") else 4))
    found = verdicts.evidence(few, PUBLISHED, LOOKED)
    assert {a.runs for a in found.regimes[US] if a.question.claim == "SESN beats the plain CNN"} == {4, 6}
    closing = verdicts.closing_table(found)
    assert closing.loc["SESN beats the plain CNN", "how sure"].startswith("n = 4 realizations or more")
    assert "n = 4 or 6 realizations of ours" in verdicts.sizes_sentence(found)


def test_a_difference_in_size_is_said() -> None:
    runs = recorded()
    for cell, record in runs.records.items():
        if "cnn" in cell.model:
            record["test_error_50k"] += 0.4
    said = verdicts.sizes_sentence(verdicts.evidence(Results(runs.records), PUBLISHED))
    assert "SESN beats the plain CNN, 28+: larger" in said
    assert "none differs" not in said
