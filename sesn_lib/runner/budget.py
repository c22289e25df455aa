"""How long a cell will take, from records of the same model on the same device or else from a few measured steps."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from sesn_lib import mps
from sesn_lib.experiments.mnist_scale import PROTOCOL, TEST_IMAGES, Cell
from sesn_lib.store.records import Store

__all__ = ["Estimator", "format_duration", "measure", "parse_duration", "training_seconds", "typical_cost"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MARGIN = 1.15
VALIDATION_IMAGES = 2000


def parse_duration(text: str) -> float:
    """Seconds of `540`, `540s`, `9m`, `1.5h`, `1h30m`, `2d`. Raises ValueError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    spelled = re.sub(r"\s", "", "".join(number + unit for number, unit in parts))
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or spelled != re.sub(r"\s", "", text.lower()) or not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no time budget; write it like 90s, 9m, 1.5h or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as a person says it: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def training_seconds(record: Mapping[str, Any]) -> float:
    """Seconds that a run's training takes at its usual speed: the median epoch, times the number of epochs.

    The plain sum, `timing.train_seconds`, counts every pause of the process and every hour that the machine was busy
    with something else.
    """
    return median(epoch["seconds"] for epoch in record["history"]) * len(record["history"])


def typical_cost(
    records: Iterable[Mapping[str, Any]], epochs: int, train_images: int, *, slowdown: float = 1.0
) -> float:
    """Seconds that a run of this many epochs and images takes, judged by finished ones of like kind; NaN for none.

    That is the median over those of the newest record's commit: older code may have been slower.

    Arguments:
        slowdown: how many times as long as alone a run takes beside others on its GPU (`mps.slowdown`). What the
            records took beside others is counted back; one that does not say how it was made is taken as it stands.
    """
    newest_last = sorted(records, key=lambda record: record["timing"]["finished"])
    if not newest_last:
        return math.nan
    commit = newest_last[-1]["environment"].get("git_commit")
    same = [record for record in newest_last if record["environment"].get("git_commit") == commit]
    return median(_cost(record, epochs, train_images) * _relative(record, slowdown) for record in same)


def _cost(record: Mapping[str, Any], epochs: int, train_images: int) -> float:
    protocol = record["protocol"]
    per_image = training_seconds(record) / (protocol["epochs"] * protocol["train_images"])
    testing = record["timing"]["evaluation_seconds"] * TEST_IMAGES / record["test_images"]
    return per_image * epochs * train_images + testing


def _relative(record: Mapping[str, Any], slowdown: float) -> float:
    """How many times as long as the record's a run takes that others slow down so much."""
    jobs = record["environment"].get("jobs")
    return 1.0 if jobs is None else slowdown / mps.slowdown(jobs, bool(record["environment"].get("mps")))


@dataclass(frozen=True)
class Estimator:
    """Predicts the seconds that a cell takes, with a margin; can be sent to another process.

    Records count if they are of the same model, device and precision: a laptop learns nothing from the times of a data
    centre.

    Arguments:
        folder: the results folder with the records.
        options: those of `execution.train_cell` that the runs are made with.
        slowdown: by jobs that share the GPU, as of `typical_cost`. A step that is measured here is measured beside
            them, and taken as it is.
    """

    folder: Path
    options: dict[str, Any]
    slowdown: float = 1.0

    def __call__(self, cell: Cell, done: float = 0.0) -> float:
        """Seconds for a cell of which the fraction `done` is done."""
        epochs = self.options.get("epochs") or PROTOCOL["epochs"]
        images = self.options.get("train_images") or PROTOCOL["train_images"]
        whole = typical_cost(self._like(cell), epochs, images, slowdown=self.slowdown)
        if math.isnan(whole):
            whole = _measured(
                cell.model, cell.extra_scaling, tuple(sorted(self.options.items(), key=str)), epochs, images
            )
        return MARGIN * (1 - done) * whole

    def _like(self, cell: Cell) -> list[dict[str, Any]]:
        from sesn_lib.fast.precision import resolve
        from sesn_lib.provenance import device_description, resolve_device, use_threads

        use_threads(self.options.get("threads"))
        target = resolve_device(self.options.get("device", "auto"))
        device = device_description(target)
        precision = resolve(self.options.get("precision", "float32"), target)
        return [
            record
            for record in Store(self.folder).load_all()
            if record["cell"]["model"] == cell.model
            and record["environment"]["device"] == device
            and record["protocol"]["precision"] == precision
        ]


@lru_cache(maxsize=64)
def _measured(model: str, scaling: float, options: tuple[tuple[str, Any], ...], epochs: int, images: int) -> float:
    chosen = dict(options)
    step, batch = measure(
        Cell(model, scaling, 0),
        device=chosen.get("device", "auto"),
        precision=chosen.get("precision", "float32"),
        batch_size=chosen.get("batch_size"),
        threads=chosen.get("threads"),
    )
    # A pass without gradients costs about a third of a step.
    tested = epochs * VALIDATION_IMAGES + TEST_IMAGES
    return step / batch * (epochs * images + tested / 3)


def measure(
    cell: Cell,
    *,
    device: str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
) -> tuple[float, int]:
    """Seconds of one training step on random images, and the batch size.

    It is the difference between a short and a longer training, which leaves out what happens once, such as compilation
    and the first allocation of memory.
    """
    import torch

    from sesn_lib import fast, models, provenance
    from sesn_lib.data.splits import DeviceSplit
    from sesn_lib.runner.execution import settings_of
    from sesn_lib.training.mnist_scale import fit

    provenance.use_threads(threads)
    target = provenance.resolve_device(device)
    settings = settings_of(cell, epochs=1, batch_size=batch_size, precision=precision)
    short, long = (1, 3) if target.type == "cpu" else (20, 220)
    generator = torch.Generator().manual_seed(0)
    size = settings.batch_size
    images = torch.randint(0, 256, (long * size, 28, 28), dtype=torch.uint8, generator=generator).to(target)
    labels = torch.randint(0, 10, (long * size,), generator=generator).to(target)
    everything = DeviceSplit(images, labels)
    seconds = []
    with provenance.seeded(settings.seed):
        for steps in (short, short, long):  # the first warms up
            model = fast.accelerate(models.build(cell.model)).to(target)
            start = time.perf_counter()
            fit(model, everything.first(steps * size), everything.first(2), settings)
            seconds.append(time.perf_counter() - start)
    return max(seconds[2] - seconds[1], 1e-6) / (long - short), size
