"""Nothing newer than the oldest Python that is promised, and no warning from our own code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NEWER = {
    "a type statement": "type Number = int | float\n",
    "type parameters": "def first[T](values: list[T]) -> T:\n    return values[0]\n",
    "quotes within quotes": 'name = f"{\'a\' + "b"}"\n',
    "a backslash in an f-string": "lines = f\"{'\\n'.join([])}\"\n",
    "no brackets around exceptions": "try:\n    pass\nexcept ValueError, TypeError:\n    pass\n",
}


def ruff(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("ruff", reason="ruff is not installed")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E9", "--target-version"]
    command += [f"py{oldest().replace('.', '')}", *arguments]
    return subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True)


def oldest() -> str:
    return PROJECT["project"]["requires-python"].removeprefix(">=")


def test_one_oldest_python_is_named_everywhere() -> None:
    assert oldest() == "3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest(), "mypy knows which names the library of 3.11 has"
    assert "Python 3.11 or newer" in (ROOT / "README.md").read_text()
    assert "python>=3.11" in (ROOT / "environment.yml").read_text()


@pytest.mark.slow
def test_no_syntax_is_newer_than_the_oldest_python() -> None:
    done = ruff("sesn_lib", "data_prep", "tests", "notebooks")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("what", NEWER)
def test_the_syntax_check_can_fail(what: str) -> None:
    done = ruff("-", text=NEWER[what])
    assert done.returncode == 1, f"{what} was not noticed: {done.stderr}"
    assert "on Python 3.11" in done.stdout


@pytest.mark.parametrize("kind", [UserWarning, DeprecationWarning, RuntimeWarning, FutureWarning, ResourceWarning])
@pytest.mark.parametrize("module", ["sesn_lib.layers", "sesn_lib.report.pages", "data_prep.sources"])
def test_a_warning_of_our_code_is_an_error(module: str, kind: type[Warning]) -> None:
    with pytest.raises(kind, match="careful"):
        warnings.warn_explicit("careful", kind, "file.py", 1, module=module)


def test_a_warning_of_other_code_is_none() -> None:
    with pytest.warns(UserWarning, match="careful"):
        warnings.warn_explicit("careful", UserWarning, "file.py", 1, module="somebody.elses")
