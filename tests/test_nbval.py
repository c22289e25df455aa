"""nbval does notice a changed number, in every notebook; and opting out of the comparison is by tag and rare.

The notebooks themselves are under nbval in every run of the tests. Here copies with faults are: of each one that only
repeats what is stored, with every number changed; in the long form, itself with the last one changed. A notebook
whose outputs are those of another source needs no checksum: where the source matters to an output, nbval's new run
tells, and where it does not, nothing is stale.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from checkouts import checkout_copy, with_library
from test_notebooks import PATHS, code_cells, executed_in_order, load

IGNORED = "nbval-ignore-output"
# How nbval can be told not to compare; only the first is allowed here.
OPT_OUTS = (IGNORED, "nbval-skip", "nbval-raises-exception", "raises-exception", "skip")
COMMENT = re.compile(r"^\s*#\s*(?:NBVAL|PYTEST)_\w+", re.MULTILINE)
# Cells whose printed words or tables are compared with a new run, at least; a notebook may gain some.
COMPARED = {
    "00_poster": 4, "01_group_equivariance": 25, "02_steerable_filters": 22, "03_bases_on_a_grid": 15,
    "04_t_h_layer_from_scratch": 34, "05_equivariance_measured": 33, "06_other_ways": 28, "07_datasets": 16,
    "08_train_mnist_scale": 10, "09_train_stl10": 20, "10_results": 18, "11_beyond_the_table": 18,
}  # fmt: skip
MOST_IGNORED = 0.2  # of all code cells
# All cells whose output is not compared: what differs between machines (times, versions, floats of a training) or grows
# with the records. Whoever adds one says so here.
MAY_DIFFER = {
    "00_poster": {"in-short", "table", "verdict", "verdict-fig", "small-fig"},
    "01_group_equivariance": set(),
    "02_steerable_filters": set(),
    "03_bases_on_a_grid": set(),
    "04_t_h_layer_from_scratch": {"time-print"},
    "05_equivariance_measured": {"accuracy-print", "accuracy-gap", "all-digits", "trained"},
    "06_other_ways": {"time-print", "table", "cost-figure"},
    "07_datasets": set(),
    "08_train_mnist_scale": {
        "train", "curve", "confusion", "mistakes", "by-scale", "record", "round", "gradients", "pairs", "pairs-check",
        "early", "grid", "device", "decides",
    },
    "09_train_stl10": {"data", "step", "table", "train", "paper"},
    "10_results": {
        "answer", "pooled", "table", "grid", "forest", "cells", "claims-fig", "claims-all", "curves", "scale",
        "scale-ratio", "scale-tables", "time", "part", "cost", "cost-tables", "gpu-runs", "power", "whole",
        "pooled-tally", "passes-likelihood", "claims-tests", "interactions", "closing", "checklist",
        "dependence", "dependence-table", "dependence-tight", "duels", "duels-fig", "duels-table", "not-here",
    },
    "11_beyond_the_table": {"bases-table"},
}  # fmt: skip

Notebook = Any


def printed(cell: Any) -> str:
    """What nbval compares of a cell: its stored text; empty where it opts out."""
    if set(OPT_OUTS) & set(cell.metadata.get("tags", [])):
        return ""
    texts = [output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "".join(texts)


def compared(notebook: Notebook) -> list[int]:
    """Places, among the code cells, of those that print something that is compared."""
    return [place for place, cell in enumerate(code_cells(notebook)) if printed(cell)]


def numbers(notebook: Notebook) -> list[int]:
    """Places of those that print a number into their stream of text."""
    cells = code_cells(notebook)
    return [place for place in compared(notebook) if re.search(r"\d", streamed(cells[place]))]


def streamed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def change_number(notebook: Notebook, place: int) -> None:
    """Adds one to the last digit of a cell's first stored number."""
    for output in code_cells(notebook)[place].outputs:
        if re.search(r"\d", output.get("text", "")):
            output.text = re.sub(r"\d(?!\d)", lambda digit: str((int(digit[0]) + 1) % 10), output.text, count=1)
            return
    raise ValueError(f"code cell {place} prints no number")


REPEAT = """
import json, sys
from IPython.display import publish_display_data
for output in json.loads({outputs!r}):
    if output["output_type"] == "stream":
        print(output["text"], end="", file=getattr(sys, output["name"]), flush=True)
    else:
        publish_display_data(output["data"], output["metadata"])
"""


def repeating(notebook: Notebook) -> Notebook:
    """The notebook with sources that repeat what is stored: the same outputs and tags, in a second, without pictures.

    Pictures nbval does not compare.
    """
    twin = copy.deepcopy(notebook)
    for cell in code_cells(twin):
        for output in cell.outputs:
            if output.get("data", {}).pop("image/png", None):
                output.metadata = {}
        cell.source = REPEAT.format(outputs=json.dumps(cell.outputs))
    return twin


def write(notebook: Notebook, path: Path) -> None:
    plain = {key: value for key, value in notebook.items() if key not in ("name", "bytes")}
    nbformat.write(nbformat.from_dict(plain), path)


def nbval(paths: list[Path]) -> dict[str, dict[int, str]]:
    """Runs nbval as the tests do; notebook -> code cell -> "PASSED" or "FAILED"."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=3000", "-rA", "-q", "--tb=no"]
    folder = paths[0].parent
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-o", "addopts=", *(path.name for path in paths)],
        cwd=folder, env=with_library(), capture_output=True, text=True, timeout=6000,
    )  # fmt: skip
    found: dict[str, dict[int, str]] = {path.stem: {} for path in paths}
    reported = re.findall(r"^(PASSED|FAILED|ERROR) \S*?(\w+)\.ipynb::Cell (\d+)", done.stdout, re.MULTILINE)
    for outcome, name, cell in reported:
        found[name][int(cell)] = outcome
    assert all(found.values()), done.stdout + done.stderr
    return found


def only(places: list[int], cells: int) -> dict[int, str]:
    """What nbval should say: failed at `places`, else passed."""
    return {cell: "FAILED" if cell in places else "PASSED" for cell in range(cells)}


# A changed number, a changed source, a stripped notebook


@pytest.mark.slow
def test_every_number_is_compared(tmp_path: Path) -> None:
    """All notebooks as one, which one kernel repeats."""
    whole, places = repeating(load(PATHS[0])), []
    whole.cells = []
    for path in PATHS:
        changed, before = repeating(load(path)), len(whole.cells)
        for place in numbers(changed):
            change_number(changed, place)
        places += [before + place for place in numbers(changed)]
        assert places[-1:] >= [before], f"{path.stem} has some"
        whole.cells += [{**cell, "id": f"{path.stem[:2]}-{cell.id}"} for cell in code_cells(changed)]
    write(whole, tmp_path / "all.ipynb")
    assert len(places) > 150
    assert nbval([tmp_path / "all.ipynb"]) == {"all": only(places, len(whole.cells))}


@pytest.mark.slow
def test_a_stale_notebook_fails_and_a_stripped_one_would_not(tmp_path: Path) -> None:
    """Why there is a check of our own for stripped notebooks: nbval has nothing to compare and is content."""
    stored = repeating(load(next(path for path in PATHS if path.stem == "04_t_h_layer_from_scratch")))
    first, cells = numbers(stored)[0], numbers(stored)[0] + 2
    stored.cells = code_cells(stored)[:cells]
    stale, stripped = copy.deepcopy(stored), copy.deepcopy(stored)
    code_cells(stale)[first].source += "\nprint('one line more')"
    for cell in code_cells(stripped):
        cell.outputs, cell.execution_count = [], None
    write(stale, tmp_path / "stale.ipynb")
    write(stripped, tmp_path / "stripped.ipynb")
    found = nbval([tmp_path / "stale.ipynb", tmp_path / "stripped.ipynb"])
    assert found == {"stale": only([first], cells), "stripped": only([], cells)}
    assert executed_in_order(stale) == []
    assert executed_in_order(stripped) != []


@pytest.mark.long
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_last_number_of_the_whole_notebook_is_compared(tmp_path: Path, path: Path) -> None:
    folder = checkout_copy(tmp_path / "checkout") / "notebooks"
    notebook = load(path)
    last = numbers(notebook)[-1]
    change_number(notebook, last)
    write(notebook, folder / path.name)
    assert nbval([folder / path.name]) == {path.stem: only([last], len(code_cells(notebook)))}


# How much is compared


def opted_out(notebook: Notebook) -> list[str]:
    """Cells that opt out of the comparison in a way that is not the one agreed on."""
    found = [
        f"{cell.id}: {tag}" for cell in code_cells(notebook) for tag in cell.metadata.get("tags", [])
        if tag in OPT_OUTS and tag != IGNORED
    ]  # fmt: skip
    return found + [f"{cell.id}: {match[0]}" for cell in code_cells(notebook) if (match := COMMENT.search(cell.source))]


def ignored(notebook: Notebook) -> list[str]:
    return [cell.id for cell in code_cells(notebook) if IGNORED in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_compared(path: Path) -> None:
    notebook = load(path)
    print(f"{path.stem}: {len(compared(notebook))} of {len(code_cells(notebook))} code cells compared by their text")
    assert len(compared(notebook)) >= COMPARED[path.stem]
    assert opted_out(notebook) == []
    assert set(ignored(notebook)) == MAY_DIFFER[path.stem] | {"provenance"}  # versions and machines differ


def test_opting_out_is_rare() -> None:
    notebooks = [load(path) for path in PATHS]
    share = sum(len(ignored(n)) for n in notebooks) / sum(len(code_cells(n)) for n in notebooks)
    assert share < MOST_IGNORED


@pytest.mark.parametrize(
    "damage",
    [
        lambda cell: cell.metadata.update(tags=["nbval-skip"]),
        lambda cell: cell.metadata.update(tags=["raises-exception"]),
        lambda cell: cell.update(source=f"# NBVAL_IGNORE_OUTPUT\n{cell.source}"),
    ],
)
def test_another_way_of_opting_out_is_noticed(damage: Callable[[Any], None]) -> None:
    notebook = load(PATHS[0])
    damage(code_cells(notebook)[3])
    assert len(opted_out(notebook)) == 1


def test_a_cell_that_opts_out_is_not_counted() -> None:
    notebook = load(PATHS[0])
    before = compared(notebook)
    code_cells(notebook)[before[0]].metadata.update(tags=[IGNORED])
    assert compared(notebook) == before[1:]
