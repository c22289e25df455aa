"""Each notebook alone, through papermill, as people meet it: other parameters, no network, nothing to be written beside
it, a folder whose name has spaces and letters of other languages.

The short form puts all of that on two quick notebooks at once, both without records, and runs the cells of a third
with other parameters in this process; the long form puts each condition on each notebook.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from checkouts import checkout_copy, with_library
from isolation import cut_off, namespaces
from matplotlib import pyplot as plt
from test_notebooks import PATHS, code_cells, executed_in_order, no_errors, no_stderr
from test_results_notebooks import says_nothing

from sesn_lib.plotting import style

ODD = Path("a b") / "Überblick é"
CONDITIONS = ("other parameters", "no network", "read-only", "odd path")
QUICK = ("00_poster", "10_results")
SECONDS = 6000  # a guard against hanging

OTHERS: Mapping[str, Mapping[str, Any]] = {
    "00_poster": {"seed": 3, "records_folder": "{out}/none"},
    "01_group_equivariance": {"seed": 1, "digit": 4},
    "02_steerable_filters": {"seed": 1},
    "03_bases_on_a_grid": {"seed": 1},
    "04_t_h_layer_from_scratch": {"seed": 1},
    "05_equivariance_measured": {"seed": 1, "digits": 100, "compared": 500},
    "06_other_ways": {"seed": 1, "steps": 1, "draws": 3},
    "07_datasets": {"seed": 1, "realizations": 1, "png_checks": 0},
    "08_train_mnist_scale": {
        "seed": 1,
        "model": "mnist_cnn_28",
        "extra_scaling": 0.5,
        "realization": 1,
        "epochs": 1,
        "test_images": 100,
    },
    "09_train_stl10": {"seed": 1, "model": "wrn_16_8_ses_c", "run": 1, "step_images": 2},
    "10_results": {"seed": 1, "records_folder": "{out}/none"},
    "11_beyond_the_table": {"seed": 1, "records_folder": "{out}/none"},
}
"""Values that differ from the notebooks' own and ask for the same things; `{out}` is a folder that can be written."""
ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
    "08_train_mnist_scale": {"results": "{out}"},
    "10_results": {"tables_folder": "{out}/tables"},
    "11_beyond_the_table": {"tables_folder": "{out}/tables"},
}
"""Where a notebook that writes is to do so if it may not beside itself."""


def execute(
    checkout: Path, name: str, out: Path, parameters: Mapping[str, Any], *, apart: bool = False, locked: bool = False
) -> Any:
    """papermill's command on a notebook of `checkout`; the executed notebook.

    Arguments:
        parameters: `{out}` in a value becomes the folder `out`.
        apart: without a network.
        locked: with `checkout` read-only, and without a network.
    """
    out.mkdir(parents=True, exist_ok=True)
    source, target = checkout / "notebooks" / f"{name}.ipynb", out / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(target), "--cwd", str(source.parent)]
    command += ["--kernel", "python3", "--no-progress-bar", "--no-log-output"]
    for key, value in parameters.items():
        text = isinstance(value, str)
        command += ["-r" if text else "-p", key, value.replace("{out}", str(out)) if text else str(value)]
    environment = {**with_library(checkout), "SESN_GIT_COMMIT": "0123456"}  # the copy is no checkout, and is told
    if apart or locked:
        context = cut_off(command, environment, read_only=checkout if locked else None)
    else:
        context = nullcontext((command, environment))
    with context as (command, environment):
        done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(target, as_version=4)


def faults(notebook: Any, parameters: Mapping[str, Any]) -> list[str]:
    """What is wrong with an executed notebook; the parameters it was to be given are looked for in it."""
    injected = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    missing = [name for name in parameters if not any(f"{name} = " in source for source in injected)]
    complaints = executed_in_order(notebook) + no_errors(notebook) + no_stderr(notebook)
    return complaints + [f"{name} was not set" for name in missing]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout_copy(tmp_path_factory.mktemp("plain") / "checkout")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout_copy(tmp_path_factory.mktemp("odd") / ODD)


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", QUICK)
def test_all_conditions_at_once(odd: Path, tmp_path: Path, name: str) -> None:
    parameters = {**ELSEWHERE.get(name, {}), **OTHERS[name]}
    out = tmp_path / "öut put"
    notebook = execute(odd, name, out, parameters, locked=True)
    assert faults(notebook, parameters) == []
    says_nothing(name, notebook)
    if name in ELSEWHERE:
        assert list((out / "tables").iterdir()) != []
    assert not (odd / "build").exists()


@pytest.mark.usefixtures("clean_figures", "mnist_root", "one_thread")
def test_what_is_asserted_holds_with_other_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one notebook, whose figures are made and not drawn."""
    path = next(path for path in PATHS if path.stem == "01_group_equivariance")
    monkeypatch.chdir(path.parent)
    alternatives = []
    monkeypatch.setattr(style, "show", lambda figure, alt, **_: (alternatives.append(alt), plt.close(figure)))
    names: dict[str, Any] = {}
    for cell in code_cells(nbformat.read(path, as_version=4)):
        exec(compile(cell.source, cell.id, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            assert set(OTHERS[path.stem]) <= set(names)
            names |= OTHERS[path.stem]
    assert len(alternatives) >= 5


@pytest.mark.long
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", [path.stem for path in reversed(PATHS)])
def test_condition(plain: Path, odd: Path, tmp_path: Path, name: str, condition: str) -> None:
    parameters = OTHERS[name] if condition == "other parameters" else ELSEWHERE.get(name, {})
    checkout = odd if condition == "odd path" else plain
    notebook = execute(
        checkout, name, tmp_path, parameters, apart=condition == "no network", locked=condition == "read-only"
    )
    assert faults(notebook, parameters) == []


# The conditions are what they say, and a notebook that does not bear them is noticed


def test_other_parameters_exist_and_are_other() -> None:
    assert len(PATHS) == 12
    for path in PATHS:
        own = {name: parameter["default"] for name, parameter in papermill.inspect_notebook(str(path)).items()}
        for table in (OTHERS, ELSEWHERE):
            assert [n for n, value in table.get(path.stem, {}).items() if own[n] == json.dumps(value)] == []
        assert "seed" in OTHERS[path.stem]


PROBE = """
import socket
for attempt in (lambda: open("beside.txt", "w"), lambda: socket.create_connection(("192.0.2.1", 80), timeout=20)):
    try:
        attempt()
    except OSError as error:
        print(error)
    else:
        raise RuntimeError("it went through")
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """A checkout with one notebook, `probe`, that fails where it can write beside itself."""
    folder = tmp_path / ODD / "notebooks"
    folder.mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(source) for source in ("seed = 0", PROBE)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "probe.ipynb")
    return tmp_path / ODD


def test_conditions_are_real(probe: Path, tmp_path: Path) -> None:
    notebook = execute(probe, "probe", tmp_path / "out", {"seed": 1}, locked=True)
    assert faults(notebook, {"seed": 1}) == []
    if namespaces():
        assert "Read-only file system" in notebook.cells[-1].outputs[0].text
        assert "unreachable" in notebook.cells[-1].outputs[0].text


def test_a_notebook_that_fails_is_noticed(probe: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it went through"):
        execute(probe, "probe", tmp_path / "out", {"seed": 1})


def test_each_fault_of_an_executed_notebook_is_noticed() -> None:
    notebook = nbformat.read(PATHS[0], as_version=4)
    assert faults(notebook, {}) == []
    assert faults(notebook, {"seed": 1}) == ["seed was not set"]
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    last.outputs = [nbformat.v4.new_output("stream", name="stderr", text="a warning")]
    assert len(faults(notebook, {})) == 1


# What no notebook can do is refused by its first cell, in one line

IMPOSSIBLE: list[tuple[str, Mapping[str, Any], str]] = [
    *[(path.stem, {"seed": -1}, "seed") for path in PATHS if path.stem not in ("00_poster", "10_results")],
    ("01_group_equivariance", {"digit": 60_000}, "digit is 60000"),
    ("05_equivariance_measured", {"digits": 0}, "digits is 0"),
    ("05_equivariance_measured", {"compared": 50_001}, "compared is 50001"),
    ("06_other_ways", {"draws": 1}, "draws is 1"),
    ("06_other_ways", {"steps": 0}, "steps is 0"),
    ("07_datasets", {"realizations": 7}, "realizations is 7"),
    ("08_train_mnist_scale", {"model": "wrn_16_8"}, "notebook 9"),
    ("08_train_mnist_scale", {"model": "mnist_cnn_29"}, "mnist_cnn_29"),
    ("08_train_mnist_scale", {"extra_scaling": 0.0}, "0"),
    ("08_train_mnist_scale", {"realization": 6}, "6"),
    ("08_train_mnist_scale", {"epochs": 0}, "epochs is 0"),
    ("08_train_mnist_scale", {"train_images": 10_001}, "train_images is 10001"),
    ("08_train_mnist_scale", {"test_images": 0}, "test_images is 0"),
    ("08_train_mnist_scale", {"batch_size": "all"}, "batch_size is 'all'"),
    ("08_train_mnist_scale", {"precision": "fp8"}, "fp8"),
    ("08_train_mnist_scale", {"device": "abacus"}, "abacus"),
    ("09_train_stl10", {"model": "mnist_cnn_28"}, "mnist_cnn_28"),
    ("09_train_stl10", {"run": -1}, "-1"),
    ("09_train_stl10", {"step_images": 0}, "step_images is 0"),
]


def first_cell(name: str, parameters: Mapping[str, Any]) -> None:
    """Runs the parameters, as changed, and the first cell of code behind them."""
    path = next(path for path in PATHS if path.stem == name)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    start = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    names: dict[str, Any] = {}
    exec(cells[start].source, names)
    exec(cells[start + 1].source, names | dict(parameters))


@pytest.mark.parametrize(("name", "parameters", "said"), IMPOSSIBLE, ids=[f"{n[:2]} {p}" for n, p, _ in IMPOSSIBLE])
def test_what_cannot_be_is_refused_by_the_first_cell(name: str, parameters: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        first_cell(name, parameters)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_the_first_cell_takes_what_can_be(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    first_cell(name, {})
    first_cell(name, {k: v for k, v in OTHERS[name].items() if not isinstance(v, str) or "{out}" not in v})
    assert capsys.readouterr().err == ""
