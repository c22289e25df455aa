"""An STL-10 run from data to record, with the runner, on the stand-in data and a narrow network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data_prep import stl10, synthetic
from sesn_lib import models
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.experiments.stl10 import Recipe, STL10Cell
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.runner import execution
from sesn_lib.store.checkpoint import Interrupted
from sesn_lib.store.schema import deterministic_part, validate
from sesn_lib.training import loop
from sesn_lib.training.task import FitResult

CELL = STL10Cell("wrn_16_8", 0)


@pytest.fixture(autouse=True)
def small(tmp_path_factory, monkeypatch):
    """Ten pictures a split, and the networks with widening 1."""
    folder = synthetic.make(tmp_path_factory.mktemp("data"), each=1)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10.read(folder, split))
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(*, epochs=3, train_images=None, test_images=None, checkpoints=None, **changes):
    few = RunOptions(device="cpu", checkpoints=checkpoints, train_images=train_images, test_images=test_images)
    return {"options": few, "settings": replace(Recipe(batch_size=5).shortened(epochs), **changes)}


def run_cell(cell, **given):
    return execution.run_cell(cell, **given)


@pytest.mark.slow
def test_a_record_that_says_all(tmp_path):
    seen = []
    record = run_cell(CELL, **options(), on_epoch=seen.append)
    assert validate(record) == CELL
    assert not record["complete"]
    assert record["protocol"]["train_images"] == record["test_images"] == 10
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert record["evaluations"][-1]["epoch"] == record["reported_epoch"] == 3
    assert [report.epoch for report in seen] == [1, 2, 3]
    again = run_cell(CELL, **options())
    assert deterministic_part(again) == deterministic_part(record)
    other = run_cell(STL10Cell("wrn_16_8", 1), **options(epochs=1))
    assert other["seed"] != record["seed"]
    assert other["history"][0]["train_loss"] != record["history"][0]["train_loss"]


def test_held_out_images_are_not_counted_as_trained_on():
    record = run_cell(CELL, **options(epochs=1, train_images=8, test_images=4))
    assert (record["protocol"]["train_images"], record["test_images"]) == (8, 4)
    with pytest.raises(ValueError, match="train_images is 11: it must be an integer, 1 or greater and at most 10"):
        run_cell(CELL, **options(epochs=1, train_images=11))


@pytest.fixture
def untrained(monkeypatch):
    """In the place of training: notes the state it is given and saves, which ends a run that is to stop."""
    given = []

    def fit(model, task, *, on_epoch, state, save):
        given.append(state)
        save({"epoch": 1 + len(given)})

    monkeypatch.setattr(loop, "fit", fit)
    return given


def test_a_checkpoint_of_other_data_is_not_taken_up(tmp_path, monkeypatch, untrained):
    def begin():
        with pytest.raises(Interrupted):
            run_cell(CELL, **options(checkpoints=tmp_path / "checkpoints"), stop=lambda: True)
        return untrained[-1]

    assert begin() is None
    assert begin() == {"epoch": 2}, "the control: the same data"
    contents = {split: stl10.load(None, split, progress=False) for split in ("train", "test")}
    for split in contents:
        for part in (0, 1):  # one pixel, one label
            spoilt = [array.copy() for array in contents[split]]
            spoilt[part].flat[0] ^= 1
            given = {**contents, split: spoilt}
            monkeypatch.setattr(stl10, "load", lambda root, split, progress, given=given: given[split])
            assert begin() is None
            monkeypatch.setattr(stl10, "load", lambda root, split, progress: contents[split])
            assert begin() is None, "nor is that one's by the first"


def test_a_record_counts_what_was_trained_on_and_what_was_held_out(tmp_path, monkeypatch):
    folder = synthetic.make(tmp_path, each=3)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10.read(folder, split))
    sizes = []

    def fit(model, task, **more):
        sizes.append((len(task.train), len(task.val), len(task.test)))
        return FitResult(1, {"test_error": 50.0}, [], [], {}, {})

    monkeypatch.setattr(loop, "fit", fit)
    record = run_cell(CELL, **options(epochs=1, validation_images=10, test_images=7))
    protocol = record["protocol"]
    assert (protocol["train_images"], protocol["validation_images"], record["test_images"]) == sizes[0] == (20, 10, 7)
