"""Figures about groups: transformed images, the commuting square, shared weights, lifted maps, the error table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sesn_lib.plotting import phone, style


def _array(x: Any) -> np.ndarray:
    return style.array(x).squeeze()


def _picture(x: Any) -> np.ndarray:
    """An image without the slight undershoots of interpolation, so that black stays black."""
    return np.clip(_array(x), 0, None)


def panels(images: Mapping[str, Any], *, signed: Sequence[str] = ()) -> Figure:
    """A row of pictures with their names above; those named in `signed` are drawn in blue and red about 0.

    Pictures are [H, W], with or without leading axes of length 1.
    """
    figure, axes = plt.subplots(1, len(images), figsize=(min(9.5, 1.75 * len(images)), 1.9), squeeze=False)
    limit = style.peak(*(images[name] for name in signed)) if signed else None
    for ax, (name, image) in zip(axes[0], images.items()):
        own = name in signed
        style.panel(ax, _array(image) if own else _picture(image), name, limit=limit if own else None)
    return figure


def _arrow(figure: Figure, start: Axes, end: Axes, direction: str, text: str) -> None:
    """An arrow between the facing edges of two axes, `direction` "right" or "down", with a text beside its middle."""
    right = direction == "right"
    places = ((1, 0.5), (0, 0.5)) if right else ((0.5, 0), (0.5, 1))
    look = {"mutation_scale": 14, "color": style.INK, "linewidth": 1.4, "shrinkA": 5, "shrinkB": 5 if right else 20}
    style.arrow(figure, start, end, places, **look)
    x, y = (1.27, 0.56) if right else (0.54, -0.14)
    start.text(x, y, text, transform=start.transAxes, ha="center" if right else "left", fontsize=12)


def commuting_square(
    f: Any, mapped: Any, moved: Any, moved_then_mapped: Any, *, action: str = "L_g", action_out: str = "L'_g"
) -> Figure:
    """The four corners of `Phi(L_g f) = L'_g Phi(f)` and the four arrows.

    Arguments:
        f, mapped: top row, the image and Phi of it.
        moved, moved_then_mapped: bottom row, L_g f and Phi(L_g f).
        action, action_out: names of the two downward arrows, mathematics.
    """
    figure = _square(5.6, f, mapped, moved, moved_then_mapped, action, action_out)
    return phone.upright(figure, lambda: _square(phone.NARROW, f, mapped, moved, moved_then_mapped, action, action_out))


def _square(
    width: float, f: Any, mapped: Any, moved: Any, moved_then_mapped: Any, action: str, action_out: str
) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(width, width - 0.1), layout="none")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.93, bottom=0.02, wspace=0.5, hspace=0.42)
    limit = style.peak(mapped, moved_then_mapped)
    style.panel(axes[0, 0], _picture(f), "$f$", size=13)
    style.panel(axes[0, 1], _array(mapped), r"$\Phi(f)$", limit=limit, size=13)
    style.panel(axes[1, 0], _picture(moved), f"${action}\\,f$", size=13)
    both = f"$\\Phi({action}\\,f)={action_out}\\,\\Phi(f)$"
    style.panel(axes[1, 1], _array(moved_then_mapped), both, limit=limit, size=13)
    for i in (0, 1):
        _arrow(figure, axes[i, 0], axes[i, 1], "right", r"$\Phi$")
    _arrow(figure, axes[0, 0], axes[1, 0], "down", f"${action}$")
    _arrow(figure, axes[0, 1], axes[1, 1], "down", f"${action_out}$")
    return figure


def matrices(named: Mapping[str, Any]) -> Figure:
    """Matrices side by side, entries in blue and red; each on its own range."""
    figure, axes = plt.subplots(1, len(named), figsize=(2.6 * len(named), 2.9), squeeze=False)
    for ax, (name, matrix) in zip(axes[0], named.items()):
        style.panel(ax, _array(matrix), name, limit=style.peak(matrix))
    return figure


@dataclass(frozen=True)
class MapRow:
    """One row of `lifted_maps`: a name, the image [H, W] and its feature maps [M, H, W] over group elements."""

    name: str
    image: Any
    maps: Any


def lifted_maps(rows: Sequence[MapRow], titles: Sequence[str], *, moves: Mapping[int, int] | None = None) -> Figure:
    """An image and its feature maps over a group or a scale axis, in one row per version of the image.

    Arguments:
        rows: from top to bottom; all maps share one range.
        titles: over the M maps.
        moves: where map i of a row goes in the row below, {i: j}; drawn as arrows between two rows.
    """
    return phone.upright(_lifted(rows, titles, moves or {}), lambda: _lifted_upright(rows, titles, moves or {}))


def _lifted(rows: Sequence[MapRow], titles: Sequence[str], moves: Mapping[int, int]) -> Figure:
    count = len(titles)
    width = min(9.5, 1.55 * (count + 1))
    cell = width / (count + 1)
    figure, axes = plt.subplots(
        len(rows), count + 1, figsize=(width, (cell + 0.42) * len(rows)), squeeze=False, layout="none",
        gridspec_kw={"wspace": 0.1, "hspace": 0.5, "left": 0.03, "right": 0.995, "top": 0.9, "bottom": 0.02},
    )  # fmt: skip
    limit = style.peak(*(row.maps for row in rows))
    for line, row in zip(axes, rows):
        style.panel(line[0], _picture(row.image))
        line[0].set_ylabel(row.name, fontsize=10)
        for ax, image in zip(line[1:], np.asarray(row.maps)):
            style.panel(ax, _array(image), limit=limit)
    for ax, title in zip(axes[0, 1:], titles):
        ax.set_title(title, fontsize=10)
    if len(rows) == 2:
        for i, j in moves.items():
            _move(figure, axes[0, i + 1], axes[1, j + 1], (0.5, 0), (0.5, 1), style.scale_colours(count)[i])
    return figure


def _lifted_upright(rows: Sequence[MapRow], titles: Sequence[str], moves: Mapping[int, int]) -> Figure:
    """A column for each row, the maps from top to bottom."""
    count, cell = len(titles), 1.5
    figure, axes = plt.subplots(
        count + 1, len(rows), figsize=(phone.NARROW, (cell + 0.12) * (count + 1) + 0.3), squeeze=False, layout="none",
        gridspec_kw={"wspace": 0.35, "hspace": 0.08, "left": 0.1, "right": 0.99, "top": 0.97, "bottom": 0.01},
    )  # fmt: skip
    limit = style.peak(*(row.maps for row in rows))
    for line, row in zip(axes.T, rows):
        style.panel(line[0], _picture(row.image), row.name, size=10)
        for ax, image in zip(line[1:], np.asarray(row.maps)):
            style.panel(ax, _array(image), limit=limit)
    for ax, title in zip(axes[1:, 0], titles):
        ax.set_ylabel(title, fontsize=10)
    if len(rows) == 2:
        for i, j in moves.items():
            _move(figure, axes[i + 1, 0], axes[j + 1, 1], (1, 0.5), (0, 0.5), style.scale_colours(count)[i])
    return figure


def _move(
    figure: Figure, start: Axes, end: Axes, tail: tuple[float, float], tip: tuple[float, float], colour: Any
) -> None:
    """An arrow from one panel to another."""
    style.arrow(figure, start, end, (tail, tip), shrinkA=2, shrinkB=2, mutation_scale=11, color=colour, linewidth=1.6)


def format_error(value: float) -> str:
    """An error as the table prints it: "0" for an exact zero and nothing else, "-" where there is none."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    return f"{value:.0e}" if value < 0.005 else f"{value:.2g}"


def error_table(values: Any, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Relative errors [rows, columns]: exact zeros in blue, all others shaded by their order of magnitude.

    NaN marks what does not apply.
    """
    table = style.array(values)
    broken = [textwrap.fill(row, 11) for row in rows]
    return phone.upright(
        _error_table(table, rows, columns, (9.5, 0.44 * len(rows) + 0.9)),
        lambda: _error_table(table, broken, columns, (phone.NARROW, 0.44 * len(rows) + 1.6), rotation=90),
    )


def _error_table(
    table: np.ndarray, rows: Sequence[str], columns: Sequence[str], size: tuple[float, float], rotation: float = 0
) -> Figure:
    figure, ax = plt.subplots(figsize=size)
    norm, shades = Normalize(-8, 0.5), colormaps["OrRd"]
    for (i, j), value in np.ndenumerate(table):
        exact = value == 0
        face = style.BLUE if exact else style.FAINT if math.isnan(value) else shades(0.85 * norm(math.log10(value)))
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=2))
        colour, weight = "white" if exact or value > 0.02 else style.INK, "bold" if exact else "normal"
        letters = 9 if rotation else 10.5
        ax.text(j, i, format_error(value), ha="center", va="center", fontsize=letters, color=colour, weight=weight)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks(range(len(columns)), columns, rotation=rotation)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure
