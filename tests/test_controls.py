"""Controls: the table's networks with one thing changed, and never a part of the table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_cells import make_record, use_toy_data

from sesn_lib import models
from sesn_lib.analysis import results
from sesn_lib.experiments import controls
from sesn_lib.experiments.base import ALL
from sesn_lib.experiments.controls import (
    CHANGES,
    EXPERIMENT,
    MODELS,
    PLAIN,
    TUNED,
    Control,
    ControlSettings,
    network_of,
)
from sesn_lib.experiments.mnist_scale import GRID, PROTOCOL, Cell
from sesn_lib.experiments.registry import cell_named, cell_of, experiment_for, experiment_with
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.provenance import cell_seed
from sesn_lib.runner.execution import run_cell, settings_of, task_of
from sesn_lib.runner.status import survey
from sesn_lib.store.records import Store, collect
from sesn_lib.store.schema import RecordError, validate

CNN = Control("mnist_cnn_28@unchanged", 1.0, 0)


def record_of(cell: Control, *, error: float = 2.0, **changes: Any) -> dict[str, Any]:
    """A valid record of a whole run of a control."""
    protocol = {**EXPERIMENT.whole_protocols(cell)[0], "precision": "bf16"}
    del protocol["test_images"]
    record = make_record(GRID[0], error=error)
    return {**record, "cell": cell.as_dict(), "protocol": protocol, "complete": True, **changes}


def test_the_parts_of_the_controls() -> None:
    counts = {name: len(cells) for name, cells in EXPERIMENT.parts.items()}
    assert counts == {
        "controls": 142, "sizes": 18, "tuning": 60, "less-data": 27, "bases": 27, "seeds": 10, "held-out": 60,
    }  # fmt: skip
    cells = EXPERIMENT.cells(ALL)
    assert len({cell.name for cell in cells}) == len(cells) == 202
    assert EXPERIMENT.cells()[:18] == EXPERIMENT.cells("sizes"), "the first question comes first"
    assert {cell.repetition for cell in EXPERIMENT.cells("held-out")} == {3, 4, 5}
    assert {cell.repetition for cell in EXPERIMENT.cells()} == {0, 1, 2}
    assert {cell.model for cell in cells} == set(MODELS)
    for part in ("tuning", "less-data"):  # comparisons fill evenly: a change on every network, then the next one
        first = [(cell.repetition, cell.change, cell.base) for cell in EXPERIMENT.cells(part)][:4]
        assert (
            first
            == {
                "tuning": [(0, TUNED[0], CNN.base), *((0, change, CNN.base) for change in TUNED[1:4])],
                "less-data": [*((0, "n1000", base) for base in PLAIN), (0, "n2500", CNN.base)],
            }[part]
        )


def test_a_control_has_a_name_a_seed_and_a_dictionary_of_its_own() -> None:
    cells = EXPERIMENT.cells(ALL)
    seeds = {cell_seed(cell) for cell in (*cells, *GRID)}
    assert len(seeds) == len(cells) + len(GRID)
    assert CNN.name == "mnist_cnn_28@unchanged-x1.0-r0"
    assert cell_named(CNN.name) == cell_of(CNN.as_dict()) == CNN
    assert Cell.from_dict(CNN.as_dict()) is None
    assert Control.from_dict(GRID[0].as_dict()) is None
    assert experiment_with("mnist_cnn_28@n1000") is EXPERIMENT
    assert experiment_for(None, "held-out") is EXPERIMENT
    assert experiment_for(None, None).name == experiment_for(None, ALL).name == "mnist-scale"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("mnist_cnn_28", 1.0, 0), "unknown control 'mnist_cnn_28'; the controls are mnist_cnn_28@unchanged"),
        (("mnist_cnn_28@n100", 1.0, 0), "unknown control 'mnist_cnn_28@n100'"),
        (("mnist_cnn_28@seed6", 1.0, 0), "unknown control"),
        (("mnist_cnn_28@unchanged", 0.0, 0), r"extra_scaling must lie in \(0, 1\], not 0.0"),
        (("mnist_cnn_28@unchanged", 1.0, 6), "realization must be one of 0 to 5, not 6"),
    ],
)
def test_what_is_no_control_is_refused(values: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Control(*values)


@pytest.mark.parametrize("name", ["", "mnist_cnn_28-x1.0-r0", "mnist_cnn_28@unchanged-x1-r0", "@-x1.0-r0"])
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        Control.parse(name)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"weight_decay": 1.0}, "weight_decay is 1"),
        ({"train_images": 1}, "train_images is 1"),
        ({"train_images": 10001}, "train_images is 10001"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        ControlSettings(**values)


def test_each_change_changes_one_thing() -> None:
    """The negative control is "unchanged", whose protocol is the table's."""
    for change, expected in {
        "unchanged": {},
        "seed3": {},
        "n1000": {"train_images": 1000},
        "lr0.03-wd0": {"learning_rate": 0.03},
        "lr0.01-wd0.0005": {"optimizer": "AdamW", "weight_decay": 5e-4},
    }.items():
        cell = Control(f"mnist_cnn_28@{change}", 1.0, 0)
        settings = settings_of(cell)
        said = settings.protocol(settings.train_images)  # type: ignore[attr-defined]
        assert {k: v for k, v in said.items() if k != "precision" and PROTOCOL[k] != v} == expected, change
        assert network_of(cell.model) == cell.network == "mnist_cnn_28"
    assert settings_of(Control("mnist_cnn_28@n1000", 0.5, 0)).extra_scaling == 0.5  # type: ignore[attr-defined]


def test_changed_networks_can_be_built_and_are_alike_in_size() -> None:
    assert {model for model in MODELS if model.partition("@")[2] in controls.BASES} == set(models.CHANGED)
    for name in models.CHANGED:
        network, _, change = name.partition("@")
        plain, changed = models.configuration(network), models.configuration(name)
        assert plain != changed
        assert plain.kind == changed.kind
        built = task_of(EXPERIMENT).build(name)
        assert sum(p.numel() for p in built.parameters()) == 494549, change
    finest = {n: models.configuration(n).min_scale / models.configuration(n).mult ** 3 for n in models.CHANGED}
    assert all(0.86 < finest[f"mnist_ses_{kind}_28@raised"] < 0.88 for kind in ("scalar", "vector"))
    assert models.configuration("mnist_ses_scalar_28@one-scale").scales == (2.45,)
    assert models.configuration("mnist_ses_vector_28@one-scale").scales == (2.6,)


def test_decay_is_decoupled_from_the_learning_rate() -> None:
    """One step on a zero gradient takes away the share that the settings say, whatever the learning rate."""
    for rate in (0.003, 0.03):
        settings = ControlSettings(learning_rate=rate, weight_decay=5e-4)
        task = task_of(EXPERIMENT).noise(settings, 4, torch.device("cpu"))
        model = torch.nn.Linear(3, 2)
        before = model.weight.detach().clone()
        optimizer = task.optimizer(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), before * (1 - 5e-4), rtol=1e-6, atol=0)
        for group in optimizer.param_groups:  # as the loop does at a milestone
            group["lr"] = rate * 0.1
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), before * (1 - 5e-4) * (1 - 5e-5), rtol=1e-6, atol=0)


def test_a_control_is_trained_as_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toy_data(monkeypatch)
    options = RunOptions(epochs=1, train_images=20, device="cpu", threads=1)
    record = run_cell(Control("mnist_cnn_28@lr0.03-wd0.0005", 0.5, 1), options)
    said = record["protocol"]
    assert (said["optimizer"], said["learning_rate"], said["train_images"]) == ("AdamW", 0.03, 20)
    assert not record["complete"]
    validate(record)


def test_a_record_must_be_of_its_own_protocol() -> None:
    cell = Control("mnist_cnn_28@n1000", 1.0, 0)
    assert validate(record_of(cell)) == cell
    other = record_of(Control("mnist_cnn_28@n5000", 1.0, 0))["protocol"]
    with pytest.raises(RecordError, match="complete is True, but its protocol says otherwise"):
        validate(record_of(cell, protocol=other))
    assert validate(record_of(cell, protocol=other, complete=False)) == cell


def test_controls_never_enter_the_table(tmp_path: Path) -> None:
    """Even in the table's own folder, where nobody should put them."""
    store = Store(tmp_path)
    store.write(make_record(GRID[0], error=3.0))
    for cell in EXPERIMENT.cells("less-data")[:4]:
        store.write(record_of(cell, error=50.0))
    store.write_failure(EXPERIMENT.cells()[0], "MemoryError")
    table = yaml.safe_load(collect(tmp_path).read_text())
    assert table["counts"] == {"cells": 120, "complete": 1, "partial": 0, "failed": 0}
    assert table["single_runs"] == {GRID[0].model: [3.0]}
    loaded = results.load(tmp_path)
    assert (list(loaded.records), loaded.partial, loaded.failed) == ([GRID[0]], (), {})
    assert set(survey(tmp_path, part=ALL).states) >= set(GRID)
    assert not any(isinstance(cell, Control) for cell in survey(tmp_path, part=ALL).states)
    own = yaml.safe_load(collect(tmp_path, EXPERIMENT).read_text())
    assert own["counts"] == {"cells": 142, "complete": 4, "partial": 0, "failed": 1}
    assert GRID[0].model not in own["single_runs"]
    assert survey(tmp_path, EXPERIMENT, part="less-data").counts()["done"] == 4
    relabelled = {**make_record(GRID[0]), "cell": CNN.as_dict()}
    store.path(GRID[1]).write_text(json.dumps(relabelled))
    with pytest.raises(RecordError, match=re.escape(f"it holds the record of {CNN.name}")):
        store.load(GRID[1])


def test_the_command_line_serves_controls(
    sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    use_toy_data(monkeypatch)
    monkeypatch.setattr(task_of(EXPERIMENT), "fetch", staticmethod(lambda cells, options: None))
    words = ("run", "--part", "controls", "--models", "mnist_cnn_28@n1000,mnist_cnn_28@lr0.003-wd0", "--epochs", "1")
    small = ("--train-images", "20", "--realizations", "0", "--scalings", "1.0", "--device", "cpu", "--threads", "1")
    done = sesn(*words, *small)
    assert done.code == 0, done.err
    assert "2 finished, 0 failed, 0 of 2 left" in done.out
    assert len(Store(tmp_path / "build" / "controls").load_all()) == 2
    shown = sesn("status", "--part", "less-data", "--results", tmp_path / "build" / "controls").out
    assert "1 partial" in shown
    assert "Controls on MNIST-scale" in shown
    for words, said in (
        (["--part", "control"], "mnist-scale has no part 'control'"),
        (["--experiment", "controls", "--part", "sesn"], "controls has no part 'sesn'; the parts are controls, sizes"),
        (["--part", "controls", "--models", "mnist_cnn_28"], "the grid has no model 'mnist_cnn_28'; it has mnist_cnn_"),
        (["--part", "less-data", "--train-images", "10001"], "--train-images must be 2 to 10000, not 10001"),
        (["--part", "less-data", "--batch-size", "999"], "--train-images 1000 in batches of 999 leaves a last batch"),
        (["--part", "sizes", "--realizations", "7"], "the grid has no realization 7"),
    ):
        done = sesn("run", *words)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert said in done.err


def test_every_change_is_used() -> None:
    assert {cell.change for cell in EXPERIMENT.cells(ALL)} == set(CHANGES)  # type: ignore[attr-defined]


def test_a_change_of_the_basis_has_a_network_of_its_own() -> None:
    assert network_of("mnist_ses_scalar_28@disco") == "mnist_ses_scalar_28@disco"
    assert network_of("mnist_ses_scalar_28@seed1") == network_of("mnist_ses_scalar_28@n1000") == "mnist_ses_scalar_28"
