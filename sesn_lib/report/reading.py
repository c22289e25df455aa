"""How long a notebook takes to read, without what a page folds away: words, formulas and figures, counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

import nbformat

from sesn_lib.report.folding import HIDE_INPUT, is_hidden

WORDS_A_MINUTE = 200
MINUTES_A_PICTURE = 0.5  # for a figure or a displayed formula
_DETAILS = re.compile(r"<details>.*?</details>", re.DOTALL)
_DISPLAYED = re.compile(r"\$\$.*?\$\$", re.DOTALL)
_WORD = re.compile(r"[^\W_][\w'’.,/-]*")


@dataclass(frozen=True)
class Reading:
    """Words of text and output, words of code, displayed formulas, figures."""

    words: int = 0
    code: int = 0
    formulas: int = 0
    figures: int = 0

    @property
    def minutes(self) -> float:
        """All of it, code read like text."""
        return (self.words + self.code) / WORDS_A_MINUTE + MINUTES_A_PICTURE * (self.formulas + self.figures)


def measure(notebook: nbformat.NotebookNode, *, whole: bool = False) -> Reading:
    """Counts what a reader of the page meets; `whole`: also what is folded.

    A formula within a line counts as one word. Of tables the text form counts.
    """
    words = code = formulas = figures = 0
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if is_hidden(cell) and not whole:
            continue
        if cell.cell_type == "markdown":
            text = cell.source if whole else _DETAILS.sub(" ", cell.source)
            formulas += len(_DISPLAYED.findall(text))
            figures += text.count("![")
            text = re.sub(r"\$[^$]+\$", " x ", _DISPLAYED.sub(" ", text))
            words += len(_WORD.findall(re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)))
        elif cell.cell_type == "code":
            code += len(_WORD.findall(cell.source)) if whole or HIDE_INPUT not in tags else 0
            for output in cell.outputs:
                data = output.get("data", {})
                pictures = sum(kind.startswith("image/") for kind in data)
                figures += pictures
                text = output.get("text", "") or ("" if pictures else data.get("text/plain", ""))
                words += len(_WORD.findall(text))
    return Reading(words, code, formulas, figures)
