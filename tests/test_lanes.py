"""The lanes: a quick test starts no process, every file of the table exists, silence is broken."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lanes
import pytest

FOLDER = Path(__file__).resolve().parent


def refused() -> Any:
    return pytest.raises(pytest.fail.Exception, match="mark it `slow`")


@pytest.mark.parametrize("how", [subprocess.run, subprocess.check_output, subprocess.Popen])
def test_a_quick_test_that_starts_a_program_fails(how: Any) -> None:
    with refused():
        how([sys.executable, "-c", ""])


def test_a_quick_test_that_starts_a_process_of_its_own_fails() -> None:
    with refused():
        multiprocessing.get_context("spawn").Process(target=print).start()
    with refused():
        os.fork()


def test_no_handling_of_exceptions_hides_it() -> None:
    with refused(), contextlib.suppress(Exception):
        subprocess.run([sys.executable, "-c", ""])


def test_git_is_quick() -> None:
    assert subprocess.run(["git", "--version"], capture_output=True).returncode == 0


@pytest.mark.slow
def test_a_slow_test_may_start_a_program() -> None:
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0


# Which test is where


def item(*marks: str, file: str = "test_basis.py", fixtures: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        path=FOLDER / file, fixturenames=fixtures, get_closest_marker=lambda name: name if name in marks else None
    )


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        (item(), "quick"),
        (item("slow"), "slow"),
        (item("long"), "long"),
        (item("long", file="test_kills.py"), "long"),
        (item(file="test_kills.py"), "slow"),
        (item(fixtures=("tmp_path", "site")), "slow"),
        (item(fixtures=("tmp_path",)), "quick"),
    ],
)
def test_lane(tried: Any, expected: str) -> None:
    assert lanes.lane(tried) == expected


def test_the_slow_files_exist() -> None:
    assert [name for name in lanes.SLOW_FILES if not (FOLDER / name).exists()] == []


@pytest.mark.parametrize(("lane", "out"), [("quick", True), ("not long", None), ("", None)])
def test_the_quick_lane_does_not_look_into_slow_files(lane: str, out: bool | None) -> None:
    config: Any = SimpleNamespace(option=SimpleNamespace(markexpr=lane))
    assert lanes.left_out(config, FOLDER / "test_kills.py") is out
    assert lanes.left_out(config, FOLDER / "test_basis.py") is None


def test_what_takes_long_begins_first() -> None:
    notebook = SimpleNamespace(path=FOLDER / "01.ipynb", get_closest_marker=lambda name: None)
    mixed = [item(), item("slow"), item(file="test_a.py"), item(file="test_kills.py"), notebook]
    assert lanes.in_order(mixed) == [mixed[4], mixed[0], mixed[1], mixed[3], mixed[2]]


# Processes


def test_a_single_file_needs_no_second_process() -> None:
    assert lanes.workers(["tests/test_basis.py"]) == 0
    assert lanes.workers(["tests/test_basis.py::test_a", "tests/test_basis.py::test_b"]) == 0
    for several in (["tests", "notebooks"], ["tests"], ["tests/test_basis.py", "tests/test_layers.py"]):
        assert 1 <= lanes.workers(several) <= lanes.MOST_WORKERS


def test_a_report_with_bytes_of_no_encoding_can_be_sent() -> None:
    report = {"sections": [("out", "\udcff ü")], "longrepr": None, "\udcfe": 1.5}
    sent = lanes.sendable(report)
    assert sent == {"sections": [("out", "\\udcff ü")], "longrepr": None, "\\udcfe": 1.5}
    assert repr(sent).encode()


@pytest.mark.parametrize(("count", "cores", "threads"), [("2", 2, "1"), ("4", 16, "4"), ("2", 1, "1")])
def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch, count: str, cores: int, threads: str) -> None:
    monkeypatch.setattr(lanes, "cores", lambda: cores)
    environment = {"PYTEST_XDIST_WORKER_COUNT": count}
    lanes.share_cores(environment)
    assert environment["OMP_NUM_THREADS"] == threads
    kept = {"PYTEST_XDIST_WORKER_COUNT": count, "OMP_NUM_THREADS": "7"}
    lanes.share_cores(kept)
    assert kept["OMP_NUM_THREADS"] == "7", "what somebody asked for"
    alone: dict[str, str] = {}
    lanes.share_cores(alone)
    assert alone == {}


def test_silence_is_broken() -> None:
    said: list[str] = []
    heart = lanes.Heartbeat(said.append, silence=0.02)
    heart.pytest_runtest_logstart("test_kills.py::test_a_hundred")
    heart.pytest_runtest_logstart("test_basis.py::test_short")
    heart.pytest_runtest_logfinish("test_basis.py::test_short")
    heart.pytest_sessionstart()
    end = time.monotonic() + 30
    while len(said) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    heart.pytest_sessionfinish()
    heart.thread.join(10)
    assert said[:2] == ["running: test_kills.py::test_a_hundred (0 s)"] * 2
    assert not heart.thread.is_alive()


TRIED = """
import logging, subprocess, sys, time
def test_waits():
    time.sleep(0.8)
def test_says_what_utf_8_has_not():
    logging.getLogger().warning("\\udcff")
def test_starts_a_program():
    subprocess.run([sys.executable, "-c", ""])
"""


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path) -> None:
    """The hooks of these tests on three others, in a process beside the one with the terminal."""
    shutil.copy(FOLDER / "conftest.py", tmp_path)
    (tmp_path / "lanes.py").write_text((FOLDER / "lanes.py").read_text() + "\nSILENCE = 0.2\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = quick\n")
    (tmp_path / "test_it.py").write_text(TRIED)
    command = [sys.executable, "-m", "pytest", "-n", "1", "-m", "quick", "-q", "-pno:cacheprovider", "-pno:nbval"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "running: test_it.py::test_waits" in done.stdout
    assert "a quick test started" in done.stdout
