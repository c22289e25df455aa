"""The runner: killed, doubled, hurried, fed with failures, it loses nothing and does nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from toy_cells import EPOCHS, make_record, toy_cell, toy_record

from data_prep import DataError
from sesn_lib import runner
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.runner.local import run
from sesn_lib.runner.worker import Event, Job, RunnerError, Summary, claim
from sesn_lib.store import records as store
from sesn_lib.store.records import Store, deterministic_part

TOY = Path(__file__).with_name("toy_cells.py")


def job_of(folder: Path, number: int = 6, **changes: Any) -> Job:
    options = {key: changes.pop(key) for key in ("broken", "deadly", "seconds") if key in changes}
    execute = partial(toy_cell, log=folder / "log", checkpoints=folder / "checkpoints", **options)
    folder.mkdir(exist_ok=True)
    return Job(GRID[:number], folder / "results", execute, folder / "checkpoints", **changes)


def logged(folder: Path) -> list[list[str]]:
    """Cell and process id of each begin so far."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def begun(folder: Path) -> Counter[str]:
    return Counter(cell for cell, _ in logged(folder))


def workers(folder: Path) -> set[str]:
    return {process for _, process in logged(folder)}


def results(folder: Path) -> list[dict[str, Any]]:
    return [deterministic_part(record) for record in Store(folder / "results").load_all()]


def in_company(cell: Cell, *, log: Path, **options: Any) -> dict[str, Any]:
    """`toy_cell`, but the first cell waits until another process has begun one."""
    if cell == GRID[0]:
        wait_for(log.exists, seconds=20.0)
    return toy_cell(cell, log=log, **options)


def undisturbed(number: int) -> list[dict[str, Any]]:
    return [deterministic_part(toy_record(cell)) for cell in GRID[:number]]


def start(folder: Path, number: int, jobs: int = 1) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    arguments = [folder / "results", folder / "checkpoints", folder / "log", number, jobs]
    environment = {**os.environ, "PYTHONPATH": str(TOY.parent.parent)}
    return subprocess.Popen(
        [sys.executable, str(TOY), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_missing_cells_are_run_once_in_order(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    Store(job.results).write(make_record(GRID[2]))
    events: list[Event] = []
    summary = run(job, notify=events.append)
    expected = [cell for cell in job.cells if cell != GRID[2]]
    assert summary.finished == expected
    assert [event.cell for event in events if event.kind == "started"] == expected
    assert sum(event.kind == "epoch" for event in events) == EPOCHS * len(expected)
    assert len(results(tmp_path)) == 6
    assert list((tmp_path / "checkpoints").iterdir()) == [], "checkpoints are removed with the record stored"
    assert run(job).finished == []
    assert set(begun(tmp_path).values()) == {1}


def test_a_failing_cell_is_noted_and_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = GRID[1]
    job = job_of(tmp_path, broken=(bad.name,))
    summary = run(job)
    assert summary.failed == {bad: "ArithmeticError: the loss is nan after epoch 1"}
    assert len(summary.finished) == 5
    store = Store(job.results)
    assert [failure["cell"] for failure in store.failures()] == [bad.as_dict()]
    assert not store.has(bad)
    assert run(job).failed == {}, "it is left alone"
    assert begun(tmp_path)[bad.name] == 1
    assert bad in run(job, retry_failed=True).failed
    assert begun(tmp_path)[bad.name] == 2
    assert run(job_of(tmp_path), retry_failed=True).finished == [bad]
    assert store.failures() == []


def test_an_impossible_record_is_a_failure(tmp_path: Path) -> None:
    def execute(cell: Cell, **callbacks: Any) -> dict[str, Any]:
        return make_record(cell, val_accuracy=float("nan"))

    summary = run(Job(GRID[:2], tmp_path, execute))
    assert list(summary.failed.values()) == ["RecordError: val_accuracy cannot be nan"] * 2
    assert Store(tmp_path).load_all() == []


def test_without_data_nothing_is_run_and_nothing_noted(tmp_path: Path) -> None:
    def execute(cell: Cell, **callbacks: Any) -> dict[str, Any]:
        raise DataError("no MNIST")

    with pytest.raises(DataError):
        run(Job(GRID[:2], tmp_path, execute))
    assert Store(tmp_path).failures() == []


def test_a_full_disk_stops_the_runner_and_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path)

    def full(self: Store, record: dict[str, Any]) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "write", full)
        with pytest.raises(RunnerError, match=r"cannot write to .*results: No space left on device"):
            run(job)
    assert (tmp_path / "checkpoints" / f"{GRID[0].name}.pt").exists()
    assert len(run(job).finished) == 6
    assert results(tmp_path)[0] == undisturbed(1)[0]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunnerError, match=r"cannot write to .*file"):
        run(Job(GRID[:1], tmp_path / "file" / "results", lambda cell, **callbacks: make_record(cell)))


def test_damaged_records_are_run_again(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    run(job)
    path = Store(job.results).path(GRID[3])
    path.write_text(path.read_text()[:100])
    assert run(job).finished == [GRID[3]]
    assert path.with_name(path.name + ".damaged").exists()
    assert results(tmp_path) == undisturbed(6)


def test_claims_exclude_each_other_and_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with claim(store, GRID[0]) as first, claim(store, GRID[0]) as second, claim(store, GRID[1]) as other:
        assert (first, second, other) == (True, False, True)
    with claim(store, GRID[0]) as again:
        assert again


def test_a_cell_that_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    job = job_of(tmp_path, 3)
    with claim(Store(job.results), GRID[0]):
        summary = run(job)
    assert summary.elsewhere == {GRID[0]}
    assert summary.finished == [GRID[1], GRID[2]]
    assert run(job).finished == [GRID[0]]


def test_who_only_looks_keeps_no_cell_from_being_run(tmp_path: Path) -> None:
    """As `sesn status`, which holds a cell for a moment to see whether somebody does."""
    job, looking = job_of(tmp_path, 1), threading.Event()

    def look() -> None:
        with claim(Store(job.results), GRID[0]):
            looking.set()
            time.sleep(0.05)

    other = threading.Thread(target=look)
    other.start()
    assert looking.wait(10)
    assert run(job).finished == [GRID[0]]
    other.join()


def test_a_checkpoint_that_outlived_its_record_is_removed(tmp_path: Path) -> None:
    job = job_of(tmp_path, 2)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    old, new = folder / f"{GRID[0].name}.pt", folder / f"{GRID[1].name}.pt"
    for cell, path in zip(GRID, (old, new)):
        path.write_text("")
        Store(job.results).write(make_record(cell))
    os.utime(new, (time.time() + 60,) * 2)
    run(job)
    assert not old.exists()
    assert new.exists(), "somebody is at work on it, for another results folder"


# -- budget ----------------------------------------------------------------------------------------------


def test_nothing_is_begun_that_the_budget_does_not_allow(tmp_path: Path) -> None:
    def estimate(cell: Cell, done: float) -> float:
        return (80.0 if "vector" in cell.model else 1.0) * (1 - done)  # a little more than there is

    job = job_of(tmp_path, 10, deadline=time.time() + 60, estimate=estimate)
    summary = run(job)
    assert {cell.model for cell in summary.too_long} == {"mnist_ses_vector_28", "mnist_ses_vector_28p"}
    assert set(summary.finished) | set(summary.too_long) == set(job.cells)
    assert all(cell.name not in begun(tmp_path) for cell in summary.too_long)


def test_a_checkpoint_counts_for_the_budget(tmp_path: Path) -> None:
    asked: dict[Cell, float] = {}

    def estimate(cell: Cell, done: float) -> float:
        asked[cell] = done
        return 0.0

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / f"{GRID[0].name}.pt").write_text('[2, "x"]')
    (folder / f"{GRID[0].name}.json").write_text('{"epoch": 2, "epochs": 5}')
    run(job_of(tmp_path, 2, deadline=time.time() + 60, estimate=estimate))
    assert asked == {GRID[0]: 0.4, GRID[1]: 0.0}


def test_a_run_that_outlasts_the_budget_stops_at_its_checkpoint(tmp_path: Path) -> None:
    job = job_of(tmp_path, 2, seconds=0.3, deadline=time.time() + 0.5, estimate=lambda cell, done: 0.0)
    summary = run(job)
    assert summary.finished == []
    assert summary.stopped == {GRID[0]}
    assert not summary.interrupted
    assert (tmp_path / "checkpoints" / f"{GRID[0].name}.pt").exists()
    run(job_of(tmp_path, 2))
    assert results(tmp_path) == undisturbed(2)


# -- killed, stopped, several ----------------------------------------------------------------------------


@pytest.mark.slow
# One process is killed in `test_kills.py`, too, at each of its steps.
@pytest.mark.parametrize(("jobs", "kills"), [pytest.param(1, 5, marks=pytest.mark.long), (3, 3)])
def test_killed_again_and_again_it_ends_as_if_undisturbed(tmp_path: Path, jobs: int, kills: int) -> None:
    draws, number, hits = random.Random(jobs), 20, 0
    seen: dict[Path, bytes] = {}
    # The first is killed while it starts, the others when they have told of so many cells begun, of which each takes
    # 50 ms; where that is one, it may be one that had been begun before and is soon finished.
    for cells in (0, 1, 2, 3, 1, 2)[: kills + 1]:
        before = len(logged(tmp_path))
        process = start(tmp_path, number, jobs)
        list(islice((line for line in process.stdout if line.startswith("started")), cells))
        time.sleep(draws.uniform(0, 0.04 if cells else 0.5))
        process.kill()
        process.wait()
        for path, content in seen.items():
            assert path.read_bytes() == content, "a finished record stays as it is"
        seen.update({path: path.read_bytes() for path in (tmp_path / "results" / "runs").glob("*.json")})
        hits += not {cell for cell, _ in logged(tmp_path)[before:]} <= {path.stem for path in seen}
    assert hits > 1, "the control: kills hit cells that were begun and not finished"
    process = start(tmp_path, number, jobs)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    wait_for(lambda: not list((tmp_path / "checkpoints").glob("*.pt")))  # orphans of the pool end by themselves
    for path, content in seen.items():
        assert path.read_bytes() == content
    assert results(tmp_path) == undisturbed(number)
    assert not list((tmp_path / "results").rglob("*.tmp"))
    assert not list((tmp_path / "results").rglob("*.damaged"))
    assert Store(tmp_path / "results").failures() == []


@pytest.mark.slow
def test_four_runners_share_without_doing_a_cell_twice(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    runners = [start(tmp_path, 24) for _ in range(4)]
    wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 4)
    gate.unlink()
    outputs = [process.communicate(timeout=60)[0] for process in runners]
    assert [process.returncode for process in runners] == [0] * 4, outputs
    counts = begun(tmp_path)
    assert len(counts) == 24
    assert set(counts.values()) == {1}
    assert len(workers(tmp_path)) > 1, "the control: the work was in fact shared"
    assert results(tmp_path) == undisturbed(24)


@pytest.mark.slow
def test_a_runner_that_dies_holding_a_cell_does_not_block_it(tmp_path: Path) -> None:
    process = start(tmp_path, 1)
    wait_for(lambda: (tmp_path / "log").exists())
    process.kill()
    process.wait()
    assert run(job_of(tmp_path, 1)).finished == [GRID[0]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("jobs", [1, 2])
def test_asked_to_stop_it_writes_checkpoints_and_ends(tmp_path: Path, number: signal.Signals, jobs: int) -> None:
    process = start(tmp_path, 20, jobs)
    wait_for(lambda: len(list((tmp_path / "results" / "runs").glob("*.json"))) > 1)
    if number == signal.SIGINT:  # a Ctrl-C reaches the workers, too
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) <= jobs
    assert len(run(job_of(tmp_path, 20, seconds=0.0)).finished) < 19
    assert results(tmp_path) == undisturbed(20)


def test_what_a_dead_writer_left_of_a_cell_goes_when_it_is_run(tmp_path: Path) -> None:
    job = job_of(tmp_path, 2)
    folders = Store(job.results).runs, Store(job.results).failed
    leftovers = [folder / f".{GRID[number].name}.json.0123456789ab.tmp" for number in (1, 5) for folder in folders]
    for left in leftovers:
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("{")
    assert len(run(job).finished) == 2
    assert [left.exists() for left in leftovers] == [False, False, True, True], "others' are left to whoever runs them"


@pytest.mark.parametrize("kind", ["elsewhere", "too_long", "stopped"])
@pytest.mark.parametrize("then", ["started", "finished", "failed"])
def test_what_was_put_off_and_then_done_was_not_put_off(kind: str, then: str) -> None:
    summary = Summary()
    for cell in GRID[:2]:
        summary.add(Event(kind, cell, 60.0))
    summary.add(Event(then, GRID[0], "why"))
    assert list(getattr(summary, kind)) == [GRID[1]]
    assert ([*summary.finished], [*summary.failed]) == (
        [GRID[0]] * (then == "finished"),
        [GRID[0]] * (then == "failed"),
    )


def test_the_second_signal_ends_as_usual(tmp_path: Path) -> None:
    """The first lets the cell come to an end; whoever asks twice does not want to wait. Handlers are given back."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    ended = []

    def impatient(cell: Cell, *, on_epoch: Any, stop: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        ended.append("asked once")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        raise AssertionError("it went on")

    try:
        with pytest.raises(KeyboardInterrupt):
            run(Job(GRID[:2], tmp_path, impatient))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    assert ended == ["asked once"]


def test_handlers_are_given_back_after_a_run_that_nobody_stopped(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    during = []
    job = job_of(tmp_path, 1)

    def execute(cell: Cell, **options: Any) -> Any:
        during.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
        return job.execute(cell, **options)

    assert not run(replace(job, execute=execute)).interrupted
    assert set(during).isdisjoint(before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_several_processes_share_the_work(tmp_path: Path) -> None:
    bad = GRID[4]
    job = job_of(tmp_path, 16, broken=(bad.name,))
    summary = run(replace(job, execute=partial(in_company, **job.execute.keywords)), jobs=2)
    assert list(summary.failed) == [bad]
    assert sorted(summary.finished) == sorted(cell for cell in GRID[:16] if cell != bad)
    assert set(begun(tmp_path).values()) == {1}
    assert len(workers(tmp_path)) == 2


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_cell_noted(tmp_path: Path) -> None:
    deadly = GRID[2]
    summary = run(job_of(tmp_path, 8, deadly=(deadly.name,)), jobs=2)
    assert list(summary.failed) == [deadly]
    assert summary.failed[deadly] == "its worker process died (SIGKILL, perhaps for lack of memory)"
    assert len(summary.finished) == 7
    assert begun(tmp_path)[deadly.name] == 2, "it gets a second chance"
    assert len(Store(tmp_path / "results").failures()) == 1


@pytest.mark.slow
def test_what_stops_one_worker_stops_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    job = job_of(tmp_path)
    bad = Job(job.cells, tmp_path / "file" / "results", job.execute)
    with pytest.raises(RunnerError, match="cannot write"):
        run(bad, jobs=2)
    with pytest.raises(ValueError, match="jobs must be at least 1, not 0"):
        run(job, jobs=0)


@pytest.mark.slow
def test_a_cluster_runs_the_same_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    from sesn_lib.runner.cluster import submit

    monkeypatch.setenv("PYTHONPATH", str(TOY.parent))
    lines: list[str] = []
    job = job_of(tmp_path, 5, broken=(GRID[0].name,))
    jobs = submit(job, jobs=2, engine="local", seconds=60, say=lines.append)
    assert len(jobs) == 2
    assert len(lines) == 4
    assert len(results(tmp_path)) == 4
    assert set(begun(tmp_path).values()) == {1}
    assert len(Store(job.results).failures()) == 1
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        submit(job, jobs=0, engine="local")


def test_the_front_door() -> None:
    assert {"run", "run_cell", "train_cell", "Job"} <= set(runner.__all__)
