"""Pictures for every reader: narrow forms for a phone, and for a loop its still picture, for paper and for rest.

A wide figure of panels is cut where a white gutter runs through it, and its pieces stand one below the other on a
phone. One that has no gutter may bring a narrow drawing along (see `sesn_lib.plotting.style.show`). What has neither
scrolls. A loop (see `sesn_lib.plotting.motion.show`) is played and stopped by a line below it, without a script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import nbformat
import numpy as np
import PIL.Image
from bs4 import BeautifulSoup

PHONE = 390  # pixels that a figure may be wide and still be legible on a phone without a form of its own
GUTTER = 0.003  # of a figure's width, that a white gutter has at least
WHITE = 250


@dataclass
class Extra:
    """What belongs to one picture besides itself: narrow forms from top to bottom, a loop."""

    narrow: list[bytes] = field(default_factory=list)
    loop: bytes = b""


def collect(notebook: nbformat.NotebookNode, key: str) -> dict[str, Extra]:
    """The extras of a notebook's pictures.

    Returns: file name of the picture on the site, as nbconvert makes it from `key` -> extra.
    """
    extras = {}
    for place, cell in enumerate(notebook.cells):
        for number, output in enumerate(cell.get("outputs", [])):
            data, notes = output.get("data", {}), output.get("metadata", {})
            note = notes.get("image/png", {})
            extra = Extra(loop=base64.b64decode(note.get("loop", "")))
            wide = "image/png" in data and int(note.get("width") or 0) > PHONE and not extra.loop
            if wide and note.get("narrow"):
                extra.narrow = [base64.b64decode(note["narrow"])]
            elif wide:
                extra.narrow = pieces(base64.b64decode(data["image/png"]), int(note["width"]))
            if extra.narrow or extra.loop:
                extras[f"figures/{key}_{place}_{number}.png"] = extra
    return extras


def pieces(content: bytes, width: int, most: int = PHONE) -> list[bytes]:
    """A PNG that is shown `width` pixels wide, cut along white gutters into parts at most `most` pixels wide.

    Returns: the parts from left to right, or nothing if the gutters do not allow it.
    """
    image = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    white = (np.asarray(image).min(axis=(0, 2)) >= WHITE).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], white, [0]])))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2]) if b - a >= GUTTER * image.width]
    limit = most * image.width / width
    inner = [(int(a + b) // 2) for a, b in runs if a > 0 and b < image.width]
    cuts = [0]
    while image.width - cuts[-1] > limit:
        reachable = [x for x in inner if cuts[-1] < x <= cuts[-1] + limit]
        if not reachable:
            return []
        cuts.append(reachable[-1])
    if len(cuts) < 2:
        return []
    cuts.append(image.width)
    parts = []
    for left, right in pairwise(cuts):
        target = io.BytesIO()
        image.crop((left, 0, right, image.height)).quantize(256).save(target, format="png", optimize=True)
        parts.append(target.getvalue())
    return parts


def place(soup: BeautifulSoup, extras: Mapping[str, Extra], files: dict[str, bytes]) -> None:
    """Put narrow forms and loops of a page's pictures beside them; the style sheet shows the one that fits."""
    for image in soup.select("main img[src]"):
        source = str(image["src"])
        extra = extras.get(source)
        if extra is None:
            continue
        stem, alt, width = source.removesuffix(".png"), str(image.get("alt", "")), int(str(image["width"]))
        if extra.loop:
            files[f"{stem}.gif"] = extra.loop
            box = image.wrap(soup.new_tag("div", attrs={"class": "moving"}))
            image["class"] = "still"
            play = soup.new_tag("details", attrs={"class": "play", "open": ""})
            play.append(soup.new_tag("summary", string="Play or stop"))
            play.append(soup.new_tag("img", attrs={"src": f"{stem}.gif", "alt": alt, "width": str(width)}))
            box.append(play)
            continue
        image["class"] = "on-desk"
        whole = PIL.Image.open(io.BytesIO(files[source])).width
        narrow = soup.new_tag("div", attrs={"class": "on-phone"})
        for number, content in enumerate(extra.narrow, start=1):
            name = f"{stem}_narrow{number}.png"
            files[name] = content
            part = PIL.Image.open(io.BytesIO(content)).width
            shown = round(part * width / whole) if len(extra.narrow) > 1 else min(PHONE, round(part * 90 / 160))
            text = alt if number == 1 else f"Part {number} of {len(extra.narrow)} of the figure: {alt}"
            narrow.append(soup.new_tag("img", attrs={"src": name, "alt": text, "width": str(shown)}))
        image.insert_after(narrow)
