"""Figures as they are shown: letters of a least size, a form for a phone, loops."""

from __future__ import annotations

import base64
import io
from itertools import combinations
from typing import Any

import IPython.display
import numpy as np
import PIL.Image
import pytest
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.text import Text
from test_pages import png, sizes, stripes

from sesn_lib.models import build
from sesn_lib.models.wide_resnet import summary
from sesn_lib.plotting import (
    data,
    equivariance,
    filters,
    groups,
    layers,
    motion,
    overview,
    phone,
    stl10,
    style,
    training,
)
from sesn_lib.report import pictures

# Drawing


def lines(width: float, count: int = 1) -> Any:
    figure, axes = plt.subplots(1, count, figsize=(width, 2.5), squeeze=False)
    for axis in axes[0]:
        axis.plot([0, 1])
    return figure


def stored(figure: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a notebook keeps beside the picture."""
    shown: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, metadata, raw: shown.append(metadata))
    style.show(figure, "a line that rises from left to right")
    return shown[0]["image/png"]


@pytest.mark.parametrize(("width", "count", "narrow"), [(7.0, 1, True), (3.9, 1, False), (7.0, 2, True)])
def test_a_wide_figure_is_drawn_narrow_too(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch, width: float, count: int, narrow: bool
) -> None:
    note = stored(lines(width, count), monkeypatch)
    assert ("narrow" in note) == narrow
    if narrow:
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(note["narrow"])))
        assert picture.width == round(phone.NARROW * phone.PNG_DPI)


def test_on_a_phone_panels_stand_in_a_column_and_a_legend_below(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = lines(7.0, 2)
    figure.axes[1].plot([0, 1], label="a name that takes half the width")
    figure.axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    stored(figure, monkeypatch)
    first, second = (axes.get_position() for axes in figure.axes)
    assert second.y1 < first.y0
    assert second.x0 == pytest.approx(first.x0, abs=0.05)
    legend = figure.axes[1].get_legend().get_window_extent()
    assert legend.y1 < figure.axes[1].get_window_extent().y0


def shared(count: int, width: float = 9.0) -> Any:
    """Panels under one legend, with long names beside the first: nothing of it can be cut."""
    figure, axes = plt.subplots(1, count, figsize=(width, 2.5), sharey=True, squeeze=False)
    for axis in axes[0]:
        axis.barh([0, 1], [1, 2], label="a source")
        axis.plot([1, 2], [0, 1], label="another source with a name")
        axis.plot([2, 1], [0, 1], label="and a third, that makes the legend wide")
        axis.set_xlabel("a quantity with a long name, in its unit (left of 0: better)")
    axes[0, 0].set_yticks([0, 1], ["vector features beat scalar ones", "short"])
    style.legend(figure)
    return figure


@pytest.mark.slow
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 1), (4, 2), (8, 2)])
def test_what_spans_the_panels_is_laid_out_anew(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch, count: int, columns: int
) -> None:
    figure = shared(count)
    assert "narrow" in stored(figure, monkeypatch)
    figure.draw_without_rendering()
    assert len({round(axes.get_position().x0, 1) for axes in figure.axes}) == columns
    legend = figure.legends[-1].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["vector features\nbeat scalar ones", "short"]
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    ends = [min(box.x0 for box in boxes), max(box.x1 for box in boxes)]
    assert ends == pytest.approx([figure.bbox.width / 2] * 2, abs=figure.bbox.width / 2 + 5)


def test_plots_are_drawn_anew_where_pictures_would_be_cut(clean_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "narrow" in stored(lines(9.0, 3), monkeypatch)
    assert "narrow" not in stored(groups.panels({"a": np.eye(3), "b": np.eye(3), "c": np.eye(3)}), monkeypatch)


@pytest.mark.parametrize("width", [3.9, 9.0, 14.0])
def test_letters_are_large_enough_where_they_are_shown(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch, width: float
) -> None:
    figure = lines(width)
    figure.axes[0].text(0.5, 0.5, "small print", fontsize=5)
    figure.axes[0].tick_params(labelsize=6)
    stored(figure, monkeypatch)
    shown = min(1.0, phone.SCREEN / (width * style.SCREEN_DPI))
    texts = [*figure.axes[0].texts, *figure.axes[0].get_xticklabels()]
    pixels = [text.get_fontsize() / 72 * style.SCREEN_DPI * shown for text in texts]
    assert min(pixels) == pytest.approx(phone.LEAST)


def test_what_cannot_be_cut_brings_its_own_form(clean_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.eye(8)
    figure = groups.commuting_square(picture, picture, picture, picture)
    note = stored(figure, monkeypatch)
    drawn = PIL.Image.open(io.BytesIO(base64.b64decode(note["narrow"])))
    assert drawn.width == round(phone.NARROW * phone.PNG_DPI) < note["width"] * style.PNG_DPI / style.SCREEN_DPI
    assert "narrow" not in stored(groups.panels({"a": picture, "b": picture}), monkeypatch), "pictures are cut instead"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: training.confusion(np.arange(10), np.arange(10)[::-1])[0],
        lambda: equivariance.logits([0.5, 1.0], {0.5: np.eye(8)}, {"a": np.eye(10)[:2], "b": np.eye(10)[:2]}, 3),
        pytest.param(overview.draw, marks=pytest.mark.slow),
        lambda: groups.error_table(np.eye(3), ["a long name of a row"] * 3, ["a", "another column", "c"]),
        lambda: layers.connections([np.eye(2)] * 3, ["1", "2", "3"]),
        lambda: data.samples({"paper": (np.zeros((36, 28, 28)), np.zeros(36))}),
        lambda: stl10.networks({"wrn_16_8_ses_b": summary(build("wrn_16_8_ses_b"))}),
        lambda: filters.family(4, total=4),
        lambda: filters.grid({"a": [np.eye(3)] * 3, "b": [np.eye(3)] * 3}, ["1", "2", "3"]),
    ],
    ids=["confusion", "logits", "overview", "errors", "connections", "samples", "networks", "family", "grid"],
)
def test_figures_with_pictures_have_a_form_for_a_phone(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch, draw: Any
) -> None:
    note = stored(draw(), monkeypatch)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(note["narrow"])))
    assert 0.95 * phone.NARROW < picture.width / phone.PNG_DPI <= phone.NARROW


def texts_meet(figure: Any) -> bool:
    """Whether two texts of a figure lie on each other, as they are stored."""
    phone.legible(figure)
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return any(a.overlaps(b) for a, b in combinations([text.get_window_extent() for text in texts], 2))


def test_letters_of_narrow_forms_do_not_meet(clean_figures: None) -> None:
    rows = ["conv, zero padding", "p4: lift, group conv", "SESN T→H"]
    columns = ["shift by 1", "shift by 4", "turn", "mirror", "inversion", "scale (Gaussians)", "scale (digit)"]
    table = groups.error_table(np.full((3, 7), 2e-7), rows, columns)
    table.set_size_inches(phone.NARROW, 3)
    assert texts_meet(table), "a negative control: the wide form in the width of a phone"
    for figure in (table, filters.family(4), layers.connections([np.eye(3)] * 3, ["1", "2", "3"])):
        small = phone.narrow(figure)
        assert small is not None
        assert not texts_meet(small)


def test_rows_of_pictures_without_room_for_their_titles_are_cut_and_keep_their_names(
    clean_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = filters.grid(
        {"first": [np.eye(3)] * 5, "second": [np.eye(3)] * 5}, [f"a title too long {i}" for i in range(5)]
    )
    note = stored(figure, monkeypatch)
    assert "narrow" not in note
    assert 0.01 < note["names"] < 0.2
    assert "names" not in stored(groups.panels({"a": np.eye(3), "b": np.eye(3)}), monkeypatch)


def test_every_part_of_a_cut_figure_has_the_names_of_the_rows() -> None:
    columns = np.concatenate([np.full(30, 0.0), np.ones(10), stripes(300, 300, 300)])
    parts = pictures.pieces(png(columns), len(columns), most=600, names=40 / len(columns))
    assert sizes(parts) == [40 + 310, 40 + 320, 40 + 310]
    for part in parts:
        first = np.asarray(PIL.Image.open(io.BytesIO(part)).convert("L"))[0, :40]
        assert np.array_equal(first > 128, columns[:40] > 0.5)


def test_marks_of_error_bars_stay_in_a_legend(clean_figures: None) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(9, 3))
    for panel in axes:
        panel.errorbar([1, 2], [1, 2], yerr=[0.1, 0.2], fmt="s", label="a")
    style.legend(figure)
    small = phone.narrow(figure)
    assert small is not None
    (legend,) = small.legends
    assert "s" in {line.get_marker() for line in legend.findobj(Line2D)}


def test_a_loop_moves_is_small_and_says_when_it_is_not(clean_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    content = motion.loop([lines(2.0), lines(2.0, 2), lines(2.0)])
    picture = PIL.Image.open(io.BytesIO(content))
    assert (picture.n_frames, picture.info["duration"], picture.info["loop"]) == (3, 120, 0)
    assert len(content) < motion.MOST_BYTES
    with pytest.raises(ValueError, match="1 frames does not move"):
        motion.loop([lines(2.0)])
    monkeypatch.setattr(motion, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100"):
        motion.loop([lines(2.0), lines(2.0, 2)])


@pytest.mark.parametrize("live", [False, True])
def test_a_loop_moves_where_somebody_looks_on(clean_figures: None, monkeypatch: pytest.MonkeyPatch, live: bool) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    monkeypatch.setattr(style, "is_live", lambda: live)
    motion.show([lines(2.0), lines(2.0, 2)], lines(2.0), "a line that rises, then two of them")
    data, notes = shown[0]
    kind = "image/gif" if live else "image/png"
    assert kind in data
    assert notes[kind]["alt"] == "a line that rises, then two of them"
    assert ("loop" in notes[kind]) == (not live)
    assert plt.get_fignums() == []
