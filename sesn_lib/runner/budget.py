"""Durations, and how long a run will take by records of finished ones. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from sesn_lib.experiments.registry import cell_of, experiment_of
from sesn_lib.runner import mps

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float:
    """Seconds of `540`, `540s`, `9m`, `1.5h`, `1h30m`, `2d`.

    Raises:
        ValueError: anything else.
    """
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
    # Where the test images are evaluated in the course of the training, that is little beside it.
    testing = record["timing"].get("evaluation_seconds", 0.0)
    testing *= experiment_of(cell_of(record["cell"])).test_images / record["test_images"]
    return per_image * epochs * train_images + testing


def _relative(record: Mapping[str, Any], slowdown: float) -> float:
    """How many times as long as the record's a run takes that others slow down so much."""
    jobs = record["environment"].get("jobs")
    return 1.0 if jobs is None else slowdown / mps.slowdown(jobs, bool(record["environment"].get("mps")))
