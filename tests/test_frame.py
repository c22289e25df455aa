"""The frame that every experiment stands in: a third one, in two files, goes through all of it."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy_training
import yaml
from toy_cells import make_record
from toy_experiment import EXPERIMENT, BarCell

from sesn_lib.analysis import results
from sesn_lib.experiments import mnist_scale
from sesn_lib.experiments.base import ALL
from sesn_lib.experiments.mnist_scale import EXPERIMENT as MNIST_SCALE
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.experiments.registry import EXPERIMENTS, cell_named, cell_of, experiment_named, experiment_of
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner import cost
from sesn_lib.runner.execution import run_cell, train_cell
from sesn_lib.runner.status import survey
from sesn_lib.store import weights
from sesn_lib.store.checkpoint import Checkpoint, Interrupted
from sesn_lib.store.records import Store, collect, deterministic_part
from sesn_lib.store.schema import RecordError, validate

pytestmark = pytest.mark.slow

CELL = BarCell("bar_small", 100, 1)
BARS = ("--experiment", "bars", "--device", "cpu", "--threads", "1")


@pytest.fixture(autouse=True)
def third(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """All that a third experiment needs: its place in the table."""
    monkeypatch.setitem(EXPERIMENTS, EXPERIMENT.name, EXPERIMENT)


def options(**changes: Any) -> RunOptions:
    return RunOptions(device="cpu", threads=1, **changes)


def test_its_cells_are_known_by_name_and_by_what_records_hold() -> None:
    for experiment in EXPERIMENTS.values():
        cells = experiment.cells(ALL)
        assert len({cell.name for cell in cells}) == len(cells)
        for cell in cells:
            assert cell_named(cell.name) == cell == cell_of(cell.as_dict())
            assert experiment_of(cell) is experiment
            assert experiment.cell_for(cell.model, cell.condition, cell.repetition) == cell
    with pytest.raises(ValueError, match="unknown experiment 'cifar'; the experiments are mnist-scale, stl10, c"):
        experiment_named("cifar")
    with pytest.raises(ValueError, match="is a cell of no experiment"):
        experiment_of(SimpleNamespace(model="bar_small"))  # type: ignore[arg-type]


def test_a_record_of_it_is_stored_and_read_and_its_rules_hold(tmp_path: Path) -> None:
    record = run_cell(CELL, options())
    assert (record["complete"], record["test_images"], record["protocol"]["data"]) == (True, 20, "bars")
    assert record["bar_error"] < 60, "chance is 90"
    store = Store(tmp_path)
    store.write(record)
    store.write(make_record(GRID[0]))
    assert store.load(CELL) == record
    assert list(store.records_of(BarCell)) == [CELL]
    assert list(store.records_of(Cell)) == [GRID[0]]
    for wrong, said in (({"bar_error": 101}, "bar_error cannot be 101"), ({"bar_error": 96}, "no bar was read")):
        with pytest.raises(RecordError, match=said):
            validate({**record, **wrong})
    short = run_cell(CELL, options(train_images=30))
    assert not short["complete"]
    with pytest.raises(RecordError, match="complete is True"):
        validate({**short, "complete": True})


def test_interrupted_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    whole = run_cell(CELL, options())
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(Interrupted):
        run_cell(CELL, options(checkpoints=tmp_path), stop=stop)
    epochs: list[int] = []
    resumed = run_cell(CELL, options(checkpoints=tmp_path), on_epoch=lambda report: epochs.append(report.epoch))
    assert epochs == [3, 4]
    assert deterministic_part(resumed) == deterministic_part(whole)
    other = run_cell(BarCell("bar_small", 100, 0), options())
    assert other["history"][0]["train_loss"] != whole["history"][0]["train_loss"], "the control"


def test_its_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = train_cell(CELL, options())
    run_cell(CELL, options(weights=tmp_path))
    monkeypatch.setattr(weights, "build", toy_training.Task.build)
    model, record = weights.load(tmp_path, CELL)
    assert record["cell"] == CELL.as_dict()
    assert all((a == b).all() for a, b in zip(model.state_dict().values(), trained.model.state_dict().values()))


def test_its_time_is_estimated_and_measured(tmp_path: Path) -> None:
    estimator = cost.Estimator(tmp_path, options())
    assert estimator(CELL) > 0
    record = run_cell(CELL, options())
    record["history"] = [{**epoch, "seconds": 100.0} for epoch in record["history"]]
    Store(tmp_path).write(record)
    assert estimator(BarCell("bar_small", 0, 0)) == pytest.approx(cost.MARGIN * 400, rel=0.01)


def test_the_command_line_serves_it(sesn: Any, tmp_path: Path) -> None:
    done = sesn("run", *BARS)
    assert done.code == 0, done.err
    assert "4 finished, 0 failed, 0 of 4 left" in done.out
    assert re.search(r"bar_small-n100-d1: \d+ % of the bars misread, \d+ s on ", done.err)
    folder = tmp_path / "notebooks" / "results" / "bars"
    assert len(Store(folder).load_all()) == 4
    assert sesn("run", *BARS).out == "0 finished, 0 failed, 0 of 4 left\n"
    assert sesn("run", *BARS, "--part", "all", "--models", "bar_large").out.startswith("1 finished")
    assert sesn("run", *BARS, "--epochs", "2", "--results", folder).err.startswith(
        f"error: {folder / 'runs' / 'bar_small-n0-d0.json'} is of a run with epochs 4, not 2; name another --results"
    )
    shown = sesn("status", "--experiment", "bars").out
    assert "Bars" in shown
    assert "4 done" in shown
    assert "5 done" in sesn("status", "--experiment", "bars", "--part", "all").out
    assert sesn("collect", "--experiment", "bars", "--part", "all").out.count("wrote") == 2
    few, large = (yaml.safe_load((folder / name).read_text()) for name in ("results.yml", "results_large.yml"))
    assert (few["counts"]["complete"], few["counts"]["partial"]) == (4, 0)
    assert list(large["single_runs"]) == ["bar_large"]
    done = sesn("train", "bar_large", "--extra-scaling", "100", "--epochs", "1", "--device", "cpu", "--threads", "1")
    assert done.code == 0, done.err
    assert Store(tmp_path / "build").load(BarCell("bar_large", 100, 0))["protocol"]["epochs"] == 1
    done = sesn("bench", *BARS, "--models", "bar_small", "--batch-size", "4", "--output", "speed.json")
    assert done.code == 0, done.err
    assert "a full run" in done.out


@pytest.mark.parametrize("experiment", ["mnist-scale", "stl10", "bars"])
def test_every_experiment_is_refused_alike(sesn: Any, experiment: str) -> None:
    most = EXPERIMENTS[experiment].train_images
    for words, said in (
        (["--part", "most"], f"{experiment} has no part 'most'; the parts are "),
        (["--train-images", str(most + 1)], f"to {most}, not {most + 1}"),
        (["--test-images", "0"], "--test-images must be 1 to "),
        (["--epochs", "0"], "epochs is 0: it must be an integer, 1 or greater"),
        (["--precision", "fp8"], "precision is 'fp8': it must be one of "),
        (["--device", "tpu"], "device is 'tpu': it must be"),
        (["--threads", "0"], "threads is 0: it must be an integer"),
    ):
        done = sesn("run", "--experiment", experiment, *words)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1


# Parts of a grid


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> tuple[Cell, ...]:
    """A second part of the MNIST-scale grid: names in a table."""
    names = ("mnist_xu_28", "mnist_xu_56")
    monkeypatch.setattr(mnist_scale, "ALL_MODELS", (*mnist_scale.MODELS, *names))
    monkeypatch.setattr(type(MNIST_SCALE), "models", mnist_scale.ALL_MODELS)
    cells = mnist_scale.cells_of(names)
    monkeypatch.setitem(MNIST_SCALE.parts, "rivals", cells)
    return cells


def test_parts_never_mix(rivals: tuple[Cell, ...], tmp_path: Path) -> None:
    assert len(rivals) == 24
    assert MNIST_SCALE.cells() == MNIST_SCALE.cells("sesn") == GRID
    assert MNIST_SCALE.cells(ALL) == (*GRID, *rivals)
    assert MNIST_SCALE.select(realizations=[0]) == GRID[:20]
    assert MNIST_SCALE.select(["mnist_xu_28"], [0.5], part="rivals")[0].name == "mnist_xu_28-x0.5-r0"
    with pytest.raises(ValueError, match="the grid has no model 'mnist_xu_28'; it has mnist_ses_scalar_28"):
        MNIST_SCALE.select(["mnist_xu_28"])
    store = Store(tmp_path)
    for cell, error in ((GRID[0], 2.0), (rivals[0], 3.0), (rivals[1], 4.0)):
        store.write(make_record(cell, error=error))
    store.write_failure(rivals[2], "MemoryError")
    paper = yaml.safe_load(collect(tmp_path).read_text())
    assert paper["counts"] == {"cells": 120, "complete": 1, "partial": 0, "failed": 0}
    assert paper["single_runs"] == {GRID[0].model: [2.0]}
    other = yaml.safe_load(collect(tmp_path, part="rivals").read_text())
    assert other["counts"] == {"cells": 24, "complete": 2, "partial": 0, "failed": 1}
    assert (tmp_path / "results.yml").exists()
    assert (tmp_path / "results_rivals.yml").exists()
    loaded = results.load(tmp_path)
    assert (list(loaded.records), set(loaded.rivals), loaded.partial) == ([GRID[0]], set(rivals[:2]), ())
    assert list(loaded.failed) == [rivals[2]]
    assert len(survey(tmp_path).states) == 120
    assert len(survey(tmp_path, part=ALL).states) == 144
    assert survey(tmp_path, part="rivals").counts()["done"] == 2


# Options


def test_options_are_frozen_and_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        RunOptions().epochs = 3  # type: ignore[misc]
    assert not RunOptions(precision="bf16", device="cpu").shortened
    for name in ("epochs", "batch_size", "micro_batch", "train_images", "test_images"):
        assert RunOptions(**{name: 5}).shortened, name
    for name, value in {"precision": "fp8", "device": "tpu", "threads": 0, "progress": 1}.items():
        with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}")):
            RunOptions(**{name: value})
    assert {field.name for field in fields(RunOptions)} >= {"epochs", "weights", "checkpoints", "data"}


def test_a_checkpoint_of_one_experiment_is_none_of_another(tmp_path: Path) -> None:
    run_cell(CELL, options(checkpoints=tmp_path, checkpoint_seconds=0.0))
    content = (tmp_path / f"{CELL.name}.pt").read_bytes()
    other = BarCell("bar_small", 0, 0)
    (tmp_path / f"{other.name}.pt").write_bytes(content)
    assert Checkpoint(tmp_path, other, {"cell": other.as_dict()}).load() is None
    assert list(tmp_path.glob("*.damaged"))
