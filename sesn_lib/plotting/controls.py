"""Figures on controls: errors against the size of the digit, against the number of images, against equivariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sesn_lib.analysis.statistics import Sample, mean_interval
from sesn_lib.plotting import style

COLOURS = style.ROWS
MARKERS = {"CNN": "s", "SESN Scalar": "^", "SESN Vector": "o"}


def errors_by_factor(
    factors: Sequence[float],
    conditions: Mapping[str, Mapping[str, Mapping[int, np.ndarray]]],
    trained: Mapping[str, tuple[float, float]],
    cut: float,
) -> Figure:
    """Error against the size of the digit, a panel for each condition; mean over realizations, each a faint line.

    Arguments:
        factors: sizes.
        conditions: condition -> network -> realization -> error in percent at each size.
        trained: condition -> least and greatest size in training, shaded.
        cut: size from which on ink is cut off.
    """
    figure, axes = plt.subplots(1, len(conditions), figsize=(9.4, 4.0), sharey=True, squeeze=False)
    for axis, (condition, networks) in zip(axes[0], conditions.items()):
        axis.axvspan(*trained[condition], color=style.FAINT, alpha=0.5, linewidth=0)
        axis.axvline(cut, color=style.MUTED, linestyle=":", linewidth=1)
        for name, runs in networks.items():
            for errors in runs.values():
                axis.plot(factors, errors, color=COLOURS[name], linewidth=0.6, alpha=0.5)
            if runs:
                mean = np.mean(list(runs.values()), axis=0)
                axis.plot(factors, mean, color=COLOURS[name], marker=MARKERS[name], label=name)
        style.log_ticks(axis, "x", (0.2, 0.3, 0.5, 0.7, 1, 1.4, 2))
        style.log_ticks(axis, "y", (1, 2, 5, 10, 20, 50))
        axis.set(title=condition, xlabel="size of the digit (1: as in MNIST)")
    axes[0, 0].set_ylabel("error, %")
    if axes[0, 0].get_legend_handles_labels()[0]:
        axes[0, 0].legend()
    return figure


def errors_by_images(networks: Mapping[str, Mapping[int, Mapping[int, float]]]) -> Figure:
    """Error and lead over the CNN against the number of training images, with 95 % intervals over realizations.

    Arguments:
        networks: network -> number of images -> realization -> error in percent.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.7))
    cnn = networks["CNN"]
    for shift, (name, by_count) in zip((0.97, 1.0, 1.03), networks.items()):
        samples = {n: sample for n, runs in by_count.items() if (sample := Sample.of(list(runs.values())))}
        _bars(left, samples, name, shift)
        leads = {
            n: sample
            for n, runs in by_count.items()
            if name != "CNN" and (sample := Sample.of([runs[r] - cnn[n][r] for r in runs.keys() & cnn[n].keys()]))
        }
        _bars(right, leads, name, shift)
    right.axhline(0, color=style.CNN, linewidth=1)
    left.set(ylabel="error, %", title="error")
    style.log_ticks(left, "y", (2, 3, 5, 7, 10))
    right.set(ylabel="percentage points", title="lead over the CNN (below zero: SESN is better)")
    for axis in (left, right):
        style.log_ticks(axis, "x", sorted(cnn), ",")
        axis.set_xlabel("training images")
    if left.get_legend_handles_labels()[0]:
        left.legend()
    return figure


def _bars(axis: Axes, samples: Mapping[int, Sample], name: str, shift: float) -> None:
    if not samples:
        return
    ends = np.array([mean_interval(s) if s.n > 1 else (s.mean, s.mean) for s in samples.values()])
    means = np.array([s.mean for s in samples.values()])
    axis.errorbar(
        np.array(list(samples)) * shift,
        means,
        yerr=np.nan_to_num(np.abs(ends.T - means)),
        color=COLOURS[name],
        marker=MARKERS[name],
        capsize=2,
        label=name,
    )


def equivariance_and_error(points: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Figure:
    """Test error against the equivariance error, a panel for each place in the network, a point for each network.

    Arguments:
        points: panel -> kind of network -> (equivariance error, test error in percent) of its runs.
    """
    figure, axes = plt.subplots(1, len(points), figsize=(9.8, 4.2), sharey=True, squeeze=False)
    kinds = sorted({kind for by_kind in points.values() for kind in by_kind})
    marks = "os^DvPX<>*hp"
    for axis, (title, by_kind) in zip(axes[0], points.items()):
        for index, kind in enumerate(kinds):
            pairs = np.array(by_kind.get(kind, ())).reshape(-1, 2)
            base = next((name for name in COLOURS if kind.startswith(name)), "CNN")
            axis.plot(*pairs.T, marks[index % len(marks)], color=COLOURS[base], alpha=0.85, label=kind)
        axis.set(title=title, xlabel="equivariance error")
    axes[0, 0].set_ylabel("test error, %")
    if kinds:
        axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
