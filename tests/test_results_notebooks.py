"""The two notebooks on results with no records and with a few, in a batch; all records are the poster's test.

`says_nothing` is what they say without records; `test_notebook_conditions` asks for it, which runs both so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from test_plotting_results import CELLS, synthetic

from sesn_lib.report import execute
from sesn_lib.store.records import Store

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def run(name: str, which: str, folder: Path) -> tuple[Any, str]:
    """The executed notebook and all that its cells printed or showed as tables."""
    draws = np.random.default_rng(0)
    for cell in CELLS.get(which, []):
        Store(folder / "records").write(synthetic(cell, draws))
    parameters = {"records_folder": str(folder / "records")}
    if name.startswith("10"):
        parameters["tables_folder"] = str(folder / "tables")
    outcome = execute.run(NOTEBOOKS / f"{name}.ipynb", folder / "out.ipynb", parameters, timeout=600)
    assert outcome.error is None
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    return notebook, said_by(notebook)


def said_by(notebook: Any) -> str:
    """All that the cells of an executed notebook printed or showed as tables."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    said = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs]
    said += [
        output.data["text/markdown"].replace("*", "") for output in outputs if "text/markdown" in output.get("data", {})
    ]
    return "\n".join(said)


def images(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert all(len(output.metadata["image/png"]["alt"]) > 20 for output in shown)
    return len(shown)


def says_nothing(name: str, notebook: Any) -> None:
    """Asserts that a notebook executed without records lets the published figures speak, and claims nothing of ours."""
    said = said_by(notebook)
    nothing = {
        "00_poster": "Nothing yet from our own runs: none of the 120",
        "10_results": "Nothing yet: none of the 120",
    }
    assert f"{nothing[name]} is done." in said
    assert said.count("no run yet") >= 40, "the whole table, missing cells as missing"
    published = {"00_poster": "", "10_results": " supported: −0.47 [−0.54, −0.40] | no data |"}[name]
    assert f"| SESN beats the plain CNN | 28 | no data | – |{published}" in said
    assert images(notebook) == {"00_poster": 3, "10_results": 7}[name]
    if name.startswith("10"):
        assert "no cell has 3 runs yet" in said
        assert said.count("no complete record yet") == 3


def test_two_realizations_are_shown_and_decide_nothing(tmp_path: Path) -> None:
    notebook, said = run("10_results", "some", tmp_path)
    assert "From our own runs (20 of 120)" in said
    assert "a direction, not a verdict" in said
    assert "differs: 0, the same: 0, undecided: 6, no run yet: 6" in said
    assert "undecided at 28 (" in said
    assert images(notebook) == 10
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".md", ".tex", ".csv"}
    assert "SESN Vector,this repetition" in (tmp_path / "tables" / "paper_table.csv").read_text()
