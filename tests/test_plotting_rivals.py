"""Figures on other ways to treat scale: they draw what they are given."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver

from sesn_lib.plotting import rivals

pytestmark = pytest.mark.usefixtures("clean_figures")


def test_winners_have_a_colour_for_each_scale_and_none_where_nothing_answered() -> None:
    index = torch.tensor([[0, 1], [2, -1]])
    figure = rivals.winners({"digit": (torch.rand(2, 2), index)}, [0.5, 1.0, 2.0])
    figure.canvas.draw()
    picture, won, bar = figure.axes
    assert picture.get_title() == "digit"
    shown = won.images[0]
    assert np.array_equal(np.isnan(np.asarray(shown.get_array().filled(np.nan))), [[False, False], [False, True]])
    colours = shown.to_rgba(np.ma.masked_invalid([[0.0, 1.0, 2.0, np.nan]]))[0]
    assert len({tuple(c) for c in colours[:3]}) == 3
    assert colours[3][3] == 0  # transparent
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0.5", "1", "2"]
    assert shown.get_clim() == (-0.5, 2.5)
    assert list(bar.get_yticks()) == [0, 1, 2], "each in the middle of its colour"


def test_arrows_point_as_the_field_and_short_ones_are_left_out() -> None:
    field = torch.zeros(2, 4, 4)
    field[:, 2, 1] = torch.tensor([3.0, 4.0])
    field[:, 0, 3] = torch.tensor([0.1, 0.0])  # below the threshold
    figure = rivals.arrows({"f": (torch.rand(4, 4), field)})
    figure.canvas.draw()
    (drawn,) = [child for child in figure.axes[0].get_children() if isinstance(child, Quiver)]
    assert (drawn.X.tolist(), drawn.Y.tolist()) == ([1], [2])
    assert (drawn.U.tolist(), drawn.V.tolist()) == ([3.0], [4.0])
    assert 5 / drawn.scale == pytest.approx(1 / 12), "the longest one, of the panel's width"
    sparse = rivals.arrows({"f": (torch.rand(4, 4), field)}, every=2)  # column 1 is not drawn
    (none,) = [child for child in sparse.axes[0].get_children() if isinstance(child, Quiver)]
    assert len(none.X) == 0


def test_a_method_without_a_run_stands_as_the_papers_alone() -> None:
    figure = rivals.against_cost(
        {"a": 10.0, "b": 100.0},
        {"a": 0.1, "b": 0.01},
        {"a": (2.0, 0.1, 6)},
        {"a": (2.1, 0.1), "b": (2.5, 0.2)},
        unit="multiply-adds",
        colours={"a": "red", "b": "blue"},
    )
    figure.canvas.draw()
    first, second, third = figure.axes
    points = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in first.lines}
    assert points == {"a": (10.0, 0.1), "b": (100.0, 0.01)}
    for axes in (second, third):
        heights = sorted(bar.lines[0].get_ydata()[0] for bar in axes.containers)
        assert heights == [2.0, 2.1, 2.5]  # ours and the paper's of a, the paper's of b
        filled = {bar.lines[0].get_ydata()[0]: bar.lines[0].get_markerfacecolor() for bar in axes.containers}
        assert filled == {2.0: "red", 2.1: "white", 2.5: "white"}, "filled: ours; hollow: the paper's"
        places = {bar.lines[0].get_ydata()[0]: bar.lines[0].get_xdata()[0] for bar in axes.containers}
        assert places == ({2.0: 10, 2.1: 10, 2.5: 100} if axes is second else {2.0: 0.1, 2.1: 0.1, 2.5: 0.01})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a (n = 6)", "b (no run)"]
