"""CONTRIBUTING's "Extend it": a new model, a new basis, a new data set, each in little."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sesn_lib import models
from sesn_lib.basis import Basis
from sesn_lib.data import splits
from sesn_lib.equivariance import relative_error
from sesn_lib.experiments import mnist_scale
from sesn_lib.layers import ConvHH, ConvTH
from sesn_lib.models import zoo
from sesn_lib.models.rivals import RIVALS, Rival


def blocks(*, upsample: int) -> nn.Sequential:
    """One plain convolution, and a pool that leaves 4 x 4 numbers of 95 channels, as the classifier wants."""
    return nn.Sequential(nn.Conv2d(1, 95, 7), nn.ReLU(), nn.AdaptiveMaxPool2d(2))


def test_a_model_is_a_row_of_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown model 'mnist_toy_28'"):
        models.build("mnist_toy_28")
    monkeypatch.setattr(zoo, "RIVALS", {**RIVALS, "mnist_toy_28": Rival(blocks)})
    network = models.build("mnist_toy_28").eval()
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert "mnist_toy_28" in models.names()


def test_a_model_is_trained_once_a_part_of_the_grid_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"PART_MODELS of .*mnist_scale\.py.*zoo\.py"):
        mnist_scale.Cell("mnist_toy_28", 1.0, 0)
    monkeypatch.setattr(mnist_scale, "ALL_MODELS", (*mnist_scale.ALL_MODELS, "mnist_toy_28"))
    assert mnist_scale.Cell("mnist_toy_28", 1.0, 0).name == "mnist_toy_28-x1.0-r0"


def test_a_basis_is_any_tensor_of_functions() -> None:
    """Means over squares that double: a layer of one weight; on a white image it answers with that weight."""
    functions = torch.zeros(1, 2, 7, 7, dtype=torch.float64)
    functions[0, 0, 2:5, 2:5] = 1 / 9
    functions[0, 1] = 1 / 49
    basis = Basis(functions, (1.0, 2.0))
    lift = ConvTH(1, 1, 7, 1, (1.0, 2.0), basis=basis, bias=False).double()
    then = ConvHH(1, 1, 1, 7, 1, (1.0, 2.0), basis=basis, bias=False).double()
    white = torch.ones(1, 1, 20, 20, dtype=torch.float64)
    answer = then(lift(white))
    expected = (lift.weight * then.weight.squeeze()).expand_as(answer)
    assert relative_error(expected, answer) < 1e-24


def test_a_data_set_is_images_and_labels() -> None:
    arrays = SimpleNamespace(images=np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3), labels=np.array([1, 0]))
    split = splits.to_device(arrays, "cpu")
    assert len(split) == 2
    assert splits.normalise(split.images).shape == (2, 1, 3, 3)
