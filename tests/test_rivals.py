"""The rivals as whole networks: the authors' logits, their checkpoints, what is counted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe import recipe, relative
from torch import Tensor, nn

from sesn_lib.fast import accelerate
from sesn_lib.models import build, load_official, names
from sesn_lib.models.rivals import RIVALS, sevf

# Entries that are not drawn: the bases of filters, blurs, and batch counters.
CONSTANTS = ("num_batches_tracked", "filter_real", "filter_imag", "kernelx_0", "kernely_0")
REFERENCE = [*sorted(name for name in RIVALS if name.endswith("_28")), "mnist_sevf_vector_56"]


@pytest.fixture(scope="module")
def rows(reference_folder: Path) -> dict[str, dict]:
    return json.loads((reference_folder / "rivals_models.json").read_text())


def drawn(row: dict) -> dict[str, Tensor]:
    """A checkpoint in the authors' keys, by recipe, without constants."""
    return {key: recipe(key, shape) for key, shape in row["state_dict"].items() if not key.endswith(CONSTANTS)}


def constants_of(name: str) -> dict[str, Tensor]:
    """The constants of our own network by the authors' keys, in float32 as theirs are."""
    model = build(name)
    prefix = "1." if name.endswith("_56") else ""
    found = {}
    for path, module in model.named_modules():
        for suffix, value in getattr(module, "constants", {}).items():
            index = int(path.split(".")[1])
            layer = f"conv{index // 3 + 1}.steer_conv" if "_ss_" in name else f"main.{index}"
            found[f"{prefix}{layer}.{suffix}"] = value.float()
    return found


def without_dropout(model: nn.Module) -> nn.Module:
    model.classifier[3].p = 0.0
    return model


def test_fourteen_networks_in_two_sizes() -> None:
    methods = ("xu", "kanazawa", "sevf_scalar", "sevf_vector", "dss_scalar", "dss_vector", "ss")
    assert list(RIVALS) == [f"mnist_{method}_{size}" for method in methods for size in (28, 56)]
    assert set(RIVALS) <= set(names())


@pytest.mark.parametrize("name", RIVALS)
def test_counts_and_entries_are_the_authors(name: str, rows: dict[str, dict]) -> None:
    model = build(name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert (trained, frozen) == (rows[name]["parameters"], rows[name]["frozen"])
    state = drawn(rows[name])
    expected = {key: tuple(shape) for key, shape in rows[name]["state_dict"].items() if key not in state}
    expected = {key: shape for key, shape in expected.items() if not key.endswith("num_batches_tracked")}
    assert {key: tuple(value.shape) for key, value in constants_of(name).items()} == expected
    load_official(build(name), state)
    load_official(build(name), state | constants_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", ".train"], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", REFERENCE)
def test_logits_equal_the_authors(name: str, mode: str, rows: dict[str, dict], reference_folder: Path) -> None:
    truth = np.load(reference_folder / "rivals_logits.npz")[name + mode]
    model = without_dropout(load_official(build(name), drawn(rows[name])).double().train(bool(mode)))
    images = torch.from_numpy(np.random.RandomState(0).standard_normal((4, 1, 28, 28)))
    if not mode:  # each image by itself: two are enough
        images, truth = images[:2], truth[:2]
    with torch.no_grad():
        assert relative(model(images), truth) < (1e-4 if rows[name]["computed_in"] == "float32" else 1e-6)


def test_logits_of_another_mode_differ(rows: dict[str, dict], reference_folder: Path) -> None:
    # Control of the tolerances: batch statistics in place of the stored ones.
    truth = np.load(reference_folder / "rivals_logits.npz")
    apart = {name: relative(torch.from_numpy(truth[name]), truth[name + ".train"]) for name in REFERENCE}
    assert len(apart) == 8
    assert min(apart.values()) > 1e-2, apart


@pytest.mark.parametrize("name", ["mnist_ss_28", "mnist_dss_scalar_28", "mnist_sevf_vector_28"])
def test_constants_survive_a_change_of_type(name: str) -> None:
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = build(name).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(weight.bfloat16())  # so that the way through bf16 costs the trained numbers nothing
        for buffer in model.buffers():
            buffer.copy_(buffer.bfloat16())
        model.float()
        truth = model(images)
        assert torch.equal(model.bfloat16().float()(images), truth)
        exact = model.double()(images.double())
    assert 0 < relative(truth, exact) < 1e-5


def test_a_rounded_checkpoint_does_not_round_the_filters_that_are_not_trained() -> None:
    exact = build("mnist_ss_28").state_dict()
    filters = {name for name in exact if name.endswith(("filter_real", "filter_imag"))}
    model = build("mnist_ss_28")
    model.load_state_dict({name: value.bfloat16().to(value.dtype) for name, value in exact.items()})
    assert len(filters) == 6
    assert {
        name for name, value in model.state_dict().items() if name in filters and value.equal(exact[name])
    } == filters
    assert not exact[min(filters)].bfloat16().float().equal(exact[min(filters)]), "the control: rounding changes them"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in RIVALS if name.endswith("_28")])
def test_a_trace_computes_what_the_network_does(few_channels: None, name: str) -> None:
    network, images = build(name).eval(), torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        trace = torch.jit.trace(network, images[:1], check_trace=False)  # which runs both again, on the same image
        torch.testing.assert_close(trace(images), network(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in RIVALS if name.endswith("_28")])
def test_gradients_are_finite_where_images_are_black(few_channels: None, name: str) -> None:
    """Zeros all over an image: vectors of length 0, equal answers at all scales."""
    torch.manual_seed(0)
    model = build(name)
    images = torch.zeros(4, 1, 28, 28)
    images[1, 0, 12:16, 12:16] = 1
    model(images).square().sum().backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    unused = {key for key, p in model.named_parameters() if p.requires_grad} - set(gradients)
    last = [key.rsplit(".", 1)[1] for key in unused]
    if "_ss_" in name:
        assert sorted(last) == ["bias", "const_real", "const_real", "const_real", "weight"]
    else:
        assert last == (["weight", "weight"] if "sevf_vector" in name else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RIVALS if name.endswith("_28")])
def test_bf16_costs_the_fast_form_no_more_than_the_literal_one(few_channels: None, name: str) -> None:
    torch.manual_seed(0)
    model, exact = build(name).eval(), build(name).double().eval()
    exact.load_state_dict(model.state_dict())
    images = torch.randn(8, 1, 28, 28)
    with torch.inference_mode():
        truth = accelerate(exact)(images.double())
        with torch.autocast("cpu", torch.bfloat16):
            literal = relative(model(images), truth)
            fast = relative(accelerate(model)(images), truth)
        assert relative(model(images), truth) < 1e-4
    assert fast < max(0.05, 3 * literal)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "close"), [("mnist_kanzawa_28", "mnist_kanazawa_28"), ("mnist_xu_64", "mnist_xu_56"), ("mnist_dss_28", "")]
)
def test_unknown_methods_and_sizes(name: str, close: str) -> None:
    with pytest.raises(ValueError, match=f"unknown model '{name}': did you mean '{close}") as error:
        build(name)
    assert all(known in str(error.value) for known in RIVALS)
    assert "\n" not in str(error.value)


def test_images_of_another_size() -> None:
    with pytest.raises(ValueError, match="input_size is 56: mnist_xu_56 takes 28 pixels only"):
        build("mnist_xu_56", input_size=56)
    with pytest.raises(ValueError, match=r"input has shape \[2, 1, 56, 56\]: the network needs \[B, 1, 28, 28\]"):
        build("mnist_ss_56")(torch.zeros(2, 1, 56, 56))
    with pytest.raises(ValueError, match="num_classes is 0"):
        build("mnist_dss_vector_28", num_classes=0)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("mnist_dss_scalar_28", "mnist_dss_vector_28"),
        ("mnist_xu_28", "mnist_kanazawa_28"),
        ("mnist_sevf_scalar_28", "mnist_sevf_vector_28"),
        ("mnist_ss_28", "mnist_sevf_scalar_28"),
        ("mnist_ss_28", "mnist_ss_56"),
        ("mnist_cnn_28", "mnist_xu_28"),
    ],
)
def test_checkpoints_of_another_method(name: str, other: str, rows: dict[str, dict]) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="checkpoint does not fit the model: missing") as error:
        load_official(model, drawn(rows[other]))
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "suffix"), [("mnist_ss_28", "filter_real"), ("mnist_dss_scalar_28", "kernelx_0")])
def test_constants_that_are_not_the_models(name: str, suffix: str, rows: dict[str, dict]) -> None:
    state = drawn(rows[name]) | constants_of(name)
    key = next(key for key in state if key.endswith(suffix))
    with pytest.raises(ValueError, match=f"{key} deviates by .* from the model's constant: at most 1e-5 is expected"):
        load_official(build(name), state | {key: 1.001 * state[key]})
    with pytest.raises(ValueError, match=rf"{key} of shape \[3\] is not the constant of this model"):
        load_official(build(name), state | {key: torch.zeros(3)})


def test_statistics_of_vectors_are_in_more_than_bf16() -> None:
    torch.manual_seed(0)
    model = accelerate(build("mnist_sevf_vector_28")).train()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 1, 28, 28))
    norm = next(module for module in model.modules() if isinstance(module, sevf.VectorBatchNorm))
    vectors = 2 * 14 * 14  # of a channel, in two images
    # It went halfway from 1 to the unbiased variance.
    variance = (2 * norm.running_var.double() - 1) * (vectors - 1) / vectors
    assert ((variance - variance.bfloat16()) / variance).abs().mean() > 1e-4


def test_what_does_not_fit_is_told_by_the_network_that_comes_nearest() -> None:
    model = build("mnist_kanazawa_28")
    model.blocks[1] = nn.Tanh()
    with pytest.raises(ValueError, match=r"^blocks\.1 is a Tanh: the fast path knows a ReLU there$"):
        accelerate(model)
