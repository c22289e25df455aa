"""Options that several `sesn` commands share, as types of their parameters."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sesn_lib.experiments.registry import EXPERIMENTS

Data = Annotated[Path | None, typer.Option("--data", help="Data folder; fetched into when empty. [data/]")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(help="float32, bf16, or auto: bf16 where the device has units for it.")]
Epochs = Annotated[int | None, typer.Option(help="Other than the protocol's; the run is then partial.")]
Images = Annotated[int | None, typer.Option(help="Fewer than all training images; likewise.")]
Test = Annotated[int | None, typer.Option(help="Fewer than all test images; likewise.")]
Batch = Annotated[int | None, typer.Option(help="Other than the protocol's; likewise.")]
MicroBatch = Annotated[int | None, typer.Option(help="STL-10: images at a time; gradients add up.")]
SmallMemory = Annotated[bool, typer.Option("--small-memory", help="STL-10: batch 64, rate 0.05.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads; all by default.")]
Checkpoints = Annotated[Path | None, typer.Option(help="Folder of the checkpoints of unfinished runs.")]
Weights = Annotated[
    Path | None, typer.Option(help="Folder to keep trained weights in, each with its record. [not kept]")
]


FIRST = next(iter(EXPERIMENTS))
"""The name of the experiment that is meant where none is named."""

Experiment = Annotated[
    str | None, typer.Option(help=f"Which experiment: {' or '.join(EXPERIMENTS)}. [that of --part, or {FIRST}]")
]
Part = Annotated[str | None, typer.Option(help="Part of its grid, or all. [the paper's table]")]
Results = Annotated[Path | None, typer.Option(help="Results folder. [notebooks/results]")]


class Profile(StrEnum):
    """How much the report trains."""

    quick = "quick"
    full = "full"


class Engine(StrEnum):
    """Where `sesn run --cluster` sends the work."""

    slurm = "slurm"
    local = "local"
