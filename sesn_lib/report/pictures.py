"""Pictures for every reader: narrow forms for a phone, and for a loop its still picture, for paper and for rest.

A wide figure brings a narrow drawing along or is cut into pieces (see `sesn_lib.plotting.phone`). What allows neither
scrolls. A loop (see `sesn_lib.plotting.motion.show`) is played and stopped by a line below it, without a script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import nbformat
import PIL.Image
from bs4 import BeautifulSoup, Tag

from sesn_lib.plotting.phone import PHONE, PNG_DPI, SCREEN_DPI, pieces
from sesn_lib.report.markup import inside

UNDESCRIBED = "No description has been provided for this image"


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
                extra.narrow = pieces(
                    base64.b64decode(data["image/png"]), int(note["width"]), names=float(note.get("names", 0))
                )
            if extra.narrow or extra.loop:
                extras[f"figures/{key}_{place}_{number}.png"] = extra
    return extras


def place(soup: BeautifulSoup, extras: Mapping[str, Extra], files: dict[str, bytes]) -> None:
    """Put narrow forms and loops of a page's pictures beside them; the style sheet shows the one that fits."""
    for image in inside(soup, "img"):
        image.attrs.setdefault("alt", UNDESCRIBED)
        source = str(image.get("src"))
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
            shown = (
                round(part * width / whole) if len(extra.narrow) > 1 else min(PHONE, round(part * SCREEN_DPI / PNG_DPI))
            )
            text = alt if number == 1 else f"Part {number} of {len(extra.narrow)} of the figure: {alt}"
            narrow.append(soup.new_tag("img", attrs={"src": name, "alt": text, "width": str(shown)}))
        image.insert_after(narrow)


def also_narrow(soup: BeautifulSoup, image: Tag, source: str) -> None:
    """A picture that is a file of its own, with another file in its place on a phone."""
    both = image.wrap(soup.new_tag("picture"))
    both.insert(0, soup.new_tag("source", attrs={"media": "(max-width: 40rem)", "srcset": source}))
