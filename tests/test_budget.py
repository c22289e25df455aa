"""What a run is expected to cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from toy_cells import make_record

from sesn_lib.experiments.mnist_scale import GRID, PROTOCOL, Cell
from sesn_lib.runner.budget import Estimator, format_duration, parse_duration, training_seconds, typical_cost
from sesn_lib.store.records import Store


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


def test_training_counts_by_image_and_epoch_and_testing_by_image() -> None:
    record = finished(1, 2.0, "a")
    record["protocol"] = {**record["protocol"], "train_images": 1000}
    record["timing"] = {**record["timing"], "evaluation_seconds": 5.0}
    record["test_images"] = 500
    assert typical_cost([record], 60, 10000) == pytest.approx(60 * 2.0 * 10 + 5.0 * 100)


def test_one_slow_epoch_makes_no_slow_run() -> None:
    record = finished(1, 2.0, "a")
    record["history"][7]["seconds"] = 5000.0
    assert training_seconds(record) == 120.0


@pytest.mark.parametrize(
    "other",
    [
        {"environment": {"device": "another", "device_type": "cpu", "torch": "2.11.0", "git_commit": None}},
        {"protocol": {**PROTOCOL, "precision": "bf16"}},
        {"cell": Cell("mnist_ses_vector_28", 1.0, 1).as_dict()},
    ],
)
def test_only_runs_of_the_same_kind_tell_what_a_cell_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    monkeypatch.setattr("sesn_lib.provenance.device_description", lambda device: "toy")
    cell, store = Cell("mnist_cnn_28", 0.5, 0), Store(tmp_path)
    record = make_record(Cell("mnist_cnn_28", 1.0, 0))  # 60 epochs of 1.5 s and 5 s for the test
    store.write(record)
    unlike = {**make_record(Cell("mnist_cnn_28", 1.0, 1)), **other}
    unlike["history"] = [{**epoch, "seconds": 500.0} for epoch in unlike["history"]]
    store.write(unlike)
    estimate = Estimator(tmp_path, {"device": "cpu"})
    assert estimate(cell) == pytest.approx(1.15 * 95.0)
    assert estimate(cell, done=0.75) == pytest.approx(0.25 * 1.15 * 95.0)
    assert Estimator(tmp_path, {"device": "cpu", "epochs": 6})(cell) == pytest.approx(1.15 * (9.0 + 5.0))


def test_durations_are_read_and_said() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "9m", "1.5h", "1h30m", "2d")] == [
        90, 90, 540, 5400, 5400, 172800,
    ]  # fmt: skip
    said = {45: "45 s", 99.4: "99 s", 720: "12 min", 12000: "3 h 20 min", 187200: "2 d 4 h", 5970: "1 h 40 min"}
    assert {seconds: format_duration(seconds) for seconds in said} == said
