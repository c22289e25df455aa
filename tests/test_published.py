"""The published figures: read, regrouped, and held against what their digits allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from sesn_lib.analysis import published
from sesn_lib.analysis.statistics import Sample

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "results"


@pytest.fixture(scope="module")
def found() -> published.Published:
    return published.load(FOLDER)


def test_every_cell_has_its_model() -> None:
    assert len(published.REGIME) == 12
    assert published.REGIME["SESN Vector", "28+"] == ("mnist_ses_vector_28p", 0.5)
    assert published.REGIME["SESN Scalar", "56"] == ("mnist_ses_scalar_56", 1.0)
    assert published.REGIME["CNN", "56+"] == ("mnist_cnn_56", 0.5)  # the plain network has no variants


def test_load(found: published.Published) -> None:
    assert found.paper["SESN Vector", "56+"] == Sample(6, 1.42, 0.07)
    assert found.report["mnist_ses_scalar_28p"] == Sample(12, 1.98, 0.14)
    assert len(found.runs["mnist_ses_vector_56"]) == 5


def test_two_cells_of_the_report_were_made_from_eleven_results(found: published.Published) -> None:
    eleven = {model for model, cell in found.report.items() if cell.n == 11}
    assert eleven == {"mnist_ses_vector_28p", "mnist_ses_vector_56p"}
    assert {cell.n for model, cell in found.report.items() if model not in eleven} == {12}, "lists of 5, 8 and 12 runs"


def test_a_cell_has_as_many_results_as_the_list_that_gives_it() -> None:
    """1.0 and 1.239 have the mean 1.1195 and the standard deviation 0.169: cut 1.11 and 0.16."""
    assert published.pooled([1.11, 0.16], [1.0, 1.239]) == Sample(2, 1.11, 0.16)
    for other in ([1.12, 0.16], [1.11, 0.17], [1.12, 0.17]):  # rounded, or of other runs
        assert published.pooled(other, [1.0, 1.239]).n == 12
    assert [published.pooled([1.0, 0.1], runs).n for runs in ([], [1.0])] == [12, 12]


def test_load_refuses_other_columns_and_gaps(tmp_path: Path) -> None:
    content = yaml.safe_load((FOLDER / "published.yml").read_text())
    content["report"]["columns"] = ["28", "28+", "56", "56+"]
    (tmp_path / "published.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="the columns of the report are"):
        published.load(tmp_path)
    del content["paper"]["mnist_scale"]
    (tmp_path / "published.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="lacks 'mnist_scale'"):
        published.load(tmp_path)


def test_margin_is_the_smallest_lead(found: published.Published) -> None:
    """28: 2.30 - 2.08; 28+: 1.86 - 1.76; 56: 1.82 - 1.68; 56+: 1.57 - 1.42."""
    assert published.margin(found) == pytest.approx(0.10)


def test_regrouped_runs(found: published.Published) -> None:
    cells = published.regroup(found)
    assert len(cells) == 8
    assert cells["SESN Scalar", "28"].sample.values == found.runs["mnist_ses_scalar_28"][:6]
    assert cells["SESN Vector", "56+"].sample.values == found.runs["mnist_ses_vector_56p"][6:]
    bases = {name: cell.basis for name, cell in cells.items() if cell.basis != "order"}
    assert bases == {("SESN Scalar", "28+"): "inferred", ("SESN Vector", "56"): "start"}
    scalar = found.runs["mnist_ses_scalar_28p"]
    assert cells["SESN Scalar", "28+"].sample.values == scalar[-6:], "what is missing came before"
    assert [published.boundary([2.0] * n)[0] for n in (5, 6, 9, 11, 12)] == [5, 6, 3, 6, 6]


def test_missing_mean_by_hand() -> None:
    """Four runs of mean 2.0 to 2.01, two known of sum 3: the others sum to 5.00..5.04."""
    assert published.missing_mean([1.0, 2.0], Sample(4, 2.0, 0.1)) == pytest.approx((2.5, 2.52))
    with pytest.raises(ValueError, match="none of the 2 runs is missing"):
        published.missing_mean([1.0, 2.0], Sample(2, 1.5, 0.1))
    low, high = published.missing_mean([2.0] * 9, Sample(12, 2.25, 0.1))
    assert (low, high) == pytest.approx(((27 - 18) / 3, (2.26 * 12 - 18) / 3))


def test_printed_by_hand() -> None:
    assert published.printed(1.9592, "rounded") == 1.96
    assert published.printed(1.9592, "cut") == 1.95
    with pytest.raises(ValueError, match="not 'ceiled'"):
        published.printed(1.0, "ceiled")


def test_attainable_by_hand() -> None:
    assert published.attainable(1.930, 50000)  # 965 errors
    assert not published.attainable(1.931, 50000)
    assert not published.attainable(1.930, 48000)  # 926 errors print as 1.929, 927 as 1.931
    assert published.attainable(1.931, 48000)


@pytest.mark.parametrize("images", [48000, 50000])
def test_the_number_of_images_can_be_told_from_printed_errors(images: int) -> None:
    counts = np.random.default_rng(0).integers(images // 75, images // 40, 83)
    errors = [round(100 * int(k) / images, 3) for k in counts]
    assert all(published.attainable(e, images) for e in errors)
    other = 98000 - images
    assert sum(published.attainable(e, other) for e in errors) < 65  # negative control
