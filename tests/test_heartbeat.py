"""Nothing that works is silent for long, and nothing that talks is talked over."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest
from rich.console import Console

from sesn_lib.runner import bench, gauges, heartbeat
from sesn_lib.runner.heartbeat import Heartbeat


def test_silence_is_ended_by_a_line_that_says_what_is_at_work() -> None:
    lines: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            enough.set()

    began = time.monotonic()
    with Heartbeat(lambda: f"part {len(lines)}", say, 0.05):
        assert enough.wait(60)
    assert time.monotonic() - began >= 3 * 0.05, "no more often than said"
    assert lines[:3] == [f"part {number}: at work, 0 s so far" for number in range(3)]


def test_the_time_is_said_that_it_took_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes ten minutes at each look."""
    lines: list[str] = []
    said = threading.Event()
    clock = iter(range(0, 10**9, 600))
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: float(next(clock)))

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with Heartbeat(lambda: "this", say):
        assert said.wait(60)
    first = lines[0]
    assert first.startswith("this: at work, ")
    assert first.endswith(" min so far")
    assert int(first.split()[3]) % 10 == 0


def test_who_shows_something_is_not_talked_over() -> None:
    lines: list[str] = []
    with Heartbeat(lambda: "this", lines.append, 5.0) as at_work:
        for _ in range(20):
            time.sleep(0.01)
            at_work.beat()
    assert lines == []


def test_a_line_comes_when_the_clock_says_so_and_none_comes_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still, then jumps; and a line that is begun is ended before the block is left."""
    began, lines, now = threading.Event(), [], [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])

    def say(line: str) -> None:
        began.set()
        threading.Event().wait(0.2)
        lines.append(line)

    with Heartbeat(lambda: "this", say, 0.01):
        threading.Event().wait(0.2)
        assert not began.is_set()
        now[0] = 90.0
        assert began.wait(60)
    assert lines == ["this: at work, 90 s so far"]


def test_the_bench_says_which_network_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = threading.Event()

    def say(line: str) -> None:
        heartbeat_lines.append(line)
        said.set()

    heartbeat_lines: list[str] = []
    monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "to_stderr", say)
    monkeypatch.setattr(gauges, "matrix_peak", lambda device, precision: float(said.wait(60)))
    monkeypatch.setattr(bench.Step, "warm_up", lambda step: setattr(step, "flops", 1.0))
    monkeypatch.setattr(bench.Step, "timed", lambda step: 1.0)
    bench.run(device="cpu", models=["mnist_cnn_28"], batch_size=2, rounds=1, ways=["fast float32"])
    assert "mnist_cnn_28: at work, 0 s so far" in heartbeat_lines
    assert "Training step" in capsys.readouterr().out


def test_work_that_changes_does_not_begin_a_new_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of work far shorter than the silence that is allowed; in the end each line names the one at work."""
    lines: list[str] = []
    monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat, "to_stderr", lines.append)
    number, end = 0, time.monotonic() + 60
    with heartbeat.at_work("the first", Console(file=io.StringIO())) as tell:
        while len(lines) < 3 and time.monotonic() < end:
            number += 1
            tell(f"piece {number}")
            time.sleep(0.01)
    named = [int(found[1]) for line in lines[:3] if (found := re.match(r"piece (\d+): at work, ", line))]
    assert len(set(named)) == 3
    assert named == sorted(named)


def test_on_a_terminal_it_is_shown_all_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = io.StringIO()

    def wait_for(text: str) -> None:
        end = time.monotonic() + 60
        while text not in terminal.getvalue() and time.monotonic() < end:
            time.sleep(0.01)

    with heartbeat.at_work("the first", Console(file=terminal, force_terminal=True)) as tell:
        wait_for("the first")
        tell("the second")
        wait_for("the second")
    shown = terminal.getvalue()
    assert -1 < shown.find("the first") < shown.find("the second")
    assert capsys.readouterr().err == ""
