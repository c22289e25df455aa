"""What the `sesn` command shows: progress that is lively on a terminal and calm in a file, and the map of the grid."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from sesn_lib.experiments.registry import cell_of, experiment_of
from sesn_lib.runner.budget import format_duration
from sesn_lib.runner.heartbeat import QUIET_SECONDS, Heartbeat
from sesn_lib.runner.status import SYMBOLS, Status
from sesn_lib.runner.worker import Event, Summary
from sesn_lib.store.records import Store
from sesn_lib.store.schema import AnyCell

STYLES = {
    "done": "bold green",
    "partial": "green",
    "running": "bold cyan",
    "checkpoint": "yellow",
    "failed": "bold red",
    "missing": "dim",
}


def result_line(record: dict[str, Any]) -> str:
    """One line on a finished run."""
    result = experiment_of(cell_of(record["cell"])).result_line(record)
    return f"{result}, {format_duration(record['timing']['wall_seconds'])} on {record['environment']['device']}"


def closing_line(summary: Summary, cells: Sequence[AnyCell], store: Store) -> str:
    """What a run of these cells came to."""
    left = [cell for cell in cells if not store.has(cell)]
    line = f"{len(summary.finished)} finished, {len(summary.failed)} failed, {len(left)} of {len(cells)} left"
    elsewhere = sum(cell in summary.elsewhere for cell in left)
    line += f", {elsewhere} of them at work in another process" if elsewhere else ""
    before = sum(store.has_failed(cell) and cell not in summary.failed for cell in left)
    line += f", {before} of them failed before (`sesn status` says how; --retry-failed tries again)" if before else ""
    return line


class Display:
    """Shows the events of a run: a bar for each running cell on a terminal, else lines; within its block, at least one
    every half minute.

    Arguments:
        total: number of cells to run.
        every_epoch: in a file, a line for each epoch; otherwise at most one per cell and half minute.
        stream: where to; standard error by default.
    """

    def __init__(self, total: int, *, every_epoch: bool = False, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.lively = self.stream.isatty()
        self.every_epoch, self.total, self.ended = every_epoch, total, 0
        self.bars: dict[AnyCell, tqdm[Any]] = {}
        self.last_line: dict[AnyCell, float] = {}
        self.at_work: dict[AnyCell, str] = {}
        self.heartbeat = Heartbeat(lambda: "; ".join(list(self.at_work.values())) or "getting ready", self._line)

    def __enter__(self) -> Display:
        self.heartbeat.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.heartbeat.__exit__(*error)
        self.close()

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        cell = event.cell
        if event.kind == "started":
            self.last_line[cell] = time.monotonic()
            self.at_work[cell] = f"{cell}, epoch 1"
            if not self.lively:
                self._line(f"{cell}: started")
        elif event.kind == "epoch":
            self._epoch(cell, event.data)
        elif event.kind == "finished":
            self._end(cell, result_line(event.data))
        elif event.kind == "failed":
            self._end(cell, f"FAILED, {event.data}")
        elif event.kind == "stopped":
            self._close(cell)
            self._line(f"{cell}: stopped; the next run goes on from its checkpoint")
        elif event.kind == "too_long":
            self._line(f"{cell}: not begun, it needs about {format_duration(event.data)}")

    def close(self) -> None:
        """Removes bars that are left."""
        for cell in list(self.bars):
            self._close(cell)

    def _epoch(self, cell: AnyCell, report: dict[str, Any]) -> None:
        done, epochs = report["epoch"], report["epochs"]
        self.at_work[cell] = f"{cell}, " + (f"epoch {done + 1}/{epochs}" if done < epochs else "the test")
        accuracy = report["val_accuracy"]
        validation = "" if accuracy is None else f", validation error {100 * (1 - accuracy):.2f} %"
        if self.lively:
            if cell not in self.bars:
                self.bars[cell] = tqdm(
                    total=report["epochs"], desc=cell.name, unit="epoch", leave=False, file=self.stream
                )
            bar = self.bars[cell]
            bar.update(report["epoch"] - bar.n)
            bar.set_postfix_str(f"loss {report['train_loss']:.3f}{validation}")
            self.heartbeat.beat()
        elif self.every_epoch or time.monotonic() - self.last_line.get(cell, 0.0) >= QUIET_SECONDS:
            self.last_line[cell] = time.monotonic()
            self._line(
                f"{cell}: epoch {report['epoch']}/{report['epochs']}, loss {report['train_loss']:.4f}{validation}, "
                f"{report['seconds']:.1f} s"
            )

    def _end(self, cell: AnyCell, text: str) -> None:
        self._close(cell)
        self.ended += 1
        self._line(f"[{self.ended}/{self.total}] {cell}: {text}" if self.total > 1 else f"{cell}: {text}")

    def _close(self, cell: AnyCell) -> None:
        self.at_work.pop(cell, None)
        bar = self.bars.pop(cell, None)
        if bar is not None:
            bar.close()

    def _line(self, text: str) -> None:
        self.heartbeat.beat()
        if self.lively:
            tqdm.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)


def show_status(status: Status, console: Console) -> None:
    """The map of the grid, counts, mean errors, failures, the time left."""
    models, conditions, last = _axes(status)
    title = f"{status.experiment.title}: test error in percent and state of the runs"
    table = Table(title=f"{title}, repetitions 0 to {last}" if last else title, title_justify="left")
    table.add_column("model")
    for condition in conditions:
        table.add_column("runs" if condition is None else f"x{condition}", no_wrap=True)
        table.add_column("mean ± std (n)", justify="right")
    means = status.mean_errors()
    for model in models:
        row: list[str | Text] = [model]
        for condition in conditions:
            row += [_map(status, model, condition), _mean(means.get((model, condition)))]
        table.add_row(*row)
    console.print(table)
    counts = status.counts()
    line = Text()
    for state, number in counts.items():
        if number or state == "done":
            line.append(f"{SYMBOLS[state]} {number} {state}  ", style=STYLES[state])
    console.print(line.append(f"of {len(status.states)}"))
    for cell, progress in status.progress.items():
        console.print(f"{cell}: {status.states[cell]}, {100 * progress:.0f} % trained", highlight=False)
    for cell, error in status.failures.items():
        console.print(Text(f"{cell}: failed, {error}", style="red"))
    for path in status.damaged:
        console.print(Text(f"set aside as damaged: {path}", style="red"))
    console.print(_time_left(status), highlight=False)


def show_audit(folder: Path) -> bool:
    """One line for each problem of a folder's records, or one that says how many there are; whether there is none.

    Raises:
        ValueError: there are no records.
    """
    from sesn_lib.runner.audit import audit  # which imports torch

    result = audit(folder)
    for line in (*result.notes, *result.problems):
        print(" ".join(line.split()))
    records = f"{result.checked} record{'s' if result.checked != 1 else ''} checked"
    if result.problems:
        print(f"{records}, {len(result.problems)} problem{'s' if len(result.problems) != 1 else ''}", file=sys.stderr)
    else:
        print(f"{records}, nothing wrong" + (f", {len(result.notes)} not to be told here" if result.notes else ""))
    return not result.problems


def _axes(status: Status) -> tuple[list[str], list[float | None], int]:
    """Models and conditions of the cells, in the experiment's order, and the last repetition."""
    models = {cell.model for cell in status.states}
    conditions = dict.fromkeys(cell.condition for cell in status.states)
    last = max((cell.repetition for cell in status.states), default=0)
    return [model for model in status.experiment.models if model in models], list(conditions), last


def _map(status: Status, model: str, condition: float | None) -> Text:
    """A symbol for each repetition."""
    cells = sorted(c for c in status.states if (c.model, c.condition) == (model, condition))
    text = Text()
    for cell in cells:
        text.append(SYMBOLS[status.states[cell]], style=STYLES[status.states[cell]])
    return text


def _mean(group: tuple[int, float, float | None] | None) -> str:
    if group is None:
        return "–"
    n, mean, spread = group
    return f"{mean:.2f} ({n})" if spread is None else f"{mean:.2f} ± {spread:.2f} ({n})"


def _time_left(status: Status) -> str:
    todo = sum(number for state, number in status.counts().items() if state not in ("done", "partial"))
    if not todo:
        return "nothing left to run"
    if status.unknown == todo:
        return "time left: unknown, no run of a model that is left is done on any device"
    whose = "as this machine has" if status.here else "which this machine does not have"
    time = format_duration(status.seconds_left)
    text = f"time left: about {time} on {status.device}, {whose}, one run after the other"
    others = f"{status.unknown} run{'s' if status.unknown != 1 else ''} of models not timed there yet"
    return f"{text}, and {others}" if status.unknown else text
