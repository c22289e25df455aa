"""The report: every notebook executed in order, then rendered as a static web site.

papermill, nbformat and nbconvert are imported when a report is built, not before, so that a machine which only trains
does without them.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from sesn_lib import paths
from sesn_lib.report.site import TITLE, facts, render_site
from sesn_lib.runner.heartbeat import Heartbeat
from sesn_lib.store.atomic import write_aside

if TYPE_CHECKING:
    from sesn_lib.report.execute import Outcome

__all__ = ["PROFILES", "build", "build_poster", "find_notebooks", "render_site"]

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


def build(
    output: Path | str, profile: str = "quick", *, notebooks: Path | str | None = None, console: Console | None = None
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
    say = partial(console.print, highlight=False, soft_wrap=True)
    start = time.perf_counter()
    outcomes = []
    for position, source in enumerate(sources, start=1):
        label = f"[{position}/{len(sources)}] {source.stem}"
        with _progress(console, label) as on_cell:
            outcomes.append(outcome := _execute(source, folder, profile, on_cell))
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


def _execute(source: Path, folder: Path, profile: str, on_cell: Any) -> Outcome:
    """One notebook into the report's folder, with the profile's parameters, writing nowhere but there."""
    from sesn_lib.report import execute

    parameters = dict(PROFILES[profile].get(source.stem, {}))
    for name in FOLDERS.keys() & execute.parameter_names(source):
        parameters[name] = os.path.relpath(folder.resolve() / FOLDERS[name], _root(source.parent))
    target = folder / "notebooks" / source.name
    return execute.run(source, target, parameters, timeout=CELL_SECONDS[profile], on_cell=on_cell)


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
    told = dict(facts(provenance.environment(), "quick", None))
    made = f"Printed by sesn report --poster on {datetime.now(UTC):%Y-%m-%d} from commit {told['Commit']}."
    say = partial(console.print, highlight=False, soft_wrap=True)
    with Heartbeat(lambda: "printing the poster", say):
        content = poster.pdf(poster.layout(nbformat.read(outcome.path, as_version=4), TITLE, made))
    write_aside(folder / "poster.pdf", content, replace=True)
    say(f"the poster is {escape(str(folder / 'poster.pdf'))}")
    return 0


def find_notebooks(folder: Path | str | None = None) -> list[Path]:
    """The notebooks in reading order: those in `folder`, else those of the checkout.

    Raises:
        ValueError: there are none.
    """
    place = paths.notebooks() if folder is None else Path(folder)
    # A copy that an editor or a browser made of one is none: `07_datasets-Copy1.ipynb`, `07_datasets (1).ipynb`.
    notebooks = sorted(path for path in place.glob("*.ipynb") if re.fullmatch(r"[0-9]{2}_\w+", path.stem))
    if not notebooks:
        raise ValueError(f"there are no notebooks in {place}: start `sesn report` in a checkout of the project")
    return notebooks


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
