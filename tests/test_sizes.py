"""Errors by the size of the digit, in ratios and in counts, regime by regime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recorded import REFERENCE, recorded
from scipy import stats

from sesn_lib.analysis import results, sizes
from sesn_lib.analysis.results import Results

# The first 101 runs: ratio from smallest to largest digits, errors saved per 1,000 at the smallest less at the largest.
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
    assert row.iloc[0] == 6
    assert row.iloc[1].startswith(f"{np.exp(np.mean(ratios)):.2f} [")
    assert row.iloc[3].replace("−", "-").startswith(f"{np.mean(saved):+.1f} [")
    ratio = sizes.size_trend(recorded(), column, sizes.as_ratio)
    assert ratio.p == pytest.approx(stats.ttest_1samp(ratios, 0).pvalue)


def test_without_counts_there_is_no_trend() -> None:
    assert sizes.trend_table(recorded(0)).empty
    assert sizes.size_table(recorded(0)).empty


def test_where_sesn_gains_is_said_from_the_records() -> None:
    """The first 101 runs: least for small digits, in every network and condition. With the sizes turned round: most."""
    said = sizes.gain_sentence(recorded())
    assert "is least for small digits: for each error of the CNN it makes 0.90 to 1.05 at sizes 0.3 to 0.4" in said
    assert "and 0.71 to 0.93 at 0.9 to 1, fewer there in 8 of 8" in said
    turned = {}
    for cell, record in recorded().records.items():
        counts = {**record["by_scale"], "errors": record["by_scale"]["errors"][::-1]}
        turned[cell] = {**record, "by_scale": counts}
    assert "is most for small digits" in sizes.gain_sentence(Results(turned))
    assert "is not known" in sizes.gain_sentence(recorded(0))
    edges, ratios = sizes.gain_by_size(recorded())["28"]
    assert (len(edges), len(ratios)) == (8, 7)
    assert 0.90 < ratios[0] < 0.93


def test_the_readme_says_of_small_digits_what_the_records_say() -> None:
    root = Path(__file__).resolve().parent.parent
    said = "gains least where digits are small" in (root / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    found = sizes.gain_sentence(results.load(root / "notebooks" / "results"))
    assert said == ("is least for small digits" in found)
