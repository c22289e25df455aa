"""The MNIST-scale networks: reference logits, parameter counts, the authors' checkpoints, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe import recipe, relative
from torch import Tensor, nn

from sesn_lib.layers import set_method
from sesn_lib.models import MNIST_CONFIGURATIONS, build, configuration, load_official, names
from sesn_lib.models.rivals import RIVALS

MNIST = [name for name in names() if name.startswith("mnist_") and name not in RIVALS]
REFERENCE = [
    "mnist_ses_scalar_28",
    "mnist_ses_vector_28p",
    "mnist_ses_scalar_56p",
    "mnist_ses_vector_56",
    "mnist_cnn_28",
]
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


def official(name: str, folder: Path) -> dict[str, Tensor]:
    """A checkpoint in the authors' keys, by recipe, with the bases of our own layers under their names."""
    shapes = json.loads((folder / "models.json").read_text())[name]["state_dict"]
    state = {key: recipe(key, shape) for key, shape in shapes.items() if not key.endswith("basis")}
    bases = [m.functions.clone() for m in build(name).modules() if hasattr(m, "functions")]
    state |= dict(zip([key for key in shapes if key.endswith("basis")], bases, strict=True))
    return state


def images() -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal((4, 1, 28, 28)))


def test_ten_names() -> None:
    assert len(MNIST) == 10
    assert len(set(names())) == len(names())
    assert set(MNIST_CONFIGURATIONS) | {"mnist_cnn_28", "mnist_cnn_56"} == set(MNIST)


@pytest.mark.parametrize("name", MNIST)
def test_parameters_and_shapes(name: str) -> None:
    model = build(name).eval()
    assert sum(p.numel() for p in model.parameters()) == 494_549
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "_56" in name else name for name in REFERENCE]
)
def test_logits_equal_reference(name: str, dtype: torch.dtype, method: str, reference_folder: Path) -> None:
    truth = np.load(reference_folder / "logits.npz")[name]
    model = set_method(load_official(build(name), official(name, reference_folder)), method)
    with torch.no_grad():
        logits = model.to(dtype).eval()(images()[:2].to(dtype))
    assert relative(logits, truth[:2]) < TOLERANCE[dtype]


def test_logits_check_can_fail(reference_folder: Path) -> None:
    """The same weights in a network of another row, or with batch statistics, give other numbers."""
    name = "mnist_ses_scalar_28"
    truth = np.load(reference_folder / "logits.npz")[name]
    state = {k: v for k, v in official(name, reference_folder).items() if not k.endswith("basis")}
    other = load_official(build("mnist_ses_scalar_28p"), state).double().eval()
    assert relative(other(images()), truth) > 1e-2
    training = load_official(build(name), state).double().train()
    assert relative(training(images()), truth) > 1e-2


@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("mnist_ses_scalar_28", (1.7, 2.45, 3.54, 5.1)),
        ("mnist_ses_scalar_28p", (1.5, 2.16, 3.12, 4.5)),
        ("mnist_ses_vector_28", (1.5, 2.6, 4.5)),
        ("mnist_ses_scalar_56", (2.0, 2.83, 4.0)),
        ("mnist_ses_scalar_56p", (1.0, 1.73, 3.0)),
        ("mnist_ses_vector_56", (2.0, 2.52, 3.17, 4.0)),
        ("mnist_ses_vector_56p", (1.5, 1.89, 2.38, 3.0)),
    ],
)
def test_scales_are_rounded_to_two_decimals(name: str, scales: tuple[float, ...]) -> None:
    assert configuration(name).scales == scales


def test_the_table_of_networks_is_the_authors() -> None:
    """Largest over smallest scale, ratio of widths, filter size, upsampling: half of them have no reference logits."""
    table = {
        name.removeprefix("mnist_ses_"): (row.factor, row.mult, row.size, row.upsample, row.num_scales, row.min_scale)
        for name, row in MNIST_CONFIGURATIONS.items()
    }
    assert table == {
        "scalar_28": (3.0, 1.5, 15, 1, 4, 1.7),
        "scalar_28p": (3.0, 1.4, 13, 1, 4, 1.5),
        "vector_28": (3.0, 1.5, 13, 1, 3, 1.5),
        "vector_28p": (3.0, 1.4, 15, 1, 3, 1.5),
        "scalar_56": (2.0, 1.4, 15, 2, 3, 2.0),
        "scalar_56p": (3.0, 1.4, 17, 2, 3, 1.0),
        "vector_56": (2.0, 1.5, 15, 2, 4, 2.0),
        "vector_56p": (2.0, 1.4, 13, 2, 4, 1.5),
    }
    for name, row in MNIST_CONFIGURATIONS.items():
        first = build(name).blocks[0]
        assert (first.basis.size, first.basis.num_scales, first.padding) == (row.size, row.num_scales, row.size // 2)
        assert ("vector" in name) == (row.kind == "vector")


def test_seed_decides_the_weights() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return build("mnist_ses_vector_28").state_dict()["blocks.0.weight"]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_every_parameter_gets_a_gradient() -> None:
    for name in ("mnist_ses_scalar_28", "mnist_ses_vector_28", "mnist_cnn_28"):
        model = build(name)
        model(images().float()).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", MNIST)
def test_dropout_and_normalisation_are_the_authors(name: str) -> None:
    """Seven units of ten are dropped before the last layer; norms follow a tenth of each batch (torch's defaults)."""
    modules = list(build(name).modules())
    assert [m.p for m in modules if isinstance(m, nn.Dropout)] == [0.7]
    norms = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [(m.num_features, m.momentum, m.eps) for m in norms] == [(n, 0.1, 1e-5) for n in (32, 63, 95, 256)]


def test_num_classes() -> None:
    assert build("mnist_cnn_28", num_classes=3).eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 3)
    assert build("mnist_ses_vector_28", num_classes=4).eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 4)


# --- the authors' checkpoints -----------------------------------------------------------------------------------------


def test_old_checkpoints_without_counters_load_and_ours_with_them(reference_folder: Path) -> None:
    state = official("mnist_cnn_28", reference_folder)
    with_counters = state | {f"main.{i}.num_batches_tracked": torch.tensor(7) for i in (3, 7, 11)}
    with_counters["linear.1.num_batches_tracked"] = torch.tensor(7)
    model = load_official(build("mnist_cnn_28"), with_counters)
    assert int(model.state_dict()["blocks.3.num_batches_tracked"]) == 7
    load_official(build("mnist_cnn_28"), state)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_checkpoint_of_a_diverged_run_is_refused(reference_folder: Path, value: float) -> None:
    state = official("mnist_cnn_28", reference_folder)
    state["main.0.bias"] = torch.full_like(state["main.0.bias"], value)
    with pytest.raises(ValueError, match=r"main\.0\.bias is a tensor with NaN or infinity"):
        load_official(build("mnist_cnn_28"), state)


def _drop(state: dict[str, Tensor]) -> None:
    del state["main.0.bias"]


def _add(state: dict[str, Tensor]) -> None:
    state["main.99.weight"] = torch.zeros(1)


def _reshape(state: dict[str, Tensor]) -> None:
    state["main.4.weight"] = torch.zeros(63, 32, 1, 48)


def _transpose(state: dict[str, Tensor]) -> None:
    state["linear.0.weight"] = state["linear.0.weight"].T


def _scale_basis(state: dict[str, Tensor]) -> None:
    state["main.4.basis"] = state["main.4.basis"] * 1.001


def _swap_basis(state: dict[str, Tensor]) -> None:
    state["main.0.basis"] = state["main.0.basis"].transpose(2, 3).contiguous()


def _shape_basis(state: dict[str, Tensor]) -> None:
    state["main.8.basis"] = torch.zeros(49, 3, 13, 13)


def _stray_basis(state: dict[str, Tensor]) -> None:
    state["main.1.basis"] = state["main.0.basis"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop, r"missing \['main.0.bias'\], left over none"),
        (_add, r"missing none, left over \['main.99.weight'\]"),
        (_reshape, r"main.4.weight has shape \[63, 32, 1, 48\]"),
        (_transpose, r"linear.0.weight has shape \[380, 256\]"),
        (_scale_basis, "main.4.basis deviates by"),
        (_swap_basis, "main.0.basis deviates by"),
        (_shape_basis, "main.8.basis of shape .* is not the basis"),
        (_stray_basis, "main.1.basis .* is not the basis"),
    ],
)
def test_load_official_is_strict(spoil, message: str, reference_folder: Path) -> None:
    state = official("mnist_ses_vector_28p", reference_folder)
    model = build("mnist_ses_vector_28p")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        load_official(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_checkpoints_of_another_model_are_refused(reference_folder: Path) -> None:
    state = official("mnist_ses_vector_28p", reference_folder)
    for other in ("mnist_ses_vector_28", "mnist_ses_vector_56", "mnist_ses_scalar_28", "mnist_cnn_28"):
        with pytest.raises(ValueError, match=r"deviates|is not the basis|does not fit"):
            load_official(build(other), state)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown model 'mnist_ses_vectr_28': did you mean 'mnist_ses_vector_28'\?"
    ) as error:
        build("mnist_ses_vectr_28")
    assert all(name in str(error.value) for name in names())
    with pytest.raises(ValueError, match="unknown model ''"):
        build("")
    with pytest.raises(ValueError, match="unknown model 'mnist_cnn_28'"):
        configuration("mnist_cnn_28")


@pytest.mark.parametrize("classes", [0, -1])
@pytest.mark.parametrize("name", ["mnist_cnn_28", "mnist_ses_scalar_28"])
def test_num_classes_is_checked(name: str, classes: int) -> None:
    with pytest.raises(ValueError, match=f"num_classes is {classes}"):
        build(name, num_classes=classes)


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 3, 28, 28), (2, 1, 56, 56), (2, 1, 28, 27)])
def test_inputs_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    model: nn.Module = build("mnist_cnn_28")
    with pytest.raises(ValueError, match=r"the network needs \[B, 1, 28, 28\]") as error:
        model(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)
