"""The method in one figure, for the README and the front page of the site.

`python -m sesn_lib.plotting.overview notebooks/figures/idea.png` draws it anew. It needs no data: the digit is a chain
of Gaussians, known at every point of the plane, so its enlargement is exact and the number is the layer's own.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from sesn_lib.equivariance import GaussianImages, relative_error
from sesn_lib.layers import ConvTH
from sesn_lib.plotting import phone, style

ALT = (
    "Three rows of pictures. Top: one filter in three sizes. Middle: a small digit two and its responses to the three "
    "filters. Bottom: the digit twice as large and its responses. Arrows lead from each response of the small digit to "
    "an enlarged copy of it, one column to the right in the row of the large digit."
)
CAPTION = (
    "The same weights make one filter in several sizes. When the digit doubles in size, its responses double in size "
    "and move to the next scale: that is scale equivariance, and in this layer it is exact up to sampling."
)
SCALES = (1.5, 3.0, 6.0)
SIZE = 81  # pixels of the grid
KERNEL = 49  # pixels of the largest filter, four standard deviations to either side
SCALING = 2.0


def digit() -> GaussianImages:
    """The digit two, 18 pixels tall, as a chain of Gaussians along its strokes."""
    angles = torch.linspace(math.radians(-200), math.radians(35), 30, dtype=torch.float64)
    arc = torch.stack([-4 + 5 * angles.sin(), 5 * angles.cos()], dim=1)
    corner, end = torch.tensor([9.0, -5.0]).double(), torch.tensor([9.0, 5.5]).double()
    along = torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    centres = torch.cat([arc, arc[-1] + along * (corner - arc[-1]), corner + along * (end - corner)])
    ones = torch.ones(1, len(centres), dtype=torch.float64)
    return GaussianImages(centres[None], 1.2 * ones, ones)


def responses() -> tuple[Tensor, Tensor, Tensor]:
    """Filters [S, k, k]; image and responses of f, and of L_s f: [1 + S, SIZE, SIZE] each; float64."""
    layer = ConvTH(1, 1, KERNEL, 3, SCALES, basis="A", padding=KERNEL // 2, bias=False).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
        rows = []
        for scaling in (1.0, SCALING):
            image = digit().sample(SIZE, scaling)
            rows.append(torch.cat([image[0], layer(image)[0, 0]]))
        return layer.basis(layer.weight)[0, 0], rows[0], rows[1]


def measured_error(plain: Tensor, scaled: Tensor) -> float:
    """`||L_s F(f) - F(L_s f)||^2 / ||L_s F(f)||^2` over the scales known on both sides, at the pixels that coincide."""
    half = SIZE // 4
    middle = slice(SIZE // 2 - half, SIZE // 2 + half + 1)
    first = SIZE // 2 - 2 * half
    expected = plain[1:-1, middle, middle]
    actual = scaled[2:, first : first + 4 * half + 1 : 2, first : first + 4 * half + 1 : 2]
    return relative_error(expected[None], actual[None])


def draw() -> Figure:
    """The figure: filters; a small digit and its responses; a digit twice as large and its responses."""
    return phone.upright(_draw(8.6), lambda: _draw(phone.NARROW))


def _draw(width: float) -> Figure:
    filters, plain, scaled = responses()
    small = width <= phone.NARROW
    size = (width, 0.3 + width * (0.92 if small else 0.72))
    words = ("", "") if small else ("filter at ", "response ")
    figure, axes = plt.subplots(3, 4, figsize=size, height_ratios=[0.62, 1, 1])
    colours = style.scale_colours(len(SCALES))
    limit = float(plain[1:].abs().max())
    axes[0, 0].axis("off")
    axes[0, 0].text(
        0.5,
        0.5,
        "one filter,\nthree sizes,\nsame weights\n(each in its\nown colours)"
        if small
        else "one filter,\nthree sizes,\nthe same weights\n(each in its own colours)",
        ha="center",
        va="center",
        transform=axes[0, 0].transAxes,
    )
    for column, (scale, kernel) in enumerate(zip(SCALES, filters), start=1):
        style.panel(axes[0, column], kernel, rf"{words[0]}$\sigma$ = {scale:g} px", limit=style.peak(kernel))
    larger = "$L_2 f$" if small else "$L_2 f$: twice as large"
    for row, (name, images) in enumerate((("$f$", plain), (larger, scaled)), start=1):
        style.panel(axes[row, 0], images[0], name)
        for column in range(1, 4):
            style.panel(axes[row, column], images[column], limit=limit)
            axes[row, column].set_title(f"{words[1]}at {SCALES[column - 1]:g} px")
    for column in (1, 2):
        for axis in (axes[1, column], axes[2, column + 1]):
            axis.spines[:].set(color=colours[column - 1], linewidth=3)
        look = {"mutation_scale": 16, "linewidth": 2, "color": colours[column - 1]}
        style.arrow(figure, axes[1, column], axes[2, column + 1], ((1, 0), (0, 1)), **look)
    error = measured_error(plain, scaled)
    bound = 10 ** math.ceil(math.log10(error))
    exponent = round(math.log10(bound))
    figure.suptitle(
        "Framed alike: the same response, enlarged"
        + ("\n" if small else " ")
        + rf"and one scale further (relative error below $10^{{{exponent}}}$)",
        fontsize=10 if small else 11,
    )
    return figure


def main(path: str) -> None:
    """Draw the figure into a PNG file, and into another beside it for a phone."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context():
        style.use()
        for file, width in ((target, 8.6), (target.with_stem(target.stem + phone.SUFFIX), phone.NARROW)):
            figure = _draw(width)
            figure.savefig(file, dpi=140, pil_kwargs={"optimize": True}, metadata={"Software": None})
            plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
