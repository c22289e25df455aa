"""What a page folds away behind one small line: plumbing, solutions, studies. In Jupyter all of it stays as it is.

The tags are those of the ecosystem (Jupyter Book): `hide-input` folds the code of a cell and leaves its output,
`hide-cell` folds the whole cell. Neighbours with `hide-cell` share a line; a heading begins a new one and names it.
A cell's metadata may name its line with `fold`, e.g. "Solution of exercise 1".
"""

from __future__ import annotations

from collections.abc import Mapping

import nbformat
from bs4 import BeautifulSoup, Tag

from sesn_lib.report.markup import inside

HIDE_CELL, HIDE_INPUT = "hide-cell", "hide-input"
PLUMBING = ("parameters", "injected-parameters")  # folded without being asked, and so are cells of these names:
SETUP_CELLS = ("open-in-colab", "install", "provenance", "imports")
SETUP, CODE, MORE = "Set-up: Colab, parameters, versions, imports", "Code", "Details"


def is_hidden(cell: nbformat.NotebookNode) -> bool:
    """Whether the whole cell is folded on a page."""
    return cell.get("id") in SETUP_CELLS or bool({HIDE_CELL, *PLUMBING} & set(cell.metadata.get("tags", [])))


def tagged(notebook: nbformat.NotebookNode) -> Mapping[str, str]:
    """The names that cells give to the line behind which they are folded: cell id -> name."""
    return {cell["id"]: str(cell.metadata["fold"]) for cell in notebook.cells if cell.metadata.get("fold")}


def fold(soup: BeautifulSoup, names: Mapping[str, str]) -> None:
    """Wrap the cells of a rendered page that carry one of the tags into `<details>`."""
    group: Tag | None = None
    for cell in inside(soup, "div"):
        classes = cell.get_attribute_list("class")
        if "cell" not in classes:
            continue
        source = cell.find(class_="input", recursive=False)
        if f"celltag_{HIDE_INPUT}" in classes and isinstance(source, Tag):
            source.wrap(_details(soup, CODE, "fold code"))
        if not _whole(cell):
            group = None
            continue
        name = names.get(str(cell.get("id", "")).removeprefix("cell-id="), "") or _heading(cell)
        if group is None or name:
            group = _details(soup, name or (SETUP if _sets_up(cell) else MORE), "fold")
            label = cell.find_previous_sibling()
            cell.insert_before(group)
            if isinstance(label, Tag) and "label" in (label.get("class") or []):
                group.append(label.extract())
        group.append(cell.extract())


def _sets_up(cell: Tag) -> bool:
    named = str(cell.get("id", "")).removeprefix("cell-id=") in SETUP_CELLS
    return named or bool({f"celltag_{tag}" for tag in PLUMBING} & set(cell.get("class") or []))


def _whole(cell: Tag) -> bool:
    return _sets_up(cell) or f"celltag_{HIDE_CELL}" in (cell.get("class") or [])


def _heading(cell: Tag) -> str:
    """The words of a text cell's first heading, if it begins with one."""
    first = cell.select_one(".text_cell_render > *")
    if first is None or first.name not in ("h2", "h3", "h4"):
        return ""
    return first.get_text().strip().rstrip("¶").strip()


def _details(soup: BeautifulSoup, name: str, kind: str) -> Tag:
    details = soup.new_tag("details", attrs={"class": kind})
    summary = soup.new_tag("summary")
    summary.string = name
    details.append(summary)
    return details
