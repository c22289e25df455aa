"""Bases, blurs and tables are right wherever a module is taken: other types, devices, copies, files, contexts."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe import relative
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, vmap

from sesn_lib.basis import Basis, hermite_a, make_basis
from sesn_lib.basis.constants import Constant
from sesn_lib.data import augment
from sesn_lib.layers import ConvHH, ConvTH, set_method
from sesn_lib.models import build, names
from sesn_lib.models.rivals import dss, sevf, ss

SCALES = [1.0, 1.5]
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ConvTH": (lambda: ConvTH(2, 3, 7, 3, SCALES, basis="A", padding=3), (2, 2, 9, 9)),
    "ConvTH B": (lambda: ConvTH(2, 3, 7, 3, SCALES, mult=1.4, max_order=2, padding=3), (2, 2, 9, 9)),
    "ConvHH": (lambda: ConvHH(2, 3, 2, 7, 3, SCALES, basis="A", padding=3), (2, 2, 2, 9, 9)),
    "ScaleSpaceLift": (lambda: dss.ScaleSpaceLift(2), (2, 2, 9, 9)),
    "ScaleSteerableConv": (lambda: ss.ScaleSteerableConv(2, 3, (5, 7)), (2, 2, 9, 9)),
    "VectorLift": (lambda: sevf.VectorLift(2, 3), (2, 2, 9, 9)),
    "VectorConv": (lambda: sevf.VectorConv(2, 3), (2, 2, 2, 9, 9)),
}


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def assigned(module: nn.Module) -> nn.Module:
    """Values that replace those of a module without any, as large networks are loaded."""
    empty = copy.deepcopy(module).to("meta")
    empty.load_state_dict({k: v.clone() for k, v in module.state_dict().items()}, assign=True)
    return empty


def reloaded(module: nn.Module) -> nn.Module:
    """From a state dict that went through bf16, and the trained numbers put back."""
    state = {k: v.clone() for k, v in module.state_dict().items()}
    module.load_state_dict({k: v.bfloat16() for k, v in state.items()})
    with torch.no_grad():
        for name, parameter in trained(module):
            parameter.copy_(state[name])
    return module


def emptied(module: nn.Module) -> nn.Module:
    state = {k: v.clone() for k, v in module.state_dict().items()}
    module.to_empty(device="cpu").load_state_dict(state)
    return module


def evaluated(module: nn.Module) -> nn.Module:
    """Constants asked for first where nothing may be differentiated later."""
    x = torch.zeros(1)
    with torch.inference_mode():
        for part in module.modules():
            if isinstance(part, Basis):
                part.constant.like(x)
    return module


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "bfloat16": lambda m: through(m, torch.bfloat16),
    "half": lambda m: through(m, torch.float16),
    "double": lambda m: m.double().float(),
    "meta": lambda m: assigned(m),
    "to_empty": emptied,
    "deepcopy": copy.deepcopy,
    "torch.save": saved,
    "load_state_dict of bf16": reloaded,
    "inference_mode": evaluated,
    "eval and train": lambda m: m.eval().train(),
    "requires_grad_": lambda m: m.requires_grad_(False),
    "share_memory": lambda m: m.share_memory(),
}


def through(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """To a narrower type and back; the trained numbers are put back, since they are rounded."""
    state = {k: v.clone() for k, v in module.state_dict().items() if k in dict(trained(module))}
    module.to(dtype).float().load_state_dict(state, strict=False)
    return module


def trained(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(k, p) for k, p in module.named_parameters() if not k.startswith("filter_")]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LAYERS)
@given(way=st.lists(st.sampled_from(sorted(WAYS)), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
def test_no_journey_changes_a_layer(name: str, way: list[str]) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = make(), numbers(*shape).float()
    with torch.no_grad():
        truth = layer(x)
        for step in way:
            layer = WAYS[step](layer)
        assert torch.equal(layer(x), truth), way
        exact = layer.double()(x.double())
    assert relative(truth, exact) < 1e-5


def test_float64_layers_have_float64_bases() -> None:
    layer = ConvTH(1, 2, 7, 3, SCALES, basis="A").double()
    exact = hermite_a(7, SCALES, 3, dtype=torch.float64)
    assert torch.equal(layer.basis.functions, exact)
    weight = numbers(4, 9)
    assert torch.equal(layer.basis(weight), (weight @ exact.flatten(1)).view(4, 2, 7, 7))
    rounded = exact.float().double()
    assert not torch.equal(layer.basis(weight), (weight @ rounded.flatten(1)).view(4, 2, 7, 7))  # control


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_basis_follows_the_weights_that_are_assigned(dtype: torch.dtype) -> None:
    layer = ConvTH(1, 2, 7, 3, SCALES, basis="A")
    state = {key: value.to(dtype) for key, value in layer.state_dict().items()}
    empty = layer.to("meta")
    assert empty.basis.functions.is_meta
    empty.load_state_dict(state, assign=True)
    assert torch.equal(empty.basis.functions, hermite_a(7, SCALES, 3, dtype=dtype))
    assert empty.basis.functions.dtype == dtype


def test_what_is_handed_out_is_the_caller_s_to_change() -> None:
    constant = Constant(torch.tensor([1.0, 2.0]))
    constant.exact.zero_()
    assert constant.exact.tolist() == [1.0, 2.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_ses_vector_28", "mnist_dss_vector_28", "mnist_ss_28", "wrn_16_8_ses_c"])
def test_models_made_on_meta_and_filled_later(name: str) -> None:
    torch.manual_seed(0)
    size = {"input_size": 16} if name.startswith("wrn") else {}
    truth = build(name, **size).eval()
    with torch.device("meta"):
        model = build(name, **size).eval()
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"meta"}
    assert {m.functions.device.type for m in model.modules() if isinstance(m, Basis)} <= {"meta"}
    x = numbers(2, *((3, 16, 16) if size else (1, 28, 28))).float()
    assert model(x.to("meta")).is_meta
    model.to_empty(device="cpu").load_state_dict(truth.state_dict())
    with torch.no_grad():
        assert torch.equal(model(x), truth(x))


def test_every_network_can_be_copied_and_pickled() -> None:
    tried = []
    with torch.device("meta"):
        for name in names():
            model = build(name)
            assert list(copy.deepcopy(model).state_dict()) == list(model.state_dict())
            file = io.BytesIO()
            torch.save(model, file)
            again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
            assert {key: value.shape for key, value in again.state_dict().items()} == {
                key: value.shape for key, value in model.state_dict().items()
            }
            tried.append((name, len(list(model.parameters()))))
    assert len(tried) >= 26, "six of SESN, two of CNN, fourteen rivals, four of STL-10"
    assert min(count for _, count in tried) > 10


@pytest.mark.parametrize("name", LAYERS)
def test_default_type_and_default_device(name: str) -> None:
    make, shape = LAYERS[name]
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        layer = make()
        x = torch.randn(*shape)
        out = layer(x)
        assert out.dtype == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(layer(x), out)
    with torch.device("meta"):
        wherever = copy.deepcopy(layer)(x)  # a default device does not catch what comes from elsewhere
    assert torch.equal(wherever, out)


def test_parameters_from_elsewhere() -> None:
    """Functional calls: other types, and several networks at once."""
    layer = ConvTH(1, 2, 7, 3, SCALES, basis="A").eval()
    x, own = numbers(2, 1, 9, 9).float(), dict(layer.named_parameters())
    wide = functional_call(layer, {k: v.double() for k, v in own.items()}, (x.double(),))
    assert relative(layer(x), wide) < 1e-6
    stacked = {k: torch.stack([v, 2 * v]) for k, v in own.items()}
    both = vmap(lambda parameters: functional_call(layer, parameters, (x,)))(stacked)
    assert torch.allclose(both[1], 2 * both[0], atol=1e-6)
    assert torch.allclose(layer(x), both[0], atol=1e-6)


def test_tensors_without_values_leave_nothing_behind() -> None:
    layer = ConvTH(1, 2, 7, 3, SCALES, basis="A")
    x = numbers(2, 1, 9, 9).float()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer(mode.from_tensor(x))
        inside = ConvTH(1, 2, 7, 3, SCALES, basis="A")
    assert type(layer(x)) is Tensor
    assert np.isfinite(inside.basis.constant.values).all()
    assert np.array_equal(inside.basis.constant.values, layer.basis.constant.values)


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True])
def test_compiled_and_exported(warm: bool) -> None:
    layer = ConvHH(1, 2, 2, 7, 3, SCALES, basis="A", padding=3)
    x = numbers(2, 1, 2, 9, 9).float()
    if warm:
        layer(x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    exported = torch.export.export(layer, (x,)).module()(x)
    torch.testing.assert_close(compiled, layer(x))
    torch.testing.assert_close(exported, layer(x))


def test_what_is_shown_of_a_basis_is_a_copy() -> None:
    layer = ConvTH(1, 2, 7, 3, SCALES, basis="A")
    x = numbers(1, 1, 9, 9).float()
    before = layer(x)
    layer.basis.functions.zero_()
    assert torch.equal(layer(x), before)
    layer.basis.functions = 2 * layer.basis.functions
    assert torch.allclose(layer(x), 2 * before, atol=1e-6)


def test_both_methods_agree_in_every_type() -> None:
    layer = ConvHH(2, 3, 2, 7, 3, SCALES, basis="A", padding=3)
    x = numbers(2, 2, 2, 9, 9)
    for dtype, least in ((torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        layer.to(dtype)
        with torch.no_grad():
            a, b = (set_method(layer, method)(x.to(dtype)) for method in ("literal", "supports"))
        assert relative(a.double(), b.double()) < least


def test_normalisation_of_colours_does_not_follow_the_default_type() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    before = augment.normalise(images)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(augment.normalise(images), before)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("make", [lambda t: Constant(t), lambda t: Basis(t, SCALES)])
def test_no_constant_without_values(make: Callable[[Tensor], object]) -> None:
    functions = make_basis("A", 7, SCALES, 3).functions
    make(functions)
    with pytest.raises(ValueError, match=r"a tensor \[9, 2, 7, 7\] without values is no constant"):
        make(functions.to("meta"))
