"""Nothing that is read from disk can run code: no pickle is ever loaded, YAML is read safely."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUSPECTS = {"load", "load_all", "unsafe_load", "full_load", "eval", "exec"}
SHELL = ("%", "!")  # lines of a notebook that are not Python


def unsafe(source: str) -> list[str]:
    """The calls in a piece of Python that could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in ("pickle", "dill", "joblib", "shelve", "marshal")]
        called = getattr(node, "func", None)
        if getattr(called, "attr", getattr(called, "id", None)) not in SUSPECTS:
            continue
        name = ast.unparse(node.func)
        values = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        bad = (
            (name == "torch.load" and values.get("weights_only") != "True")
            or (name.endswith(("np.load", "numpy.load")) and values.get("allow_pickle", "False") != "False")
            or name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "eval", "exec")
        )
        found += [ast.unparse(node)] if bad else []
    return found


def sources() -> dict[str, str]:
    """The code of the project by file: modules, and the code cells of the notebooks."""
    found = {
        str(path.relative_to(ROOT)): path.read_text()
        for package in ("sesn_lib", "data_prep")
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        lines = [line for cell in cells for line in ("".join(cell["source"]) + "\n").splitlines()]
        found[path.name] = "\n".join(line for line in lines if not line.startswith(SHELL))
    return found


def test_nothing_unsafe_is_loaded() -> None:
    code = sources()
    assert len(code) > 80, "the check sees the files"
    assert any("torch.load" in text for text in code.values()), "and calls that could be unsafe"
    assert {name: calls for name, text in code.items() if (calls := unsafe(text))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.full_load(text)",
        "eval(text)",
    ],
)
def test_the_check_notices(source: str) -> None:
    assert len(unsafe(source)) == 1
    assert unsafe("torch.load(path, weights_only=True); np.load(path); yaml.safe_load(text)") == []
