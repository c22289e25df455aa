"""Figures about filters: the group H, the Hermite-Gauss family, filters across scales, bases and what sampling does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from sesn_lib.basis import hermite_gauss
from sesn_lib.plotting import style

FLOOR = 1e-8  # part of the largest singular value, below which one is rounding
FLAG = np.array([[0, 0], [0, 1.6], [0.9, 1.25], [0.15, 0.9], [0.15, 0]])  # no symmetry, foot at the origin


def flags(named: Mapping[str, tuple[float, Sequence[float]]]) -> Figure:
    """A flag at the origin, and where elements (s, t) of H carry it: x -> s x + t.

    Arguments:
        named: label -> (s, t), t in the plane.
    """
    figure, ax = plt.subplots(figsize=(7.6, 3.7))
    everything = {"unmoved": (1.0, (0.0, 0.0)), **named}
    for (label, (s, t)), colour in zip(everything.items(), (style.MUTED, *style.CYCLE)):
        points = s * FLAG + np.asarray(t)
        ax.add_patch(Polygon(points, facecolor=colour, alpha=0.75, edgecolor="white"))
        ax.plot(*np.asarray(t), "o", color=colour, markersize=4)
        ax.annotate(label, points[2], xytext=(4, 0), textcoords="offset points", va="center", color=colour, fontsize=12)
    ax.set(aspect="equal", xlabel="$t_1$", ylabel="$t_2$")
    ax.autoscale_view()
    ax.margins(0.12)
    return figure


def power_curve(powers: Any, measured: Any, predicted: Any, *, scale: float) -> Figure:
    """Equivariance error of filters scaled as s^-p against p: measured points on the predicted curve.

    Arguments:
        powers, measured: p and the error of each.
        predicted: function of an array of p.
    """
    figure, ax = plt.subplots(figsize=(6.4, 3.3))
    fine = np.linspace(min(powers), max(powers), 401)
    ax.plot(fine, predicted(fine), color=style.MUTED, label=rf"predicted, $({scale:g}^{{2-p}}-1)^2$", zorder=1)
    ax.plot(powers, measured, "o", color=style.BLUE, label="measured", markersize=7)
    ax.axvline(2, color=style.ORANGE, linewidth=1.2, linestyle="--")
    ax.annotate("$p = 2$", (2, max(measured) * 0.75), xytext=(6, 0), textcoords="offset points", color=style.ORANGE)
    ax.set(xlabel=r"power $p$ in $s^{-p}\,\kappa(s^{-1}x)$", ylabel=r"equivariance error $\Delta$")
    ax.legend()
    return figure


# -- the family -----------------------------------------------------------------------------------


def _function(sigma: float, n: int, m: int, half: float) -> np.ndarray:
    x = np.linspace(-half, half, 121)
    return np.outer(hermite_gauss(x, sigma, n), hermite_gauss(x, sigma, m))


def family(max_order: int = 4, *, total: int | None = None) -> Figure:
    """The functions psi of orders n (rows) and m (columns), each on its own range, as continuous pictures.

    Arguments:
        total: highest n + m that is drawn in colour; functions beyond it stay pale. None draws all alike.
    """
    count = max_order + 1
    figure, axes = plt.subplots(count, count, figsize=(1.32 * count, 1.32 * count))
    for n, m in np.ndindex(count, count):
        values = _function(1.0, n, m, 4.5)
        drawn = style.panel(axes[n, m], values, limit=style.peak(values))
        if total is not None and n + m > total:
            drawn.set_alpha(0.25)
    for n in range(count):
        axes[n, 0].set_ylabel(f"$n={n}$", fontsize=11)
        axes[0, n].set_title(f"$m={n}$", fontsize=11)
    return figure


def across_scales(functions: Any, scales: Sequence[float], supports: Sequence[int], labels: Sequence[str]) -> Figure:
    """Sampled functions [N, S, size, size], one row each, one column per scale, each scale's support framed."""
    table = np.asarray(functions)
    count, columns, size, _ = table.shape
    figure, axes = plt.subplots(count, columns, figsize=(1.75 * columns + 0.4, 1.75 * count + 0.3), squeeze=False)
    for row, line, label in zip(table, axes, labels):
        for ax, values, support in zip(line, row, supports):
            style.panel(ax, values, limit=style.peak(values))
            style.rectangle(ax, size, support)
        line[0].set_ylabel(label)
    for ax, scale, support in zip(axes[0], scales, supports):
        ax.set_title(rf"$s={scale:.3g}$: {support}×{support}", fontsize=10)
    return figure


def one_function(sigma: float = 2.0, n: int = 2, m: int = 1, pixels: int = 13) -> Figure:
    """One function, continuous and as a filter of `pixels` x `pixels`, and the samples of its factor of order n.

    The title tells how much of its energy lies outside of the filter.
    """
    half = max(pixels / 2, 4 * sigma)
    whole = _function(sigma, n, m, half)
    coordinates = np.arange(pixels) - pixels // 2
    samples = np.outer(hermite_gauss(coordinates, sigma, n), hermite_gauss(coordinates, sigma, m))
    limit = style.peak(whole)
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.1), gridspec_kw={"width_ratios": [1, 1, 1.7]})
    style.panel(axes[0], whole, rf"$\psi$, $\sigma={sigma:g}$, $n={n}$, $m={m}$", limit=limit)
    pixel = 120 / (2 * half)
    start = 60 - pixels / 2 * pixel
    axes[0].add_patch(Rectangle((start, start), pixels * pixel, pixels * pixel, fill=False, edgecolor=style.INK))
    style.panel(axes[1], samples, f"as a filter of {pixels}×{pixels}", limit=limit)
    fine = np.linspace(-half, half, 801)
    axes[2].plot(fine, hermite_gauss(fine, sigma, n), color=style.SKY)
    axes[2].stem(coordinates, hermite_gauss(coordinates, sigma, n), linefmt=style.BLUE, basefmt=" ")
    axes[2].axvspan(-pixels / 2, pixels / 2, color=style.FAINT, alpha=0.5, linewidth=0)
    axes[2].set(
        xlabel="$x$ [pixel]", title=f"factor of order {n}; {outside(sigma, n, m, pixels):.1%} of the energy is outside"
    )
    return figure


def outside(sigma: float, n: int, m: int, pixels: int) -> float:
    """Fraction of the squared norm of psi that lies outside a square of `pixels` x `pixels`, by quadrature."""
    x = np.linspace(-10, 10, 4001) * max(sigma, pixels / 20)
    kept = 1.0
    for order in (n, m):
        energy = hermite_gauss(x, sigma, order) ** 2
        kept *= energy[np.abs(x) <= pixels / 2].sum() / energy.sum()
    return 1 - kept


def grid(rows: Mapping[str, Sequence[Any]], titles: Sequence[str], *, shared: bool = True) -> Figure:
    """Signed pictures in labelled rows; all on one range, or each on its own.

    Arguments:
        rows: label -> pictures [H, W], of possibly different sizes.
        titles: over the columns.
        shared: one range per column, so that a small difference looks small.
    """
    count = len(titles)
    figure, axes = plt.subplots(len(rows), count, figsize=(1.9 * count, 1.9 * len(rows) + 0.3), squeeze=False)
    columns = list(zip(*rows.values()))
    for line, (label, pictures) in zip(axes, rows.items()):
        for j, (ax, picture) in enumerate(zip(line, pictures)):
            style.panel(ax, picture, limit=style.peak(*(columns[j] if shared else [picture])))
        line[0].set_ylabel(label)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title)
    return figure


# -- bases ----------------------------------------------------------------------------------------


def projections(curves: Mapping[str, Mapping[str, Any]], total: int) -> Figure:
    """Part of a filter's energy that the first k functions leave, against k; one panel per kind of filter.

    Arguments:
        curves: panel title -> {name: values for k = 1, 2, ...}; a name keeps its colour in all panels, and a name in
            brackets is drawn as a thin reference line.
        total: number of pixels.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(9.5, 3.5), sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    plain = [name for name in names if not name.startswith("(")]
    colours = dict(zip(plain, style.CYCLE))
    for ax, (title, lines) in zip(axes[0], curves.items()):
        dashes = iter(("--", ":", "-."))
        for name, values in lines.items():
            k = np.arange(len(values) + 1)
            energy = np.concatenate([[1.0], np.asarray(values)])
            if name in colours:
                ax.plot(k, energy, color=colours[name], label=name)
            else:
                ax.plot(k, energy, color=style.INK, linewidth=1.1, linestyle=next(dashes), label=name.strip("()"))
        ax.set(title=title, xlabel="number of functions $k$", xlim=(0, total), ylim=(-0.02, 1.02))
        ax.legend()
    axes[0, 0].set_ylabel("energy not represented")
    return figure


def singular_values(spectra: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, str]) -> Figure:
    """Singular values of bases relative to the largest, one panel per scale; values below `FLOOR` count as none.

    Arguments:
        spectra: panel title -> {basis: values, descending}.
        kinds: basis -> what it has in common with others; each kind has a colour.
    """
    figure, axes = plt.subplots(1, len(spectra), figsize=(9.5, 3.5), sharey=True, sharex=True, squeeze=False)
    colours = dict(zip(dict.fromkeys(kinds.values()), style.CYCLE))
    for ax, (title, lines) in zip(axes[0], spectra.items()):
        for name, values in lines.items():
            relative = np.asarray(values) / np.asarray(values).max()
            relative = relative[relative > FLOOR]
            colour = colours[kinds[name]]
            ax.semilogy(np.arange(1, len(relative) + 1), relative, color=colour, linewidth=1.3)
            ax.semilogy(len(relative), relative[-1], "o", color=colour, markersize=4)
        ax.set(title=title, xlabel="singular value, in order")
    for kind, colour in colours.items():
        members = ", ".join(name for name in kinds if kinds[name] == kind)
        axes[0, 0].plot([], [], color=colour, label=f"{kind}: {len(members.split(', '))} models")
    axes[0, 0].legend(loc="lower left")
    axes[0, 0].set(ylabel="relative to the largest", ylim=(FLOOR, 2))
    return figure


# -- sampling -------------------------------------------------------------------------------------


def sampled_profiles(sigmas: Sequence[float], order: int, pixels: Sequence[int]) -> Figure:
    """The factor of one order at several widths: the function, its samples, and the filter's reach, shaded."""
    figure, axes = plt.subplots(1, len(sigmas), figsize=(9.5, 2.6))
    for ax, sigma, width in zip(axes, sigmas, pixels):
        half = max(width / 2 + 1, 3.5 * sigma)
        fine = np.linspace(-half, half, 1001)
        scale = np.abs(hermite_gauss(fine, sigma, order)).max()
        coordinates = np.arange(width) - width // 2
        ax.axvspan(-width / 2, width / 2, color=style.FAINT, alpha=0.5, linewidth=0)
        ax.plot(fine, hermite_gauss(fine, sigma, order) / scale, color=style.SKY)
        ax.stem(coordinates, hermite_gauss(coordinates, sigma, order) / scale, linefmt=style.BLUE, basefmt=" ")
        ax.set(title=rf"$\sigma={sigma:.2f}$, {width} pixels", xlabel="$x$ [pixel]", yticks=[])
    return figure


def faults(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Equivariance error of each model, as it is and with faults mended: {model: {variant: error}}, logarithmic."""
    figure, ax = plt.subplots(figsize=(8.2, 0.36 * len(errors) + 1.2))
    variants = list(next(iter(errors.values())))
    for i, values in enumerate(errors.values()):
        ax.plot([min(values.values()), max(values.values())], [i, i], color=style.FAINT, linewidth=1.2, zorder=0)
    markers = "osDv^"
    for variant, colour, marker in zip(variants, (style.INK, style.PURPLE, style.SKY, style.SESN), markers):
        face, size = ("none", 10) if variant == variants[0] else (colour, 5)  # a ring hides nothing
        ax.plot([v[variant] for v in errors.values()], range(len(errors)), marker, color=colour, label=variant,
                markerfacecolor=face, markersize=size)  # fmt: skip
    ax.set_yticks(range(len(errors)), list(errors))
    ax.set(xscale="log", xlabel=r"equivariance error $\Delta$ of the first layer")
    ax.invert_yaxis()
    ax.legend(ncols=len(variants), loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return figure
