"""What a run is expected to cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from toy_cells import make_record

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.runner.budget import typical_cost


def finished(day: int, seconds: float, commit: str | None) -> dict[str, Any]:
    record = make_record(GRID[0])
    record["history"] = [{**epoch, "seconds": seconds} for epoch in record["history"]]
    record["timing"] = {**record["timing"], "evaluation_seconds": 0.0, "finished": f"2026-01-{day:02}T00:00:00Z"}
    record["environment"] = {**record["environment"], "git_commit": commit}
    return record


def test_code_that_became_faster_is_not_judged_by_what_it_was() -> None:
    old = [finished(day, 60.0, "old") for day in (1, 2, 3)]
    new = [finished(5, 10.0, "new"), finished(4, 14.0, "new"), finished(6, 12.0, "new")]
    assert typical_cost([*new, *old], 60, 10000) == pytest.approx(60 * 12.0)
    assert typical_cost([*new, *old], 30, 5000) == pytest.approx(15 * 12.0)
    assert typical_cost(old, 60, 10000) == pytest.approx(60 * 60.0)
    assert typical_cost([finished(1, 3.0, None), finished(2, 5.0, None)], 60, 10000) == pytest.approx(60 * 4.0)
    assert math.isnan(typical_cost([], 60, 10000))
