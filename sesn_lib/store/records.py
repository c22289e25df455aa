"""Finished runs on disk: one JSON record per cell, written once and whole, read back with suspicion.

    <folder>/runs/<cell>.json      a finished run; never overwritten, never changed
    <folder>/failed/<cell>.json    the last failure of a cell that has no record
    <folder>/results.yml           the table of errors, made from the records by `collect`
    <folder>/runs/.locks/          which cells are being worked on

A record appears by linking a finished, synced temporary file to its name, so a reader sees all of it or nothing,
whenever the writer dies. Only files that are named after a cell are read; others are none of ours and are left alone.
What cannot be a record is passed over by those who look, and said; only who is about to write renames it to `*.damaged`
(`Store.set_aside_damaged`). It is not deleted, and nothing of it is believed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sesn_lib.experiments.base import ALL, Experiment
from sesn_lib.experiments.mnist_scale import EXPERIMENT as MNIST_SCALE
from sesn_lib.experiments.registry import EXPERIMENTS, cell_named
from sesn_lib.store.atomic import rename_damaged, write_aside
from sesn_lib.store.schema import SCHEMA, AnyCell, RecordError, cell_of, deterministic_part, validate

__all__ = ["RecordError", "Store", "collect", "deterministic_part", "now", "read_record", "validate"]

log = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=AnyCell)


class Store:
    """The records below one results folder.

    Arguments:
        folder: the results folder; it need not exist before the first write.

    Attributes:
        damaged: (path, reason) of every file that this object found unusable, under the name that it has now.
        foreign: files among the records that are named after no cell, hidden ones aside; known once it has looked.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        self.failed = self.folder / "failed"
        self.locks = self.runs / ".locks"
        self.damaged: list[tuple[Path, str]] = []
        self.foreign: set[Path] = set()

    def path(self, cell: AnyCell) -> Path:
        """Where the record of a cell is or will be."""
        return self.runs / f"{cell.name}.json"

    def has(self, cell: AnyCell) -> bool:
        """Whether there is a file under the record's name; `load` says whether it is a record."""
        return self.path(cell).exists()

    def write(self, record: dict[str, Any]) -> Path:
        """Validates a record and stores it under its cell's name; a failure noted earlier for the cell is dropped.

        Raises:
            RecordError: not a valid record.
            FileExistsError: the cell has a record; the old one is left as it is.
            OSError: the folder cannot be written, the disk is full; nothing is left behind.
        """
        cell = validate(record)
        path = self.path(cell)
        write_aside(path, _dump(record), replace=False)
        self.forget_failure(cell)
        return path

    def load(self, cell: AnyCell) -> dict[str, Any]:
        """The record of a cell.

        Raises:
            FileNotFoundError: there is none.
            RecordError: the file is no record.
        """
        return read_record(self.path(cell))

    def find(self, cell: AnyCell) -> dict[str, Any] | None:
        """The record of a cell; None if there is none, or a file that is none."""
        try:
            return self.load(cell)
        except (FileNotFoundError, NotADirectoryError, RecordError):
            return None

    def load_all(self) -> list[dict[str, Any]]:
        """All records, in the grid's order, cells outside the grid last. Files that are none are said and left."""
        records = []
        for path in self.files():
            try:
                records.append(read_record(path))
            except FileNotFoundError:  # a runner has just set it aside
                continue
            except RecordError as error:
                self._pass_over(path, str(error))
        cells = [cell for experiment in EXPERIMENTS.values() for cell in experiment.cells(ALL)]
        order = {cell: position for position, cell in enumerate(cells)}
        return sorted(records, key=lambda record: order.get(_cell(record), len(cells)))

    def records_of(self, kind: type[Kind]) -> dict[Kind, dict[str, Any]]:
        """The records of one experiment, by cell: of its type of cell; a folder may hold several."""
        return {cell: record for record in self.load_all() if isinstance(cell := _cell(record), kind)}

    def failures_of(self, kind: type[Kind]) -> dict[Kind, str]:
        """Likewise the errors of the cells that failed and have no record."""
        return {cell: note["error"] for note in self.failures() if isinstance(cell := _cell(note), kind)}

    def files(self, folder: Path | None = None) -> Iterator[Path]:
        """The files in the folder of the records, or of the failures, that are named after a cell."""
        for path in sorted((folder or self.runs).glob("*.json")):
            if path.name.startswith(".") or not path.is_file():
                continue
            if cell_named(path.stem) is not None:
                yield path
            elif path not in self.foreign:
                self.foreign.add(path)
                log.warning("not read: %s: its name is no cell's", path)

    def _pass_over(self, path: Path, reason: str) -> None:
        if (path, reason) not in self.damaged:
            self.damaged.append((path, reason))
            log.warning("unusable: %s: %s", path, reason)

    def set_aside_damaged(self) -> None:
        """Sets aside every record and note of a failure that is none; for those who are about to write."""
        for folder, read in ((self.runs, read_record), (self.failed, _read_failure)):
            for path in self.files(folder):
                try:
                    read(path)
                except FileNotFoundError:
                    continue
                except RecordError as error:
                    self.set_aside(path, str(error))

    def set_aside(self, path: Path, reason: str) -> None:
        """Renames an unusable file to `*.damaged`, keeping what was set aside before, and remembers why."""
        try:
            target = rename_damaged(path)
        except FileNotFoundError:  # another process was faster
            return
        except OSError as error:
            reason = f"{reason}; it could not be set aside ({error.strerror})"
            self.damaged.append((path, reason))
            log.warning("unusable: %s: %s", path, reason)
            return
        self.damaged.append((target, reason))
        log.warning("set aside %s: %s", target, reason)

    def set_aside_before(self) -> list[Path]:
        """The files in the folder that were set aside, by this object or an earlier one."""
        return sorted([*self.runs.glob("*.damaged"), *self.failed.glob("*.damaged")])

    def write_failure(self, cell: AnyCell, error: str) -> Path:
        """Notes that a cell failed, and how; a later failure of the same cell replaces the note."""
        failure = {"schema": SCHEMA, "cell": cell.as_dict(), "error": error, "when": now()}
        path = self.failed / f"{cell.name}.json"
        write_aside(path, _dump(failure), replace=True)
        return path

    def failures(self) -> list[dict[str, Any]]:
        """The noted failures of cells that have no record, by name of the cell."""
        failures = []
        for path in self.files(self.failed):
            try:
                failure = _read_failure(path)
            except FileNotFoundError:
                continue
            except RecordError as error:
                self._pass_over(path, str(error))
                continue
            if not self.has(_cell(failure)):
                failures.append(failure)
        return failures

    def has_failed(self, cell: AnyCell) -> bool:
        """Whether there is a note that the cell failed."""
        return (self.failed / f"{cell.name}.json").exists()

    def forget_failure(self, cell: AnyCell) -> None:
        """Drops the note that a cell failed, so that it is tried again."""
        if self.has_failed(cell):
            (self.failed / f"{cell.name}.json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes temporary files that a writer left which died after its record had appeared."""
        for path in self.runs.glob(".*.json.*.tmp"):
            if (self.runs / (path.name[1:].partition(".json.")[0] + ".json")).exists():
                path.unlink(missing_ok=True)

    def forget_leftovers(self, cell: AnyCell) -> None:
        """Removes temporary files of a writer that died; call it only while holding the cell's lock."""
        for folder in (self.runs, self.failed):
            for path in folder.glob(f".{cell.name}.json.*.tmp"):
                path.unlink(missing_ok=True)


def now() -> str:
    """The present moment in UTC, to the second, e.g. `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dump(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _refuse_constant(name: str) -> Any:
    raise RecordError(f"it holds {name}, which is no number")


def _parse(path: Path) -> dict[str, Any]:
    try:
        # Bytes, since some editors and shells write a byte order mark, or UTF-16.
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RecordError(f"not a JSON object but {type(content).__name__}")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """The record that a file holds.

    Raises:
        RecordError: it holds none, or that of another cell than its name says.
        FileNotFoundError: it is not there.
    """
    record = _parse(path)
    cell = validate(record)
    if path.name != f"{cell.name}.json":
        raise RecordError(f"it holds the record of {cell.name}, whose file is {cell.name}.json")
    return record


def _read_failure(path: Path) -> dict[str, Any]:
    failure = _parse(path)
    cell_of(failure.get("cell"))
    if failure.get("schema") != SCHEMA or not isinstance(failure.get("error"), str):
        raise RecordError("not a note of a failure")
    return failure


def _cell(record: dict[str, Any]) -> AnyCell:
    return cell_of(record["cell"])


def _table(
    models: Iterable[str], cells: Sequence[AnyCell], errors: Mapping[AnyCell, float]
) -> dict[str, dict[Any, dict[int, float]]]:
    """Errors by model, condition and repetition."""
    conditions = dict.fromkeys(cell.condition for cell in cells)
    table: dict[str, dict[Any, dict[int, float]]] = {}
    for model in models:
        for condition in conditions:
            row = {
                cell.repetition: errors[cell]
                for cell in sorted(cells)
                if (cell.model, cell.condition) == (model, condition) and cell in errors
            }
            if row:
                table.setdefault(model, {})[condition] = row
    return table


def collect(folder: str | os.PathLike[str], experiment: Experiment = MNIST_SCALE, part: str | None = None) -> Path:
    """Writes the table of errors of a part of an experiment's grid from its records: `results.yml`, or, of another part
    than the first, `results_<part>.yml`. Records of other parts do not count.

    Returns: the path of the file.

    Raises:
        ValueError: the folder holds no record of the part at all; no such part.
        OSError: it cannot be written.
    """
    store, cells = Store(folder), experiment.cells(part)
    others = set(experiment.cells(ALL)) - set(cells)
    records = {cell: one for cell, one in store.records_of(experiment.cell).items() if cell not in others}
    if not records:
        raise ValueError(f"no records in {store.runs}; make some with `sesn run --results {store.folder}`")
    grid = set(cells)
    full = {cell: record for cell, record in records.items() if record["complete"] and cell in grid}
    table = _table(experiment.models, cells, {cell: record[experiment.error] for cell, record in full.items()})
    content = {
        "schema": SCHEMA,
        "counts": {
            "cells": len(cells),
            "complete": len(full),
            "partial": len(records) - len(full),
            "failed": len(store.failures_of(experiment.cell).keys() - others),
        },
        "by_condition": table,
        "single_runs": {model: [e for row in rows.values() for e in row.values()] for model, rows in table.items()},
    }
    text = experiment.table_header + yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None)
    path = store.folder / ("results.yml" if cells == experiment.cells() else f"results_{part}.yml")
    write_aside(path, text.encode(), replace=True)
    return path
