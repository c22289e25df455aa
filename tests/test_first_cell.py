"""The cell that installs the package where it is absent, as in Colab, tried without the package."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
CELL = ROOT / "tests" / "reference" / "first_cell.py"
TAG = "install"
PIP = "import json, sys\nprint('pip', json.dumps(sys.argv[1:]))\n"


@pytest.fixture
def colab() -> ModuleType:
    """The program that writes the address of the repository."""
    spec = importlib.util.spec_from_file_location("colab", ROOT / ".ci" / "colab.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, tmp_path: Path, cell: Path = CELL, **variables: str) -> subprocess.CompletedProcess[str]:
    """The cell in a Python without the package, whose pip says what it is asked for."""
    fake = tmp_path / "packages"
    (fake / "pip").mkdir(parents=True, exist_ok=True)
    (fake / "pip" / "__init__.py").touch()
    (fake / "pip" / "__main__.py").write_text(PIP)
    program = f"exec(open({str(cell)!r}).read())\nimport os\nprint('in', os.getcwd(), sys.path[0])"
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


@pytest.mark.parametrize("how", ["told", "written into the cell"])
def test_it_fetches_from_an_address(how: str, tmp_path: Path, colab: ModuleType) -> None:
    away = tmp_path / "away"
    (away / "notebooks").mkdir(parents=True)
    (away / "notebooks" / "a.txt").touch()
    git = ["git", "-C", str(away), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (tmp_path / "content").mkdir()
    if how == "told":
        done = run(tmp_path / "content", tmp_path, SESN_REPOSITORY=f"file://{away}", HOME=str(tmp_path))
    else:
        written = tmp_path / "cell.py"
        written.write_text(colab.cell(f"file://{away}"))
        done = run(tmp_path / "content", tmp_path, written, HOME=str(tmp_path))
    assert "sesn-report" in done.stdout.splitlines()[0], done.stderr
    assert (tmp_path / "content" / "sesn-report" / "notebooks" / "a.txt").exists()


def test_it_does_nothing_where_the_package_is(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(CELL)], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_notebooks_have_the_cell_as_it_is_here(colab: ModuleType) -> None:
    """Right behind the first screen, with a way to Colab before it; the address as pyproject.toml has it."""
    found, address = 0, colab.stored()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        for i, cell in enumerate(cells):
            if TAG in cell["metadata"].get("tags", []):
                found += 1
                assert "".join(cell["source"]) == colab.cell(address), path.name
                assert i == 2
                assert "".join(cells[1]["source"]) == colab.badge(address, path.name)
    assert found == len(list((ROOT / "notebooks").glob("*.ipynb")))


def test_an_address_is_written_in_one_place(
    colab: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("00_poster.ipynb", "02_steerable_filters.ipynb")
    (tmp_path / "notebooks").mkdir()
    for name in names:
        shutil.copy(ROOT / "notebooks" / name, tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    monkeypatch.setattr(colab, "SETTINGS", tmp_path / "pyproject.toml")

    def cells(name: str) -> list[dict]:
        return json.loads((tmp_path / "notebooks" / name).read_text())["cells"]

    before = cells(names[1])
    for address in ("https://github.com/a-b/c.d.git", "https://github.com/e/f/"):
        assert colab.main([address]) == 0
    assert colab.stored() == "https://github.com/e/f"
    assert (tmp_path / "pyproject.toml").read_text().count("[project.urls]") == 1
    after = cells(names[1])
    link = "https://colab.research.google.com/github/e/f/blob/HEAD/notebooks/02_steerable_filters.ipynb"
    assert f"[Open in Colab]({link})" in "".join(after[1]["source"])
    assert 'os.environ.get("SESN_REPOSITORY", "https://github.com/e/f")' in "".join(after[2]["source"])
    assert [a for a, b in zip(after, before) if a != b] == after[1:3], "nothing else is touched"
    assert colab.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "https://github.com/e/f: 0 notebooks changed"
    assert colab.main(["git@github.com:e/f"]) == 2
    assert "it must be one such as https://github.com/OWNER/NAME" in capsys.readouterr().err
    assert colab.stored() == "https://github.com/e/f"
