"""`sesn run|status|bench --experiment stl10`, on the stand-in data and narrow networks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from toy_cells import make_record

from data_prep import DataError, stl10, synthetic
from sesn_lib import models, paths
from sesn_lib.cli import commands as cli
from sesn_lib.cli.jobs import job_for
from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.experiments.stl10 import EXPERIMENT, STL10Cell
from sesn_lib.fast.precision import precisions_on
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.runner import cost
from sesn_lib.store.checkpoint import Checkpoint
from sesn_lib.store.records import Store
from sesn_lib.training import counting
from sesn_lib.training import stl10 as training

SHORT = ["--epochs", "1", "--batch-size", "5", "--train-images", "10", "--test-images", "5", "--device", "cpu"]


@pytest.fixture(autouse=True)
def nothing_remembered():
    """These tests put small networks in place of the real ones; what is counted of them must not outlive them."""
    for remembered in (counting.count, cost.measured_speed):
        remembered.cache_clear()
    yield
    for remembered in (counting.count, cost.measured_speed):
        remembered.cache_clear()


@pytest.fixture
def sesn(tmp_path, tmp_path_factory, monkeypatch, capfd):
    """Runs the command in an empty checkout; gives (exit code, output, errors)."""
    folder = synthetic.make(tmp_path_factory.mktemp("data"), each=1)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10.read(folder, split))
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "checkout", lambda start=None: tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    threads = torch.get_num_threads()

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    yield call
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_one_command_runs_what_is_missing(sesn):
    command = ("run", "--experiment", "stl10", "--models", "wrn_16_8,wrn_16_8_ses_a", *SHORT, "--threads", "1")
    done = sesn(*command)
    assert done.code == 0, done.err
    assert "2 finished, 0 failed, 0 of 2 left" in done.out
    assert "stl10-wrn_16_8_ses_a-r0: test error" in done.err
    store = Store(Path("build") / "stl10")
    assert [record["cell"]["model"] for record in store.load_all()] == ["wrn_16_8", "wrn_16_8_ses_a"]
    assert "0 of 2 cells to run" in sesn(*command).err
    shown = sesn("status", "--experiment", "stl10", "--results", store.folder)
    assert shown.code == 0
    assert "2 partial" in shown.out
    assert "2 missing" in shown.out
    assert [shown.out.count(symbol) for symbol in "○·"] == [3, 3], "two in the map, one in the legend"
    refused = sesn(*command[:-2], "--small-memory", "--results", store.folder)
    assert refused.code == 2
    assert "is of a run with learning_rate 0.1, not 0.05; name another --results" in refused.err


def test_status_of_nothing_and_of_failures(sesn):
    store = Store("elsewhere")
    store.write_failure(STL10Cell("wrn_16_8", 3), "Diverged: the training loss is nan")
    shown = sesn("status", "--experiment", "stl10", "--results", "elsewhere")
    assert "failed, Diverged" in shown.out
    assert "4 missing" in shown.out
    assert sesn("status", "--results", "elsewhere").code == 0  # and the other experiment is not disturbed
    assert "no records" in sesn("collect", "--results", "elsewhere").err


def test_one_folder_may_hold_both_experiments(sesn):
    store, cell = Store("both"), STL10Cell("wrn_16_8", 0)
    store.write(make_record(GRID[0]))
    store.write_failure(GRID[1], "MemoryError")
    store.write_failure(cell, "Diverged: the training loss is nan")
    shown = sesn("status", "--experiment", "stl10", "--results", "both")
    assert shown.code == 0, shown.err
    assert "Diverged" in shown.out
    assert "MemoryError" not in shown.out
    shown = sesn("status", "--results", "both")
    assert "1 done" in shown.out
    assert "MemoryError" in shown.out
    assert "Diverged" not in shown.out


def test_status_says_how_far_a_run_is(sesn):
    cell = STL10Cell("wrn_16_8", 0)
    Checkpoint("kept", cell).note(3, 12)
    options = ("status", "--experiment", "stl10", "--results", "build/stl10", "--checkpoints", "kept")
    assert "25 %" not in sesn(*options).out, "a note alone is no checkpoint"
    Path("kept", f"{cell.name}.pt").write_bytes(b"a network")
    assert "checkpoint, 25 % trained" in sesn(*options).out
    with FileLock(Store("build/stl10").locks / f"{cell.name}.lock"):
        assert "running, 25 % trained" in sesn(*options).out


def test_bench(sesn, monkeypatch):
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1, input_size=12))
    monkeypatch.setattr(training, "SIZE", 12)
    chosen = ("--models", "wrn_16_8", "--device", "cpu", "--batch-size", "2", "--threads", "1", "--output", "cost.json")
    done = sesn("bench", "--experiment", "stl10", *chosen)
    assert done.code == 0, done.err
    good = precisions_on(torch.device("cpu"))  # float32 alone where there are no bf16 units
    assert done.out.count("images/s") == len(good)
    assert "a full run" in done.out
    found = json.loads(Path("cost.json").read_text())
    assert sorted(one["precision"] for one in found) == sorted(good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "wrn_28_10"], "unknown model 'wrn_28_10'"),
        (["--models", "mnist_cnn_28"], "unknown model 'mnist_cnn_28'"),
        (["--scalings", "0.5"], "--scalings is for mnist-scale"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--micro-batch", "0"], "micro_batch is 0"),
        (["--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_mistakes_end_in_one_line(sesn, arguments, message):
    done = sesn("run", "--experiment", "stl10", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_options_of_the_other_experiment(sesn):
    assert "--experiment stl10" in sesn("run", "--micro-batch", "4").err
    assert sesn("run", "--experiment", "cifar").code == 2


def test_no_data_is_one_line(sesn, monkeypatch):
    def absent(*args, **options):
        raise DataError("STL-10 could not be had")

    monkeypatch.setattr(stl10, "load", absent)
    done = sesn("run", "--experiment", "stl10", *SHORT)
    assert done.code == 2
    assert done.err.splitlines()[-1] == "error: STL-10 could not be had"
    assert "Traceback" not in done.err


@pytest.mark.parametrize("option", ["--from", "--source"])
def test_data_from_a_folder(sesn, option):
    done = sesn("data", "stl10", option, "absent", "--data", "here")
    assert done.code == 2
    assert "source absent is not a folder" in done.err


def job(models=None, runs=None, *, folder, **changes):
    options = RunOptions(precision="bf16", device="cpu", **changes)
    return job_for(EXPERIMENT, EXPERIMENT.select(models, realizations=runs), options, folder)


def settings_of(job):
    return EXPERIMENT.settings_of(job.cells[0], job.execute.keywords["options"])


def test_the_whole_experiment_is_the_default(tmp_path):
    whole = job(folder=tmp_path)
    assert [cell.model for cell in whole.cells] == list(VARIANTS)
    recipe = settings_of(whole)
    assert (recipe.epochs, recipe.batch_size, recipe.precision) == (1000, 128, "bf16")
    assert pickle.loads(pickle.dumps(whole)).cells == whole.cells
    small = job(["wrn_16_8"], [2], folder=tmp_path, small_memory=True, micro_batch=16)
    assert small.cells == (STL10Cell("wrn_16_8", 2),)
    recipe = settings_of(small)
    assert (recipe.batch_size, recipe.learning_rate, recipe.micro_batch) == (64, 0.05, 16)
    recipe = settings_of(job(folder=tmp_path, epochs=100))
    assert (recipe.epochs, recipe.milestones, recipe.evaluate_after[:2]) == (100, (30, 40, 60, 80), (5, 30))


def test_the_estimate_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "measure", lambda *args, **options: {"images_per_second": 50.0})
    cost.measured_speed.cache_clear()
    all_images = job(["wrn_16_8"], folder=tmp_path)
    whole = all_images.estimate(all_images.cells[0])
    assert whole == pytest.approx(1.15 * (5_000_000 + 11 * 8000 / 3) / 50, rel=1e-3)
    assert all_images.estimate(all_images.cells[0], 0.75) == pytest.approx(whole / 4)
    less = job(["wrn_16_8"], folder=tmp_path, train_images=500, test_images=800)
    assert less.estimate(less.cells[0]) == pytest.approx(whole / 10)
