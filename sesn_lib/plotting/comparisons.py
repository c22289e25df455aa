"""SESN beside others: before each other method of the table, and before the plain CNN by the size of the digit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from sesn_lib.analysis.duels import Duel
from sesn_lib.analysis.published import COLUMNS
from sesn_lib.plotting import style

LINES = {"28": ("o", "-"), "28+": ("o", "--"), "56": ("s", "-"), "56+": ("s", "--")}


def duels(found: Sequence[Duel]) -> Figure:
    """SESN minus each other method with its interval, a panel per column: the paper (orange), ours (blue)."""
    others = list(dict.fromkeys(duel.other for duel in found))
    figure, axes = plt.subplots(1, len(COLUMNS), figsize=(9.8, 1.2 + 0.36 * len(others)), sharey=True, sharex=True)
    looks = (("this repetition", style.OURS, "o", -0.18), ("the paper", style.PAPER, "D", 0.18))
    for axis, column in zip(axes, COLUMNS):
        for duel in (duel for duel in found if duel.column == column):
            for (label, colour, marker, offset), one in zip(looks, (duel.ours, duel.paper)):
                place = len(others) - 1 - others.index(duel.other) + offset
                style.interval(axis, (one.estimate, one.low, one.high), place, colour, marker, label)
        axis.axvline(0, color=style.INK, linewidth=1)
        axis.set_title(column)
        axis.grid(False, axis="y")
    axes[0].set_yticks(range(len(others)), others[::-1])
    figure.supxlabel(f"{found[0].row} minus the other, percentage points (left of 0: SESN is better)", fontsize=10)
    style.legend(figure, across=2)
    return figure


def gain_by_size(ratios: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Errors of SESN for each error of the CNN by size of the digit: column -> (edges [n + 1], ratios [n])."""
    figure, axis = plt.subplots(figsize=(6.4, 3.3))
    for column, (edges, values) in ratios.items():
        marker, dashes = LINES[column]
        middle = (np.asarray(edges[1:]) + np.asarray(edges[:-1])) / 2
        label = f"{column[:2]} pixels" + (", augmented" if "+" in column else "")
        axis.plot(middle, values, marker, linestyle=dashes, color=style.OURS, label=label, markersize=5)
    axis.axhline(1, color=style.CNN, linewidth=1.5)
    axis.annotate("as many as the CNN", (0.98, 1.0), xycoords=("axes fraction", "data"), va="bottom", ha="right",
                  color=style.CNN, fontsize=9)  # fmt: skip
    axis.set(xlabel="size of the digit (1: as in MNIST)", ylabel="SESN’s errors per error of the CNN")
    if ratios:
        low = min(min(values) for _, values in ratios.values())
        axis.set_ylim(min(0.65, low - 0.05), None)
        axis.margins(y=0.15)
        figure.legend(loc="outside upper center", ncols=2)
    return figure
