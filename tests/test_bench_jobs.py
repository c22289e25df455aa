"""Whole trainings with several jobs: the command is run in earnest, and the sums are checked on known times."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from toy_cells import make_record

from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.runner import bench_jobs
from sesn_lib.runner.bench_jobs import jobs_to_time
from sesn_lib.runner.worker import RunnerError
from sesn_lib.store.records import Store

CPU = torch.device("cpu")


def record(realization: int, scaling: float, seconds: list[float]) -> dict[str, Any]:
    found = make_record(Cell("mnist_cnn_28", scaling, realization), epochs=len(seconds))
    found["history"] = [{**epoch, "seconds": s} for epoch, s in zip(found["history"], seconds)]
    found["timing"] = {**found["timing"], "train_seconds": sum(seconds), "evaluation_seconds": 1.0}
    return found


def test_start_and_training_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[dict[str, str]] = []

    def timed(words: list[str], jobs: int) -> float:
        options = dict(zip(words[::2], words[1::2]))
        commands.append(options)
        for realization in range(2):
            beside = 1.25 * jobs  # each epoch is slowed so much by the others, beyond the first's 3 seconds
            made = record(realization, 1.0, [3.0, beside])
            made["environment"] = {**made["environment"], "mps": realization == 1}
            Store(Path(options["--results"])).write(made)
        return 20.0

    monkeypatch.setattr(bench_jobs, "timed", timed)
    output = tmp_path / "bench.json"
    output.write_text('{"device": "toy"}')
    bench_jobs.run(["mnist_cnn_28"], (2, 1), CPU, output, Console())
    assert [(c["--jobs"], c["--scalings"], c["--realizations"]) for c in commands] == [
        ("1", "1.0", "0-1"),
        ("2", "1.0", "0-1"),
    ]
    report = json.loads(output.read_text())
    alone, two = report["trainings"]
    assert report["device"] == "toy"
    assert (alone["training_seconds"], alone["start_seconds"]) == (2 * 5.25, 20 - 2 * 5.25)
    assert (two["training_seconds"], two["start_seconds"]) == (2 * 6.5 / 2, 20 - 6.5)
    assert (alone["epoch_seconds"], two["epoch_seconds"]) == (1.25, 2.5)
    assert (alone["gain"], two["gain"]) == (1.0, 1.0)  # twice as many, each half as fast
    assert [row["cells"] for row in (alone, two)] == [2, 2]
    assert [row["mps"] for row in (alone, two)] == [False, False], "of two only one"


@pytest.mark.parametrize(("jobs", "cells"), [(1, 1), (6, 6), (7, 8), (8, 8), (12, 12)])
def test_there_is_a_cell_for_each_job(jobs: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def run(words: list[str], **_: Any) -> Any:
        asked.append(dict(zip(words[words.index("run") + 1 :: 2], words[words.index("run") + 2 :: 2])))
        return subprocess.CompletedProcess(words, 2, "", "error: enough seen")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RunnerError, match="enough seen"):
        bench_jobs.measure("mnist_cnn_28", (jobs,), CPU)
    first, _, last = asked[0]["--realizations"].partition("-")
    assert len(asked[0]["--scalings"].split(",")) * (int(last) - int(first) + 1) == cells


def test_which_jobs_are_timed() -> None:
    assert jobs_to_time(None, torch.device("cuda")) == (1, 2, 4, 8)
    assert jobs_to_time(None, CPU) == ()
    assert jobs_to_time([4, 1, 4], CPU) == (1, 4)
    for wrong in ([0], [1, 13]):
        with pytest.raises(ValueError, match=f"jobs is {wrong[-1]}"):
            jobs_to_time(wrong, CPU)


@pytest.mark.slow
def test_a_run_that_fails_is_said_in_one_line() -> None:
    with pytest.raises(RunnerError, match="with 3 jobs ended with code 2: error: the grid has no model 'nothing'"):
        bench_jobs.timed(["--models", "nothing"], 3)


@pytest.mark.long
def test_trainings_are_run(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESN_DATA", str(mnist_root))
    rows = bench_jobs.measure("mnist_cnn_28", (1, 2), CPU, epochs=2, train_images=256, test_images=100)
    assert [(row.jobs, row.cells, row.epochs, row.train_images) for row in rows] == [(1, 2, 2, 256), (2, 2, 2, 256)]
    for row in rows:
        assert 0 < row.epoch_seconds < row.training_seconds < row.wall_seconds
        assert row.start_seconds == pytest.approx(row.wall_seconds - row.training_seconds)
        assert not row.mps
    assert rows[1].gain == pytest.approx(2 * rows[0].epoch_seconds / rows[1].epoch_seconds)
