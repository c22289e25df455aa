"""Any arguments at all: a basis or layer that keeps its promises, or one line that quotes what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe import relative
from torch import Tensor, nn

from sesn_lib.basis import Basis, hermite_a, hermite_b
from sesn_lib.layers import ConvHH, ConvHH1x1, ConvTH, ScaleMaxProjection, set_method

CHEAP = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
TOLERANCE = {torch.float64: 1e-18, torch.float32: 1e-6, torch.bfloat16: 0.1, torch.float16: 1e-2}

NO_COUNT = [0, -1, -7, 2.5, 3.0, "3", "", None, True, False, math.nan, math.inf, [2], (1, 1), 2j, 2**31, 10**400, b"2"]
NO_PADDING = [-1, -3, 0.5, 2.0, "same", None, True, math.nan, [1], (1, 1), 10**30]
NO_SIZE = [0, -1, -3, 2, 4, 8, 7.0, 2.5, "7", None, True, math.nan, math.inf, [7], np.float64(5)]
NO_SCALES = [
    *([], (), None, 1.0, 3, "12", "", b"\1\2", {1.0: 2.0}.keys(), {1.0, 2.0}, iter([1.0]), [[1.0, 2.0]], [None]),
    *([2.0, 1.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, math.nan], [math.inf], [1.0, -math.inf], ["1", "2"]),
    *([True], [1.0, 10**400], [1j], np.array([2.0, 1.0]), np.array([[1.0]]), torch.tensor([1.0, 1.0]), np.array(1.0)),
]
NO_MULT = [1.0, 1, 0.5, 0, -2.0, math.nan, math.inf, -math.inf, "1.4", True, [1.4], 10**400, 1j]
NO_ORDER = [-1, 4.0, 0.5, "4", True, math.nan, [4], 2**31]
NO_FLAG = [0, 1, "yes", "", None, 1.0, [True]]
NO_DTYPE = [torch.int64, torch.uint8, torch.bool, torch.complex64, "float32", None, 32, float]
NO_METHOD = ["quick", "", None, 1, "Literal", ["literal"]]
NO_KIND = ["a", "C", "", "AB", None, 1, ["A"], b"A"]

counts = st.integers(1, 3) | st.just(np.int64(2))
scales = st.lists(st.floats(0.3, 6.0), min_size=1, max_size=4, unique=True).map(sorted) | st.sampled_from(
    [(1, 2), np.array([0.9, 1.3]), torch.tensor([1.0, 1.5, 2.5]), [1e-9, 1.0], [1e-200], [1e200], [5e-324, 1.0]]
)
tame_scales = st.lists(st.floats(1.0, 4.0), min_size=1, max_size=4, unique=True).map(sorted)
tame = {"scales": (tame_scales, NO_SCALES), "kernel_size": (st.sampled_from([5, 7, 9]), NO_SIZE)}
sizes = st.sampled_from([1, 3, 5, 7, 9, np.int64(5)])
mults = st.floats(1.01, 4.0) | st.sampled_from([2, 1e300, 1.0000001, np.float32(1.5)])
tame_b = {"mult": (st.floats(1.2, 1.8), [None, *NO_MULT]), "max_order": (st.integers(0, 3), NO_ORDER)}
orders = st.integers(0, 5) | st.sampled_from([40, 2**31 - 1])
floats = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])


@st.composite
def arguments(draw: st.DrawFn, **options: tuple[st.SearchStrategy[Any], list[Any]]) -> tuple[dict[str, Any], set[str]]:
    """(values by name, names of the wrong ones): each value is right, or, one time in thirty, drawn from a list."""
    values, wrong = {}, set()
    for name, (right, bad) in options.items():
        if bad and draw(st.integers(0, 29)) == 17:
            values[name] = draw(st.sampled_from(bad))
            wrong.add(name)
        else:
            values[name] = draw(right)
    return values, wrong


BASIS = {
    "size": (sizes, NO_SIZE),
    "scales": (scales, NO_SCALES),
    "effective_size": (st.integers(1, 4), NO_COUNT),
    "dtype": (floats, NO_DTYPE),
}
LAYER = {
    "in_channels": (counts, NO_COUNT),
    "out_channels": (counts, NO_COUNT),
    "kernel_size": (sizes, NO_SIZE),
    "effective_size": (st.integers(1, 4), NO_COUNT),
    "scales": (scales, NO_SCALES),
    "stride": (counts, NO_COUNT),
    "padding": (st.integers(0, 6), NO_PADDING),
    "bias": (st.booleans(), NO_FLAG),
    "method": (st.sampled_from(["supports", "literal"]), NO_METHOD),
}


def quotes(message: str, values: dict[str, Any]) -> bool:
    """Whether the message is one line and quotes the value of one of the arguments, or says that it is empty."""
    if "\n" in message:
        return False
    for name, value in values.items():
        value = value.tolist() if hasattr(value, "tolist") else value
        listed = f"{list(value)}" if isinstance(value, list | tuple) and value else ""
        too_long = isinstance(value, int) and value > 10**100 and f"{value!r:.100}" in message
        empty = name == "scales" and not isinstance(value, str) and str(value) in ("[]", "()") and "empty" in message
        if empty or too_long or repr(value)[:60] in message or (listed and listed[:60] in message):
            return True
    return False


def attempt(make: Callable[[], Any], values: dict[str, Any], wrong: set[str], allowed: str = "vanish") -> Any:
    """What `make` returns. None where it refuses rightly: something is wrong, or what was `allowed` to be said is."""
    made, said = outcome(make)
    if said is None:
        assert not wrong, f"{values} were taken, although {wrong} cannot be"
    elif wrong:
        assert quotes(said, values), f"{said} for {values}"
    else:
        assert allowed in said or crossed(said, values), f"{said} for {values}"
    return made


def outcome(make: Callable[[], Any]) -> tuple[Any, str | None]:
    """(what `make` returns, None), or (None, what it says) for the two errors that it may raise."""
    try:
        return make(), None
    except (ValueError, TypeError) as error:
        return None, str(error)


def crossed(message: str, values: dict[str, Any]) -> bool:
    """Whether two values that are right alone do not fit together, and the message says so."""
    size = values.get("kernel_size", values.get("size"))
    effective, extent = values.get("effective_size", 0), values.get("scale_extent", 0)
    found = len(values.get("scales", ()))
    return (effective > size and f"effective_size is {effective}: it must be at most {size}" in message) or (
        extent > found and f"scale_extent is {extent}: it must be at most {found}" in message
    )


@CHEAP
@given(arguments(**BASIS))
def test_hermite_a(drawn: tuple[dict[str, Any], set[str]]) -> None:
    values, wrong = drawn
    functions = attempt(lambda: hermite_a(**values), values, wrong)
    if functions is not None:
        check_functions(functions, values)


@CHEAP
@given(arguments(**BASIS, mult=(mults, NO_MULT), max_order=(orders, NO_ORDER)))
def test_hermite_b(drawn: tuple[dict[str, Any], set[str]]) -> None:
    values, wrong = drawn
    functions = attempt(lambda: hermite_b(**values), values, wrong)
    if functions is not None:
        check_functions(functions, values)


def check_functions(functions: Tensor, values: dict[str, Any]) -> None:
    found = values["scales"]
    assert functions.shape == (values["effective_size"] ** 2, len(found), values["size"], values["size"])
    assert functions.dtype == values["dtype"]
    assert functions.isfinite().all()
    norms = functions[:, 0].double().square().sum((1, 2)).sqrt()
    assert torch.allclose(norms, torch.ones_like(norms), rtol=0, atol=0.05)
    Basis(functions, found)


@st.composite
def images(draw: st.DrawFn, axes: int, channels: int, num_scales: int, dtype: torch.dtype) -> tuple[Tensor, bool]:
    """(an input, whether its shape and type are right but for the number of pixels)."""
    shape = [draw(st.integers(0, 2)), channels, *([num_scales] if axes == 5 else []), *draw(pixels)]
    right = True
    change = draw(st.integers(-8, 12))
    if change == 0:
        shape[1] += 1
    elif change == 1:
        shape.pop(0)
    elif change == 2:
        shape.insert(0, 1)
    elif change == 3 and axes == 5:
        shape[2] += draw(st.sampled_from([-1, 1, 2]))
    elif change == 4:
        dtype = draw(st.sampled_from([d for d in (*TOLERANCE, torch.int64, torch.uint8) if d != dtype]))
    else:
        return noise(shape, dtype), right
    changed = change != 3 or axes == 5
    return noise(shape, dtype), not changed


pixels = st.tuples(st.integers(0, 12), st.integers(0, 12)) | st.tuples(st.integers(7, 12), st.integers(7, 12))


def noise(shape: list[int], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def keeps_its_promise(
    layer: nn.Module, x: Tensor, right: bool, expected: tuple[int, ...], literal: Callable[[], Tensor] | None = None
) -> None:
    """Output of the documented shape and type, finite, equal to the literal method; or a refusal, if deserved."""
    possible = right and 0 not in (*expected[2:], *x.shape[2:])
    out, said = outcome(lambda: layer(x))
    if said is not None:
        assert not possible, f"{said} for {list(x.shape)} {x.dtype}"
        assert f"{list(x.shape)}" in said or str(x.dtype) in said, said
        return
    assert possible, f"{list(x.shape)} {x.dtype} was taken"
    assert out.shape == expected
    assert out.dtype == x.dtype
    assert out.isfinite().all()
    if literal is not None and len(x):
        truth = literal()
        assert truth.shape == out.shape
        scale = truth.double().abs().max()
        assert scale == 0 or relative(out.double(), truth.double()) < TOLERANCE[x.dtype] ** 0.5


def spatial(layer: ConvTH | ConvHH, x: Tensor) -> list[int]:
    size, stride, padding = layer.basis.size, layer.stride, layer.padding
    return [(n + 2 * padding - size) // stride + 1 if n + 2 * padding >= size else 0 for n in x.shape[-2:]]


def convolves(layer: ConvTH | ConvHH, values: dict[str, Any], drawn: tuple[Tensor, bool], dtype: torch.dtype) -> None:
    """A layer that could be made keeps its promise on an input that was drawn for it."""
    layer, (x, right) = layer.to(dtype), drawn
    expected = (len(x), values["out_channels"], len(values["scales"]), *spatial(layer, x))
    keeps_its_promise(layer, x, right, expected, lambda: other(layer, x))


@CHEAP
@given(
    arguments(**LAYER, basis=(st.just("A"), NO_KIND), mult=(st.none(), [1.4]), max_order=(st.none(), [4]))
    | arguments(**LAYER, basis=(st.just("B"), NO_KIND), mult=(mults, [None, *NO_MULT]), max_order=(orders, NO_ORDER))
    | arguments(**(LAYER | tame), basis=(st.just("B"), NO_KIND), **tame_b),
    floats,
    st.data(),
)
def test_conv_th(drawn: tuple[dict[str, Any], set[str]], dtype: torch.dtype, data: st.DataObject) -> None:
    values, wrong = drawn
    layer = attempt(lambda: ConvTH(**values), values, wrong)
    if layer is None:
        return
    assert layer.weight.shape == (values["out_channels"], values["in_channels"], values["effective_size"] ** 2)
    assert (layer.bias is not None) == values["bias"]
    convolves(layer, values, data.draw(images(4, values["in_channels"], 1, dtype)), dtype)


@CHEAP
@given(
    arguments(**LAYER, scale_extent=(st.integers(1, 3), NO_COUNT), basis=(st.just("A"), NO_KIND))
    | arguments(**(LAYER | tame), scale_extent=(st.integers(1, 2), NO_COUNT), basis=(st.just("B"), NO_KIND), **tame_b),
    floats,
    st.data(),
)
def test_conv_hh(drawn: tuple[dict[str, Any], set[str]], dtype: torch.dtype, data: st.DataObject) -> None:
    values, wrong = drawn
    layer = attempt(lambda: ConvHH(**values), values, wrong)
    if layer is None:
        return
    shape = (values["out_channels"], values["in_channels"], values["scale_extent"], values["effective_size"] ** 2)
    assert layer.weight.shape == shape
    convolves(layer, values, data.draw(images(5, values["in_channels"], len(values["scales"]), dtype)), dtype)


def other(layer: Any, x: Tensor) -> Tensor:
    return set_method(layer, "literal" if layer.method == "supports" else "supports")(x)


@CHEAP
@given(arguments(**{name: LAYER[name] for name in ("in_channels", "out_channels", "stride", "bias")}), st.data())
def test_conv_hh_1x1(drawn: tuple[dict[str, Any], set[str]], data: st.DataObject) -> None:
    values, wrong = drawn
    layer = attempt(lambda: ConvHH1x1(**values), values, wrong)
    if layer is None:
        return
    x, right = data.draw(images(5, values["in_channels"], 2, torch.float32))
    rows, columns = (-(-n // values["stride"]) for n in x.shape[-2:])
    expected = (len(x), values["out_channels"], 2, rows, columns)
    right = right or (x.dim() == 5 and x.shape[1] == values["in_channels"] and x.dtype == torch.float32)
    keeps_its_promise(layer, x, right, (*expected[:2], x.shape[2] if x.dim() == 5 else 0, *expected[3:]))


@CHEAP
@given(st.lists(st.integers(0, 3), max_size=6), st.sampled_from([*TOLERANCE, torch.int64, torch.uint8]))
def test_projection(shape: list[int], dtype: torch.dtype) -> None:
    x = noise(shape, dtype)
    expected = (*shape[:2], *shape[3:]) if len(shape) == 5 else (0, 0)
    keeps_its_promise(ScaleMaxProjection(), x, len(shape) == 5, expected)


@pytest.mark.parametrize("x", [None, [1.0], np.zeros((1, 2, 9, 9)), "image", 3])
@pytest.mark.parametrize(
    "layer",
    [ConvTH(2, 1, 3, 1, [1.0], basis="A"), ConvHH(2, 1, 1, 3, 1, [1.0], basis="A"), ConvHH1x1(2, 1)],
    ids=lambda layer: type(layer).__name__,
)
def test_what_is_no_tensor_is_refused(layer: nn.Module, x: object) -> None:
    with pytest.raises(TypeError, match=f"^input is .*: {type(layer).__name__} needs a tensor"):
        layer(x)


def test_layers_of_shapes_alone_are_built_and_run() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        layer = ConvHH(2, 1, 2, 5, 2, [1.0, 1.5], basis="A")
        assert layer(torch.zeros(3, 2, 2, 9, 9)).shape == (3, 1, 2, 5, 5)
    with pytest.raises(ValueError, match="functions holds nan"):
        Basis(torch.full((1, 1, 3, 3), math.nan), [1.0])


def test_autocast_is_no_wrong_type() -> None:
    layer = ConvTH(2, 1, 3, 1, [1.0], basis="A")
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(1, 2, 5, 5)).dtype == torch.bfloat16
        assert layer(torch.zeros(1, 2, 5, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
        with pytest.raises(TypeError, match=r"input is torch\.int64"):
            layer(torch.zeros(1, 2, 5, 5, dtype=torch.int64))


def test_these_tests_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments taken in silence, a wrong shape, another value than the literal method's: each is noticed."""
    with pytest.raises(AssertionError, match="cannot be"):
        attempt(lambda: ConvTH(1, 1, 3, 1, [1.0], basis="A"), {"padding": 0.5}, {"padding"})
    with pytest.raises(AssertionError, match="something else"):
        attempt(lambda: outcome_of("something else"), {"padding": 0.5}, {"padding"})
    with pytest.raises(ZeroDivisionError):
        attempt(lambda: 1 // 0, {}, {"padding"})
    layer, x = ConvTH(1, 1, 3, 1, [1.0, 2.0], basis="A"), noise([1, 1, 9, 9], torch.float32)
    keeps_its_promise(layer, x, True, (1, 1, 2, 7, 7), lambda: other(layer, x))
    with pytest.raises(AssertionError):
        keeps_its_promise(layer, x, True, (1, 1, 2, 7, 8))
    with pytest.raises(AssertionError, match="was taken"):
        keeps_its_promise(layer, x, False, (1, 1, 2, 7, 7))
    right = Basis.on_support
    monkeypatch.setattr(Basis, "on_support", lambda self, weight, scale: 1.01**scale * right(self, weight, scale))
    with pytest.raises(AssertionError):
        keeps_its_promise(layer, x, True, (1, 1, 2, 7, 7), lambda: other(layer, x))


def outcome_of(message: str) -> None:
    raise ValueError(message)
