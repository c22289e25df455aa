"""The printed poster: one A4 page of real text with the notebook's numbers; what does not fit is refused."""

from __future__ import annotations

import builtins
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from rich.console import Console
from test_plotting_results import CELLS, synthetic

from sesn_lib import report
from sesn_lib.cli import commands as cli
from sesn_lib.report import poster
from sesn_lib.store.records import Store

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "00_poster.ipynb"
A4 = (595.28, 841.89)  # points

try:
    poster.printer()
    MISSING = ""
except (ModuleNotFoundError, poster.PosterError) as error:
    MISSING = str(error)
needs_printer = pytest.mark.skipif(bool(MISSING), reason=MISSING or "WeasyPrint is there")


def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def plain(text: str) -> str:
    """Without spaces and soft hyphens, which differ between a page and its source."""
    return re.sub(r"[\s\u00ad]", "", text)


def pages(content: bytes) -> list[Any]:
    pypdf = pytest.importorskip("pypdf")
    return list(pypdf.PdfReader(io.BytesIO(content)).pages)


def fonts(page: Any) -> dict[str, bool]:
    """Font -> whether the file brings it along."""
    found = {}
    for font in page["/Resources"]["/Font"].values():
        font = font.get_object()
        descriptor = font.get("/DescendantFonts", [font])[0].get_object()["/FontDescriptor"]
        found[str(font["/BaseFont"])] = any(key.startswith("/FontFile") for key in descriptor)
    return found


def notebook(*cells: Any) -> Any:
    first = nbformat.v4.new_markdown_cell(
        "# 0 · A title\n\n*A promise.*\n\n| | |\n|:--|:--|\n| **Paper** | Ada, 1843 |"
    )
    return nbformat.v4.new_notebook(cells=[first, *cells])


def shown(data: dict[str, str]) -> Any:
    output = nbformat.v4.new_output("display_data", data)
    return nbformat.v4.new_code_cell("secret = 1", outputs=[output])


# The real one


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    """(the poster of a full set of synthetic records, the notebook that it was printed from)."""
    if MISSING:
        pytest.skip(MISSING)
    folder, draws = tmp_path_factory.mktemp("poster"), np.random.default_rng(0)
    for cell in CELLS["all"]:
        Store(folder / "records").write(synthetic(cell, draws))
    stream = io.StringIO()
    code = report.build_poster(
        folder / "out",
        parameters={"records_folder": str(folder / "records")},
        console=Console(file=stream, width=200),
    )
    assert code == 0, stream.getvalue()
    assert "poster.pdf" in stream.getvalue()
    executed = nbformat.read(folder / "out" / "notebooks" / "poster.ipynb", as_version=4)
    return (folder / "out" / "poster.pdf").read_bytes(), executed


@needs_printer
def test_one_page_of_a4_with_its_own_fonts(printed: tuple[bytes, Any]) -> None:
    (page,) = pages(printed[0])
    assert (float(page.mediabox.width), float(page.mediabox.height)) == pytest.approx(A4, abs=0.1)
    assert fonts(page)
    assert all(fonts(page).values())
    assert all("Poster" in name for name in fonts(page)), "a font of this machine: other machines lay it out otherwise"


@needs_printer
def test_what_the_records_say_fits_on_a_page() -> None:
    """Other records make other sentences: those of today are longer than the synthetic ones."""
    (page,) = pages(poster.pdf(poster.layout(stored(), report.TITLE, "today")))
    assert plain("The answer so far") in plain(page.extract_text())


@needs_printer
def test_the_poster_says_what_the_notebook_says(printed: tuple[bytes, Any]) -> None:
    """All text is there to be selected: title, headings, every cell of every table, every line that was printed."""
    content, executed = printed
    found = plain(pages(content)[0].extract_text())
    assert plain(report.TITLE) in found
    headings = [line[3:] for cell in executed.cells for line in cell.source.splitlines() if line.startswith("## ")]
    assert len(headings) >= 7
    assert [heading for heading in headings if plain(heading) not in found] == []
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) == 2
    cells = [cell.get_text() for table in tables for cell in BeautifulSoup(table, "html.parser").select("td, th")]
    assert sum("±" in cell for cell in cells) >= 30
    assert [cell for cell in cells if plain(cell) not in found] == []
    printed_cells = [cell for cell in executed.cells if "poster-skip" not in cell.metadata.get("tags", [])]
    lines = [line for cell in printed_cells for o in cell.get("outputs", []) for line in o.get("text", "").splitlines()]
    assert len(lines) >= 5
    assert plain("From all 72 runs of SESN and CNN in the table (28, 56:") in found
    assert [line for line in lines if plain(line) not in found] == []
    assert "import" not in found
    assert "style.show" not in found
    assert plain("2.99 ± 0.99 (6)") not in found  # negative control


@needs_printer
def test_it_is_read_in_order_and_cites_the_paper(printed: tuple[bytes, Any]) -> None:
    text = pages(printed[0])[0].extract_text()
    order = ["The question", "Why the earlier", "The answer", "The idea", "The verdict", "The table"]
    order.append("comes from")
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    for words in ("Sosnovik, Szmaja, Smeulders", "1910.11093", "Lukacs", "from commit", "sesn report --poster"):
        assert plain(words) in plain(text)


@needs_printer
def test_figures_are_drawings(printed: tuple[bytes, Any]) -> None:
    _, executed = printed
    kinds = {kind for cell in executed.cells for o in cell.get("outputs", []) for kind in o.get("data", {})}
    assert "image/svg+xml" in kinds
    assert "image/png" not in kinds


# What the paper's edge does


def ink_outside(content: bytes, folder: Path) -> float:
    """Share of dark pixels in the margins beside the columns."""
    tool = shutil.which("pdftoppm")
    if tool is None:
        pytest.skip("pdftoppm (poppler-utils) is not installed: the page cannot be looked at")
    (folder / "page.pdf").write_bytes(content)
    subprocess.run([tool, "-gray", "-r", "72", folder / "page.pdf", folder / "page"], check=True, timeout=120)
    from PIL import Image

    image = np.asarray(Image.open(next(folder.glob("page*.pgm"))), dtype=float)
    body = image[round(0.09 * len(image)) : round(0.8 * len(image))]
    millimetre = image.shape[1] / 210
    strips = [(2, 9), (201, 208)]
    return max(float((body[:, round(a * millimetre) : round(b * millimetre)] < 200).mean()) for a, b in strips)


@needs_printer
def test_nothing_reaches_into_the_margins(printed: tuple[bytes, Any], tmp_path: Path) -> None:
    assert ink_outside(printed[0], tmp_path) == 0


@needs_printer
def test_the_check_of_the_margins_notices(tmp_path: Path) -> None:
    page = poster.layout(notebook(nbformat.v4.new_markdown_cell("## A\n\nText")), "T", "now")
    assert ink_outside(poster.pdf(page), tmp_path) == 0
    wide = page.replace("<p>Text</p>", '<p style="width: 205mm; background: black">Text</p>')
    assert ink_outside(poster.pdf(wide), tmp_path) > 0.01


@needs_printer
@pytest.mark.parametrize("kind", ["word", "table", "code"])
def test_what_is_too_wide_is_broken_not_cut(kind: str, tmp_path: Path) -> None:
    word = "extraordinarily" * 12
    cells = "".join(f'<td style="white-space: nowrap">some words {i}</td>' for i in range(12))
    cell = {
        "word": nbformat.v4.new_markdown_cell(f"## A\n\n{word}"),
        "table": nbformat.v4.new_markdown_cell("## A"),
        "code": nbformat.v4.new_markdown_cell(f"## A\n\n```sh\n{word}\n```"),
    }[kind]
    content = poster.pdf(
        poster.layout(notebook(cell, shown({"text/html": f"<table><tr>{cells}</tr></table>"})), "T", "now")
    )
    assert ink_outside(content, tmp_path) == 0
    text = plain(pages(content)[0].extract_text())
    assert kind == "table" or plain(word) in text
    assert plain("some words 11") in text


@needs_printer
@pytest.mark.parametrize("area", poster.AREAS)
def test_an_overlong_poster_is_refused_not_clipped(area: str) -> None:
    changed = stored()
    cell = nbformat.v4.new_markdown_cell("## More\n\n" + "Too much text for a single page. " * 250)
    cell.metadata["tags"] = [f"poster-{area}"]
    changed.cells.insert(1, cell)
    with pytest.raises(poster.PosterError, match=r"does not fit on one page, even in type of 7\.2 points"):
        poster.pdf(poster.layout(changed, "T", "now"))


@needs_printer
def test_whatever_is_printed_is_one_page() -> None:
    """From little text to too much in small steps, of which one has just begun a second page."""
    counts = []
    for words in range(700, 2101, 200):
        text = nbformat.v4.new_markdown_cell("## A\n\n" + "word " * words)
        page = poster.layout(notebook(text), "T", "now")
        try:
            counts.append(len(pages(poster.pdf(page))))
        except poster.PosterError:
            break
    else:
        pytest.fail("nothing was too much")
    assert counts
    assert set(counts) == {1}


def test_titles_are_text_not_markup() -> None:
    text = nbformat.v4.new_markdown_cell("## A\n\nwords")
    page = poster.layout(notebook(text), "A <i>title</i> & more", "by <b>me</b>")
    assert "A &lt;i&gt;title&lt;/i&gt; &amp; more" in page
    assert "<i>title" not in page
    assert "<b>me" not in page


@needs_printer
def test_little_text_is_printed_large_and_much_small() -> None:
    def size(words: int) -> float:
        text = nbformat.v4.new_markdown_cell("## A\n\n" + "word " * words)
        (page,) = pages(poster.pdf(poster.layout(notebook(text), "T", "now")))
        sizes: list[float] = []
        page.extract_text(visitor_text=lambda text, cm, tm, font, size: sizes.append(size) if "word" in text else None)
        return max(sizes)

    assert size(20) > size(600) > 0


# From the notebook to the page


def test_tags_say_what_goes_where() -> None:
    def text(source: str, *tags: str) -> Any:
        return nbformat.v4.new_markdown_cell(source, metadata={"tags": list(tags)})

    said = nbformat.v4.new_output("stream", name="stdout", text="1 < 2 <b>&amp;</b>\n")
    code = nbformat.v4.new_code_cell("secret = 1", outputs=[said], metadata={"tags": ["poster-key"]})
    cells = [text("## A\n\n[notes](a.ipynb), [web](https://example.org), $w$, $x_i^2$"), code]
    cells += [text("## B", "poster-right"), text("## C\n\nmore"), text("## D", "poster-skip")]
    cells += [text("## E", "parameters"), text("## F", "injected-parameters")]
    head, found = poster.sections(notebook(*cells))
    assert (head["promise"], head["Paper"]) == ("<em>A promise.</em>", "Ada, 1843")
    assert [(s.title, s.area) for s in found] == [("A", "top-left"), ("B", "right"), ("C", "right")]
    first = BeautifulSoup("".join(found[0].blocks), "html.parser")
    assert [a["href"] for a in first.select("a")] == ["https://example.org"]
    assert first.select_one("i").get_text() == "w"
    assert first.select_one("img")["alt"] == "x_i^2"
    assert first.select_one(".key .said p").get_text() == "1 < 2 <b>&amp;</b>"
    assert first.select("b, i i") == []
    assert "secret" not in first.get_text()
    with pytest.raises(poster.PosterError, match="begins with a heading"):
        poster.sections(notebook(text("no heading")))


def test_a_failing_notebook_gives_no_poster(tmp_path: Path) -> None:
    if MISSING:
        pytest.skip(MISSING)
    cells = [
        nbformat.v4.new_code_cell("vector = False", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("1/0"),
    ]
    made = notebook(*cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, tmp_path / "00_a.ipynb")
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    assert report.build_poster(tmp_path / "out", notebooks=tmp_path, console=console) == 1
    assert "ZeroDivisionError" in stream.getvalue()
    assert not (tmp_path / "out" / "poster.pdf").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'weasyprint'", name="weasyprint"), "pip install weasyprint"),
        (OSError("cannot load library 'libpango-1.0-0'"), "apt install libpango-1.0-0"),
    ],
)
def test_a_missing_printer_is_one_line_that_says_what_to_install(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "weasyprint":
            raise error
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", "--poster", "--output", str(tmp_path / "out")])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
