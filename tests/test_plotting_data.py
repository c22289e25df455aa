"""Figures on data, training and STL-10: the values that they draw, on the axes that say so, under the right names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.axes import Axes  # noqa: E402

from sesn_lib.experiments.mnist_scale import Cell  # noqa: E402
from sesn_lib.experiments.stl10 import Recipe  # noqa: E402
from sesn_lib.plotting import data, stl10, style, training  # noqa: E402
from sesn_lib.runner.status import Status  # noqa: E402

pytestmark = pytest.mark.usefixtures("clean_figures")


def lines(axes: Axes) -> dict[str, list[float]]:
    """Legend text -> ordinates."""
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}


def grey(*values: int) -> np.ndarray:
    """One image of 2 x 2 pixels for each value."""
    return np.stack([np.full((2, 2), value, dtype=np.uint8) for value in values])


# --- training ---------------------------------------------------------------------------------------------------------


def test_confusion_counts_true_digits_down_and_taken_ones_across() -> None:
    figure, counts = training.confusion(np.array([1, 1, 1, 2, 2, 9]), np.array([1, 2, 2, 2, 2, 0]))
    assert counts.sum() == 6
    assert (counts[1, 1], counts[1, 2], counts[2, 2], counts[9, 0]) == (1, 2, 2, 1)
    axes = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts}[2, 1] == "2"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("taken for", "true digit")
    shares = np.ma.getdata(axes.images[0].get_array())
    assert shares[1, 2] == pytest.approx(200 / 3)  # of the three ones
    assert shares[9, 0] == 100


def test_mistakes_are_the_first_ones_with_what_they_are() -> None:
    images, factors = grey(10, 20, 30, 40), np.array([0.3, 0.5, 0.7, 0.9])
    figure = training.mistakes(images, np.array([1, 2, 3, 4]), np.array([1, 7, 3, 8]), factors)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["2 → 7   0.50", "4 → 8   0.90"]
    assert [int(axes.images[0].get_array().max()) for axes in shown] == [20, 40]
    assert {axes.images[0].get_clim() for axes in shown} == {(0, 255)}
    one = training.mistakes(images, np.array([1, 2, 3, 4]), np.array([1, 7, 3, 8]), factors, most=1)
    assert [axes.get_title() for axes in one.axes if axes.images] == ["2 → 7   0.50"]
    none = training.mistakes(images, np.arange(4), np.arange(4), factors)
    assert [text.get_text() for text in none.axes[0].texts] == ["no mistakes"]


def test_error_by_scale_by_hand() -> None:
    """Wilson's interval of 1 in 4 is 4.6 to 69.9 %, of 0 in 1 it is 0 to 79.3 % (z = 1.96)."""
    factors = np.array([0.3, 0.32, 0.35, 0.39, 0.95, 1.0])
    figure, table = training.error_by_scale(factors, np.array([True, True, False, True, True, False]))
    assert table["from"].to_list() == pytest.approx([0.3, 0.9])
    assert table["to"].to_list() == pytest.approx([0.4, 1.0])
    assert table["n"].to_list() == [4, 2]
    assert table["error"].to_list() == pytest.approx([25.0, 50.0])
    assert table[["low", "high"]].iloc[0].to_list() == pytest.approx([4.559, 69.936], abs=0.01)
    assert list(figure.axes[0].lines[0].get_xdata()) == pytest.approx([0.35, 0.95])
    assert list(figure.axes[0].lines[0].get_ydata()) == pytest.approx([25.0, 50.0])


def test_the_grid_as_a_table() -> None:
    first, second, third = (Cell("mnist_cnn_28", 0.5, number) for number in (0, 2, 5))
    states = {first: "done", second: "done", third: "running"}
    table = training.grid(Status(states, {}, {first: 2.0, second: 3.0}, {}, (), 0.0, 0))
    assert table.loc["mnist_cnn_28", "runs, e = 0.5"] == "●·●··▶"
    assert table.loc["mnist_cnn_28", "error, e = 0.5"] == "2.50 ± 0.71 (n = 2)"
    assert table.loc["mnist_cnn_28", "runs, e = 1"] == "······"
    assert table.loc["mnist_cnn_28", "error, e = 1"] == ""


# --- data -------------------------------------------------------------------------------------------------------------


def test_the_difference_of_two_digits_has_a_sign() -> None:
    rows = {"paper": list(grey(10, 200)), "report": list(grey(200, 10))}
    figure = data.rescaled_digit(grey(5)[0], rows, [0.5, 1.0])
    differences = [axes.images[0] for axes in figure.axes[7:9]]
    assert [int(image.get_array().max()) for image in differences] == [-190, 190]
    assert {image.get_clim() for image in differences} == {(-255, 255)}
    assert [axes.get_title() for axes in figure.axes[:3]] == ["original", "s = 0.5", "s = 1"]
    assert [int(axes.images[0].get_array().max()) for axes in (figure.axes[1], figure.axes[5])] == [10, 10]


def test_samples_stand_beside_their_factors() -> None:
    figure = data.samples({"paper": (grey(1, 2, 3), np.array([0.3, 0.5, 1.0]))}, columns=2, lines=1)
    assert [axes.get_title() for axes in figure.axes] == ["0.30", "0.50"]
    assert [int(axes.images[0].get_array().max()) for axes in figure.axes] == [1, 2]


def test_ink_is_a_median_between_percentiles_at_each_scale() -> None:
    ratios = np.stack([np.arange(101.0), 2 * np.arange(101.0), 4 * np.arange(101.0)])
    axes = data.ink([0.3, 0.5, 1.0], {"paper": ratios}).axes[0]
    assert lines(axes)["paper"] == [50, 100, 200]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in band.tolist()} >= {(0.3, 5), (0.3, 95), (1.0, 20), (1.0, 380)}


def test_factors_are_held_against_their_density() -> None:
    axes = data.factors({"paper": np.array([0.35, 0.4, 0.45, 0.9])}, (0.3, 1.0), bins=2).axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([0.75 / 0.35, 0.25 / 0.35])
    (level,) = axes.collections[0].get_segments()
    assert level.tolist() == pytest.approx(np.array([[0.3, 1 / 0.7], [1.0, 1 / 0.7]]))
    assert axes.get_title() == "paper: 4 factors"


def test_pixels_at_least_as_bright() -> None:
    axes = data.pixels({"paper": np.array([[[0, 100], [200, 255]]], dtype=np.uint8)}).axes[0]
    share = dict(zip(axes.lines[0].get_xdata(), axes.lines[0].get_ydata()))
    assert [share[level] for level in (1, 100, 101, 200, 201, 255)] == [75, 75, 50, 50, 25, 25]


# --- STL-10 -----------------------------------------------------------------------------------------------------------


def test_pictures_stand_below_their_class() -> None:
    images = np.stack([np.full((3, 2, 2), value, dtype=np.uint8) for value in (10, 20, 30, 40, 50, 60)])
    figure = stl10.pictures(images, np.array([1, 0, 1, 0, 1, 0]), ["cat", "dog"], "a stand-in")
    assert [axes.get_title() for axes in figure.axes] == ["cat", "dog", "", ""]
    assert [int(axes.images[0].get_array().max()) for axes in figure.axes] == [20, 10, 40, 30]
    assert figure.get_suptitle() == "a stand-in"


def test_the_schedule_is_the_recipes() -> None:
    axes = stl10.schedule(Recipe()).axes[0]
    drawn: dict[str, Any] = {line.get_label(): line for line in axes.lines}
    rates = dict(zip(drawn["learning rate"].get_xdata(), drawn["learning rate"].get_ydata()))
    assert [rates[epoch] for epoch in (1, 300, 301, 401, 1000)] == pytest.approx([0.1, 0.1, 0.02, 0.004, 0.00016])
    looked = drawn["test images looked at"]
    assert list(looked.get_xdata()) == [51, 301, 401, 601, 801, 901, 921, 941, 961, 981, 1000]
    assert list(looked.get_ydata()) == pytest.approx([rates[epoch] for epoch in looked.get_xdata()])
    assert list(drawn["reported"].get_xdata()) == [1000]


def test_loss_curves_are_those_of_the_record() -> None:
    history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]
    axes = stl10.curve(history, [{"epoch": 2, "test_loss": 1.5}], "STL-10").axes[0]
    assert lines(axes) == {"training loss": [2.0, 1.0], "test loss": [1.5]}
    assert list(axes.lines[1].get_xdata()) == [2]


def test_the_orders_of_augmentation_stand_in_rows_of_their_own() -> None:
    names = ("original", "normalised", "padded", "cropped", "flipped", "cutout")
    report, authors = (
        {name: np.full((1, 3, 4, 4), start + 0.1 * place) for place, name in enumerate(names)} for start in (0.0, 0.2)
    )
    figure = stl10.pipeline(report, authors, "STL-10")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:5] == ["1 original | normalised", "2 padded", "3 cropped", "4 flipped", "5 cutout"]
    assert titles[6:11] == ["1 original", "2 padded", "3 cropped", "4 flipped", "5 normalised, cutout"]
    values = [float(axes.images[0].get_array()[-1, -1].max()) for axes in figure.axes[:11]]
    grey_of = [0.5 + x / (2 * stl10.WIDEST) for x in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert values[:5] == pytest.approx(grey_of)
    assert values[5:10] == pytest.approx([0.2, 0.2, 0.4, 0.5, 0.6])
    assert values[10] == pytest.approx(0.5 + 0.7 / (2 * stl10.WIDEST))


def test_stages_of_networks_are_drawn_beside_the_plain_one() -> None:
    errors = {"wrn_16_8": [1.0, 2.0], "wrn_16_8_ses_a": [0.1, 0.2], "wrn_16_8_ses_b": [0.5, 0.6]}
    axes = stl10.equivariance(["stem", "end"], {7: errors}).axes
    assert lines(axes[0]) == {"wrn_16_8 (plain)": [1.0, 2.0], "filters of 7 px": [0.1, 0.2]}
    assert lines(axes[1])["filters of 7 px"] == [0.5, 0.6]
    assert [axis.get_title() for axis in axes] == ["wrn_16_8_ses_a", "wrn_16_8_ses_b"]
    assert axes[0].lines[0].get_color() == style.RED
