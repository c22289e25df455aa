"""Short loops where motion is the point: on the site they move, on paper and where rest is asked for they are stills.

A notebook stores the still picture as its output and the loop, a GIF, in the output's metadata.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import PIL.Image
from matplotlib.figure import Figure

from sesn_lib.plotting import style

MOST_BYTES = 400_000
COLOURS = 48


def loop(frames: Sequence[Figure], milliseconds: int = 120) -> bytes:
    """The frames as a GIF that runs for ever, in the colours of the first one, at the size of a notebook's figures.

    Raises:
        ValueError: fewer than two frames; more than `MOST_BYTES`.
    """
    from matplotlib import pyplot as plt

    if len(frames) < 2:
        raise ValueError(f"a loop of {len(frames)} frames does not move: give at least 2")
    pictures = []
    for figure in frames:
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=style.SCREEN_DPI)
        plt.close(figure)
        pictures.append(PIL.Image.open(drawn).convert("RGB"))
    palette = pictures[0].quantize(COLOURS, method=PIL.Image.Quantize.MEDIANCUT)
    pictures = [picture.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for picture in pictures]
    target = io.BytesIO()
    first, *rest = pictures
    first.save(target, format="gif", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=True)
    if len(target.getvalue()) > MOST_BYTES:
        raise ValueError(
            f"the loop has {len(target.getvalue()):,} bytes, more than {MOST_BYTES:,}: fewer frames or smaller"
        )
    return target.getvalue()


def show(frames: Sequence[Figure], still: Figure, alt: str, milliseconds: int = 120) -> None:
    """Display the still picture and store the loop beside it, for the site; where somebody looks on, the loop itself.

    Arguments:
        frames: drawn alike; closed afterwards.
        still: what the loop shows, in one picture.
        alt: alternative text of both.
        milliseconds: of each frame.

    Raises:
        ValueError: empty alternative text, no motion, too many bytes.
    """
    from IPython.display import display
    from matplotlib import pyplot as plt

    moving = loop(frames, milliseconds)
    if style.is_live():
        plt.close(still)
        said = {"image/gif": base64.b64encode(moving).decode(), "text/plain": alt}
        display(said, metadata={"image/gif": {"alt": alt}}, raw=True)
        return
    style.show(still, alt, loop=base64.b64encode(moving).decode())
