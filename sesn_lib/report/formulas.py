"""LaTeX formulas as MathML, which browsers draw themselves: no script, no network, readable aloud, sharp in print.

`latex2mathml` does the translation. What it emits is then brought to MathML Core, the part that all browsers implement:
no `mathvariant` but the letters themselves, no named spaces, delimiters that stretch only where `\\left` asks for it. A
subset of the STIX Two Math font, with exactly the letters that occur, comes along in the style sheet.
"""

from __future__ import annotations

import base64
import html
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from ziamath.styles import MathVariant, styledstr

FONT_FAMILY = "STIX Two Math subset"

_SPACES = {"negativethinmathspace": "-0.167em", "negativemediummathspace": "-0.222em"}
_STYLES = {
    "bold": MathVariant(bold=True),
    "bold-italic": MathVariant(bold=True, italic=True),
    "italic": MathVariant(italic=True),
    "double-struck": MathVariant("double"),
    "script": MathVariant("script"),
    "fraktur": MathVariant("fraktur"),
    "sans-serif": MathVariant("sans"),
    "monospace": MathVariant("mono"),
}
_BARS = {"|", "‖", "∣", "∥"}
_OPERAND = {"mi", "mn", "msub", "msup", "msubsup", "mfrac", "msqrt", "mstyle"}


class FormulaError(ValueError):
    """A formula that would not be drawn as it is meant."""


def mathml(latex: str, *, display: bool = False) -> str:
    """A `<math>` element for a formula without its dollar signs.

    Raises:
        FormulaError: something in the formula is not understood; nothing is ever half-translated.
    """
    source = re.sub(r"\\(begin|end)\{(?:aligned|alignedat|gathered)\}", r"\\\1{align*}", latex.strip())
    source = re.sub(r"\\(math(?:bb|bf|cal|frak|rm|sf|tt)|boldsymbol)\s+([A-Za-z])", r"\\\1{\2}", source)
    source = re.sub(r"\\[lr]Vert(?![A-Za-z])", r"\\Vert ", source)
    try:
        root = ElementTree.fromstring(convert(source, xmlns="", display="block" if display else "inline"))
    except Exception as error:  # the translator raises many kinds, none of them documented
        raise FormulaError(f"cannot translate the formula {latex!r}: {type(error).__name__} {error}") from None
    root.attrib.pop("xmlns", None)
    for element in root.iter():
        _to_core(element, latex)
        _space(element)
    root.set("alttext", " ".join(latex.split()))
    return ElementTree.tostring(root, encoding="unicode")


def _to_core(element: ElementTree.Element, latex: str) -> None:
    text = element.text or ""
    if "\\" in text or "&" in text:
        raise FormulaError(f"the formula {latex!r} holds {text!r}, which is not understood")
    if element.tag == "mspace" and element.get("width") in _SPACES:
        element.set("width", _SPACES[element.attrib["width"]])
    if element.tag in ("mi", "mo") and text in _BARS and element.get("stretchy") is None:
        element.tag = "mo"
        element.attrib.update(stretchy="false", lspace="0", rspace="0")
    if text.strip("′″‴") == "" and text.strip():
        element.set("class", "prime")
    if element.tag == "mtd" and "columnalign" in element.attrib:
        element.set("class", element.attrib.pop("columnalign"))
    variant = element.get("mathvariant")
    if variant not in (None, "normal"):
        del element.attrib["mathvariant"]
        element.text = styledstr(text, _STYLES[variant]) if variant in _STYLES else text


def _space(row: ElementTree.Element) -> None:
    """Space between the children of `row` as TeX has it, where a browser would have another."""
    before: ElementTree.Element | None = None
    for child in list(row):
        text = child.text or ""
        if child.tag == "mi" and text == "±":
            child.tag = "mo"
        if child.tag == "mo" and text == "/":
            child.attrib.update(lspace="0", rspace="0")
        elif child.tag == "mo" and text in "−+±" and before is not None and _opens(before):
            child.set("form", "prefix")  # a sign, not a difference
        elif child.tag in _OPERAND and before is not None and before.tag == "mi" and len(before.text or "") > 1:
            row.insert(list(row).index(child), ElementTree.Element("mspace", width="0.167em"))  # log x, not logx
        if child.tag != "mspace":
            before = child


def _opens(element: ElementTree.Element) -> bool:
    """Whether what follows `element` begins an expression: after a bracket, a comma, a relation, another operator."""
    if element.tag != "mo":
        return False
    kind = unicodedata.category((element.text or " ")[0])
    return kind in ("Ps", "Sm", "Pd") or (element.text or "") in (",", ";", ":", "/", "·", "×")


class _Renderer(IPythonRenderer):
    """Markdown whose formulas are drawn by a function of (LaTeX, whether on a line of its own)."""

    def __init__(self, formula: Callable[[str, bool], str]) -> None:
        super().__init__(escape=False)
        self.formula = formula

    def inline_math(self, body: str) -> str:
        return self.formula(body, False)

    def block_math(self, body: str) -> str:
        return self.formula(body, True)

    def latex_environment(self, name: str, body: str) -> str:
        return self.formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)


def markdown(source: str, formula: Callable[[str, bool], str]) -> str:
    """The HTML of a text cell; `formula` makes that of a formula from (LaTeX, whether on a line of its own)."""
    return str(MarkdownWithMath(renderer=_Renderer(formula)).render(source))


def letters(pages: Iterable[str]) -> set[str]:
    """Every character that the `<math>` elements of some HTML pages draw, slanted forms of single letters included."""
    drawn: set[str] = set()
    for page in pages:
        for formula in re.findall(r"<math\b.*?</math>", page, re.DOTALL):
            drawn.update(html.unescape(re.sub(r"<[^>]*>", "", formula)))
            drawn.update("√" if "<msqrt" in formula or "<mroot" in formula else "")  # drawn without being written
    return drawn | {styledstr(letter, _STYLES["italic"]) for letter in drawn}


def font_face(characters: set[str]) -> str:
    """CSS that brings the mathematical font along, cut to `characters`; empty where the font cannot be had."""
    try:
        content = (resources.files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf").read_bytes()
    except (ModuleNotFoundError, OSError):
        return ""
    data = base64.b64encode(_cut(content, frozenset(characters))).decode()
    return f'@font-face {{ font-family: "{FONT_FAMILY}"; src: url(data:font/woff;base64,{data}) format("woff"); }}\n'


@lru_cache(maxsize=4)
def _cut(content: bytes, characters: frozenset[str]) -> bytes:
    """The font with mended roots and no other characters, as WOFF; remembered for whoever renders page by page."""
    from fontTools import subset
    from fontTools.ttLib import TTFont

    font = TTFont(io.BytesIO(content))
    _mend_roots(font)
    options = subset.Options(layout_features=["ssty", "dtls", "flac"], drop_tables=["GPOS", "DSIG"], hinting=False)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=sorted(ord(character) for character in characters))
    cutter.subset(font)
    font.flavor = "woff"
    target = io.BytesIO()
    font.save(target)
    return target.getvalue()


def _mend_roots(font: Any) -> None:
    """Gives tall root signs the width of the small one, and all of them a gap below the bar that can be seen.

    Chromium sets a root aside the room of the widest sign that the font has, and the rest of it would stay empty.
    """
    table = font["MATH"].table
    table.MathConstants.RadicalVerticalGap.Value = table.MathConstants.RadicalDisplayStyleVerticalGap.Value
    small = font.getBestCmap()[ord("√")]
    covered = table.MathVariants.VertGlyphCoverage.glyphs
    signs = table.MathVariants.VertGlyphConstruction[covered.index(small)]
    names = [record.VariantGlyph for record in signs.MathGlyphVariantRecord]
    names += [part.glyph for part in signs.GlyphAssembly.PartRecords]
    width, _ = font["hmtx"][small]
    for name in set(names) - {small}:
        advance, bearing = font["hmtx"][name]
        glyph = font["glyf"][name]
        glyph.coordinates.scale((width / advance, 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(font["glyf"])
        font["hmtx"][name] = width, round(bearing * width / advance)
