"""The form of a figure for a phone, where the one for a screen would be shrunk until nobody could read it."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

NARROW = 4.2  # inches that fit a phone with letters of their full size
MOST_STACKED = 2  # panels that are stacked and stored once more; more are cut or scroll, a notebook stays small
_FORMS: WeakKeyDictionary[Figure, Callable[[], Figure]] = WeakKeyDictionary()


def upright(figure: Figure, draw: Callable[[], Figure]) -> Figure:
    """The figure, of which `draw` makes another form for a phone, for what cannot be cut: arrows between panels."""
    _FORMS[figure] = draw
    return figure


def narrow(figure: Figure) -> Figure | None:
    """The figure once more, as wide as a phone: its panels in one column, its legends below them.

    Returns: this figure, changed, or another; nothing if it is narrow as it is, has pictures, arrows or many panels,
        or does not hold together.
    """
    if figure in _FORMS:
        return _FORMS.pop(figure)()
    specs = [spec for axes in figure.axes if (spec := axes.get_subplotspec()) is not None]
    if not specs or len(specs) < len(figure.axes) or figure.get_figwidth() <= NARROW:
        return None
    columns = specs[0].get_gridspec().ncols
    pictures = any(axes.images for axes in figure.axes)
    if columns > 1 and (figure.artists or pictures or not 1 < len(specs) <= MOST_STACKED):
        return None
    height = figure.get_figheight()
    if columns > 1:
        figure.set_size_inches(NARROW, height / specs[0].get_gridspec().nrows * len(specs))
        column = GridSpec(len(specs), 1, figure=figure)
        for row, axes in enumerate(figure.axes):
            axes.set_subplotspec(column[row])
            axes.tick_params(labelleft=True, labelbottom=True)
    else:
        figure.set_figwidth(NARROW)
    if "$" not in figure.get_suptitle():
        figure.suptitle(textwrap.fill(figure.get_suptitle(), 48))
    with warnings.catch_warnings(record=True) as crowded:  # of panels for which there is no room
        warnings.simplefilter("always")
        figure.draw_without_rendering()  # lays it out
        for axes in figure.axes:
            _legend_below(figure, axes)
        figure.draw_without_rendering()
    box = figure.get_tightbbox()
    return figure if not crowded and box.x0 > -0.1 and box.x1 < NARROW + 0.1 else None


def _legend_below(figure: Figure, axes: Axes) -> None:
    """A legend that stands beside its panel takes its width: to the foot of it."""
    legend = axes.get_legend()
    if legend is None or legend.get_window_extent().x0 < axes.get_window_extent().x1:
        return
    handles = [handle for handle in legend.legend_handles if handle is not None]
    names = [text.get_text() for text in legend.get_texts()]
    figure.set_figheight(figure.get_figheight() + 0.22 * len(names) + 0.3)
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(0.0, -0.25))
