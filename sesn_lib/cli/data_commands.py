"""`sesn data`: the commands that fetch, verify and make the data sets."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from sesn_lib.cli.options import DataOption, SourceOption
from sesn_lib.runner.heartbeat import Heartbeat, to_stderr

__all__ = ["app"]

app = typer.Typer(help="Fetch, verify and make the data sets.", no_args_is_help=True)


@app.command("mnist-scale")
def mnist_scale(
    protocol: Annotated[str, typer.Option(help="paper, report or both.")] = "paper",
    realization: Annotated[str, typer.Option(help="0 to 5, or all.")] = "all",
    data: DataOption = None,
    source: SourceOption = None,
    png: Annotated[Path | None, typer.Option(help="Export the authors' folders of PNG files here too.")] = None,
    png_md5: Annotated[bool, typer.Option("--png-md5", help="Compare with the MD5 that the authors publish.")] = False,
) -> None:
    """Make and verify MNIST-scale, fetching MNIST if need be."""
    from data_prep import commands

    with _calm("MNIST-scale"):
        commands.mnist_scale(
            data,
            protocol=protocol,
            realization=realization,
            source=source,
            png=png,
            png_md5=png_md5,
            progress=sys.stderr.isatty(),
            write=typer.echo,
        )


@app.command("stl10")
def stl10(data: DataOption = None, source: SourceOption = None) -> None:
    """Fetch and verify STL-10."""
    from data_prep import commands

    with _calm("STL-10"):
        commands.stl10_files(data, source=source, progress=sys.stderr.isatty(), write=typer.echo)


def _calm(what: str) -> AbstractContextManager[Any]:
    """A line every half minute where there is no terminal for the bars."""
    return nullcontext() if sys.stderr.isatty() else Heartbeat(lambda: what, to_stderr)
