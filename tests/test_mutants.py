"""The runner of deliberate mistakes: it tells killed from survived, and says where a mistake can no longer be made."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "mutants"))
import run

MUTANT = run.Mutant("toy.py", "a + b", "a - b", ("test_toy.py",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "toy.py").write_text("def add(a, b):\n    return a + b\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("assert add(1, 2) == 3", "killed"),
        ("assert add(1, 0) == 1", "survived"),
        ("import time; time.sleep(60)", "killed"),
    ],
)
def test_a_mistake_is_noticed_or_not(root: Path, test: str, said: str) -> None:
    (root / "test_toy.py").write_text(f"from toy import add\ndef test():\n    {test}\n")
    (root / "toy.py").write_text(MUTANT.applied(root))
    assert run.verdict(root, MUTANT.tests, seconds=1.0 if "sleep" in test else 60.0) == said


@pytest.mark.slow
def test_without_tests_nothing_was_noticed(root: Path) -> None:
    assert run.verdict(root, ("test_absent.py",)) == "without tests"


@pytest.mark.parametrize("text", ["", "a + b + a + b", "a-b"])
def test_a_mistake_that_has_no_place_any_more_is_an_error(root: Path, text: str) -> None:
    assert MUTANT.applied(root) == "def add(a, b):\n    return a - b\n"
    (root / "toy.py").write_text(text)
    with pytest.raises(ValueError, match=rf"found {text.count('a + b')} times, must be once"):
        MUTANT.applied(root)


def test_every_mistake_of_the_list_can_be_made() -> None:
    """Whoever changes a line that the list names moves the mistake along, in the same commit."""
    mutants = run.load()
    assert len({(m.file, m.old, m.new) for m in mutants}) == len(mutants) >= 100
    moved = []
    for mutant in mutants:
        try:
            mutant.applied(run.ROOT)
        except ValueError as error:
            moved.append(f"{mutant}: {error}")
    assert moved == []


@pytest.mark.slow
def test_every_mistake_of_the_list_is_python() -> None:
    compiled = 0
    for mutant in run.load():
        if mutant.file.endswith(".py"):
            compile(mutant.applied(run.ROOT), str(mutant), "exec", ast.PyCF_ONLY_AST)
            compiled += 1
    assert compiled > 500


def test_the_list_names_tests_that_exist() -> None:
    mutants = run.load()
    named = {test.partition("::")[0] for mutant in mutants for test in mutant.tests}
    assert all((run.ROOT / test).is_file() for test in named)
    for mutant in mutants:
        for test in mutant.tests:
            file, _, function = test.partition("::")
            assert f"def {function}" in (run.ROOT / file).read_text(), test
