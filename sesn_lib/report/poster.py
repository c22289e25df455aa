"""The one-page summary as a poster: a single A4 page in PDF, all vectors and real text, so that it prints as A1 too.

The notebook is executed with its figures as drawings; its text and outputs, without code, go through a template of
their own and WeasyPrint. Fonts come from matplotlib's package, so the page is the same on every machine. Tags of cells
say what goes where: `poster-AREA` begins one of `AREAS`, `poster-skip` leaves a cell out, `poster-key` sets one off.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, select_autoescape

from sesn_lib.report import formulas

TEMPLATES = Path(__file__).parent / "template"
LARGEST, SMALLEST, STEP = 10.0, 7.2, 0.1  # points of the text on A4; on A1 they are 2.8 times as many
WIDEST = 90  # characters of a line of a table that fit into a column
AREAS = ("top-left", "top-right", "left", "right", "wide", "foot")  # in reading order
_PANGO = (
    "WeasyPrint, which prints the poster, needs the library Pango and cannot load it; install it "
    "(Debian and Ubuntu: apt install libpango-1.0-0 libpangoft2-1.0-0; macOS: brew install pango)"
)


class PosterError(ValueError):
    """Why there is no poster."""


@dataclass
class Section:
    """A heading of the second level and the HTML that follows it; `area` is one of `AREAS`."""

    title: str
    area: str
    blocks: list[str] = field(default_factory=list)


def printer() -> ModuleType:
    """WeasyPrint.

    Raises:
        ModuleNotFoundError: it is not installed.
        PosterError: the library that it needs is not.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # it prints a page
        try:
            import weasyprint
        except OSError:
            raise PosterError(_PANGO) from None
    for name in ("weasyprint", "fontTools"):
        logging.getLogger(name).setLevel(logging.ERROR)
    module: ModuleType = weasyprint
    return module


# From the notebook


def _formula(latex: str, display: bool) -> str:
    """Text where a formula is no more than letters, else a drawing."""
    import ziamath

    element = BeautifulSoup(formulas.mathml(latex, display=display), "html.parser")
    if not display and {tag.name for tag in element.find_all(True)} <= {"math", "mrow", "mi"}:
        return f"<i>{element.get_text().strip()}</i>"
    drawn = ziamath.Latex(latex, size=20, inline=not display)
    svg = drawn.svg()
    height, rise = float(re.findall(r'height="([\d.]+)"', svg)[0]), -float(drawn.getyofst())
    place = f"height: {height / 20:.3f}em; vertical-align: {rise / 20 - height / 20:.3f}em" if not display else ""
    image = _image(svg.encode(), "svg+xml", latex, place or f"height: {height / 20:.3f}em")
    return f'<p class="formula">{image}</p>' if display else image


def _image(content: bytes, kind: str, alt: str, css: str = "") -> str:
    soup = BeautifulSoup("", "html.parser")
    data = base64.b64encode(content).decode()
    return str(soup.new_tag("img", attrs={"src": f"data:image/{kind};base64,{data}", "alt": alt, "style": css}))


def sections(notebook: nbformat.NotebookNode) -> tuple[Mapping[str, str], list[Section]]:
    """(what the first cell says: `promise` and the rows of its table by their heads, HTML; the sections in order)."""
    first, *cells = notebook.cells
    soup = _markdown(first.source)
    rows = [row.find_all("td") for row in soup.select("tr")]
    head = {r[0].get_text().strip(): r[1].decode_contents() for r in rows if len(r) == 2}
    promise = soup.find("p")
    head["promise"] = promise.decode_contents() if promise else ""
    parts: list[Section] = []
    area = AREAS[0]
    for cell in cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & {"poster-skip", "parameters", "injected-parameters"}:
            continue
        area = next((name for name in AREAS if f"poster-{name}" in tags), area)
        if cell.cell_type == "markdown":
            for element in _markdown(cell.source).contents:
                if getattr(element, "name", None) == "h2":
                    parts.append(Section(element.get_text().strip(), area))
                elif str(element).strip():
                    _last(parts, cell).append(str(element))
        elif cell.cell_type == "code":
            shown = [text for output in cell.outputs for text in _output(output)]
            if shown:
                inner = "".join(shown)
                _last(parts, cell).append(f'<div class="key">{inner}</div>' if "poster-key" in tags else inner)
    return head, parts


def _last(parts: Sequence[Section], cell: Any) -> list[str]:
    if not parts:
        raise PosterError(f"a poster begins with a heading of the second level; cell {cell.id} comes before any")
    return parts[-1].blocks


def _markdown(source: str) -> BeautifulSoup:
    """Links to notebooks are words on paper; links to the web stay."""
    soup = BeautifulSoup(formulas.markdown(source, _formula), "html.parser")
    for link in soup.select("a"):
        if "anchor-link" in (link.get("class") or []):
            link.decompose()
        elif "://" not in str(link.get("href")):
            link.unwrap()
    return soup


def _output(output: Any) -> list[str]:
    if output.output_type == "stream" and output.name == "stdout":
        lines = [f"<p>{html.escape(line)}</p>" for line in output.text.splitlines() if line.strip()]
        return [f'<div class="said">{"".join(lines)}</div>'] if lines else []
    data, notes = output.get("data", {}), output.get("metadata", {})
    if "text/html" in data:
        return [_table(str(data["text/html"]))]
    if "text/markdown" in data:
        return [f'<div class="said">{_markdown(data["text/markdown"])}</div>']
    for kind in ("image/svg+xml", "image/png"):
        if kind in data:
            content = data[kind].encode() if "svg" in kind else base64.b64decode(data[kind])
            image = _image(content, kind.removeprefix("image/"), notes.get(kind, {}).get("alt", ""))
            return [f'<p class="figure">{image}</p>']
    return []


def _table(source: str) -> str:
    """A table whose lines may be too long for a column may break them: it must grow downwards, never sideways."""
    rows = [
        [cell.get_text().strip() for cell in row.select("th, td")]
        for row in BeautifulSoup(source, "html.parser").select("tr")
    ]
    width = max((sum(map(len, row)) for row in rows), default=0)
    return f'<div class="{"wrapped" if width > WIDEST else "table"}">{source}</div>'


# To paper


def layout(notebook: nbformat.NotebookNode, title: str, made: str) -> str:
    """The poster of an executed notebook as an HTML page; `made` says where it comes from."""
    head, parts = sections(notebook)
    environment = Environment(loader=FileSystemLoader(TEMPLATES / "sesn"), autoescape=select_autoescape(default=True))
    areas = {area: [section for section in parts if section.area == area] for area in AREAS}
    return environment.get_template("poster.html.j2").render(title=title, head=head, areas=areas, made=made)


def pdf(page: str) -> bytes:
    """One A4 page in PDF, in the largest type with which everything fits.

    Raises:
        PosterError: it does not fit even in the smallest.
    """
    weasyprint = printer()
    from weasyprint.text.fonts import FontConfiguration

    fonts, cache, kind = FontConfiguration(), dict[Any, Any](), {"pdf_variant": "pdf/ua-1"}  # tagged, readable aloud
    document = weasyprint.HTML(string=page)
    base = weasyprint.CSS(string=_faces() + (TEMPLATES / "poster.css").read_text(encoding="utf-8"), font_config=fonts)

    def printed(size: float) -> Any:
        chosen = weasyprint.CSS(string=f"html {{ font-size: {size:.1f}pt }}", font_config=fonts)
        return document.render(stylesheets=[base, chosen], font_config=fonts, cache=cache, **kind)

    low, high = 0, round((LARGEST - SMALLEST) / STEP)
    best = printed(SMALLEST)
    if len(best.pages) > 1:
        raise PosterError(
            f"the poster does not fit on one page, even in type of {SMALLEST} points: shorten the notebook, or leave "
            "out cells with the tag poster-skip"
        )
    while low < high:  # the largest size that fits, by bisection
        middle = (low + high + 1) // 2
        tried = printed(SMALLEST + middle * STEP)
        low, high, best = (middle, high, tried) if len(tried.pages) == 1 else (low, middle - 1, best)
    content: bytes = best.write_pdf(**kind)
    return content


def _faces() -> str:
    """The fonts that matplotlib brings along, by the names that the style sheet uses."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [
        ("Poster", "DejaVuSans", ""),
        ("Poster", "DejaVuSans-Bold", "font-weight: bold"),
        ("Poster", "DejaVuSans-Oblique", "font-style: italic"),
        ("Poster Mono", "DejaVuSansMono", ""),
        ("Poster Serif", "STIXGeneral", ""),
        ("Poster Serif", "STIXGeneralBol", "font-weight: bold"),
        ("Poster Serif", "STIXGeneralItalic", "font-style: italic"),
    ]
    rules = [
        f'@font-face {{ font-family: "{family}"; src: url("{(folder / name).with_suffix(".ttf").as_uri()}"); {style} }}'
        for family, name, style in faces
    ]
    return "\n".join(rules) + "\n"
