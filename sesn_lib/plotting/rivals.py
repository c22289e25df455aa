"""Figures on other ways to treat scale: which scale won, fields of vectors, error against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from sesn_lib.plotting import style
from sesn_lib.plotting.style import array

SHORTEST = 0.15  # part of the longest vector below which none is drawn


def winners(images: Mapping[str, tuple[Any, Any]], scales: Sequence[float]) -> Figure:
    """Pictures, each beside the map of the scale that answered most there.

    Arguments:
        images: title -> (picture [H, W], index into `scales` [H, W]; negative: no answer, left white).
        scales: from the finest to the coarsest.
    """
    colours = ListedColormap(style.scale_colours(len(scales)))
    figure, axes = plt.subplots(1, 2 * len(images), figsize=(2.5 * 2 * len(images) + 0.9, 2.8), squeeze=False)
    for i, (title, (picture, index)) in enumerate(images.items()):
        style.panel(axes[0, 2 * i], array(picture), title)
        where = np.where(array(index) < 0, np.nan, array(index))
        drawn = style.panel(axes[0, 2 * i + 1], where, "scale of the largest answer", cmap=colours)
        drawn.set_clim(-0.5, len(scales) - 0.5)
    bar = figure.colorbar(drawn, ax=axes[0].tolist(), ticks=range(len(scales)), fraction=0.03)
    bar.ax.set_yticklabels([f"{s:g}" for s in scales])
    return figure


def arrows(fields: Mapping[str, tuple[Any, Any]], *, every: int = 1) -> Figure:
    """Fields of vectors on their pictures, without those that are short beside the longest.

    Arguments:
        fields: title -> (picture [H, W], field [2, H, W] with components to the right and upwards).
        every: draw each so-manieth pixel's.
    """
    figure, axes = plt.subplots(1, len(fields), figsize=(4.0 * len(fields), 4.0), squeeze=False)
    longest = max(np.hypot(*array(field)).max() for _, field in fields.values())
    for panel, (title, (picture, field)) in zip(axes[0], fields.items()):
        style.panel(panel, array(picture), title).set_alpha(0.35)
        u, v = array(field)
        rows, columns = every * np.array(np.nonzero(np.hypot(u, v)[::every, ::every] > SHORTEST * longest))
        panel.quiver(
            *(columns, rows, u[rows, columns], v[rows, columns], np.arctan2(v, u)[rows, columns]),
            cmap="viridis", clim=(-1.2, 0.9), pivot="middle", width=0.006, scale=longest * 12 / every, units="width",
        )  # fmt: skip
    return figure


def against_cost(
    cost: Mapping[str, float],
    equivariance: Mapping[str, float],
    tested: Mapping[str, tuple[float, float, int]],
    published: Mapping[str, tuple[float, float]],
    *,
    unit: str,
    colours: Mapping[str, str],
) -> Figure:
    """Error of equivariance against cost, and the test error against either.

    Arguments:
        cost: method -> work, in `unit`. equivariance: method -> error of its first layer.
        tested: method -> our test error, its standard deviation, the number of runs; methods without a run are absent
            and stand as the paper's alone.
        published: method -> the paper's test error and standard deviation.
        colours: method -> colour.
    """
    names = list(cost)
    marks = dict(zip(names, "os^Dv<>Pph*"))
    figure, (first, *others) = plt.subplots(1, 3, figsize=(12.4, 4.1))
    for name in names:
        first.plot(cost[name], equivariance[name], marks[name], color=colours[name], label=name, markersize=8)
    first.set(xscale="log", yscale="log", xlabel=unit, ylabel=r"equivariance error $\Delta$ at factor 2")
    for axes, x, label in zip(others, (cost, equivariance), (unit, r"equivariance error $\Delta$ at factor 2")):
        for name in names:
            kind = marks[name]
            if name in published:
                theirs, spread = published[name]
                axes.errorbar(x[name], theirs, spread, fmt=kind, color=colours[name], mfc="white", alpha=0.7)
            if name in tested:
                ours, spread, _ = tested[name]
                axes.errorbar(x[name], ours, spread, fmt=kind, color=colours[name], markersize=8)
        axes.set(xscale="log", xlabel=label, ylabel="test error, %")
    others[0].set_title("filled: ours; hollow: the paper's")
    counts = {name: f" (n = {tested[name][2]})" if name in tested else " (no run)" for name in names}
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, [name + counts[name] for name in labels], loc="outside lower center", ncols=5)
    return figure
