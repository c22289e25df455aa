"""Last touches to a page: what may be wide gets a scroll bar of its own, heads of tables say what they head."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, NavigableString, Tag

from sesn_lib.report.markup import inside
from sesn_lib.report.pictures import PHONE
from sesn_lib.report.widths import ems

# What is not broken over lines: in a table brackets with a number in them, a number with its spread, a bound; in a
# heading words with a hyphen, such as MNIST-scale.
HYPHENS = re.compile(r"(\w+(?:-\w+)+)")
NUMBERS = re.compile(r"([\[(][^\[\]()]{0,28}\d[^\[\]()]{0,28}[\])]|[−-]?\d[\d.,]* ± [\d.,]+|< 0[\d.]+)")
UNITS = re.compile(r"(\d[\d.,]* %)")  # in a text, a number with its sign of percent
MARKS = re.compile(r"[.,;:)?!]+")  # what does not begin a line, after a formula
LONGEST = 118  # characters of a printed line that fit a page
LETTER, PADDING = 8.2, 14.5  # pixels of a letter and around a cell of a table on a phone
LONG_VALUE = 21  # characters of a value or its head, from which on it has a line of its card for itself
SHORT = 12  # characters of code in a line of text, up to which it is not broken


def finish(soup: BeautifulSoup) -> str:
    """The page as HTML, without scripts; whatever scrolls on its own can be reached by keyboard."""
    for number, table in enumerate(inside(soup, "table"), start=1):
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
        if head is not None and least_width(table) > PHONE:
            _make_cards(soup, table)
    for block in inside(soup, "pre"):
        block["tabindex"] = "0"
        if block.find_parent(class_="output") and _is_prose(block.get_text()):
            block["class"] = "prose"
    for formula in inside(soup, "math"):
        around = formula.parent.get_attribute_list("class") if formula.parent else []
        if "formula" in around and "inline" not in around:
            formula["style"] = f"--ems: {ems(formula):.1f}"
    wide = [image for image in inside(soup, "img") if int(str(image.get("width", "0"))) > PHONE]
    wide = [image for image in wide if not image.find_parents(class_="moving") and not image.find_parents("picture")]
    wide = [image for image in wide if "on-desk" not in (image.get("class") or [])]
    for number, image in enumerate(wide, start=1):
        box = image.wrap(soup.new_tag("div", attrs={"class": "figure", "style": f"--width: {image['width']}px"}))
        box.attrs.update({"tabindex": "0", "role": "region", "aria-label": f"Figure {number}"})
    for code in inside(soup, "code"):
        if len(code.get_text()) <= SHORT and code.parent and code.parent.name != "pre":
            code["class"] = "whole"
    for heading in inside(soup, "h1", "h2", "h3"):
        _keep_whole(soup, heading, HYPHENS)
    for text in inside(soup, "p", "li"):
        _keep_whole(soup, text, UNITS)
    for formula in inside(soup, "math"):
        if formula.get("display") == "inline":
            _keep_marks(soup, formula)
    for script in soup.find_all("script"):
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
    stays: list[Tag] = []
    for row in rows:
        cells = row.find_all(["th", "td"], recursive=False)
        stays += ([cell for cell in cells if cell.name == "th"] if heads else cells[:1])[-1:]
    for row in table.select("thead tr"):
        stays += row.find_all(["th", "td"], recursive=False)[max(heads, 1) - 1 : max(heads, 1)]
    for cell in stays:
        cell["class"] = " ".join([*(cell.get("class") or []), "stays"])


def least_width(table: Tag) -> float:
    """Pixels that a table needs on a phone, where its cells are broken between words, estimated from its letters."""
    columns: dict[int, float] = {}
    for row in table.find_all("tr"):
        place = 0
        for cell in row.find_all(["th", "td"], recursive=False):
            span = int(str(cell.get("colspan", "1")))
            pieces = [part.get_text() for part in cell.find_all(class_="whole")]
            rest = cell.get_text() if "dataframe" in (table.get("class") or []) else ""
            words = [*re.split(r"[\s-]+", cell.get_text()), *pieces, rest]
            if span == 1:
                columns[place] = max(columns.get(place, 0), LETTER * max(map(len, words)) + PADDING)
            place += span
    return sum(columns.values())


def _make_cards(soup: BeautifulSoup, table: Tag) -> None:
    """On a phone each row of a table that is too wide for it is a card: its head, and each value below its column's."""
    heads = _heads_of_columns(table)
    box = table.parent
    if box is not None:
        box["class"] = "scroll cards"
    for element, role in (("table", "table"), ("thead, tbody", "rowgroup"), ("tr", "row"), ("td", "cell")):
        for part in [table] if element == "table" else table.select(element):
            part["role"] = role
    for part in table.select("th"):
        part["role"] = "columnheader" if part.find_parent("thead") else "rowheader"
    spanning: dict[int, list[Any]] = {}  # a head of several rows is repeated in the cards of the later ones
    for row in table.select("tbody tr"):
        cells, place = row.find_all(["th", "td"], recursive=False), 0
        for column in sorted(spanning):
            left, above = spanning[column]
            if left > 0:
                again = soup.new_tag("th", attrs={"class": "again", "role": "rowheader"}, string=above.get_text())
                row.insert(0 if column == 0 else column, again)
                spanning[column] = [left - 1, above]
                place += 1
        for cell in cells:
            rows = int(str(cell.get("rowspan", "1")))
            if rows > 1:
                spanning[place] = [rows - 1, cell]
            if cell.name == "td" and place < len(heads) and "stays" not in (cell.get("class") or []):
                cell["data-head"] = heads[place]
                if len(cell.get_text()) > LONG_VALUE or len(heads[place]) > LONG_VALUE:
                    cell["class"] = " ".join([*(cell.get("class") or []), "long"])
            place += 1


def _heads_of_columns(table: Tag) -> list[str]:
    """What stands above each column, a head over several of them included."""
    heads: dict[int, list[str]] = {}
    for row in table.select("thead tr"):
        place = 0
        for cell in row.find_all(["th", "td"], recursive=False):
            for _ in range(int(str(cell.get("colspan", "1")))):
                text = cell.get_text().strip()
                if text and text not in heads.setdefault(place, []):
                    heads[place].append(text)
                place += 1
    return [", ".join(heads.get(place, [])) for place in range(max(heads, default=-1) + 1)]


def _keep_whole(soup: BeautifulSoup, element: Tag, pattern: re.Pattern[str]) -> None:
    """What the pattern's group finds in a text is not broken over lines."""
    for text in list(element.find_all(string=pattern)):
        if text.find_parent(["math", "style"]) or not isinstance(text.parent, Tag):
            continue
        parts: list[Any] = pattern.split(str(text))
        parts[1::2] = [soup.new_tag("span", attrs={"class": "whole"}, string=part) for part in parts[1::2]]
        text.replace_with(*[part if isinstance(part, Tag) else NavigableString(part) for part in parts if part])


def _keep_marks(soup: BeautifulSoup, formula: Tag) -> None:
    """The comma or full stop that follows a formula in a line of text stays on its line."""
    after = formula.next_sibling
    mark = MARKS.match(str(after)) if isinstance(after, NavigableString) else None
    if mark is None or not isinstance(after, NavigableString):
        return
    after.replace_with(NavigableString(str(after)[mark.end() :]))
    formula.wrap(soup.new_tag("span", attrs={"class": "whole"})).append(mark[0])


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
