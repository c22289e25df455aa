"""What all figures share: type, colours, one way to show a figure with its alternative text, one way to offer sliders.

Importing this module changes nothing; call `use()` once, in a notebook's import cell.
"""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import ConnectionPatch, Rectangle
from matplotlib.ticker import NullLocator

from sesn_lib.plotting import phone
from sesn_lib.plotting.phone import SCREEN_DPI

# The palette of Okabe and Ito, which readers with any colour vision can tell apart.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
INK, MUTED, FAINT, PAPER_WHITE = "#222222", "#767676", "#D9D9D9", "#FFFFFF"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, INK)

INDIGO = "#4A3A8C"

# Roles, so that a colour means one thing in every notebook. Blue, orange and green say whose a number is.
OURS, PAPER, REPORT = BLUE, ORANGE, GREEN
SESN, CNN = INDIGO, RED
ROWS = {"CNN": CNN, "SESN Scalar": PURPLE, "SESN Vector": SESN}  # of the table
PLAIN, SCALED = MUTED, INK  # without and with scale augmentation
GOOD, BAD = SKY, INK

DIVERGING = "RdBu_r"  # signed quantities, symmetric about 0
SEQUENTIAL = "cividis"  # quantities that are never negative
GREY = "gray"  # images as a reader knows them

PNG_DPI = 160  # pixels per inch that are stored


def use(*, vector: bool = False) -> None:
    """Set matplotlib's defaults for all figures that follow; `vector` shows them as SVG, for print, not as PNG."""
    larger = 1.3 if vector else 1.0  # print shows figures at less than half their size
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": PNG_DPI,
            "savefig.format": "svg" if vector else "png",
            "figure.facecolor": PAPER_WHITE,
            "figure.constrained_layout.use": True,
            "figure.titlesize": 12 * larger,
            "figure.titleweight": "bold",
            "font.family": "DejaVu Sans",
            "font.size": 10 * larger,
            "mathtext.fontset": "cm",
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": MUTED,
            "axes.titlesize": 10 * larger,
            "axes.titlelocation": "center",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=CYCLE),
            "grid.color": FAINT,
            "grid.linewidth": 0.6,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "legend.frameon": False,
            "legend.fontsize": 9 * larger,
            "image.interpolation": "nearest",
            "image.cmap": GREY,
        }
    )


def scale_colours(count: int) -> list[str]:
    """One colour per scale, dark (finest) to light (coarsest), as hex strings."""
    return [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0.05, 0.85, count))]


def array(values: Any) -> np.ndarray:
    """A tensor (with or without gradient, on any device), an array or a nested list as a float array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def peak(*arrays: Any) -> float:
    """The largest absolute value: the limit of a symmetric range; 1 where all values are 0."""
    return max(float(np.abs(array(values)).max()) for values in arrays) or 1.0


# Parts of figures


def panel(
    axes: Axes,
    image: Any,
    title: str = "",
    *,
    limit: float | None = None,
    cmap: str | Colormap | None = None,
    size: float | str = "medium",
) -> AxesImage:
    """Draw a 2-D array [rows, columns] as a picture without ticks.

    Arguments:
        axes: where.
        image: array or CPU tensor [H, W].
        title: above the picture, font size `size`.
        limit: draw a signed quantity on [-limit, limit], by default in blue and red; None: on its own range, in grey.
        cmap: another colour map.
    """
    array = np.asarray(image)
    if limit is None:
        drawn = axes.imshow(array, cmap=cmap or GREY)
    else:
        drawn = axes.imshow(array, cmap=cmap or DIVERGING, vmin=-limit, vmax=limit)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT)
    if title:
        axes.set_title(title, fontsize=size)
    return drawn


def rectangle(axes: Axes, size: int, side: int, colour: str = INK, width: float = 1.4) -> None:
    """Frame the square of `side` pixels in the middle of a picture of `size` pixels, as a filter's support."""
    start = (size - side) / 2 - 0.5
    axes.add_patch(Rectangle((start, start), side, side, fill=False, edgecolor=colour, linewidth=width, clip_on=False))


def arrow(figure: Figure, start: Axes, end: Axes, places: Sequence[tuple[float, float]], **look: Any) -> None:
    """An arrow from one picture to another; `places` are its ends in fractions of their width and height."""
    tail, tip = places
    kind = ("axes fraction", "axes fraction")
    figure.add_artist(ConnectionPatch(tail, tip, *kind, axesA=start, axesB=end, arrowstyle="-|>", **look))


def numbers(axes: Axes, values: Any, form: Callable[[float], str] = "{:g}".format, **look: Any) -> None:
    """Write its number into every cell of a picture of a matrix [rows, columns]."""
    for (row, column), value in np.ndenumerate(array(values)):
        axes.text(column, row, form(value), ha="center", va="center", **look)


def interval(
    axes: Axes, numbers: tuple[float, float, float], place: float, colour: str, marker: str, label: str, *,
    size: float = 5, width: float = 2.0,
) -> None:  # fmt: skip
    """A horizontal interval (estimate, low, high) at height `place`; what is not finite is left out."""
    estimate, low, high = numbers
    if math.isfinite(low):
        axes.plot([low, high], [place, place], color=colour, linewidth=width, solid_capstyle="butt")
    if math.isfinite(estimate):
        axes.plot(estimate, place, marker, color=colour, markersize=size, label=label, zorder=3)


def log_ticks(axes: Axes, which: str, ticks: Sequence[float], form: str = "g") -> None:
    """Make an axis, "x" or "y", logarithmic, with ordinary numbers at the given places and nothing between."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(ticks), [f"{tick:{form}}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def legend(figure: Figure, order: Sequence[str] = (), *, across: int = 4, place: Any = "outside upper center") -> None:
    """One legend for all panels, each label once, in a given order, so many beside each other."""
    pairs = [zip(*axes.get_legend_handles_labels()) for axes in figure.axes]
    handles = {label: handle for panel in pairs for handle, label in panel}
    labels = [label for label in order if label in handles] or list(handles)
    columns = min(across, len(labels))
    figure.legend([handles[label] for label in labels], labels, loc=place, ncols=columns)


# Showing


def show(figure: Figure, alt: str, **notes: Any) -> None:
    """Display a figure with alternative text, as PNG that is sharp on dense screens or as SVG (see `use`); close it.

    Arguments:
        figure: a matplotlib figure.
        alt: what the figure shows, for readers who cannot see it; kept in the notebook's output and in the HTML.
        notes: kept in the output's metadata, for the site.

    Raises:
        ValueError: empty alternative text.
    """
    from IPython.display import display
    from matplotlib import pyplot as plt

    if not alt.strip():
        raise ValueError("alt is empty: every figure needs alternative text, one sentence on what it shows")
    drawn = io.BytesIO()
    width = round(figure.get_figwidth() * SCREEN_DPI)
    phone.legible(figure)
    if mpl.rcParams["savefig.format"] == "svg":
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        plt.close(figure)
        kind = "image/svg+xml"
        said = {kind: drawn.getvalue().decode(), "text/plain": alt}
        display(said, metadata={kind: {"alt": alt, "width": width}}, raw=True)
        return
    content = _png(figure)
    names = phone.names(figure)
    narrow = None if notes else phone.narrow(figure)
    if narrow is not None:
        phone.legible(narrow)
        notes["narrow"] = base64.b64encode(_png(narrow, phone.PNG_DPI)).decode()
        plt.close(narrow)
    elif names and not notes:
        notes["names"] = round(names, 4)
    plt.close(figure)
    # The plain text is what is left where there are no pictures, and what VS Code reads out.
    said = {"image/png": base64.b64encode(content).decode(), "text/plain": alt}
    display(said, metadata={"image/png": {**notes, "alt": alt, "width": width}}, raw=True)


def _png(figure: Figure, dpi: float = PNG_DPI) -> bytes:
    """256 colours look the same in a third of the space: a picture's own ones, for lines and letters a fixed choice."""
    drawn, stored = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    pictures = any(axes.images for axes in figure.axes)
    method = PIL.Image.Quantize.MEDIANCUT if pictures else PIL.Image.Quantize.FASTOCTREE
    picture = PIL.Image.open(drawn).convert("RGB").quantize(256, method=method)
    picture.save(stored, format="png", optimize=True)
    return stored.getvalue()


def is_live() -> bool:
    """Whether a person runs this cell in a browser or editor, rather than papermill, nbval or nbconvert.

    Front ends send the id of the cell along with its code; programs that execute notebooks in a batch do not.
    """
    try:
        from IPython import get_ipython

        shell = get_ipython()
        return bool(shell.kernel.get_parent()["metadata"].get("cellId"))
    except (ImportError, AttributeError, KeyError, TypeError):
        return False


def interactive(function: Callable[..., Figure], alt: str, **sliders: tuple[Sequence[Any], Any]) -> None:
    """A figure with sliders where somebody can move them; in a batch the same figure at the initial values.

    Arguments:
        function: makes the figure from one keyword argument per slider.
        alt: alternative text; `{name}` in it is replaced by the slider's value.
        sliders: name = (values to choose from, initial value).

    Raises:
        ValueError: an initial value that is not among the values.
    """
    for name, (values, initial) in sliders.items():
        if initial not in list(values):
            raise ValueError(f"slider {name} starts at {initial!r}: it must be one of {list(values)}")

    def draw(**chosen: Any) -> None:
        show(function(**chosen), alt.format(**chosen))

    if is_live():
        try:
            import ipywidgets
        except ImportError:
            logging.getLogger(__name__).info("ipywidgets is not installed: the figure is drawn without sliders")
        else:
            controls = {
                name: ipywidgets.SelectionSlider(
                    options=list(values), value=initial, description=name.replace("_", " "), continuous_update=False
                )
                for name, (values, initial) in sliders.items()
            }
            ipywidgets.interact(draw, **controls)
            return
    draw(**{name: initial for name, (_, initial) in sliders.items()})
