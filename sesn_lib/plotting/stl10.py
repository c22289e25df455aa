"""Figures on STL-10: its pictures, the augmentation step by step, the networks, their equivariance, the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from sesn_lib.data.augment import MEAN, STD
from sesn_lib.experiments.stl10 import Recipe
from sesn_lib.models.wide_resnet import Part
from sesn_lib.plotting import phone, style

COLOURS = {
    "wrn_16_8": style.RED,
    "wrn_16_8_ses_a": style.BLUE,
    "wrn_16_8_ses_b": style.GREEN,
    "wrn_16_8_ses_c": style.PURPLE,
}
KINDS = {
    "conv": ("3x3 convolution", style.FAINT),
    "lift": ("lifts to 3 scales", style.ORANGE),
    "group": ("scale-convolution", style.SKY),
    "group, 2 scales": ("sees two scales", style.PURPLE),
    "max, lift": ("maximum over scales, lifts anew", style.GREEN),
    "": ("maximum over scales; classifier", style.YELLOW),
}
WIDEST = 2.2  # normalised values of this size are drawn black or white


def _mark(figure: Figure, label: str) -> None:
    """Say in the figure what the pictures are."""
    colour = style.INK if label == "STL-10" else style.RED
    figure.suptitle(label, x=0.99, ha="right", fontsize=9, color=colour, fontweight="bold")


def pictures(images: np.ndarray, labels: np.ndarray, classes: Sequence[str], label: str) -> Figure:
    """The first two pictures of each class, a column each: uint8 [N, 3, H, W]."""
    figure, axes = plt.subplots(2, len(classes), figsize=(1.0 * len(classes), 2.6))
    for column, name in enumerate(classes):
        for row, image in enumerate(images[labels == column][:2]):
            style.panel(axes[row, column], image.transpose(1, 2, 0), name if row == 0 else "", size=8)
    _mark(figure, label)
    return figure


def pipeline(report: Mapping[str, Any], authors: Mapping[str, Any], label: str) -> Figure:
    """Five pictures of one image in either order, and where the results differ.

    Arguments:
        report, authors: what `sesn_lib.data.augment.steps` returns, for one image.
        label: what the image is from.

    Until it is normalised an image is drawn as it is; afterwards mid-grey is the mean colour, and 2.2 standard
    deviations below and above it are black and white.
    """
    first, second = ({name: np.asarray(value[0]) for name, value in done.items()} for done in (report, authors))
    half = first["original"].shape[-1] // 2
    both = _shown(first["normalised"])
    both[:, :half] = _raw(first["original"])[:, :half]
    both[:, half - 1 : half + 1] = 1
    rows = {
        "the report's order": [
            ("1 original | normalised", both),
            *((f"{i} {name}", _shown(first[name])) for i, name in _numbered("padded", "cropped", "flipped", "cutout")),
        ],
        "the authors' order": [
            ("1 original", _raw(second["original"])),
            *((f"{i} {name}", _raw(second[name])) for i, name in _numbered("padded", "cropped", "flipped")),
            ("5 normalised, cutout", _shown(second["cutout"])),
        ],
    }
    figure, axes = plt.subplots(2, 6, figsize=(11, 4.3))
    for line, (name, panels) in zip(axes, rows.items()):
        for cell, (title, image) in zip(line, panels):
            style.panel(cell, image, title, size=9)
        line[0].set_ylabel(name)
    difference = np.abs(first["cutout"] - second["cutout"]).mean(axis=0)
    style.panel(axes[0, 5], difference, "where 5 and 5 differ", cmap=style.SEQUENTIAL, size=9)
    values = axes[1, 5]
    values.axis("off")
    black = ", ".join(f"{-mean / std:.1f}" for mean, std in zip(MEAN, STD))
    values.text(
        0, 0.5, f"The padding is\n0, 0, 0 (mean colour)\nin the report's order,\n{black}\n(black) in the authors'.\n\n"
        "The hole is 0, 0, 0\nin both.", va="center", fontsize=9
    )  # fmt: skip
    _mark(figure, label)
    return figure


def _numbered(*names: str) -> list[tuple[int, str]]:
    return list(enumerate(names, start=2))


def _raw(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 1).transpose(1, 2, 0).copy()


def _shown(image: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + image / (2 * WIDEST), 0, 1).transpose(1, 2, 0).copy()


def networks(summaries: Mapping[str, Sequence[Part]]) -> Figure:
    """Each network as a row of boxes; stacked sheets are scales, height is the size of the map."""
    return phone.upright(_networks(summaries, 9, 3, 10.0), lambda: _networks(summaries, 5, 1, phone.NARROW))


def _networks(summaries: Mapping[str, Sequence[Part]], most: int, names: int, width: float) -> Figure:
    """With at most `most` boxes, or `names` of kinds, beside each other."""
    lines = -(-9 // most)
    figure, axes = plt.subplots(len(summaries), 1, figsize=(width, 1.75 * lines * len(summaries) + 0.25 * (3 - names)))
    for cell, (name, parts) in zip(np.atleast_1d(axes), summaries.items()):
        cell.set(xlim=(-0.2, most + (0.6 if lines == 1 else 0)), ylim=(1.5 - 2.12 * lines, 1.5))
        cell.axis("off")
        total = sum(part.parameters for part in parts)
        cell.set_title(f"{name}: {total:,} parameters", loc="left", fontsize=10, fontweight="bold")
        places = [*range(len(parts) - 1), 8] if len(parts) == 8 else list(range(len(parts)))
        for place, part in zip(places, parts):
            _box(cell, place % most, 2.12 * (place // most), part)
    handles = [Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor=style.MUTED) for _, colour in KINDS.values()]
    figure.legend(handles, [text for text, _ in KINDS.values()], loc="outside lower center", ncols=names)
    return figure


def _box(axes: Axes, place: float, down: float, part: Part) -> None:
    """One part: its sheets, its size in words."""
    pixels = part.shape[-1] if len(part.shape) > 1 else 0
    sheets = part.shape[1] if len(part.shape) == 4 else 1
    height = 0.3 + 0.75 * pixels / 96
    for sheet in reversed(range(sheets)):
        corner = (place + 0.06 * sheet, 0.07 * sheet - down)
        axes.add_patch(Rectangle(corner, 0.62, height, facecolor=KINDS[part.first][1], edgecolor=style.MUTED, lw=0.8))
    axes.text(place + 0.31, height / 2 - down, str(part.shape[0]), ha="center", va="center", fontsize=9)
    where = part.name.replace(", ", "\n").replace("maximum over scales", "max\nover scales")
    size = f"\n{pixels} px" if pixels else f"\n{part.shape[0]} classes"
    look: dict[str, Any] = {"fontsize": 7, "color": style.INK, "linespacing": 1.1}
    axes.text(place + 0.33, -0.06 - down, where + size, ha="center", va="top", **look)


def equivariance(stages: Sequence[str], errors: Mapping[int, Mapping[str, Sequence[float]]]) -> Figure:
    """Equivariance error after each stage, a panel per network; line and mark tell the filter size [pixel].

    Arguments:
        stages: names along the axis.
        errors: filter size -> network -> one error per stage; "wrn_16_8", the plain network, is drawn in each panel.
    """
    plain = next(iter(errors.values()))["wrn_16_8"]
    names = [name for name in next(iter(errors.values())) if name != "wrn_16_8"]
    figure, axes = plt.subplots(1, len(names), figsize=(10.5, 3.4), sharey=True)
    for cell, name in zip(axes, names):
        cell.semilogy(plain, color=COLOURS["wrn_16_8"], marker="s", lw=1.2, label="wrn_16_8 (plain)")
        for (size, networks_), line, fill in zip(errors.items(), ("-", "--", ":"), ("full", "none", "none")):
            look: dict[str, Any] = {"color": COLOURS[name], "marker": "o", "fillstyle": fill}
            cell.semilogy(networks_[name], line, label=f"filters of {size} px", **look)
        cell.set_title(name)
        cell.set_xticks(range(len(stages)), stages, rotation=30, ha="right")
        cell.legend()
    axes[0].set_ylabel("equivariance error")
    return figure


def schedule(recipe: Recipe) -> Figure:
    """Learning rate against the epoch, and the epochs after which the test images are looked at."""
    epochs = range(1, recipe.epochs + 1)
    rates = np.array([recipe.learning_rate_in(epoch) for epoch in epochs])
    looked = [epoch for epoch in epochs if recipe.evaluates(epoch)]
    figure, axes = plt.subplots(figsize=(8, 2.8))
    axes.semilogy(epochs, rates, color=style.BLUE, label="learning rate")
    axes.plot(looked, rates[np.array(looked) - 1], "o", color=style.ORANGE, label="test images looked at")
    axes.plot(looked[-1], rates[-1], "*", color=style.RED, ms=12, label="reported")
    axes.set(xlabel="epoch", ylabel="learning rate")
    axes.legend()
    return figure


def curve(history: Sequence[Mapping[str, float]], evaluations: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """Training loss against the epoch, and the test loss where it was measured."""
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot([row["epoch"] for row in history], [row["train_loss"] for row in history], "o-", label="training loss")
    axes.plot([e["epoch"] for e in evaluations], [e["test_loss"] for e in evaluations], "s--", label="test loss")
    axes.set(xlabel="epoch", ylabel="cross-entropy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    _mark(figure, label)
    return figure
