"""Kept weights: what was trained comes back, with the record of its training, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_controls import record_of
from toy_cells import make_record, use_toy_data

from sesn_lib import models
from sesn_lib.experiments.controls import Control
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner import execution
from sesn_lib.store import weights
from sesn_lib.store.weights import WeightsError

CELL = Cell("mnist_cnn_28", 1.0, 0)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    model = models.build(CELL.model)
    weights.save(tmp_path, model, make_record(CELL))
    return tmp_path, model


def test_weights_come_back_with_their_record(kept: tuple[Path, torch.nn.Module]) -> None:
    folder, model = kept
    loaded, record = weights.load(folder, CELL)
    assert record == make_record(CELL, timing=record["timing"])
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert sorted(path.name for path in folder.iterdir()) == [f"{CELL.name}.json", f"{CELL.name}.pt"]
    assert (folder / f"{CELL.name}.pt").stat().st_size < 2e6, "small enough to be shipped"


@pytest.mark.slow
def test_a_run_keeps_the_weights_that_were_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_toy_data(monkeypatch)
    options = RunOptions(epochs=3, batch_size=24, device="cpu", threads=1, weights=tmp_path)
    trained = execution.train_cell(CELL, options)
    record = execution.run_cell(CELL, options)
    loaded, described = weights.load(tmp_path, CELL)
    assert described == record
    assert trained.record["best_epoch"] == record["best_epoch"]
    for name, value in trained.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_folder_lost_during_the_run_costs_the_weights_and_not_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_toy_data(monkeypatch)
    (tmp_path / "file").write_text("")
    options = RunOptions(epochs=1, batch_size=24, device="cpu", threads=1, weights=tmp_path / "file")
    record = execution.run_cell(CELL, options)
    assert record["cell"] == CELL.as_dict()
    assert f"{CELL}: its weights are not kept in {tmp_path / 'file'}: File exists" in caplog.text


def test_a_missing_file_is_said_to_be_missing(kept: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = kept
    with pytest.raises(FileNotFoundError, match=r"mnist_ses_vector_28-x1\.0-r0\.pt"):
        weights.load(folder, Cell("mnist_ses_vector_28", 1.0, 0))
    (folder / f"{CELL.name}.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"{CELL.name}.json"):
        weights.load(folder, CELL)


def _flip(folder: Path) -> None:
    path = folder / f"{CELL.name}.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _note(folder: Path, **changes: Any) -> None:
    path = folder / f"{CELL.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _other_model(folder: Path) -> None:
    weights.save(folder, torch.nn.Linear(2, 2), make_record(CELL))


def _other_cell(folder: Path) -> None:
    _note(folder, record=make_record(Cell("mnist_cnn_28", 1.0, 1)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip, "has the SHA-256 [0-9a-f]{64}, must have [0-9a-f]{64}"),
        (_other_model, "does not hold the weights of mnist_cnn_28"),
        (_other_cell, "is of the cell mnist_cnn_28-x1.0-r1: it must be of mnist_cnn_28-x1.0-r0"),
        (lambda folder: _note(folder, record={}), "does not hold a checksum and a record"),
        (lambda folder: (folder / f"{CELL.name}.json").write_text("{"), "does not hold a checksum and a record"),
    ],
)
def test_damage_is_noticed(kept: tuple[Path, torch.nn.Module], damage: Any, message: str) -> None:
    folder, _ = kept
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        weights.load(folder, CELL)


def test_a_pickle_is_never_loaded(kept: tuple[Path, torch.nn.Module]) -> None:
    import hashlib

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (kept[0] / "evil",))

    folder, _ = kept
    torch.save({"weight": Evil()}, folder / f"{CELL.name}.pt")
    _note(folder, sha256=hashlib.sha256((folder / f"{CELL.name}.pt").read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="does not hold the weights"):
        weights.load(folder, CELL)
    assert not (folder / "evil").exists()


def test_what_is_no_record_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its schema is None"):
        weights.save(tmp_path, models.build(CELL.model), {"cell": CELL.as_dict()})
    assert list(tmp_path.iterdir()) == []


def test_the_network_of_a_control_comes_back(tmp_path: Path) -> None:
    cell = Control("mnist_cnn_28@n1000", 1.0, 0)
    model = models.build("mnist_cnn_28")
    weights.save(tmp_path, model, record_of(cell))
    loaded, _ = weights.load(tmp_path, cell)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
