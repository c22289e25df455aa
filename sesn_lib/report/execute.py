"""One notebook through papermill, with its errors turned into words and its output written aside."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets import default

Progress = Callable[[int, int], None]
_ENGINE = "sesn"


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook: `path` is the executed copy (None: not even begun), `error` one line or None."""

    name: str
    path: Path | None
    seconds: float
    error: str | None


class _ThisPython(AsyncKernelManager):
    """Kernels of the interpreter that runs now, whatever `python3` the user's or the system's folders name."""

    @default("kernel_spec_manager")
    def _own_specifications(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[], parent=self)  # what is left is ipykernel's own


class _Engine(NBClientEngine):
    """papermill's own engine, telling somebody after every cell."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, on_cell: Progress | None = None, **kwargs: Any
    ) -> Any:
        cells, complete = len(nb_man.nb.cells), nb_man.cell_complete

        def told(*args: Any, **options: Any) -> None:
            complete(*args, **options)
            if on_cell is not None:
                on_cell(1 + (options.get("cell_index") or 0), cells)

        nb_man.cell_complete = told
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


def run(
    source: Path, target: Path, parameters: Mapping[str, Any], *, timeout: int | None, on_cell: Progress | None = None
) -> Outcome:
    """Execute `source` in its own folder and leave the result as `target`, also when a cell fails.

    Arguments:
        parameters: replace those of the cell tagged `parameters`.
        timeout: seconds that one cell may take; None: as long as it likes.
        on_cell: told (cells done, cells in all) after every cell.

    A failure of any kind ends up in the outcome's `error`. Only an interrupt from the keyboard passes through.
    """
    papermill_engines.register(_ENGINE, _Engine)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    aside = target.with_name(f".{target.stem}.part.ipynb")
    start, error = time.perf_counter(), None
    try:
        unknown = sorted(set(parameters) - parameter_names(source))
        if unknown:
            raise ValueError(f"it has no parameter {', '.join(unknown)}")
        with _library_importable():
            papermill.execute_notebook(
                _literal(source),
                _literal(aside),
                dict(parameters),
                engine_name=_ENGINE,
                kernel_name="python3",
                progress_bar=False,
                cwd=source.resolve().parent,
                execution_timeout=timeout,
                on_cell=on_cell,
                kernel_manager_class=_ThisPython,
                extra_arguments=["--IPKernelApp.log_level=50"],  # its warnings are about set-ups, not about notebooks
            )
    except PapermillExecutionError as failed:
        error = f"cell {failed.exec_count}: {failed.ename}: {_first_line(failed.evalue)}"
    except Exception as failed:  # a dead kernel, a timeout, a full disk: the other notebooks may still work
        error = f"{type(failed).__name__}: {_first_line(str(failed))}"
    finally:
        finished = _publish(aside, target)
    return Outcome(source.stem, target if finished else None, time.perf_counter() - start, error)


def parameter_names(source: Path) -> set[str]:
    """The names that the cell tagged `parameters` assigns to."""
    notebook = nbformat.read(source, as_version=4)
    cells = [c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    return set(re.findall(r"^(\w+)\s*(?::[^=\n]*)?=", "\n".join(cells), re.MULTILINE))


def _literal(path: Path) -> str:
    """A path as papermill takes it, to which braces are the fields of a template."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def _publish(aside: Path, target: Path) -> bool:
    """Give the executed notebook its name, without the paths of this machine in its metadata."""
    if not aside.exists():
        return False
    try:
        notebook = nbformat.read(aside, as_version=4)
        for key in ("input_path", "output_path"):
            notebook.metadata.get("papermill", {}).pop(key, None)
        nbformat.write(notebook, aside)
        aside.replace(target)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        aside.unlink(missing_ok=True)
        return False
    return True


@contextmanager
def _library_importable() -> Iterator[None]:
    """Kernels started within the block import the library that is running now, installed or not."""
    before = os.environ.get("PYTHONPATH")
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
