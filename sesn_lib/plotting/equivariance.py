"""Figures on measured equivariance: the commuting square in pictures, error curves, convergence, what networks do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from sesn_lib.plotting import phone, style
from sesn_lib.plotting.style import array, peak

Rows = Mapping[str, tuple[Any, Any, float]]


def pictures(images: Mapping[str, Any], *, signed: bool = False) -> Figure:
    """Pictures [H, W] in a row, on one common range, with their titles."""
    arrays = {title: array(image) for title, image in images.items()}
    limit = peak(*arrays.values())
    figure, axes = plt.subplots(1, len(arrays), figsize=(2.2 * len(arrays), 2.5), squeeze=False)
    for panel, (title, values) in zip(axes[0], arrays.items()):
        drawn = style.panel(panel, values, title, limit=limit if signed else None)
        if not signed:
            drawn.set_clim(min(0.0, *(a.min() for a in arrays.values())), limit)
    return figure


def paths(image: Any, scaled: Any, rows: Rows, scale: float) -> Figure:
    """The two ways around the commuting square, one row per function, and their difference on the same colours.

    Arguments:
        image, scaled: f and L_s f, [H, W].
        rows: name = (L_s F(f) [H, W], F(L_s f) [H, W], relative error).
        scale: s.
    """
    figure, axes = plt.subplots(len(rows), 5, figsize=(10.2, 2.35 * len(rows)), squeeze=False)
    for line, (name, (expected, actual, error)) in zip(axes, rows.items()):
        a, b = array(expected), array(actual)
        style.panel(line[0], array(image), "$f$")
        style.panel(line[1], array(scaled), f"$L_s f$, $s={scale:.2f}$")
        style.panel(line[2], a, "$L_s F(f)$", limit=peak(a))
        style.panel(line[3], b, "$F(L_s f)$", limit=peak(a))
        style.panel(line[4], a - b, f"difference\n$\\Delta$ = {_short(error)}", limit=peak(a))
        line[0].set_ylabel(name, fontsize=10, fontweight="bold")
    return figure


def _short(error: float) -> str:
    if error >= 0.01:
        return f"{error:.2f}"
    return rf"$10^{{{round(np.log10(error))}}}$" if error > 0 else "0"


def error_curves(
    x: Sequence[float] | Mapping[str, Sequence[float]],
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    logx: bool = False,
    ticks: Sequence[float] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    colours: Mapping[str, str] | None = None,
    figsize: tuple[float, float] = (6.8, 3.6),
) -> Figure:
    """Equivariance errors on a logarithmic axis, one line per name; the name stands at the line's end.

    Arguments:
        x: common abscissae, or one sequence per name.
        curves: name = errors; a pair (mean [N], spread [N]) draws a band of mean +- spread.
        marks: legend text = abscissae of dashed vertical lines.
        colours: name = colour, where the cycle's is not meant.
    """
    figure, axes = plt.subplots(figsize=figsize)
    for text, positions in (marks or {}).items():
        for i, position in enumerate(positions):
            axes.axvline(position, color=style.MUTED, linewidth=1, linestyle=":", label=text if i == 0 else None)
    for i, (name, values) in enumerate(curves.items()):
        at = array(x[name] if isinstance(x, Mapping) else x)
        colour = (colours or {}).get(name, style.CYCLE[i % len(style.CYCLE)])
        mean, spread = (array(v) for v in values) if isinstance(values, tuple) else (array(values), None)
        axes.plot(at, mean, "o-", color=colour, label=name, markersize=4)
        if spread is not None:
            axes.fill_between(at, np.maximum(mean - spread, mean / 10), mean + spread, color=colour, alpha=0.2, lw=0)
    axes.set(yscale="log", xlabel=xlabel, ylabel=r"equivariance error $\Delta$")
    if logx:
        axes.set_xscale("log")
    if ticks is not None:
        axes.set_xticks(list(ticks), [f"{t:g}" for t in np.round(ticks, 2)])
        axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def convergence(
    algebraic: Mapping[str, tuple[Any, Any, float, float]], spectral: Mapping[str, tuple[Any, Any, float, float]]
) -> Figure:
    """Errors against the number of pixels per unit, with fitted laws: powers on the left, a Gaussian on the right.

    Arguments:
        algebraic: name = (m [N], errors [N], order p, constant c) with the fit c m^-p.
        spectral: name = (m, errors, rate a, constant c) with the fit c exp(-a m^2), drawn against m^2.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7))
    for (name, (m, errors, order, constant)), colour in zip(algebraic.items(), (style.BLUE, style.ORANGE)):
        x = array(m)
        left.loglog(x, array(errors), "o", color=colour, label=f"{name}: order {order:.1f}")
        left.loglog(x, constant * x**-order, "-", color=colour, linewidth=1)
    style.log_ticks(left, "x", [1, 2, 3, 4, 6])
    left.minorticks_off()
    left.set(
        xlabel="pixels per unit, $m = 1/h$", ylabel=r"equivariance error $\Delta$", title="filters that end abruptly"
    )
    left.legend()
    for name, (m, errors, rate, constant) in spectral.items():
        x = array(m)
        right.semilogy(x**2, array(errors), "o", color=style.GREEN, label=name)
        law, label = constant * np.exp(-rate * x**2), rf"$e^{{-{rate:.0f} m^2}}$"
        right.semilogy(x**2, law, "-", color=style.GREEN, linewidth=1, label=label)
    right.set(xlabel="$m^2$", title="filters that fade out")
    right.legend()
    return figure


def configurations(names: Sequence[str], values: Mapping[str, tuple[Any, Any]], *, notes: Sequence[str] = ()) -> Figure:
    """Errors of several configurations, one dot per kind with mean +- standard deviation.

    Arguments:
        names: M configurations. notes: a short text each, at the right border.
        values: kind = (mean [M], standard deviation [M]).
    """
    figure, axes = plt.subplots(figsize=(8.2, 0.42 * len(names) + 1.2))
    rows = np.arange(len(names))
    for i, ((kind, (mean, spread)), marker) in enumerate(zip(values.items(), "osD^")):
        m, d = array(mean), array(spread)
        low = np.minimum(d, 0.9 * m)
        colour = style.CYCLE[i]
        axes.errorbar(m, rows + 0.24 * (i - (len(values) - 1) / 2), xerr=[low, d], fmt=marker, color=colour, label=kind)
    for row, note in enumerate(notes):
        axes.text(1.02, row, note, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=style.MUTED)
    axes.set(yticks=rows, yticklabels=list(names), xscale="log", xlabel=r"equivariance error $\Delta$")
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(values))
    return figure


def logits(factors: Sequence[float], images: Mapping[float, Any], values: Mapping[str, Any], label: int) -> Figure:
    """Logits of one digit against its scale factor, the true class drawn strongly, a strip of the images above.

    Arguments:
        factors: F scale factors. images: scale factor = picture [H, W], a few for the strip.
        values: network = logits [F, 10].
        label: the true class.
    """
    beside, below = (4.9 * len(values), 4.3), (phone.NARROW, 4.0 * len(values))
    return phone.upright(
        _logits(factors, images, values, label, beside), lambda: _logits(factors, images, values, label, below)
    )


def _logits(
    factors: Sequence[float], images: Mapping[float, Any], values: Mapping[str, Any], label: int,
    size: tuple[float, float],
) -> Figure:  # fmt: skip
    figure, count = plt.figure(figsize=size), len(images)
    column = size[0] <= phone.NARROW  # networks one below the other
    down, across = (len(values), 1) if column else (1, len(values))
    grid = figure.add_gridspec(2 * down, count * across, height_ratios=[1, 3.2] * down)
    x, everything = array(factors), np.concatenate([array(table).ravel() for table in values.values()])
    margin = 0.05 * float(np.ptp(everything))
    limits = everything.min() - margin, everything.max() + margin  # the same for all networks
    for i, (name, table) in enumerate(values.items()):
        top, left = (2 * i, 0) if column else (0, i * count)
        for place, (factor, image) in enumerate(images.items()):
            style.panel(figure.add_subplot(grid[top, left + place]), array(image), title=f"{factor:g}")
        axes = figure.add_subplot(grid[top + 1, left : left + count])
        y = array(table)
        others = [k for k in range(y.shape[1]) if k != label]
        axes.plot(x, y[:, others], color=style.MUTED, alpha=0.45, linewidth=1)
        axes.plot(x, y[:, label], color=style.GOOD, linewidth=2.4)
        axes.set(xlabel="scale factor of the digit", ylabel="logit" if left == 0 else "")
        axes.set_title(f"{name} (thick: {label}, the true class)")
        axes.set_ylim(*limits)
    return figure


def accuracies(factors: Sequence[float], correct: Mapping[str, Any], trained: tuple[float, float]) -> Figure:
    """Fraction of digits classified rightly against their scale factor, with Wilson's 95 % intervals.

    Arguments:
        factors: F scale factors.
        correct: network = bool [F, N], the same N digits at every factor.
        trained: least and greatest scale factor of the training images; drawn as a grey field.
    """
    figure, axes = plt.subplots(figsize=(6.6, 3.6))
    axes.axvspan(*trained, color=style.FAINT, alpha=0.5, lw=0, label="scales seen in training")
    for (name, table), colour in zip(correct.items(), (style.SESN, style.CNN, style.MUTED)):
        right = array(table)
        low, high = proportion_confint(right.sum(1), right.shape[1], method="wilson")
        axes.fill_between(factors, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(factors, right.mean(1), "o-", color=colour, label=name)
    axes.set(xlabel="scale factor of the digits", ylabel="accuracy")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
