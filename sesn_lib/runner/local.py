"""Runs the cells whose records are missing: within a time budget, resumable, in one process or several.

    run(Job(cells=select(), results=Path("results")), jobs=2)

What one process does is in `worker`, several are in `pool`, a cluster is in `cluster`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sesn_lib.runner.pool import run_pool
from sesn_lib.runner.worker import Event, Job, RunnerError, Summary, work
from sesn_lib.store.records import Store


def run(
    job: Job, *, jobs: int = 1, retry_failed: bool = False, notify: Callable[[Event], None] | None = None
) -> Summary:
    """Runs a job's missing cells, with `jobs` > 1 in as many processes.

    The first SIGINT or SIGTERM lets running cells write their checkpoints and stop; the second ends the process as
    usual.

    Arguments:
        retry_failed: whether to try cells again that failed before; otherwise they are left alone.
        notify: called with each event, always in this thread.

    Raises:
        RunnerError: nothing can be run, or nothing can be written.
        DataError: the data cannot be had.
        DeviceError: the device is not there.
        ValueError: fewer than one job.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    if retry_failed:
        forget_failures(job)
    summary = Summary()

    def tell(event: Event) -> None:
        summary.add(event)
        if notify is not None:
            notify(event)

    stop = threading.Event()
    with _signals_set(stop):
        if jobs == 1:
            work(job, tell, stop)
        else:
            run_pool(job, jobs, tell, stop)
    summary.interrupted = stop.is_set()
    return summary


def forget_failures(job: Job) -> None:
    """Lets a job's cells be tried again that failed before.

    Raises:
        RunnerError: that cannot be written.
    """
    store = Store(job.results)
    try:
        for cell in job.cells:
            store.forget_failure(cell)
    except OSError as error:
        raise RunnerError(f"cannot write to {store.folder}: {error.strerror or error}") from error


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM sets `stop`; from the second on they act as before.

    Only the main thread can do that; in others nothing is set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
