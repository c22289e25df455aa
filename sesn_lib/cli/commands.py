"""The `sesn` command: data, train, run, probe, status, collect, bench, report."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import DataError
from data_prep import commands as data_commands
from sesn_lib import __version__, paths
from sesn_lib.cli import arguments, plain, run_commands
from sesn_lib.cli import options as option
from sesn_lib.cli.options import FIRST, Profile
from sesn_lib.experiments.base import ALL
from sesn_lib.experiments.mnist_scale import PROTOCOL
from sesn_lib.experiments.registry import experiment_for
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner.heartbeat import Heartbeat, to_stderr

app = typer.Typer(
    help="Reproduces Scale-Equivariant Steerable Networks: data, training, the experiment, the report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
DATA_SETS = {"mnist-scale": "MNIST-scale", "stl10": "STL-10"}


def _calm(context: typer.Context) -> None:
    """A line every half minute where there is no terminal for the bars."""
    if not sys.stderr.isatty():
        context.with_resource(Heartbeat(lambda: DATA_SETS[str(context.invoked_subcommand)], to_stderr))


app.add_typer(data_commands.app, name="data", callback=_calm, no_args_is_help=True)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sesn {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(run_commands.train)
app.command()(run_commands.run)
app.command()(run_commands.probe)


@app.command()
def status(
    experiment: option.Experiment = None,
    part: option.Part = None,
    results: option.Results = None,
    checkpoints: option.Checkpoints = None,
    check: Annotated[bool, typer.Option("--check", help="Check the records instead, as a sceptic would.")] = False,
) -> None:
    """Show the grid as a map, with mean errors and the time left."""
    from rich.console import Console

    from sesn_lib.cli.display import show_audit, show_status
    from sesn_lib.runner.status import survey

    chosen = experiment_for(experiment, part)
    folder, kept = arguments.folders(chosen, results, RunOptions(checkpoints=checkpoints))
    if check:
        run_commands.exit_with(not show_audit(folder), False)
        return
    show_status(survey(folder, chosen, part=part, checkpoints=kept), Console())


@app.command()
def collect(experiment: option.Experiment = None, part: option.Part = None, results: option.Results = None) -> None:
    """Write results.yml, the table of test errors, from the records."""
    from sesn_lib.store.records import collect as collect_records

    chosen = experiment_for(experiment, part)
    folder = paths.results() / chosen.folder if results is None else results
    for name in chosen.parts if part == ALL else [part]:
        typer.echo(f"wrote {collect_records(folder, chosen, name)}")


@app.command()
def bench(
    experiment: option.Experiment = None,
    part: option.Part = None,
    device: option.Device = "auto",
    models: Annotated[list[str] | None, typer.Option(help="Names, separated by commas. [four SESN models]")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = PROTOCOL["batch_size"],
    ways: Annotated[list[str] | None, typer.Option(help="Ways of computing, separated by commas. [all]")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each way is timed, in turns. [5]")] = None,
    jobs: Annotated[list[str] | None, typer.Option(help="Time whole trainings by so many jobs. [GPU: 1,2,4,8]")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the numbers to this JSON file too.")] = None,
    threads: option.Threads = None,
) -> None:
    """Measure training speed: against the literal form of the layers, or what a run on STL-10 takes."""
    from sesn_lib.runner import bench as benchmark
    from sesn_lib.runner import cost

    chosen, names = experiment_for(experiment, part), arguments.words(models)
    if not chosen.several_ways:
        if ways is not None or rounds is not None or jobs is not None:
            raise ValueError(f"--ways, --rounds and --jobs are for {FIRST}; {chosen.title} is measured in one way")
        cells = chosen.select(names, part=part)
        if output is not None:
            paths.check_folders({"--output: the folder": output.parent})
        cost.speeds(chosen, dict.fromkeys(cell.model for cell in cells), device, batch_size, output, threads)
        return
    if names is None and part is not None:
        names = list(dict.fromkeys(cell.model for cell in chosen.cells(part)))
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


def main(args: list[str] | None = None) -> None:
    """The command line; every error that the user can mend ends in one line on standard error and exit code 2."""
    plain.make_safe(sys.stdout, sys.stderr)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    sys.exit(_run([*map(_at_home, sys.argv[1:] if args is None else args)]))


def _at_home(text: str) -> str:
    """`~` spelled out, which shells leave alone in `--results=~/runs`."""
    return re.sub(r"^(--[\w-]+=)?~(?=/|$)", lambda found: f"{found[1] or ''}{Path.home()}", text)


def _run(args: list[str]) -> int:
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
