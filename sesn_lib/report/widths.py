"""How wide a formula is drawn, estimated from its MathML, so that the style sheet can make it fit a narrow page."""

from __future__ import annotations

from bs4 import Tag

SMALL = 0.72  # size of an index against its base
_OVER = {"munder", "mover", "munderover"}
_SIDE = {"msub", "msup", "msubsup"}


def ems(element: Tag) -> float:
    """Width of a `<math>` element or a part of it in units of its own type size."""
    children = [child for child in element.children if isinstance(child, Tag)]
    if element.name in ("mi", "mn", "mtext", "ms"):
        return 0.53 * len(element.get_text())
    if element.name == "mo":
        text = element.get_text()
        tight = element.get("lspace") == "0" or text in "()[]{}|‖,.!′"
        return (0.4 if tight else 1.15) * max(len(text), 1)
    if element.name == "mspace":
        return float(str(element.get("width", "0em")).removesuffix("em") or 0)
    widths = [ems(child) for child in children]
    if element.name == "mfrac":
        return 0.2 + max(widths, default=0)
    if element.name in _SIDE:
        return widths[0] + SMALL * max(widths[1:], default=0)
    if element.name in _OVER:
        return max([widths[0], *(SMALL * width for width in widths[1:])])
    if element.name == "mtable":
        rows = [
            [ems(cell) for cell in row.find_all("mtd", recursive=False)]
            for row in element.find_all("mtr", recursive=False)
        ]
        columns = max(map(len, rows), default=0)
        return sum(0.3 + max((row[i] for row in rows if i < len(row)), default=0) for i in range(columns))
    if element.name in ("msqrt", "mroot"):
        return 0.8 + sum(widths)
    return sum(widths)
