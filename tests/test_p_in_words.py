"""Every p that a results notebook prints stands with its test, its n and the family that it was corrected over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
P = re.compile(r"\bp (=|<|below|at most) *0?\.?\d")
TEST = re.compile(
    r"paired t|clustered t|Welch|Satterthwaite|mixed model|by the model alone|Friedman|Fisher|permutation|McNemar"
    r"|one-sided, exact|two one-sided|Spearman|\bF\(",
)
N = re.compile(r"\bn = |\bF\(\d|\d+ (realizations|lists|runs|pairs)|n realizations|both tests")
FAMILY = re.compile(r"Holm|corrected|of a single look")


def lacking(text: str) -> list[str]:
    """What a piece of text that prints a p does not say beside it."""
    if not P.search(text):
        return []
    return [name for name, said in (("test", TEST), ("n", N), ("family", FAMILY)) if not said.search(text)]


def pieces(name: str) -> Iterator[tuple[str, str]]:
    """Cell and paragraph or printed block; a table with its caption."""
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                yield from ((cell.id, part) for part in re.split(r"\n\n|\n(?=- )", data["text/markdown"]))
            elif output.output_type == "stream":
                yield cell.id, output.text
            elif "text/html" in data and "image/png" not in data:
                yield cell.id, re.sub(r"<[^>]+>", " ", data["text/html"])


@pytest.mark.parametrize("name", ["00_poster", "10_results", "11_beyond_the_table"])
def test_no_p_stands_alone(name: str) -> None:
    bad = [
        f"{cell}: no {', '.join(missing)}: {text[:150]}" for cell, text in pieces(name) if (missing := lacking(text))
    ]
    assert bad == []


def test_the_check_finds_a_p_that_stands_alone() -> None:
    assert lacking("The lead is significant, p = 0.01.") == ["test", "n", "family"]
    assert lacking("paired t, p < 0.001, not corrected") == ["n"]
    assert lacking("Welch, n = 6: p = 0.02") == ["family"]
    assert lacking("paired t, n = 6, Holm over 12: p = 0.02") == []
    assert lacking("no number here") == []
