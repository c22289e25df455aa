"""Docstrings have one form: whoever raises an error says which, under "Raises:"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for top in ("sesn_lib", "data_prep") for path in (ROOT / top).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
CLASSES = {node.name: node for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)}
CAUGHT_AS = {"RecordError": {"ValueError"}}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def raised(node: ast.AST, caught: frozenset[str] = frozenset()) -> set[str]:
    """Names of the errors that a function raises itself and does not catch again; not those of functions within."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = ast.unparse(error).rpartition(".")[2]
            if name[0].isupper() and not {name, "Exception", *CAUGHT_AS.get(name, ())} & caught:
                found.add(name)
        if isinstance(child, ast.Try):
            handled = {ast.unparse(part) for handler in child.handlers if handler.type for part in kinds(handler.type)}
            for part in child.body:
                found |= raised(ast.Module([part], []), caught | handled)
            found |= raised(ast.Module([*child.handlers, *child.orelse, *child.finalbody], []), caught)
        else:
            found |= raised(child, caught)
    return found - {"NotImplementedError", "Exit"}  # what is left to subclasses; how typer ends a command


def kinds(handled: ast.expr) -> list[ast.expr]:
    return list(handled.elts) if isinstance(handled, ast.Tuple) else [handled]


def functions(body: list[ast.stmt], owner: ast.ClassDef | None = None) -> Iterator[tuple[str, Function, str]]:
    """(name, function, docstring) of all that is public; without one it has its base's method's, or its class's."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, node)
        elif isinstance(node, Function) and (
            not node.name.startswith("_") or node.name in ("__init__", "__post_init__")
        ):
            above = [*inherited(owner, node.name), ast.get_docstring(owner) or ""] if owner else [""]
            yield f"{owner.name}.{node.name}" if owner else node.name, node, ast.get_docstring(node) or above[0]


def inherited(owner: ast.ClassDef, name: str) -> Iterator[str]:
    """Docstrings of the methods of this name in the bases of a class."""
    for base in owner.bases:
        above = CLASSES.get(ast.unparse(base).partition("[")[0])
        for method in above.body if above else ():
            if isinstance(method, Function) and method.name == name and (text := ast.get_docstring(method)):
                yield text


def silent(tree: ast.Module) -> list[str]:
    """Public functions that raise an error which their docstring does not name: `function: error`.

    A check whose docstring begins with "Raises" says nothing else.
    """
    return [
        f"{name}: {error}"
        for name, node, text in functions(tree.body)
        for error in sorted(raised(node))
        if error not in (text if text.startswith(("Raises ", "Raise ")) else text.partition("Raises:")[2])
    ]


def test_who_raises_says_so() -> None:
    """The commands of the command line apart: their docstrings are their help."""
    found = {str(path.relative_to(ROOT)): silent(tree) for path, tree in TREES.items() if "commands" not in path.stem}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_docstring_tells_of_errors_within_a_line() -> None:
    """But for checks, which begin with it."""
    texts = {(path, name): text for path, tree in TREES.items() for name, _, text in functions(tree.body)}
    loose = {where: text for where, text in texts.items() if " raises " in text or "Raises " in text}
    checks = {where for where, text in loose.items() if text.startswith(("Raises ", "Raise "))}
    assert {where for where, text in loose.items() if "Raises:" not in text} <= checks
    assert (len(TREES) > 100, len(texts) > 500, len(checks) > 10) == (True, True, True), "the control: they are read"


def test_arguments_stand_in_a_list() -> None:
    """One a line, below the word; "Arguments: as `other`" refers to another list."""
    loose = [
        f"{path.name}: {line.strip()}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, Function | ast.ClassDef)
        for line in (ast.get_docstring(node) or "").splitlines()
        if re.match(r"(Arguments|Attributes|Raises): (?!as )", line)
    ]
    assert loose == []


def test_the_check_notices() -> None:
    def of(source: str) -> list[str]:
        return silent(ast.parse(source))

    form = 'def f(x):\n    """Does.{said}\n    """\n    {body}\n'
    bare, tried = "raise ValueError(x)", "try:\n        raise ValueError\n    except {caught}:\n        pass"
    section = "\n\n    Raises:\n        ValueError: x."
    assert of(form.format(said="", body=bare)) == ["f: ValueError"]
    assert of(form.format(said=" Raises ValueError.", body=bare)) == ["f: ValueError"]
    assert of(form.format(said=section, body=bare)) == []
    assert of(form.format(said=section, body="raise KeyError")) == ["f: KeyError"]
    assert of(form.format(said="", body=tried.format(caught="(OSError, ValueError)"))) == []
    assert of(form.format(said="", body=tried.format(caught="KeyError"))) == ["f: ValueError"]
    assert of(form.format(said="", body="def g():\n        raise ValueError")) == []
    assert of("class A:\n    def __init__(self):\n        raise ValueError\n") == ["A.__init__: ValueError"]
    assert of("class _A:\n    def run(self):\n        raise ValueError\n") == []
