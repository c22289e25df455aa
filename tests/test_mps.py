"""Jobs that share a GPU, with stand-ins for NVIDIA's programs: nothing here needs a GPU."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_cells import make_record

from sesn_lib import machine, provenance
from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner import cost, mps
from sesn_lib.runner import local as runner
from sesn_lib.runner.budget import typical_cost
from sesn_lib.runner.mps import GIB, Card, Plan, card, check_room, jobs_on, served, slowdown
from sesn_lib.runner.status import is_here
from sesn_lib.runner.worker import Summary
from sesn_lib.store.records import Store
from sesn_lib.training import mnist_scale

ROOT = Path(__file__).resolve().parent.parent

# What the program does as far as it is used: `-d` begins a server, commands on standard input are answered by one.
CONTROL = """#!/bin/bash
pipes=${CUDA_MPS_PIPE_DIRECTORY:-$STAND_IN/default}
server() { cat "$pipes/pid" 2>/dev/null || echo 0; }
if [ "$1" = -d ]; then
  if [ -e "$STAND_IN/broken" ]; then cat "$STAND_IN/broken"; exit 1; fi
  if [ -e "$STAND_IN/mute" ]; then exit 0; fi
  mkdir -p "$pipes"; sleep 300 > /dev/null 2>&1 & echo $! > "$pipes/pid"; echo $! >> "$STAND_IN/servers"; exit 0
fi
while read -r command; do
  if [ -e "$STAND_IN/sick" ]; then exit 3; fi
  pid=$(server)
  if [ "$pid" = 0 ] || ! kill -0 "$pid" 2> /dev/null; then echo "Cannot find MPS control daemon process"; exit 1; fi
  if [ "$command" = quit ]; then kill "$pid"; fi
done
"""
SMI = """#!/bin/bash
echo "$*" >> "$STAND_IN/asked"
case "$1" in *gpu=*) cat "$STAND_IN/memory";; *) cat "$STAND_IN/apps";; esac
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (mps.PIPES, mps.LOGS, provenance.JOBS_VARIABLE, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    program(folder / mps.CONTROL, CONTROL)
    yield tmp_path
    for process in servers(tmp_path):
        if alive(process):
            os.kill(process, signal.SIGKILL)


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def servers(folder: Path) -> list[int]:
    """Process numbers of the servers that were ever started."""
    path = folder / "servers"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def processes_with(word: str) -> list[int]:
    """Process numbers by a word of their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found += [int(path.parent.name)] if word.encode() in path.read_bytes().split(b"\0") else []
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_server_is_started_and_ended_with_the_run(stand_in: Path) -> None:
    lines: list[str] = []
    with served(4, lines.append) as plan:
        assert plan == Plan(4, at_once=True)
        (server,) = servers(stand_in)
        assert alive(server)
        pipes = Path(os.environ[mps.PIPES])
        assert pipes == Path(os.environ[mps.LOGS])
        assert pipes.parent == stand_in / "tmp"
        assert provenance.sharing() == {"jobs": 4, "mps": True}
        (watcher,) = (n for n in processes_with(str(pipes)) if n != os.getpid())
        assert os.getpgid(watcher) != os.getpgrp(), "a Ctrl-C does not reach it"
    assert not alive(server)
    assert not pipes.exists()
    assert mps.PIPES not in os.environ
    assert provenance.JOBS_VARIABLE not in os.environ
    assert lines == ["4 jobs share the GPU by an MPS server that ends with this run"]


@pytest.mark.parametrize("named", [False, True])
def test_a_server_that_is_there_is_used_and_left_alone(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        monkeypatch.setenv(mps.PIPES, str(stand_in / "theirs"))
    subprocess.run([stand_in / "bin" / mps.CONTROL, "-d"], check=True)
    before, lines = dict(os.environ), list[str]()
    with served(2, lines.append) as plan:
        assert plan == Plan(2, at_once=True)
        assert {name: value for name, value in os.environ.items() if name != provenance.JOBS_VARIABLE} == before
    (server,) = servers(stand_in)
    assert alive(server)
    where = stand_in / "theirs" if named else "default pipes"
    assert lines == [f"2 jobs share the GPU by the MPS server that is there ({where})"]


@pytest.mark.parametrize("or_one", [False, True])
@pytest.mark.parametrize("fault", ["absent", "broken", "mute", "sick", "no program"])
def test_without_a_server_it_goes_on_and_says_why(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, fault: str, or_one: bool
) -> None:
    control = stand_in / "bin" / mps.CONTROL
    reasons = {
        "absent": "nvidia-cuda-mps-control is not installed",
        "broken": "nvidia-cuda-mps-control ended with code 1 (Failed to initialise)",
        "mute": "nvidia-cuda-mps-control started, but does not answer",
        "sick": "nvidia-cuda-mps-control started, but does not answer",
        "no program": "nvidia-cuda-mps-control cannot be started (Exec format error)",
    }
    if fault == "absent":
        control.unlink()
    elif fault == "no program":
        control.write_text("nothing that runs")
    else:
        (stand_in / fault).write_text("Failed to\ninitialise\n")
    monkeypatch.setenv(mps.PIPES, "/where/nobody/is")
    lines: list[str] = []
    with served(3, lines.append, or_one=or_one) as plan:
        assert plan == Plan(1 if or_one else 3, at_once=False)
        assert os.environ[mps.PIPES] == "/where/nobody/is"
        assert provenance.sharing() == {"jobs": plan.jobs, "mps": False}
    how = "one job at a time" if or_one else "3 jobs take turns on the GPU"
    assert lines == [f"no MPS, {reasons[fault]}: {how}"]
    assert list((stand_in / "tmp").iterdir()) == []


def test_one_job_needs_no_server(stand_in: Path) -> None:
    lines: list[str] = []
    with served(1, lines.append) as plan:
        assert plan == Plan(1)
        assert provenance.sharing() == {"jobs": 1, "mps": False}
    assert (lines, servers(stand_in)) == ([], [])


RUNNER = """
import sys
from functools import partial
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from toy_cells import toy_cell
from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.runner.mps import served
from sesn_lib.runner.local import run
from sesn_lib.runner.worker import Job
if __name__ == "__main__":
    here = Path({folder!r})
    execute = partial(toy_cell, log=here / "log", checkpoints=here / "checkpoints", seconds=1.0)
    with served(2, print):
        run(Job(GRID[:20], here / "results", execute, here / "checkpoints"), jobs=2)
"""


def test_a_server_ends_with_a_runner_that_is_killed(stand_in: Path) -> None:
    script = stand_in / "runner.py"
    script.write_text(RUNNER.format(tests=str(ROOT / "tests"), root=str(ROOT), folder=str(stand_in)))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, start_new_session=True)
    log = stand_in / "log"
    wait_for(lambda: log.exists() and len(set(log.read_text().split()[1::2])) == 2)  # both workers are at work
    (server,) = servers(stand_in)
    assert alive(server)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not alive(server))  # though the workers, which outlive their parent for an epoch, hold on to much
    wait_for(lambda: list((stand_in / "tmp").iterdir()) == [])
    wait_for(lambda: not any(alive(int(number)) for number in set(log.read_text().split()[1::2])))


def test_slowdown_is_as_measured() -> None:
    assert [slowdown(n) for n in (1, 4, 8)] == pytest.approx([1.0, 4 / 1.6, 8 / 1.6])
    assert slowdown(2) == pytest.approx(2 / 1.2)
    assert [slowdown(n, at_once=False) for n in (1, 4)] == [1.0, 4.0]


# The card


def show(folder: Path, memory: str, apps: str = "") -> None:
    program(folder / "bin" / "nvidia-smi", SMI)
    (folder / "memory").write_text(memory)
    (folder / "apps").write_text(apps)


def test_the_card_is_asked(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert card() is None  # no nvidia-smi
    show(stand_in, "1024, 81559\n", "4711, /usr/bin/python3, 79000\n12, [Not Found], [N/A]\n")
    users = ((4711, "/usr/bin/python3", 79000 << 20), (12, "[Not Found]", None))
    assert card(1) == Card(1 << 30, 81559 << 20, users)
    assert (stand_in / "asked").read_text().splitlines()[0].endswith("-i 1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8a")
    card(1)
    assert (stand_in / "asked").read_text().splitlines()[-1].endswith("-i GPU-8a")
    show(stand_in, "[N/A], [N/A]\n")
    assert card() is None
    assert not is_here("GPU X")
    show(stand_in, "GPU W\nGPU X\n")
    assert is_here("GPU X")
    assert is_here(f"{machine.processor()} (7 threads)")
    assert not is_here("another processor (7 threads)")


def test_a_full_card_is_refused_in_one_line() -> None:
    check_room(None, "cuda:0")
    check_room(Card(GIB, 80 * GIB), "cuda:0")
    full = Card(GIB // 5, 80 * GIB, ((7, "sh", None), (4711, "/usr/bin/python3", 79 * GIB)))
    with pytest.raises(ValueError, match="holds") as refused:
        check_room(full, "cuda:0")
    assert str(refused.value) == (
        "cuda:0 has 0.2 of 80.0 GiB free, a run needs at least 1 GiB: process 4711 (python3) holds 79.0 GiB, "
        "process 7 (sh) holds some; wait for it or name another --device"
    )
    with pytest.raises(ValueError, match="not told who holds the rest"):
        check_room(Card(0, GIB), "cuda:0")


@pytest.mark.parametrize(
    ("found", "cells", "number"),
    [
        (None, 40, 4),
        (Card(79 * GIB, 80 * GIB), 40, 4),
        (Card(79 * GIB, 80 * GIB), 3, 3),
        (Card(15 * GIB, 16 * GIB), 40, 2),
        (Card(4 * GIB, 8 * GIB), 40, 1),
    ],
)
def test_jobs_by_room(found: Card | None, cells: int, number: int) -> None:
    assert jobs_on(found, cells) == number


# The command


@pytest.fixture
def gpu(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float, bool]]:
    """A machine that seems to have one; gives what runs were begun: jobs, slowdown, whether a server was there."""
    begun: list[tuple[int, float, bool]] = []

    def run(job: Any, *, jobs: int, **options: Any) -> Summary:
        begun.append((jobs, job.estimate.slowdown, any(map(alive, servers(stand_in)))))
        return Summary()

    for name, value in {"is_available": True, "device_count": 1, "current_device": 0}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(mnist_scale.Task, "fetch", lambda *_: None)
    show(stand_in, "80000, 81559\n")
    return begun


CHOSEN = ("run", "--device", "cuda", "--models", "mnist_ses_vector_56", "--results", "here")


@pytest.mark.parametrize(("options", "number"), [((), 4), (("--jobs", "3"), 3), (("--realizations", "0"), 2)])
def test_run_shares_the_gpu(sesn: Any, gpu: Any, options: tuple[str, ...], number: int) -> None:
    result = sesn(*CHOSEN, *options)
    assert result.code == 0, result.err
    assert gpu == [(number, pytest.approx(slowdown(number)), True)]
    assert f"{number} jobs share the GPU by an MPS server that ends with this run\n" in result.err


def test_run_without_mps(sesn: Any, gpu: Any, stand_in: Path) -> None:
    (stand_in / "bin" / mps.CONTROL).unlink()
    result = sesn(*CHOSEN)
    assert result.err.splitlines()[-1] == "no MPS, nvidia-cuda-mps-control is not installed: one job at a time"
    result = sesn(*CHOSEN, "--jobs", "2")
    assert result.err.endswith("is not installed: 2 jobs take turns on the GPU\n")
    assert gpu == [(1, 1.0, False), (2, 2.0, False)]


def test_run_refuses_a_full_card(sesn: Any, gpu: Any, stand_in: Path) -> None:
    show(stand_in, "200, 81559\n", "4711, python, 80000\n")
    result = sesn(*CHOSEN)
    assert (result.code, gpu, servers(stand_in)) == (2, [], [])
    assert result.err.splitlines()[-1].startswith("error: cuda:0 has 0.2 of 79.6 GiB free, a run needs at least 1 GiB")


def test_run_on_a_cpu_is_one_job(sesn: Any, gpu: Any, stand_in: Path) -> None:
    result = sesn("run", "--device", "cpu", *CHOSEN[3:])
    assert gpu == [(1, 1.0, False)]
    assert "MPS" not in result.err


# The time


def shared_record(jobs: int | None, at_once: bool = True, seconds: float = 10.0) -> dict[str, Any]:
    record = make_record(GRID[0])
    record["history"] = [{**epoch, "seconds": seconds} for epoch in record["history"]]
    record["timing"] = {**record["timing"], "evaluation_seconds": 0.0}
    if jobs is not None:
        record["environment"] = {**record["environment"], "jobs": jobs, "mps": at_once}
    return record


def test_what_a_run_takes_beside_others() -> None:
    alone, beside = shared_record(1), shared_record(4, seconds=25.0)
    for record in (alone, beside):
        assert typical_cost([record], 60, 10000) == pytest.approx(600.0)
        assert typical_cost([record], 60, 10000, slowdown=slowdown(4)) == pytest.approx(1500.0)
    assert typical_cost([shared_record(2, at_once=False, seconds=20.0)], 60, 10000) == pytest.approx(600.0)
    assert typical_cost([shared_record(None)], 60, 10000, slowdown=2.5) == pytest.approx(600.0)  # not said: as it is


def test_the_estimate_knows_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = shared_record(1)
    record["environment"] |= {"device": "card"}
    Store(tmp_path).write(record)
    monkeypatch.setattr(cost, "device_description", lambda device: "card")
    times = [cost.Estimator(tmp_path, RunOptions(device="cpu"), factor)(GRID[0]) for factor in (1.0, 2.5)]
    assert times == pytest.approx([cost.MARGIN * 600, cost.MARGIN * 1500])


def test_a_record_says_how_the_gpu_was_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "device_description", lambda device: "card")
    monkeypatch.setenv(provenance.JOBS_VARIABLE, "4 at once")
    found = provenance.environment("cuda")
    assert (found["jobs"], found["mps"]) == (4, True)
    monkeypatch.delenv(provenance.JOBS_VARIABLE)
    assert provenance.environment("cuda")["jobs"] == 1
    assert "jobs" not in provenance.environment("cpu")
