"""Figures on the layers: filters from one weight vector, the T->H layer step by step, who sees whom, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from sesn_lib.plotting import phone, style
from sesn_lib.plotting.style import array, peak


def number_grids(grids: Sequence[tuple[str, Any]], *, symbols: Sequence[str] = ()) -> Figure:
    """Small matrices with their numbers written in, side by side, e.g. an image, two filters and their sum.

    Arguments:
        grids: (title, array [rows, columns]) from left to right.
        symbols: what stands between neighbours, such as "*" or "="; one fewer than grids, or none.

    Raises:
        ValueError: another number of symbols.
    """
    if symbols and len(symbols) != len(grids) - 1:
        raise ValueError(f"{len(symbols)} symbols for {len(grids)} grids: there must be one between each two")
    arrays = [np.atleast_2d(array(values)) for _, values in grids]
    widths = [values.shape[1] + 1.2 for values in arrays]
    height = max(len(values) for values in arrays)
    figure, axes = plt.subplots(
        1, len(grids), figsize=(0.5 * sum(widths), 0.5 * height + 0.5), width_ratios=widths, squeeze=False
    )
    for i, (panel, (title, _), values) in enumerate(zip(axes[0], grids, arrays)):
        rows, columns = values.shape
        limit = 2.2 * peak(values)
        panel.imshow(values, cmap=style.DIVERGING, vmin=-limit, vmax=limit, aspect="equal")
        style.numbers(panel, values)
        panel.set(xticks=[], yticks=[], ylim=((rows + height) / 2 - 0.5, (rows - height) / 2 - 0.5))
        panel.set_xlim(-1.1, columns + 0.1)
        panel.set_title(title)
        panel.grid(False)
        panel.spines[:].set_visible(False)
        if symbols and i > 0:
            panel.text(-0.85, (rows - 1) / 2, symbols[i - 1], ha="center", va="center", fontsize=15)
    return figure


def same_weights(weight: Any, kernels: Any, scales: Sequence[float], supports: Sequence[int]) -> Figure:
    """One weight vector and the filter that it makes at every scale, each support framed.

    Arguments:
        weight: [N_b].
        kernels: [S, size, size].
        scales, supports: S numbers each, in pixels.
    """
    w, kappa = array(weight), array(kernels)
    count, size = len(scales), kappa.shape[-1]
    figure, axes = plt.subplots(1, count + 1, figsize=(3.0 + 2.1 * count, 2.6), width_ratios=[1.3] + [1] * count)
    axes[0].bar(np.arange(len(w)), w, color=style.MUTED)
    axes[0].set(xlabel="basis function $b$", title="weights $w_b$, learned")
    axes[0].grid(False, axis="x")
    for i, (panel, colour) in enumerate(zip(axes[1:], style.scale_colours(count))):
        style.panel(panel, kappa[i], rf"$\kappa(\sigma)$, $\sigma={scales[i]:.2f}$", limit=peak(kappa[i]))
        style.rectangle(panel, size, supports[i], colour, 2.2)
        panel.set_xlabel(f"support {supports[i]} x {supports[i]}")
    return figure


def lifting(image: Any, kernels: Any, out: Any, scales: Sequence[float], supports: Sequence[int]) -> Figure:
    """The T->H layer in a picture: the image, the filter at each scale, the response at each scale.

    Arguments:
        image: [H, W]. kernels: [S, size, size]. out: [S, H', W'].
        scales, supports: S numbers each, in pixels.
    """
    f, kappa, response = array(image), array(kernels), array(out)
    count = len(scales)
    figure = plt.figure(figsize=(2.3 + 1.75 * count, 3.8))
    grid = figure.add_gridspec(2, count + 1, width_ratios=[1.25] + [1] * count)
    style.panel(figure.add_subplot(grid[:, 0]), f, "image $f(x)$, on $T$")
    limit = peak(response)
    for i, colour in enumerate(style.scale_colours(count)):
        above, below = figure.add_subplot(grid[0, i + 1]), figure.add_subplot(grid[1, i + 1])
        style.panel(above, kappa[i], rf"filter $\kappa(\sigma)$, $\sigma={scales[i]:.2f}$", limit=peak(kappa[i]))
        style.rectangle(above, kappa.shape[-1], supports[i], colour, 2.2)
        style.panel(below, response[i], rf"$[f \star \kappa](\sigma={scales[i]:.2f}, x)$", limit=limit)
        below.spines[:].set(color=colour, linewidth=2.2)
    return figure


def projection(out: Any, scales: Sequence[float], *, marks: Sequence[tuple[int, int]] = ()) -> Figure:
    """Responses at all scales, their maximum over scales, and which scale won.

    Arguments:
        out: [S, H, W].
        marks: (row, column) of pixels; in the picture of winners a ring around each has the colour of its winner.
    """
    response = array(out)
    count = len(scales)
    figure, axes = plt.subplots(1, count + 2, figsize=(1.6 * (count + 2), 2.1))
    limit = peak(response)
    for i, (panel, colour) in enumerate(zip(axes, style.scale_colours(count))):
        style.panel(panel, response[i], rf"$\sigma={scales[i]:.2f}$", limit=limit)
        panel.spines[:].set(color=colour, linewidth=2.2)
    style.panel(axes[count], response.max(0), r"max over $\sigma$", limit=limit)
    colours = to_rgba_array(style.scale_colours(count))[:, :3]
    strength = np.clip(response.max(0) / limit, 0, 1)[..., None]
    winners = 1 - strength * (1 - colours[response.argmax(0)])
    style.panel(axes[count + 1], winners, "winning scale")
    for row, column in marks:
        colour = colours[response[:, row, column].argmax()]
        axes[count + 1].plot(column, row, "o", markersize=17, markerfacecolor="none", markeredgecolor=colour, mew=2.5)
    return figure


def connections(matrices: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Which input scale reaches which output scale: one square per layer, filled where the output changed.

    Arguments:
        matrices: [S, S] each, entry (output scale, input scale) = size of the change.
        titles: one per matrix.
    """
    beside = _connections(matrices, titles, 1, (2.9 * len(matrices), 3.1))
    below = (phone.NARROW, 2.7 * len(matrices))
    return phone.upright(beside, lambda: _connections(matrices, titles, len(matrices), below))


def _connections(matrices: Sequence[Any], titles: Sequence[str], rows: int, size: tuple[float, float]) -> Figure:
    figure, axes = plt.subplots(rows, len(matrices) // rows, figsize=size, squeeze=False)
    for panel, values, title in zip(axes.flat, matrices, titles):
        change = array(values)
        count = len(change)
        panel.imshow(change > 0, cmap="Blues", vmin=0, vmax=1.6)
        style.numbers(panel, change, lambda value: f"{value:.2g}" if value > 0 else "0", fontsize=9)
        ticks = np.arange(count)
        panel.set(xticks=ticks, yticks=ticks, xticklabels=ticks, yticklabels=ticks)
        panel.set(xlabel="input scale $s'$", ylabel="output scale $s$", title=title)
        panel.grid(False)
    return figure


def scale_selection(widths: Sequence[float], scales: Sequence[float], responses: Any, chosen: float) -> Figure:
    """Response of a blob filter at the centre of a blob against the filter's scale, one line per blob width.

    Arguments:
        widths: standard deviations of the blobs [pixel].
        scales: S scales of the filter [pixel].
        responses: [len(widths), S].
        chosen: one of the widths, drawn strongly.
    """
    values = array(responses)
    figure, axes = plt.subplots(figsize=(5.6, 3.2))
    for width, line in zip(widths, values):
        strong = width == chosen
        colour, alpha, width_drawn = (style.SESN, 1.0, 1.8) if strong else (style.MUTED, 0.3, 1.2)
        axes.plot(scales, line, "o-", color=colour, alpha=alpha, linewidth=width_drawn, zorder=3 if strong else 2)
        if strong:
            axes.axvline(width, color=style.ORANGE, linestyle="--", label=f"width of the blob, {width:.2f} px")
            best = int(line.argmax())
            axes.plot(scales[best], line[best], "o", markersize=12, markerfacecolor="none", color=style.INK)
    axes.set(xlabel="size of the filter $\\sigma$ [pixel]", ylabel="response at the centre")
    style.log_ticks(axes, "x", scales, ".2f")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def costs(names: Sequence[str], literal: Any, supports: Any) -> Figure:
    """Work of a layer per model when all filters are padded to the largest support, and on each scale's own support.

    Arguments:
        names: M models. literal, supports: M numbers each.
    """
    padded, own = array(literal), array(supports)
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(names) + 1.1))
    rows = np.arange(len(names))
    axes.barh(rows - 0.2, padded, 0.38, color=style.FAINT, label="every filter padded to the largest")
    axes.barh(rows + 0.2, own, 0.38, color=style.SESN, label="each scale on its own support")
    for row, (large, small) in enumerate(zip(padded, own)):
        axes.text(small, row + 0.2, f" {small / large:.0%}", va="center", fontsize=9)
    axes.set(yticks=rows, yticklabels=list(names), xlabel="multiply-adds per output pixel and channel")
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.13), ncols=2)
    return figure
