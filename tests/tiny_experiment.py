"""The experiment in small, by the real command line, in processes that tell what they are about and can be killed.

A fork server has imported torch once, so that each new process is there within milliseconds. What it does is as in
earnest but for the numbers: a few hundred images, three epochs, a checkpoint after each.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_mnist

from sesn_lib.experiments.mnist_scale import Cell

MODELS = ("mnist_cnn_28", "mnist_ses_vector_28")
EPOCHS = 3
IMAGES = {"train": 24, "test": 30, "val": 20}
PATIENCE = 300.0  # only guards against hanging

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["pytest", "sklearn.model_selection", "scipy.special", "torch", "torch._dynamo", "typer._adapters"]
    + [
        f"sesn_lib.{name}"
        for name in ("cli.commands", "cli.display", "cli.jobs", "runner.local", "training.mnist_scale")
    ]
)

Hold = tuple[str, str, int]
"""Where a process stops and waits to be killed: phase, event in it ("enter" or one of `STEPS`), the how manieth."""

STEPS = ("open", "fcntl.flock", "os.link", "os.rename", "os.remove")
"""What the interpreter is about to do to a file, under the names of its audit events."""


def commands_of(folder: Path, models: Sequence[str] = MODELS, scalings: str = "1.0,0.5") -> list[list[str]]:
    """From raw MNIST in `folder`/raw to results.yml, as one would type it."""
    data, results = ["--data", str(folder / "data")], ["--results", str(folder / "results")]
    options = (
        f"--scalings {scalings} --realizations 0 --epochs {EPOCHS} --batch-size 12 --device cpu --threads 1".split()
    )
    return [
        ["data", "mnist-scale", "--realization", "0", "--source", str(folder / "raw"), *data],
        ["run", "--models", ",".join(models), *options, *data, *results],
        ["collect", *results],
    ]


def make_small(patches: pytest.MonkeyPatch, raw: Path) -> None:
    """Makes this process expect the small numbers; writes the raw files."""
    from data_prep import checksums, realizations
    from sesn_lib.experiments import mnist_scale as experiments
    from sesn_lib.experiments.settings import RunOptions

    files = tiny_mnist.install(patches, **IMAGES)
    if not raw.exists():
        tiny_mnist.write_folder(raw, files)
    images, labels = (
        np.concatenate([np.frombuffer(files[f"{part}-{kind}"], np.uint8, offset=start) for part in ("train", "t10k")])
        for kind, start in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    images = images.reshape(-1, 28, 28)
    made = realizations.make(images, labels, 0, "paper")
    patches.setitem(checksums.MNIST_SCALE, "paper", (made.checksum,) * 6)
    patches.setattr(checksums, "PAPER_PNG_MD5", (realizations.png_md5(made),) * 6)
    small = {"epochs": EPOCHS, "batch_size": 12, "milestones": [1, 2], "train_images": IMAGES["train"]}
    for name, value in small.items():
        patches.setitem(experiments.PROTOCOL, name, value)
    patches.setattr(experiments.EXPERIMENT, "train_images", IMAGES["train"])
    patches.setattr(experiments.EXPERIMENT, "test_images", IMAGES["test"])
    patches.setitem(RunOptions.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)


class Reporter:
    """The process' side: sends (event, phase or cell) through the pipe before the thing happens."""

    def __init__(self, pipe: Connection, hold: Hold | None) -> None:
        self.pipe, self.hold = pipe, hold
        self.phases = ["start"]
        self.passed = 0

    def tell(self, event: str, what: str) -> None:
        with suppress(BrokenPipeError):
            self.pipe.send((event, what))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.phases.append(name)
        self.tell("enter", name)
        self.step("enter")
        yield
        self.phases.pop()
        self.tell("back", self.phases[-1])

    def step(self, event: str) -> None:
        if self.hold is not None and self.hold[:2] == (self.phases[-1], event):
            self.passed += 1
            if self.passed == self.hold[2]:
                self.tell("held", f"{self.phases[-1]} {event}")
                signal.pause()

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS and (event != "open" or str(arguments[0]).endswith(".tmp")):
            self.step(event)

    def watch(self, patches: pytest.MonkeyPatch) -> None:
        """Wraps the functions of each phase, and all that touches files."""
        from data_prep import preparation
        from sesn_lib.runner import execution
        from sesn_lib.store import checkpoint
        from sesn_lib.store import records as store
        from sesn_lib.training import loop

        def wrap(place: Any, name: str, before: Callable[..., Any]) -> None:
            original = getattr(place, name)

            @functools.wraps(original)
            def wrapped(*arguments: Any, **options: Any) -> Any:
                with before(*arguments):
                    return original(*arguments, **options)

            patches.setattr(place, name, wrapped)

        @contextmanager
        def cell(cell: Cell) -> Iterator[None]:
            self.tell("begin", cell.name)
            yield

        for place, name, phase in (
            (preparation, "prepare_all", "data"),
            (loop._Run, "train_epoch", "train"),
            (checkpoint, "write_aside", "checkpoint"),
            (store.Store, "write", "record"),
            (checkpoint.Checkpoint, "discard", "discard"),
            (preparation.realizations, "store", "realization"),
            (store, "collect", "collect"),
        ):
            wrap(place, name, lambda *arguments, phase=phase: self.phase(phase))
        wrap(execution, "train_cell", lambda cell_, *rest: cell(cell_))
        sys.addaudithook(self.audit)


def _main(
    folder: Path, commands: list[list[str]], pipe: Connection, output: Connection, hold: Hold | None, sabotage: Any
) -> None:
    """The process: one command after the other, until one fails."""
    from tqdm import tqdm

    from sesn_lib.cli import commands as cli

    tqdm.set_lock(threading.RLock())  # its own outlives a kill
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    patches = pytest.MonkeyPatch()
    make_small(patches, folder / "raw")
    reporter = Reporter(pipe, hold)
    reporter.watch(patches)
    if sabotage is not None:
        sabotage(patches, reporter)
    for command in commands:
        try:
            cli.main(command)
        except SystemExit as end:
            if end.code:
                raise


class Try:
    """One such process, seen from outside.

    Attributes:
        phase: in which it was last known to be.
        entered: how often it entered each phase.
        begun: how often it began each cell, by name.
        held: where it waits to be killed, e.g. "record os.link".
        output: what it wrote, once it has ended.
    """

    def __init__(
        self,
        folder: Path,
        commands: list[list[str]] | None = None,
        *,
        hold: Hold | None = None,
        sabotage: Callable[[pytest.MonkeyPatch, Reporter], None] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.phase, self.held, self.output = "start", "", ""
        self.entered: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.pipe, theirs = _server.Pipe(duplex=False)
        self._output, output = _server.Pipe(duplex=False)
        arguments = (folder, commands or commands_of(folder), theirs, output, hold, sabotage)
        self.process = _server.Process(target=_main, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        output.close()

    def listen(self, seconds: float, until: Callable[[Try], bool] = lambda run: False) -> bool:
        """Takes in reports until the time is over, the process has ended or something is so; whether it is."""
        end = time.monotonic() + seconds
        while not until(self):
            if not self.pipe.poll(max(end - time.monotonic(), 0.0)):
                return False
            try:
                event, what = self.pipe.recv()
            except (EOFError, OSError):  # it has ended, perhaps in mid-word
                return False
            if event == "begin":
                self.begun[what] += 1
            elif event == "held":
                self.held = what
            else:
                self.phase = what
                self.entered[what] += event == "enter"
        return True

    def kill(self) -> str:
        """Sends SIGKILL, waits for the end; returns the phase in which it came, or "ended" if that was too late."""
        self.process.kill()
        self.finish()
        return self.phase if self.process.exitcode == -signal.SIGKILL else "ended"

    def finish(self) -> int:
        """Waits for the end; returns the exit code."""
        self.listen(PATIENCE)
        content = b""
        while block := os.read(self._output.fileno(), 65536):
            content += block
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"it hangs in phase {self.phase}"
        self.output = content.decode()
        return self.process.exitcode
