"""The first 101 runs as they stand in `reference/runs_101.json`: right values of tests do not move with new runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sesn_lib.analysis.results import Results
from sesn_lib.experiments.mnist_scale import Cell

REFERENCE = Path(__file__).resolve().parent / "reference" / "runs_101.json"
EDGES = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def recorded(count: int = 101, keep: Callable[[Cell], bool] = lambda _: True) -> Results:
    """The first `count` runs, by when they ended, of those to keep."""
    content = json.loads(REFERENCE.read_text())
    records: dict[Cell, dict[str, Any]] = {}
    for name, (error, finished, by_scale) in list(content["runs"].items())[:count]:
        cell = Cell.parse(name)
        images = content["images"][str(cell.realization)]
        records[cell] = {
            "cell": cell.as_dict(),
            "test_error_50k": error,
            "timing": {"finished": finished},
            "by_scale": {"edges": EDGES, "images": images, "errors": by_scale},
        }
    return Results({cell: record for cell, record in records.items() if keep(cell)})
