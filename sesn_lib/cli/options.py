"""Options that several `sesn` commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BatchOption",
    "CheckpointsOption",
    "DataOption",
    "DeviceOption",
    "Engine",
    "EpochsOption",
    "Experiment",
    "ExperimentOption",
    "ImagesOption",
    "PrecisionOption",
    "Profile",
    "SourceOption",
    "TestOption",
    "ThreadsOption",
    "WeightsOption",
]

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; fetched into when empty. [data/]")]
SourceOption = Annotated[Path | None, typer.Option("--source", "--from", help="Folder to look for the files in first.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[str, typer.Option(help="float32, bf16, or auto: bf16 where the device has units for it.")]
EpochsOption = Annotated[int | None, typer.Option(help="Other than the protocol's 60; the run is then partial.")]
ImagesOption = Annotated[int | None, typer.Option(help="Fewer than the 10,000 training images; likewise.")]
TestOption = Annotated[int | None, typer.Option(help="Fewer than the 50,000 test images; likewise.")]
BatchOption = Annotated[int | None, typer.Option(help="Other than the protocol's 128; likewise.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Processor threads; all by default.")]
CheckpointsOption = Annotated[Path | None, typer.Option(help="Folder of the checkpoints of unfinished runs.")]
WeightsOption = Annotated[
    Path | None, typer.Option(help="Folder to keep trained weights in, each with its record. [not kept]")
]


class Experiment(StrEnum):
    """Which experiment a command is about."""

    mnist_scale = "mnist-scale"
    stl10 = "stl10"


ExperimentOption = Annotated[Experiment, typer.Option(help="Which experiment.")]


class Profile(StrEnum):
    """How much the report trains."""

    quick = "quick"
    full = "full"


class Engine(StrEnum):
    """Where `sesn run --cluster` sends the work."""

    slurm = "slurm"
    local = "local"
