"""Several runners on this machine, each a process of its own, under one parent.

The parent and its workers talk over pipes: events come up, the word to stop goes down, and a worker whose parent has
vanished stops too. A worker that dies (killed for memory, a crash in a driver) is replaced; the cell that it held is
tried once more, and noted as failed if that worker dies as well.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from data_prep import DataError
from sesn_lib.runner.worker import Event, Job, RunnerError, work
from sesn_lib.store.records import Store
from sesn_lib.store.schema import AnyCell

log = logging.getLogger(__name__)

DEATHS = 2


class _Worker:
    """A worker process as the parent sees it."""

    def __init__(self, job: Job) -> None:
        # spawn, not fork: a forked process cannot use a GPU that its parent has used.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_main, args=(job, theirs), daemon=False)
        self.process.start()
        theirs.close()
        self.cell: AnyCell | None = None
        self.begun = self.ended = False

    def stop(self) -> None:
        with suppress(OSError):  # it has gone
            self.pipe.send("stop")


def _main(job: Job, pipe: Connection) -> None:
    """The worker's side: works, and sends events, then ("end", error or None)."""
    stop = threading.Event()
    # A Ctrl-C reaches the whole group of processes; the parent passes on the first, which is enough.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    lock = threading.Lock()

    def listen() -> None:
        with suppress(EOFError, OSError):  # the parent has vanished
            pipe.recv()
        stop.set()

    def send(message: object) -> None:
        try:
            with lock:
                pipe.send(message)
        except OSError:
            stop.set()

    threading.Thread(target=listen, daemon=True).start()
    error: Exception | None = None
    try:
        work(job, send, stop)
    except (RunnerError, DataError, ValueError, OSError) as caught:
        error = caught
    send(("end", error))


def run_pool(job: Job, jobs: int, tell: Callable[[Event], None], stop: threading.Event) -> None:
    """Runs a job in `jobs` processes until all have ended.

    Arguments: as `worker.work`; `stop` may be set by a signal handler at any time.

    Raises:
        RunnerError: and whatever else stopped a worker, once the others have stopped.
    """
    store = Store(job.results)
    deaths: Counter[AnyCell] = Counter()
    workers = [_Worker(job) for _ in range(jobs)]
    error: Exception | None = None
    told_to_stop = False
    stillborn = 0
    while workers:
        if (stop.is_set() or error is not None) and not told_to_stop:
            told_to_stop = True
            for worker in workers:
                worker.stop()
        ready = wait([w.pipe for w in workers], timeout=0.2)
        for worker in [w for w in workers if w.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                workers.remove(worker)
                if worker.ended:
                    continue
                _mourn(worker, store, deaths, tell)
                stillborn += not worker.begun
                if not told_to_stop and stillborn < jobs:
                    workers.append(_Worker(job))
                elif not told_to_stop:
                    error = error or RunnerError(f"a worker process died at its start ({_cause(worker)})")
                continue
            if isinstance(message, Event):
                worker.begun = True
                worker.cell = message.cell if message.kind in ("started", "epoch") else None
                tell(message)
            else:
                worker.ended = True
                error = error or message[1]
    if error is not None:
        raise error


def _mourn(worker: _Worker, store: Store, deaths: Counter[AnyCell], tell: Callable[[Event], None]) -> None:
    cell = worker.cell
    if cell is None or store.has(cell):
        return
    deaths[cell] += 1
    text = f"its worker process died ({_cause(worker)})"
    log.warning("%s: %s", cell, text)
    if deaths[cell] >= DEATHS:
        store.write_failure(cell, text)
        tell(Event("failed", cell, text))


def _cause(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"{name}, perhaps for lack of memory" if name == "SIGKILL" else name
    return f"exit code {code}"
