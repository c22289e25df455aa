"""Figures that can be read where they are shown: letters of a least size, a form of its own for a phone.

On a phone the form for a screen would be shrunk until nobody could read it. Plots are drawn anew, as wide as a phone,
and so are rows of pictures with names. Other pictures are cut where white gutters run through the figure, and its
pieces stand one below the other.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.text import Text

SCREEN_DPI = 90  # pixels per inch of figure at which a page shows it
PNG_DPI = 120  # pixels per inch that are stored of a form for a phone, beside the whole figure
SCREEN = 920  # pixels that a page is wide; wider figures are shrunk
LEAST = 11  # pixels of letters that can be read
PHONE = 358  # pixels of text that a phone of 390 shows; what is wider gets a form of its own
NARROW = 3.95  # inches that fit those with letters of their full size
MOST_BESIDE = 5  # pictures of a grid with names of its rows
LEAST_PANEL = 0.15  # of a phone's width, that each of them has
MOST_IN_COLUMN = 4  # more panels stand in two columns, and so do those that share the names beside them
NAME = 18  # characters of a name beside an axis, from which on it is broken over lines
LINE = 38  # characters of a line of text across the figure
SUFFIX = "_narrow"  # of the name of a picture's form for a phone, beside it
GUTTER = 0.003  # of a figure's width, that a white gutter has at least
WHITE = 250
LEAST_PIECE = 0.3  # of a phone's width: less than that are the labels of an axis, which stay with their panel
_FORMS: WeakKeyDictionary[Figure, Callable[[], Figure]] = WeakKeyDictionary()


def upright(figure: Figure, draw: Callable[[], Figure]) -> Figure:
    """The figure, of which `draw` makes another form for a phone, for what cannot be cut: arrows between panels."""
    _FORMS[figure] = draw
    return figure


def legible(figure: Figure) -> None:
    """Enlarge letters that would be smaller than `LEAST` where the figure is shown."""
    shown = min(1.0, SCREEN / (figure.get_figwidth() * SCREEN_DPI))
    least = LEAST * 72 / (SCREEN_DPI * shown)  # points
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            sizes = [float(tick.get_fontsize()) for tick in axis.get_ticklabels()]
            if sizes and min(sizes) < least:
                axis.set_tick_params(labelsize=least)
    for text in figure.findobj(Text):
        if float(text.get_fontsize()) < least:
            text.set_fontsize(least)


def pieces(content: bytes, width: int, most: float = PHONE, *, names: float = 0) -> list[bytes]:
    """A PNG that is shown `width` pixels wide, cut along white gutters into parts at most `most` pixels wide.

    Where that does not go, a little wider, to be shrunk by a tenth; with names, if that makes fewer parts, too.

    Arguments:
        names: part of the width, at the left, that holds the names of the rows: every part gets it.

    Returns: the parts from left to right, or nothing if the gutters do not allow it.
    """
    tight = _cut(content, width, most, names)
    if tight and not names:
        return tight
    wide = _cut(content, width, 1.1 * most, names)
    return wide if not tight or 0 < len(wide) < len(tight) else tight


def _cut(content: bytes, width: int, most: float, names: float) -> list[bytes]:
    image = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    white = (np.asarray(image).min(axis=(0, 2)) >= WHITE).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], white, [0]])))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2]) if b - a >= GUTTER * image.width]
    strip = image.crop((0, 0, round(names * image.width), image.height))
    limit = most * image.width / width - strip.width
    inner = [(int(a + b) // 2) for a, b in runs if a > 0 and b < image.width]
    cuts = [strip.width]
    while image.width - cuts[-1] > limit:
        reachable = [x for x in inner if cuts[-1] + LEAST_PIECE * limit < x <= cuts[-1] + limit]
        if not reachable:
            return []
        cuts.append(reachable[-1])
    if len(cuts) < 2:
        return []
    cuts.append(image.width)
    parts = []
    for left, right in pairwise(cuts):
        target = io.BytesIO()
        part = PIL.Image.new("RGB", (strip.width + right - left, image.height))
        part.paste(strip, (0, 0))
        part.paste(image.crop((left, 0, right, image.height)), (strip.width, 0))
        part.quantize(256).save(target, format="png", optimize=True)
        parts.append(target.getvalue())
    return parts


def names(figure: Figure) -> float:
    """Part of the figure's width, at its left, that holds the names of rows of pictures; 0 where there are none."""
    specs = [spec for axes in figure.axes if (spec := axes.get_subplotspec()) is not None]
    if len(specs) < len(figure.axes) or not all(axes.images for axes in figure.axes):
        return 0.0
    first = [axes for axes, spec in zip(figure.axes, specs) if spec.is_first_col()]
    if len(first) == len(specs) or not all(axes.get_ylabel() for axes in first):
        return 0.0
    return float(min(axes.get_window_extent().x0 for axes in first) / figure.bbox.width)


def narrow(figure: Figure) -> Figure | None:
    """The figure once more, as wide as a phone: its panels in one or two columns, its legends in as many as fit.

    Returns: this figure, changed, or another; nothing if it is narrow as it is, has pictures that can be cut apart or
        arrows, or does not hold together.
    """
    if figure in _FORMS:
        return _FORMS.pop(figure)()
    specs = [spec for axes in figure.axes if (spec := axes.get_subplotspec()) is not None]
    if not specs or len(specs) < len(figure.axes) or figure.get_figwidth() <= NARROW:
        return None
    columns = specs[0].get_gridspec().ncols
    if _is_grid(figure, columns) and (smaller := _shrunk(figure)) is not None:
        return smaller
    if columns > 1 and (figure.artists or any(axes.images for axes in figure.axes)):
        return None
    shared = len(specs) > 2 and figure.axes[0].get_shared_y_axes().joined(*figure.axes[:2])
    most = 2 if shared or len(specs) > MOST_IN_COLUMN else 1
    height = figure.get_figheight() / specs[0].get_gridspec().nrows
    return figure if any(_stacked(figure, across, height, columns) for across in range(most, 0, -1)) else None


def _stacked(figure: Figure, across: int, height: float, columns: int) -> bool:
    """Lays the panels out anew, so many beside each other, if there were several columns; whether they fit.

    Arguments:
        height: of a panel, in inches.
        columns: of panels on a screen; one stays one.
    """
    down = -(-len(figure.axes) // across)
    figure.set_size_inches(NARROW, height * (down if columns > 1 else len(figure.axes)))
    if columns > 1:
        grid = GridSpec(down, across, figure=figure)
        for place, axes in enumerate(figure.axes):
            axes.set_subplotspec(grid[place // across, place % across])
            axes.tick_params(labelleft=place % across == 0, labelbottom=True)
    with warnings.catch_warnings(record=True) as crowded:  # of panels for which there is no room
        warnings.simplefilter("always")
        _break_lines(figure, across)
        if any(axes.get_legend() for axes in figure.axes):
            figure.draw_without_rendering()  # lays it out, which tells whether a legend stands beside its panel
            for axes in figure.axes:
                _legend_below(figure, axes)
        for legend in list(figure.legends):
            _fewer_columns(figure, legend)
        figure.draw_without_rendering()
    box = figure.get_tightbbox()
    return not crowded and box.x0 > -0.1 and box.x1 < NARROW + 0.1


def _is_grid(figure: Figure, columns: int) -> bool:
    """Whether it is rows of pictures that belong together: cut, all but one part would lack the names of the rows."""
    rows = len(figure.axes) // columns
    pictures = all(len(axes.images) == 1 and axes.get_aspect() == 1 for axes in figure.axes)
    return 1 < columns <= MOST_BESIDE and rows > 1 and pictures and not figure.artists


def _shrunk(figure: Figure) -> Figure | None:
    """The figure as wide as a phone, with letters that can be read; nothing if there is no room for them."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(NARROW, height * NARROW / width + 0.2)
    legible(figure)
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent() for text in texts]
    panels = min(axes.get_window_extent().width for axes in figure.axes)
    if panels < LEAST_PANEL * figure.bbox.width or any(a.overlaps(b) for a, b in combinations(boxes, 2)):
        figure.set_size_inches(width, height)
        return None
    return figure


def _break_lines(figure: Figure, across: int) -> None:
    """Titles, labels and the names of ticks over as many lines as they need, with the room for them."""

    def broken(text: str, length: int = LINE) -> str:
        return text if "$" in text else "\n".join(textwrap.fill(line, length) for line in text.splitlines())

    for text in figure.texts:
        text.set_text(broken(text.get_text()))
    for axes in figure.axes:
        axes.set_xlabel(broken(axes.get_xlabel(), 32 if across == 1 else LINE // 2))
        axes.set_title(broken(axes.get_title(), LINE // across))
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        if max(map(len, names), default=0) > NAME:
            names = [broken(name, NAME) for name in names]
            axes.set_yticks(axes.get_yticks(), names)
            lines = max(name.count("\n") + 1 for name in names)
            figure.set_figheight(max(figure.get_figheight(), 1.2 + (0.06 + 0.17 * lines) * len(names)))


def _entries(figure: Figure, legend: Legend) -> tuple[list[Any], list[str]]:
    """What a legend names, and the names. What it drew of an error bar has no mark: what was plotted has."""
    plotted = {name: one for axes in figure.axes for one, name in zip(*axes.get_legend_handles_labels())}
    names = [text.get_text() for text in legend.get_texts()]
    return [plotted.get(name, drawn) for name, drawn in zip(names, legend.legend_handles)], names


def _fewer_columns(figure: Figure, legend: Legend) -> None:
    """A legend of the figure that is too wide: fewer of its names beside each other, above the panels."""
    handles, names = _entries(figure, legend)
    for columns in range(min(4, len(names)), 0, -1):
        legend.remove()
        legend = figure.legend(handles, names, loc="outside upper center", ncols=columns)
        if legend.get_window_extent().width <= figure.bbox.width:
            break
    figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(names) // columns) - 1))


def _legend_below(figure: Figure, axes: Axes) -> None:
    """A legend that stands beside its panel takes its width, one above it may be too wide: to the foot of it."""
    legend = axes.get_legend()
    if legend is None:
        return
    box = legend.get_window_extent()
    if 0 <= box.x0 < axes.get_window_extent().x1 and box.x1 <= figure.bbox.width:
        return
    handles, names = _entries(figure, legend)
    figure.set_figheight(figure.get_figheight() + 0.22 * len(names) + 0.3)
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(0.0, -0.25))
