"""What a run of the STL-10 experiment costs: arithmetic and memory counted, steps measured, the whole estimated."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sesn_lib import models
from sesn_lib.data.augment import ColourSplit
from sesn_lib.experiments.stl10 import MODELS, TEST_IMAGES, TRAIN_IMAGES, Recipe, STL10Cell
from sesn_lib.fast.precision import resolve
from sesn_lib.provenance import environment, resolve_device, seeded
from sesn_lib.runner import gauges
from sesn_lib.store.atomic import write_aside
from sesn_lib.store.records import now
from sesn_lib.training.state import autocast
from sesn_lib.training.stl10 import epoch_batches, make_optimizer, train_step

__all__ = ["Count", "Estimator", "add_measurement", "count", "estimate", "load_measurements", "measure"]

SIZE = 96
MARGIN = 1.15


@dataclass(frozen=True)
class Count:
    """What one training step does with one image, whatever the machine.

    Attributes:
        parameters: trained numbers.
        forward_flops, step_flops: floating-point operations, a multiplication and an addition being two; of the forward
            pass, and of forward and backward pass.
        saved_bytes: what the forward pass keeps for the backward pass.
    """

    parameters: int
    forward_flops: float
    step_flops: float
    saved_bytes: float


@lru_cache(maxsize=16)
def count(name: str, *, precision: str = "float32") -> Count:
    """Counts the work of a training step of a model, by shapes alone: nothing is computed.

    Raises:
        ValueError: unknown model.
    """
    images = 2
    with FakeTensorMode():
        model = models.build(name)
        owned = {_storage(parameter) for parameter in model.parameters()}
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        x, labels = torch.zeros(images, 3, SIZE, SIZE), torch.zeros(images, dtype=torch.int64)
        with FlopCounterMode(display=False) as flops:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(x.device, precision):
                loss = F.cross_entropy(model(x).float(), labels)
            forward = flops.get_total_flops()
            loss.backward()
        parts = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    saved = sum(size for storage, size in parts.items() if storage not in owned)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Count(parameters, forward / images, flops.get_total_flops() / images, saved / images)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def measure(
    name: str,
    *,
    device: str = "auto",
    precision: str = "float32",
    batch_size: int = 128,
    micro_batch: int | None = None,
    steps: int | None = None,
) -> dict[str, Any]:
    """Times training steps on random images: augmentation, forward, backward, optimiser.

    One step (three on a GPU) before the clock starts is left out. `peak_bytes` is the GPU's peak memory, None on a CPU;
    `steps` defaults to 2 on a CPU and 10 on a GPU.

    Raises:
        ValueError: an impossible value, an absent device.
        torch.OutOfMemoryError: the batch does not fit; try a micro_batch.
    """
    target = resolve_device(device)
    cuda = target.type == "cuda"
    warm, timed = (3, steps or 10) if cuda else (1, steps or 2)
    precision = resolve(precision, target)
    recipe = Recipe(batch_size=batch_size, micro_batch=micro_batch, precision=precision)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch_size, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    split = ColourSplit(images.to(target), (torch.arange(batch_size) % 10).to(target))
    if cuda:
        gauges.forget_peak_memory(target)
    seconds = []
    with seeded(0):
        model = models.build(name).to(target)
        optimizer = make_optimizer(model, recipe)
        for _ in range(warm + timed):
            gauges.wait(target)
            start = time.perf_counter()
            for batch, labels in epoch_batches(split, recipe, generator):
                train_step(model, optimizer, batch, labels, recipe)
            gauges.wait(target)
            seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[warm:])
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "precision": precision,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "steps": timed,
        "step_seconds": step,
        "images_per_second": batch_size / step,
        "peak_bytes": gauges.peak_memory(target) if cuda else None,
        "environment": environment(target),
        "finished": now(),
    }


def estimate(
    name: str,
    images_per_second: float,
    recipe: Recipe | None = None,
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
    recipe = recipe or Recipe()
    counted = count(name)
    evaluations = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
    tested = evaluations * ((test_images or TEST_IMAGES) + recipe.validation_images)
    trained = recipe.epochs * ((train_images or TRAIN_IMAGES) - recipe.validation_images)
    return (trained + tested * counted.forward_flops / counted.step_flops) / images_per_second


@dataclass(frozen=True)
class Estimator:
    """Predicts the seconds of a run from measured steps, with a margin; can be sent to another process."""

    recipe: Recipe
    device: str = "auto"
    train_images: int | None = None
    test_images: int | None = None

    def __call__(self, cell: STL10Cell, done: float = 0.0) -> float:
        """Seconds for a run of which the fraction `done` is done."""
        speed = _speed(cell.model, self.device, self.recipe)
        whole = estimate(cell.model, speed, self.recipe, train_images=self.train_images, test_images=self.test_images)
        return MARGIN * (1 - done) * whole


@lru_cache(maxsize=16)
def _speed(name: str, device: str, recipe: Recipe) -> float:
    # On a CPU a full batch would take minutes, and a small one is about as fast for each image.
    small = resolve_device(device).type == "cpu"
    batch = min(recipe.batch_size, 4) if small else recipe.batch_size
    found = measure(
        name,
        device=device,
        precision=recipe.precision,
        batch_size=batch,
        micro_batch=None if small else recipe.micro_batch,
        steps=1 if small else None,
    )
    return found["images_per_second"]


def load_measurements(path: str | Path) -> list[dict[str, Any]]:
    """The measurements in a file, none if there is no such file; in the models' order, the same device together."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda one: (one["environment"]["device"], one["precision"], MODELS.index(one["model"])))


def add_measurement(path: str | Path, measurement: dict[str, Any]) -> None:
    """Adds a measurement to a file; one of the same model, device, precision and batch gives way to it."""

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        return one["environment"]["device"], *(one[k] for k in ("model", "precision", "batch_size", "micro_batch"))

    kept = [one for one in load_measurements(path) if key(one) != key(measurement)]
    content = json.dumps([*kept, measurement], indent=1, ensure_ascii=False) + "\n"
    write_aside(Path(path), content.encode(), replace=True)
