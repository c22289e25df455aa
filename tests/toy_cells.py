"""A stand-in for training: seconds become milliseconds, the rest is as in earnest (epochs, checkpoints, records).

Run as a program it is a runner that a test can kill: `python toy_cells.py RESULTS CHECKPOINTS LOG NUMBER [JOBS]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sesn_lib.experiments.mnist_scale import EXPERIMENT, GRID, PROTOCOL, Cell
from sesn_lib.store.checkpoint import Interrupted
from sesn_lib.store.records import now

EPOCHS = 5


def make_record(cell: Cell, *, error: float = 2.0, epochs: int = 60, **changes: Any) -> dict[str, Any]:
    """A valid record; `changes` replace top-level values."""
    protocol = {**PROTOCOL, "epochs": epochs, "precision": "float32"}
    history = [
        {
            "epoch": epoch,
            "learning_rate": 0.01,
            "train_loss": 1 / epoch,
            "train_accuracy": 0.9,
            "val_loss": 0.2,
            "val_accuracy": 0.95,
            "seconds": 1.5,
        }
        for epoch in range(1, epochs + 1)
    ]
    return {
        "schema": 1,
        "cell": cell.as_dict(),
        "seed": 7,
        "protocol": protocol,
        "complete": EXPERIMENT.is_complete(protocol, 50000),
        "parameters": 494549,
        "best_epoch": epochs,
        "val_accuracy": 0.95,
        "test_error_50k": error,
        "test_error_48k": error,
        "test_images": 50000,
        "history": history,
        "data_checksum": "0" * 64,
        "environment": {"device": "toy", "device_type": "cpu", "torch": "2.11.0", "git_commit": None},
        "timing": {"train_seconds": 90.0, "evaluation_seconds": 5.0, "wall_seconds": 100.0, "finished": now()},
        **changes,
    }


def toy_cell(
    cell: Cell,
    *,
    log: str | Path,
    checkpoints: str | Path,
    on_epoch: Callable[[Any], None],
    stop: Callable[[], bool],
    seconds: float = 0.01,
    broken: tuple[str, ...] = (),
    deadly: tuple[str, ...] = (),
) -> dict[str, Any]:
    """'Trains' by hashing on from epoch to epoch, so that the result depends on every epoch having been done once.

    `broken` names cells that raise, `deadly` cells whose process dies. Each begin is noted in the file `log`.
    """
    with open(log, "a") as file:
        file.write(f"{cell.name} {os.getpid()}\n")
    path = Path(checkpoints) / f"{cell.name}.pt"
    done, value = json.loads(path.read_text()) if path.exists() else (0, cell.name)
    for epoch in range(done + 1, EPOCHS + 1):
        if cell.name in broken:
            raise ArithmeticError("the loss is nan after epoch 1")
        if cell.name in deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        value = grown(epoch, value)
        write(path, [epoch, value])
        write(path.with_suffix(".json"), {"epoch": epoch, "epochs": EPOCHS})
        if stop():
            raise Interrupted
        on_epoch({"epoch": epoch, "epochs": EPOCHS, "train_loss": 0.1, "val_accuracy": 0.9, "seconds": seconds})
    return toy_record(cell, value)


def grown(epoch: int, value: str) -> str:
    """The value after one more epoch."""
    return hashlib.sha256(f"{epoch} {value}".encode()).hexdigest()


def toy_record(cell: Cell, value: str | None = None) -> dict[str, Any]:
    """What `toy_cell` returns in the end, or what it should."""
    if value is None:
        value = cell.name
        for epoch in range(1, EPOCHS + 1):
            value = grown(epoch, value)
    return make_record(cell, error=int(value[:8], 16) % 5000 / 500, data_checksum=value)


def toy_realization(root: str | None, number: int, protocol: str, progress: bool) -> Any:
    """In place of a realization of MNIST-scale: 48 training, 16 validation and 30 test images of noise."""
    import numpy as np

    def split(count: int) -> SimpleNamespace:
        images = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = draws.integers(0, 10, count)
        return SimpleNamespace(images=images, labels=labels, factors=draws.uniform(0.3, 1.0, count))

    draws = np.random.default_rng(number)
    return SimpleNamespace(train=split(48), val=split(16), test=split(30), checksum=f"{number}" * 64)


def use_toy_data(monkeypatch: Any, realization: Callable[..., Any] = toy_realization) -> None:
    """Runs of cells get such images from now on."""
    from sesn_lib.training import mnist_scale

    monkeypatch.setattr(mnist_scale, "load_realization", realization)


def write(path: Path, content: Any) -> None:
    """Whole or not at all, but without the wait for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_text(json.dumps(content))
    aside.replace(path)


def main(results: str, checkpoints: str, log: str, number: str, jobs: str = "1") -> None:
    """Runs the first cells of the grid until they are done or someone ends it; waits while there is a file `gate`."""
    from sesn_lib.runner.local import run
    from sesn_lib.runner.worker import Job

    gate = Path(log).with_name("gate")
    gate.with_name(f"ready-{os.getpid()}").touch()
    while gate.exists():
        time.sleep(0.01)
    execute = partial(toy_cell, log=log, checkpoints=checkpoints)
    job = Job(GRID[: int(number)], Path(results), execute, Path(checkpoints))
    summary = run(job, jobs=int(jobs), notify=lambda event: print(event.kind, event.cell, flush=True))
    sys.exit(130 if summary.interrupted else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
