"""`sesn train` and `sesn run`: one cell, or those of a grid."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sesn_lib import paths
from sesn_lib.cli import arguments
from sesn_lib.cli import options as option
from sesn_lib.cli.options import Engine
from sesn_lib.experiments.base import Experiment
from sesn_lib.experiments.controls import EXPERIMENT as CONTROLS
from sesn_lib.experiments.registry import experiment_for, experiment_with
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner.budget import parse_duration

if TYPE_CHECKING:
    from sesn_lib.runner.worker import Job


def train(
    model: Annotated[str, typer.Argument(help="e.g. mnist_ses_vector_28")],
    extra_scaling: Annotated[
        float | None, typer.Option(help="MNIST-scale: augmentation e in (0, 1]; 1 is none. [1.0]")
    ] = None,
    realization: Annotated[int, typer.Option(help="0 to 5; STL-10: which run.")] = 0,
    epochs: option.Epochs = None,
    train_images: option.Images = None,
    test_images: option.Test = None,
    batch_size: option.Batch = None,
    micro_batch: option.MicroBatch = None,
    small_memory: option.SmallMemory = False,
    precision: option.Precision = "float32",
    device: option.Device = "auto",
    data: option.Data = None,
    results: Annotated[Path | None, typer.Option(help="The record goes to RESULTS/runs. [build/]")] = None,
    checkpoints: option.Checkpoints = None,
    weights: option.Weights = None,
    threads: option.Threads = None,
) -> None:
    """Train and test one model, on one realization of MNIST-scale or on STL-10, and write its record."""
    experiment = experiment_with(model)
    cell = experiment.cell_for(model, extra_scaling, realization)

    from sesn_lib.cli.display import Display
    from sesn_lib.cli.jobs import job_for
    from sesn_lib.runner.local import run
    from sesn_lib.store.records import Store

    folder = results or paths.build()
    store = Store(folder)
    store.set_aside_damaged()
    if store.has(cell):
        raise ValueError(f"{store.path(cell)} is there and is not overwritten; name another folder with --results")
    options = RunOptions(
        epochs=epochs,
        train_images=train_images,
        test_images=test_images,
        batch_size=batch_size,
        micro_batch=micro_batch,
        small_memory=small_memory,
        precision=precision,
        device=device,
        data=data and data.expanduser().resolve(),
        checkpoints=checkpoints,
        weights=weights,
        threads=threads,
        progress=sys.stderr.isatty(),
    )
    with Display(1, every_epoch=True) as display:
        summary = run(job_for(experiment, (cell,), options, folder), retry_failed=True, notify=display)
    if summary.elsewhere:
        raise ValueError(f"another process trains {cell} into {folder}; wait for it, or name another --results")
    if summary.finished:
        typer.echo(f"record: {store.path(cell)}")
    exit_with(bool(summary.failed), summary.interrupted)


def run(
    experiment: option.Experiment = None,
    part: option.Part = None,
    models: Annotated[list[str] | None, typer.Option(help="Names, separated by commas. [all]")] = None,
    scalings: Annotated[list[str] | None, typer.Option(help="1.0, 0.5 or both. [both]")] = None,
    realizations: Annotated[list[str] | None, typer.Option(help="e.g. 0,2 or 0-3. [0-5; STL-10: 0]")] = None,
    epochs: option.Epochs = None,
    train_images: option.Images = None,
    test_images: option.Test = None,
    batch_size: option.Batch = None,
    micro_batch: option.MicroBatch = None,
    small_memory: option.SmallMemory = False,
    jobs: Annotated[
        int | None, typer.Option(help="Cells at once, each in a process. [1; on a GPU by its room]")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="e.g. 9m, 1.5h: begin nothing that would not end.")] = None,
    device: option.Device = "auto",
    precision: option.Precision = "float32",
    results: option.Results = None,
    data: option.Data = None,
    checkpoints: option.Checkpoints = None,
    weights: option.Weights = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that failed.")] = False,
    threads: option.Threads = None,
    cluster: Annotated[Engine | None, typer.Option(help="Send the work to a cluster, as --jobs jobs.")] = None,
    partition: Annotated[str | None, typer.Option(help="The cluster's partition.")] = None,
) -> None:
    """Run the cells of the grid whose records are missing. Safe to stop, to kill, to start again and to start twice."""
    from sesn_lib.cli.jobs import job_for

    started = time.time()
    budget = None if time_budget is None else parse_duration(time_budget)
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {jobs}")
    if partition is not None and cluster is not Engine.slurm:
        raise ValueError(f"--partition {partition} is for --cluster slurm")
    chosen = experiment_for(experiment, part)
    cells = chosen.select(
        arguments.words(models), arguments.numbers(scalings), arguments.whole_numbers(realizations), part=part
    )
    options = RunOptions(
        epochs=epochs,
        train_images=train_images,
        test_images=test_images,
        batch_size=batch_size,
        micro_batch=micro_batch,
        small_memory=small_memory,
        precision=precision,
        device=device,
        data=data and data.expanduser().resolve(),
        checkpoints=checkpoints,
        weights=weights,
        threads=arguments.share_threads(threads, jobs or 1, device, alone=cluster is not None),
    )
    deadline = None if budget is None else started + budget
    job = job_for(chosen, cells, options, results, deadline=deadline, here=cluster is None)
    if cluster is None:
        _run_here(chosen, job, options, jobs, retry_failed)
    else:
        _send(job, jobs or 1, cluster, partition, budget, device != "cpu", retry_failed)


def _send(
    job: Job, jobs: int, cluster: Engine, partition: str | None, seconds: float | None, gpu: bool, retry_failed: bool
) -> None:
    from sesn_lib.runner.cluster import submit
    from sesn_lib.runner.local import forget_failures

    if retry_failed:
        forget_failures(job)
    engine = cluster.value
    sent = submit(job, jobs=jobs, engine=engine, say=typer.echo, partition=partition, seconds=seconds, gpu=gpu)
    exit_with(cluster is Engine.local and any(one.result().failed for one in sent), False)


def _run_here(experiment: Experiment, job: Job, options: RunOptions, jobs: int | None, retry_failed: bool) -> None:
    from sesn_lib.cli.display import Display, closing_line
    from sesn_lib.cli.jobs import processes
    from sesn_lib.runner.execution import task_of
    from sesn_lib.runner.heartbeat import Heartbeat, to_stderr
    from sesn_lib.runner.local import run as run_job
    from sesn_lib.store.records import Store

    cells, store = job.cells, Store(job.results)
    store.set_aside_damaged()
    missing = [cell for cell in cells if not store.has(cell)]
    typer.echo(f"{len(missing)} of {len(cells)} cells to run into {job.results}", err=True)
    with processes(job, jobs, options.device, len(missing), partial(typer.echo, err=True)) as (shared, number):
        if number > 1:  # or each process would fetch the same data
            with Heartbeat(lambda: "the data", to_stderr):
                task_of(experiment).fetch(missing, replace(options, progress=sys.stderr.isatty()))
        with Display(len(missing)) as display:
            summary = run_job(shared, jobs=number, retry_failed=retry_failed, notify=display)
    typer.echo(closing_line(summary, cells, store))
    exit_with(bool(summary.failed), summary.interrupted)


def probe(
    weights: Annotated[Path, typer.Argument(help="Folder of kept weights, of `sesn run --weights`.")],
    results: Annotated[Path | None, typer.Option(help="Results folder. [notebooks/results/controls]")] = None,
    digits: Annotated[int | None, typer.Option(help="So many test digits of each realization. [10000]")] = None,
    device: option.Device = "auto",
    precision: option.Precision = "auto",
    data: option.Data = None,
    threads: option.Threads = None,
) -> None:
    """Show trained networks digits of fixed sizes, from 0.21 to 2, and measure how equivariant they are."""
    from sesn_lib import provenance
    from sesn_lib.runner import probes
    from sesn_lib.runner.heartbeat import Heartbeat, to_stderr

    provenance.use_threads(threads)
    target, cells = provenance.resolve_device(device), probes.kept_cells(weights)
    folder = results or paths.results() / CONTROLS.folder
    paths.check_folders({"--results": folder})
    count = probes.DIGITS if digits is None else digits
    with Heartbeat(lambda: "networks and digits", to_stderr):
        written = probes.probe_all(
            cells, weights, folder, device=target, precision=precision, digits=count, data=data, say=typer.echo
        )
    typer.echo(f"{len(written)} networks probed, see {written[0].parent}")


def exit_with(failed: bool, interrupted: bool) -> None:
    """Ends the command with the code 130 if it was interrupted, 1 if something failed."""
    if interrupted:
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)
