"""Last touches to a page: what may be wide gets a scroll bar of its own, heads of tables say what they head."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, NavigableString, Tag

from sesn_lib.report.pictures import PHONE
from sesn_lib.report.widths import ems

# What is not broken over lines: in a table brackets with a number in them, and a number with its spread; in a heading
# words with a hyphen, such as MNIST-scale.
HYPHENS = re.compile(r"(\w+(?:-\w+)+)")
NUMBERS = re.compile(r"([\[(][^\[\]()]{0,28}\d[^\[\]()]{0,28}[\])]|[−-]?\d[\d.,]* ± [\d.,]+)")
LONGEST = 118  # characters of a printed line that fit a page
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
        _keep_first_column(table)
        _keep_whole(soup, table, NUMBERS)
    for block in soup.select("main pre"):
        block["tabindex"] = "0"
        if block.find_parent(class_="output") and _is_prose(block.get_text()):
            block["class"] = "prose"
    for formula in soup.select("main .formula:not(.inline) > math"):
        formula["style"] = f"--ems: {ems(formula):.1f}"
    wide = [image for image in soup.select("main img[width]") if int(str(image["width"])) > PHONE]
    wide = [image for image in wide if image.find_parent(class_="moving") is None]
    wide = [image for image in wide if "on-desk" not in (image.get("class") or [])]
    for number, image in enumerate(wide, start=1):
        box = image.wrap(soup.new_tag("div", attrs={"class": "figure", "style": f"--width: {image['width']}px"}))
        box.attrs.update({"tabindex": "0", "role": "region", "aria-label": f"Figure {number}"})
    for code in soup.select("main :not(pre) > code"):
        if len(code.get_text()) <= SHORT:
            code["class"] = "whole"
    for heading in soup.select("main :is(h1, h2, h3)"):
        _keep_whole(soup, heading, HYPHENS)
    for script in soup.select("script"):
        script.decompose()
    return str(soup)


def _is_prose(text: str) -> bool:
    """Whether printed lines may be broken: those that are too long for any page, or are not set in columns."""
    lines = text.splitlines()
    return max(map(len, lines), default=0) > LONGEST or not any("  " in line.strip() for line in lines)


def _keep_first_column(table: Tag) -> None:
    """Mark the column that heads the rows, the last such one, which stays in sight when a wide table is scrolled."""
    rows = table.select("tbody tr") or table.select("tr")
    heads = max((len(row.find_all("th", recursive=False)) for row in rows), default=0)
    stays = []
    for row in rows:
        cells = row.find_all(["th", "td"], recursive=False)
        stays += ([cell for cell in cells if cell.name == "th"] if heads else cells[:1])[-1:]
    for row in table.select("thead tr"):
        stays += row.find_all(["th", "td"], recursive=False)[max(heads, 1) - 1 : max(heads, 1)]
    for cell in stays:
        cell["class"] = " ".join([*(cell.get("class") or []), "stays"])


def _keep_whole(soup: BeautifulSoup, element: Tag, pattern: re.Pattern[str]) -> None:
    """What the pattern's group finds in a text is not broken over lines."""
    for text in list(element.find_all(string=pattern)):
        if text.find_parent(["math", "style"]) or not isinstance(text.parent, Tag):
            continue
        parts: list[Any] = pattern.split(str(text))
        parts[1::2] = [soup.new_tag("span", attrs={"class": "whole"}, string=part) for part in parts[1::2]]
        text.replace_with(*[part if isinstance(part, Tag) else NavigableString(part) for part in parts if part])


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
