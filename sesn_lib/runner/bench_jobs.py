"""What a user pays: whole short trainings, `sesn run` in a process of its own, with one job and with several.

The same cells are trained each time, at least one for each job. What is not training (starting processes, importing
torch, reading the data, waiting for the last job) is counted apart, because it comes once and not with every epoch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sesn_lib.checks import check_whole
from sesn_lib.experiments.mnist_scale import PROTOCOL, REALIZATIONS, SCALINGS
from sesn_lib.runner.heartbeat import at_work
from sesn_lib.runner.worker import RunnerError
from sesn_lib.store.records import Store

if TYPE_CHECKING:
    import torch
    from rich.console import Console

GPU_JOBS = (1, 2, 4, 8)
MODELS = ("mnist_ses_vector_56",)
MOST_JOBS = len(REALIZATIONS) * len(SCALINGS)  # the cells of a model


@dataclass(frozen=True)
class Training:
    """Some cells of one model, trained by so many jobs.

    Attributes:
        mps: whether the jobs shared the GPU at once.
        wall_seconds: of the command, from beginning to end.
        training_seconds: of it in epochs (validation included) and in the final test, averaged over the jobs.
        start_seconds: the rest.
        epoch_seconds: median over all epochs but each cell's first, which chooses algorithms and records a graph.
        gain: epochs that all jobs finish in a second, over those of one job; None where one job was not timed.
    """

    model: str
    jobs: int
    mps: bool
    cells: int
    epochs: int
    train_images: int
    precision: str
    wall_seconds: float
    training_seconds: float
    start_seconds: float
    epoch_seconds: float
    gain: float | None


def jobs_to_time(asked: Sequence[int] | None, device: torch.device) -> tuple[int, ...]:
    """The numbers of jobs that are asked for; 1, 2, 4 and 8 on a GPU and none on a CPU where none are.

    Raises:
        ValueError: a number below 1 or above the number of cells of a model.
    """
    for jobs in asked or ():
        check_whole(most=MOST_JOBS, jobs=jobs)
    return tuple(sorted(set(asked))) if asked else GPU_JOBS if device.type == "cuda" else ()


def run(
    models: Sequence[str] | None, jobs: Sequence[int], device: torch.device, output: Path | None, console: Console
) -> None:
    """Times trainings of the models, by default of the dearest; shows them, and adds them to the JSON file `output`.

    The file gets the key `trainings`, a list with the attributes of a `Training` in each entry.
    """
    rows: list[Training] = []
    with at_work("trainings", console) as tell:
        for model in models or MODELS:
            console.print(f"{model}: whole trainings with {', '.join(map(str, jobs))} jobs")
            tell(model)
            rows += measure(model, jobs, device)
    console.print(_table(rows))
    if output is not None:
        report = json.loads(output.read_text())
        output.write_text(json.dumps(report | {"trainings": [asdict(row) for row in rows]}, indent=1) + "\n")


def measure(
    model: str,
    jobs: Sequence[int],
    device: torch.device,
    *,
    epochs: int | None = None,
    train_images: int | None = None,
    test_images: int = 2000,
) -> list[Training]:
    """Trains cells of the model, as many as the most jobs, with each number of jobs in turn, the smallest first.

    Arguments:
        epochs, train_images: by default 5 of the protocol's images on a GPU, 2 of 1,280 images on a CPU.

    Raises:
        RunnerError: a run failed.
    """
    on_gpu = device.type == "cuda"
    epochs = epochs or (5 if on_gpu else 2)
    train_images = train_images or (PROTOCOL["train_images"] if on_gpu else 1280)
    scalings, realizations = _cells_for(max(jobs))
    rows: list[Training] = []
    for number in sorted(jobs):
        with tempfile.TemporaryDirectory(prefix="sesn-bench-") as folder:
            options = {
                "--models": model,
                "--scalings": scalings,
                "--realizations": realizations,
                "--epochs": epochs,
                "--train-images": train_images,
                "--test-images": test_images,
                "--jobs": number,
                "--device": device,
                "--precision": "bf16" if on_gpu else "float32",
                "--results": folder,
            }
            wall = timed([str(word) for option in options.items() for word in option], number)
            rows.append(_training(model, number, Path(folder), wall, rows))
    return rows


def _cells_for(jobs: int) -> tuple[str, str]:
    """Scalings and realizations of so many cells or one more; without rescaling, which costs time, if that will do."""
    count = len(REALIZATIONS)
    return ("1.0", f"0-{jobs - 1}") if jobs <= count else ("1.0,0.5", f"0-{(jobs + 1) // 2 - 1}")


def timed(words: list[str], jobs: int) -> float:
    """Seconds that `sesn run` takes with these words.

    Raises:
        RunnerError: a run failed.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "sesn_lib", "run", *words], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise RunnerError(f"a training with {jobs} jobs ended with code {done.returncode}: {said}")
    return time.perf_counter() - start


def _training(model: str, jobs: int, folder: Path, wall: float, before: Sequence[Training]) -> Training:
    records = Store(folder).load_all()
    busy = sum(record["timing"]["train_seconds"] + record["timing"]["evaluation_seconds"] for record in records) / jobs
    epoch = median(row["seconds"] for record in records for row in record["history"][1:] or record["history"])
    alone = next((row.epoch_seconds for row in before if row.jobs == 1), epoch if jobs == 1 else None)
    protocol = records[0]["protocol"]
    return Training(
        model=model,
        jobs=jobs,
        mps=all(bool(record["environment"].get("mps")) for record in records),
        cells=len(records),
        epochs=protocol["epochs"],
        train_images=protocol["train_images"],
        precision=protocol["precision"],
        wall_seconds=wall,
        training_seconds=busy,
        start_seconds=wall - busy,
        epoch_seconds=epoch,
        gain=None if alone is None else jobs * alone / epoch,
    )


def _table(rows: Sequence[Training]) -> object:
    from rich.table import Table

    first = rows[0]
    table = Table(
        title=f"{first.cells} trainings of {first.epochs} epochs, {first.train_images} images, {first.precision}",
        caption="gain: epochs in a second, over those of one job; start: all that is not training",
    )
    for heading in ("network", "jobs", "whole (s)", "start (s)", "epoch (s)", "gain"):
        left = heading == "network"
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        table.add_row(
            row.model,
            f"{row.jobs}{' (MPS)' if row.mps else ''}",
            f"{row.wall_seconds:.1f}",
            f"{row.start_seconds:.1f}",
            f"{row.epoch_seconds:.2f}",
            "-" if row.gain is None else f"{row.gain:.2f}x",
        )
    return table
