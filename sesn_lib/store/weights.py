"""Trained weights that are kept: `<cell>.pt` and, beside it, `<cell>.json` with the record of their training.

The JSON file holds the SHA-256 of the weights, so that neither is believed without the other. Weights are float32
tensors in a plain dictionary; nothing else is ever loaded.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sesn_lib.experiments.base import AnyCell
from sesn_lib.models import build
from sesn_lib.store.atomic import write_aside
from sesn_lib.store.schema import validate
from sesn_lib.training.state import to_cpu


class WeightsError(ValueError):
    """Kept weights that are damaged, or that are not what their record says."""


def save(folder: str | Path, model: nn.Module, record: dict[str, Any]) -> Path:
    """Keeps a trained network's weights with the record of its training; what was kept of the cell before gives way.

    Returns: the path of the weights.

    Raises:
        RecordError: not a valid record.
        OSError: the folder cannot be written.
    """
    path = Path(folder) / f"{validate(record).name}.pt"
    buffer = io.BytesIO()
    torch.save(to_cpu(model.state_dict()), buffer)
    content = buffer.getvalue()
    note = {"sha256": hashlib.sha256(content).hexdigest(), "record": record}
    write_aside(path, content, replace=True)
    write_aside(path.with_suffix(".json"), (json.dumps(note, indent=1) + "\n").encode(), replace=True)
    return path


def checksum(folder: str | Path, cell: AnyCell) -> str:
    """SHA-256 of a cell's kept weights."""
    return hashlib.sha256((Path(folder) / f"{cell.name}.pt").read_bytes()).hexdigest()


def load(folder: str | Path, cell: AnyCell) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a cell with its kept weights, on the CPU in evaluation mode, and the record of its training.

    Raises:
        FileNotFoundError: the cell's weights, or their record, are not in the folder.
        WeightsError: the files do not belong together, or are not of this cell.
    """
    path = Path(folder) / f"{cell.name}.pt"
    content = path.read_bytes()
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected, record = note["sha256"], note["record"]
        described = validate(record)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.with_suffix('.json')} does not hold a checksum and a record: {error}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise WeightsError(f"{path} has the SHA-256 {actual}, must have {expected} as its record says")
    if described != cell:
        raise WeightsError(f"{path} is of the cell {described}: it must be of {cell}")
    model = build(cell.network)
    try:
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a file that is no checkpoint makes torch raise
        raise WeightsError(f"{path} does not hold the weights of {cell.model}: {error}") from error
    return model.eval(), record
