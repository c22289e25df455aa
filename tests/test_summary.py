"""The tables that readers see, with no records, with some, with all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toy_cells import make_record

from sesn_lib.analysis import published, results, summary
from sesn_lib.analysis.statistics import Difference, Sample
from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID
from sesn_lib.store.records import Store

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")


@pytest.mark.parametrize("count", [0, 7, 120])
def test_tables_exist_for_any_number_of_records(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    for index, cell in enumerate(GRID[:count]):
        store.write(make_record(cell, error=2.0 + index % 7 / 50))
    found = results.load(tmp_path)
    margin = published.margin(PUBLISHED)
    table = summary.paper_table(found, PUBLISHED)
    assert table.shape == (8, 4)
    compared = results.compare_conditions(summary.by_condition(found), PUBLISHED.paper, margin)
    assert len(summary.comparison_table(compared, "the paper")) == 12
    assert len(summary.numbers(compared)) == 12
    assert sum(map(int, re.findall(r"\d+", summary.tally(compared)))) == 12
    assert ("no run yet: 12" in summary.tally(compared)) == (count == 0)
    judged = summary.evidence(found, PUBLISHED)
    assert summary.claims_table(judged).shape == (4, 3)
    assert summary.comparisons_table(judged).shape == (24, 5)
    first, second, *caution = summary.headline(found, judged).replace("*", "").split("\n\n")
    assert first == (
        "From published figures alone (the report's runs). Reproduced: scale augmentation helps, 56 pixels beat 28. "
        "Undecided: vector features beat scalar ones. No data: SESN beats the plain CNN."
    )
    assert ("none of the 120" if count == 0 else f"{count} of 120 so far") in second
    assert bool(caution) == (count == 7)  # of one comparison there is one realization
    assert summary.cost_table(found)["runs"].sum() == summary.provenance_table(found)["runs"].sum() == count


def test_ours_stand_where_they_belong(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in EXPERIMENT.select(models=["mnist_ses_vector_56p"], scalings=[0.5]):
        store.write(make_record(cell, error=1.4 + cell.realization / 100))
    table = summary.paper_table(results.load(tmp_path), PUBLISHED)
    assert table.loc[("SESN Vector", "this repetition")].to_list() == ["–", "–", "–", "1.42 ± 0.02 (6)"]
    assert table.loc[("SESN Vector", "the paper"), "56+"] == "1.42 ± 0.07 (6)"


def test_one_realization_is_called_a_direction(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in EXPERIMENT.select(models=["mnist_cnn_28", "mnist_ses_vector_28"], realizations=[0]):
        store.write(make_record(cell, error=2.5 if "cnn" in cell.model else 2.0))
    found = results.load(tmp_path)
    said = summary.headline(found, summary.evidence(found, PUBLISHED)).replace("*", "")
    coverage = "1 realization, 1 of 8 comparisons, SESN Vector 28 before CNN 28"
    assert f"Undecided: SESN beats the plain CNN ({coverage})" in said
    assert said.endswith("a direction, not a verdict.")
    assert "no cell has 3 runs yet" in summary.whole_table(found, PUBLISHED.paper, "the paper", 0.1)


def test_a_part_of_a_claim_is_held_against_the_same_part_of_the_paper(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in EXPERIMENT.select(models=["mnist_cnn_28"]):
        store.write(make_record(cell, error=(2.5 if cell.extra_scaling == 1 else 1.9) + cell.realization / 100))
    row = summary.claims_table(summary.evidence(results.load(tmp_path), PUBLISHED)).loc["scale augmentation helps"]
    paper = PUBLISHED.paper["CNN", "28+"].mean - PUBLISHED.paper["CNN", "28"].mean
    assert paper == pytest.approx(-0.60)
    assert row[summary.US].endswith(" (1 of 6; the paper −0.60; n = 6)")
    assert row[summary.REPORT].endswith(" (4 of 6; the paper −0.28)")


@pytest.mark.parametrize(("shift", "differs"), [(0.0, False), (0.2, True)])
def test_the_table_as_a_whole(tmp_path: Path, shift: float, differs: bool) -> None:
    store = Store(tmp_path)
    for (row, column), regime in published.REGIME.items():
        for cell in EXPERIMENT.select(models=[regime[0]], scalings=[regime[1]]):
            error = PUBLISHED.paper[row, column].mean + shift + (cell.realization - 2.5) / 50
            store.write(make_record(cell, error=round(error, 3)))
    said = summary.whole_table(results.load(tmp_path), PUBLISHED.paper, "the paper", 0.1)
    assert f"mean over 12 of 12 cells: {'+0.200' if differs else '0.000'} [" in said
    assert ("p < 0.001 that there is no difference" in said) == differs
    assert ("p < 0.001 for the same" in said) != differs
    report = {name: cell.sample for name, cell in published.regroup(PUBLISHED).items()}
    assert "ours minus the report, mean over 8 of 8 cells" in summary.whole_table(
        results.load(tmp_path), report, "the report", 0.1
    )


def test_what_the_published_figures_alone_say(tmp_path: Path) -> None:
    judged = summary.evidence(results.load(tmp_path), PUBLISHED)
    table = summary.claims_table(judged)
    assert [cell.split(":")[0] for cell in table[summary.PAPER]] == ["supported", "undecided", "supported", "supported"]
    assert [cell.split(":")[0] for cell in table[summary.REPORT]] == [
        "no data",
        "undecided",
        "reproduced",
        "reproduced",
    ]
    assert set(table[summary.US]) == {"no data"}


def test_each_number_stands_under_its_name() -> None:
    ours, theirs = Sample(6, 2.5, 0.1), Sample(5, 2.25, 0.2)
    difference = Difference(0.25, 0.125, 0.375, 0.011, n=(6, 5), method="Welch")
    compared = [results.Comparison(("SESN Vector", "28+"), ours, theirs, difference, 0.022, 0.444, "differs")]
    (row,) = summary.numbers(compared).to_dict("records")
    assert row == {
        "cell": "SESN Vector 28+", "ours_n": 6, "ours_mean": 2.5, "ours_std": 0.1, "theirs_n": 5, "theirs_mean": 2.25,
        "theirs_std": 0.2, "estimate": 0.25, "low": 0.125, "high": 0.375, "p": 0.011, "method": "Welch",
        "p_holm": 0.022, "p_same": 0.444, "verdict": "differs",
    }  # fmt: skip
    table = summary.comparison_table(compared, "the paper")
    assert table.loc["SESN Vector 28+"].to_dict() == {
        "ours": "2.50 ± 0.10 (6)", "the paper": "2.25 ± 0.20 (5)", "difference [95 %]": "+0.25 [+0.12, +0.38]",
        "test": "Welch", "p": "0.011", "p, Holm": "0.022", "p, same": "0.44", "verdict": "differs",
    }  # fmt: skip


def test_records_of_changed_code_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell, dirty, precision in zip(GRID, (False, True, None, False), ("float32", "float32", "float32", "bf16")):
        record = make_record(cell)
        record["environment"] |= {"git_commit": "0123456789abcdef", "git_dirty": dirty}
        record["protocol"]["precision"] = precision
        store.write(record)
    table = summary.provenance_table(results.load(tmp_path))
    found = {(row["commit"], row["precision"]): row["runs"] for row in table.to_dict("records")}
    assert found == {
        ("0123456789", "float32"): 1,
        ("0123456789, perhaps changed", "float32"): 2,
        ("0123456789", "bf16"): 1,
    }
