"""Failures that are no matter of a cell: they stop the runner, and blame no cell that was not tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_runner import job_of
from toy_cells import toy_record

from sesn_lib.checks import DeviceError
from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.runner.local import run
from sesn_lib.runner.worker import ALIKE, Job, RunnerError
from sesn_lib.store.records import Store


def test_cells_that_fail_alike_stop_the_runner(tmp_path: Path) -> None:
    job = job_of(tmp_path, ALIKE + 3, broken=tuple(cell.name for cell in GRID))
    with pytest.raises(RunnerError, match=r"3 cells in a row failed alike.*the loss is nan after epoch 1"):
        run(job)
    assert len(Store(job.results).failures()) == ALIKE


def test_failures_between_successes_or_of_other_kinds_do_not(tmp_path: Path) -> None:
    apart = job_of(tmp_path, 6, broken=tuple(cell.name for cell in GRID[:6] if cell not in (GRID[1], GRID[3])))
    assert len(run(apart).failed) == 4

    def each_its_own(cell: Any, **options: Any) -> Any:
        raise ValueError(f"{cell} is wrong")

    assert len(run(Job(GRID[:5], tmp_path / "other", each_its_own)).failed) == 5


def test_errors_that_differ_in_numbers_are_alike(tmp_path: Path) -> None:
    def full(cell: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {GRID.index(cell)}.00 GiB.")

    with pytest.raises(RunnerError, match="3 cells in a row failed alike"):
        run(Job(GRID[:6], tmp_path, full))
    assert len(Store(tmp_path).failures()) == ALIKE


@pytest.mark.parametrize("old", [False, True], ids=["newest torch", "torch before 2.8"])
def test_a_lost_gpu_is_no_failure_of_a_cell(tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old:
        monkeypatch.delattr(torch, "AcceleratorError", raising=False)
    error = getattr(torch, "AcceleratorError", RuntimeError)

    def lost(cell: Any, **options: Any) -> Any:
        raise error("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RunnerError, match=r"can use its device no more.*an illegal memory access"):
        run(Job(GRID[:4], tmp_path, lost))
    assert Store(tmp_path).failures() == []


def without_device(cell: Any, **options: Any) -> Any:
    if cell == GRID[1]:
        raise DeviceError("device is 'cuda', but torch finds no CUDA device here")
    return toy_record(cell)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_absent_device_is_no_failure_of_a_cell(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(DeviceError, match="no CUDA device here"):
        run(Job(GRID[:4], tmp_path, without_device), jobs=jobs)
    assert Store(tmp_path).failures() == []
