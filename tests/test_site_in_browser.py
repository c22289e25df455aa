"""The report's pages in a real browser, on a desk and on a phone: quiet, self-contained, accessible, not too wide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser as looking
import pytest

from sesn_lib.plotting import style
from sesn_lib.plotting.tables import SOURCES

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PAGES = ["index", *sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
SIZES = {"desktop": looking.DESKTOP, "phone": looking.PHONE}
# Thousands of short pieces, each as costly to axe as a paragraph. Their few colours are looked at on one page.
SMALL_PIECES = (".highlight", "math")
WHOLE = "00_poster"

Check = Callable[[looking.Visit], list[str]]
CHECKS: list[Check] = [
    looking.console_errors,
    looking.strangers,
    looking.sideways,
    looking.cut_off,
    looking.undescribed,
    looking.inaccessible,
]
OURS = tuple(head for head, colour in SOURCES.items() if colour == style.OURS)


@pytest.fixture(scope="module")
def chromium(site: Path) -> Iterator[Any]:
    with looking.launched() as browser:  # after `site`: while it runs, nothing else may use asyncio in this thread
        yield browser


@pytest.fixture(scope="module", params=[*PAGES, "symbols"])
def visit(request: pytest.FixtureRequest, chromium: Any, site: Path) -> Iterator[looking.Visit]:
    """Each page, opened once for all that is looked at in it: every test begins by showing it in a size."""
    visit = looking.opened(chromium, (site / f"{request.param}.html").as_uri())
    visit.name = request.param
    yield visit
    visit.close()


@pytest.mark.parametrize("size", SIZES)
def test_page(visit: looking.Visit, size: str) -> None:
    visit.show(SIZES[size])
    assert visit.page.locator("h1").count() == 1
    assert visit.requests != []
    assert looking.console_errors(visit) == []
    assert looking.strangers(visit) == []
    assert looking.sideways(visit) == []
    assert looking.cut_off(visit) == []
    if size == "desktop":
        assert looking.out_of_sight(visit, OURS) == []
    assert looking.undescribed(visit) == []
    whole = visit.name == WHOLE
    # The style sheet has the same colours for a phone as for a desk.
    assert looking.inaccessible(visit, skip=() if whole else SMALL_PIECES, colours=whole or size == "desktop") == []


def test_no_table_is_scrolled_on_a_phone(visit: looking.Visit) -> None:
    visit.show(looking.PHONE)
    folds = visit.page.evaluate_handle("[...document.querySelectorAll('main details:not([open])')]")
    folds.evaluate("folds => folds.forEach(one => one.open = true)")
    scrolled = [piece for piece in too_wide(visit) if "scroll" in piece]
    folds.evaluate("folds => folds.forEach(one => one.open = false)")
    assert scrolled == []


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_every_piece_of_a_page_is_accessible(visit: looking.Visit, size: str) -> None:
    visit.show(SIZES[size])
    assert looking.inaccessible(visit) == []


def test_the_next_page_can_be_reached_by_clicking(visit: looking.Visit) -> None:
    """Whether a click would reach the link; a few of them are clicked indeed, see below."""
    visit.show(looking.DESKTOP)
    links = visit.page.locator(".cards a" if visit.name == PAGES[0] else ".neighbours a[rel=next]")
    following = dict(zip(PAGES, [*PAGES[1:], None])).get(visit.name)
    assert bool(links.count()) == (following is not None)
    if following is not None:
        links.first.click(trial=True)
        assert Path(links.first.evaluate("a => a.href")).stem == following


def test_a_reader_comes_from_page_to_page_by_clicking(chromium: Any, site: Path) -> None:
    visit = looking.opened(chromium, (site / "index.html").as_uri())
    seen = []
    for link in (".cards a", *[".neighbours a[rel=next]"] * 2, ".neighbours a[rel=prev]", ".bar .home"):
        looking.follow(visit, visit.page.locator(link).first)
        seen.append(Path(visit.page.url).stem)
    assert seen == [PAGES[place] for place in (1, 2, 3, 2, 0)]
    assert looking.console_errors(visit) == []
    visit.close()


def test_the_menu_opens_on_a_phone(chromium: Any, site: Path) -> None:
    visit = looking.opened(chromium, (site / f"{PAGES[-1]}.html").as_uri(), looking.PHONE)
    link = visit.page.locator(".menu nav a").first
    assert not link.is_visible()
    visit.page.locator(".menu summary").click()
    link.wait_for(state="visible")
    assert looking.sideways(visit) == []
    looking.follow(visit, link)
    assert Path(visit.page.url).stem == PAGES[1]
    visit.close()


def test_nothing_is_cut_off_in_print(visit: looking.Visit) -> None:
    """On paper nothing can be scrolled, so nothing may be wider than the paper: A4 less its margins."""
    paper = (round((210 - 2 * 18) / 25.4 * 96), 900)
    if visit.name in (WHOLE, PAGES[-1]):
        visit.show(paper)
        assert too_wide(visit) != []  # negative control: on a screen of this width something scrolls
    visit.show(paper, media="print")
    assert too_wide(visit) == []


def test_what_is_folded_on_the_screen_stands_on_paper(chromium: Any, site: Path) -> None:
    visit = looking.opened(chromium, (site / f"{WHOLE}.html").as_uri(), looking.DESKTOP)
    shown = "[...document.querySelectorAll('details.fold:not([open])')].map(fold => fold.children[1].checkVisibility())"
    on_screen = visit.page.evaluate(shown)
    assert on_screen
    assert not any(on_screen)
    visit.page.emulate_media(media="print")
    assert all(visit.page.evaluate(shown))
    visit.close()


MOVING, WIDE = "02_steerable_filters", "03_bases_on_a_grid"


def seen(visit: looking.Visit, selector: str) -> list[bool]:
    return [element.is_visible() for element in visit.page.locator(selector).all()]


def test_a_figure_is_shown_in_the_form_that_fits(chromium: Any, site: Path) -> None:
    wide, narrow = ("main .on-desk", "main .on-phone")
    for size, shown, hidden in ((looking.DESKTOP, wide, narrow), (looking.PHONE, narrow, wide)):
        visit = looking.opened(chromium, (site / f"{WIDE}.html").as_uri(), size)
        assert visit.page.locator("main details.fold").count()
        visit.page.evaluate("document.querySelectorAll('main details').forEach(one => one.open = true)")
        assert set(seen(visit, shown)) == {True}
        assert set(seen(visit, hidden)) == {False}
        visit.close()


def test_a_loop_stands_still_on_paper_for_who_asks_and_when_stopped(chromium: Any, site: Path) -> None:
    visit = looking.opened(chromium, (site / f"{MOVING}.html").as_uri())
    loop, still = ("main .moving .play img", "main .moving > .still")
    assert len(seen(visit, loop)) >= 2
    assert (set(seen(visit, loop)), set(seen(visit, still))) == ({True}, {False})
    visit.page.locator("main .moving summary").first.click()
    assert (seen(visit, loop)[0], seen(visit, still)[0]) == (False, True)
    for asked in ({"reduced_motion": "reduce"}, {"media": "print"}):
        visit.page.emulate_media(**asked)
        assert (set(seen(visit, loop)), set(seen(visit, still))) == ({False}, {True})
        visit.page.emulate_media(reduced_motion="no-preference", media="screen")
    visit.close()


def too_wide(visit: looking.Visit) -> list[str]:
    return visit.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(
               e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display != "inline"
                    && !e.closest("math")).map(e => e.outerHTML.slice(0, 100))"""
    )


# Negative controls: pages with one fault each

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"></head>
<body><main><h1>A page</h1><p>Words.</p>{}</main></body></html>"""
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="
FAULTS: list[tuple[str, Check, str]] = [
    ("remote picture", looking.strangers, "<img alt='a picture' src='http://stranger.invalid/a.png'>"),
    ("remote style", looking.strangers, "<link rel='stylesheet' href='https://stranger.invalid/a.css'>"),
    ("remote picture that fails", looking.console_errors, "<img alt='a' src='http://stranger.invalid/a.png'>"),
    ("console error", looking.console_errors, "<script>console.error('something is wrong')</script>"),
    ("exception", looking.console_errors, "<script>nobody.knows()</script>"),
    ("no alternative text", looking.undescribed, f"<img src='{PIXEL}'>"),
    ("no alternative text, says axe", looking.inaccessible, f"<img src='{PIXEL}'>"),
    ("a picture that is not there", looking.undescribed, "<img alt='a picture' src='nothing.png'>"),
    ("low contrast", looking.inaccessible, "<p style='color: #999; background: #fff'>Can you read this?</p>"),
    ("scrolls by mouse only", looking.inaccessible,
     f"<div style='overflow: auto; width: 9em; height: 2em'><p style='width: 90em'>{'words ' * 60}</p></div>"),
    ("too small to be touched", looking.inaccessible,
     "<button style='display: block; width: 9px; height: 9px; padding: 0' aria-label='a key'></button>" * 2),
    ("too wide", looking.sideways, "<pre style='width: 2000px'>wide</pre>"),
    ("cut off", looking.cut_off, f"<p style='overflow: hidden; white-space: nowrap'>{'words ' * 60}</p>"),
    ("scrolls without a sign", looking.cut_off,
     f"<p tabindex='0' style='overflow: auto; white-space: nowrap'>{'words ' * 60}</p>"),
]  # fmt: skip


def page_with(chromium: Any, folder: Path, content: str) -> looking.Visit:
    (folder / "page.html").write_text(PAGE.format(content), encoding="utf-8")
    return looking.opened(chromium, (folder / "page.html").as_uri(), looking.PHONE)


def test_a_good_page_is_praised(chromium: Any, tmp_path: Path) -> None:
    visit = page_with(chromium, tmp_path, "")
    assert {check.__name__: check(visit) for check in CHECKS} == {check.__name__: [] for check in CHECKS}
    visit.close()


@pytest.mark.parametrize(("check", "fault"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_each_check_notices_its_fault(chromium: Any, tmp_path: Path, check: Check, fault: str) -> None:
    visit = page_with(chromium, tmp_path, fault)
    assert check(visit) != []
    visit.close()


def test_what_is_left_out_stays_as_it_is_and_hides_no_fault_beside_it(chromium: Any, tmp_path: Path) -> None:
    pale = "<p class='{}' style='color: #999'>Can <b>you</b> read this?</p>"
    formula = "<math><mfrac><mi>a</mi><mi>b</mi></mfrac></math>"
    visit = page_with(chromium, tmp_path, pale.format("highlight") + formula)
    before = visit.page.content()
    assert len(looking.inaccessible(visit)) == 2
    assert looking.inaccessible(visit, colours=False) == []
    assert looking.inaccessible(visit, skip=SMALL_PIECES) == []
    assert visit.page.content() == before
    visit.close()
    visit = page_with(chromium, tmp_path, pale.format("highlight") + formula + pale.format("other"))
    assert len(looking.inaccessible(visit, skip=SMALL_PIECES)) == 2
    visit.close()


def test_another_size_loads_and_shows_what_it_asks_for(chromium: Any, tmp_path: Path) -> None:
    """A page that is shown in one size after another is judged as if opened in each."""
    source = f"<source media='(max-width: 40rem)' srcset='missing.png'><img alt='a picture' src='{PIXEL}'>"
    wide = "<style>@media print { .wide { width: 2000px } }</style><p class='wide'>wide</p>"
    visit = page_with(chromium, tmp_path, f"<picture>{source}</picture>{wide}")
    found = []
    for size, media in ((looking.PHONE, "screen"), (looking.DESKTOP, "screen"), (looking.PHONE, "print")):
        visit.show(size, media=media)
        found.append((bool(looking.undescribed(visit)), bool(looking.sideways(visit))))
    assert found == [(True, False), (False, False), (True, True)]
    visit.show(looking.PHONE)
    assert looking.console_errors(visit) != []
    visit.close()


def test_a_column_out_of_sight_is_noticed(chromium: Any, tmp_path: Path) -> None:
    table = "<div class='scroll' style='overflow: auto'><table><thead><tr><th>{}</th><th>ours</th></tr></thead></table>"
    for width, name in ((50, "good"), (5000, "bad")):
        filler = f"<div style='width: {width}px'>a</div>"
        (tmp_path / f"{name}.html").write_text(PAGE.format(table.format(filler) + "</div>"), encoding="utf-8")
        visit = looking.opened(chromium, (tmp_path / f"{name}.html").as_uri())
        assert bool(looking.out_of_sight(visit, OURS)) == (name == "bad")
        visit.close()


def test_every_check_has_a_negative_control() -> None:
    assert {check for _, check, _ in FAULTS} == set(CHECKS)
