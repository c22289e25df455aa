"""Hygiene of the committed notebooks: executed in order, clean, described, linked to each other, readable.

nbval compares stored numbers with a new run, but a cell without a stored execution count passes it vacuously; these
tests look at what is stored. Each check is a function from a notebook to a list of complaints, with a negative control:
a notebook broken on purpose, in memory, about which it must complain.
"""

from __future__ import annotations

import copy
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from sesn_lib.report import reading

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_000_000
LONGEST_CELL, MEDIAN_CELL = 40, 8
FIRST_SCREEN = ("Before", "You will use", "Paper", "Run time")
# A home, a temporary or a working folder, a drive; not a fraction, a unit or an address on the web.
ABSOLUTE = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|var|work|opt|mnt|usr|private|content)/[\w.]|\b[A-Z]:\\\\?\w"
)

Notebook = Any
Check = Callable[[Notebook], list[str]]


def load(path: Path) -> Notebook:
    notebook = nbformat.read(path, as_version=4)
    notebook["name"], notebook["bytes"] = path.stem, path.stat().st_size
    return notebook


def code_cells(notebook: Notebook) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Notebook) -> list[tuple[str, Any]]:
    return [(cell.id, output) for cell in code_cells(notebook) for output in cell.outputs]


def tagged(notebook: Notebook, tag: str) -> list[Any]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


# The checks


def executed_in_order(notebook: Notebook) -> list[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}"]


def has_outputs(notebook: Notebook) -> list[str]:
    return [] if outputs(notebook) else ["no cell has any output"]


def no_errors(notebook: Notebook) -> list[str]:
    return [f"{name}: {output.ename}" for name, output in outputs(notebook) if output.output_type == "error"]


def no_stderr(notebook: Notebook) -> list[str]:
    return [f"{name}: {output.text[:60]}" for name, output in outputs(notebook) if output.get("name") == "stderr"]


def no_machine_names(notebook: Notebook) -> list[str]:
    """No absolute path in text, code or output; pictures are not text."""
    texts = [(cell.id, cell.source) for cell in notebook.cells]
    for name, output in outputs(notebook):
        data = {key: value for key, value in output.get("data", {}).items() if not key.startswith("image/")}
        texts += [(name, json.dumps(data)), (name, output.get("text", ""))]
    return [f"{name}: {match[0]}..." for name, text in texts for match in [ABSOLUTE.search(text)] if match]


def images_described(notebook: Notebook) -> list[str]:
    missing = []
    for name, output in outputs(notebook):
        for kind in output.get("data", {}):
            alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
            if kind.startswith("image/") and len(alt) < 20:
                missing.append(f"{name}: {kind} has the alternative text {alt!r}")
    return missing


def small(notebook: Notebook) -> list[str]:
    return [] if notebook["bytes"] < MOST_BYTES else [f"{notebook['bytes']} bytes"]


def plain_kernel(notebook: Notebook) -> list[str]:
    spec = notebook.metadata.get("kernelspec", {})
    found = (notebook.nbformat, notebook.nbformat_minor, spec.get("name"), spec.get("display_name"))
    return [] if found == (4, 5, "python3", "Python 3") else [f"format and kernel are {found}"]


def parameterised(notebook: Notebook) -> list[str]:
    cells = tagged(notebook, "parameters")
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters"]
    return [] if re.search(r"^seed = 0\b", cells[0].source, re.MULTILINE) else ["no parameter seed = 0"]


def first_screen(notebook: Notebook) -> list[str]:
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not text with a title"]
    missing = [word for word in FIRST_SCREEN if word not in first.source]
    promise = first.source.splitlines()[2:3]
    complaints = [f"the first screen lacks {missing}"] if missing else []
    return complaints + ([] if promise and len(promise[0]) > 60 else ["no promise in the third line"])


def one_title(notebook: Notebook) -> list[str]:
    titles = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in prose(cell.source)]
    found = [line for line in titles if line.startswith("# ")]
    return [] if len(found) == 1 else [f"{len(found)} headings of the first level"]


def prose(source: str) -> list[str]:
    """The lines of a text cell that are not in a fenced block of code."""
    return re.sub(r"^```.*?^```", "", source, flags=re.DOTALL | re.MULTILINE).splitlines()


def short_cells(notebook: Notebook) -> list[str]:
    own = [cell for cell in code_cells(notebook) if cell.id != "install"]  # that one is alike in all
    lengths = {cell.id: len(cell.source.splitlines()) for cell in own}
    complaints = [f"{name} has {length} lines" for name, length in lengths.items() if length > LONGEST_CELL]
    median = statistics.median(lengths.values())
    return complaints + ([f"the median code cell has {median} lines"] if median > MEDIAN_CELL else [])


def talks(notebook: Notebook) -> list[str]:
    """At least half as many text cells as code cells, never six code cells in a row."""
    kinds = ["t" if cell.cell_type == "markdown" else "c" for cell in notebook.cells]
    complaints = ["six code cells without a word between them"] if "cccccc" in "".join(kinds) else []
    return complaints + ([] if 2 * kinds.count("t") >= kinds.count("c") else ["too little text"])


def asserts(notebook: Notebook) -> list[str]:
    found = sum(len(re.findall(r"^\s*assert ", cell.source, re.MULTILINE)) for cell in code_cells(notebook))
    return (
        [] if 2 * found >= sum(cell.source.count("print(") for cell in code_cells(notebook)) else ["claims unasserted"]
    )


def unique_ids(notebook: Notebook) -> list[str]:
    names = [cell.get("id", "") for cell in notebook.cells]
    return [] if len(set(names)) == len(names) and all(names) else ["cell ids are missing or not unique"]


CHECKS: list[Check] = [
    executed_in_order, has_outputs, no_errors, no_stderr, no_machine_names, images_described, small, plain_kernel,
    parameterised, first_screen, one_title, short_cells, talks, asserts, unique_ids,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook(path: Path, check: Check) -> None:
    assert check(load(path)) == []


def test_there_are_notebooks() -> None:
    assert {"07_datasets", "08_train_mnist_scale"} <= {path.stem for path in PATHS}


# The chain


def chain_faults(names: list[str], first_cells: dict[str, str]) -> list[str]:
    """Each notebook's first screen links the one before and the one after it, and nothing that does not exist."""
    faults, order = [], sorted(names)
    for name in names:
        linked = re.findall(r"\((\w+)\.ipynb\)", first_cells[name])
        index = order.index(name)
        expected = order[max(index - 1, 0) : index] + order[index + 1 : index + 2]
        faults += [f"{name} does not link {target}" for target in expected if target not in linked]
        faults += [f"{name} links {target}, which is not there" for target in linked if target not in order]
    return faults


def first_cells() -> dict[str, str]:
    return {path.stem: load(path).cells[0].source for path in PATHS}


def test_notebooks_form_a_chain() -> None:
    assert chain_faults([path.stem for path in PATHS], first_cells()) == []


def test_the_chain_check_notices_a_missing_link() -> None:
    names, cells = [path.stem for path in PATHS], first_cells()
    cells["07_datasets"] = cells["07_datasets"].replace(".ipynb)", ".html)")
    neighbours = ["06_other_ways", "08_train_mnist_scale"]
    assert chain_faults(names, cells) == [f"07_datasets does not link {name}" for name in neighbours]
    assert chain_faults([*names, "99_more"], {**first_cells(), "99_more": ""}) == [
        "11_beyond_the_table does not link 99_more",
        "99_more does not link 11_beyond_the_table",
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in load(path).cells if cell.cell_type == "markdown")
    text = re.sub(r"\$\$.*?\$\$|\$[^$]+\$", "", text, flags=re.DOTALL)  # [f](x) in a formula is no link
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text)
    missing = [t for t in targets if "://" not in t and not (FOLDER / t).exists()]
    assert missing == []


# Lessons: boxes, exercises, reading time

LESSONS = [path for path in PATHS if path.stem[:2] in ("01", "02", "03", "04", "05")]
MINUTES = 90  # that all lessons together take, without what is folded
SLACK = 3  # minutes by which a stated reading time may differ from the counted one


def teaches(notebook: Notebook) -> list[str]:
    """The idea at the start, what to remember at the end, two exercises with hints and folded solutions that run."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    complaints = [] if any(text.startswith("> **The idea in three sentences.**") for text in texts) else ["no idea"]
    complaints += [] if any(text.startswith("> **What to remember.**") for text in texts) else ["nothing to remember"]
    exercises = next((text for text in texts if text.startswith("## Exercises")), "")
    complaints += [] if exercises.count("<summary>Hint</summary>") == 2 else ["not two exercises with hints"]
    names = [cell.metadata.get("fold") for cell in tagged(notebook, "hide-cell") if "assert" in cell.source]
    missing = [n for n in (1, 2) if f"Solution of exercise {n}" not in names]
    return complaints + [f"exercise {n} has no folded solution that asserts" for n in missing]


def stated_minutes(notebook: Notebook) -> int | None:
    match = re.search(r"Reading time\**\s*\| about (\d+) minutes", notebook.cells[0].source)
    return int(match[1]) if match else None


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson(path: Path) -> None:
    notebook = load(path)
    assert teaches(notebook) == []
    assert "symbols.md" in notebook.cells[0].source
    broken = copy.deepcopy(notebook)
    for cell in tagged(broken, "hide-cell"):
        cell.metadata.pop("fold", None)
    assert teaches(broken) != []  # negative control


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_reading_time_is_what_is_stated(path: Path) -> None:
    notebook = load(path)
    stated, counted = stated_minutes(notebook), reading.measure(notebook).minutes
    assert path not in LESSONS or stated is not None
    assert stated is None or abs(stated - counted) <= SLACK, f"stated {stated}, counted {counted:.1f}"


def test_the_lessons_take_an_hour_and_a_half() -> None:
    minutes = [reading.measure(load(path)).minutes for path in LESSONS]
    print(dict(zip([path.stem for path in LESSONS], np.round(minutes, 1))))
    assert sum(minutes) <= MINUTES
    assert sum(reading.measure(load(path), whole=True).minutes for path in LESSONS) > MINUTES  # folding matters


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_plumbing_is_tagged(path: Path) -> None:
    """Versions and imports fold on the site, and so does the code of a figure."""
    cells = code_cells(load(path))
    assert {"provenance", "imports"} <= {cell.id for cell in cells}
    for cell in cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.id in ("provenance", "imports"):
            assert "hide-cell" in tags, cell.id
        drawing = re.search(r"^(?:style\.(?:show|interactive)|motion\.show)\(", cell.source, re.MULTILINE)
        if drawing and "assert" not in cell.source:
            assert tags & {"hide-input", "hide-cell"}, cell.id


# Negative controls: one broken notebook per check


def _strip(notebook: Notebook) -> None:
    for cell in code_cells(notebook):
        cell.execution_count, cell.outputs = None, []


def _add(notebook: Notebook, **output: Any) -> None:
    code_cells(notebook)[-1].outputs.append(nbformat.from_dict(output))


def _first(notebook: Notebook, old: str, new: str) -> None:
    notebook.cells[0].source = notebook.cells[0].source.replace(old, new)


BREAKAGES: list[tuple[Check, Callable[[Notebook], Any]]] = [
    (executed_in_order, _strip),
    (executed_in_order, lambda n: code_cells(n)[1].update(execution_count=7)),
    (has_outputs, _strip),
    (no_errors, lambda n: _add(n, output_type="error", ename="ValueError", evalue="", traceback=[])),
    (no_stderr, lambda n: _add(n, output_type="stream", name="stderr", text="a warning")),
    (no_machine_names, lambda n: _add(n, output_type="stream", name="stdout", text="saved in /home/ada/x.txt")),
    (no_machine_names, lambda n: code_cells(n)[0].update(source="path = '/tmp/x'")),
    (
        images_described,
        lambda n: _add(n, output_type="display_data", data={"image/png": "AAAA"}, metadata={"image/png": {}}),
    ),
    (small, lambda n: n.update(bytes=MOST_BYTES)),
    (plain_kernel, lambda n: n.metadata.kernelspec.update(name="my-environment")),
    (parameterised, lambda n: tagged(n, "parameters")[0].metadata.update(tags=[])),
    (parameterised, lambda n: tagged(n, "parameters")[0].update(source="size = 3")),
    (first_screen, lambda n: _first(n, "You will use", "Uses")),
    (first_screen, lambda n: n.cells.pop(0)),
    (one_title, lambda n: n.cells[-1].update(source="# Another title", cell_type="markdown")),
    (short_cells, lambda n: code_cells(n)[-1].update(source="x = 1\n" * 41)),
    (short_cells, lambda n: [cell.update(source="x = 1\n" * 9) for cell in code_cells(n)]),
    (talks, lambda n: n.update(cells=[c for c in n.cells if c.cell_type == "code" or c.id == n.cells[0].id])),
    (asserts, lambda n: [c.update(source=c.source.replace("assert ", "print(").strip()) for c in code_cells(n)]),
    (unique_ids, lambda n: n.cells[1].update(id=n.cells[0].id)),
]


@pytest.mark.parametrize(("check", "damage"), BREAKAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_check_notices_damage(check: Check, damage: Callable[[Notebook], Any]) -> None:
    notebook = load(FOLDER / "07_datasets.ipynb")
    assert check(notebook) == []
    broken = copy.deepcopy(notebook)
    damage(broken)
    assert check(broken) != []


def test_every_check_has_a_negative_control() -> None:
    assert {check for check, _ in BREAKAGES} == set(CHECKS)
