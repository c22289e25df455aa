"""What a run costs: steps measured, the whole estimated from them or from records of finished runs."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.registry import EXPERIMENTS, experiment_named, experiment_of
from sesn_lib.experiments.settings import BaseSettings, RunOptions
from sesn_lib.fast.precision import precisions_on, resolve
from sesn_lib.provenance import device_description, environment, resolve_device, seeded, use_threads
from sesn_lib.runner import gauges
from sesn_lib.runner.budget import format_duration, typical_cost
from sesn_lib.runner.execution import task_of
from sesn_lib.runner.heartbeat import at_work
from sesn_lib.store.atomic import write_aside
from sesn_lib.store.records import Store, now
from sesn_lib.training.counting import trained_parameters

MARGIN = 1.15
BATCHES = {
    "cpu": 1,
    "cuda": 20,
}  # an epoch of the noise that steps are measured on; what happens once an epoch is small
LEAST_SECONDS, MOST_EPOCHS = 0.5, 10


def measure(
    experiment: Experiment, model: str, settings: BaseSettings | None = None, *, device: str = "auto", epochs: int = 2
) -> dict[str, Any]:
    """Times training steps on random images: augmentation, forward, backward, optimiser.

    A first epoch of the noise, of one batch on a CPU and of 20 on a GPU, is left out: memory is allocated in it, a
    graph recorded. Then come `epochs` and, up to ten, more until half a second is over. `peak_bytes` is the GPU's peak
    memory, None on a CPU.

    Raises:
        ValueError: an unknown model, an absent device.
        torch.OutOfMemoryError: the batch does not fit.
    """
    target = resolve_device(device)
    settings = settings or experiment.settings
    batch, batches = settings.batch_size, BATCHES[target.type]
    task = task_of(experiment).noise(settings, batch * batches, target)
    generator = torch.Generator().manual_seed(0)
    if target.type == "cuda":
        gauges.forget_peak_memory(target)
    seconds: list[float] = []
    with seeded(0), task.around():
        network = task.build(model).to(target).train()
        step = task.step(network, task.optimizer(network))
        while len(seconds) <= epochs or (sum(seconds[1:]) < LEAST_SECONDS and len(seconds) <= MOST_EPOCHS):
            gauges.wait(target)
            start = time.perf_counter()
            for images, labels in task.batches(generator):
                step(images, labels)
            gauges.wait(target)
            seconds.append((time.perf_counter() - start) / batches)
    typical = statistics.median(seconds[1:])
    return {
        "model": model,
        "parameters": trained_parameters(network),
        "precision": task.settings.precision,
        "batch_size": batch,
        "micro_batch": getattr(settings, "micro_batch", None),
        "steps": (len(seconds) - 1) * batches,
        "step_seconds": typical,
        "images_per_second": batch / typical,
        "peak_bytes": gauges.peak_memory(target) if target.type == "cuda" else None,
        "environment": environment(target),
        "finished": now(),
    }


def estimate(
    experiment: Experiment,
    model: str,
    images_per_second: float,
    settings: BaseSettings | None = None,
    *,
    train_images: int | None = None,
    test_images: int | None = None,
) -> float:
    """Seconds of a full run, or of one with fewer images, from the images per second of its training steps.

    An evaluated image costs what its share of the arithmetic is: a forward pass alone.

    Raises:
        ValueError: a speed that is not positive.
    """
    if not images_per_second > 0:
        raise ValueError(f"images_per_second is {images_per_second}: it must be above 0")
    settings = settings or experiment.settings
    trained = experiment.trained_images(settings, train_images or experiment.train_images)
    tested = experiment.evaluated_images(settings, test_images or experiment.test_images)
    counted = task_of(experiment).counted(model)
    # One pass of three of about equal cost, where it is not counted.
    share = 1 / 3 if counted is None else counted.forward_flops / counted.step_flops
    return (trained + tested * share) / images_per_second


@dataclass(frozen=True)
class Estimator:
    """Predicts the seconds that a cell takes, with a margin; can be sent to another process.

    Records count if they are of the same model, device and precision: a laptop learns nothing from the times of a data
    centre. Without any, a few steps are measured.

    Arguments:
        folder: the results folder with the records.
        options: what the runs are made with.
        slowdown: by jobs that share the GPU, as of `typical_cost`. A step that is measured here is measured beside
            them, and taken as it is.
    """

    folder: Path
    options: RunOptions
    slowdown: float = 1.0

    def __call__(self, cell: AnyCell, done: float = 0.0) -> float:
        """Seconds for a cell of which the fraction `done` is done."""
        experiment, options = experiment_of(cell), self.options
        settings = experiment.settings_of(cell, options)
        images = experiment.protocol(settings, options)["train_images"]
        whole = typical_cost(self._like(cell), settings.epochs, images, slowdown=self.slowdown)
        if math.isnan(whole):
            speed = measured_speed(experiment.name, cell.model, settings, options.device, options.threads)
            tested = options.test_images
            whole = estimate(experiment, cell.model, speed, settings, train_images=images, test_images=tested)
        return MARGIN * (1 - done) * whole

    def _like(self, cell: AnyCell) -> list[dict[str, Any]]:
        use_threads(self.options.threads)
        target = resolve_device(self.options.device)
        device, precision = device_description(target), resolve(self.options.precision, target)
        return [
            record
            for other, record in Store(self.folder).records_of(type(cell)).items()
            if other.model == cell.model
            and record["environment"]["device"] == device
            and record["protocol"]["precision"] == precision
        ]


@lru_cache(maxsize=64)
def measured_speed(experiment: str, model: str, settings: BaseSettings, device: str, threads: int | None) -> float:
    """Images a second."""
    use_threads(threads)
    chosen = experiment_named(experiment)
    epochs = 2
    small = task_of(chosen).CPU_BATCH
    if small is not None and resolve_device(device).type == "cpu":
        settings, epochs = replace(settings, batch_size=min(settings.batch_size, small)), 1
    return measure(chosen, model, settings, device=device, epochs=epochs)["images_per_second"]


def load_measurements(path: str | Path) -> list[dict[str, Any]]:
    """The measurements in a file, none if there is no such file; in the models' order, the same device together."""
    try:
        measured = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    models = [model for experiment in EXPERIMENTS.values() for model in experiment.models]
    return sorted(
        measured, key=lambda one: (one["environment"]["device"], one["precision"], models.index(one["model"]))
    )


def add_measurement(path: str | Path, measurement: dict[str, Any]) -> None:
    """Adds a measurement to a file; one of the same model, device, precision and batch gives way to it."""

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        return one["environment"]["device"], *(one[k] for k in ("model", "precision", "batch_size", "micro_batch"))

    kept = [one for one in load_measurements(path) if key(one) != key(measurement)]
    content = json.dumps([*kept, measurement], indent=1, ensure_ascii=False) + "\n"
    write_aside(Path(path), content.encode(), replace=True)


def speeds(
    experiment: Experiment,
    models: Iterable[str],
    device: str,
    batch_size: int,
    output: Path | None,
    threads: int | None,
) -> None:
    """Measures the training steps of networks that are computed in one way, in the precisions that the device has
    units for, and prints what a full run takes; adds the numbers to a JSON file.

    Raises:
        ValueError: an absent device, an impossible value.
    """
    from rich.console import Console

    use_threads(threads)
    console = Console()
    kinds = precisions_on(resolve_device(device))
    with at_work("networks", console) as tell:
        for name, kind in product(models, kinds):
            tell(f"{name}, {kind}")
            settings = replace(experiment.settings, batch_size=batch_size, precision=kind)
            try:
                measured = measure(experiment, name, settings, device=device)
            except torch.OutOfMemoryError:
                console.print(f"{name}, {kind}, batch {batch_size}: the device's memory does not hold it")
                continue
            console.print(_line(experiment, measured), soft_wrap=True)
            if output is not None:
                add_measurement(output, measured)


def _line(experiment: Experiment, measured: dict[str, Any]) -> str:
    name, speed, memory = measured["model"], measured["images_per_second"], measured["peak_bytes"]
    counted = task_of(experiment).counted(name)
    return (
        f"{name}, {measured['precision']}, batch {measured['batch_size']}: {speed:.3g} images/s, "
        + ("" if counted is None else f"{speed * counted.step_flops / 1e12:.2g} TFLOP/s, ")
        + ("" if memory is None else f"{memory / 2**30:.1f} GiB, ")
        + f"a full run {format_duration(estimate(experiment, name, speed))} on {measured['environment']['device']}"
    )
