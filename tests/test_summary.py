"""The tables that readers see, with no records, with some, with all."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_cells import make_record

from sesn_lib import published, results, summary
from sesn_lib.experiments import GRID, select
from sesn_lib.store import Store

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
    judged = summary.evidence(found, PUBLISHED)
    assert summary.claims_table(judged).shape == (4, 3)
    assert summary.comparisons_table(judged).shape == (24, 5)
    sentence = summary.headline(found, judged)
    assert sentence.startswith("None of the 120" if count == 0 else f"{count} of 120")
    assert summary.cost_table(found)["runs"].sum() == summary.provenance_table(found)["runs"].sum() == count


def test_ours_stand_where_they_belong(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in select(models=["mnist_ses_vector_56p"], scalings=[0.5]):
        store.write(make_record(cell, error=1.4 + cell.realization / 100))
    table = summary.paper_table(results.load(tmp_path), PUBLISHED)
    assert table.loc["SESN Vector: this repetition"].to_list() == ["–", "–", "–", "1.42 ± 0.02 (6)"]
    assert table.loc["SESN Vector: the paper", "56+"] == "1.42 ± 0.07 (6)"


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
