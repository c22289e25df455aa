"""An STL-10 run from data to record, with the runner, on the stand-in data and a narrow network."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from data_prep import stand_in, stl10, stl10_format
from sesn_lib import models, provenance
from sesn_lib.experiments.stl10 import Recipe, STL10Cell
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.runner.local import Job, run
from sesn_lib.runner.stl10_execution import run_cell
from sesn_lib.store.checkpoint import Interrupted
from sesn_lib.store.records import Store
from sesn_lib.store.schema import deterministic_part, validate
from sesn_lib.training import stl10 as stl10_training

CELL = STL10Cell("wrn_16_8", 0)


@pytest.fixture(autouse=True)
def small(tmp_path_factory, monkeypatch):
    """Ten pictures a split, and the networks with widening 1."""
    folder = stand_in.make(tmp_path_factory.mktemp("data"), each=1)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10_format.read(folder, split))
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(*, epochs=3, **changes):
    return {"recipe": replace(Recipe(batch_size=5).shortened(epochs), **changes), "device": "cpu"}


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
    other = run_cell(STL10Cell("wrn_16_8", 1), **options())
    assert other["seed"] != record["seed"]
    assert other["history"][0]["train_loss"] != record["history"][0]["train_loss"]


def test_held_out_images_are_not_counted_as_trained_on():
    record = run_cell(CELL, **options(epochs=1, validation_images=0), train_images=8, test_images=4)
    assert (record["protocol"]["train_images"], record["test_images"]) == (8, 4)
    with pytest.raises(ValueError, match="count is 11: it must be an integer, 1 or greater and at most 1"):
        run_cell(CELL, **options(epochs=1), train_images=11)


@pytest.fixture
def untrained(monkeypatch):
    """In the place of training: notes the state it is given and saves, which ends a run that is to stop."""
    given = []

    def fit(model, train, test, recipe, *, on_epoch, state, save):
        given.append(state)
        save({"epoch": 1 + len(given)})

    monkeypatch.setattr(stl10_training, "fit", fit)
    return given


def test_a_checkpoint_of_other_data_is_not_taken_up(tmp_path, monkeypatch, untrained):
    def begin():
        with pytest.raises(Interrupted):
            run_cell(CELL, **options(), checkpoints=tmp_path / "checkpoints", stop=lambda: True)
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


def test_the_record_names_the_commit_that_the_run_began_with(monkeypatch):
    head = provenance.Commit("begun", False)
    monkeypatch.setattr(provenance, "git_commit", lambda: head)

    def fit(model, *arguments, **more):
        nonlocal head
        head = provenance.Commit("pulled", True)
        return stl10_training.FitResult(1, 50.0, [], [])

    monkeypatch.setattr(stl10_training, "fit", fit)
    provenance.loaded_commit.cache_clear()
    try:
        environment = run_cell(CELL, **options(epochs=1))["environment"]
    finally:
        provenance.loaded_commit.cache_clear()
    assert (environment["git_commit"], environment["git_dirty"]) == ("begun", False)
    assert head.commit == "pulled"


def test_a_record_counts_what_was_trained_on_and_what_was_held_out(tmp_path, monkeypatch):
    folder = stand_in.make(tmp_path, each=3)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10_format.read(folder, split))
    sizes = []

    def fit(model, train, test, recipe, **more):
        kept, held = stl10_training.hold_out(train, recipe.validation_images, recipe.seed)
        sizes.append((len(kept), len(held), len(test)))
        return stl10_training.FitResult(1, 50.0, [], [])

    monkeypatch.setattr(stl10_training, "fit", fit)
    record = run_cell(CELL, **options(epochs=1, validation_images=10), test_images=7)
    protocol = record["protocol"]
    assert (protocol["train_images"], protocol["validation_images"], record["test_images"]) == sizes[0] == (20, 10, 7)


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path):
    whole = run_cell(CELL, **options())
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(Interrupted):
        run_cell(CELL, **options(), checkpoints=tmp_path, stop=stop)
    assert (tmp_path / f"{CELL.name}.pt").exists()
    trained = []
    resumed = run_cell(CELL, **options(), checkpoints=tmp_path, on_epoch=lambda report: trained.append(report.epoch))
    assert trained == [3]
    assert deterministic_part(resumed) == deterministic_part(whole)


def test_a_checkpoint_of_another_recipe_is_set_aside(tmp_path):
    asked = []
    with pytest.raises(Interrupted):
        run_cell(CELL, **options(), checkpoints=tmp_path, stop=lambda: bool(asked.append(1)) or True)
    run_cell(CELL, **options(learning_rate=0.05), checkpoints=tmp_path)
    assert (tmp_path / f"{CELL.name}.pt.damaged").exists()


def test_the_runner_runs_what_is_missing(tmp_path):
    cells = (CELL, STL10Cell("wrn_16_8", 1))
    events = []
    job = Job(cells, tmp_path, partial(run_cell, **options(epochs=1)), tmp_path / "checkpoints")
    summary = run(job, notify=events.append)
    assert summary.finished == list(cells)
    assert [event.kind for event in events] == ["started", "epoch", "finished"] * 2
    store = Store(tmp_path)
    assert {record["cell"]["run"] for record in store.load_all()} == {0, 1}
    assert not store.damaged
    assert run(job).finished == []
