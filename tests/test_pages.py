"""What makes a page fit its reader: folding, pieces of wide figures, tables, widths of formulas, reading time."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import PIL.Image
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sesn_lib.report import folding, formulas, pages, pictures, reading
from sesn_lib.report.finish import finish
from sesn_lib.report.formulas import mathml
from sesn_lib.report.widths import ems


def png(columns: np.ndarray, height: int = 40) -> bytes:
    """A picture whose columns are black (0) or white (1)."""
    image = PIL.Image.fromarray(np.tile(np.uint8(255 * columns), (height, 1)))
    target = io.BytesIO()
    image.save(target, format="png")
    return target.getvalue()


def stripes(*widths: int) -> np.ndarray:
    """Black panels of the given widths, 20 columns of white between them."""
    parts = [part for width in widths for part in (np.zeros(width), np.ones(20))]
    return np.concatenate(parts[:-1])


def sizes(parts: list[bytes]) -> list[int]:
    return [PIL.Image.open(io.BytesIO(part)).width for part in parts]


def page_of(*cells: Any) -> tuple[BeautifulSoup, dict[str, bytes]]:
    """The page of a notebook, and all files of its site."""
    site = pages.Site([pages.Page("01_a", new_notebook(cells=list(cells)), None)], "T", "T", "", "quick", "")  # type: ignore[arg-type]
    files = pages.render(site)
    return BeautifulSoup(files["01_a.html"], "html.parser"), files


def code(source: str, *tags: str, output: Any = None, **metadata: Any) -> Any:
    cell = new_code_cell(source, metadata={"tags": list(tags), **metadata})
    cell.outputs = [] if output is None else [output]
    return cell


# Code


def test_the_source_of_a_cell_is_text_on_its_page() -> None:
    source = "a = b & c  # <script>alert(1)</script> &lt; '\"'\nprint('<img src=x>')"
    soup, files = page_of(new_markdown_cell("# 1 · A\n\nIt is."), code(source))
    (block,) = soup.select("main .input_area pre")
    assert block.get_text().strip() == source
    assert soup.select("script, main img") == []
    assert "# &lt;script&gt;alert(1)&lt;/script&gt; &amp;lt;" in files["01_a.html"].decode()
    assert {word.get_text() for word in block.select("span.o")} == {"=", "&"}, "in colours"


def test_scripts_and_notes_of_others_stay_out_of_a_page() -> None:
    """What an output or a text would run, and papermill's own word on an error, which the page says at its head."""
    shown = new_output("display_data", data={"text/html": "<p>kept</p><script>alert(1)</script>"})
    note = new_markdown_cell("An Exception was encountered", metadata={"tags": ["papermill-error-cell-tag"]})
    soup, _ = page_of(
        new_markdown_cell("# 1 · A\n\nIt is.\n\n<script>alert(2)</script>"), note, code("x", output=shown)
    )
    assert soup.select("script") == []
    assert "kept" in soup.main.get_text()
    assert "Exception" not in soup.get_text()


# Folding


def test_plumbing_is_folded_and_the_rest_is_not() -> None:
    soup, _ = page_of(
        new_markdown_cell("# 1 · A\n\nIt is."),
        code("seed = 0", "parameters"),
        code("import os", "hide-cell"),
        new_markdown_cell("Words."),
        code("shown = 1"),
        code("plot()", "hide-input", output=new_output("stream", name="stdout", text="drawn\n")),
    )
    lines = [summary.get_text() for summary in soup.select("main details.fold > summary")]
    assert lines == [folding.SETUP, folding.CODE]
    together = soup.select_one("main details.fold").get_text()
    assert "seed" in together
    assert "import" in together
    assert "shown" not in " ".join(d.get_text() for d in soup.select("main details"))
    assert "drawn" not in " ".join(d.get_text() for d in soup.select("main details"))
    assert soup.select("main details[open]") == []


def test_set_up_cells_are_folded_by_their_name() -> None:
    for name, count in (("provenance", 1), ("install", 1), ("measured", 0)):
        cell = code("versions()")
        cell["id"] = name
        soup, _ = page_of(new_markdown_cell("# 1 · A\n\nIt is."), new_markdown_cell("Words."), cell)
        assert len(soup.select("main details.fold")) == count
        assert reading.measure(new_notebook(cells=[cell])).code == 1 - count


def test_a_heading_begins_a_fold_and_names_it() -> None:
    soup, _ = page_of(
        new_markdown_cell("# 1 · A\n\nIt is."),
        new_markdown_cell("## First study\n\nWords.", metadata={"tags": ["hide-cell"]}),
        code("a = 1", "hide-cell"),
        new_markdown_cell("### Second study", metadata={"tags": ["hide-cell"]}),
        code("b = 1", "hide-cell"),
        code("c = 1", "hide-cell", fold="Solution of exercise 1"),
    )
    folds = soup.select("main details.fold")
    names = [fold.summary.get_text() for fold in folds]
    assert names == ["First study", "Second study", "Solution of exercise 1"]
    assert [fold.select_one(".code_cell").get_text().strip()[0] for fold in folds] == ["a", "b", "c"]
    assert soup.select_one(".contents a[href='#First-study']")


def test_what_is_seen_parts_two_folds_and_small_headings_name_one() -> None:
    soup, _ = page_of(
        new_markdown_cell("# 1 · A\n\nIt is."),
        code("a = 1", "hide-cell"),
        new_markdown_cell("Words between."),
        code("b = 1", "hide-cell"),
        new_markdown_cell("#### Third study", metadata={"tags": ["hide-cell"]}),
    )
    folds = soup.select("main details.fold")
    assert [fold.summary.get_text() for fold in folds] == ["Details", "Details", "Third study"]


# Figures on a phone


def test_a_row_of_panels_is_cut_in_its_gutters() -> None:
    parts = pictures.pieces(png(stripes(300, 300, 300)), 940, most=400)
    assert sizes(parts) == [310, 320, 310]
    for part in parts:
        edge = np.asarray(PIL.Image.open(io.BytesIO(part)).convert("L"))
        assert min(edge[:, 0].min(), edge[:, -1].min()) < 5 or edge.shape[1] in (310, 320)
    assert sizes(pictures.pieces(png(stripes(300, 300, 300)), 940, most=700)) == [630, 310]


def test_white_margins_are_no_gutters() -> None:
    """Nothing is cut off that has no panel in it, and a panel keeps its margin."""
    columns = np.concatenate([np.ones(400), stripes(300, 300), np.ones(400)])
    assert pictures.pieces(png(columns), len(columns), most=620) == [], "each half is 720 pixels wide"
    two = pictures.pieces(png(columns), len(columns), most=740)
    assert len(two) == 2
    for part in two:
        assert np.asarray(PIL.Image.open(io.BytesIO(part)).convert("L")).min() == 0, "a panel in each"


def test_the_space_between_letters_is_no_gutter() -> None:
    panels = np.ones(940)
    panels[20:920] = 0
    panels[300:302] = panels[600:602] = 1  # less than 0.3 % of the width
    assert pictures.pieces(png(panels), 940, most=400) == []


@pytest.mark.parametrize("widths", [(900,), (300, 600), (100,), (60, 380, 300)])
def test_what_has_no_gutter_in_reach_is_left_whole(widths: tuple[int, ...]) -> None:
    columns = stripes(*widths)
    assert pictures.pieces(png(columns), len(columns), most=400) == []


def shown(width: int, **notes: Any) -> Any:
    content = base64.b64encode(png(stripes(300, 300, 300))).decode()
    note = {"alt": "three black panels beside each other", "width": width, **notes}
    return new_output("display_data", {"image/png": content}, metadata={"image/png": note})


def test_a_page_has_a_form_of_a_wide_figure_for_a_phone() -> None:
    soup, files = page_of(new_markdown_cell("# 1 · A\n\nIt is."), code("plot()", output=shown(940)))
    wide, narrow = soup.select("main img.on-desk"), soup.select("main .on-phone img")
    assert len(wide) == 1
    assert [image["src"] in files for image in narrow] == [True] * 3
    assert all(int(image["width"]) <= pictures.PHONE for image in narrow)
    assert [int(image["width"]) for image in narrow] == [310, 320, 310]
    alt = "three black panels beside each other"
    assert wide[0]["alt"] == alt
    assert [image["alt"] for image in narrow] == [alt, *(f"Part {n} of 3 of the figure: {alt}" for n in (2, 3))]
    twice, _ = page_of(new_markdown_cell("# 1 · A\n\nIt is."), code("plot()", output=shown(470)))
    assert [int(image["width"]) for image in twice.select("main .on-phone img")] == [315, 155], "half as large"
    assert soup.select("main .figure") == []
    small, _ = page_of(new_markdown_cell("# 1 · A\n\nIt is."), code("plot()", output=shown(300)))
    assert small.select("main .on-phone") == []


def test_a_figure_that_nobody_described_says_so() -> None:
    figure = shown(300)
    del figure.metadata["image/png"]["alt"]
    soup, _ = page_of(new_markdown_cell("# 1 · A\n\nIt is."), code("plot()", output=figure))
    assert [image["alt"] for image in soup.select("main img")] == ["No description has been provided for this image"]


def test_a_drawing_made_for_the_phone_is_preferred() -> None:
    drawing = png(stripes(60))
    soup, files = page_of(
        new_markdown_cell("# 1 · A\n\nIt is."),
        code("plot()", output=shown(940, narrow=base64.b64encode(drawing).decode())),
    )
    (narrow,) = soup.select("main .on-phone img")
    assert files[narrow["src"]] == drawing


def test_a_loop_has_a_still_picture_and_can_be_stopped() -> None:
    soup, files = page_of(
        new_markdown_cell("# 1 · A\n\nIt is."),
        code("plot()", output=shown(940, loop=base64.b64encode(b"GIF89a").decode())),
    )
    moving, still = soup.select_one(".moving details[open] img"), soup.select_one(".moving > img.still")
    assert files[moving["src"]] == b"GIF89a"
    assert moving["alt"] == still["alt"] == "three black panels beside each other"
    assert soup.select_one(".moving summary")


# Tables and formulas


def test_the_column_that_heads_the_rows_stays_and_brackets_are_not_broken() -> None:
    table = (
        "<table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><th>x</th><td>0.5 [0.1, 0.9] and (no)</td></tr>"
    )
    soup = BeautifulSoup(f"<main>{table}</tbody></table></main>", "html.parser")
    finish(soup)
    assert [cell.get_text() for cell in soup.select("tbody .stays")] == ["x"]
    assert [part.get_text() for part in soup.select(".whole")] == ["[0.1, 0.9]"]
    assert soup.select("td")[-1].get_text() == "0.5 [0.1, 0.9] and (no)"


def test_a_sign_or_a_mark_does_not_begin_a_line() -> None:
    inline = mathml("x")
    text = f"<p>{inline}, a fifth is 20 % of {inline} {inline}</p><ol><li>({inline}).</li></ol>"
    soup = BeautifulSoup(f"<main>{text}</main>", "html.parser")
    before = soup.get_text()
    finish(soup)
    x = BeautifulSoup(inline, "html.parser").get_text()
    assert [part.get_text() for part in soup.select(".whole")] == [f"{x},", "20 %", f"{x})."]
    assert soup.get_text() == before


def test_what_a_cell_prints_is_one_block() -> None:
    cell = code("print(1)")
    cell.outputs = [new_output("stream", text=text) for text in ("one\n", "two\n")]
    page, _ = page_of(new_markdown_cell("# A"), cell)
    assert [pre.get_text().split() for pre in page.select(".output pre")] == [["one", "two"]]


WIDE_TABLE = """<main><table><thead>
<tr><th></th><th></th><th colspan="2">error, %</th><th>verdict</th></tr>
<tr><th>claim</th><th>regime</th><th>28</th><th>56</th><th></th></tr></thead><tbody>
<tr><th rowspan="2">SESN beats the CNN</th>
<th>28</th><td>0.5 [0.1, 0.9]</td><td>0.5 [0.2, 0.8]</td><td>reproduced, {}</td></tr>
<tr><th>56</th><td>0.4</td><td>0.3</td><td>no</td></tr></tbody></table></main>"""


def test_rows_of_a_table_too_wide_for_a_phone_are_cards() -> None:
    soup = BeautifulSoup(WIDE_TABLE.format("as the paper says"), "html.parser")
    finish(soup)
    assert soup.select_one(".scroll")["class"] == "scroll cards"
    first, second = soup.select("tbody tr")
    assert [cell.get("data-head") for cell in first.select("td")] == ["error, %, 28", "error, %, 56", "verdict"]
    assert [cell.get("data-head") for cell in second.select("td")] == ["error, %, 28", "error, %, 56", "verdict"]
    assert [cell.get_text() for cell in second.select("th")] == ["SESN beats the CNN", "56"]
    assert "again" in second.select("th")[0]["class"]
    assert "long" in first.select("td")[2]["class"]
    assert "long" not in second.select("td")[2].get("class", [])
    assert {part["role"] for part in soup.select("tbody th")} == {"rowheader"}


def test_a_table_that_fits_a_phone_stays_one() -> None:
    soup = BeautifulSoup(WIDE_TABLE.replace("SESN beats the CNN", "SESN").replace(" [0.1, 0.9]", "").replace(
        " [0.2, 0.8]", "").format("x"), "html.parser")  # fmt: skip
    finish(soup)
    assert soup.select(".cards, [data-head]") == []


def test_heads_say_what_they_head_and_scripts_go() -> None:
    table = "<table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><th>x</th><td>1</td></tr></tbody></table>"
    soup = BeautifulSoup(f"<script>1</script><main>{table}<script src='x.js'></script></main>", "html.parser")
    page = BeautifulSoup(finish(soup), "html.parser")
    assert page.select("script") == []
    assert [(head.get_text(), head.get("scope")) for head in page.select("thead th")] == [("a", "col")]


@pytest.mark.parametrize(("command", "letter"), [("bb", "𝔼"), ("bf", "𝐄"), ("cal", "ℰ"), ("frak", "𝔈"), ("tt", "𝙴")])
def test_letters_of_another_style_are_letters_of_their_own(command: str, letter: str) -> None:
    drawn = mathml(rf"\math{command}{{E}}")
    assert BeautifulSoup(drawn, "html.parser").get_text() == letter
    assert BeautifulSoup(mathml(r"\mathbb{RZ1}"), "html.parser").get_text() == "ℝℤ𝟙", "of several, one by one"


def test_the_letters_of_formulas_are_what_is_drawn() -> None:
    page = "<p>no</p><math><mi>a</mi><mo>&lt;</mo><msqrt><mn>2</mn></msqrt></math>"
    assert formulas.letters([page]) >= {"a", "<", "2", "√", "\U0001d44e"}, "and the slanted form of a"
    assert formulas.letters([page]).isdisjoint("no;&lt")


def test_printed_prose_may_be_broken_and_columns_may_not() -> None:
    body = "<div class='output'><pre>{}</pre></div>"
    texts = ["some words in a row", "a    1\nb    2", "a    1 " + 120 * "x"]
    soup = BeautifulSoup(f"<main>{''.join(map(body.format, texts))}</main>", "html.parser")
    finish(soup)
    assert [pre.get("class", "") for pre in soup.select("pre")] == ["prose", "", "prose"]


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("x", "x + y"),
        (r"\frac{a}{b}", "a + b"),
        ("x_i", "x i i"),
        ("x_i", "x i"),
        (r"\frac{abc}{def}", "abcd"),
        (r"\frac{a}{b}", "aa"),
        (r"\begin{aligned}a\\b+c\end{aligned}", "a + b + c"),
    ],
)
def test_widths_of_formulas_are_in_order(shorter: str, longer: str) -> None:
    def width(latex: str) -> float:
        return ems(BeautifulSoup(formulas.mathml(latex, display=True), "html.parser").math)

    assert 0 < width(shorter) < width(longer)


# Reading


def test_reading_counts_what_is_seen() -> None:
    cells = [
        new_markdown_cell("One two $x+y$ four.\n\n$$ z $$\n\n<details>hidden words</details>"),
        code("a = 1", output=new_output("stream", name="stdout", text="out 2\n")),
        code("b c d", "hide-input", output=shown(300)),
        code("e f g", "hide-cell", output=shown(300)),
        code("seed = 0", "parameters"),
    ]
    seen = reading.measure(nbformat.v4.new_notebook(cells=cells))
    assert seen == reading.Reading(words=6, code=2, formulas=1, figures=1)
    assert seen.minutes == pytest.approx(8 / 200 + 1)
    whole = reading.measure(nbformat.v4.new_notebook(cells=cells), whole=True)
    assert whole == reading.Reading(words=8, code=10, formulas=1, figures=2)
    short = pages.Page("00_a", new_notebook(cells=[new_markdown_cell("# A")]), Path())
    assert short.minutes == 1, "nobody reads it in none"


def test_pages_lead_to_their_neighbours() -> None:
    chapters = [pages.Page(name, new_notebook(cells=[new_markdown_cell(f"# {name}")]), Path()) for name in "abc"]
    files = pages.render(pages.Site(chapters, "T", "T", "", "quick", ""))
    for name, before, after in (("a", None, "b.html"), ("b", "a.html", "c.html"), ("c", "b.html", None)):
        soup = BeautifulSoup(files[f"{name}.html"], "html.parser")
        found = [soup.select_one(f'a[rel="{way}"]') for way in ("prev", "next")]
        assert [link and link["href"] for link in found] == [before, after]


def test_sections_of_one_name_are_told_apart_by_a_number() -> None:
    soup, _ = page_of(new_markdown_cell("# 1 · A\n\nIt is."), new_markdown_cell("## Once\n\n## Once\n\n## Once"))
    assert [heading["id"] for heading in soup.select("main h2")] == ["Once", "Once-2", "Once-3"]
