"""Figures on training and testing: learning curves, confusion, mistakes, error against size, the state of the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sesn_lib.experiments.mnist_scale import MODELS, REALIZATIONS, SCALINGS, Cell
from sesn_lib.plotting import phone, style
from sesn_lib.runner.status import SYMBOLS, Status


class Monitor:
    """Follows a training: a figure that grows where somebody watches, one line an epoch where nobody does.

    An instance is what `on_epoch` of `sesn_lib.training.fit` and `sesn_lib.runner.train_cell` wants; `history` has one
    row per epoch.
    """

    def __init__(self) -> None:
        self.history: list[Mapping[str, float]] = []
        self._display: Any = None

    def __call__(self, report: Any) -> None:
        """Take note of an `EpochReport`."""
        self.history.append(report.row())
        if not style.is_live():
            print(
                f"epoch {report.epoch} of {report.epochs}: loss {report.train_loss:.3f}, "
                f"validation error {100 * (1 - report.val_accuracy):.1f} %, {report.seconds:.0f} s"
            )
            return
        from IPython.display import display

        figure = learning_curve(self.history, epochs=report.epochs)
        plt.close(figure)
        if self._display is None:
            self._display = display(figure, display_id=True)
        else:
            self._display.update(figure)


def learning_curve(
    history: Sequence[Mapping[str, float]], *, epochs: int | None = None, best: int | None = None
) -> Figure:
    """Loss and error of training and validation against the epoch; steps of the learning rate are dotted lines.

    Arguments:
        history: rows as in a run's record.
        epochs: right end of the axis; the last epoch of the history when left out.
        best: the epoch whose weights are kept.
    """
    epoch = [row["epoch"] for row in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.1))
    for part, colour, name in (("train", style.INK, "training"), ("val", style.SKY, "validation")):
        left.plot(epoch, [row[f"{part}_loss"] for row in history], marker="o", color=colour, label=name)
        errors = [100 * (1 - row[f"{part}_accuracy"]) for row in history]
        right.plot(epoch, errors, marker="o", color=colour, label=name)
    rates = [row["learning_rate"] for row in history]
    steps = [at - 0.5 for before, after, at in zip(rates[:-1], rates[1:], epoch[1:]) if after != before]
    for axes in (left, right):
        for i, at in enumerate(steps):
            label = "lower learning rate" if i == 0 else None
            axes.axvline(at, color=style.MUTED, linestyle=":", linewidth=1, label=label)
    if best is not None:
        right.axvline(best, color=style.YELLOW, linewidth=6, alpha=0.25, label="kept")
    left.set(title="cross-entropy", xlabel="epoch", **({"yscale": "log"} if len(history) > 5 else {"ylim": (0, None)}))
    right.set(title="error (%)", xlabel="epoch", ylim=(0, None))
    for axes in (left, right):
        axes.set_xlim(0.5, (epochs or epoch[-1]) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(figure)
    return figure


def confusion(labels: np.ndarray, predictions: np.ndarray) -> tuple[Figure, np.ndarray]:
    """Which digits are taken for which. Returns the figure and the counts, int [10 true, 10 predicted].

    Colours show the share of each true digit among mistakes only; the correct ones would drown them.
    """
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return phone.upright(_confusion(counts, (5.6, 4.9)), lambda: _confusion(counts, (phone.NARROW, 4.9))), counts


def _confusion(counts: np.ndarray, size: tuple[float, float]) -> Figure:
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = np.where(np.eye(10, dtype=bool), np.nan, share)
    figure, axes = plt.subplots(figsize=size)
    drawn = axes.imshow(wrong, cmap="Blues", vmin=0)
    threshold = 0.55 * np.nanmax(wrong) if np.nanmax(wrong) > 0 else 1
    for row, column in np.ndindex(10, 10):
        if counts[row, column]:
            dark = row != column and wrong[row, column] > threshold
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=9,
                color="white" if dark else style.INK, fontweight="bold" if row == column else "normal",
            )  # fmt: skip
    axes.set(xlabel="taken for", ylabel="true digit", xticks=range(10), yticks=range(10))
    axes.grid(False)
    beside = size[0] > size[1]
    figure.colorbar(drawn, label="share of the true digit (%)", shrink=0.85, location="right" if beside else "bottom")
    return figure


def mistakes(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray, factors: np.ndarray, *, most: int = 24
) -> Figure:
    """The first images that were read wrongly, with "true → predicted" and the scale factor.

    Arguments:
        images, labels, predictions, factors: uint8 [N, H, W], int64 [N], int64 [N], float64 [N].
    """
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predictions))[:most]
    columns = 8
    lines = max(1, -(-len(wrong) // columns))
    figure, axes = plt.subplots(lines, columns, figsize=(8.4, 1.25 * lines), squeeze=False)
    for cell in axes.flat:
        cell.axis("off")
    for cell, index in zip(axes.flat, wrong):
        cell.axis("on")
        title = f"{labels[index]} → {predictions[index]}   {factors[index]:.2f}"
        style.panel(cell, images[index], title, size=8).set_clim(0, 255)
    if not len(wrong):
        axes[0, 0].text(0, 0.5, "no mistakes", transform=axes[0, 0].transAxes)
    return figure


def error_by_scale(factors: np.ndarray, correct: np.ndarray) -> tuple[Figure, pd.DataFrame]:
    """Error in percent against the digit's scale factor, with 95 % Wilson intervals.

    Returns the figure and a table with columns from, to, n, error, low, high.
    """
    from scipy.stats import binomtest

    bins = 7
    edges = np.linspace(0.3, 1.0, bins + 1)
    place = np.clip(np.digitize(factors, edges) - 1, 0, bins - 1)
    rows = []
    for index in range(bins):
        chosen = np.asarray(correct)[place == index]
        n, wrong = len(chosen), int((~chosen).sum())
        if n:
            interval = binomtest(wrong, n).proportion_ci(method="wilson")
            numbers = [100 * value for value in (wrong / n, interval.low, interval.high)]
            rows.append((edges[index], edges[index + 1], n, *numbers))
    table = pd.DataFrame(rows, columns=["from", "to", "n", "error", "low", "high"])
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    middle = (table["from"] + table["to"]) / 2
    spread = np.stack([table["error"] - table["low"], table["high"] - table["error"]])
    axes.errorbar(middle, table["error"], spread, marker="o", capsize=3, color=style.BLUE, linewidth=1.5)
    axes.set(xlabel="scale factor of the digit", ylabel="error (%)", ylim=(0, None))
    return figure, table


def grid(status: Status) -> pd.DataFrame:
    """The state of the experiment as a table: a row per model, six symbols and the mean error per augmentation.

    Symbols, realization 0 to 5: ● done, ○ partial, ▶ running, ◐ begun, ✗ failed, · missing.
    """
    means = status.mean_errors()
    rows = []
    for model in MODELS:
        row: dict[str, str] = {"model": model}
        for scaling in SCALINGS:
            states = [status.states.get(Cell(model, scaling, r), "missing") for r in REALIZATIONS]
            row[f"runs, e = {scaling:g}"] = "".join(SYMBOLS[state] for state in states)
            n, mean, spread = means.get((model, scaling), (0, 0.0, None))
            text = "" if not n else f"{mean:.2f} (n = {n})"
            row[f"error, e = {scaling:g}"] = text if spread is None else f"{mean:.2f} ± {spread:.2f} (n = {n})"
        rows.append(row)
    return pd.DataFrame(rows).set_index("model")
