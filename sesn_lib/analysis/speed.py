"""What a training step costs on a GPU: `sesn bench` of this library beside the authors' own code on the same card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sesn_lib.analysis.text import number
from sesn_lib.checks import is_number, shown
from sesn_lib.experiments.registry import EXPERIMENTS

AUTHORS_PRECISIONS = ("tf32", "float32", "bf16")
"""tf32 is torch's default for convolutions in float32, in which the authors' code runs unless it is told otherwise."""
OURS = {"fast float32": "float32", "fast bf16": "bf16"}
"""Those ways of computing of `sesn bench` that a training takes, and their precision."""

Steps = Mapping[str, Mapping[str, float]]
"""Model -> precision -> milliseconds of one training step."""


def our_steps(path: str | Path) -> tuple[Steps, dict[str, Any]]:
    """Our steps by the fast path as `sesn bench --output` wrote them, and the file's head: device, batch size, rounds.

    Raises:
        ValueError: the file does not hold measurements as `sesn bench` writes them.
        OSError: it cannot be read.
    """
    measured, head = _read(path, ("device", "batch_size", "rounds"), "measurements", "way")
    fast = {model: {OURS[way]: ms for way, ms in ways.items() if way in OURS} for model, ways in measured.items()}
    return {model: steps for model, steps in fast.items() if steps}, head


def authors_steps(path: str | Path) -> tuple[Steps, dict[str, Any]]:
    """Likewise those of the authors' code; the head is source, device and batch size.

    Raises:
        ValueError: the file does not hold what it should, or a precision that is none of `AUTHORS_PRECISIONS`.
        OSError: it cannot be read.
    """
    measured, head = _read(path, ("source", "device", "batch_size"), "steps", "precision")
    for precision in (precision for steps in measured.values() for precision in steps):
        if precision not in AUTHORS_PRECISIONS:
            known = ", ".join(AUTHORS_PRECISIONS)
            raise ValueError(f"{path} has the precision {shown(precision)}: must be one of {known}")
    return measured, head


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


def _read(path: str | Path, about: tuple[str, ...], entries: str, kind: str) -> tuple[Steps, dict[str, Any]]:
    """Model -> what its measurements say under `kind` -> milliseconds; and what the file says `about` all of them."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    keys = (*about, entries)
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: must have {', '.join(keys)}")
    known = {model for experiment in EXPERIMENTS.values() for model in experiment.models}
    steps: dict[str, dict[str, float]] = {}
    for one in content[entries] if isinstance(content[entries], list) else [content[entries]]:
        if not isinstance(one, dict) or one.get("model") not in known or not isinstance(one.get(kind), str):
            raise ValueError(f"{path} has the measurement {shown(one, 80)}: must have a known model and its {kind}")
        if not is_number(one.get("step_seconds")) or not one["step_seconds"] > 0:
            raise ValueError(f"{path} has step_seconds {shown(one.get('step_seconds'))}: must be a number above 0")
        steps.setdefault(one["model"], {})[one[kind]] = 1e3 * one["step_seconds"]
    return steps, {key: content[key] for key in about}
