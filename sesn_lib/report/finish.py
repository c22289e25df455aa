"""Last touches to a page: what may be wide gets a scroll bar of its own, heads of tables say what they head."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, Tag

__all__ = ["finish"]

PHONE = 440  # pixels that a figure may be wide and still be legible on a phone without scrolling
SHORT = 12  # characters of code in a line of text, up to which it is not broken


def finish(soup: BeautifulSoup) -> str:
    """The page as HTML, without scripts; whatever scrolls on its own can be reached by keyboard."""
    for number, table in enumerate(soup.select("main table"), start=1):
        parent = table.parent
        if parent is None or "scroll" not in (parent.get("class") or []):
            parent = table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
        parent.attrs.update({"tabindex": "0", "role": "region", "aria-label": f"Table {number}"})
        head = table.select_one("thead")
        if head is not None and not head.get_text().strip():  # Markdown knows no table without a head
            head.decompose()
        elif head is not None:
            _join_names(head)
        for header in table.select("th"):
            if not header.get_text().strip():
                header.name = "td"
            elif header.find_parent("thead"):
                header.attrs.setdefault("scope", "col")
    for block in soup.select("main pre"):
        block["tabindex"] = "0"
    wide = [image for image in soup.select("main img[width]") if int(str(image["width"])) > PHONE]
    for number, image in enumerate(wide, start=1):
        box = image.wrap(soup.new_tag("div", attrs={"class": "figure", "style": f"--width: {image['width']}px"}))
        box.attrs.update({"tabindex": "0", "role": "region", "aria-label": f"Figure {number}"})
    for code in soup.select("main :not(pre) > code"):
        if len(code.get_text()) <= SHORT:
            code["class"] = "whole"
    for heading in soup.select("main :is(h1, h2, h3)"):
        _keep_whole(soup, heading)
    for script in soup.select("script"):
        script.decompose()
    return str(soup)


def _join_names(head: Tag) -> None:
    """pandas gives the names of an index a line of their own in a table's head: into the empty corner above it."""
    rows = head.find_all("tr")
    if len(rows) < 2:
        return
    above, names = (row.find_all(["th", "td"]) for row in rows[-2:])
    count = sum(bool(cell.get_text().strip()) for cell in names)
    whole = len(above) == len(names) and not any(cell.get_text().strip() for cell in names[count:] + above[:count])
    if count and whole:
        for corner, name in zip(above, names[:count]):
            corner.replace_with(name)
        rows[-1].decompose()


def _keep_whole(soup: BeautifulSoup, heading: Tag) -> None:
    """Words with a hyphen, such as MNIST-scale, are not broken at it in a heading."""
    for text in heading.find_all(string=re.compile(r"\w-\w")):
        pieces: list[Any] = re.split(r"(\w+(?:-\w+)+)", str(text))
        pieces[1::2] = [soup.new_tag("span", attrs={"class": "whole"}, string=word) for word in pieces[1::2]]
        text.replace_with(*pieces)
