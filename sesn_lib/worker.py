"""One process at work: claims cells whose records are missing and runs them, one after the other.

Whoever runs a cell holds a lock on a file in `<results>/runs/.locks/`. The system drops the lock with the process that
held it, so a runner that died blocks nobody, and any number of runners may share a results folder. A cell is done when
its record is there; records appear whole or not at all (`store`), and a run that was killed goes on from its checkpoint
(`execution`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep import DataError

from .checkpoint import Checkpoint, Interrupted
from .execution import run_cell
from .schema import AnyCell
from .store import RecordError, Store

__all__ = ["Event", "Execute", "Job", "RunnerError", "Summary", "claim", "work"]

log = logging.getLogger(__name__)

Execute = Callable[..., dict[str, Any]]


class RunnerError(RuntimeError):
    """The runner cannot go on at all, e.g. because the results folder cannot be written."""


@dataclass(frozen=True)
class Event:
    """What happened to a cell.

    `kind`: started, epoch (`data` is the EpochReport as a dictionary), finished (the record), failed (the error's
    text), elsewhere (another process works on it), too_long (seconds needed), stopped (asked to stop; the checkpoint is
    kept).
    """

    kind: str
    cell: AnyCell
    data: Any = None


@dataclass
class Summary:
    """What a run came to, from its events."""

    finished: list[AnyCell] = field(default_factory=list)
    failed: dict[AnyCell, str] = field(default_factory=dict)
    elsewhere: set[AnyCell] = field(default_factory=set)
    too_long: dict[AnyCell, float] = field(default_factory=dict)
    stopped: set[AnyCell] = field(default_factory=set)
    interrupted: bool = False

    def add(self, event: Event) -> None:
        cell = event.cell
        if event.kind in ("started", "finished", "failed"):
            self.elsewhere.discard(cell)
            self.stopped.discard(cell)
            self.too_long.pop(cell, None)
        if event.kind == "finished":
            self.finished.append(cell)
        elif event.kind == "failed":
            self.failed[cell] = event.data
        elif event.kind == "elsewhere":
            self.elsewhere.add(cell)
        elif event.kind == "too_long":
            self.too_long[cell] = event.data
        elif event.kind == "stopped":
            self.stopped.add(cell)


@dataclass(frozen=True)
class Job:
    """What to run; it can be sent to another process.

    Arguments:
        cells: in order of preference.
        results: the results folder.
        execute: `run_cell` or a stand-in, called as `execute(cell, on_epoch=..., stop=...)`; returns the record.
        checkpoints: folder of the checkpoints that `execute` writes; None if it writes none.
        deadline: `time.time()` by which to be done; None for no limit.
        estimate: seconds that a cell needs, called as `estimate(cell, fraction_done)`; used with a deadline only.
    """

    cells: tuple[AnyCell, ...]
    results: Path
    execute: Execute = run_cell
    checkpoints: Path | None = None
    deadline: float | None = None
    estimate: Callable[..., float] | None = None

    def seconds_left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.time()


@contextmanager
def claim(store: Store, cell: AnyCell, *, patience: float = 0.0) -> Iterator[bool]:
    """Holds a cell for the block; yields whether it could be had. A holder that dies lets go.

    Raises:
        OSError: the folder of the locks cannot be written.
    """
    store.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.locks / f"{cell.name}.lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def work(job: Job, tell: Callable[[Event], None], stop: threading.Event) -> None:
    """Goes through the cells in this process until none is left that can be claimed and finished in time.

    Cells with a noted failure are left alone. Passes are repeated while they achieve something, so that a cell let go
    by a runner that died is taken up.

    Raises:
        RunnerError: the results folder cannot be written.
        DataError: the data cannot be had.
    """
    store = Store(job.results)
    store.load_all()  # sets aside what is no record: those cells are missing
    store.failures()
    told: set[tuple[str, AnyCell]] = set()

    def tell_once(event: Event) -> None:
        if (event.kind, event.cell) not in told:
            told.add((event.kind, event.cell))
            tell(event)

    advanced = True
    while advanced:
        advanced = False
        for cell in job.cells:
            if stop.is_set() or job.seconds_left() <= 0:
                return
            if not store.has(cell) and not store.has_failed(cell):
                advanced |= _attempt(job, store, cell, tell, tell_once, stop)


def _attempt(
    job: Job,
    store: Store,
    cell: AnyCell,
    tell: Callable[[Event], None],
    tell_once: Callable[[Event], None],
    stop: threading.Event,
) -> bool:
    """Runs a cell if it can be claimed, is missing and fits; returns whether it was run to an end, good or bad."""
    try:
        # Some patience: `sesn status` holds a lock for an instant to see whether it is held.
        with claim(store, cell, patience=0.2) as held:
            if not held:
                tell_once(Event("elsewhere", cell))
                return False
            store.forget_leftovers(cell)
            if store.has(cell) or store.has_failed(cell):
                return False
            if job.deadline is not None and job.estimate is not None:
                needed = job.estimate(cell, Checkpoint(job.checkpoints, cell).fraction_done())
                if needed >= job.seconds_left():
                    tell_once(Event("too_long", cell, needed))
                    return False
            tell(Event("started", cell))
            return _execute(job, store, cell, tell, stop)
    except OSError as error:
        raise RunnerError(f"cannot write to {store.folder}: {error.strerror or error}") from error


def _execute(job: Job, store: Store, cell: AnyCell, tell: Callable[[Event], None], stop: threading.Event) -> bool:
    """Runs a claimed cell and stores its record, or its failure; OSError means that it could not be stored."""

    def on_epoch(report: Any) -> None:
        tell(Event("epoch", cell, report if isinstance(report, dict) else asdict(report)))

    try:
        record = job.execute(cell, on_epoch=on_epoch, stop=lambda: stop.is_set() or job.seconds_left() <= 0)
    except Interrupted:
        tell(Event("stopped", cell))
        return False
    except DataError:
        raise  # without data no cell can run
    except Exception as error:
        return _failed(store, cell, error, tell)
    try:
        store.write(record)
    except RecordError as error:
        return _failed(store, cell, error, tell)
    Checkpoint(job.checkpoints, cell).discard()
    tell(Event("finished", cell, record))
    return True


def _failed(store: Store, cell: AnyCell, error: Exception, tell: Callable[[Event], None]) -> bool:
    text = f"{type(error).__name__}: {error}"
    log.debug("%s failed", cell, exc_info=error)
    store.write_failure(cell, text)
    tell(Event("failed", cell, text))
    return True
