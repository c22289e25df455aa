"""What trained networks make of digits of fixed sizes, one small JSON file a network: `<folder>/probes/<cell>.json`.

Whoever has records but no weights, and no GPU, can read these. `runner.probes` makes them.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from sesn_lib.experiments import correctness
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.registry import cell_of
from sesn_lib.experiments.rules import PERCENT, RecordError, check, is_a, number, short, text, whole
from sesn_lib.store.atomic import write_aside

log = logging.getLogger(__name__)

SCHEMA = 1
LAYERS = ("input", "1", "2", "3", "logits")
"""Where equivariance is measured: the image itself, after each convolution, the network's answer."""

_PROBE = {
    "cell": is_a(dict), "weights": text, "trained": text, "test_error_50k": PERCENT, "digits": whole(1),
    "precision": text, "factors": is_a(list), "correct": is_a(list), "ink_outside": is_a(list),
    "equivariance": is_a(dict), "environment": is_a(dict), "finished": text,
}  # fmt: skip


def path_of(folder: str | Path, cell: AnyCell) -> Path:
    """Where the probe of a cell is or will be, below a results folder."""
    return Path(folder) / "probes" / f"{cell.name}.json"


def validate(probe: Any) -> AnyCell:
    """Checks that this is a whole, possible probe; returns its cell.

    Raises:
        RecordError: naming what is wrong.
    """
    if not isinstance(probe, dict) or probe.get("schema") != SCHEMA:
        raise RecordError(f"a probe is a dictionary of schema {SCHEMA}, not {short(probe)}")
    check(probe, _PROBE)
    factors, digits = probe["factors"], probe["digits"]
    if not factors or not all(map(number(0), factors)):
        raise RecordError(f"factors cannot be {short(factors)}")
    for key in ("correct", "ink_outside"):
        if len(probe[key]) != len(factors):
            raise RecordError(f"{key} has {len(probe[key])} entries, must have one for each of {len(factors)} factors")
    if not all(map(number(0, 1), probe["ink_outside"])):
        raise RecordError(f"ink_outside cannot be {short(probe['ink_outside'])}")
    try:
        for one in probe["correct"]:
            correctness.decode(one, digits)
    except ValueError as error:
        raise RecordError(f"correct {error}") from None
    _check_equivariance(probe["equivariance"])
    return cell_of(probe["cell"])


def _check_equivariance(measured: dict[str, Any]) -> None:
    check(
        measured, {"from": number(0), "to": number(0), "by_layer": is_a(dict), "by_digit": is_a(list)}, "equivariance."
    )
    check(measured["by_layer"], dict.fromkeys(LAYERS, number(0)), "equivariance.by_layer.")
    if not measured["by_digit"] or not all(map(number(0), measured["by_digit"])):
        raise RecordError(f"equivariance.by_digit cannot be {short(measured['by_digit'])}")
    mean = math.fsum(measured["by_digit"]) / len(measured["by_digit"])
    if not math.isclose(mean, measured["by_layer"]["logits"], rel_tol=1e-3):
        raise RecordError(
            f"equivariance.by_layer.logits is {measured['by_layer']['logits']}, by its digits it is {mean}"
        )


def write(folder: str | Path, probe: dict[str, Any]) -> Path:
    """Validates a probe and stores it under its cell's name; one that was there before gives way.

    Raises:
        RecordError: not a probe.
        OSError: the folder cannot be written.
    """
    path = path_of(folder, validate(probe))
    write_aside(path, (json.dumps(probe, allow_nan=False) + "\n").encode(), replace=True)
    return path


def load_all(folder: str | Path) -> dict[AnyCell, dict[str, Any]]:
    """The probes below a results folder, by cell; files that are none are said and passed over."""
    loaded = {}
    for path in sorted((Path(folder) / "probes").glob("*.json")):
        try:
            probe = json.loads(path.read_text(encoding="utf-8"))
            cell = validate(probe)
            if path != path_of(folder, cell):
                raise RecordError(f"it holds the probe of {cell}")
        except ValueError as error:
            log.warning("unusable: %s: %s", path, error)
            continue
        loaded[cell] = probe
    return loaded
