"""Notebooks as a static site: one HTML page each, a front page, figures as files; nothing in it refers to another host.

nbconvert renders the cells through the template in `template/sesn`; formulas become MathML (see `formulas`). Afterwards
links between notebooks are turned into links between pages, and the page is made fit to be read (see `finish`).
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from nbconvert.exporters.html import HTMLExporter
from nbconvert.exporters.templateexporter import TemplateExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from sesn_lib.plotting.phone import SUFFIX
from sesn_lib.report import folding, formulas, pictures, reading
from sesn_lib.report.finish import finish
from sesn_lib.report.markup import inside

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "template"
LONG = 50  # characters of LaTeX in a line of text, from which on a phone may have to scroll
_REMOTE = re.compile(r"(?:[a-z]+:)?//|mailto:|data:", re.IGNORECASE)


@dataclass
class Page:
    """One notebook on its way to becoming a page.

    Attributes:
        name: file name without ending, e.g. `07_datasets`.
        notebook: the notebook to render.
        folder: where relative links of the notebook start.
        state: a few words on its execution, for the front page.
        error: why it stopped, None if it did not.
        source: where the site has the notebook itself; empty: nowhere.
    """

    name: str
    notebook: nbformat.NotebookNode
    folder: Path
    state: str = ""
    error: str | None = None
    title: str = ""
    promise: str = ""
    previous: Page | None = None
    next: Page | None = None
    source: str = ""

    @property
    def minutes(self) -> int:
        """Of reading, without what is folded."""
        return max(1, round(reading.measure(self.notebook).minutes))

    @property
    def number(self) -> str:
        match = re.match(r"\d+", self.name)
        return match[0] if match else ""


@dataclass
class Site:
    """What all pages share; `built` says when, `facts` are shown on the front page as a table of two columns."""

    pages: Sequence[Page]
    title: str
    short_title: str
    lead: str
    profile: str
    built: str
    facts: Sequence[tuple[str, str]] = ()
    figure: str = ""
    figure_narrow: str = ""
    figure_alt: str = ""
    figure_caption: str = ""
    stopped: Sequence[str] = field(default_factory=list)
    extra: Sequence[Page] = ()
    """Pages that are no chapters, such as the list of symbols: linked in the bar of every page."""


def _formula(latex: str, display: bool) -> str:
    try:
        element = formulas.mathml(latex, display=display)
    except formulas.FormulaError as error:
        log.warning("%s; it is shown as source", error)
        return f'<code class="untranslated">{html.escape(latex, quote=False)}</code>'
    if display or len(latex) > LONG:
        return f'<span class="formula{"" if display else " inline"}" tabindex="0">{element}</span>'
    return element


class _Unparsed(TemplateExporter):
    """Keeps the text of a page to itself: `HTMLExporter`, which comes after it, would parse and write it once more."""

    text = ""

    def from_notebook_node(self, nb: nbformat.NotebookNode, resources: Any = None, **options: Any) -> Any:
        self.text, resources = super().from_notebook_node(nb, resources, **options)
        return "", resources


class _Exporter(HTMLExporter, _Unparsed):
    """nbconvert's HTML export with this package's template."""

    def __init__(self) -> None:
        options = Config()
        options.ExtractOutputPreprocessor.enabled = True
        options.CoalesceStreamsPreprocessor.enabled = True  # what one cell prints is one block, however it arrived
        options.TemplateExporter.exclude_input_prompt = True
        options.TemplateExporter.exclude_output_prompt = True
        super().__init__(config=options, template_name="sesn", extra_template_basedirs=[str(TEMPLATES)])

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        return formulas.markdown(source, _formula)

    def default_filters(self) -> Any:
        yield from super().default_filters()
        yield ("latex2html", lambda source: _formula(source.strip().strip("$"), True))


def render(site: Site) -> dict[str, bytes]:
    """All files of the site, path relative to its root -> content.

    Links to files beside the notebooks are kept by copying the files; a link that leads nowhere loses its target, with
    a warning.
    """
    for page, before, after in zip(site.pages, [None, *site.pages[:-1]], [*site.pages[1:], None]):
        page.previous, page.next = before, after
        page.title, page.promise = _headline(page)
    files: dict[str, bytes] = {}
    exporter = _Exporter()
    for page in site.extra:
        page.title, page.promise = _headline(page)
    documents = {f"{page.name}.html": _page(exporter, site, page, files) for page in [*site.pages, *site.extra]}
    front = exporter.environment.get_template("front.html.j2").render(site=site)
    documents["index.html"] = finish(BeautifulSoup(front, "html.parser"))
    style = formulas.font_face(formulas.letters(documents.values()))
    style += (TEMPLATES / "style.css").read_text(encoding="utf-8")
    files["style.css"] = (style + HtmlFormatter(style="default").get_style_defs(".highlight")).encode()
    files.update({name: text.encode() for name, text in documents.items()})
    return files


def _headline(page: Page) -> tuple[str, str]:
    """The first heading as text, and the paragraph after it as HTML."""
    for cell in page.notebook.cells:
        if cell.cell_type == "markdown":
            soup = BeautifulSoup(formulas.markdown(cell.source, _formula), "html.parser")
            heading, paragraph = soup.find("h1"), soup.find("p")
            if heading:
                for anchor in heading.select(".anchor-link"):
                    anchor.decompose()
                title = re.sub(r"^\d+\s*[.:·]?\s+", "", heading.get_text().strip())
                for mark in paragraph.select("a, strong, em") if paragraph else ():
                    mark.unwrap()
                return title, paragraph.decode_contents() if paragraph else ""
    return page.name, ""


def _page(exporter: _Exporter, site: Site, page: Page, files: dict[str, bytes]) -> str:
    notebook = nbformat.from_dict(_without_widgets(page.notebook))
    extras = pictures.collect(notebook, page.name)
    resources: dict[str, Any] = {"unique_key": page.name, "output_files_dir": "figures", "site": site, "page": page}
    resources["metadata"] = {"name": page.name}
    _, made = exporter.from_notebook_node(notebook, resources=resources)
    files.update({name.replace("\\", "/"): content for name, content in dict(made["outputs"] or {}).items()})
    soup = BeautifulSoup(exporter.text, "html.parser")
    pictures.place(soup, extras, files)
    _link(soup, page, {other.name for other in [*site.pages, *site.extra]}, files)
    folding.fold(soup, folding.tagged(notebook))
    _contents(soup)
    return finish(soup)


def _without_widgets(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """A copy without what only a live kernel could draw, and without papermill's notes on errors: the page has one."""
    cells = []
    for cell in notebook.cells:
        if "papermill-error-cell-tag" in cell.metadata.get("tags", []):
            continue
        outputs = [o for o in cell.get("outputs", []) if not any("widget" in kind for kind in o.get("data", {}))]
        cells.append({**cell, "outputs": outputs} if cell.cell_type == "code" else cell)
    metadata = {key: value for key, value in notebook.metadata.items() if key != "widgets"}
    return {**notebook, "cells": cells, "metadata": metadata}


def _link(soup: BeautifulSoup, page: Page, names: set[str], files: dict[str, bytes]) -> None:
    """Point links and pictures at pages and copied files."""
    missing = set()
    for element in inside(soup, "a", "img"):
        attribute = "href" if element.name == "a" else "src"
        if attribute not in element.attrs:
            continue
        target = urlsplit(str(element[attribute]))
        if _REMOTE.match(str(element[attribute])) or not target.path or target.path in files:
            continue
        path = Path(unquote(target.path))
        fragment = f"#{target.fragment}" if target.fragment else ""
        if path.suffix in (".ipynb", ".md") and path.stem in names:
            element[attribute] = f"{path.stem}.html{fragment}"
        elif path.suffix == ".html" and (path.stem in names or path.name == "index.html"):
            continue
        elif (page.folder / path).is_file():
            name = f"files/{path.name}"
            files[name] = (page.folder / path).read_bytes()
            element[attribute] = name
            narrow = path.with_stem(path.stem + SUFFIX)
            if element.name == "img" and (page.folder / narrow).is_file():
                files[f"files/{narrow.name}"] = (page.folder / narrow).read_bytes()
                pictures.also_narrow(soup, element, f"files/{narrow.name}")
        else:
            missing.add(str(path))
            element.name = "span"
            del element[attribute]
    if missing:
        log.warning("%s links to what is not there: %s", page.name, ", ".join(sorted(missing)))


def _contents(soup: BeautifulSoup) -> None:
    """The list of a page's sections, below its first cell and beside the text; sections get ids that occur once."""
    seen: dict[str, int] = {}
    entries = []
    for heading in inside(soup, "h2", "h3"):
        anchor = heading.select_one(".anchor-link")
        title = BeautifulSoup(heading.decode_contents(), "html.parser")
        for mark in title.select(".anchor-link"):
            mark.decompose()
        name = str(heading.get("id") or "section")  # Jupyter's, so that links into the notebook work here too
        seen[name] = seen.get(name, 0) + 1
        heading["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
        target = f"#{quote(str(heading['id']))}"
        if anchor:
            anchor.attrs.update({"href": target, "aria-label": f"Link to {title.get_text().strip()}"})
        link = f'<a href="{target}">{title.decode_contents().strip()}</a>'
        entries.append(f'<li class="level{heading.name[1]}">{link}</li>')
    for heading in inside(soup, "h1", "h4"):
        for anchor in heading.select(".anchor-link"):
            anchor.decompose()
    place, side, first = soup.find(id="contents"), soup.find("aside", class_="side"), soup.find("h1")
    listing = f"<ol>{''.join(entries)}</ol>"
    if place is not None and entries:
        inline = f'<details class="contents"><summary>On this page</summary><nav aria-label="Contents">{listing}</nav>'
        block = first.find_parent(class_="cell") if first else None
        (block.insert_after if isinstance(block, Tag) else place.insert_after)(
            BeautifulSoup(inline + "</details>", "html.parser")
        )
    if side is not None and entries:
        beside = f'<nav class="sections" aria-label="Sections"><p>On this page</p>{listing}</nav>'
        side.append(BeautifulSoup(beside, "html.parser"))
    if place is not None:
        place.decompose()
