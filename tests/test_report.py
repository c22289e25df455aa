"""The report: execution that survives a failing notebook, and a site that needs nobody else."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from fontTools.ttLib import TTFont
from PIL import Image
from rich.console import Console

from sesn_lib import provenance, report
from sesn_lib.experiments.mnist_scale import PROTOCOL, TEST_IMAGES
from sesn_lib.report import execute, formulas, site
from sesn_lib.report.finish import finish
from sesn_lib.runner import heartbeat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
Pages = dict[str, BeautifulSoup]


def parsed(folder: Path) -> Pages:
    """The pages of a folder by the names of their files. Many tests look at them: none may change one."""
    return {path.name: BeautifulSoup(path.read_text(), "html.parser") for path in folder.glob("*.html")}


@pytest.fixture(scope="module")
def pages(site: Path) -> Pages:
    return parsed(site)


def write_notebook(path: Path, *cells: str | tuple[str, str]) -> None:
    """A notebook from sources; text that starts with "# " or "## " is Markdown, (source, tag) gives a cell a tag."""
    made = []
    for index, cell in enumerate(cells):
        source, tag = cell if isinstance(cell, tuple) else (cell, "")
        new = nbformat.v4.new_markdown_cell if source.startswith("#") else nbformat.v4.new_code_cell
        made.append(new(source, id=f"cell-{index}", metadata={"tags": [tag]} if tag else {}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A report of three small notebooks, the second of which fails: (folder, exit code, what was printed)."""
    source = tmp_path_factory.mktemp("a folder ü") / "notebooks"
    source.mkdir()
    write_notebook(
        source / "00_first.ipynb",
        "# The *first*\n\nA promise with $s^2$.\n\n[next](01_second.ipynb#A-part) [data](results/a.yml) [gone](no.txt)",
        ("seed = 0\nresults = 'elsewhere'", "parameters"),
        "## Part\n\n$$\\begin{aligned} a &= b \\\\ &= \\lVert c\\rVert\\end{aligned}$$",
        "## Part\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "import sesn_lib\nprint(results)",
    )
    write_notebook(
        source / "01_second.ipynb",
        "# The second\n\nIt fails.\n\n### A part",
        "print('before')",
        "1 / 0",
        "print('never')",
    )
    write_notebook(source / "02_third.ipynb", "# The third\n\nIt runs.", "print('still here')")
    (source / "results").mkdir()
    (source / "results" / "a.yml").write_text("a: 1\n")
    folder, stream, before = source.parent / "out put", io.StringIO(), dict(os.environ)
    code = report.build(folder, "quick", notebooks=source, console=Console(file=stream, width=200))
    assert os.environ.get("PYTHONPATH") == before.get("PYTHONPATH"), "for kernels alone it is another"
    return folder, code, stream.getvalue()


# Execution


def test_a_failing_notebook_is_named_and_the_others_run(built: tuple[Path, int, str]) -> None:
    folder, code, printed = built
    assert code == 1
    assert "01_second: failed, cell 2: ZeroDivisionError: division by zero, " in printed
    assert "did not run to their end: 01_second" in printed
    assert "2 of 3 notebooks ran to their end" in printed
    third = nbformat.read(folder / "notebooks" / "02_third.ipynb", as_version=4)
    assert third.cells[1].outputs[0].text == "still here\n"


def test_the_page_of_a_failing_notebook_says_so(built: tuple[Path, int, str]) -> None:
    folder, _, _ = built
    page = BeautifulSoup((folder / "01_second.html").read_text(), "html.parser")
    assert "ZeroDivisionError: division by zero" in page.select_one(".stopped").get_text()
    assert "before" in page.get_text()
    front = BeautifulSoup((folder / "index.html").read_text(), "html.parser")
    assert "01_second" in front.select_one(".stopped").get_text()
    assert BeautifulSoup((folder / "02_third.html").read_text(), "html.parser").select_one(".stopped") is None


def test_results_go_into_the_report_and_no_path_of_this_machine_is_kept(built: tuple[Path, int, str]) -> None:
    folder, _, _ = built
    first = nbformat.read(folder / "notebooks" / "00_first.ipynb", as_version=4)
    printed = first.cells[-1].outputs[0].text.strip()
    assert not Path(printed).is_absolute()
    assert printed.endswith("out put")
    assert str(folder.parent) not in (folder / "notebooks" / "00_first.ipynb").read_text()


def test_a_good_report_returns_zero_and_removes_what_it_left_before(built: tuple[Path, int, str]) -> None:
    folder, _, _ = built
    source = folder.parent / "one"
    source.mkdir()
    write_notebook(source / "00_first.ipynb", "# Alone\n\nNo more.", "print(1)")
    target = folder.parent / "again"
    shutil.copytree(folder, target)
    (target / "mine").mkdir()
    (target / "mine" / "kept.txt").write_text("not ours")
    for name in (".00_first.part.ipynb", ".mine.ipynb"):
        (target / "notebooks" / name).touch()
    assert (target / "01_second.html").exists()
    assert report.build(target, notebooks=source, console=Console(file=io.StringIO())) == 0
    assert not (target / "01_second.html").exists()
    assert (target / "mine" / "kept.txt").read_text() == "not ours"
    assert [p.name for p in target.rglob("*") if p.name.endswith((".tmp", ".part.ipynb"))] == []
    assert (target / "notebooks" / ".mine.ipynb").exists()


def test_an_unknown_profile_and_a_folder_without_notebooks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'fast'; the profiles are quick, full"):
        report.build(tmp_path / "out", "fast")
    with pytest.raises(ValueError, match="no notebooks in"):
        report.build(tmp_path / "out", notebooks=tmp_path)


def test_only_a_cell_that_trains_by_the_protocol_may_take_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(tmp_path / "00_a.ipynb", "# A\n\nB.")
    given: list[int | None] = []

    def run(source: Path, *_: Any, timeout: int | None, **__: Any) -> execute.Outcome:
        given.append(timeout)
        return execute.Outcome(source.stem, None, 1.0, None)

    monkeypatch.setattr(execute, "run", run)
    for profile in ("quick", "full"):
        assert report.build(tmp_path / "out", profile, notebooks=tmp_path, console=Console(file=io.StringIO())) == 0
    assert given == [1800, None]


def test_an_output_folder_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        report.build(tmp_path / "file" / "report", notebooks=NOTEBOOKS)


def test_profiles_name_notebooks_and_parameters_that_exist() -> None:
    assert "png_chekcs" not in execute.parameter_names(NOTEBOOKS / "07_datasets.ipynb"), "the control: a slip is seen"
    for table in report.PROFILES.values():
        for name, parameters in table.items():
            assert set(parameters) <= execute.parameter_names(NOTEBOOKS / f"{name}.ipynb")


def test_the_full_profile_trains_by_the_protocol() -> None:
    expected = {name: PROTOCOL[name] for name in ("epochs", "train_images", "batch_size")}
    assert report.PROFILES["full"]["08_train_mnist_scale"] == {**expected, "test_images": TEST_IMAGES}
    assert report.CELL_SECONDS["full"] is None, "hours of training are no hanging cell"
    assert report.CELL_SECONDS["quick"] == 1800


def test_an_unknown_parameter_is_an_error_not_a_warning(tmp_path: Path) -> None:
    write_notebook(tmp_path / "00_a.ipynb", "# A\n\nB.", ("seed: int = 0\nsize = 3", "parameters"))
    assert execute.parameter_names(tmp_path / "00_a.ipynb") == {"seed", "size"}
    outcome = execute.run(tmp_path / "00_a.ipynb", tmp_path / "out.ipynb", {"sise": 4}, timeout=60)
    assert outcome.error == "ValueError: it has no parameter sise"
    assert outcome.path is None


def test_a_slow_cell_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no terminal shows a bar, a line now and then says which cell is at work."""
    shown = io.StringIO()
    expected = ["the first cell: at work", "cell 2 of 2: at work", "its last cell: at work"]

    def wait_for(line: str) -> None:
        end = time.monotonic() + 60
        while line not in shown.getvalue() and time.monotonic() < end:
            time.sleep(0.01)

    def run(source: Path, *_: Any, on_cell: Any, **__: Any) -> execute.Outcome:
        for done, line in enumerate(expected):
            if done:
                on_cell(done, 2)
            wait_for(line)
        return execute.Outcome(source.stem, None, 1.0, "stopped by the test")

    write_notebook(tmp_path / "00_a.ipynb", "# A\n\nB.", "1")
    monkeypatch.setattr(execute, "run", run)
    monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 0.05)
    assert report.build(tmp_path / "out", notebooks=tmp_path, console=Console(file=shown, width=200)) == 1
    lines = shown.getvalue().splitlines()
    assert lines[0] == "[1/1] 00_a: started"
    order = [next(i for i, line in enumerate(lines) if f"[1/1] 00_a, {part}" in line) for part in expected]
    assert order == sorted(order)


# The site: of the small report and of the committed notebooks as they are stored


FETCHED = {"img": "src", "link": "href", "source": "srcset", "video": "src", "use": "href"}


def remote_resources(html: str, soup: BeautifulSoup | None = None) -> list[str]:
    """What a browser would fetch from elsewhere, or run, on opening the page. A reader's links do not count."""
    elements = (soup or BeautifulSoup(html, "html.parser")).find_all(True)
    found = [str(element) for element in elements if element.name in ("script", "iframe", "object", "embed")]
    fetched = [str(element.get(FETCHED[element.name], "")) for element in elements if element.name in FETCHED]
    found += [address for address in fetched if "//" in address]
    found += re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]*|@import[^;]*", html)
    return found


def broken_links(folder: Path, pages: Pages) -> list[str]:
    """Relative links and pictures without a file, and fragments without an element, in all pages of a folder."""
    broken = []
    elements = {name: soup.find_all(True) for name, soup in pages.items()}
    ids = {name: {element.get("id") for element in found} for name, found in elements.items()}
    for name, found in elements.items():
        for element in found:
            address = element.get("href") or element.get("src")
            target = urlsplit(address or "")
            if address is None or target.scheme or target.netloc:
                continue
            path = unquote(target.path) or name
            exists = (folder / path).is_file()
            anchor_missing = target.fragment and path in pages and unquote(target.fragment) not in ids[path]
            if not exists or anchor_missing:
                broken.append(f"{name}: {address}")
    return broken


def test_nothing_is_fetched_from_elsewhere_and_no_script_runs(
    site: Path, pages: Pages, built: tuple[Path, int, str]
) -> None:
    for folder, soups, count in ((site, pages, 14), (built[0], {}, 4)):  # notebooks, the front page, the symbols
        paths = [*folder.glob("*.html"), folder / "style.css"]
        assert len(paths) == count + 1
        found = {path.name: remote_resources(path.read_text(), soups.get(path.name)) for path in paths}
        assert found == {path.name: [] for path in paths}


@pytest.mark.parametrize(
    "html",
    [
        "<script src='https://cdn.example/x.js'></script>",
        "<script>1</script>",
        "<img src='//example.org/a.png'>",
        "<link rel=stylesheet href='http://example.org/a.css'>",
        "<style>@import 'a.css';</style>",
        "<style>p { background: url(https://example.org/a.png) }</style>",
    ],
)
def test_the_check_for_remote_resources_notices(html: str) -> None:
    assert remote_resources(html) != []


def test_what_is_text_stays_text_on_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, a formula that cannot be translated, a title: none of them becomes a part of the page."""
    bad = "<img src=x>"
    write_notebook(tmp_path / "00_a.ipynb", f"# A `{bad}` B\n\nC $\\nosuchcommand {bad}$ and $$\\nosuch {bad}$$.")
    outcome = execute.Outcome("00_a", tmp_path / "00_a.ipynb", 1.0, f"cell 3: ValueError: {bad} & more")
    environment = {**provenance.environment("cpu"), "device": bad, "git_commit": "0" * 40, "git_dirty": True}
    monkeypatch.setattr(provenance, "environment", lambda *device: environment)
    report.render_site(tmp_path / "out", [tmp_path / "00_a.ipynb"], [outcome])
    for name in ("00_a.html", "index.html"):
        page = BeautifulSoup((tmp_path / "out" / name).read_text(), "html.parser")
        assert page.select("img[src=x]") == []
    front = BeautifulSoup((tmp_path / "out" / "index.html").read_text(), "html.parser")
    assert (front.h1.get_text(), front.select_one(".lead").get_text()) == (report.TITLE, site.LEAD)
    assert front.select_one(".cards a").get_text().strip().endswith(f"A {bad} B")
    assert "00_a stopped before the end" in front.select_one(".stopped").get_text()
    assert front.select_one(".cards .small").get_text() == "stopped after 1 s · 1 min to read · notebook"
    facts = {row.th.get_text(): row.td.get_text() for row in front.select(".facts tr")}
    assert (facts["Device"], facts["Commit"], facts["Time"]) == (bad, "000000000000, with changes", "1 s")
    page = BeautifulSoup((tmp_path / "out" / "00_a.html").read_text(), "html.parser")
    assert page.select_one(".stopped").get_text().endswith(f"cell 3: ValueError: {bad} & more")
    assert [code.get_text() for code in page.select(".untranslated")] == [f"\\nosuchcommand {bad}", f"\\nosuch {bad}"]
    assert page.h1.get_text() == f"A {bad} B"


def test_links_work(site: Path, pages: Pages, built: tuple[Path, int, str]) -> None:
    assert broken_links(site, pages) == []
    assert broken_links(built[0], parsed(built[0])) == []


def test_the_link_check_notices(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<a href='b.html'>x</a><a href='#no'>y</a><a href='a.html#yes'>z</a><p id='yes'>")
    assert broken_links(tmp_path, parsed(tmp_path)) == ["a.html: b.html", "a.html: #no"]


def test_pages_follow_each_other(pages: Pages) -> None:
    names = [path.stem for path in report.find_notebooks(NOTEBOOKS)]
    for index, name in enumerate(names):
        page = pages[f"{name}.html"]
        found = {link["rel"][0]: link["href"] for link in page.select(".neighbours a")}
        expected = {}
        if index:
            expected["prev"] = f"{names[index - 1]}.html"
        if index + 1 < len(names):
            expected["next"] = f"{names[index + 1]}.html"
        assert found == expected
        assert page.select_one("[aria-current=page]")["href"] == f"{name}.html"
    chapters = pages["index.html"].select(".cards > li > a")
    assert [link["href"] for link in chapters] == [f"{name}.html" for name in names]


def test_pages_are_built_for_everybody(pages: Pages) -> None:
    assert {f"{path.stem}.html" for path in NOTEBOOKS.glob("*.ipynb")} < set(pages)
    for soup in pages.values():
        assert soup.html["lang"] == "en"
        assert soup.title.get_text().strip()
        assert len(soup.find_all("h1")) == 1
        assert soup.select_one("meta[name=viewport]")
        assert soup.select_one("a.skip")["href"] == "#main"
        (main,) = soup.find_all("main")
        assert main["id"] == "main"
        assert [image for image in soup.find_all("img") if len(image.get("alt", "")) < 20] == []
        elements = soup.find_all(True)
        ids = [element["id"] for element in elements if "id" in element.attrs]
        assert len(set(ids)) == len(ids)
        assert all(link.get_text().strip() or link.get("aria-label") for link in soup.find_all("a"))
        assert all(block.get("tabindex") == "0" for block in main.find_all("pre"))
        assert all(header.get_text().strip() for header in soup.find_all("th"))
        regions = [element["aria-label"] for element in elements if element.get("role") == "region"]
        assert len(set(regions)) == len(regions)


def test_sections_are_listed(built: tuple[Path, int, str]) -> None:
    page = BeautifulSoup((built[0] / "00_first.html").read_text(), "html.parser")
    assert [link["href"] for link in page.select(".contents a")] == ["#Part", "#Part-2"]
    assert page.select_one("main a[href='01_second.html#A-part']")
    assert page.title.get_text().startswith("The first")


def test_a_section_is_listed_with_its_formula(pages: Pages) -> None:
    for place in (".contents", ".side .sections"):
        assert pages["02_steerable_filters.html"].select(f"{place} a math msup")


def test_names_of_an_index_stand_in_the_corner_of_its_table() -> None:
    names = pd.DataFrame({"a": [1], "b": [2]}, index=pd.Index(["x"], name="row"))
    page = BeautifulSoup(f"<main>{names.to_html()}</main>", "html.parser")
    assert len(page.select("thead tr")) == 2
    finish(page)
    assert [cell.get_text() for cell in page.select("thead tr *")] == ["row", "a", "b"]
    assert [cell.get("scope") for cell in page.select("th")] == ["col"] * 3 + [None]
    both = pd.DataFrame([[1]], index=pd.Index(["x"], name="row"), columns=pd.Index(["a"], name="column"))
    page = BeautifulSoup(f"<main>{both.to_html()}</main>", "html.parser")
    finish(page)
    assert len(page.select("thead tr")) == 2  # the corner is taken


def test_short_code_and_hyphenated_words_are_not_broken() -> None:
    page = BeautifulSoup(
        "<main><h1>1 · STL-10 <code>a-b</code></h1><p><code>_a</code> <code>one.long.name.of.a.thing</code></p></main>",
        "html.parser",
    )
    finish(page)
    assert [element.get_text() for element in page.select(".whole")] == ["STL-10", "a-b", "a-b", "_a"]
    assert page.h1.get_text() == "1 · STL-10 a-b"


def test_only_wide_figures_scroll() -> None:
    page = BeautifulSoup("<main><img width='800' alt='a'><img width='300' alt='b'></main>", "html.parser")
    finish(page)
    assert [image["alt"] for image in page.select(".figure[tabindex='0'] img")] == ["a"]


# Formulas


NOT_TEXT = {"code", "pre", "style", "math", "title"}


def text_of(element: Tag) -> str:
    """Its words without code and formulas."""
    return "".join(
        str(part) if not isinstance(part, Tag) else "" if part.name in NOT_TEXT else text_of(part)
        for part in element.children
    )


def test_every_formula_is_drawn(pages: Pages) -> None:
    assert sum(len(soup.find_all("math")) for soup in pages.values()) > 20
    for soup in pages.values():
        assert soup.select(".untranslated") == []
        assert re.findall(r"\$[^$\n]{1,80}\$|\\(?:frac|sigma|begin)\b", text_of(soup)) == []


def test_formulas_keep_to_what_all_browsers_draw(pages: Pages) -> None:
    formulas = [formula for soup in pages.values() for formula in soup.find_all("math")]
    assert len(formulas) > 300
    assert all(formula["alttext"] for formula in formulas)
    parts = [part for formula in formulas for part in formula.find_all(True)]
    assert {part.get("mathvariant", "normal") for part in parts} == {"normal"}
    assert [part for part in parts if part.name == "mspace" and "space" in part.get("width", "")] == []


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\mathbb R", "ℝ"),
        (r"\mathbb{1}", "𝟙"),
        (r"\mathbf{x}", "𝐱"),
        (r"\boldsymbol{\alpha}", "𝜶"),
        (r"\mathcal{L}", "ℒ"),
        (r"a \le b", "a≤b"),
        (r"\text{if } x", "if\xa0x"),
    ],
)
def test_letters(latex: str, text: str) -> None:
    drawn = BeautifulSoup(formulas.mathml(latex), "html.parser").get_text()
    assert drawn.replace(" ", "") == text.replace(" ", "")


def test_a_formula_has_its_source_for_those_who_cannot_see_it() -> None:
    assert r'alttext="\kappa(s)  = 1"'.replace("  ", " ") in formulas.mathml("\\kappa(s)\n = 1")


def test_bars_stretch_only_where_asked() -> None:
    assert 'stretchy="false"' in formulas.mathml(r"\lVert x \rVert")
    assert 'stretchy="true"' in formulas.mathml(r"\left\lVert x \right\rVert")


@pytest.mark.parametrize(
    ("latex", "signs"),
    [
        ("(-1)^n", 1),
        ("x = -2", 1),
        ("a, -b", 1),
        (r"e^{-x}", 0),
        ("a - b", 0),
        (r"x_1 - 1", 0),
        (r"\frac{a}{b} - c", 0),
    ],
)
def test_a_sign_is_not_spaced_like_a_difference(latex: str, signs: int) -> None:
    """At the beginning of a row a browser knows by itself that a minus is a sign."""
    assert formulas.mathml(latex).count('form="prefix"') == signs


def test_spaces_are_those_of_tex() -> None:
    assert formulas.mathml(r"\log q").count("<mspace") == 1
    assert formulas.mathml(r"\log (q)").count("<mspace") == 0
    assert '<mo lspace="0" rspace="0">/</mo>' in formulas.mathml("1/n")
    assert "<mo>±</mo>" in formulas.mathml(r"m \pm t")


def test_root_signs_of_all_heights_are_equally_wide() -> None:
    face = formulas.font_face(formulas.letters([formulas.mathml(r"\sqrt{2}")]))
    font = TTFont(io.BytesIO(base64.b64decode(re.search(r"base64,([^)]*)\)", face)[1])))
    variants = font["MATH"].table.MathVariants
    signs = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(font.getBestCmap()[ord("√")])]
    heights = {record.AdvanceMeasurement for record in signs.MathGlyphVariantRecord}
    assert len(heights) >= 4
    assert len({font["hmtx"][record.VariantGlyph][0] for record in signs.MathGlyphVariantRecord}) == 1


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"a & b"])
def test_a_formula_that_is_not_understood_is_refused(latex: str) -> None:
    with pytest.raises(formulas.FormulaError, match="formula"):
        formulas.mathml(latex)


def test_the_font_comes_along(site: Path) -> None:
    style = (site / "style.css").read_text()
    assert formulas.FONT_FAMILY in style
    assert "data:font/woff;base64," in style
    assert len(style) < 300_000
    assert formulas.letters(["<p>q</p><math><mi>x</mi></math>"]) == {"x", "𝑥"}
    assert "√" in formulas.letters(["<math><msqrt><mi>x</mi></msqrt></math>"])


# The figure of the README


@pytest.mark.slow
def test_the_figure_is_what_the_code_draws(tmp_path: Path) -> None:
    from sesn_lib.plotting import overview

    _, plain, scaled = overview.responses()
    assert overview.measured_error(plain, scaled) < 1e-6
    assert overview.measured_error(plain, plain) > 0.1  # negative control
    with mpl.rc_context():
        overview.main(str(tmp_path / "idea.png"))
    committed, drawn = (
        np.asarray(Image.open(path).convert("L").resize((120, 90)), dtype=float)
        for path in (NOTEBOOKS / "figures" / "idea.png", tmp_path / "idea.png")
    )
    assert abs(committed - drawn).mean() < 10  # grey levels; fonts differ between versions: 4.3 from 3.8 to 3.11
    assert abs(committed - drawn[::-1]).mean() > 40  # negative control


@pytest.mark.slow
def test_the_site_keeps_its_notebooks_however_often_it_is_written(tmp_path: Path) -> None:
    """Never begun, so that the stored one is copied; then executed in its place; then no part of the report."""
    source, out = tmp_path / "00_a.ipynb", tmp_path / "out"
    write_notebook(source, "# A\n\nB.", "print('new')")
    never = execute.Outcome("00_a", None, 0.0, "DeadKernelError: it died")
    copy = out / "notebooks" / source.name
    for _ in range(2):
        report.render_site(out, [source], [never])
        assert copy.read_bytes() == source.read_bytes()
    write_notebook(copy, "# A\n\nC.", "print('executed')")
    executed = copy.read_bytes()
    for _ in range(2):
        report.render_site(out, [source], [execute.Outcome("00_a", copy, 1.0, None)])
        assert copy.read_bytes() == executed
    write_notebook(tmp_path / "01_b.ipynb", "# B\n\nD.")
    report.render_site(out, [tmp_path / "01_b.ipynb"])
    assert sorted(path.name for path in copy.parent.iterdir()) == ["01_b.ipynb"]


def test_a_file_with_a_blank_in_its_name_is_linked(tmp_path: Path) -> None:
    write_notebook(tmp_path / "00_a.ipynb", "# A\n\nB.\n\n[data](some%20data.yml)")
    (tmp_path / "some data.yml").write_text("a: 1\n")
    report.render_site(tmp_path / "out", [tmp_path / "00_a.ipynb"])
    page = BeautifulSoup((tmp_path / "out" / "00_a.html").read_text(), "html.parser")
    (link,) = [link for link in page.select("main a[href]") if link.get_text() == "data"]
    assert (tmp_path / "out" / unquote(str(link["href"]))).read_text() == "a: 1\n"


def test_manifest_is_not_trusted_with_other_peoples_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (tmp_path / "precious.txt").write_text("x")
    there = Path("/etc/hostname").exists()
    (target / site.MANIFEST).write_text(json.dumps({"files": ["../precious.txt", "/etc/hostname", 7]}))
    write_notebook(tmp_path / "00_a.ipynb", "# A\n\nB.")
    written = report.render_site(target, [tmp_path / "00_a.ipynb"])
    assert (tmp_path / "precious.txt").read_text() == "x"
    assert Path("/etc/hostname").exists() == there
    assert written[-1] == target / "index.html", "the front page links to pages that are there"
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    listed = json.loads((target / site.MANIFEST).read_text())["files"]
    assert set(listed) == found - {site.MANIFEST}, "from now on it lists what was made"


def test_an_error_of_many_lines_is_told_by_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("\n  the kernel died \nTraceback\n  and more")

    monkeypatch.setattr(execute.papermill, "execute_notebook", broken)
    source = tmp_path / "01_a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), source)
    outcome = execute.run(source, tmp_path / "out.ipynb", {}, timeout=None)
    assert (outcome.path, outcome.error) == (None, "RuntimeError: the kernel died")
    monkeypatch.setattr(execute.papermill, "execute_notebook", lambda *_, **__: (_ for _ in ()).throw(ValueError))
    assert execute.run(source, tmp_path / "out.ipynb", {}, timeout=None).error == "ValueError: no message"
