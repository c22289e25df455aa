"""Where an experiment stands: the state of each cell, the errors so far and the time that is left. Imports no torch."""

from __future__ import annotations

import errno
import statistics
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sesn_lib import machine
from sesn_lib.experiments.base import Experiment
from sesn_lib.experiments.mnist_scale import EXPERIMENT as MNIST_SCALE
from sesn_lib.runner import mps
from sesn_lib.runner.budget import typical_cost
from sesn_lib.store.checkpoint import Checkpoint
from sesn_lib.store.records import Store
from sesn_lib.store.schema import AnyCell, cell_of

SYMBOLS = {"done": "●", "partial": "○", "running": "▶", "checkpoint": "◐", "failed": "✗", "missing": "·"}
"""States of a cell. partial: there is a record, but of a shorter protocol; checkpoint: begun, stopped, can go on."""


@dataclass(frozen=True)
class Status:
    """The state of an experiment's cells.

    Attributes:
        states: one of `SYMBOLS` for each cell.
        progress: the fraction trained, of cells that are running or have a checkpoint.
        errors: test error in percent of the complete records.
        failures: the message of each failed cell.
        damaged: files that a runner has set aside.
        seconds_left: time for the cells that are not done, one after the other; of those for which it is known.
        unknown: how many cells that leaves out, because no cell of their model is done on that device.
        experiment: whose cells they are.
        device: the one whose records the time is judged by, None if there are none.
        here: whether this machine has such a device.
    """

    states: dict[AnyCell, str]
    progress: dict[AnyCell, float]
    errors: dict[AnyCell, float]
    failures: dict[AnyCell, str]
    damaged: tuple[Path, ...]
    seconds_left: float
    unknown: int
    experiment: Experiment = MNIST_SCALE
    device: str | None = None
    here: bool = False

    def counts(self) -> dict[str, int]:
        """Number of cells in each state, states without cells included."""
        counter = Counter(self.states.values())
        return {state: counter[state] for state in SYMBOLS}

    def mean_errors(self) -> dict[tuple[str, float | None], tuple[int, float, float | None]]:
        """(model, condition) -> number of complete runs, mean error, sample standard deviation (None for one)."""
        groups: dict[tuple[str, float | None], list[float]] = {}
        for cell, error in self.errors.items():
            groups.setdefault((cell.model, cell.condition), []).append(error)
        return {
            key: (len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
            for key, values in groups.items()
        }


def survey(
    results: str | Path,
    experiment: Experiment = MNIST_SCALE,
    *,
    part: str | None = None,
    cells: Iterable[AnyCell] | None = None,
    checkpoints: str | Path | None = None,
) -> Status:
    """Looks at a results folder; it need not exist. Changes nothing; what is no record is said and passed over.

    Arguments:
        results: the results folder.
        experiment: whose cells.
        part: of its grid, or `ALL`; the first by default. Repetitions beyond the grid that were run, of its models
            under its conditions, are there too.
        cells: those of interest in place of a part.
        checkpoints: the folder of the checkpoints, if they are to be shown.

    Raises:
        ValueError: the experiment has no such part.
        NotADirectoryError: there is a file in the results folder's place.
    """
    store = Store(results)
    if store.folder.exists() and not store.folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder of results", str(store.folder))
    records, failures = store.records_of(experiment.cell), store.failures_of(experiment.cell)
    cells = tuple(_of_part(experiment, part, {*records, *failures}) if cells is None else cells)
    folder = None if checkpoints is None else Path(checkpoints)
    states, progress = {}, {}
    for cell in cells:
        states[cell] = state_of(store, cell, records.get(cell), failures, folder)
        if states[cell] in ("running", "checkpoint"):
            progress[cell] = Checkpoint(folder, cell).fraction_noted()
    todo = [cell for cell in cells if states[cell] not in ("done", "partial")]
    device, known = _costs(experiment, records.values(), [cell.model for cell in todo])
    left = [known[cell.model] * (1 - progress.get(cell, 0.0)) for cell in todo if cell.model in known]
    return Status(
        states=states,
        progress=progress,
        errors={cell: records[cell][experiment.error] for cell in cells if states[cell] == "done"},
        failures={cell: failures[cell] for cell in cells if cell in failures},
        damaged=tuple(store.set_aside_before()),
        seconds_left=sum(left),
        unknown=len(todo) - len(left),
        experiment=experiment,
        device=device,
        here=device is not None and is_here(device),
    )


def _of_part(experiment: Experiment, part: str | None, known: set[AnyCell]) -> Iterable[AnyCell]:
    """The cells of a part, and those of its models and conditions beyond the grid that are known."""
    kinds = {(cell.model, cell.condition) for cell in experiment.cells(part)}
    beyond = {cell for cell in known if (cell.model, cell.condition) in kinds}
    return dict.fromkeys((*experiment.cells(part), *sorted(beyond)))


def state_of(
    store: Store,
    cell: AnyCell,
    record: Mapping[str, Any] | None,
    failures: Container[AnyCell],
    checkpoints: Path | None,
) -> str:
    """``done``, ``partial`` (of a shorter protocol), ``running``, ``failed``, ``checkpoint`` (begun) or ``missing``."""
    if record is not None:
        return "done" if record["complete"] else "partial"
    if _is_held(store, cell):
        return "running"
    if cell in failures:
        return "failed"
    if checkpoints is not None and (checkpoints / f"{cell.name}.pt").exists():
        return "checkpoint"
    return "missing"


def _is_held(store: Store, cell: AnyCell) -> bool:
    path = store.locks / f"{cell.name}.lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # a folder that cannot be written or locked, so nobody works in it
        return False
    lock.release()
    return False


def is_here(device: str) -> bool:
    """Whether a device as records name it (`provenance.device_description`) is of a kind that this machine has.

    Processors are known by their model, whatever the number of threads, GPUs by what `nvidia-smi` lists.
    """
    return device.partition(" (")[0] == machine.processor() or device in mps.cards()


def _costs(
    experiment: Experiment, records: Iterable[dict[str, Any]], todo: Sequence[str]
) -> tuple[str | None, dict[str, float]]:
    """The device that the time is judged by, and its seconds of a full run by model.

    That is the one with complete records of most of the models `todo`; of several one that is here, then the one of
    the newest record.
    """
    complete = (record for record in records if record["complete"])
    like: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for record in sorted(complete, key=lambda record: record["timing"]["finished"], reverse=True):
        like.setdefault(record["environment"]["device"], {}).setdefault(record["cell"]["model"], []).append(record)
    if not like:
        return None, {}
    timed = {device: sum(model in models for model in todo) for device, models in like.items()}
    best = [device for device in like if timed[device] == max(timed.values())]  # the newest first
    device = next((device for device in best if is_here(device)), best[0])
    costs = {}
    for model, alike in like[device].items():
        whole = experiment.whole_protocols(cell_of(alike[0]["cell"]))[0]
        costs[model] = typical_cost(alike, whole["epochs"], whole["train_images"])
    return device, costs
