"""The tables that readers see, with no records, with some, with all."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from toy_cells import make_record

from sesn_lib import provenance
from sesn_lib.analysis import mixed, published, results, summary
from sesn_lib.analysis.statistics import Difference, Sample, contrast
from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID
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


@pytest.mark.parametrize(("shift", "differs"), [(0.0, False), (0.4, True)])
def test_the_table_as_a_whole(tmp_path: Path, shift: float, differs: bool) -> None:
    store, draws = Store(tmp_path), np.random.default_rng(0)
    for (row, column), regime in published.REGIME.items():
        for cell in EXPERIMENT.select(models=[regime[0]], scalings=[regime[1]]):
            error = PUBLISHED.paper[row, column].mean + shift + (cell.realization - 2.5) / 100 + draws.normal(0, 0.01)
            store.write(make_record(cell, error=round(error, 3)))
    found = results.load(tmp_path)
    table = summary.whole_table(found, PUBLISHED.paper, mixed.fit(found.by_regime()))
    assert [(which, cells) for which, cells, _ in table] == [("all networks", 12), ("the plain CNN", 4), ("SESN", 8)]
    assert all(d.estimate == pytest.approx(shift, abs=0.02) and (d.p < 0.001) == differs for *_, d in table)
    said = summary.whole_text(table, "the paper", 0.1).splitlines()
    assert len(said) == 3
    assert said[1].startswith("the plain CNN, ours minus the paper, mean over 4 cells, n = 6 realizations: ")
    assert ("p < 0.001 that there is no difference" in said[0]) == differs
    assert summary.whole_table(results.load(tmp_path / "none"), PUBLISHED.paper, mixed.fit({})) == []
    assert "no cell has 3 runs yet" in summary.whole_text([], "the paper", 0.1)


def test_the_table_as_a_whole_clusters_by_realization() -> None:
    """The first 101 runs: within 0.10 of the paper with p of about 0.03; independent cells would make it < 0.001."""
    found = recorded()
    which, cells, whole = summary.whole_table(found, PUBLISHED.paper, mixed.fit(found.by_regime()))[0]
    table = np.array([[found.condition(*name)[r] for r in range(6)] for name in published.REGIME])
    theirs = [PUBLISHED.paper[name] for name in published.REGIME]
    rho = 0.518
    errors = np.array([s.std / np.sqrt(6) for s in theirs])
    their_error = np.sqrt((1 - rho) * (errors**2).sum() + rho * errors.sum() ** 2) / 12
    our_error = table.mean(0).std(ddof=1) / np.sqrt(6)
    error = np.hypot(our_error, their_error)
    estimate = table.mean() - np.mean([s.mean for s in theirs])
    df = error**4 / (our_error**4 / 5 + their_error**4 / 5)
    assert (which, cells) == ("all networks", 12)
    assert (whole.estimate, whole.error, whole.df) == pytest.approx((estimate, error, df), rel=5e-3)
    assert whole.equivalent(0.1) == pytest.approx(0.03, abs=0.005)
    blind = [
        s
        for name in published.REGIME
        for s in (Sample.of(list(found.condition(*name).values())), PUBLISHED.paper[name])
    ]
    assert contrast(blind, [1 / 12, -1 / 12] * 12).equivalent(0.1) < 0.001


def test_deviations_of_cnn_and_sesn_are_shown_apart() -> None:
    """They cancel in the mean of all."""
    found = recorded()
    signs = [np.sign(d.estimate) for *_, d in summary.whole_table(found, PUBLISHED.paper, mixed.fit(found.by_regime()))]
    assert signs[1:] == [-1, 1]


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
