"""The site of a report: which pages it has, what its front says, and its files, written whole and swept.

nbformat and what renders are imported when a site is written, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sesn_lib.runner.budget import format_duration
from sesn_lib.store.atomic import write_aside

if TYPE_CHECKING:
    from sesn_lib.report.execute import Outcome

TITLE = "Scale-Equivariant Steerable Networks: a reproducibility report"
LEAD = (
    "Does a network whose filters come in several sizes by construction misread fewer digits of mixed sizes? The paper "
    "by Sosnovik, Szmaja and Smeulders (ICLR 2020) says so, and by how much. These pages derive the method, check "
    "every step by a number, and repeat the experiment."
)
VERSIONS = ("python", "torch", "numpy", "pillow")
TEXTS = ("symbols.md",)
FIGURE = Path("figures/idea.png")
MANIFEST = ".sesn-report.json"


def render_site(
    folder: Path, sources: Sequence[Path], outcomes: Sequence[Outcome] | None = None, *, profile: str = "quick"
) -> list[Path]:
    """Write the HTML pages of some notebooks into `folder`; returns the files written.

    Arguments:
        sources: the notebooks; they are also where relative links start.
        outcomes: of their execution, in the same order; None shows the notebooks as they are stored.
    """
    import nbformat

    from sesn_lib import provenance
    from sesn_lib.report.pages import Page, Site, render

    pages, extra = [], {}
    for index, source in enumerate(sources):
        outcome = None if outcomes is None else outcomes[index]
        executed = source if outcome is None or outcome.path is None else outcome.path
        page = Page(source.stem, nbformat.read(executed, as_version=4), source.parent)
        page.source = f"notebooks/{source.name}"
        extra[page.source] = executed.read_bytes()
        if outcome is not None:
            page.error = outcome.error
            page.state = f"{'ran' if outcome.error is None else 'stopped after'} {format_duration(outcome.seconds)}"
        pages.append(page)
    environment = provenance.environment()
    site = Site(
        pages=pages,
        title=TITLE,
        short_title="SESN, reproduced?",
        lead=LEAD,
        profile=profile,
        built=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        facts=facts(environment, profile, outcomes),
        stopped=[page.name for page in pages if page.error],
        extra=_texts(sources),
    )
    figure = sources[0].parent / FIGURE if sources else FIGURE
    if figure.is_file():
        from sesn_lib.plotting.overview import ALT, CAPTION
        from sesn_lib.plotting.phone import SUFFIX

        site.figure, site.figure_alt, site.figure_caption = f"figures/{figure.name}", ALT, CAPTION
        extra[site.figure] = figure.read_bytes()
        narrow = figure.with_stem(figure.stem + SUFFIX)
        if narrow.is_file():
            site.figure_narrow = f"figures/{narrow.name}"
            extra[site.figure_narrow] = narrow.read_bytes()
    return _publish(folder, {**render(site), **extra})


def _texts(sources: Sequence[Path]) -> list[Any]:
    """The pages beside the notebooks that are text alone."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    from sesn_lib.report.pages import Page

    files = [source.parent / name for source in sources[:1] for name in TEXTS]
    texts = [(file, file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return [Page(file.stem, new_notebook(cells=[new_markdown_cell(text)]), file.parent) for file, text in texts]


def facts(environment: Mapping[str, Any], profile: str, outcomes: Sequence[Outcome] | None) -> list[tuple[str, str]]:
    """What the front page says of how the report was made, as rows of a table."""
    commit = str(environment.get("git_commit") or "unknown")[:12]
    rows = [
        ("Profile", f"{profile} ({'short training' if profile == 'quick' else 'training by the protocol'})"),
        ("Device", str(environment["device"])),
        ("Commit", f"{commit}, with changes" if environment.get("git_dirty") else commit),
        ("Versions", ", ".join(f"{name} {environment[name]}" for name in VERSIONS if name in environment)),
    ]
    if outcomes is not None:
        rows.insert(1, ("Time", format_duration(sum(outcome.seconds for outcome in outcomes))))
    return rows


def _publish(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the site's files, the front page last, and remove what an earlier report left there."""
    names = sorted(files, key=lambda name: (name == "index.html", name))
    before = _manifest(folder)
    write_aside(folder / MANIFEST, json.dumps({"files": sorted({*names, *before})}, indent=1).encode(), replace=True)
    written = []
    for name in names:
        write_aside(folder / name, files[name], replace=True)
        written.append(folder / name)
    for name in before - set(names):
        (folder / name).unlink(missing_ok=True)
    write_aside(folder / MANIFEST, json.dumps({"files": names}, indent=1).encode(), replace=True)
    return written


def _manifest(folder: Path) -> set[str]:
    try:
        names = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {name for name in names if isinstance(name, str) and ".." not in name and not Path(name).is_absolute()}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
