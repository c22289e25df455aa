"""Figures on results: published runs taken apart, ours beside theirs, learning curves, cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sesn_lib.analysis.claims import PAPER, REPORT, US, Answer
from sesn_lib.analysis.published import COLUMNS, REPORT_RUNS, Published, attainable, boundary
from sesn_lib.analysis.results import Aggregation, Results
from sesn_lib.analysis.statistics import Sample, mean_interval
from sesn_lib.experiments.mnist_scale import GRID, MODELS, REALIZATIONS, SCALINGS, Cell
from sesn_lib.plotting import style

PLAIN, SCALED = style.PLAIN, style.SCALED
RING: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 1.8}  # hides nothing that it lies upon
Cells = Mapping[tuple[str, str], Sample]


def _short(model: str) -> str:
    return model.removeprefix("mnist_").removeprefix("ses_").replace("_", " ")


def single_runs(published: Published) -> Figure:
    """The report's single runs in the order in which they were printed, one panel per model, with the pooled figure."""
    models = [m for kind in ("scalar", "vector") for m in published.runs if f"_{kind}_" in m]
    figure, axes = plt.subplots(2, 4, figsize=(9.6, 4.9), sharex=True, sharey=True)
    for axis, model in zip(axes.flat, models):
        runs, pooled = np.array(published.runs[model]), published.report[model]
        place = np.arange(1, len(runs) + 1)
        split, _ = boundary(published.runs[model])
        axis.axhspan(pooled.mean - pooled.std, pooled.mean + pooled.std, color=style.FAINT, linewidth=0)
        axis.axhline(pooled.mean, color=style.MUTED, linewidth=1)
        for chosen, face, marker in ((place <= split, "none", "o"), (place > split, style.REPORT, "s")):
            axis.plot(place[chosen], runs[chosen], marker, color=style.REPORT, markerfacecolor=face)
            if chosen.any():
                ends = place[chosen][[0, -1]] + np.array([-0.4, 0.4])
                axis.plot(ends, [runs[chosen].mean()] * 2, color=style.INK, linewidth=1.4)
        axis.set_title(_short(model) + (f" ({len(runs)} of {pooled.n} known)" if len(runs) < REPORT_RUNS else ""))
        axis.set_xticks([1, 6, 7, 12])
    for axis in axes[:, 0]:
        axis.set_ylabel("error, %")
    for axis in axes[1]:
        axis.set_xlabel("place in the list")
    figure.suptitle("One grey band, two conditions: circles without, squares with scale augmentation", fontsize=11)
    return figure


def decomposition(parts: Sequence[Aggregation]) -> Figure:
    """Table minus paper for each cell, and what is left when like is compared with like."""
    figure, axis = plt.subplots(figsize=(8.2, 3.9))
    places = np.arange(len(parts))[::-1]
    before = np.array([part.table - part.paper for part in parts])
    after = np.array([part.regrouped - part.paper for part in parts])
    for place, a, b in zip(places, before, after):
        axis.annotate("", (b, place), (a, place), arrowprops={"arrowstyle": "->", "color": style.MUTED})
    axis.plot(before, places, "D", color=style.MUTED, label="as the report's table puts it")
    axis.plot(after, places, "o", color=style.REPORT, markersize=8, label="the same runs, grouped as the paper does")
    axis.axvline(0, color=style.PAPER, linewidth=2)
    axis.set(yticks=places, yticklabels=[f"{p.row} {p.column}" for p in parts], ylim=(-0.6, len(parts) - 0.4))
    axis.set_xlabel("report minus paper, percentage points (orange line: the paper)")
    style.legend(figure)
    return figure


def image_counts(errors: Sequence[float], counts: Sequence[int]) -> Figure:
    """For each number of test images the share of the printed errors that it allows."""
    shares = [100 * np.mean([attainable(error, n) for error in errors]) for n in counts]
    figure, axis = plt.subplots(figsize=(6.8, 2.7))
    colours = [
        style.GOOD if share == 100 else style.BAD if n == 48000 else style.FAINT for n, share in zip(counts, shares)
    ]
    axis.bar([n / 1000 for n in counts], shares, width=0.7, color=colours)
    axis.set(xlabel="test images, thousands", ylabel="runs that it allows, %", ylim=(0, 108))
    return figure


def _whiskers(axis: Axes, sample: Sample, place: float, colour: str, marker: str, label: str) -> None:
    """Mean, 95 % confidence interval, and the single runs where they are known."""
    if sample.values is not None:
        axis.plot(sample.values, [place] * sample.n, "|", color=colour, markersize=7, alpha=0.6, markeredgewidth=1.2)
    numbers = (sample.mean, *mean_interval(sample))
    style.interval(axis, numbers, place, colour, marker, label, size=6.5, width=2.2)


def forest(ours: Cells, paper: Cells, report: Cells, rows: Sequence[str]) -> Figure:
    """Ours, the paper and the report's regrouped runs, one panel per condition, one group of lines per method."""
    figure, axes = plt.subplots(1, len(COLUMNS), figsize=(9.8, 1.1 + 0.95 * len(rows)), sharey=True)
    sources = (
        ("the paper", paper, style.PAPER, "D", 0.25),
        ("the report, regrouped", report, style.REPORT, "s", 0.0),
        (US, ours, style.OURS, "o", -0.25),
    )
    for axis, column in zip(axes, COLUMNS):
        for index, row in enumerate(rows):
            for label, cells, colour, marker, offset in sources:
                if (row, column) in cells:
                    _whiskers(axis, cells[row, column], len(rows) - 1 - index + offset, colour, marker, label)
        axis.set_title(column)
        axis.set_xlabel("error, %")
        axis.set_ylim(-0.6, len(rows) - 0.4)
        means = [cells[row, column].mean for row in rows for _, cells, *_ in sources if (row, column) in cells]
        axis.set_xlim(min(means) - 0.32, max(means) + 0.32)  # intervals from two or three runs reach further
        for edge in range(len(rows) - 1):
            axis.axhline(edge + 0.5, color=style.FAINT, linewidth=0.8)
        axis.grid(False, axis="y")
    axes[0].set_yticks(range(len(rows)), list(rows)[::-1])
    style.legend(figure, [label for label, *_ in sources])
    return figure


def claims(answers: Mapping[str, Sequence[Answer]]) -> Figure:
    """The difference of each claim in each regime by source of evidence: source -> answers. Left is as claimed.

    Where a source has only some of a regime's comparisons, a hollow diamond marks the paper's mean over the same ones.
    """
    look = {PAPER: (style.PAPER, "D"), REPORT: (style.REPORT, "s"), US: (style.OURS, "o")}
    like = "the paper, like for like"
    questions = [given.question for given in answers[US]]
    figure, axis = plt.subplots(figsize=(8.2, 1.3 + 0.28 * len(questions)))
    for offset, (source, (colour, marker)) in zip((0.25, 0.0, -0.25), look.items()):
        for index, given in enumerate(answers.get(source, ())):
            place, effect = len(questions) - 1 - index + offset, given.found
            style.interval(axis, (effect.estimate, effect.low, effect.high), place, colour, marker, source)
            if given.partial:
                axis.plot(given.paper.estimate, place, "D", color=style.PAPER, label=like, markersize=8.5, **RING)
    for index, (above, below) in enumerate(pairwise(questions)):
        if above.claim != below.claim:
            axis.axhline(len(questions) - 1.5 - index, color=style.FAINT, linewidth=0.8)
    axis.axvline(0, color=style.INK, linewidth=1)
    axis.set_yticks(range(len(questions)), [f"{q.claim}: {q.where}" for q in questions[::-1]])
    axis.set(
        xlabel="difference in error, percentage points\n(left of 0: as claimed)", ylim=(-0.6, len(questions) - 0.4)
    )
    axis.grid(False, axis="y")
    style.legend(figure, [*look, like], across=2)
    return figure


def grid_map(results: Results) -> Figure:
    """Which of the 120 cells have a record: models down, condition and realization across."""
    columns = [(scaling, realization) for scaling in SCALINGS for realization in REALIZATIONS]
    done = np.array([[Cell(model, *column) in results.records for column in columns] for model in MODELS])
    figure, axis = plt.subplots(figsize=(7.4, 3.5))
    mesh = axis.pcolormesh(done, cmap="Blues", vmin=0, vmax=1.3, edgecolors="white", linewidth=2)
    mesh.set_rasterized(True)
    for row, column in zip(*np.nonzero(~done)):
        axis.text(column + 0.5, row + 0.5, "·", ha="center", va="center", color=style.MUTED)
    axis.set_yticks(np.arange(len(MODELS)) + 0.5, [_short(model) for model in MODELS])
    axis.set_xticks(np.arange(len(columns)) + 0.5, [str(realization) for _, realization in columns])
    axis.set_xlabel("realization, without augmentation (left half) and with it (right half)")
    axis.set_title(f"{int(done.sum())} of {len(GRID)} runs done (blue)")
    axis.invert_yaxis()
    axis.grid(False)
    axis.tick_params(length=0)
    return figure


def learning_curves(results: Results) -> Figure:
    """Validation error by epoch, a panel per model: lines are means of runs, bands reach over all of them."""
    models = [model for model in MODELS if any(cell.model == model for cell in results.records)]
    across = min(4, len(models))
    down = math.ceil(len(models) / across)
    # Never narrower than the legend above the panels.
    figure, axes = plt.subplots(
        down, across, figsize=(max(5.2, 2.5 * across + 0.8), 2.2 * down + 0.6), sharex=True, sharey=True, squeeze=False
    )
    for axis, model in zip(axes.flat, models):
        for scaling, colour, label in ((1.0, PLAIN, "without augmentation"), (0.5, SCALED, "with augmentation")):
            cells = [cell for cell in results.records if cell.model == model and cell.extra_scaling == scaling]
            curves = [[100 * (1 - e["val_accuracy"]) for e in results.records[cell]["history"]] for cell in cells]
            if curves:
                epochs = range(1, len(curves[0]) + 1)
                axis.fill_between(
                    epochs, np.min(curves, axis=0), np.max(curves, axis=0), color=colour, alpha=0.25, lw=0
                )
                axis.plot(epochs, np.mean(curves, axis=0), color=colour, label=label)
        axis.set_title(f"{_short(model)} (n = {sum(cell.model == model for cell in results.records)})")
        style.log_ticks(axis, "y", [2, 3, 5, 10, 20])
    for axis in axes.flat[len(models) :]:
        axis.axis("off")
    for axis in axes[:, 0]:
        axis.set_ylabel("validation error, %")
    for axis in axes.flat[max(len(models) - across, 0) : len(models)]:  # the last one of each column
        axis.set_xlabel("epoch")
        axis.tick_params(labelbottom=True)
    style.legend(figure)
    return figure


def error_time(points: Mapping[str, Mapping[tuple[str, str], tuple[float, Sample]]]) -> Figure:
    """Mean error against the fastest run's time: device -> cell of the paper's table -> (minutes, errors in percent).

    Bars are standard deviations; a cell with one run has none.
    """
    markers = {"28": "o", "28+": "P", "56": "s", "56+": "X"}
    figure, axes = plt.subplots(1, len(points), figsize=(3.8 * len(points) + 2.6, 3.6), squeeze=False, sharey=True)
    for axis, (device, cells) in zip(axes.flat, points.items()):
        for (row, column), (minutes, errors) in cells.items():
            spread = errors.std if errors.n > 1 else None
            axis.errorbar(
                minutes, errors.mean, spread, fmt=markers[column], color=style.ROWS[row], markersize=7, elinewidth=1,
                label=f"{row} {column}",
            )  # fmt: skip
        axis.set(xlabel="training time of one run, minutes", title=device, xscale="log")
        times = [minutes for minutes, _ in cells.values()]
        axis.set_xlim(min(times) / 2, 2 * max(times))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("test error, %")
    order = [f"{row} {column}" for row in style.ROWS for column in markers]
    style.legend(figure, order, across=1, place="outside right center")
    return figure


def error_by_scale(groups: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """Test error against the size of the digit: panel -> row of the table -> what the records of those runs say.

    That is, under `by_scale`: `edges` (n + 1 scale factors), `images` and `errors` (n counts). Bars are standard
    deviations over the runs.
    """
    across = min(2, len(groups))
    down = math.ceil(len(groups) / across)
    size = (3.9 * across + 0.6, 3.3 * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False)
    for axis in axes.flat[len(groups) :]:
        axis.axis("off")
    for axis, (title, rows) in zip(axes.flat, groups.items()):
        for row, runs in rows.items():
            edges = np.asarray(runs[0]["edges"], dtype=float)
            rates = [100 * np.asarray(f["errors"], dtype=float) / np.asarray(f["images"], dtype=float) for f in runs]
            spread = np.std(rates, axis=0, ddof=1) if len(runs) > 1 else None
            middle, marker = (edges[1:] + edges[:-1]) / 2, "s" if "Scalar" in row else "o"
            axis.errorbar(
                middle, np.mean(rates, axis=0), spread, fmt=f"{marker}-", color=style.ROWS[row], elinewidth=1,
                label=f"{row} (n = {len(runs)})",
            )  # fmt: skip
        axis.set(xlabel="scale factor of the digit", title=title)
        style.log_ticks(axis, "y", [0.5, 1, 2, 3, 5, 10, 20])
    for axis in axes[:, 0]:
        axis.set_ylabel("test error, %")
    style.legend(figure)
    return figure


def precision(pairs: Mapping[Cell, tuple[float, float]]) -> Figure:
    """The error of each cell in float32 (ring) and in bf16 (diamond), joined by a line."""
    figure, axis = plt.subplots(figsize=(7.2, 1.3 + 0.26 * max(len(pairs), 1)))
    names = [f"{_short(c.model)}, e = {c.extra_scaling:g}, r = {c.realization}" for c in pairs]
    places = range(len(pairs))
    for place, both in zip(places, pairs.values()):
        axis.plot(both, [place, place], color=style.FAINT, linewidth=3, zorder=1)
    axis.plot([low for _, low in pairs.values()], places, "D", color=style.SKY, markersize=5.5, label="bf16")
    axis.plot([full for full, _ in pairs.values()], places, "o", color=style.INK, label="float32", markersize=9, **RING)
    axis.set(yticks=places, yticklabels=names, ylim=(len(pairs) - 0.4, -0.6), xlabel="test error, %")
    style.legend(figure)
    return figure
