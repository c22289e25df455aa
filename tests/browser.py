"""A headless Chromium for the tests, and what they look for in a page: each a function from a page to complaints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = (1280, 900), (390, 844)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
HOSTS = {"", "localhost", "127.0.0.1"}  # "" is that of file:, data: and blob:
PATIENCE = 300_000  # milliseconds; a guard against hanging, not a measure


def executable() -> str:
    """The browser's path. Skips the test that asks where there is none, or nothing to drive it."""
    pytest.importorskip("playwright", reason="no playwright to drive a browser: pip install -e '.[test]'")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


@contextmanager
def launched() -> Iterator[Any]:
    """A browser of its own profile, closed at the end."""
    path = executable()
    from playwright.sync_api import sync_playwright

    # Chromium refuses to run as root with its sandbox; the pages are ours.
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*options, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page with all that it said and asked for since it was opened."""

    page: Any
    name: str = ""
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def show(self, size: tuple[int, int], *, media: str = "screen") -> None:
        """The same page in a window of another size, or on paper: as if it had been opened so."""
        self.page.emulate_media(media=media)
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.settle()

    def settle(self) -> None:
        """Waits until fonts and pictures are there, those too that only this size asks for."""
        self.page.wait_for_function(
            """async () => {
                await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
                await document.fonts.ready;
                return [...document.images].every(image => image.complete);
            }"""
        )

    def close(self) -> None:
        self.page.close()


def opened(browser: Any, address: str, size: tuple[int, int] = DESKTOP) -> Visit:
    """Opens an address in a new window and waits until the page is there as a whole."""
    visit = Visit(browser.new_page(viewport={"width": size[0], "height": size[1]}))
    page = visit.page
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: visit.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visit.said.append(str(error)))
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("requestfailed", lambda request: visit.failed.append(request.url))
    page.goto(address, wait_until="load")
    visit.settle()
    return visit


def follow(visit: Visit, link: Any) -> None:
    """Clicks a link and waits until the page that it leads to is there as a whole: a click alone returns before."""
    address = link.evaluate("a => a.href")
    link.click()
    visit.page.wait_for_url(address, wait_until="load")


def console_errors(visit: Visit) -> list[str]:
    return [*visit.said, *(f"not loaded: {address[:100]}" for address in visit.failed)]


def strangers(visit: Visit) -> list[str]:
    """Requests to another host."""
    return [address for address in visit.requests if (urlsplit(address).hostname or "") not in HOSTS]


def sideways(visit: Visit) -> list[str]:
    """The elements that make the page as a whole wider than its window."""
    return visit.page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            const wide = [...document.body.querySelectorAll("*")].filter(
                e => e.getBoundingClientRect().right > width + 1);
            return ["the page", ...wide.slice(0, 5).map(e => e.outerHTML.slice(0, 100))];
        }"""
    )


def cut_off(visit: Visit) -> list[str]:
    """Elements wider than their box that do not say so: no scroll bar of their own, no shadow at the edge, no focus."""
    return visit.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(e => {
            const style = getComputedStyle(e);
            if (!e.clientWidth || style.display == "inline" || e.closest("math") || !e.checkVisibility()) return false;
            if (e.scrollWidth <= e.clientWidth + 1) return false;
            return style.overflowX != "auto" || !style.backgroundImage.includes("gradient") || e.tabIndex != 0;
        }).map(e => `${e.scrollWidth} in ${e.clientWidth}: ${e.outerHTML.slice(0, 100)}`)"""
    )


def out_of_sight(visit: Visit, heads: tuple[str, ...]) -> list[str]:
    """Columns of tables with one of these heads that are not seen before something is scrolled."""
    return visit.page.evaluate(
        """heads => [...document.querySelectorAll("main .scroll")].flatMap(box =>
            [...box.querySelectorAll("thead th")].filter(th => heads.includes(th.textContent.trim())
                && th.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)
            .map(th => `${th.textContent.trim()} of ${box.textContent.trim().slice(0, 60)}`))""",
        list(heads),
    )


def undescribed(visit: Visit) -> list[str]:
    """Pictures without alternative text, and those that could not be drawn."""
    return visit.page.evaluate(
        """() => [...document.images].filter(i => !i.alt.trim() || !i.complete || !i.naturalWidth)
                                     .map(i => i.outerHTML.slice(0, 100))"""
    )


def inaccessible(visit: Visit, *, skip: tuple[str, ...] = (), colours: bool = True) -> list[str]:
    """Violations of WCAG 2 A and AA that axe-core finds.

    Arguments:
        skip: selects what is left out; meanwhile its text alone stands there, in a box of the same size.
        colours: whether contrasts are looked at, which takes longest.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = {"exclude": [[selector] for selector in skip]} if skip else None
    # `preload` fetches the style sheets once more, which a page that was opened as a file may not.
    options = {"runOnly": list(RULES), "preload": False, "resultTypes": ["violations"]}
    options["rules"] = {"color-contrast": {"enabled": colours}}
    whole = visit.page.evaluate_handle(SIMPLIFY, ", ".join(skip) or ":not(*)")
    try:
        found = axe.run(visit.page, context=context, options=options).response["violations"]
    finally:
        whole.evaluate("putBack => putBack()")
    return [f"{one['id']}: {node['html'][:100]}" for one in found for node in one["nodes"][:3]]


SIMPLIFY = """selector => {
    const pieces = [...document.querySelectorAll(selector)].filter(e => !e.parentElement.closest(selector));
    const boxes = pieces.map(e => [e.getBoundingClientRect(), getComputedStyle(e).display.startsWith("block")]);
    const before = pieces.map(e => [e, e.getAttribute("style"), [...e.childNodes]]);
    pieces.forEach((e, i) => {
        const [box, block] = boxes[i];
        e.textContent = e.textContent;
        e.style.cssText += `; display: ${block ? "block" : "inline-block"}; overflow: hidden;
                            box-sizing: border-box; width: ${box.width}px; height: ${box.height}px`;
    });
    return () => before.forEach(([e, style, children]) => {
        e.replaceChildren(...children);
        style === null ? e.removeAttribute("style") : e.setAttribute("style", style);
    });
}"""
