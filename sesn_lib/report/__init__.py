"""The report: every notebook executed in order, then rendered as a static web site.

papermill, nbformat and nbconvert are imported when a report is built, not before, so that a machine which only trains
does without them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from sesn_lib import paths
from sesn_lib.runner.budget import format_duration
from sesn_lib.runner.heartbeat import Heartbeat
from sesn_lib.store.atomic import write_aside

if TYPE_CHECKING:
    from sesn_lib.report.execute import Outcome

__all__ = ["PROFILES", "build", "build_poster", "find_notebooks", "render_site"]

log = logging.getLogger(__name__)

PROFILES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "quick": {},
    "full": {
        "07_datasets": {"png_checks": 6},
        "08_train_mnist_scale": {"epochs": 60, "train_images": 10000, "test_images": 50000, "batch_size": 128},
    },
}
"""What each profile sets otherwise than the notebooks themselves: profile -> notebook -> parameter -> value.

The notebooks' own parameters are the quick ones.
"""
FOLDERS: Mapping[str, str] = {"results": ".", "tables_folder": "tables"}
"""Parameters that say where a notebook writes: in a report, to these folders below its own, not the published ones."""
CELL_SECONDS: Mapping[str, int | None] = {"quick": 1800, "full": None}

TITLE = "Scale-Equivariant Steerable Networks: a reproducibility report"
LEAD = (
    "A network whose filters come in several sizes by construction should read small digits as well as large ones. "
    "The paper by Sosnovik, Szmaja and Smeulders (ICLR 2020) says that it does, and by how much. These pages derive "
    "the method, check every step by a number, and repeat the experiment."
)
VERSIONS = ("python", "torch", "numpy", "pillow")
TEXTS = ("symbols.md",)
FIGURE = Path("figures/idea.png")
MANIFEST = ".sesn-report.json"


def build(
    output: Path | str,
    profile: str = "quick",
    *,
    notebooks: Path | str | None = None,
    console: Console | None = None,
) -> int:
    """Execute all notebooks into `output`/notebooks and write the site, `output`/index.html.

    A notebook that fails is named, its page shows how far it came, and the others are executed all the same. Every file
    is written aside and renamed; files of an earlier report that are no longer needed are removed, others left alone.

    Arguments:
        output: folder of the report; made if need be.
        profile: one of `PROFILES`.
        notebooks: folder of the notebooks, those of the checkout when left out.
        console: where progress is shown; standard error when left out.

    Returns: exit code, 0 if all notebooks ran to their end, else 1.

    Raises:
        ValueError: an unknown profile, no notebooks.
        OSError: the output folder cannot be made or written.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; the profiles are {', '.join(PROFILES)}")
    sources = find_notebooks(notebooks)
    folder = Path(output).expanduser()
    _prepare(folder)
    console = console or Console(stderr=True)
    from sesn_lib.report import execute

    say = partial(console.print, highlight=False, soft_wrap=True)
    start = time.perf_counter()
    outcomes = []
    for position, source in enumerate(sources, start=1):
        parameters = dict(PROFILES[profile].get(source.stem, {}))
        for name in FOLDERS.keys() & execute.parameter_names(source):
            parameters[name] = os.path.relpath(folder.resolve() / FOLDERS[name], _root(source.parent))
        label = f"[{position}/{len(sources)}] {source.stem}"
        with _progress(console, label) as on_cell:
            target, timeout = folder / "notebooks" / source.name, CELL_SECONDS[profile]
            outcome = execute.run(source, target, parameters, timeout=timeout, on_cell=on_cell)
        outcomes.append(outcome)
        state = "[green]done[/]" if outcome.error is None else f"[red]failed[/], {escape(outcome.error)}"
        say(f"{escape(label)}: {state}, {outcome.seconds:.0f} s")
    with Heartbeat(lambda: "writing the pages", say):
        render_site(folder, sources, outcomes, profile=profile)
    failed = [outcome.name for outcome in outcomes if outcome.error is not None]
    say(
        f"{len(outcomes) - len(failed)} of {len(outcomes)} notebooks ran to their end in "
        f"{time.perf_counter() - start:.0f} s; the report is {escape(str(folder / 'index.html'))}"
    )
    if failed:
        say(f"[red]did not run to their end:[/] {', '.join(failed)}")
    return 1 if failed else 0


def build_poster(
    output: Path | str,
    *,
    notebooks: Path | str | None = None,
    parameters: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> int:
    """Execute the first notebook, the one-page summary, and print it as `output`/poster.pdf, one A4 page.

    Arguments:
        parameters: of the notebook, besides the one that turns figures into drawings.

    Returns: exit code, 0 if there is a poster, 1 if the notebook failed.

    Raises:
        ValueError: no notebooks; it does not fit on a page; WeasyPrint cannot work here.
        ModuleNotFoundError: WeasyPrint is not installed.
        OSError: the output folder cannot be made or written.
    """
    import nbformat

    from sesn_lib import provenance
    from sesn_lib.report import execute, poster

    poster.printer()  # before anything is executed
    source = find_notebooks(notebooks)[0]
    folder = Path(output).expanduser()
    _prepare(folder)
    console = console or Console(stderr=True)
    executed = folder / "notebooks" / "poster.ipynb"
    with _progress(console, source.stem) as on_cell:
        outcome = execute.run(
            source, executed, {"vector": True, **(parameters or {})}, timeout=CELL_SECONDS["quick"], on_cell=on_cell
        )
    if outcome.path is None or outcome.error is not None:
        console.print(f"{source.stem}: [red]failed[/], {escape(str(outcome.error))}", highlight=False, soft_wrap=True)
        return 1
    facts = dict(_facts(provenance.environment(), "quick", None))
    made = f"Printed by sesn report --poster on {datetime.now(UTC):%Y-%m-%d} from commit {facts['Commit']}."
    content = poster.pdf(poster.layout(nbformat.read(outcome.path, as_version=4), TITLE, made))
    write_aside(folder / "poster.pdf", content, replace=True)
    console.print(f"the poster is {escape(str(folder / 'poster.pdf'))}", highlight=False, soft_wrap=True)
    return 0


def find_notebooks(folder: Path | str | None = None) -> list[Path]:
    """The notebooks in reading order: those in `folder`, else those of the checkout; ValueError if there are none."""
    place = paths.notebooks() if folder is None else Path(folder)
    # A copy that an editor or a browser made of one is none: `07_datasets-Copy1.ipynb`, `07_datasets (1).ipynb`.
    found = sorted(path for path in place.glob("*.ipynb") if re.fullmatch(r"[0-9]{2}_\w+", path.stem))
    if not found:
        raise ValueError(f"there are no notebooks in {place}: start `sesn report` in a checkout of the project")
    return found


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
        if not (folder / page.source).is_file():
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
        facts=_facts(environment, profile, outcomes),
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
    found = [(file, file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return [Page(file.stem, new_notebook(cells=[new_markdown_cell(text)]), file.parent) for file, text in found]


def _facts(environment: Mapping[str, Any], profile: str, outcomes: Sequence[Outcome] | None) -> list[tuple[str, str]]:
    commit = str(environment.get("git_commit") or "unknown")[:12]
    facts = [
        ("Profile", f"{profile} ({'short training' if profile == 'quick' else 'training by the protocol'})"),
        ("Device", str(environment["device"])),
        ("Commit", f"{commit}, with changes" if environment.get("git_dirty") else commit),
        ("Versions", ", ".join(f"{name} {environment[name]}" for name in VERSIONS if name in environment)),
    ]
    if outcomes is not None:
        facts.insert(1, ("Time", format_duration(sum(outcome.seconds for outcome in outcomes))))
    return facts


def _root(notebooks: Path) -> Path:
    """What a relative folder parameter is relative to: the checkout, or the notebooks' folder if it is in none."""
    here = notebooks.resolve()
    checkout = paths.checkout(here)
    return checkout if here.is_relative_to(checkout) else here


def _prepare(folder: Path) -> None:
    """Make the output folder and see that it can be written, before hours are spent. Raises OSError."""
    for place in (folder, folder / "notebooks"):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    for left in (folder / "notebooks").glob(".*.part.ipynb"):
        left.unlink(missing_ok=True)


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


@contextmanager
def _progress(console: Console, label: str) -> Iterator[Any]:
    """A bar of cells on a terminal, a line where there is none; yields the function to tell (done, total)."""
    if not console.is_terminal:
        console.print(f"{escape(label)}: started", highlight=False, soft_wrap=True)
        where = "the first cell"

        def tell(done: int, total: int) -> None:
            nonlocal where
            where = f"cell {done + 1} of {total}" if done < total else "its last cell"

        def say(text: str) -> None:
            console.print(escape(text), highlight=False, soft_wrap=True)

        with Heartbeat(lambda: f"{label}, {where}", say):
            yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(escape(label), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
