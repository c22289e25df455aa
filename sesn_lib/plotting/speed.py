"""What a training step costs on a GPU: `sesn bench` of this library beside the authors' own code on the same card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sesn_lib.checks import is_number, shown
from sesn_lib.models import names
from sesn_lib.plotting.tables import number

AUTHORS_PRECISIONS = ("tf32", "float32", "bf16")
"""tf32 is torch's default for convolutions in float32, in which the authors' code runs unless it is told otherwise."""
OURS = {"float32": "fast float32", "bf16": "fast bf16"}

Steps = Mapping[str, Mapping[str, float]]
"""Model -> precision -> milliseconds of one training step."""


def our_steps(path: str | Path) -> tuple[Steps, dict[str, Any]]:
    """Our steps by the fast path as `sesn bench --output` wrote them, and the file's head: device, batch size, rounds.

    Raises:
        ValueError: the file does not hold measurements as `sesn bench` writes them.
        OSError: it cannot be read.
    """
    content = _content(path, ("device", "batch_size", "rounds", "measurements"))
    ways = {way: precision for precision, way in OURS.items()}
    steps: dict[str, dict[str, float]] = {}
    for one in _entries(path, content["measurements"], "way"):
        if one["way"] in ways:
            steps.setdefault(one["model"], {})[ways[one["way"]]] = 1e3 * one["step_seconds"]
    return steps, {key: content[key] for key in ("device", "batch_size", "rounds")}


def authors_steps(path: str | Path) -> tuple[Steps, dict[str, Any]]:
    """Likewise those of the authors' code; the head is source, device and batch size.

    Raises:
        ValueError: the file does not hold what it should, or a precision that is none of `AUTHORS_PRECISIONS`.
        OSError: it cannot be read.
    """
    content = _content(path, ("source", "device", "batch_size", "steps"))
    steps: dict[str, dict[str, float]] = {}
    for one in _entries(path, content["steps"], "precision"):
        if one["precision"] not in AUTHORS_PRECISIONS:
            known = ", ".join(AUTHORS_PRECISIONS)
            raise ValueError(f"{path} has the precision {shown(one['precision'])}: must be one of {known}")
        steps.setdefault(one["model"], {})[one["precision"]] = 1e3 * one["step_seconds"]
    return steps, {key: content[key] for key in ("source", "device", "batch_size")}


def step_table(ours: tuple[Steps, Mapping[str, Any]], theirs: tuple[Steps, Mapping[str, Any]]) -> pd.DataFrame:
    """Milliseconds a step, networks that both have; and how many times faster ours is in bf16.

    Twice: against their code as it comes, and against the fastest of its precisions.

    Raises:
        ValueError: the two were measured on different cards, or with different batch sizes.
    """
    (our, head), (their, other) = ours, theirs
    for key in ("device", "batch_size"):
        if head[key] != other[key]:
            raise ValueError(f"the {key} of ours is {head[key]!r}, of theirs {other[key]!r}: must be equal")
    columns = {"tf32": "theirs, as it comes (TF32)", "float32": "theirs, float32", "bf16": "theirs, bf16"}
    rows = []
    for model in (name for name in our if name in their):
        fast, slow = our[model], their[model]
        rows.append(
            {
                "network": model,
                **{columns[p]: number(slow[p]) if p in slow else "–" for p in AUTHORS_PRECISIONS},
                "ours, float32": number(fast["float32"]) if "float32" in fast else "–",
                "ours, bf16": number(fast["bf16"]),
                "ours against theirs as it comes": f"{slow['tf32'] / fast['bf16']:.1f}x",
                "against their fastest": f"{min(slow.values()) / fast['bf16']:.1f}x",
            }
        )
    return pd.DataFrame(rows).set_index("network") if rows else pd.DataFrame()


def _content(path: str | Path, keys: tuple[str, ...]) -> dict[str, Any]:
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: must have {', '.join(keys)}")
    return content


def _entries(path: str | Path, entries: Any, key: str) -> list[dict[str, Any]]:
    """The measurements, each with a known model, `key` and positive seconds."""
    known = set(names())
    for one in entries if isinstance(entries, list) else [entries]:
        if not isinstance(one, dict) or one.get("model") not in known or not isinstance(one.get(key), str):
            raise ValueError(f"{path} has the measurement {shown(one, 80)}: must have a known model and its {key}")
        if not is_number(one.get("step_seconds")) or not one["step_seconds"] > 0:
            raise ValueError(f"{path} has step_seconds {shown(one.get('step_seconds'))}: must be a number above 0")
    return list(entries)
