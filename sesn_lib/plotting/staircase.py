"""The figures of the way up to equation 7: bumps on a line, sums over windows, responses that climb the scale axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sesn_lib.plotting import style

Signal = Callable[[Any], Any]


def bumps(signals: Sequence[tuple[str, Signal]], reaches: Sequence[float]) -> Figure:
    """Signals on a line, one below the other, each with the three taps of a filter of reach s at the centre.

    Arguments:
        signals: (title, function of positions).
        reaches: distance of the outer taps from the middle one, a filter for each signal.
    """
    figure, axes = plt.subplots(
        len(signals), 1, figsize=(3.95, 1.6 * len(signals)), sharex=True, sharey=True, squeeze=False
    )
    fine, grid = np.linspace(-6, 6, 601), np.arange(-6, 7)
    for axis, (title, f), reach in zip(axes[:, 0], signals, reaches):
        axis.plot(fine, f(fine), color=style.MUTED, linewidth=1.2)
        axis.plot(grid, f(grid), "o", color=style.INK, markersize=4)
        taps = np.array([-reach, 0, reach])
        axis.vlines(taps, 0, f(taps), color=style.SESN, linewidth=3)
        axis.plot(taps, f(taps), "o", color=style.SESN, markersize=8)
        axis.set_title(title)
        axis.set(ylim=(-0.15, 2.3), yticks=[0, 1, 2])
    axes[-1, 0].set_xlabel("position $t$")
    return figure


def scale_maps(maps: Sequence[tuple[str, Any]], sizes: Sequence[float], positions: Sequence[Any]) -> Figure:
    """Responses as tables of numbers, a row for each size of the filter, the coarsest on top; one table a panel.

    Arguments:
        maps: (title, responses [sizes, positions]).
        positions: the labels of the columns, for each map.
    """
    figure, axes = plt.subplots(len(maps), 1, figsize=(3.95, 2.0 * len(maps)), squeeze=False)
    limit = 1.6 * style.peak(*(values for _, values in maps))
    for axis, (title, values), labels in zip(axes[:, 0], maps, positions):
        axis.imshow(values, cmap=style.DIVERGING, vmin=-limit, vmax=limit, origin="lower", aspect="auto")
        style.numbers(axis, values)
        axis.set_xticks(range(len(labels)), [f"{t:g}" for t in labels])
        axis.set_yticks(range(len(sizes)), [f"size {s:g}" for s in sizes])
        axis.grid(False)
        axis.set_title(title)
    axes[-1, 0].set_xlabel("position $t$")
    return figure


def areas(side: int, times: int) -> Figure:
    """A square window of `side` pixels and one `times` as large, with their pixels counted."""
    figure, axes = plt.subplots(1, 2, figsize=(3.95, 2.5), width_ratios=[1, times])
    for axis, count in zip(axes, (side, side * times)):
        axis.imshow(np.indices((count, count)).sum(0) % 2, cmap="Blues", vmin=-1, vmax=4)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.set_title(f"{count}×{count}: adds {count**2} pixels")
    return figure


def scale_boxes(box: tuple[float, float], times: float) -> Figure:
    """A box of scales and positions, and its two images when everything grows: wider and higher each time.

    Arguments:
        box: its extent in scale, from s = 1, and in position, from t = 0.
    """
    figure, axis = plt.subplots(figsize=(3.95, 2.9))
    for i, colour in enumerate(style.scale_colours(3)):
        u = times**i
        axis.add_patch(Rectangle((0, u), u * box[1], u * (box[0]), facecolor=colour, alpha=0.75))
        axis.annotate(f"area {u**2 * box[0] * box[1]:g}", (u * box[1], u * (1 + box[0] / 2)), xytext=(5, 0),
                      textcoords="offset points", va="center")  # fmt: skip
    top = times**2
    axis.set(
        xlabel="position $t$", ylabel="scale $s$", xlim=(0, 1.6 * top * box[1]), ylim=(0, top * (1 + box[0]) * 1.1)
    )
    return figure


# Loops


def climb(width: float, widths: Sequence[float], scales: Sequence[float]) -> Figure:
    """A bump of the given width on a line, and its responses at every position and scale, with the strongest marked.

    The filter is minus the second derivative of a Gaussian of width s, times s; all in closed form.
    """
    t = np.linspace(-24, 24, 241)
    s = np.asarray(scales)[:, None]
    v = np.hypot(width, s)
    responses = s**2 * width / v**3 * (1 - (t / v) ** 2) * np.exp(-(t**2) / (2 * v**2))
    figure, (above, below) = plt.subplots(2, 1, figsize=(3.95, 4.4), sharex=True, height_ratios=[1, 1.7])
    above.plot(t, np.exp(-(t**2) / (2 * width**2)), color=style.INK)
    above.set(ylim=(-0.05, 1.15), yticks=[])
    above.set_title("the bump grows ...")
    rows = np.arange(len(scales) + 1) - 0.5
    below.pcolormesh(t, rows[:-1] + 0.5, responses, cmap=style.DIVERGING, vmin=-0.42, vmax=0.42, shading="nearest")
    best = int(responses.max(1).argmax())
    below.plot([0], [best], "o", color=style.INK, markersize=7)
    step = max(1, len(scales) // 4)
    below.set_yticks(range(0, len(scales), step), [f"{x:.2g}" for x in scales[::step]])
    below.set(ylabel="scale of the filter", xlabel="position", ylim=(-0.5, len(scales) - 0.5))
    below.set_title("... and its response grows and climbs")
    below.grid(False)
    return figure


def filter_at(draw: Callable[[float], Any], sigma: float, size: int) -> Figure:
    """One filter of width sigma as a picture and its middle row as stems, on a fixed grid of size x size pixels."""
    values = np.asarray(draw(sigma))
    figure, (left, right) = plt.subplots(2, 1, figsize=(3.2, 4.4), height_ratios=[1.5, 1])
    style.panel(left, values, rf"same weights, $\sigma$ = {sigma:.2f} pixels", limit=style.peak(values))
    row = values[size // 2] * sigma**2
    right.stem(np.arange(size) - size // 2, row, linefmt=style.SESN, basefmt=" ")
    right.set(ylim=(-1.05, 1.05), xlabel="pixel", yticks=[])
    right.set_title(r"middle row, times $\sigma^2$")
    return figure


def square_frame(corners: Sequence[tuple[str, Any]], limits: Sequence[float], difference: float) -> Figure:
    """One moment of the commuting square: four pictures in two rows; the lower right one reached both ways.

    Arguments:
        corners: (title, picture) of f, F(f), L f, F(L f), in reading order.
        limits: of their colours; 0: grey.
        difference: the error between both ways, for the title.
    """
    figure, axes = plt.subplots(2, 2, figsize=(3.95, 4.6))
    for axis, (title, picture), limit in zip(axes.flat, corners, limits):
        style.panel(axis, picture, title, limit=limit or None)
    power = math.ceil(math.log10(max(difference, 1e-12)))
    figure.suptitle(rf"both ways agree, $\Delta < 10^{{{power}}}$", fontsize=10)
    return figure
