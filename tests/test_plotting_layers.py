"""Figures on layers and equivariance: they draw what they are given, and refuse what makes no sense."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sesn_lib.plotting import equivariance, layers, style

pytestmark = pytest.mark.usefixtures("clean_figures")


def texts(figure: Figure) -> list[str]:
    """Everything written inside of the axes, and titles and labels."""
    found = []
    for axes in figure.axes:
        found += [t.get_text() for t in axes.texts]
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
    return found


def drawn(figure: Figure) -> None:
    figure.canvas.draw()


# --- layers -----------------------------------------------------------------------------------------------------------


def test_number_grids_write_the_numbers_and_symbols() -> None:
    figure = layers.number_grids([("a", [[1, 2], [3, 4]]), ("b", torch.tensor([[5.5]]))], symbols=["*"])
    drawn(figure)
    assert {"1", "2", "3", "4", "5.5", "*", "a", "b"} <= set(texts(figure))


def test_number_grids_need_a_symbol_between_each_two() -> None:
    with pytest.raises(ValueError, match="2 symbols for 2 grids"):
        layers.number_grids([("a", [[1]]), ("b", [[2]])], symbols=["*", "="])


def test_number_grids_of_zeros() -> None:
    figure = layers.number_grids([("nothing", np.zeros((2, 2)))])
    drawn(figure)
    assert texts(figure).count("0") == 4


def test_same_weights_frames_the_support() -> None:
    kernels = torch.randn(2, 7, 7, requires_grad=True)
    figure = layers.same_weights(torch.randn(9), kernels, [1.0, 2.0], [3, 7])
    drawn(figure)
    weights, *filters = figure.axes
    assert len(weights.patches) == 9
    assert [axes.patches[0].get_width() for axes in filters] == [3, 7]
    assert filters[0].patches[0].get_x() == 1.5  # pixels 2 to 4 of 0 to 6
    assert "support 3 x 3" in texts(figure)


def test_lifting_has_an_image_and_two_rows() -> None:
    figure = layers.lifting(torch.rand(8, 8), torch.randn(3, 5, 5), torch.randn(3, 8, 8), [1.0, 1.5, 2.0], [3, 3, 5])
    drawn(figure)
    assert len(figure.axes) == 1 + 2 * 3


def test_lifting_shows_each_scale_its_filter_above_its_response() -> None:
    image, kernels, out = torch.rand(8, 8), torch.randn(2, 5, 5), torch.randn(2, 8, 8)
    figure = layers.lifting(image, kernels, out, [1.0, 2.0], [3, 5])
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    for one, expected in zip(shown, (image, kernels[0], out[0], kernels[1], out[1]), strict=True):
        assert np.array_equal(one, expected)
    first, second = (figure.axes[place].patches[0].get_width() for place in (1, 3))
    assert (first, second) == (3, 5)
    limits = [axes.images[0].get_clim()[1] for axes in figure.axes]
    assert limits[2] == limits[4] == pytest.approx(float(out.abs().max())), "responses can be compared"
    assert limits[1] == pytest.approx(float(kernels[0].abs().max()))


def test_projection_shows_the_maximum_and_the_winner() -> None:
    out = torch.zeros(2, 4, 4)
    out[0, 1, 1], out[1, 2, 2] = 1.0, 0.5
    figure = layers.projection(out, [1.0, 2.0], marks=[(1, 1), (2, 2)])
    drawn(figure)
    maximum, winners = figure.axes[2].images[0].get_array(), figure.axes[3].images[0].get_array()
    assert np.array_equal(maximum, out.amax(0))
    first, second = winners[1, 1], winners[2, 2]
    assert np.allclose(first, mpl.colors.to_rgb(style.scale_colours(2)[0]))
    assert not np.allclose(first, second)
    assert np.allclose(winners[0, 0], 1)  # no response, no colour
    rings = [line.get_markeredgecolor() for line in figure.axes[3].lines]
    assert np.allclose(mpl.colors.to_rgba_array(rings), mpl.colors.to_rgba_array(style.scale_colours(2)))


def test_the_largest_response_wins_not_the_strongest_one_and_marks_are_rows_and_columns() -> None:
    out = torch.zeros(2, 4, 4)
    out[0, 1, 3], out[1, 1, 3] = 0.5, -2.0
    figure = layers.projection(out, [1.0, 2.0], marks=[(1, 3)])
    winners = figure.axes[3].images[0].get_array()
    first, second = (np.array(mpl.colors.to_rgb(colour)) for colour in style.scale_colours(2))
    paler = (1 - winners[1, 3]) / (1 - first)
    assert np.allclose(paler, 0.25), "the first scale's colour, by the strength beside the strongest of all"
    assert not np.allclose((1 - winners[1, 3]) / (1 - second), 0.25)
    (mark,) = figure.axes[3].lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (3, 1)
    assert [mpl.colors.to_hex(axes.spines["left"].get_edgecolor()) for axes in figure.axes[:2]] == [
        mpl.colors.to_hex(colour) for colour in style.scale_colours(2)
    ]


def test_connections_count_scales_from_zero() -> None:
    figure = layers.connections([np.eye(3), np.triu(np.ones((3, 3)))], ["K = 1", "K = 3"])
    drawn(figure)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0", "1", "2"]
    assert sum(t.get_text() == "0" for t in figure.axes[0].texts) == 6
    assert sum(t.get_text() == "0" for t in figure.axes[1].texts) == 3


def test_connections_have_input_scales_across_and_output_scales_down() -> None:
    """Scale 0 of the output sees input scale 1; an equation's matrix has its rows down."""
    (axes,) = layers.connections([[[0.0, 0.5], [0.0, 0.0]]], ["K = 2"]).axes
    assert {t.get_position(): t.get_text() for t in axes.texts} == {
        (0, 0): "0",
        (1, 0): "0.5",
        (0, 1): "0",
        (1, 1): "0",
    }
    assert axes.images[0].get_array().tolist() == [[False, True], [False, False]]
    assert "input" in axes.get_xlabel()
    assert "output" in axes.get_ylabel()


def test_scale_selection_circles_the_peak_of_the_chosen_line() -> None:
    figure = layers.scale_selection([1.0, 2.0], [1.0, 2.0, 4.0], [[3, 2, 1], [1, 3, 2]], 2.0)
    drawn(figure)
    circle = figure.axes[0].lines[-1]
    assert (circle.get_xdata()[0], circle.get_ydata()[0]) == (2.0, 3.0)
    (dashed,) = (line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    assert list(dashed.get_xdata()) == [2.0, 2.0], "at the blob's width"
    assert dashed.get_label() == "width of the blob, 2.00 px"
    curves = {tuple(line.get_ydata()): line for line in figure.axes[0].lines if len(line.get_ydata()) == 3}
    assert curves[1, 3, 2].get_color() == style.SESN
    assert curves[3, 2, 1].get_color() == style.MUTED
    assert list(curves[1, 3, 2].get_xdata()) == [1.0, 2.0, 4.0]


def test_costs_write_the_share() -> None:
    figure = layers.costs(["a", "b"], [100, 200], [50, 124])
    drawn(figure)
    assert {" 50%", " 62%"} <= set(texts(figure))
    padded, own = figure.axes[0].containers
    assert [bar.get_width() for bar in padded] == [100, 200]
    assert [bar.get_width() for bar in own] == [50, 124]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["every filter padded to the largest", "each scale on its own support"]


# --- equivariance -----------------------------------------------------------------------------------------------------


def test_pictures_share_one_range() -> None:
    figure = equivariance.pictures({"a": np.eye(3), "b": 5 * np.eye(3)})
    drawn(figure)
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0.0, 5.0)}
    signed = equivariance.pictures({"a": -np.eye(3), "b": 2 * np.eye(3)}, signed=True)
    assert {axes.images[0].get_clim() for axes in signed.axes} == {(-2.0, 2.0)}


def test_paths_show_the_difference_on_the_colours_of_the_rest() -> None:
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    figure = equivariance.paths(a, b, {"one": (a, b, 0.25), "two": (a, a, 1e-7), "three": (a, a, 0.0)}, 2.0)
    drawn(figure)
    row = figure.axes[:5]
    assert np.allclose(row[2].images[0].get_array(), a)
    assert np.allclose(row[3].images[0].get_array(), b)
    assert np.allclose(row[4].images[0].get_array(), a - b)
    assert row[4].images[0].get_clim() == row[3].images[0].get_clim() == row[2].images[0].get_clim()
    written = " ".join(texts(figure))
    assert "0.25" in written
    assert "10^{-7}" in written


def test_error_curves_are_logarithmic_and_named() -> None:
    figure = equivariance.error_curves(
        {"a": [1, 2], "b": [1, 2, 3]},
        {"a": [0.1, 0.01], "b": (np.array([0.1, 0.2, 0.3]), np.array([0.05, 0.3, 0.1]))},
        xlabel="x",
        logx=True,
        ticks=[1, 2],
        marks={"here": [1.5, 2.5]},
        colours={"a": "#123456"},
    )
    drawn(figure)
    axes = figure.axes[0]
    assert axes.get_yscale() == axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["here", "a", "b"]
    assert axes.lines[2].get_color() == "#123456"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() > 0  # a spread larger than the mean must not leave the logarithmic axis


def test_convergence_draws_points_and_laws() -> None:
    m = np.array([1.0, 2.0, 4.0])
    figure = equivariance.convergence({"cut": (m, m**-2, 2.0, 1.0)}, {"fading": (m, np.exp(-(m**2)), 1.0, 1.0)})
    drawn(figure)
    left, right = figure.axes
    assert np.allclose(left.lines[0].get_ydata(), left.lines[1].get_ydata())
    assert np.allclose(right.lines[0].get_ydata(), right.lines[1].get_ydata())
    assert "order 2.0" in left.get_legend().get_texts()[0].get_text()


def test_configurations_have_a_row_each() -> None:
    values = {"B": ([0.1, 0.2], [0.3, 0.1]), "A": ([0.01, 0.02], [0.001, 0.002])}
    figure = equivariance.configurations(["one", "two"], values, notes=["x", "y"])
    drawn(figure)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["one", "two"]
    assert [t.get_text() for t in axes.texts] == ["x", "y"]
    assert axes.get_xlim()[0] > 0
    bars = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert bars == [pytest.approx([0.01, 0.4]), pytest.approx([0.1, 0.3])], "never to zero, where the axis has no place"


def test_logits_draw_the_true_class_last_and_green() -> None:
    figure = equivariance.logits(
        [0.5, 1.0], {0.5: np.eye(3), 1.0: np.eye(3)}, {"net": np.arange(20.0).reshape(2, 10)}, label=3
    )
    drawn(figure)
    axes = figure.axes[-1]
    assert len(axes.lines) == 10
    assert axes.lines[-1].get_color() == style.GOOD
    assert list(axes.lines[-1].get_ydata()) == [3.0, 13.0]


def test_accuracies_are_fractions_per_factor() -> None:
    correct = torch.tensor([[True, True, False, False], [True, True, True, True]])
    figure = equivariance.accuracies([0.5, 1.0], {"net": correct}, trained=(0.3, 1.0))
    drawn(figure)
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.5, 1.0]
    # Wilson's intervals of 2 and of 4 in 4: 1/2 -+ z / (2 sqrt(4 + z^2)) and 4 / (4 + z^2) to 1, with z = 1.96.
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert np.allclose(sorted(set(band.round(3))), [0.150, 0.510, 0.850, 1.0], atol=1e-3)
