"""What the `sesn` command shows of the STL-10 experiment: the state of the runs, the speed of the steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sesn_lib.cli.arguments import check_folders
from sesn_lib.cli.jobs import stl10_folders
from sesn_lib.experiments.stl10 import GRID, MODELS, STL10Cell, select
from sesn_lib.fast.precision import precisions_on
from sesn_lib.provenance import resolve_device, use_threads
from sesn_lib.runner.budget import format_duration
from sesn_lib.runner.heartbeat import Heartbeat, to_stderr
from sesn_lib.runner.status import state_of
from sesn_lib.runner.stl10_cost import add_measurement, count, estimate, measure
from sesn_lib.store.checkpoint import Checkpoint
from sesn_lib.store.records import Store

__all__ = ["bench", "show_status"]


def show_status(results: Path | None, checkpoints: Path | None, console: Console) -> None:
    """One line for each run that is done, begun, failed or expected."""
    folder, kept = stl10_folders(results, checkpoints)
    store = Store(folder)
    records, failures = store.records_of(STL10Cell), store.failures_of(STL10Cell)
    table = Table(title="STL-10 runs", title_justify="left")
    for column in ("run", "state", "test error"):
        table.add_column(column)
    for cell in sorted({*GRID, *records, *failures}, key=lambda cell: (MODELS.index(cell.model), cell.run)):
        record = records.get(cell)
        state = state_of(store, cell, record, failures, kept)
        if state in ("running", "checkpoint"):
            state += f" at {100 * Checkpoint(kept, cell).fraction_noted():.0f} %"
        elif state == "failed":
            state += f": {failures[cell]}"
        elif state == "partial":
            state = "done, not the authors' recipe"
        error = f"{record['test_error']:.2f} % after epoch {record['reported_epoch']}" if record else ""
        table.add_row(cell.name, state, error)
    console.print(table)
    for path in store.set_aside_before():
        console.print(f"set aside as damaged: {path}")


def bench(models: Iterable[str] | None, device: str, batch_size: int, output: Path | None, threads: int | None) -> None:
    """Measures training steps in the precisions that the device has units for; prints what a full run takes.

    Adds the numbers to a JSON file.

    Raises:
        ValueError: an unknown model, an absent device, an impossible value.
    """
    use_threads(threads)
    if output is not None:
        check_folders({"--output: the folder": output.parent})
    console = Console()
    for cell in select(models):
        for precision in precisions_on(resolve_device(device)):
            try:
                with Heartbeat(lambda: f"{cell.model}, {precision}", to_stderr):  # noqa: B023
                    found = measure(cell.model, device=device, precision=precision, batch_size=batch_size)
            except torch.OutOfMemoryError:
                console.print(f"{cell.model}, {precision}, batch {batch_size}: the device's memory does not hold it")
                continue
            console.print(_line(found), soft_wrap=True)
            if output is not None:
                add_measurement(output, found)


def _line(found: dict[str, Any]) -> str:
    name, speed = found["model"], found["images_per_second"]
    memory = found["peak_bytes"]
    flops = speed * count(name).step_flops
    return (
        f"{name}, {found['precision']}, batch {found['batch_size']}: {speed:.3g} images/s, {flops / 1e12:.2g} TFLOP/s, "
        + ("" if memory is None else f"{memory / 2**30:.1f} GiB, ")
        + f"a full run {format_duration(estimate(name, speed))} on {found['environment']['device']}"
    )
