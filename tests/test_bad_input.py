"""One table of what cannot be: each entry is refused with the right kind of error, and the message names the value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from data_prep import DataError, commands, mnist_scale, preparation, realizations, sources, splits, stl10, synthetic
from data_prep.commands import main as data_prep_main
from sesn_lib import equivariance, models, report
from sesn_lib.analysis import effects, published, statistics
from sesn_lib.analysis.statistics import Difference, Sample
from sesn_lib.basis import Basis, hermite_a, hermite_b, make_basis
from sesn_lib.cli import arguments
from sesn_lib.data import augment
from sesn_lib.data import splits as data
from sesn_lib.equivariance import gaussian_images
from sesn_lib.experiments import mnist_scale as experiments
from sesn_lib.experiments import stl10 as stl10_cells
from sesn_lib.experiments.mnist_scale import Settings
from sesn_lib.experiments.stl10 import Recipe, STL10Cell
from sesn_lib.layers import ConvHH, ConvTH
from sesn_lib.models.mnist import MNISTNet, cnn_blocks
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.plotting import layers as plotting_layers
from sesn_lib.plotting import style, tables
from sesn_lib.report import formulas
from sesn_lib.runner import budget

A = [1.0, 1.4, 2.0]
IMAGES = torch.zeros(4, 28, 28, dtype=torch.uint8)
LABELS = torch.zeros(4, dtype=torch.int64)
SPLIT = data.DeviceSplit(IMAGES, LABELS)
COLOURS = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
MAPS = torch.ones(1, 2, 3, 9, 9)
BLOBS = gaussian_images(1, seed=0)
GENERATOR = torch.Generator().manual_seed(0)
DRAWS = augment.Draws.sample(2, GENERATOR, size=8)
SAMPLE = Sample(3, 1.0, 0.5)


def wrn(**options: Any) -> WideResNet:
    return WideResNet(VARIANTS["wrn_16_8"], **options)


Entry = tuple[Callable[[], Any], str]

VALUE_ERRORS: dict[str, list[Entry]] = {
    "bases": [
        (lambda: hermite_a(7.0, A, 3), "kernel size is 7.0: it must be odd and positive"),
        (lambda: hermite_a(7, "123", 3), "scales is '123': it must be a sequence of numbers"),
        (lambda: hermite_a(7, A, 8), "effective_size is 8: it must be at most 7, the kernel size"),
        (lambda: hermite_a(7, A, 3, dtype=torch.int32), "dtype is torch.int32: it must be one of torch.float16"),
        (lambda: hermite_b(7, A, 3, mult="2", max_order=4), "mult is '2': it must be a finite number above 1"),
        (lambda: hermite_b(7, A, 3, mult=2, max_order=1.5), "max_order is 1.5: it must be an integer, 0 or greater"),
        (lambda: hermite_a(9, [0.15, 0.4], 2), "almost vanish (normalised there, they reach"),
        (lambda: make_basis("D", 7, A, 3), "basis kind is 'D': it must be 'A', 'B' or 'DISCO'"),
        (lambda: Basis(torch.full((1, 1, 3, 3), math.nan), [1.0]), "functions holds nan: every value must be finite"),
        (lambda: Basis(torch.zeros(1, 1, 4, 4), [1.0]), "kernel size is 4: it must be odd"),
        (lambda: Basis(torch.zeros(1, 2, 3, 3), [2.0, 1.0]), "scales are [2.0, 1.0]: they must increase"),
        (lambda: Basis(None, [1.0]), "functions is a NoneType: it must be a tensor"),
    ],
    "layers": [
        (lambda: ConvTH(2, 3, 7, 3, A, basis="A", padding=0.5), "padding is 0.5: it must be an integer, 0 or greater"),
        (lambda: ConvTH(2, 3, 7, 3, A, basis="A", bias="no"), "bias is 'no': it must be True or False"),
        (lambda: ConvTH(2**31, 3, 7, 3, A, basis="A"), "in_channels is 2147483648: it must be an integer"),
        (lambda: ConvTH(1, 1, 7, 3, A, basis=make_basis("A", 7, A, 3), mult=2.0), "the basis is made already"),
        (lambda: ConvHH(1, 1, 1, 7, 3, 5.0, basis="A"), "scales is 5.0: it must be a sequence"),
        (lambda: ConvTH(1, 1, 7, 3, A, basis="A")(torch.zeros(1, 1, 6, 9)), "H and W must be at least 7"),
        (lambda: ConvTH(1, 1, 7, 3, A, basis="A")(torch.zeros(1, 1, 0, 9)), "input has shape [1, 1, 0, 9]"),
    ],
    "models": [
        (lambda: models.build("mnist_ses_vector_29"), "unknown model 'mnist_ses_vector_29': did you mean"),
        (lambda: models.build(None), "unknown model None"),
        (lambda: models.build(["wrn_16_8"]), "unknown model ['wrn_16_8']"),
        (lambda: models.build("mnist_cnn_28", num_classes=2.5), "num_classes is 2.5: it must be an integer"),
        (lambda: models.build("mnist_cnn_28", num_classes=True), "num_classes is True"),
        (lambda: models.build("mnist_cnn_28", input_size=56), "input_size is 56: mnist_cnn_28 takes 28 pixels only"),
        (lambda: models.build("wrn_16_8", input_size="96"), "input_size is '96': it must be an integer, 4 or greater"),
        (lambda: models.configuration("wrn_16_8"), "unknown model 'wrn_16_8'"),
        (lambda: MNISTNet(cnn_blocks(upsample=1), upsample=0), "upsample is 0: it must be an integer, 1 or greater"),
        (lambda: wrn(depth=16.0), "depth is 16.0: it must be 6 n + 4"),
        (lambda: wrn(in_channels=0), "in_channels is 0: it must be an integer, 1 or greater"),
        (lambda: wrn(dropout=math.nan), "dropout is nan: it must be a finite number at least 0 and below 1"),
        (lambda: wrn(widening="8"), "widening is '8'"),
        (lambda: models.load_official(models.build("mnist_cnn_28"), {"main.0.bias": 3}), "main.0.bias is 3"),
        (
            lambda: models.load_official(models.build("mnist_cnn_28"), {"x": torch.tensor([math.inf])}),
            "x is a tensor with NaN or infinity",
        ),
    ],
    "data on a device": [
        (
            lambda: data.DeviceSplit(IMAGES.float(), LABELS),
            "images are float32 [4, 28, 28]: they must be uint8 [N, H, W]",
        ),
        (lambda: data.DeviceSplit(None, LABELS), "images are None"),
        (lambda: data.DeviceSplit(IMAGES, LABELS[:2]), "labels are int64 [2]: they must be int64 [4]"),
        (lambda: SPLIT.first(2.0), "count is 2.0: it must be an integer, 1 or greater and at most 4"),
        (lambda: SPLIT.first(0), "count is 0"),
        (
            lambda: data.rescale(IMAGES, torch.tensor([1.0, 0.0, 1.0, 1.0])),
            "a factor is 0.0: it must be a finite number above 0",
        ),
        (lambda: data.rescale(IMAGES, torch.tensor([1.0, 1.0, 1.0, math.nan])), "a factor is nan"),
        (lambda: data.rescale(IMAGES, torch.tensor([-0.5, 1.0, 1.0, 1.0])), "a factor is -0.5"),
        (lambda: data.rescale(IMAGES, torch.ones(3)), "factors are float32 [3] for 4 images"),
        (
            lambda: data.shuffled(SPLIT, GENERATOR, 0.0),
            "extra_scaling is 0.0: it must be a finite number above 0 and at most 1",
        ),
        (lambda: list(data.epoch_batches(SPLIT, 0, GENERATOR)), "batch_size is 0: it must be an integer, 1 or greater"),
        (lambda: augment.augment(COLOURS.float(), DRAWS), "images are float32 [2, 3, 8, 8]"),
        (lambda: augment.augment(COLOURS[:1], DRAWS), "2 draws for 1 images"),
        (lambda: augment.augment(COLOURS, DRAWS, order="none"), "order is 'none': it must be one of authors, report"),
        (lambda: augment.Draws.sample(-1, GENERATOR), "count is -1: it must be an integer, 0 or greater"),
        (lambda: augment.ColourSplit(COLOURS, None), "labels are None"),
        (lambda: augment.ColourSplit([1], LABELS), "images are [1]"),
    ],
    "equivariance": [
        (lambda: equivariance.relative_errors(MAPS, MAPS[:, :1]), "shapes [1, 2, 3, 9, 9] and [1, 1, 3, 9, 9] differ"),
        (lambda: equivariance.relative_errors(MAPS.int(), MAPS.int()), "expected is int32 [1, 2, 3, 9, 9]"),
        (lambda: equivariance.relative_errors(MAPS, None), "actual is None: it must be a floating-point tensor"),
        (lambda: equivariance.relative_errors(0 * MAPS, MAPS), "element 0 of the expected tensor is zero throughout"),
        (lambda: BLOBS.sample(2.5), "size is 2.5: it must be an integer, 1 or greater"),
        (lambda: BLOBS.sample(9, 0), "scale is 0: it must be a finite number above 0"),
        (lambda: gaussian_images(1.5, seed=0), "count is 1.5"),
        (lambda: gaussian_images(1, seed=-1), "seed is -1: it must be an integer, 0 or greater"),
        (lambda: gaussian_images(1, seed=0, radius=math.nan), "radius is nan: it must be a finite number at least 0"),
        (lambda: gaussian_images(1, seed=0, widths=(2, 1)), "widths are (2, 1): they must be positive"),
        (lambda: gaussian_images(1, seed=0, widths=(1, math.inf)), "widths are (1, inf)"),
        (lambda: equivariance.rescale(COLOURS, 2.0), "x is uint8 [2, 3, 8, 8]: it must be"),
        (lambda: equivariance.rescale(MAPS, "2"), "scale is '2': it must be a finite number above 0"),
        (lambda: equivariance.rescale(MAPS, 2.0, method="best"), "method is 'best': it must be one of linear"),
        (lambda: equivariance.shift_scales(MAPS, math.nan), "steps is nan: it must be a finite number"),
        (lambda: equivariance.shift_scales(MAPS, math.inf), "steps is inf"),
        (lambda: equivariance.shift_scales(MAPS[0], 1), "shape is [2, 3, 9, 9]: it must be [B, C, S, H, W]"),
        (lambda: equivariance.scale_steps(2.0, [1.0]), "scales are [1.0]: at least two are needed"),
        (lambda: equivariance.scale_steps(2.0, [1.0, 1.0]), "scales are [1.0, 1.0]: they must increase"),
        (lambda: equivariance.scale_steps(2.0, [-1.0, 1.0]), "every scale must be a positive number"),
        (lambda: equivariance.error(torch.nn.Identity(), BLOBS, 2.0, crop=0.5), "crop is 0.5"),
        (lambda: equivariance.error(torch.nn.Identity(), BLOBS, 2.0, crop=40), "crop is 40: it must be 0 or greater"),
        (lambda: equivariance.error(torch.nn.Identity(), BLOBS, 1.01), "scale is 1.01: only"),
        (lambda: equivariance.error(torch.nn.Identity(), BLOBS, 2.0, steps=1), "has no scale axis: leave out steps=1"),
    ],
    "statistics": [
        (lambda: Sample(0, 1.0, 0.0), "a sample has at least one value, not 0"),
        (lambda: Sample(2.5, 1.0, 0.0), "not 2.5"),
        (lambda: Sample(2, math.nan, 0.0), "mean is nan: it must be a finite number"),
        (lambda: Sample(2, 1.0, -0.1), "a standard deviation is a number and not negative: -0.1"),
        (lambda: Sample.of([1.0, math.inf]), "values must be finite numbers: [1.0, inf]"),
        (lambda: Sample.of(["1"]), "values must be finite numbers: ['1']"),
        (lambda: Difference(1.0).equivalent(0.0), "margin is 0.0: it must be a finite number above 0"),
        (lambda: statistics.contrast([SAMPLE], [1, -1]), "1 samples and 2 weights: there must be one for each"),
        (lambda: statistics.contrast([SAMPLE], [math.nan]), "values must be finite numbers: [nan]"),
        (lambda: statistics.holm([0.1, 1.2]), "p is 1.2: it must lie between 0 and 1"),
        (lambda: statistics.holm([0.1, 0.2], family=1), "a family of 1 cannot hold 2 tests"),
        (lambda: statistics.holm([0.1], family=1.5), "family is 1.5"),
        (lambda: effects.charged(0.5, -1), "looks is -1"),
        (lambda: effects.fitted_mean([], 2.0), "correlation is 2.0"),
        (lambda: statistics.variance_parts([[]]), "groups are [[]]: at least one value is needed"),
        (lambda: statistics.order_p([1.0, 2.0], 2), "cannot split 2 values after 2"),
        (lambda: statistics.order_p([1.0, 2.0], 0.5), "cannot split 2 values after 0.5"),
        (lambda: statistics.detectable_difference(-1.0, 6), "std is -1.0: it must be a finite number at least 0"),
        (lambda: statistics.detectable_difference(1.0, 6, power=80), "power is 80: it must be a finite number above 0"),
    ],
    "settings and recipes": [
        (lambda: Settings(epochs=1.5), "epochs is 1.5: it must be an integer, 1 or greater"),
        (
            lambda: Settings(epochs=10**12),
            "epochs is 1000000000000: it must be an integer, 1 or greater and at most 2147483647",
        ),
        (lambda: Settings(batch_size=1), "batch_size is 1: it must be at least 2"),
        (lambda: Settings(learning_rate=math.inf), "learning_rate is inf: it must be a finite number above 0"),
        (lambda: Settings(gamma="0.1"), "gamma is '0.1'"),
        (lambda: Settings(milestones=(40, 20)), "milestones are (40, 20): they must be increasing"),
        (lambda: Settings(milestones="20"), "milestones is '20': it must be a sequence"),
        (lambda: Settings(extra_scaling=1.5), "extra_scaling is 1.5: it must be a finite number above 0 and at most 1"),
        (lambda: Settings(precision="fp8"), "precision is 'fp8': it must be one of auto, float32, bf16"),
        (lambda: Settings(precision=["bf16"]), "precision is ['bf16']"),
        (lambda: Settings(seed=-1), "seed is -1"),
        (lambda: Recipe(momentum=1.0), "momentum is 1.0: it must be a finite number at least 0 and below 1"),
        (lambda: Recipe(momentum="0.9"), "momentum is '0.9'"),
        (lambda: Recipe(weight_decay=math.inf), "weight_decay is inf"),
        (lambda: Recipe(weight_decay=math.nan), "weight_decay is nan"),
        (lambda: Recipe(milestones=5), "milestones is 5: it must be a sequence of epochs"),
        (lambda: Recipe(selection="best"), "selection is 'best': it must be one of final, validation"),
        (lambda: Recipe(selection="validation"), "but validation_images is 0"),
        (lambda: Recipe(augmentation="mine"), "augmentation is 'mine'"),
        (lambda: Recipe(micro_batch=0), "micro_batch is 0"),
    ],
    "cells and words": [
        (lambda: experiments.Cell("nope", 1.0, 0), "unknown model 'nope'; the models are"),
        (lambda: experiments.Cell("mnist_cnn_28", "1", 0), "extra_scaling must be a number, not '1'"),
        (lambda: experiments.Cell("mnist_cnn_28", 10**400, 0), "extra_scaling must lie in (0, 1], not 1000"),
        (lambda: experiments.Cell("mnist_cnn_28", 1.0, 6), "realization must be one of 0 to 5, not 6"),
        (lambda: experiments.EXPERIMENT.select(models=["nope"]), "the grid has no model 'nope'"),
        (lambda: experiments.EXPERIMENT.select(realizations=[]), "no realization was chosen"),
        (lambda: STL10Cell("wrn_16_8", -1), "run must be a whole number of at least 0, not -1"),
        (lambda: stl10_cells.EXPERIMENT.select(models=[]), "no STL-10 run was chosen"),
        (lambda: arguments.numbers(["1,x"]), "'x' is no number"),
        (lambda: arguments.whole_numbers(["3-1"]), "the range '3-1' is empty"),
        (lambda: arguments.whole_numbers(["0-1000"]), "the range '0-1000' is longer than 1000 numbers"),
        (lambda: budget.parse_duration("9 parsecs"), "'9 parsecs' is no time budget"),
    ],
    "data sets": [
        (lambda: splits.check("mine", 0), "unknown protocol 'mine'; choose one of paper, report"),
        (lambda: splits.check("paper", "0"), "realization '0' is not a whole number"),
        (lambda: splits.plan(np.zeros(9, np.uint8), 0, "paper"), "9 labels given; protocol 'paper' needs 70000"),
        (lambda: mnist_scale.prepare("x", 6), "there is no realization 6; choose 0 to 5"),
        (lambda: mnist_scale.MNISTScale("x", 0, "all"), "unknown split 'all'; choose one of train, val, test"),
        (lambda: commands.selection("paper", "7"), "there is no realization 7; choose 0 to 5, or all"),
        (lambda: stl10.load("x", "extra"), "unknown split 'extra'; choose one of train, test"),
        (lambda: stl10.write("x", "train", np.zeros((1, 3, 9, 9)), np.zeros(1)), "images are float64"),
        (lambda: synthetic.make("x", each=0), "each is 0: it must be at least 1"),
    ],
    "plotting, tables and the report": [
        (lambda: style.show(Figure(), "  "), "alt is empty: every figure needs alternative text"),
        (lambda: style.interactive(lambda n: Figure(), "{n}", n=([1, 2], 3)), "slider n starts at 3: it must be"),
        (lambda: plotting_layers.number_grids([("a", np.eye(2))], symbols=["+"]), "1 symbols for 1 grids"),
        (lambda: tables.publish("../x", pd.DataFrame(), "caption"), "'../x' cannot name a file"),
        (lambda: published.printed(1.0, "up"), "numbers are rounded or cut, not 'up'"),
        (lambda: published.missing_mean([1.0], Sample(1, 1.0, 0.0)), "none of the 1 runs is missing"),
        (lambda: report.build("x", "slow"), "unknown profile 'slow'; the profiles are"),
        (lambda: report.build("x", notebooks=Path(__file__).parent), "there are no notebooks in"),
        (lambda: formulas.mathml(r"\nonsense{x}"), "nonsense"),
    ],
}
TABLE = [(topic, number, *entry) for topic, entries in VALUE_ERRORS.items() for number, entry in enumerate(entries)]


@pytest.mark.parametrize(
    ("refused", "said"), [entry[2:] for entry in TABLE], ids=[f"{topic} {number}" for topic, number, *_ in TABLE]
)
def test_what_cannot_be_is_refused_by_name(
    refused: Callable[[], Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is looked at below)
        refused()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing is half-written"


def test_the_table_is_long_and_its_good_twins_are_accepted() -> None:
    """The control: what differs from an entry only in the wrong value is no error."""
    assert len(TABLE) > 120
    assert len({said for *_, said in TABLE}) > 110
    hermite_a(7, A, 3, dtype=torch.float16)
    ConvTH(2, 3, 7, 3, A, basis="A", padding=0, bias=False)
    SPLIT.first(4)
    data.rescale(IMAGES, torch.full((4,), 0.5))
    equivariance.shift_scales(MAPS, 0.5)
    statistics.holm([0.1, math.nan, 1.0], family=3)
    statistics.detectable_difference(1.0, 6, power=0.8)
    replace(Recipe(), momentum=0.0)
    assert arguments.whole_numbers(["0-999"]) == list(range(1000))
    assert budget.parse_duration("9m") == 540


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing command; see python -m data_prep --help"),
        (["cifar"], "No such command 'cifar'"),
        (["mnist-scale", "--protocol", "mine"], "unknown protocol 'mine'; choose one of paper, report, both"),
        (["mnist-scale", "--realization", "six"], "there is no realization six; choose 0 to 5, or all"),
        (["mnist-scale", "--realization", "-1"], "expected one argument|there is no realization -1"),
        (["mnist-scale", "--fast"], "No such option: --fast"),
        (["mnist-scale", "--source", "absent", "--root", "x"], "source absent is not a folder"),
        (["mnist-scale", "--root", "file"], "cannot make the data folder"),
        (["mnist-scale", "--png", "full", "--root", "x"], "exists already; name a new or an empty folder"),
        (["stl10", "--source", "absent", "--root", "x"], "source absent is not a folder; name the one that holds"),
        (["stl10", "--root", "file"], "cannot make the data folder|file"),
    ],
)
def test_the_other_command_line_says_what_is_wrong(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "from_torchvision", lambda *_: pytest.fail("asked the network"))
    (tmp_path / "file").touch()
    (tmp_path / "full" / "paper-0").mkdir(parents=True)
    (tmp_path / "full" / "paper-0" / "x").touch()
    assert data_prep_main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(said, err)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"cannot read train_X\.bin: no such file"),
        ({"X": b"", "y": b""}, r"train_X\.bin has 0 bytes for the 0 labels"),
        (
            {"X": bytes(27647), "y": b"\1"},
            r"train_X\.bin has 27647 bytes for the 1 labels of train_y\.bin, must be 27648",
        ),
        ({"X": bytes(27648), "y": b"\0"}, r"train_y\.bin holds the label 0, must hold labels from 1"),
    ],
)
def test_pictures_of_another_format_are_refused(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    for part, content in files.items():
        (tmp_path / f"train_{part}.bin").write_bytes(content)
    with pytest.raises(DataError, match=said.replace("train_X", ".*train_X")):
        stl10.read(tmp_path, "train")


@pytest.mark.parametrize(
    ("option", "used"),
    [
        ("--root", [("root", Path("--"))]),
        ("--source", [("source", Path("--"))]),
        ("--png", [("png", Path("--") / f"paper-{number}") for number in range(6)]),
        ("--protocol", "error: unknown protocol '--'; choose one of paper, report, both\n"),
        ("--realization", "error: there is no realization --; choose 0 to 5, or all\n"),
    ],
)
def test_two_dashes_are_no_value(
    option: str,
    used: list[tuple[str, Path]] | str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are a word like any other: the name of a folder, or refused in one line."""
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, Path]] = []

    def prepare_all(root: Path | None, wanted: Any, *, source: Path | None, **_: Any) -> list[Any]:
        asked.extend((name, value) for name, value in [("root", root), ("source", source)] if value is not None)
        return []

    monkeypatch.setattr(preparation, "prepare_all", prepare_all)
    monkeypatch.setattr(preparation, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(realizations, "export_png", lambda _, folder, **__: asked.append(("png", folder)))
    refused = isinstance(used, str)
    assert data_prep_main(["mnist-scale", f"{option}=--"]) == (2 if refused else 0)
    assert asked == ([] if refused else used)
    assert not refused or capsys.readouterr().err == used
