"""Figures on groups and on the way up to equation 7: whose picture is where, which way arrows point, true titles."""

from __future__ import annotations

import math

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from sesn_lib.plotting import groups, overview, staircase, style

pytestmark = pytest.mark.usefixtures("clean_figures")


def arrows(figure: Figure) -> list[tuple[int, int]]:
    """From which panel to which each arrow leads."""
    places = {axes: place for place, axes in enumerate(figure.axes)}
    return [(places[arrow.axesA], places[arrow.axesB]) for arrow in figure.artists]


def picture(figure: Figure, place: int) -> np.ndarray:
    return np.asarray(figure.axes[place].images[0].get_array())


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "printed"), [(0.00499, "5e-03"), (0.005, "0.005"), (0.0449, "0.045"), (12.3, "12"), (3e-9, "3e-09")]
)
def test_errors_are_short_and_small_ones_powers_of_ten(value: float, printed: str) -> None:
    assert groups.format_error(value) == printed


def test_numbers_of_the_table_can_be_read_on_their_colour() -> None:
    """White on what is dark (exact zeros, large errors), ink on what is pale; each in its row and column."""
    (axes,) = groups.error_table([[0.0, 1e-6, 0.01], [1.0, 0.03, math.nan]], ["a", "b"], ["x", "y", "z"]).axes
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours == {
        **dict.fromkeys(("0", "1", "0.03"), "white"), **dict.fromkeys(("1e-06", "0.01", "-"), style.INK)
    }  # fmt: skip
    assert {text.get_text(): text.get_position() for text in axes.texts}["0.03"] == (1, 1)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert axes.get_ylim() == (1.5, -0.5), "the first row on top"
    assert [text.get_weight() for text in axes.texts].count("bold") == 1


def test_text_and_colour_of_the_table_are_far_enough_apart() -> None:
    """By the contrast of WCAG 2, for every order of magnitude: at least 3, as bold or large type needs it."""

    def luminance(colour: object) -> float:
        parts = np.array(to_rgba(colour)[:3])
        return float(
            np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        )

    values = [0.0, math.nan, *(10.0**power for power in np.arange(-8, 0.6, 0.5))]
    (axes,) = groups.error_table([values], ["a"], ["x"] * len(values)).axes
    contrasts = {}
    for value, text, patch in zip(values, axes.texts, axes.patches, strict=True):
        dark, light = sorted((luminance(text.get_color()), luminance(patch.get_facecolor())))
        contrasts[value] = (light + 0.05) / (dark + 0.05)
    assert min(contrasts.values()) >= 3, contrasts


def test_arrows_between_lifted_maps_lead_from_a_map_to_where_it_goes() -> None:
    rows = [groups.MapRow(name, torch.rand(8, 8), torch.randn(4, 8, 8)) for name in ("upright", "turned")]
    figure = groups.lifted_maps(rows, ["0", "1", "2", "3"], moves={0: 1, 3: 0})
    assert arrows(figure) == [(1, 5 + 2), (4, 5 + 1)]
    assert [to_hex(arrow.get_edgecolor()) for arrow in figure.artists] == [
        to_hex(style.scale_colours(4)[place]) for place in (0, 3)
    ]
    for line, row in enumerate(rows):
        for place in range(4):
            assert np.allclose(picture(figure, 5 * line + 1 + place), row.maps[place])
    assert len({axes.images[0].get_clim() for place, axes in enumerate(figure.axes) if place % 5}) == 1, "one range"
    three = groups.lifted_maps([*rows, rows[0]], ["0", "1", "2", "3"], moves={0: 1})
    assert arrows(three) == []


def test_the_square_has_its_corners_where_the_equation_has_them() -> None:
    f, mapped, moved, both = (torch.full((4, 4), float(value)) for value in (1, 2, 3, 4))
    figure = groups.commuting_square(f, mapped, moved, both, action="L_s", action_out="L'_s")
    assert [float(picture(figure, place).max()) for place in range(4)] == [1, 2, 3, 4]
    assert sorted(arrows(figure)) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    beside = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert beside == [r"$\Phi$", "$L_s$", "$L'_s$", r"$\Phi$"]
    assert [axes.get_title() for axes in figure.axes][3] == r"$\Phi(L_s\,f)=L'_s\,\Phi(f)$"


def test_matrices_have_a_range_each() -> None:
    figure = groups.matrices({"a": torch.eye(3), "b": -4 * torch.eye(3)})
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(-1, 1), (-4, 4)]
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]


# --- the way up to equation 7 -----------------------------------------------------------------------------------------


def test_taps_lie_on_both_sides_of_the_middle() -> None:
    figure = staircase.bumps([("one", lambda t: 1 + 0 * t), ("line", lambda t: 1 + t / 10)], [1, 2])
    assert [list(axes.lines[-1].get_xdata()) for axes in figure.axes] == [[-1, 0, 1], [-2, 0, 2]]
    assert list(figure.axes[1].lines[-1].get_ydata()) == pytest.approx([0.8, 1.0, 1.2])
    assert list(figure.axes[1].lines[1].get_xdata()) == list(range(-6, 7)), "the grid"


def test_responses_stand_at_their_size_and_position() -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]])
    axes, other = staircase.scale_maps([("f", values), ("g", -values)], [1, 2], [[-2, 0, 2], [1, 2, 3]]).axes
    assert (axes.get_title(), other.get_title()) == ("f", "g")
    assert axes.images[0].get_clim() == other.images[0].get_clim(), "one range"
    assert len(staircase.scale_maps([("f", values)], [1, 2], [[-2, 0, 2]]).axes) == 1, "one is enough"
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "1": (0, 0), "2": (1, 0), "3": (2, 0), "4": (0, 1), "5": (1, 1), "6": (2, 1)
    }  # fmt: skip
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-2", "0", "2"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["size 1", "size 2"]
    assert axes.get_ylim()[0] < axes.get_ylim()[1], "the coarsest on top"


def test_windows_and_boxes_have_the_areas_that_are_written_on_them() -> None:
    small, large = staircase.areas(3, 4).axes
    assert (small.get_title(), large.get_title()) == ("3×3: adds 9 pixels", "12×12: adds 144 pixels")
    assert [axes.images[0].get_array().shape for axes in (small, large)] == [(3, 3), (12, 12)]
    (axes,) = staircase.scale_boxes((0.5, 2.0), 2.0).axes
    written = [text.get_text() for text in axes.texts]
    drawn = [(box.get_x(), box.get_y(), box.get_width(), box.get_height()) for box in axes.patches]
    assert drawn == [(0, 1, 2, 0.5), (0, 2, 4, 1), (0, 4, 8, 2)]
    assert written == [f"area {width * height:g}" for _, _, width, height in drawn] == ["area 1", "area 4", "area 16"]


@pytest.mark.parametrize("width", [2.0, 3.0])
def test_the_strongest_response_is_marked_where_it_is(width: float) -> None:
    """Of `s^2 w / (w^2 + s^2)^(3/2)` in the middle of the bump, the largest value is at s = w sqrt(2)."""
    scales = [width * math.sqrt(2) * ratio for ratio in (0.5, 0.75, 1, 1.5, 2)]
    above, below = staircase.climb(width, [1.0, 4.0], scales).axes
    mark = below.lines[-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0], [2])
    bump = above.lines[0]
    at = int(np.argmin(np.abs(bump.get_xdata() - width)))
    assert bump.get_ydata()[at] == pytest.approx(math.exp(-0.5), rel=1e-6), "one standard deviation from its middle"
    responses = np.asarray(below.collections[0].get_array()).reshape(5, -1)
    assert responses.max() == pytest.approx(2 / 3**1.5), "whatever the bump's width: it climbs and keeps its height"
    assert responses.argmax() == 2 * responses.shape[1] + responses.shape[1] // 2


def test_the_middle_row_is_that_of_the_filter_times_the_square_of_its_width() -> None:
    left, right = staircase.filter_at(lambda sigma: np.arange(9.0).reshape(3, 3) / sigma**2, 2.0, 3).axes
    assert list(right.collections[0].get_segments()[-1][:, 1]) == [0, 5]
    assert [segment[1][1] for segment in right.collections[0].get_segments()] == pytest.approx([3, 4, 5])
    assert [segment[1][0] for segment in right.collections[0].get_segments()] == [-1, 0, 1]
    assert left.get_title() == r"same weights, $\sigma$ = 2.00 pixels"


@pytest.mark.parametrize(("difference", "power"), [(2e-7, -6), (0.9e-7, -7), (0.0, -12)])
def test_the_square_says_no_more_than_holds(difference: float, power: int) -> None:
    corners = [(name, np.full((2, 2), float(value))) for value, name in enumerate("abcd")]
    figure = staircase.square_frame(corners, [0, 2, 0, 3], difference)
    assert f"10^{{{power}}}" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == list("abcd")
    assert [axes.images[0].get_clim() for axes in figure.axes][1::2] == [(-2, 2), (-3, 3)]
    assert [axes.images[0].get_cmap().name for axes in figure.axes] == [style.GREY, style.DIVERGING] * 2


# --- the method in one figure -----------------------------------------------------------------------------------------


def test_the_method_in_one_figure_says_what_it_draws() -> None:
    filters, plain, scaled = overview.responses()
    error = overview.measured_error(plain, scaled)
    figure = overview.draw()
    (power,) = (int(part.split("}")[0]) for part in figure.get_suptitle().split("10^{")[1:])
    assert 10.0 ** (power - 1) < error < 10.0**power, "the bound is true, and no worse than need be"
    swapped = overview.measured_error(plain, scaled.roll(1, dims=0))
    assert swapped > 100 * error, "the control: without the step to the next scale it is large"
    frames = [axes.spines["left"].get_edgecolor() for axes in figure.axes]
    for column in (1, 2):
        assert (
            to_hex(frames[4 + column]) == to_hex(frames[8 + column + 1]) == to_hex(style.scale_colours(3)[column - 1])
        )
    assert arrows(figure) == [(5, 10), (6, 11)]
    shown = [picture(figure, place) for place in range(1, 12)]
    expected = [*filters, *plain, *scaled]
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))
    assert [axes.get_title() for axes in figure.axes[5:8]] == [f"response at {s:g} px" for s in overview.SCALES]
