"""The figures of the first notebooks: what they say in words and numbers, how they are shown, and that sliders stand
still where nobody can move them."""

from __future__ import annotations

import base64
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import torch  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.legend import Legend  # noqa: E402

from sesn_lib.basis import Basis, hermite_a  # noqa: E402
from sesn_lib.plotting import filters, groups, style, training  # noqa: E402
from sesn_lib.training.task import EpochReport  # noqa: E402

pytestmark = pytest.mark.usefixtures("clean_figures")


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed instead of reaching a notebook."""
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: seen.append((data, options)))
    return seen


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for ax in figure.axes for text in ax.findobj(matplotlib.text.Text)}


# -- style ----------------------------------------------------------------------------------------


def test_a_colour_says_one_thing() -> None:
    """Whose a number is, which network, with or without augmentation: no two of these share a colour."""
    whose = (style.OURS, style.PAPER, style.REPORT)
    which = (*style.ROWS.values(), style.PLAIN, style.SCALED)
    assert len({*whose, *which}) == len(whose) + len(which)
    assert style.GOOD not in {*whose, *which}


def test_show_stores_a_png_with_alternative_text_and_closes_the_figure(displayed: list[Any]) -> None:
    figure, ax = plt.subplots(figsize=(3, 2))  # narrow enough for a phone: one form
    ax.plot([1, 2, 3])
    style.show(figure, "a line that rises")
    bundle, options = displayed[0]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == "a line that rises"
    assert options["metadata"]["image/png"] == {"alt": "a line that rises", "width": 3 * style.SCREEN_DPI}
    assert not plt.fignum_exists(figure.number)


def test_for_print_a_figure_is_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: seen.append((data, options)))
    style.use(vector=True)
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.plot([1, 2, 3])
    style.show(figure, "a line that rises")
    (data, options), *_ = seen
    assert "<path" in data["image/svg+xml"]
    assert options["metadata"]["image/svg+xml"] == {"alt": "a line that rises", "width": 4 * style.SCREEN_DPI}
    assert not plt.fignum_exists(figure.number)


def test_a_figure_without_alternative_text_is_refused() -> None:
    with pytest.raises(ValueError, match="alt is empty"):
        style.show(plt.figure(), " ")


def one_slider(value: float) -> Figure:
    figure, ax = plt.subplots()
    ax.plot([value])
    return figure


def test_sliders_draw_one_figure_in_a_batch(displayed: list[Any]) -> None:
    assert not style.is_live()
    style.interactive(one_slider, "the value {value}", value=((1.0, 2.0, 3.0), 2.0))
    assert [data["text/plain"] for data, _ in displayed] == ["the value 2.0"]


def test_sliders_move_where_somebody_can_move_them(monkeypatch: pytest.MonkeyPatch, displayed: list[Any]) -> None:
    ipywidgets = pytest.importorskip("ipywidgets")
    made: dict[str, Any] = {}
    monkeypatch.setattr(style, "is_live", lambda: True)
    monkeypatch.setattr(ipywidgets, "interact", lambda draw, **controls: made.update(draw=draw, **controls))
    style.interactive(one_slider, "the value {value}", value=((1.0, 2.0, 3.0), 2.0))
    assert displayed == []
    assert made["value"].options == (1.0, 2.0, 3.0)
    assert made["value"].value == 2.0
    made["draw"](value=3.0)
    assert displayed[0][0]["text/plain"] == "the value 3.0"


@pytest.mark.parametrize(("metadata", "live"), [({"cellId": "abc"}, True), ({}, False)])
def test_a_front_end_is_known_by_the_cell_id(monkeypatch: pytest.MonkeyPatch, metadata: dict, live: bool) -> None:
    kernel = SimpleNamespace(get_parent=lambda: {"metadata": metadata})
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert style.is_live() is live


def test_a_slider_starts_at_one_of_its_values() -> None:
    with pytest.raises(ValueError, match=r"slider value starts at 5: it must be one of \[1, 2\]"):
        style.interactive(one_slider, "x", value=((1, 2), 5))


def test_a_legend_has_each_label_once_in_its_order_in_as_many_columns_as_there_are() -> None:
    def rows(legend: Legend) -> int:
        figure.draw_without_rendering()
        return len({round(text.get_window_extent().y0) for text in legend.get_texts()})

    figure, axes = plt.subplots(1, 2)
    for panel in axes:
        panel.plot([0], [0], label="b")
        panel.plot([0], [0], label="a")
    style.legend(figure, ["a", "absent", "b"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert rows(figure.legends[0]) == 1
    style.legend(figure, across=1)
    assert [text.get_text() for text in figure.legends[1].get_texts()] == ["b", "a"]
    assert rows(figure.legends[1]) == 2


def test_palette_colours_differ() -> None:
    assert len(set(style.CYCLE)) == len(style.CYCLE)
    assert len(set(style.scale_colours(5))) == 5


# -- groups ---------------------------------------------------------------------------------------


def test_only_an_exact_zero_is_printed_as_zero() -> None:
    assert groups.format_error(0.0) == "0"
    assert groups.format_error(1e-33) == "1e-33"
    assert groups.format_error(3.6e-7) == "4e-07"
    assert groups.format_error(0.063) == "0.063"
    assert groups.format_error(1.234) == "1.2"
    assert groups.format_error(math.nan) == "-"


def test_the_table_shows_every_number_and_name() -> None:
    figure = groups.error_table([[0.0, 2e-7], [1.5, math.nan]], ["conv", "SESN"], ["shift", "scale"])
    assert {"0", "2e-07", "1.5", "-", "conv", "SESN", "shift", "scale"} <= texts(figure)
    faces = [patch.get_facecolor() for patch in figure.axes[0].patches]
    assert faces[0] == matplotlib.colors.to_rgba(style.BLUE)
    assert style.BLUE not in {matplotlib.colors.to_hex(face).upper() for face in faces[1:]}


def test_square_and_panels_draw_what_they_are_given() -> None:
    f = torch.rand(1, 1, 8, 8)
    figure = groups.commuting_square(f, -f, f.flip(-1), -f.flip(-1), action="L_m")
    assert np.allclose(figure.axes[3].images[0].get_array(), -f.flip(-1)[0, 0], atol=1e-6)
    assert r"$\Phi(f)$" in texts(figure)
    assert len(figure.artists) == 4  # arrows
    row = groups.panels({"f": f, "negative": -f}, signed=["negative"])
    assert row.axes[1].images[0].get_clim() == pytest.approx((-float(f.max()), float(f.max())))
    assert row.axes[0].images[0].get_array().min() >= 0


def test_lifted_maps_have_an_arrow_per_move() -> None:
    rows = [groups.MapRow(name, torch.rand(8, 8), torch.randn(4, 8, 8)) for name in ("upright", "turned")]
    figure = groups.lifted_maps(rows, ["0", "1", "2", "3"], moves={0: 1, 3: 0})
    assert len(figure.axes) == 10
    assert len(figure.artists) == 2
    assert len(groups.matrices({"a": torch.eye(3), "b": torch.eye(3)}).axes) == 2


# -- filters --------------------------------------------------------------------------------------


def test_energy_outside_of_a_filter() -> None:
    """For order 0 it is an error function: 1 - erf(half / sigma)^2."""
    assert filters.outside(2.0, 0, 0, 5) == pytest.approx(1 - math.erf(2.5 / 2) ** 2, rel=1e-2)
    assert filters.outside(1.0, 2, 1, 15) < 1e-12
    assert filters.outside(3.0, 4, 0, 5) > 0.5
    assert "6.8% of the energy is outside" in " ".join(texts(filters.one_function(2.0, 3, 1, 9)))


def test_filter_figures_have_the_panels_they_promise() -> None:
    basis = Basis(hermite_a(9, [1.0, 2.0], 2), [1.0, 2.0])
    figure = filters.across_scales(basis.functions, basis.scales, basis.supports, list("abcd"))
    assert len(figure.axes) == 8
    assert "$s=1$: 5×5" in texts(figure)
    family = filters.family(2, total=2)
    assert len(family.axes) == 9
    assert [bool(ax.images[0].get_alpha()) for ax in family.axes] == [False] * 3 + [
        False,
        False,
        True,
        False,
        True,
        True,
    ]
    assert len(filters.sampled_profiles([2.0, 0.5], 3, [9, 5]).axes) == 2
    grid = filters.grid({"a": [np.eye(3), np.eye(5)], "b": [np.eye(3), np.eye(5)]}, ["one", "two"])
    assert len(grid.axes) == 4


def test_curves_are_those_that_were_given() -> None:
    curve = filters.power_curve([0, 1, 2], [9, 1, 0], lambda p: (2 ** (2 - p) - 1) ** 2, scale=2)
    assert list(curve.axes[0].lines[1].get_ydata()) == [9, 1, 0]
    projection = filters.projections({"white": {"A": [0.5, 0.0], "(random)": [0.6, 0.2]}}, 2)
    assert list(projection.axes[0].lines[0].get_ydata()) == [1.0, 0.5, 0.0]
    assert {"A", "random"} <= texts(projection)
    spectra = filters.singular_values({"finest": {"a": torch.tensor([2.0, 1.0, 2e-6, 1e-12]).double()}}, {"a": "small"})
    assert list(spectra.axes[0].lines[0].get_ydata()) == pytest.approx([1.0, 0.5, 1e-6])
    faults = filters.faults({"m1": {"as it is": 0.1, "mended": 1e-3}, "m2": {"as it is": 0.2, "mended": 1e-4}})
    assert {"m1", "m2", "as it is", "mended"} <= texts(faults)
    assert {"unmoved", "$g$"} <= texts(filters.flags({"$g$": (2.0, (1.0, 0.0))}))


# -- training -------------------------------------------------------------------------------------


def test_what_is_called_an_error_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    rows = ((1, 0.01, 0.9, 0.7, 0.5, 0.9), (2, 0.01, 0.4, 0.8, 0.3, 0.95), (3, 0.001, 0.2, 0.9, 0.2, 0.96))
    history = [dict(zip(keys, row)) for row in rows]
    loss, error = training.learning_curve(history, best=3).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in error.lines}
    assert drawn["training"] == pytest.approx([30.0, 20.0, 10.0])
    assert drawn["validation"] == pytest.approx([10.0, 5.0, 4.0])
    assert [list(line.get_xdata()) for line in error.lines if line.get_label() == "kept"] == [[3, 3]]
    losses = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert (losses["training"], losses["validation"]) == ([0.9, 0.4, 0.2], [0.5, 0.3, 0.2])
    assert [list(line.get_xdata()) for line in loss.lines if line.get_label() == "lower learning rate"] == [[2.5, 2.5]]
    monitor = training.Monitor()
    monitor(
        EpochReport(
            epoch=1,
            epochs=60,
            learning_rate=0.01,
            train_loss=0.9,
            train_accuracy=0.7,
            seconds=2.0,
            best_epoch=1,
            val_loss=0.5,
            val_accuracy=0.96,
        )
    )
    assert capsys.readouterr().out == "epoch 1 of 60: loss 0.900, validation error 4.0 %, 2 s\n"
    assert monitor.history[0]["val_accuracy"] == 0.96


def test_the_limit_of_nothing_is_one() -> None:
    assert style.peak(np.zeros(3), [0.0]) == 1.0
    assert style.peak([-3.0, 2.0], [1.0]) == 3.0
