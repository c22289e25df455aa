"""How the suite is run: which tests are quick, in how many processes, in which order, and what is said meanwhile.

Three lanes: `pytest -m quick`, `pytest` (all that is not long) and `pytest -m long`. A test is quick unless it, its
file or a fixture it uses is marked otherwise, so that nobody has to mark the many; one that is quick may start no
process, and is told so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

SLOW_FILES = {
    "test_value_properties.py",
    "test_stl10_training.py",
    "test_coverage.py",
    "test_bench.py", "test_cluster.py", "test_full_disk.py", "test_jupyterlab.py", "test_kills.py",
    "test_notebook_conditions.py",
    "test_counting.py", "test_execution.py", "test_layer_properties.py", "test_stl10_cost.py",
    "test_downloads.py", "test_phone.py", "test_probes.py",
    "test_mps.py", "test_poster.py", "test_results_notebooks.py", "test_site_in_browser.py",
}  # fmt: skip
"""All tests of these are slow: `pytest -m quick` does not even import them."""
SLOW_FIXTURES = {"mnist_root", "site", "built"}
"""Fixtures that need real digits, the whole report or notebooks executed, so that no test is quick that uses one."""
# Milliseconds each; a Python that imports torch takes seconds. NumPy 1.26's tools for tests ask lscpu when imported.
ALLOWED_PROGRAMS = {"git", "uname", "lscpu"}
MOST_WORKERS, BYTES_PER_WORKER = 4, 3 << 30  # a process with torch, and a notebook's kernel
SILENCE = 25.0  # seconds


# Lanes


def lane(item: pytest.Item) -> str:
    """Its mark, long or slow, and without one quick, if neither its file nor one of its fixtures is slow."""
    for name in ("long", "slow"):
        if item.get_closest_marker(name):
            return name
    slow = item.path.name in SLOW_FILES or SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
    return "slow" if slow else "quick"


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Notebooks first, then files with slow tests, so that what is left for the end is short; files stay together."""
    slow = {item.path for item in items if item.path.suffix == ".py" and lane(item) != "quick"}
    return sorted(items, key=lambda item: (item.path.suffix != ".ipynb", item.path not in slow))


class OnlyOneProcess:
    """Lets no quick test start a process.

    Where one is started in vain the test fails, whatever the code under test does with exceptions.
    """

    def __init__(self) -> None:
        self.quick = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.quick = item.get_closest_marker("quick") is not None
        try:
            return (yield)
        finally:
            self.quick = False

    def refuse(self, what: str) -> None:
        if self.quick:
            pytest.fail(f"a quick test started {what}: mark it `slow`, or do without", pytrace=False)

    def watch(self, patches: pytest.MonkeyPatch) -> None:
        """Wraps all the ways in which the library and its tests start processes."""

        def guarded(function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                name = name_of(*arguments, **options)
                if name not in ALLOWED_PROGRAMS:
                    self.refuse(name)
                return function(*arguments, **options)

            return call

        def program(_: Any, args: Any, *__: Any, **___: Any) -> str:
            first = args if isinstance(args, str | os.PathLike) else args[0]
            return Path(os.fspath(first)).name

        patches.setattr(subprocess.Popen, "__init__", guarded(subprocess.Popen.__init__, program))
        patches.setattr(BaseProcess, "start", guarded(BaseProcess.start, lambda process: type(process).__name__))
        patches.setattr(os, "fork", guarded(os.fork, lambda: "a fork"))


# Processes


def sendable(report: Any) -> Any:
    """A report with every text such that UTF-8 has it: names of files may hold bytes that it has not."""
    if isinstance(report, str):
        return report.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(report, dict):
        return {sendable(key): sendable(value) for key, value in report.items()}
    return type(report)(map(sendable, report)) if type(report) in (list, tuple) else report


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers(arguments: list[str]) -> int:
    """How many processes `-n auto` means: none beside this one for a single file, else by cores and memory."""
    if len({argument.split("::")[0] for argument in arguments}) == 1 and arguments[0].split("::")[0].endswith(".py"):
        return 0
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores(), MOST_WORKERS, memory // BYTES_PER_WORKER))


def share_cores(environment: Any) -> None:
    """In a worker: as many threads, there and in what it starts, as there are cores for each. Before torch comes."""
    if count := int(environment.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))


class Heartbeat:
    """Says every half minute what is being run if nothing else is said. For the process that has the terminal."""

    def __init__(self, say: Callable[[str], Any], silence: float) -> None:
        self.say, self.silence = say, silence
        self.running: dict[str, float] = {}
        self.heard = time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def beat(self) -> None:
        while not self.ended.wait(self.silence / 10):
            now = time.monotonic()
            if now - self.heard >= self.silence:
                self.heard = now
                names = [f"{name} ({now - start:.0f} s)" for name, start in list(self.running.items())]
                self.say(f"running: {', '.join(names) or 'nothing yet'}")

    def pytest_sessionstart(self) -> None:
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)
        self.heard = time.monotonic()

    def pytest_sessionfinish(self) -> None:
        self.ended.set()


def left_out(config: pytest.Config, path: Path) -> bool | None:
    """True for what need not be looked into, None for what others are to decide."""
    return (config.option.markexpr == "quick" and path.name in SLOW_FILES) or None


def set_up(config: pytest.Config) -> None:
    """Registers what concerns this process."""
    if config.option.markexpr == "quick":
        config.option.nbval = False  # a notebook is never quick: not even read
    guard = OnlyOneProcess()
    config.pluginmanager.register(guard)
    patches = pytest.MonkeyPatch()
    guard.watch(patches)
    config.add_cleanup(patches.undo)
    # Whether this process has the terminal and others the tests.
    if getattr(config.option, "tx", None) and not config.option.collectonly and not hasattr(config, "workerinput"):

        def say(text: str) -> None:
            terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
            terminal.ensure_newline()
            terminal.write_line(text)
            sys.stdout.flush()

        config.pluginmanager.register(Heartbeat(say, SILENCE))
