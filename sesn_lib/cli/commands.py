"""The `sesn` command: data, train, run, status, collect, bench, report."""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import DataError
from sesn_lib.cli import arguments, data_commands
from sesn_lib.cli.options import (
    BatchOption,
    CheckpointsOption,
    DataOption,
    DeviceOption,
    Engine,
    EpochsOption,
    Experiment,
    ExperimentOption,
    ImagesOption,
    PrecisionOption,
    Profile,
    TestOption,
    ThreadsOption,
    WeightsOption,
)
from sesn_lib.experiments.mnist_scale import PROTOCOL, Cell, select

__all__ = ["app", "main"]

app = typer.Typer(
    help="Reproduces Scale-Equivariant Steerable Networks: data, training, the experiment, the report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_commands.app, name="data")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="e.g. mnist_ses_vector_28")],
    extra_scaling: Annotated[float, typer.Option(help="Scale augmentation e in (0, 1]; 1 is none.")] = 1.0,
    realization: Annotated[int, typer.Option(help="0 to 5.")] = 0,
    epochs: EpochsOption = None,
    train_images: ImagesOption = None,
    test_images: TestOption = None,
    batch_size: BatchOption = None,
    precision: PrecisionOption = "float32",
    device: DeviceOption = "auto",
    data: DataOption = None,
    results: Annotated[Path | None, typer.Option(help="The record goes to RESULTS/runs. [build/]")] = None,
    checkpoints: CheckpointsOption = None,
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Train and test one model on one realization of MNIST-scale, and write its record."""
    from sesn_lib.cli.display import Display
    from sesn_lib.runner.local import Job, run, run_cell
    from sesn_lib.store.records import Store

    cell = Cell(model, extra_scaling, realization)
    folder = results or arguments.project_folder() / "build"
    store = Store(folder)
    store.set_aside_damaged()
    if store.has(cell):
        raise ValueError(f"{store.path(cell)} is there and is not overwritten; name another folder with --results")
    options = arguments.training_options(
        cell,
        epochs=epochs,
        train_images=train_images,
        test_images=test_images,
        batch_size=batch_size,
        precision=precision,
        device=device,
        data=data and data.expanduser().resolve(),
        threads=threads,
    )
    arguments.warn_if_slow(precision, device)
    kept = checkpoints or folder / "checkpoints"
    arguments.check_folders({"--weights": weights, "--checkpoints": checkpoints})
    execute = partial(run_cell, **options, checkpoints=kept, weights=weights, progress=sys.stderr.isatty())
    with Display(1, every_epoch=True) as display:
        summary = run(Job((cell,), folder, execute, kept), retry_failed=True, notify=display)
    if summary.elsewhere:
        raise ValueError(f"another process trains {cell} into {folder}; wait for it, or name another --results")
    if summary.finished:
        typer.echo(f"record: {store.path(cell)}")
    _exit(bool(summary.failed), summary.interrupted)


@app.command()
def run(
    experiment: ExperimentOption = Experiment.mnist_scale,
    models: Annotated[list[str] | None, typer.Option(help="Names, separated by commas. [all]")] = None,
    scalings: Annotated[list[str] | None, typer.Option(help="1.0, 0.5 or both. [both]")] = None,
    realizations: Annotated[list[str] | None, typer.Option(help="e.g. 0,2 or 0-3. [0-5; STL-10: 0]")] = None,
    epochs: EpochsOption = None,
    train_images: ImagesOption = None,
    test_images: TestOption = None,
    batch_size: BatchOption = None,
    micro_batch: Annotated[int | None, typer.Option(help="STL-10: images at a time; gradients add up.")] = None,
    small_memory: Annotated[bool, typer.Option("--small-memory", help="STL-10: batch 64, rate 0.05.")] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Cells at once, each in a process. [1; on a GPU by its room]")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="e.g. 9m, 1.5h: begin nothing that would not end.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    results: Annotated[Path | None, typer.Option(help="Results folder. [notebooks/results]")] = None,
    data: DataOption = None,
    checkpoints: CheckpointsOption = None,
    weights: WeightsOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that failed.")] = False,
    threads: ThreadsOption = None,
    cluster: Annotated[Engine | None, typer.Option(help="Send the work to a cluster, as --jobs jobs.")] = None,
    partition: Annotated[str | None, typer.Option(help="The cluster's partition.")] = None,
) -> None:
    """Run the cells of the grid whose records are missing. Safe to stop, to kill, to start again and to start twice."""
    from sesn_lib.cli.display import Display, closing_line
    from sesn_lib.cli.jobs import fetch_data, mnist_job, processes, stl10_job
    from sesn_lib.runner.budget import parse_duration
    from sesn_lib.runner.heartbeat import Heartbeat, to_stderr
    from sesn_lib.runner.local import forget_failures
    from sesn_lib.runner.local import run as run_job
    from sesn_lib.store.records import Store

    started = time.time()
    budget = None if time_budget is None else parse_duration(time_budget)
    deadline = None if budget is None else started + budget
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {jobs}")
    if partition is not None and cluster is not Engine.slurm:
        raise ValueError(f"--partition {partition} is for --cluster slurm")
    names, numbers = arguments.words(models), arguments.whole_numbers(realizations)
    given: dict[str, Any] = {
        "epochs": epochs,
        "train_images": train_images,
        "test_images": test_images,
        "batch_size": batch_size,
        "precision": precision,
        "device": device,
        "data": data and data.expanduser().resolve(),
        "threads": arguments.share_threads(threads, jobs or 1, device, alone=cluster is not None),
    }
    if experiment is Experiment.stl10:
        if scalings is not None:
            raise ValueError("--scalings is for mnist-scale; the augmentation of STL-10 is fixed")
        if weights is not None:
            raise ValueError("--weights is for mnist-scale; a run on STL-10 keeps no weights")
        given |= {"micro_batch": micro_batch, "small_memory": small_memory}
        job = stl10_job(names, numbers, results, checkpoints, deadline, here=not cluster, **given)
    else:
        if micro_batch is not None or small_memory:
            raise ValueError("--micro-batch and --small-memory are for --experiment stl10")
        grid = select(names, arguments.numbers(scalings), numbers)
        job = mnist_job(grid, results, checkpoints, deadline, weights=weights, here=not cluster, **given)
    cells, store = job.cells, Store(job.results)
    if cluster is not None:
        from sesn_lib.runner.cluster import submit

        if retry_failed:
            forget_failures(job)
        options: dict[str, Any] = {"partition": partition, "seconds": budget, "gpu": device != "cpu"}
        sent = submit(job, jobs=jobs or 1, engine=cluster.value, say=typer.echo, **options)
        _exit(cluster is Engine.local and any(one.result().failed for one in sent), False)
        return
    store.set_aside_damaged()
    arguments.warn_if_slow(precision, device)
    missing = [cell for cell in cells if not store.has(cell)]
    typer.echo(f"{len(missing)} of {len(cells)} cells to run into {job.results}", err=True)
    with processes(job, jobs, device, len(missing), partial(typer.echo, err=True)) as (shared, number):
        if number > 1:  # or each process would fetch the same data
            with Heartbeat(lambda: "the data", to_stderr):
                fetch_data(missing, data)
        with Display(len(missing)) as display:
            summary = run_job(shared, jobs=number, retry_failed=retry_failed, notify=display)
    typer.echo(closing_line(summary, cells, store))
    _exit(bool(summary.failed), summary.interrupted)


@app.command()
def status(
    experiment: ExperimentOption = Experiment.mnist_scale,
    results: Annotated[Path | None, typer.Option(help="Results folder. [notebooks/results]")] = None,
    checkpoints: CheckpointsOption = None,
    check: Annotated[bool, typer.Option("--check", help="Check the records instead, as a sceptic would.")] = False,
) -> None:
    """Show the grid as a map, with mean errors and the time left."""
    from rich.console import Console

    from sesn_lib.cli.display import show_audit, show_status
    from sesn_lib.runner.status import survey

    folder = results or arguments.results_folder() / ("stl10" if experiment is Experiment.stl10 else "")
    if check:
        _exit(not show_audit(folder), False)
        return
    if experiment is Experiment.stl10:
        from sesn_lib.cli import stl10_commands

        stl10_commands.show_status(results, checkpoints, Console())
        return
    show_status(survey(folder, checkpoints=checkpoints or arguments.checkpoints_folder(folder)), Console())


@app.command()
def collect(
    results: Annotated[Path | None, typer.Option(help="Results folder. [notebooks/results]")] = None,
) -> None:
    """Write results.yml, the table of test errors, from the records."""
    from sesn_lib.store.records import collect as collect_records

    typer.echo(f"wrote {collect_records(results or arguments.results_folder())}")


@app.command()
def bench(
    experiment: ExperimentOption = Experiment.mnist_scale,
    device: DeviceOption = "auto",
    models: Annotated[list[str] | None, typer.Option(help="Names, separated by commas. [the SESN models]")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = PROTOCOL["batch_size"],
    ways: Annotated[list[str] | None, typer.Option(help="Ways of computing, separated by commas. [all]")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each way is timed, in turns. [5]")] = None,
    jobs: Annotated[list[str] | None, typer.Option(help="Time whole trainings by so many jobs. [GPU: 1,2,4,8]")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the numbers to this JSON file too.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure training speed: against the literal form of the layers, or what a run on STL-10 takes."""
    from sesn_lib.runner import bench as benchmark

    names = arguments.words(models)
    if experiment is Experiment.stl10:
        from sesn_lib.cli import stl10_commands

        if ways is not None or rounds is not None or jobs is not None:
            raise ValueError("--ways, --rounds and --jobs are for mnist-scale; STL-10 is measured in one way")
        stl10_commands.bench(names, device, batch_size, output, threads)
        return
    code = benchmark.run(
        device=device,
        models=names,
        batch_size=batch_size,
        output=output,
        threads=threads,
        rounds=benchmark.ROUNDS if rounds is None else rounds,
        ways=arguments.words(ways),
        jobs=arguments.whole_numbers(jobs),
    )
    raise typer.Exit(code or 0)


@app.command()
def report(
    profile: Annotated[Profile, typer.Option(help="quick trains briefly, full by the protocol.")] = Profile.quick,
    output: Annotated[Path, typer.Option(help="Folder of the HTML report.")] = Path("build/report"),
    poster: Annotated[bool, typer.Option("--poster", help="Only print the one-page summary, as poster.pdf.")] = False,
) -> None:
    """Execute the notebooks in order and render them as a web site."""
    from sesn_lib import report as reporting

    if poster:
        raise typer.Exit(reporting.build_poster(output))
    raise typer.Exit(reporting.build(output, profile.value))


def _exit(failed: bool, interrupted: bool) -> None:
    if interrupted:
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


def main(args: list[str] | None = None) -> None:
    """The command line; every error that the user can mend ends in one line on standard error and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    from sesn_lib.runner.worker import RunnerError

    usage_error: Any = typer.BadParameter.__mro__[2]  # click's ClickException, which newer typers carry inside
    try:
        return app(args=args, prog_name="sesn", standalone_mode=False) or 0
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message())
            return 2
        message = error.format_message() + arguments.refused_value(error, args)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("stopped", err=True)
        return 130
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror) if part) or str(error)
    except (ValueError, DataError, RunnerError) as error:
        message = str(error)
    except ModuleNotFoundError as error:
        message = f"this command needs the package {error.name}, which is not installed; pip install {error.name}"
    typer.echo("error: " + " ".join(message.split()), err=True)
    return 2
