"""The parent of several workers: what it makes of their messages and deaths. Workers are scenes, not processes."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_cells import toy_record

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.runner.pool import run_pool
from sesn_lib.runner.worker import Event, Job, RunnerError
from sesn_lib.store.records import Store

A, B = GRID[:2]
KILLED = -signal.SIGKILL
ENDS = [("end", None)]
Play = Callable[..., list[Event]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Play]:
    """Runs a pool whose workers, one after the other, play scenes: messages that they send, or things that they do,
    and, of one that dies, its exit code at the end. Gives the events told; all scenes must be played."""
    left: list[Sequence[Any]] = []

    class Acted:
        exitcode: int | None = None

        def __init__(self, target: object, args: tuple[Job, Any], daemon: bool) -> None:
            self.pipe = args[1]

        def start(self) -> None:
            for step in left.pop(0):
                if isinstance(step, int):
                    self.exitcode = step
                elif callable(step):
                    step()
                else:
                    self.pipe.send(step)
            self.pipe.close()

        def join(self) -> None:
            assert self.exitcode is not None or self.pipe.closed

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Acted)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)

    def run(*scenes: Sequence[Any], jobs: int = 1, stop: bool = False) -> list[Event]:
        left.extend(scenes)
        told: list[Event] = []
        asked = threading.Event()
        if stop:
            asked.set()
        run_pool(Job((A, B), tmp_path), jobs, told.append, asked)
        return told

    yield run
    assert left == [], "a worker that was to come was not started"


def started(cell: Any) -> Event:
    return Event("started", cell)


def test_a_cell_whose_worker_dies_twice_has_failed(play: Play, tmp_path: Path) -> None:
    epoch = Event("epoch", A, {"epoch": 1})
    told = play([started(A), epoch, KILLED], [started(A), epoch, 3], ENDS)
    assert [event.kind for event in told] == ["started", "epoch"] * 2 + ["failed"]
    assert (told[-1].cell, told[-1].data) == (A, "its worker process died (exit code 3)")
    assert [note["error"] for note in Store(tmp_path).failures()] == [told[-1].data]


@pytest.mark.parametrize(
    ("code", "said"),
    [(KILLED, "SIGKILL, perhaps for lack of memory"), (-signal.SIGSEGV, "SIGSEGV"), (-250, "signal 250")],
)
def test_what_a_worker_died_of(play: Play, caplog: pytest.LogCaptureFixture, code: int, said: str) -> None:
    with caplog.at_level(logging.WARNING):
        assert [event.kind for event in play([started(A), code], [started(A), Event("finished", A), *ENDS])] == [
            "started", "started", "finished",
        ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [f"{A}: its worker process died ({said})"]


def test_a_worker_that_dies_between_two_cells_is_no_fault_of_the_last_one(play: Play, tmp_path: Path) -> None:
    done = [started(A), Event("finished", A)]
    told = play([*done, KILLED], [*done, KILLED], [started(A), Event("stopped", A), KILLED], ENDS)
    assert "failed" not in {event.kind for event in told}
    assert not Store(tmp_path).has_failed(A)


def test_a_worker_that_dies_after_its_record_was_stored_has_done_its_cell(play: Play, tmp_path: Path) -> None:
    store = Store(tmp_path)
    told = play([started(A), lambda: store.write(toy_record(A)), KILLED], [started(A), KILLED], ENDS)
    assert [event.kind for event in told] == ["started", "started"]
    assert store.has(A)
    assert not store.has_failed(A)


def test_workers_that_die_at_their_start_are_not_replaced_for_ever(play: Play) -> None:
    with pytest.raises(RunnerError, match=r"^a worker process died at its start \(exit code 1\)$"):
        play([1], [1], [1], jobs=2)  # the third in place of the first, before the second was missed


def test_the_first_error_is_the_one_that_is_told(play: Play) -> None:
    with pytest.raises(RunnerError, match=r"^first$"):
        play([("end", RunnerError("first"))], [("end", RunnerError("second"))], jobs=2)


def test_nobody_is_replaced_once_all_are_to_stop(play: Play, tmp_path: Path) -> None:
    assert [event.cell for event in play([started(A), KILLED], [started(B), KILLED], jobs=2, stop=True)] == [A, B]
    assert not Store(tmp_path).has_failed(A)
