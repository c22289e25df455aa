"""The notebooks in JupyterLab, as a reader works with them: opened, run from the menu, their sliders moved.

The short form does so with the beginning of one notebook, as far as its slider, the long form with each as a whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import browser as looking
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
BEGINNING = "beginning"  # of the notebook that has a slider within its first cells
SLIDER_SOON = "05_equivariance_measured"
SECONDS_TO_START, SECONDS_TO_RUN = 180, 3000  # guards against hanging


def sliders(path: Path) -> list[str]:
    """Ids of the cells of a notebook that offer sliders."""
    notebook = nbformat.read(path, as_version=4)
    return [cell.id for cell in notebook.cells if "style.interactive(" in cell.source]


@dataclass
class Lab:
    """A running JupyterLab on a copy of the notebooks, opened in a browser."""

    visit: looking.Visit
    folder: Path

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """The notebook's tab, ready to work, without outputs; its kernel ends with it, so that no two run at a time."""
        page = self.visit.page
        page.evaluate(
            "name => { window.jupyterapp.commands.execute('docmanager:open', {path: name}) }", f"notebooks/{name}.ipynb"
        )
        page.wait_for_function(
            """name => {
                const panel = window.jupyterapp.shell.currentWidget, session = panel?.sessionContext;
                return panel?.context?.path == name && session?.isReady && session.session?.kernel?.status == 'idle';
            }""",
            arg=f"notebooks/{name}.ipynb",
        )
        choose(page, "Edit", "Clear Outputs of All Cells")
        try:
            yield page
        finally:
            page.evaluate(
                """async () => {
                    const panel = window.jupyterapp.shell.currentWidget;
                    await panel.sessionContext.shutdown();
                    panel.dispose();
                }"""
            )


def choose(page: Any, menu: str, item: str) -> None:
    """Chooses an item of JupyterLab's menu bar."""
    page.locator("#jp-MainMenu .lm-MenuBar-item", has_text=menu).first.click()
    page.locator(".lm-Menu .lm-Menu-item", has_text=item).first.click()


def state(page: Any) -> dict[str, Any]:
    """What the open notebook shows: count, outputs' types and errors of its code cells; whether the kernel is busy."""
    return page.evaluate(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget, cells = [...panel.content.model.cells];
            const code = cells.filter(cell => cell.type == 'code');
            const outputs = code.flatMap(
                cell => [...Array(cell.outputs.length).keys()].map(i => [cell.id, cell.outputs.get(i).toJSON()]));
            return {
                status: panel.sessionContext.session?.kernel?.status,
                counts: code.map(cell => cell.executionCount),
                outputs: outputs.length,
                errors: outputs.filter(([_, o]) => o.output_type == 'error')
                               .map(([id, o]) => `${id}: ${o.ename}: ${o.evalue}`),
                stderr: outputs.filter(([_, o]) => o.name == 'stderr').map(([id, o]) => `${id}: ${o.text}`),
            };
        }"""
    )


def run_all(page: Any) -> dict[str, Any]:
    """Run > Restart Kernel and Run All Cells; waits for the last cell or the first error."""
    before = state(page)
    assert set(before["counts"]) == {None}
    assert before["outputs"] == 0
    choose(page, "Run", "Restart Kernel and Run All Cells")
    page.locator(".jp-Dialog button", has_text="Restart").click()
    end = time.monotonic() + SECONDS_TO_RUN
    while time.monotonic() < end:
        now = state(page)
        if now["errors"] or (None not in now["counts"] and now["status"] == "idle"):
            return now
        page.wait_for_timeout(200)
    raise AssertionError(f"not at its end after {SECONDS_TO_RUN} s: {state(page)}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    looking.executable()
    pytest.importorskip("jupyterlab")
    place = tmp_path_factory.mktemp("lab")
    checkout, home = place / "checkout", place / "home"
    home.mkdir()
    shutil.copytree(ROOT / "notebooks", checkout / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    write_beginning(checkout / "notebooks" / f"{SLIDER_SOON}.ipynb", checkout / "notebooks" / f"{BEGINNING}.ipynb")
    write(checkout / "notebooks" / "faulty.ipynb", UNMOVED, "1 / 0", "print(2)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), place / "log"
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR",
               "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
    environment = {**os.environ, **{name: str(home / name.lower()) for name in folders}}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={checkout}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with log.open("w") as sink:
        server = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        await_server(server, f"{address}/api/status?token={token}", log)
        with looking.launched() as browser:
            visit = looking.opened(browser, f"{address}/lab?reset&token={token}")
            visit.page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('docmanager:open')")
            visit.page.evaluate("() => window.jupyterapp.restored")  # before, it would put its launcher in front
            yield Lab(visit, checkout)
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


def await_server(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def write(path: Path, *sources: str) -> None:
    """A notebook with cells `cell-0`, `cell-1`, ..."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def write_beginning(whole: Path, path: Path) -> None:
    """The notebook as far as its first slider, for a reader's first minute with it."""
    notebook = nbformat.read(whole, as_version=4)
    last = next(index for index, cell in enumerate(notebook.cells) if cell.id == sliders(whole)[0])
    notebook.cells = notebook.cells[: last + 1]
    nbformat.write(notebook, path)


@pytest.mark.timeout(SECONDS_TO_START + SECONDS_TO_RUN + 600)
@pytest.mark.parametrize("name", [BEGINNING, *(pytest.param(name, marks=pytest.mark.long) for name in NAMES)])
def test_notebook_runs_from_the_menu_and_its_sliders_work(lab: Lab, name: str) -> None:
    with lab.open(name) as page:
        end = run_all(page)
        assert end["errors"] == []
        assert end["stderr"] == []
        assert end["counts"] == list(range(1, len(end["counts"]) + 1))
        assert end["outputs"] > 0
        offered = sliders(lab.folder / "notebooks" / f"{name}.ipynb")
        assert offered or name != BEGINNING
        for cell in offered:
            move_sliders(page, cell)
        assert looking.strangers(lab.visit) == []


UNMOVED = """
import ipywidgets
from base64 import b64decode
from IPython.display import Image, display
dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
ipywidgets.interact(lambda x: display(Image(b64decode(dot), width=99)), x=ipywidgets.SelectionSlider(options=range(5)))
"""


def test_a_cell_that_fails_and_a_slider_that_changes_nothing_are_noticed(lab: Lab) -> None:
    from playwright.sync_api import TimeoutError as NeverHappened

    with lab.open("faulty") as page:
        assert run_all(page)["errors"] == ["cell-1: ZeroDivisionError: division by zero"]
        page.locator(".widget-interact img").wait_for()  # it is there, and stays as it is
        with pytest.raises(NeverHappened, match="wait_for_function"):
            move_sliders(page, "cell-0", patience=1_000)


def test_three_notebooks_have_sliders() -> None:
    found = {name for name in NAMES if sliders(ROOT / "notebooks" / f"{name}.ipynb")}
    assert found == {"02_steerable_filters", "04_t_h_layer_from_scratch", "05_equivariance_measured"}


def move_sliders(page: Any, cell: str, patience: float = looking.PATIENCE) -> None:
    """Every slider of a cell, once by key and once by mouse; each time the figure must become another.

    Arguments:
        patience: milliseconds to wait for that.
    """
    page.evaluate(
        """async id => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = notebook.widgets.findIndex(w => w.model.id == id);
            await notebook.scrollToItem(notebook.activeCellIndex, 'center');
        }""",
        cell,
    )
    group = page.locator(".jp-Notebook .jp-CodeCell.jp-mod-active .widget-interact")
    handles, picture = group.locator("[role=slider]"), group.locator("img")
    picture.wait_for()
    handles.first.wait_for()
    for number in range(handles.count()):
        handle, readout = handles.nth(number), group.locator(".widget-readout").nth(number)
        for way in ("key", "mouse"):
            before, value = picture.get_attribute("src"), readout.inner_text()
            if way == "key":
                handle.press("ArrowRight")
                if readout.inner_text() == value:  # it stood at its end
                    handle.press("ArrowLeft")
            else:
                drag(page, handle, group.locator(".noUi-base").nth(number))
            page.wait_for_function(
                """before => {
                    const now = document.querySelector(".jp-CodeCell.jp-mod-active .widget-interact img")?.src;
                    return now && now != before;
                }""",
                arg=before,
                timeout=patience,
            )
            assert readout.inner_text() != value


def drag(page: Any, handle: Any, track: Any) -> None:
    """Takes a slider's handle to the farther end of its track."""
    at, along = handle.bounding_box(), track.bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    ends = (along["x"] + 1, along["x"] + along["width"] - 1)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(max(ends, key=lambda end: abs(end - x)), y, steps=8)
    page.mouse.up()
