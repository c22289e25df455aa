"""Tables for readers: HTML by pandas' Styler on the page; Markdown, LaTeX and CSV into a folder.

A table is shown as text that was rounded for reading; the CSV file can be given the unrounded numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from sesn_lib.analysis.claims import PAPER, REPORT, US
from sesn_lib.analysis.text import DASH, interval, mean, number, p_value, signed
from sesn_lib.plotting import style

__all__ = [
    "SOURCES",
    "TINTS",
    "interval",
    "latex",
    "markdown",
    "mean",
    "number",
    "p_value",
    "publish",
    "signed",
    "to_html",
]

# Dark text on light ground, told apart by their words first.
TINTS: Mapping[str, str] = {
    "reproduced": "#D5EFE4",
    "supported": "#D5EFE4",
    "as predicted": "#D5EFE4",
    "the same": "#D5EFE4",
    "not reproduced": "#F9DCC9",
    "not supported": "#F9DCC9",
    "not as predicted": "#F9DCC9",
    "differs": "#F9DCC9",
    "undecided": "#FBF3C5",
    "no data": "#EEEEEE",
    "no run yet": "#EEEEEE",
}

# Whose numbers they are, in the colours of the figures.
SOURCES: Mapping[str, str] = {
    **dict.fromkeys(("the paper", PAPER), style.PAPER),
    **dict.fromkeys(("the report", "the report, regrouped", REPORT), style.REPORT),
    **dict.fromkeys(("ours", US), style.OURS),
}


# Forms


def _tint(value: object) -> str:
    word = str(value).split(": ")[0].split(" (")[0]
    return f"background-color: {TINTS[word]}; color: #222222" if word in TINTS else ""


def _mark(edge: str) -> Callable[[object], str]:
    return lambda head: f"border-{edge}: 5px solid {SOURCES[str(head)]}" if head in SOURCES else ""


def _ours(row: pd.Series) -> list[str]:
    last = row.name[-1] if isinstance(row.name, tuple) else row.name
    return ["font-weight: bold" if SOURCES.get(str(last)) == style.OURS else ""] * len(row)


def to_html(frame: pd.DataFrame, caption: str, name: str) -> str:
    """An HTML table with a caption, the same bytes each time; the index, if it is named, is the row heads.

    Heads that are in `SOURCES` carry their colour; rows of ours are bold.
    """
    heads = _has_heads(frame)
    if heads:  # their name goes into the corner, not onto a line of its own
        frame = frame.copy()
        frame.columns.name = frame.index.names[-1]
        frame.index.names = [None] * frame.index.nlevels
    long = max((len(str(value)) for value in frame.to_numpy().flat), default=0) > 40
    styler = frame.style.set_uuid(name).set_caption(caption).map(_tint).apply(_ours, axis=1)
    styler = styler.map_index(_mark("left"), axis=0).map_index(_mark("bottom"), axis=1)
    styler = styler.set_table_styles(
        [
            {"selector": "caption", "props": "caption-side: top; text-align: left; font-weight: bold; padding: 4px 0"},
            {
                "selector": "td",
                "props": f"text-align: left; padding: 3px 10px; white-space: {'normal' if long else 'nowrap'}",
            },
            {"selector": "th", "props": "text-align: left; padding: 3px 10px; white-space: nowrap"},
        ]
    )
    styler = styler.format(escape="html").format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    return str(styler.to_html() if heads else styler.hide(axis="index").to_html())


def markdown(frame: pd.DataFrame) -> str:
    """A pipe table."""
    flat = frame.reset_index() if _has_heads(frame) else frame
    lines = [[str(column) for column in flat.columns], ["---"] * len(flat.columns)]
    lines += [[str(value).replace("|", r"\|") for value in row] for row in flat.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


_LATEX = {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", DASH: "--", "→": r"$\to$", "≥": r"$\ge$", "<": "$<$"}


def latex(frame: pd.DataFrame, caption: str, name: str) -> str:
    """A LaTeX table for the booktabs package."""
    flat = frame.reset_index() if _has_heads(frame) else frame
    flat = flat.rename(columns=lambda column: _escape(str(column)))
    styler = flat.style.hide(axis="index").format(_escape)
    text = styler.to_latex(hrules=True, caption=_escape(caption), label=f"tab:{name}", position="htbp")
    return str(text)


def _escape(value: object) -> str:
    text = re.sub(r"([&%$#_{}])", r"\\\1", str(value))
    for sign, replacement in _LATEX.items():
        text = text.replace(sign, replacement)
    return text


def _has_heads(frame: pd.DataFrame) -> bool:
    return all(name is not None for name in frame.index.names)


def publish(
    name: str, frame: pd.DataFrame, caption: str, folder: str | Path | None = None, *, data: pd.DataFrame | None = None
) -> None:
    """Shows a table and writes it as `name`.md, .tex and .csv.

    Arguments:
        name: of the files; letters, digits, hyphens and underscores.
        frame: cells as readers see them. A named index is the row heads, another one is not shown.
        caption: one line.
        folder: where the files go; made if need be. None: nowhere.
        data: numbers for the CSV file, if they are not those of `frame`.

    Raises:
        ValueError: another character in the name.
        OSError: the folder cannot be written.
    """
    from IPython.display import display

    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise ValueError(f"{name!r} cannot name a file; use letters, digits, hyphens and underscores")
    if folder is not None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.md").write_text(f"{caption}\n\n{markdown(frame)}", encoding="utf-8")
        (place / f"{name}.tex").write_text(latex(frame, caption, name), encoding="utf-8")
        numbers = frame if data is None else data
        numbers.to_csv(place / f"{name}.csv", index=_has_heads(numbers))
    display({"text/html": to_html(frame, caption, name), "text/plain": markdown(frame)}, raw=True)
