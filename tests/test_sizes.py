"""Errors by the size of the digit, in ratios and in counts, regime by regime."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from recorded import REFERENCE, recorded
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sesn_lib.analysis import results, sizes
from sesn_lib.analysis.published import COLUMNS
from sesn_lib.analysis.results import Results

# The first 101 runs: ratio from smallest to largest digits, errors saved per 1,000 at the smallest less at the largest.
LOOKED = (2, 4, 7, 8, 17, 19, 20, 32, 38, 50, 60, 66, 101)
SEEN = {"28": (0.81, 1.2), "28+": (0.87, -2.2), "56": (0.79, -1.3), "56+": (0.97, 1.6)}


@pytest.mark.parametrize("column", SEEN)
def test_both_trends_in_each_regime(column: str) -> None:
    content = json.loads(REFERENCE.read_text())
    names = [f"mnist_ses_{k}_{column.replace('+', 'p')}-x{0.5 if '+' in column else 1.0}" for k in ("scalar", "vector")]
    cnn = f"mnist_cnn_{column[:2]}-x{0.5 if '+' in column else 1.0}"
    ratios, saved = [], []
    for r in range(6):
        images = content["images"][str(r)]
        theirs = content["runs"][f"{cnn}-r{r}"][2]
        ours = [content["runs"][f"{name}-r{r}"][2] for name in names]
        ratios.append(np.mean([np.log(o[-1] / theirs[-1]) - np.log(o[0] / theirs[0]) for o in ours]))
        gain = [np.mean([(theirs[end] - o[end]) / images[end] for o in ours]) for end in (0, -1)]
        saved.append(1000 * (gain[0] - gain[1]))
    assert (np.exp(np.mean(ratios)), np.mean(saved)) == pytest.approx(SEEN[column], abs=0.05)
    row = sizes.trend_table(recorded()).loc[column]
    assert row.iloc[0] == "6"
    assert row.iloc[2].startswith(f"{np.exp(np.mean(ratios)):.2f} [")
    assert row.iloc[5].replace("−", "-").startswith(f"{np.mean(saved):+.1f} [")
    ratio = sizes.size_trend(recorded(), column, sizes.as_ratio)
    assert ratio.p == pytest.approx(stats.ttest_1samp(ratios, 0).pvalue)


def test_without_counts_there_is_no_trend() -> None:
    assert sizes.trend_table(recorded(0)).empty
    assert sizes.size_table(recorded(0)).empty


def turned(runs: Results) -> Results:
    """The same runs with the sizes of the digits the other way round."""
    return Results(
        {
            cell: {**record, "by_scale": {**record["by_scale"], "errors": record["by_scale"]["errors"][::-1]}}
            for cell, record in runs.records.items()
        }
    )


def test_trends_are_charged_for_looks_and_then_for_four_conditions() -> None:
    """p of the paired t, seen before: 0.012, 0.023, 0.0008, 0.59; looks 4, 2, 1, 1; Holm by hand."""
    found = sizes.size_trends(recorded(), LOOKED)
    assert [t.column for t in found] == list(COLUMNS)
    assert [t.looks for t in found] == [4, 2, 1, 1]
    alone = [t.ratio.p for t in found]
    assert alone == pytest.approx([0.0119, 0.0234, 0.00082, 0.593], rel=0.01)
    charged = [p * k * (k + 1) for p, k in zip(alone, (4, 2, 1, 1))]
    holm = [3 * charged[0], 3 * charged[1], 4 * charged[2], 1.0]
    assert [t.p_ratio for t in found] == pytest.approx([2 * charged[0], 3 * charged[1], holm[2], 1.0])
    assert all(t.p_count > 0.9 for t in found), "in counts nothing"
    corrected = sizes.trend_table(recorded(), LOOKED)["p, corrected"]
    assert list(corrected) == ["0.48", "0.42", "0.007", "1.00"]
    assert all(np.isnan(t.p_ratio) for t in sizes.size_trends(recorded(2), LOOKED)), "too few realizations"


def test_conditions_that_have_not_run_yet_count_in_the_correction() -> None:
    found = [t for t in sizes.size_trends(recorded(50)) if t.count.n[0]]
    assert [t.column for t in found] == ["28", "28+"]
    for side in ("ratio", "count"):
        charged = [min(1.0, getattr(t, side).p * t.looks * (t.looks + 1)) for t in found]
        by_hand = multipletests([*charged, 1.0, 1.0], method="holm")[1][:2]
        assert [getattr(t, f"p_{side}") for t in found] == pytest.approx(list(by_hand))


def test_where_sesn_gains_is_said_with_its_test() -> None:
    """The first 101 runs: less in shares at 56 alone, nothing in counts. With the sizes turned round: more."""
    said = sizes.gain_sentence(recorded(), LOOKED)
    assert said == (
        "Of the plain CNN’s errors SESN (mean of Scalar and Vector) saves a smaller share on small digits than on "
        "large ones at 56; elsewhere the trend is undecided."
    )
    assert sizes.gain_details(recorded(), LOOKED) == (
        "SESN’s errors / the CNN’s: this ratio on the largest digits is 0.79 [0.73, 0.86] times that on the smallest "
        "at 56 (p = 0.007). Looked for afterwards (paired t over 6 realizations, charged for looks, Holm over 4); "
        "without that charge significant also at 28 and 28+. In errors saved per 1,000 digits no trend is shown."
    )
    more = sizes.gain_sentence(turned(recorded()), LOOKED)
    assert "saves a larger share on small digits than on large ones at 56; " in more
    few = recorded(keep=lambda cell: cell.realization < 2)
    assert "saves a share whose trend with size is undecided at 28, 28+, 56 and 56+." in sizes.gain_sentence(few)
    assert "SESN’s errors / the CNN’s: no significant trend. " in sizes.gain_details(few)
    assert "is not known" in sizes.gain_sentence(recorded(0))
    assert sizes.gain_details(recorded(0)) == ""


def test_a_trend_in_counts_is_said() -> None:
    """The CNN makes 100 more errors among the smallest digits, give or take: SESN saves more of them there."""
    records = dict(recorded().records)
    for cell, record in records.items():
        if "cnn" in cell.model:
            counts = record["by_scale"]
            errors = [counts["errors"][0] + 100 + cell.realization, *counts["errors"][1:]]
            records[cell] = {**record, "by_scale": {**counts, "errors": errors}}
    said = sizes.gain_details(Results(records))
    assert "Per 1,000 digits SESN saves a larger number on small digits at 28, 28+, 56 and 56+." in said


def test_gains_by_size_are_ratios() -> None:
    edges, ratios = sizes.gain_by_size(recorded())["28"]
    assert (len(edges), len(ratios)) == (8, 7)
    assert 0.90 < ratios[0] < 0.93


@pytest.mark.slow
def test_the_readme_says_of_small_digits_what_the_records_say() -> None:
    """Word for word what notebooks 0 and 10 say."""
    root = Path(__file__).resolve().parent.parent
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    folder = root / "notebooks" / "results"
    found, looked = results.load(folder), results.looks(folder)["table"]
    said = sizes.gain_sentence(found, looked)
    assert said.replace("Of the", "of the") in readme.replace("'", "’")
    for name in ("00_poster", "10_results"):
        notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", 4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        text = " ".join(o.get("text", "") + o.get("data", {}).get("text/markdown", "") for o in outputs)
        assert text.count(said) == 1, f"{name} says it once"
