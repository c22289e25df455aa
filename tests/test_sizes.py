"""Errors by the size of the digit, in ratios and in counts, regime by regime."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recorded import REFERENCE, recorded
from scipy import stats

from sesn_lib.analysis import sizes

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
