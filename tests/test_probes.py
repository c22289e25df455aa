"""Probes: digits at fixed sizes, and how far each layer is from equivariance."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toy_cells import make_record

from data_prep import preparation
from data_prep.rescaling import affine_bicubic
from data_prep.splits import plan
from sesn_lib import equivariance, fast, models
from sesn_lib.data.splits import DeviceSplit, normalise
from sesn_lib.experiments.controls import Control
from sesn_lib.experiments.correctness import decode
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.experiments.stl10 import STL10Cell
from sesn_lib.runner import probes
from sesn_lib.store import probes as stored
from sesn_lib.store import weights
from sesn_lib.store.schema import RecordError
from sesn_lib.training.evaluation import evaluate

CELL, OTHER = Cell("mnist_cnn_28", 1.0, 0), Cell("mnist_ses_vector_28", 1.0, 1)
DIGITS = 12


def digits(count: int = DIGITS, border: int = 4, seed: int = 0) -> torch.Tensor:
    """Smooth noise on black."""
    draws = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 1, 7, 7, generator=draws)
    image = torch.nn.functional.interpolate(small, size=28, mode="bicubic").clamp(0, 1)[:, 0] * 255
    image[:, :border] = image[:, 28 - border :] = image[:, :, :border] = image[:, :, 28 - border :] = 0
    return image.to(torch.uint8)


def toy_originals(data: Any, realization: int, **options: Any) -> Any:
    labels = np.arange(DIGITS) % 10
    return SimpleNamespace(images=digits(seed=realization).numpy(), labels=labels)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two networks kept in `kept` and probed from there into this folder."""
    folder, said = tmp_path_factory.mktemp("made"), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(probes, "originals", toy_originals)
        torch.manual_seed(0)
        for cell in (CELL, OTHER):
            weights.save(folder / "kept", models.build(cell.model), make_record(cell))
        cells = probes.kept_cells(folder / "kept")
        cpu = torch.device("cpu")
        written = probes.probe_all(cells, folder / "kept", folder, device=cpu, digits=DIGITS, say=said.append)
    assert len(said) == len(written) == 2
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def kept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(probes, "originals", toy_originals)
    return Path(shutil.copytree(made / "kept", tmp_path / "kept"))


@pytest.fixture
def probed(made: Path, tmp_path: Path) -> dict[Any, dict[str, Any]]:
    """The probes, in files of this test's own."""
    shutil.copytree(made / "probes", tmp_path / "probes")
    return stored.load_all(tmp_path)


# Sizes


def test_digits_are_scaled_as_those_of_the_data_set() -> None:
    for factor in (0.31, 0.55, 2**-0.5, 1.0):
        expected = np.stack([affine_bicubic(image, factor) for image in digits().numpy()])
        shown, outside = probes.at_size(digits(), factor)
        assert np.array_equal(shown.numpy(), expected)
        assert outside == 0


def test_the_canvas_holds_all_and_what_is_cut_off_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    full = digits(border=2)
    shown, outside = probes.at_size(full, 2.0)
    monkeypatch.setattr(probes, "MARGIN", 30)
    wider, wider_outside = probes.at_size(full, 2.0)
    assert torch.equal(shown, wider)
    assert outside == wider_outside > 0.3
    whole = full.double().sum() * 4
    assert abs(shown.double().sum() / (1 - outside) / whole - 1) < 0.02, "four times the ink"
    assert probes.at_size(digits(border=9), 2.0)[1] < outside
    with pytest.raises(ValueError, match=r"factor is 2\.1: it must be above 0 and at most 2"):
        probes.at_size(full, 2.1)
    with pytest.raises(ValueError, match="factor is 0"):
        probes.at_size(full, 0)


def test_originals_are_the_digits_before_they_were_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    images, labels = draws.integers(0, 256, (70000, 2, 2), dtype=np.uint8), draws.integers(0, 10, 70000).astype("u1")
    monkeypatch.setattr(preparation.sources, "mnist", lambda folder, **options: (images, labels))
    found, part = preparation.originals(None, 2, "val"), plan(labels, 2, "paper")["val"]
    assert len(found) == 2000
    assert np.array_equal(found.images, images[part.indices])
    assert np.array_equal(found.labels, labels[part.indices])
    assert np.array_equal(found.factors, part.factors)
    assert found.labels.dtype == np.int64
    other = preparation.originals(None, 2, "val", "report")
    assert np.array_equal(other.factors, plan(labels, 2, "report")["val"].factors)
    with pytest.raises(ValueError, match="unknown split 'all'"):
        preparation.originals(None, 2, "all")


# Equivariance


@pytest.mark.parametrize("name", ["mnist_cnn_28", "mnist_ses_scalar_28", "mnist_ses_vector_28", "mnist_cnn_56"])
def test_the_errors_of_layers_are_those_of_the_definition(name: str) -> None:
    torch.manual_seed(0)
    model: Any = models.build(name).eval()
    large, small = digits(), probes.at_size(digits(), 0.5, centre=14.0)[0]
    by_layer, by_digit = probes.layer_errors(model, large, small, 0.5)
    assert tuple(by_layer) == stored.LAYERS
    with torch.no_grad():
        maps = [model.blocks[0](model.upsample(normalise(x))) for x in (large, small)]
        maps = [torch.relu(m.amax(dim=2) if m.dim() == 5 else m) for m in maps]
        expected = equivariance.relative_error(equivariance.rescale(maps[0], 0.5), maps[1])
        logits = [model(normalise(x)) for x in (large, small)]
        black = normalise(torch.zeros(1, 28, 28, dtype=torch.uint8))  # which lies beyond the frame of an image
        plain, scaled = (normalise(x) for x in (large, small))
        shrunk = equivariance.rescale(plain - black, 0.5) + black
    assert by_layer["input"] == pytest.approx(equivariance.relative_error(shrunk, scaled), rel=1e-4)
    assert by_layer["1"] == pytest.approx(expected, rel=1e-4), "and nothing beyond that of a map"
    torch.testing.assert_close(by_digit, equivariance.relative_errors(*logits).double(), rtol=1e-3, atol=1e-7)
    assert by_layer["logits"] == pytest.approx(by_digit.mean().item())
    same, _ = probes.layer_errors(model, large, large, 1.0)
    assert max(same.values()) < 1e-10
    assert probes.layer_errors(model, large, large, 0.5)[0]["1"] > 2 * by_layer["1"], "the control: nothing was scaled"


def test_a_network_keeps_its_fast_path() -> None:
    model: Any = fast.accelerate(models.build("mnist_cnn_28")).eval()
    engine, images = model.engine, torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[:, 10:18, 12:16] = 200
    probes.layer_errors(model, images, images, 0.7)
    assert model.engine is engine is not None


def test_steerable_filters_are_nearer_to_equivariance_than_plain_ones() -> None:
    torch.manual_seed(0)
    large, small = (probes.at_size(digits(), factor, centre=14.0)[0] for factor in probes.PAIR)
    errors = {}
    for name in ("mnist_cnn_28", "mnist_ses_scalar_28"):
        model: Any = models.build(name).eval()
        errors[name] = probes.layer_errors(model, large, small, probes.PAIR[1] / probes.PAIR[0])[0]["1"]
    assert 2 * errors["mnist_ses_scalar_28"] < errors["mnist_cnn_28"]


# Stored


def test_a_probe_says_what_the_network_reads(probed: dict[Any, dict[str, Any]], kept: Path) -> None:
    assert set(probed) == {CELL, OTHER}
    probe = probed[OTHER]
    model, record = weights.load(kept, OTHER)
    own = digits(seed=OTHER.realization)
    for factor, correct in zip(probes.FACTORS, probe["correct"]):
        split = DeviceSplit(probes.at_size(own, factor)[0], torch.arange(DIGITS) % 10)
        assert decode(correct, DIGITS) == evaluate(model, split).correct.tolist()
    assert probe["trained"] == record["timing"]["finished"]
    assert probe["weights"] == json.loads((kept / f"{OTHER.name}.json").read_text())["sha256"]
    assert probe["factors"] == list(probes.FACTORS)
    assert len(probe["equivariance"]["by_digit"]) == DIGITS
    pair: Any = (probes.at_size(own, factor, centre=14.0)[0] for factor in probes.PAIR)
    by_layer, _ = probes.layer_errors(model, *pair, probes.PAIR[1] / probes.PAIR[0])  # type: ignore[arg-type]
    assert probe["equivariance"]["by_layer"] == pytest.approx(by_layer, rel=1e-4), "about the centre of the grid"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schema": 2}, "a probe is a dictionary of schema 1"),
        ({"digits": 30}, "correct holds 2 bytes, 30 images take 4"),
        ({"factors": [1.0]}, "correct has 14 entries, must have one for each of 1 factors"),
        ({"factors": []}, r"factors cannot be \[\]"),
        ({"ink_outside": [2.0] * 14}, "ink_outside cannot be"),
        ({"test_error_50k": 101}, "test_error_50k cannot be 101"),
        ({"equivariance": {}}, "equivariance.from is missing"),
        ({"cell": {"model": "x"}}, "cell has the keys"),
    ],
)
def test_what_is_no_probe_is_refused(probed: dict[Any, dict[str, Any]], wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said):
        stored.validate({**probed[CELL], **wrong})


def test_a_changed_mean_is_noticed(probed: dict[Any, dict[str, Any]]) -> None:
    probe = json.loads(json.dumps(probed[CELL]))
    probe["equivariance"]["by_layer"]["logits"] *= 1.1
    with pytest.raises(RecordError, match=re.escape("equivariance.by_layer.logits is")):
        stored.validate(probe)


def test_files_that_are_no_probes_are_passed_over(
    probed: dict[Any, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored.path_of(tmp_path, CELL).write_text("{")
    stored.path_of(tmp_path, Control("mnist_cnn_28@n1000", 1.0, 0)).write_text(json.dumps(probed[OTHER]))
    assert set(stored.load_all(tmp_path)) == {OTHER}
    assert caplog.text.count("unusable") == 2
    assert stored.load_all(tmp_path / "none") == {}


def test_networks_of_a_realization_are_probed_together(tmp_path: Path) -> None:
    """Their digits are made once, and are those of their own realization."""
    cells = [Cell(model, 1.0, r) for r in (0, 2) for model in (CELL.model, OTHER.model)]
    for cell in cells:
        (tmp_path / f"{cell.name}.pt").touch()
    assert probes.kept_cells(tmp_path) == cells


# The command


def test_the_command_probes_kept_weights(sesn: Any, kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    words = ("--results", folder, "--digits", "12", "--device", "cpu", "--precision", "float32", "--threads", "1")
    done = sesn("probe", kept, *words)
    assert done.code == 0, done.err
    assert "2 networks probed" in done.out
    assert len(stored.load_all(folder)) == 2
    (kept / f"{CELL.name}.pt").write_bytes(b"x")
    torch.save({}, tmp_path / f"{STL10Cell('wrn_16_8', 0).name}.pt")
    for words, said in (
        ((kept, "--digits", "0"), "digits is 0: it must be an integer, 1 or greater"),
        ((kept, "--digits", "50001"), "digits is 50001"),
        ((kept, "--digits", "12"), "has the SHA-256"),
        ((tmp_path / "none",), "no weights in"),
        ((tmp_path,), "is of STL-10: probes are for MNIST-scale"),
    ):
        done = sesn("probe", *words, "--results", folder, "--device", "cpu")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert said in done.err
