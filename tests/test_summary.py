"""The tables that readers see, with no records, with some, with all."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from toy_cells import make_record

from sesn_lib import provenance
from sesn_lib.analysis import published, results, summary
from sesn_lib.analysis.statistics import Difference, Sample
from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID, Cell
from sesn_lib.store.records import Store

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "results"
PUBLISHED = published.load(FOLDER)


@pytest.mark.parametrize("count", [0, 7, 120])
def test_tables_exist_for_any_number_of_records(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    for index, cell in enumerate(GRID[:count]):
        store.write(make_record(cell, error=2.0 + index % 7 / 50))
    found = results.load(tmp_path)
    margin = published.margin(PUBLISHED)
    table = summary.paper_table(found, PUBLISHED)
    assert table.shape == (10 * 2 + 2, 4)
    compared = results.compare_conditions(summary.by_condition(found), PUBLISHED.paper, margin)
    assert len(summary.comparison_table(compared, "the paper")) == 12
    assert len(summary.numbers(compared)) == 12
    assert sum(map(int, re.findall(r"\d+", summary.tally(compared)))) == 12
    assert ("no run yet: 12" in summary.tally(compared)) == (count == 0)
    assert summary.cost_table(found)["runs"].sum() == summary.provenance_table(found)["runs"].sum() == count


def test_ours_stand_where_they_belong(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in EXPERIMENT.select(models=["mnist_ses_vector_56p"], scalings=[0.5]):
        store.write(make_record(cell, error=1.4 + cell.realization / 100))
    table = summary.paper_table(results.load(tmp_path), PUBLISHED)
    assert table.loc[("SESN Vector", "this repetition")].to_list() == [*["no run yet"] * 3, "1.42 ± 0.02 (6)"]
    assert table.loc[("SESN Vector", "the paper"), "56+"] == "1.42 ± 0.07 (6)"


def test_a_commit_made_after_the_run_began_is_marked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for realization, commit in enumerate(("1" * 40, "2" * 40, "3" * 40)):
        environment = make_record(GRID[0])["environment"] | {"git_commit": commit, "git_dirty": False}
        timing = make_record(GRID[0])["timing"] | {"finished": "2026-01-01T00:10:00Z", "wall_seconds": 600.0}
        cell = replace(GRID[0], realization=realization)
        store.write(make_record(cell, environment=environment, timing=timing))
    began = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    made = {"1" * 40: began - 1, "2" * 40: began + 1}.get
    commits = list(summary.provenance_table(results.load(tmp_path), made)["commit"])
    assert commits == ["1" * 10, "2" * 10 + ", made after the run began: its code cannot be known", "3" * 10]


@pytest.mark.slow
def test_two_early_records_name_a_commit_made_after_they_began() -> None:
    found = results.load(FOLDER)
    if provenance.commit_time("54242db1b3") is None:
        pytest.skip("the history is not here")
    table = summary.provenance_table(found, provenance.commit_time)
    late = table[table["commit"].str.contains("cannot be known")]
    assert [(row.commit[:8], row.runs) for row in late.itertuples()] == [("54242db1", 2)]


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


def test_the_number_of_runs_is_said_where_it_is_not_the_papers(tmp_path: Path) -> None:
    for realization in range(2):
        Store(tmp_path).write(make_record(Cell("mnist_cnn_28", 1.0, realization), error=2.0 + realization))
    line = summary.beside_table(results.load(tmp_path), PUBLISHED).loc["CNN"]
    assert line["28 ours"] == "2.50 ± 0.71 (2)"
    assert line["28+ ours"] == "no run yet"
    assert line["28 paper"] == "2.56 ± 0.04"
