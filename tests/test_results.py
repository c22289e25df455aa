"""Aggregation and verdicts on synthetic records: none, one, some, all; true effects are found, absent ones are not."""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from toy_cells import make_record

from sesn_lib.analysis import published, results
from sesn_lib.analysis.statistics import Sample
from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID, Cell
from sesn_lib.store.records import Store

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
MARGIN = published.margin(PUBLISHED)


def paper_mean(cell: Cell) -> float:
    """The paper's figure for a cell; for a condition that the paper does not have, the other variant's."""
    for name, regime in published.REGIME.items():
        if regime == (cell.model, cell.extra_scaling):
            return PUBLISHED.paper[name].mean
    other = cell.model.removesuffix("p") if cell.model.endswith("p") else cell.model + "p"
    return paper_mean(Cell(other, cell.extra_scaling, cell.realization))


def fill(folder: Path, cells: list[Cell], *, shift: float = 0.0, spread: float = 0.03, seed: int = 0) -> None:
    """Records at the paper's means plus a shift; realizations are easy or hard alike for all models."""
    generator = np.random.default_rng(seed)
    common = (-0.10, 0.06, 0.10, -0.06, 0.03, -0.03)
    store = Store(folder)
    for cell in cells:
        error = paper_mean(cell) + shift + common[cell.realization] + generator.normal(0, spread)
        store.write(make_record(cell, error=round(error, 3)))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> results.Results:
    folder = tmp_path_factory.mktemp("full")
    fill(folder, list(GRID))
    return results.load(folder)


def test_no_records(tmp_path: Path) -> None:
    found = results.load(tmp_path / "absent")
    assert not found.records
    assert found.missing == GRID
    assert found.pooled("mnist_cnn_28") is None
    compared = results.compare_pooled(found, PUBLISHED, MARGIN)
    assert {c.verdict for c in compared} == {"no run yet"}
    part, chance = results.part_effect(found)
    assert part is None
    assert chance == pytest.approx(100 * math.sqrt(0.02 * 0.98 * (1 / 48000 - 1 / 50000)))


def test_only_complete_records_of_the_grid_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    whole, short, odd = Cell("mnist_cnn_28", 1.0, 0), Cell("mnist_cnn_28", 1.0, 1), Cell("mnist_cnn_28", 0.7, 0)
    store.write(make_record(whole, error=2.5))
    store.write(make_record(short, epochs=2, error=9.0))
    store.write(make_record(odd, error=9.0))
    store.write_failure(Cell("mnist_cnn_28", 1.0, 2), "the loss is not finite")
    store.path(Cell("mnist_cnn_28", 1.0, 3)).write_text("{")
    found = results.load(tmp_path)
    assert list(found.records) == [whole]
    assert set(found.partial) == {short, odd}
    assert list(found.failed.values()) == ["the loss is not finite"]
    assert len(found.damaged) == 1
    assert found.condition("CNN", "28") == {0: 2.5}
    assert astuple(found.pooled("mnist_cnn_28")) == astuple(Sample.of([2.5]))  # tuples: the standard deviation is NaN


def test_pooled_and_condition_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for scaling, errors in ((1.0, (2.0, 2.2)), (0.5, (1.6, 1.8))):
        for realization, error in enumerate(errors):
            store.write(make_record(Cell("mnist_ses_scalar_28p", scaling, realization), error=error))
    found = results.load(tmp_path)
    pooled = found.pooled("mnist_ses_scalar_28p")
    assert pooled is not None
    assert (pooled.n, pooled.mean) == (4, pytest.approx(1.9))
    assert pooled.std == pytest.approx(math.sqrt((0.01 + 0.09 + 0.09 + 0.01) / 3))
    assert found.condition("SESN Scalar", "28+") == {0: 1.6, 1: 1.8}
    assert found.condition("SESN Scalar", "28") == {}  # another model's


def our_cells(found: results.Results) -> dict[tuple[str, str], Sample | None]:
    return {name: Sample.of(list(found.condition(*name).values())) for name in published.REGIME}


def test_a_shift_is_found_and_none_is_not(tmp_path: Path, full: results.Results) -> None:
    same = results.compare_conditions(our_cells(full), PUBLISHED.paper, MARGIN)
    assert len(same) == 12
    assert "differs" not in {c.verdict for c in same}
    fill(tmp_path, list(GRID), shift=0.4)
    shifted = results.compare_conditions(our_cells(results.load(tmp_path)), PUBLISHED.paper, MARGIN)
    assert {c.verdict for c in shifted} == {"differs"}


def test_equivalence_is_said_only_where_shown() -> None:
    names = [(row, column) for row in published.ROWS for column in published.COLUMNS]
    tight = {name: Sample(30, 2.0, 0.02) for name in names}
    assert {c.verdict for c in results.compare_conditions(tight, tight, 0.1)} == {"the same"}
    loose = {name: Sample(6, 2.0, 0.2) for name in names}
    assert {c.verdict for c in results.compare_conditions(loose, loose, 0.1)} == {"undecided"}


def test_some_cells_only(tmp_path: Path) -> None:
    fill(tmp_path, list(EXPERIMENT.select(models=["mnist_ses_vector_28", "mnist_cnn_28"], scalings=[1.0])), shift=0.1)
    found = results.load(tmp_path)
    compared = {c.name: c for c in results.compare_conditions(our_cells(found), PUBLISHED.paper, MARGIN)}
    both = [compared[name, "28"] for name in ("SESN Vector", "CNN")]
    first, second = sorted(both, key=lambda cell: cell.difference.p)
    expected = [min(1.0, 12 * first.difference.p)]  # Holm's correction, and the family is the table
    expected.append(max(expected[0], min(1.0, 11 * second.difference.p)))
    assert [first.corrected, second.corrected] == pytest.approx(expected, rel=1e-12)
    assert expected[0] < 1, "the control: the size of the family can be seen"


def test_two_runs_decide_nothing(tmp_path: Path) -> None:
    """Two equal runs have next to no spread, and Welch's p is small; three such are another matter."""
    for count, verdict in ((2, "undecided"), (3, "differs")):
        store = Store(tmp_path / str(count))
        for cell in list(EXPERIMENT.select(models=["mnist_ses_vector_28"]))[:12]:
            if cell.realization < count:
                store.write(make_record(cell, error=2.6 + cell.realization / 500))
        found = results.load(tmp_path / str(count))
        cells = {c.name: c for c in results.compare_conditions(our_cells(found), PUBLISHED.paper, MARGIN)}
        assert cells["SESN Vector", "28"].difference.p < 0.001
        assert cells["SESN Vector", "28"].verdict == verdict
        pooled = {c.name[0]: c for c in results.compare_pooled(found, PUBLISHED, MARGIN)}
        assert pooled["mnist_ses_vector_28"].verdict == verdict
        assert math.isfinite(pooled["mnist_ses_vector_28"].corrected) == (count == 3)


def test_pooled_comparison(tmp_path: Path, full: results.Results) -> None:
    compared = {c.name[0]: c for c in results.compare_pooled(full, PUBLISHED, MARGIN)}
    assert compared["mnist_ses_scalar_56"].difference.method == "Welch contrast"
    assert compared["mnist_ses_vector_56"].difference.method == "Welch"
    fill(tmp_path, list(EXPERIMENT.select(scalings=[1.0])))
    unequal = results.compare_pooled(results.load(tmp_path), PUBLISHED, MARGIN)
    assert {c.difference.method for c in unequal} == {"conditions unequally filled"}
    assert {c.verdict for c in unequal} == {"undecided"}
    assert all(math.isnan(c.difference.estimate) for c in unequal), "nothing to subtract, so no difference is shown"


def test_a_pooled_difference_is_that_of_the_means_beside_it(full: results.Results) -> None:
    """The report's means are cut after two decimals; no difference may be further off, least of all in sign."""
    recorded_runs = results.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
    seen = []
    for found in (full, recorded_runs):
        for c in results.compare_pooled(found, PUBLISHED, MARGIN):
            assert c.ours is not None
            assert c.theirs is not None
            if math.isfinite(c.difference.estimate):
                seen.append(found)
                assert c.difference.estimate == pytest.approx(c.ours.mean - c.theirs.mean, abs=0.0101), c.name
    assert seen.count(full) == 8, "all models"
    assert recorded_runs in seen


def test_the_decomposition_adds_up() -> None:
    parts = results.aggregation(PUBLISHED)
    assert len(parts) == 8
    for part in parts:
        assert sum(part.parts) == pytest.approx(part.table - part.paper, abs=1e-12)


def test_part_effect_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for realization, (part, whole) in enumerate([(2.02, 2.00), (1.99, 2.00)]):
        cell = Cell("mnist_cnn_28", 1.0, realization)
        store.write(make_record(cell, error=whole, test_error_48k=part))
    sample, _ = results.part_effect(results.load(tmp_path))
    assert sample is not None
    assert sample.values == pytest.approx((0.02, -0.01))


def _with_precision(record: dict[str, Any], precision: str) -> dict[str, Any]:
    return {**record, "protocol": {**record["protocol"], "precision": precision}}


def test_precisions_are_paired_by_cell(tmp_path: Path) -> None:
    full, rounded = Store(tmp_path / "float32"), Store(tmp_path / "bf16")
    cells = EXPERIMENT.select(models=["mnist_cnn_28"], scalings=[1.0])
    for cell in cells[:3]:
        full.write(_with_precision(make_record(cell, error=2.0 + cell.realization, test_error_48k=8.0), "float32"))
    for cell in cells[1:]:
        rounded.write(_with_precision(make_record(cell, error=2.5 + cell.realization, test_error_48k=9.0), "bf16"))
    pairs = results.precision_pairs(results.load(full.folder), results.load(rounded.folder))
    assert pairs == {cells[1]: (3.0, 3.5), cells[2]: (4.0, 4.5)}
    assert results.precision_pairs(results.load(tmp_path / "absent"), results.load(rounded.folder)) == {}
    two = results.compare_precisions(pairs, MARGIN)
    assert two.difference.estimate == pytest.approx(0.5)
    assert two.verdict == "undecided", "two realizations decide nothing"
    assert results.compare_precisions({}, MARGIN).verdict == "no run yet"
    with pytest.raises(ValueError, match="is in bf16: it must be in float32"):
        results.precision_pairs(results.load(rounded.folder), results.load(rounded.folder))


def test_pairs_of_other_data_are_refused(tmp_path: Path) -> None:
    cell = Cell("mnist_cnn_28", 1.0, 0)
    Store(tmp_path / "a").write(_with_precision(make_record(cell), "float32"))
    Store(tmp_path / "b").write(_with_precision(make_record(cell, data_checksum="1" * 64), "bf16"))
    with pytest.raises(ValueError, match=r"have the data_checksum 0+ and 1+: must be equal"):
        results.precision_pairs(results.load(tmp_path / "a"), results.load(tmp_path / "b"))


def test_precisions_differ_or_are_the_same() -> None:
    cells = EXPERIMENT.select(models=["mnist_cnn_28"])
    worse = {cell: (2.0, 2.5 + 0.01 * cell.realization) for cell in cells}
    assert results.compare_precisions(worse, MARGIN).verdict == "differs"
    alike = {cell: (2.0, 2.0 + 0.01 * (-1) ** cell.realization) for cell in cells}
    found = results.compare_precisions(alike, MARGIN)
    assert found.verdict == "the same"
    assert found.difference.method == "clustered t"
    assert found.corrected == found.difference.p, "one comparison needs no correction"


def test_the_shipped_table_is_that_of_the_shipped_records() -> None:
    folder = Path(__file__).resolve().parent.parent / "notebooks" / "results"
    table = yaml.safe_load((folder / "results.yml").read_text(encoding="utf-8"))["by_condition"]
    listed = {Cell(m, e, r): error for m, rows in table.items() for e, row in rows.items() for r, error in row.items()}
    assert len(listed) >= 20
    for cell, error in listed.items():
        assert Store(folder).load(cell)["test_error_50k"] == error


def test_errors_are_those_on_all_test_images(tmp_path: Path) -> None:
    cell = Cell("mnist_ses_vector_56p", 0.5, 2)
    Store(tmp_path).write(make_record(cell, error=1.5, test_error_48k=4.5))
    found = results.load(tmp_path)
    assert found.errors(cell.model, 0.5) == found.condition("SESN Vector", "56+") == {2: 1.5}
    assert found.errors(cell.model, 0.5, "48k") == {2: 4.5}
    pooled = found.pooled(cell.model)
    assert pooled is not None
    assert pooled.values == (1.5,)


def test_comparisons_are_corrected_for_their_number(full: results.Results) -> None:
    """Holm: the smallest of k p-values counts k times, the largest once; both for difference and for equivalence."""
    compared = results.compare_conditions(our_cells(full), PUBLISHED.paper, MARGIN)
    for raw, corrected in (
        ([c.difference.p for c in compared], [c.corrected for c in compared]),
        ([c.difference.equivalent(MARGIN) for c in compared], [c.equivalent for c in compared]),
    ):
        assert len(raw) == 12
        assert min(corrected) == pytest.approx(min(1.0, 12 * min(raw)))
        assert max(corrected) >= max(raw)
        assert all(p <= q <= min(1.0, 12 * p) + 1e-12 for p, q in zip(raw, corrected))


def test_pairs_of_precisions_cluster_by_realization_and_were_looked_at_five_times() -> None:
    """The first 19 pairs: t over six means of realizations; both p charged for the fifth look."""
    folder = Path(__file__).resolve().parent.parent / "notebooks" / "results"
    pairs = results.precision_pairs(results.load(folder / "float32"), results.load(folder))
    first = {c: both for c, both in pairs.items() if c.model == "mnist_cnn_28" or c.model == "mnist_ses_vector_28"}
    first = {
        c: both for c, both in first.items() if c.model == "mnist_cnn_28" or c.extra_scaling == 1 or c.realization == 0
    }
    assert len(first) == 19
    means = [np.mean([b - a for c, (a, b) in first.items() if c.realization == r]) for r in range(6)]
    expected = stats.ttest_1samp(means, 0)
    found = results.compare_precisions(first, MARGIN, looks=5)
    assert found.difference.estimate == pytest.approx(np.mean(means))
    assert found.difference.p == pytest.approx(expected.pvalue) == pytest.approx(0.060, abs=5e-4)
    error = np.std(means, ddof=1) / math.sqrt(6)
    same = stats.t.cdf((np.mean(means) - MARGIN) / error, 5), stats.t.sf((np.mean(means) + MARGIN) / error, 5)
    assert found.equivalent == pytest.approx(min(1.0, 30 * max(same)))
    assert found.corrected == 1.0
    assert found.verdict == "undecided"


def test_looks_are_numbered() -> None:
    assert [results.nth_look((2, 4, 12), count) for count in (2, 4, 5, 12, 13)] == [1, 2, 3, 3, 4]
