"""`sesn data`: the commands of `data_prep`, with a line now and then where no bar is shown."""

from __future__ import annotations

import sys

import typer

from data_prep.commands import app
from sesn_lib.runner.heartbeat import Heartbeat, to_stderr

__all__ = ["app", "calm"]

TITLES = {"mnist-scale": "MNIST-scale", "stl10": "STL-10"}


def calm(context: typer.Context) -> None:
    """A line every half minute where there is no terminal for the bars."""
    if not sys.stderr.isatty():
        context.with_resource(Heartbeat(lambda: TITLES[str(context.invoked_subcommand)], to_stderr))
