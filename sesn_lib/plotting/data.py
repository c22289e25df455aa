"""Figures on the data sets: digits at several sizes, samples, the distribution of factors and of pixel values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from sesn_lib.plotting import phone, style

PROTOCOL_COLOURS = {"paper": style.PAPER, "report": style.REPORT}


def rescaled_digit(original: np.ndarray, rows: Mapping[str, Sequence[np.ndarray]], scales: Sequence[float]) -> Figure:
    """One digit at several scales, a row per way of rescaling, and the difference of the first two rows.

    Arguments:
        original: uint8 [H, W].
        rows: name -> one uint8 [H, W] per scale.
        scales: the scale of each column.
    """
    names = list(rows)
    figure, axes = plt.subplots(len(names) + 1, len(scales) + 1, figsize=(1.35 * (len(scales) + 1), 1.45 * 3 + 0.4))
    style.panel(axes[0, 0], original, "original")
    for row in range(1, len(names) + 1):
        axes[row, 0].axis("off")
    for row, name in enumerate(names):
        for column, (scale, image) in enumerate(zip(scales, rows[name]), start=1):
            drawn = style.panel(axes[row, column], image, f"s = {scale:g}" if row == 0 else "")
            drawn.set_clim(0, 255)
        axes[row, 1].set_ylabel(name)
    for column, (first, second) in enumerate(zip(rows[names[0]], rows[names[1]]), start=1):
        style.panel(axes[-1, column], first.astype(int) - second.astype(int), limit=255)
    axes[-1, 1].set_ylabel("difference")
    return figure


def samples(protocols: Mapping[str, tuple[np.ndarray, np.ndarray]], columns: int = 12, lines: int = 3) -> Figure:
    """The first images of a split for each protocol, with their factors: name -> (uint8 [N, H, W], float64 [N])."""
    beside = _samples(protocols, columns, lines, 0.78)
    return phone.upright(beside, lambda: _samples(protocols, columns // 2, 2 * lines, 0.65))


def _samples(protocols: Mapping[str, tuple[np.ndarray, np.ndarray]], columns: int, lines: int, inches: float) -> Figure:
    count = len(protocols)
    figure = plt.figure(figsize=(inches * columns, count * ((inches + 0.17) * lines + 0.35)))
    parts = figure.subfigures(count, 1, squeeze=False)
    for part, (name, (images, scales)) in zip(parts[:, 0], protocols.items()):
        part.suptitle(f"protocol {name}")
        axes = part.subplots(lines, columns)
        for cell, image, scale in zip(axes.flat, images, scales):
            style.panel(cell, image, f"{scale:.2f}", size=8).set_clim(0, 255)
    return figure


def ink(scales: Sequence[float], ratios: Mapping[str, np.ndarray]) -> Figure:
    """Brightness kept, relative to the area: name -> ratios [len(scales), N]; median and 5th to 95th percentile."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for name, values in ratios.items():
        low, middle, high = np.percentile(values, [5, 50, 95], axis=1)
        axes.fill_between(scales, low, high, color=PROTOCOL_COLOURS[name], alpha=0.25, linewidth=0)
        axes.plot(scales, middle, marker="o", color=PROTOCOL_COLOURS[name], label=name)
    axes.axhline(1, color=style.INK, linewidth=0.8)
    axes.set(xlabel="scale factor s", ylabel="sum of pixels / expected sum")
    axes.legend(title="median, 5 % to 95 %")
    return figure


def factors(protocols: Mapping[str, np.ndarray], bounds: tuple[float, float], bins: int = 28) -> Figure:
    """Histograms of drawn scale factors, with the uniform density that they are drawn from."""
    figure, axes = plt.subplots(1, len(protocols), figsize=(8.4, 2.8), sharey=True, squeeze=False)
    edges = np.linspace(*bounds, bins + 1)
    for cell, (name, values) in zip(axes[0], protocols.items()):
        cell.hist(values, edges, density=True, color=PROTOCOL_COLOURS.get(name, style.BLUE))
        cell.hlines(1 / (bounds[1] - bounds[0]), *bounds, color=style.INK, linewidth=1, linestyle="--", label="uniform")
        cell.set(title=f"{name}: {len(values):,} factors", xlabel="scale factor s")
    axes[0, 0].set_ylabel("density")
    axes[0, 0].set_ylim(top=1.35 * axes[0, 0].get_ylim()[1])  # room for the legend
    axes[0, 0].legend(loc="upper right")
    return figure


def pixels(protocols: Mapping[str, np.ndarray]) -> Figure:
    """How bright pixels are: share of pixels at or above each grey level; name -> uint8 images [N, H, W]."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for name, images in protocols.items():
        counts = np.bincount(images.ravel(), minlength=256)
        share = counts[::-1].cumsum()[::-1] / images.size
        axes.plot(np.arange(1, 256), 100 * share[1:], color=PROTOCOL_COLOURS.get(name), label=name)
    axes.set(xlabel="grey level", ylabel="pixels at least as bright (%)", xlim=(0, 255), ylim=(0, None))
    axes.legend()
    return figure
