"""One process at work: claims cells whose records are missing and runs them, one after the other.

Whoever runs a cell holds a lock on a file in `<results>/runs/.locks/`. The system drops the lock with the process that
held it, so a runner that died blocks nobody, and any number of runners may share a results folder. A cell is done when
its record is there; records appear whole or not at all (`store`), and a run that was killed goes on from its checkpoint
(`execution`).
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep import DataError
from sesn_lib.checks import DeviceError
from sesn_lib.runner.execution import run_cell
from sesn_lib.store.checkpoint import Checkpoint, Interrupted
from sesn_lib.store.records import RecordError, Store
from sesn_lib.store.schema import AnyCell

log = logging.getLogger(__name__)

ALIKE = 3
"""So many cells failing in a row with the same words is no matter of the cells."""

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


# What file systems say that have none, as some of networks.
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def claim(store: Store, cell: AnyCell, *, patience: float = 0.0) -> Iterator[bool]:
    """Holds a cell for the block; yields whether it could be had. A holder that dies lets go.

    Raises:
        RunnerError: the file system knows no locks.
        OSError: the folder of the locks cannot be written.
    """
    store.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.locks / f"{cell.name}.lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:  # filelock raises the latter for some file systems
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        raise RunnerError(
            f"{store.locks} is on a file system without locks, by which jobs keep apart: name a results folder on a "
            "local disk by --results, and move the records afterwards"
        ) from error
    try:
        yield True
    finally:
        lock.release()


def work(job: Job, tell: Callable[[Event], None], stop: threading.Event) -> None:
    """Goes through the cells in this process until none is left that can be claimed and finished in time.

    Cells with a noted failure are left alone. Passes are repeated while they achieve something, so that a cell let go
    by a runner that died is taken up.

    Raises:
        RunnerError: the results folder cannot be written, or `ALIKE` cells in a row failed with the same words.
        DataError: the data cannot be had.
        DeviceError: the device is not there.
    """
    try:
        _Worker(job, tell, stop).run()
    except OSError as error:
        raise RunnerError(f"cannot write to {job.results}: {error.strerror or error}") from error


class _Worker:
    def __init__(self, job: Job, tell: Callable[[Event], None], stop: threading.Event) -> None:
        self.job, self.tell, self.stop = job, tell, stop
        self.store = Store(job.results)
        self.told: set[tuple[str, AnyCell]] = set()
        self.last_failures: list[str] = []

    def run(self) -> None:
        self.store.set_aside_damaged()  # those cells are missing
        self.store.sweep()
        for cell in self.job.cells:  # whose runner died between storing the record and removing the checkpoint
            if self.store.has(cell):
                Checkpoint(self.job.checkpoints, cell).discard(before=self.store.path(cell).stat().st_mtime)
        patience = 0.0
        while True:
            results = []
            for cell in self.job.cells:
                if self._stopping():
                    return
                if self._is_missing(cell):
                    results.append(self.attempt(cell, patience))
            if True in results:
                patience = 0.0
            elif patience or not results:
                return
            else:
                # A lock may have been held by someone who only looked (`sesn status`): once more, waiting a little.
                patience = 0.2

    def attempt(self, cell: AnyCell, patience: float) -> bool:
        """Runs a cell if it can be claimed, is missing and fits; returns whether it was run to an end, good or bad."""
        with claim(self.store, cell, patience=patience) as held:
            if not held:
                return self._skip("elsewhere", cell)
            self.store.forget_leftovers(cell)
            if not self._is_missing(cell):
                return False
            if self.job.deadline is not None and self.job.estimate is not None:
                needed = self.job.estimate(cell, Checkpoint(self.job.checkpoints, cell).fraction_done())
                if needed >= self.job.seconds_left():
                    return self._skip("too_long", cell, needed)
            self.tell(Event("started", cell))
            return self.execute(cell)

    def execute(self, cell: AnyCell) -> bool:
        """Runs a claimed cell and stores its record, or its failure; OSError means that it could not be stored."""

        def on_epoch(report: Any) -> None:
            self.tell(Event("epoch", cell, report if isinstance(report, dict) else asdict(report)))

        try:
            record = self.job.execute(cell, on_epoch=on_epoch, stop=self._stopping)
        except Interrupted:
            self.tell(Event("stopped", cell))
            return False
        except (DataError, DeviceError):
            raise  # without them no cell can run
        except Exception as error:
            if _lost_device(error):
                raise RunnerError(f"this process can use its device no more, during {cell}: {error}") from error
            return self._failed(cell, error)
        try:
            self.store.write(record)
        except RecordError as error:
            return self._failed(cell, error)
        Checkpoint(self.job.checkpoints, cell).discard()
        self.last_failures.clear()
        self.tell(Event("finished", cell, record))
        return True

    def _failed(self, cell: AnyCell, error: Exception) -> bool:
        text = f"{type(error).__name__}: {error}"
        log.debug("%s failed", cell, exc_info=error)
        self.store.write_failure(cell, text)
        self.tell(Event("failed", cell, text))
        # The first sentence: after "CUDA out of memory" come numbers, which differ from cell to cell.
        self.last_failures.append(text.partition(". ")[0])
        if self.last_failures[-ALIKE:] == self.last_failures[-1:] * ALIKE:
            raise RunnerError(f"{ALIKE} cells in a row failed alike, so the others are left alone: {text}")
        return True

    def _skip(self, kind: str, cell: AnyCell, data: Any = None) -> bool:
        if (kind, cell) not in self.told:
            self.told.add((kind, cell))
            self.tell(Event(kind, cell, data))
        return False

    def _is_missing(self, cell: AnyCell) -> bool:
        return not self.store.has(cell) and not self.store.has_failed(cell)

    def _stopping(self) -> bool:
        return self.stop.is_set() or self.job.seconds_left() <= 0


def _lost_device(error: Exception) -> bool:
    """Whether it is an error after which a process can do nothing on its GPU, so that it is no fault of the cell."""
    torch = sys.modules.get("torch")  # which raised it, if it is one
    if (kind := getattr(torch, "AcceleratorError", None)) is None:  # before torch 2.8
        return isinstance(error, RuntimeError) and str(error).startswith("CUDA error")
    return isinstance(error, kind)
