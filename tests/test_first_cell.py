"""The cell that installs the package where it is absent, as in Colab, tried without the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
CELL = ROOT / "tests" / "reference" / "first_cell.py"
TAG = "install"
PIP = "import json, sys\nprint('pip', json.dumps(sys.argv[1:]))\n"


def run(folder: Path, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The cell in a Python without the package, whose pip says what it is asked for."""
    fake = tmp_path / "packages"
    (fake / "pip").mkdir(parents=True, exist_ok=True)
    (fake / "pip" / "__init__.py").touch()
    (fake / "pip" / "__main__.py").write_text(PIP)
    program = f"exec(open({str(CELL)!r}).read())\nimport os\nprint('in', os.getcwd(), sys.path[0])"
    return subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(fake), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_says_in_one_line_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "sesn_lib is not installed: `pip install -e .` in its checkout, or set SESN_REPOSITORY to its address"
    ]
    assert done.stdout == ""


@pytest.mark.parametrize("deep", ["notebooks", "notebooks/deep"])
def test_it_installs_from_the_checkout_around(deep: str, tmp_path: Path) -> None:
    checkout = tmp_path / "it's {a} checkout"
    for folder in ("sesn_lib", "notebooks/deep"):
        (checkout / folder).mkdir(parents=True)
    (checkout / "sesn_lib" / "__init__.py").touch()
    done = run(checkout / deep, tmp_path)
    assert done.stdout.splitlines() == [
        f"pip {json.dumps(['install', '-q', '-e', str(checkout)])}",
        f"in {checkout / 'notebooks'} {checkout}",
    ], done.stderr


def test_it_fetches_from_an_address(tmp_path: Path) -> None:
    away = tmp_path / "away"
    (away / "notebooks").mkdir(parents=True)
    (away / "notebooks" / "a.txt").touch()
    git = ["git", "-C", str(away), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (tmp_path / "content").mkdir()
    done = run(tmp_path / "content", tmp_path, SESN_REPOSITORY=f"file://{away}", HOME=str(tmp_path))
    assert "sesn-report" in done.stdout.splitlines()[0], done.stderr
    assert (tmp_path / "content" / "sesn-report" / "notebooks" / "a.txt").exists()


def test_it_does_nothing_where_the_package_is(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(CELL)], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_notebooks_have_the_cell_as_it_is_here() -> None:
    """Right behind the first screen, with a way to Colab before it."""
    found = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        for i, cell in enumerate(cells):
            if TAG in cell["metadata"].get("tags", []):
                found += 1
                assert "".join(cell["source"]) == CELL.read_text().strip(), path.name
                assert i == 2
                assert "https://colab.research.google.com/" in "".join(cells[1]["source"])
    assert found >= 2
