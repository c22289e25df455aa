"""Layers: reference numbers, nested-loop twins, gradients, geometry, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe import recipe, relative
from torch import Tensor, nn

from sesn_lib.basis import make_basis
from sesn_lib.layers import ConvHH, ConvHH1x1, ConvTH, ScaleMaxProjection, set_method

A = [0.9 * 1.41**i for i in range(3)]
B = [1.7, 2.45, 3.54, 5.1]
TYPE_A = {"basis": "A", "padding": 3}
TYPE_B = {"basis": "B", "mult": 1.5, "max_order": 4, "padding": 7}
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv_th_A": (lambda: ConvTH(3, 5, 7, 3, A, **TYPE_A), (2, 3, 20, 22)),
    "conv_th_A_stride2": (lambda: ConvTH(3, 5, 7, 3, A, stride=2, **TYPE_A), (2, 3, 20, 22)),
    "conv_th_B": (lambda: ConvTH(2, 4, 15, 7, B, **TYPE_B), (2, 2, 20, 22)),
    "conv_hh_A": (lambda: ConvHH(3, 5, 1, 7, 3, A, **TYPE_A), (2, 3, 3, 20, 22)),
    "conv_hh_A_interscale2": (lambda: ConvHH(3, 5, 2, 7, 3, A, **TYPE_A), (2, 3, 3, 20, 22)),
    "conv_hh_B_interscale3": (lambda: ConvHH(2, 4, 3, 15, 7, B, **TYPE_B), (2, 2, 4, 20, 22)),
    "conv_hh_1x1": (lambda: ConvHH1x1(3, 5, bias=False), (2, 3, 3, 20, 22)),
}
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


def by_recipe(name: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """The layer and the input of one reference case."""
    make, shape = CASES[name]
    layer = make()
    with torch.no_grad():
        for parameter, value in layer.named_parameters():
            value.copy_(recipe(f"{name}.{parameter}", value.shape))
    x = torch.from_numpy(np.random.RandomState(1).standard_normal(shape))
    return layer.to(dtype), x.to(dtype)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_equals_reference(name: str, dtype: torch.dtype, method: str, reference_folder: Path) -> None:
    layer, x = by_recipe(name, dtype)
    out = set_method(layer, method)(x)
    truth = np.load(reference_folder / "layers.npz")[name]
    assert out.dtype == dtype
    assert out.shape == truth.shape
    assert relative(out, truth) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", [n for n in CASES if n != "conv_hh_1x1"])
def test_reference_check_can_fail(name: str, reference_folder: Path) -> None:
    """Mirrored filters (true convolution), a shifted scale axis, a missing bias: each is far from the reference."""
    truth = np.load(reference_folder / "layers.npz")[name]
    layer, x = by_recipe(name, torch.float64)
    assert relative(layer(x).roll(1, 2), truth) > 0.1
    with torch.no_grad():
        layer.bias.zero_()
    assert relative(layer(x), truth) > 1e-3
    layer, x = by_recipe(name, torch.float64)
    layer.basis.functions = layer.basis.functions.flip(2, 3)
    assert relative(layer(x), truth) > 0.1


# --- slow twins -------------------------------------------------------------------------------------------------------


def slow_th(layer: ConvTH, x: Tensor) -> Tensor:
    """The definition, one multiplication at a time: [B, C, H, W] -> [B, C', S, H', W']."""
    return slow_hh(layer, layer.weight[:, :, None], x[:, :, None].expand(-1, -1, layer.basis.num_scales, -1, -1), True)


def slow_hh(layer: ConvTH | ConvHH, weight: Tensor, f: Tensor, lifting: bool = False) -> Tensor:
    """`bias[o] + sum_{k, c, u, v} f[b, c, s + k, i + u, j + v] kappa_k[o, c, s, u, v]` in plain Python."""
    psi = layer.basis.functions.tolist()
    size, p, step = layer.basis.size, layer.padding, layer.stride
    batch, channels, scales, height, width = f.shape
    rows, columns = (height + 2 * p - size) // step + 1, (width + 2 * p - size) // step + 1
    out = torch.zeros(batch, layer.out_channels, scales, rows, columns, dtype=torch.float64)
    value, w = f.tolist(), weight.tolist()
    for o, s, k, c in np.ndindex(layer.out_channels, scales, weight.shape[2], channels):
        if s + k >= scales:
            continue
        assert not lifting or k == 0
        kernel = sum(w[o][c][k][b] * np.array(psi[b][s]) for b in range(len(psi)))
        for b, i, j, u, v in np.ndindex(batch, rows, columns, size, size):
            y, x = i * step + u - p, j * step + v - p
            if 0 <= y < height and 0 <= x < width:
                out[b, o, s, i, j] += value[b][c][s + k][y][x] * kernel[u, v]
    return out if layer.bias is None else out + layer.bias.detach().view(-1, 1, 1, 1)


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 3), (3, 1)])
def test_conv_th_is_the_definition(stride: int, padding: int, method: str) -> None:
    layer = ConvTH(2, 2, 5, 2, [1.0, 1.6], basis="A", stride=stride, padding=padding, method=method).double()
    nn.init.normal_(layer.bias)
    x = numbers(1, 2, 6, 7)
    assert relative(layer(x), slow_th(layer, x)) < 1e-12


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize(("extent", "stride", "padding"), [(1, 1, 2), (2, 1, 2), (3, 1, 0), (2, 2, 1)])
def test_conv_hh_is_the_definition(extent: int, stride: int, padding: int, method: str) -> None:
    layer = ConvHH(
        2, 2, extent, 5, 2, [1.0, 1.5, 2.2], basis="A", stride=stride, padding=padding, method=method
    ).double()
    nn.init.normal_(layer.bias)
    x = numbers(1, 2, 3, 6, 5)
    truth = slow_hh(layer, layer.weight, x)
    assert relative(layer(x), truth) < 1e-12
    if extent > 1:  # the twin tells a shift in the wrong direction apart
        assert relative(layer(x.flip(2)).flip(2), truth) > 0.1


def test_conv_hh_1x1_is_a_matrix_on_channels() -> None:
    layer = ConvHH1x1(3, 4).double()
    nn.init.normal_(layer.bias)
    x = numbers(2, 3, 2, 5, 4)
    truth = torch.einsum("oc,bcshw->boshw", layer.weight, x) + layer.bias.view(-1, 1, 1, 1)
    assert relative(layer(x), truth) < 1e-13


def test_conv_hh_1x1_strides_in_space_only() -> None:
    layer = ConvHH1x1(3, 4, stride=2).double()
    x = numbers(2, 3, 2, 5, 4)
    out = layer(x)
    assert out.shape == (2, 4, 2, 3, 2)
    layer.stride = 1
    assert relative(out, layer(x)[..., ::2, ::2]) < 1e-14


def test_projection_is_the_maximum_over_scales() -> None:
    x = numbers(2, 3, 4, 5, 6)
    truth = torch.stack([x[:, :, i] for i in range(4)]).max(dim=0).values
    assert torch.equal(ScaleMaxProjection()(x), truth)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize("layer", ["th", "hh1", "hh2", "1x1"])
def test_gradcheck(layer: str, method: str) -> None:
    module: nn.Module
    if layer == "th":
        module, x = ConvTH(2, 2, 5, 2, [1.0, 1.6], basis="A", padding=2), numbers(1, 2, 4, 3)
    elif layer == "1x1":
        module, x = ConvHH1x1(2, 3), numbers(1, 2, 2, 3, 3)
    else:
        extent = int(layer[-1])
        module, x = ConvHH(2, 2, extent, 5, 2, [1.0, 1.6], basis="A", padding=1), numbers(1, 2, 2, 4, 3)
    set_method(module.double(), method)
    names = [name for name, _ in module.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in module.parameters())

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *values))


@pytest.mark.parametrize("name", [n for n in CASES if n != "conv_hh_1x1"])
def test_gradients_of_both_methods_agree(name: str) -> None:
    gradients = {}
    for method in ("supports", "literal"):
        layer, x = by_recipe(name, torch.float64)
        out = set_method(layer, method)(x.requires_grad_())
        (out * numbers(*out.shape, seed=3)).sum().backward()
        gradients[method] = [x.grad, layer.weight.grad, layer.bias.grad]
    for ours, twin in zip(gradients["supports"], gradients["literal"]):
        assert relative(ours, twin) < 1e-12
    assert relative(gradients["supports"][1].roll(1, -1), gradients["literal"][1]) > 0.1


def test_projection_sends_the_gradient_to_the_winning_scale() -> None:
    x = numbers(1, 1, 3, 4, 4).requires_grad_()
    ScaleMaxProjection()(x).sum().backward()
    assert torch.equal(x.grad, (x == x.amax(2, keepdim=True)).double())


# --- geometry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 3, 7, 9])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_output_size_is_that_of_conv2d_and_methods_agree(padding: int, stride: int) -> None:
    """Padding below the margin of a small support means cropping: the effective padding is negative."""
    layer = ConvTH(1, 2, 15, 7, B, mult=1.5, max_order=4, stride=stride, padding=padding).double()
    assert layer.basis.supports[0] == 5, "below 5 pixels of padding, then"
    x = numbers(1, 1, 19, 22)
    out = layer(x)
    plain = nn.functional.conv2d(x, torch.zeros(1, 1, 15, 15, dtype=torch.float64), stride=stride, padding=padding)
    assert out.shape[-2:] == plain.shape[-2:]
    assert relative(out, set_method(layer, "literal")(x)) < 1e-12


@pytest.mark.parametrize("method", ["supports", "literal"])
@pytest.mark.parametrize("kind", ["th", "hh"])
def test_translation_equivariance(kind: str, method: str) -> None:
    """Moving the input by whole pixels moves the output, exactly away from the border; moving it elsewhere does not."""
    if kind == "th":
        layer, x = ConvTH(2, 3, 7, 3, A, basis="A", padding=3, method=method).double(), torch.zeros(1, 2, 32, 32)
    else:
        layer, x = ConvHH(2, 3, 2, 7, 3, A, basis="A", padding=3, method=method).double(), torch.zeros(1, 2, 3, 32, 32)
    x = x.double()
    x[..., 12:18, 12:18] = numbers(*x.shape[:-2], 6, 6)
    moved = layer(x.roll((3, -4), (-2, -1)))
    assert relative(moved, layer(x).roll((3, -4), (-2, -1))) < 1e-12
    assert relative(moved, layer(x).roll((3, -3), (-2, -1))) > 0.1


def test_scale_extent_one_keeps_scales_apart() -> None:
    x = numbers(1, 2, 3, 12, 12)
    other = x.clone()
    other[:, :, 1] += 1
    for extent, changed in ((1, [1]), (2, [0, 1]), (3, [0, 1])):
        layer = ConvHH(2, 2, extent, 7, 3, A, basis="A", padding=3).double()
        difference = (layer(other) - layer(x)).abs().amax((0, 1, 3, 4))
        assert [i for i in range(3) if difference[i] > 0] == changed


def test_number_of_weights_is_that_of_the_effective_kernel() -> None:
    layer = ConvTH(3, 5, 15, 7, B, mult=1.5, max_order=4)
    assert layer.weight.shape == (5, 3, 49)
    assert layer.weight.numel() == nn.Conv2d(3, 5, 7).weight.numel()
    assert ConvHH(3, 5, 2, 15, 7, B, mult=1.5, max_order=4, bias=False).weight.shape == (5, 3, 2, 49)
    assert ConvHH(3, 5, 2, 15, 7, B, mult=1.5, max_order=4, bias=False).bias is None


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda: ConvTH(4, 64, 15, 7, B, mult=1.5, max_order=4), 4 * 49),
        (lambda: ConvHH(3, 64, 2, 7, 3, A, basis="A"), 3 * 2 * 9),
        (lambda: ConvHH1x1(50, 200), 50),
    ],
    ids=["th", "hh", "1x1"],
)
def test_initial_values(make: Callable[[], nn.Module], fan_in: int) -> None:
    """Kaiming's uniform rule with a = sqrt 5 is uniform in +-1/sqrt(fan in); biases start at zero."""
    torch.manual_seed(0)
    layer = make()
    bound = 1 / np.sqrt(fan_in)
    assert bound * 0.99 < layer.weight.abs().max().item() <= bound * (1 + 1e-6)
    assert layer.weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert abs(layer.weight.mean().item()) < 0.05 * bound
    assert (layer.bias == 0).all()


def test_a_basis_may_be_shared() -> None:
    basis = make_basis("A", 7, A, 3)
    layer = ConvTH(1, 1, 7, 3, A, basis=basis)
    assert layer.basis is basis
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_set_method_reaches_every_layer() -> None:
    net = nn.Sequential(ConvTH(1, 1, 7, 3, A, basis="A"), nn.ReLU(), ConvHH(1, 1, 1, 7, 3, A, basis="A"))
    assert set_method(net, "literal") is net
    assert [net[0].method, net[2].method] == ["literal", "literal"]
    with pytest.raises(ValueError, match="method is 'fast': it must be one of supports, literal"):
        set_method(net, "fast")


def test_repr_says_what_the_layer_is() -> None:
    text = repr(ConvTH(3, 5, 7, 3, A, basis="A", padding=3))
    assert "3, 5, stride=1, padding=3, bias=True" in text
    assert "functions=9" in text
    assert "scale_extent=2" in repr(ConvHH(3, 5, 2, 7, 3, A, basis="A"))


# --- what is refused --------------------------------------------------------------------------------------------------

GOOD = {"in_channels": 2, "out_channels": 3, "kernel_size": 7, "effective_size": 3, "scales": A, "basis": "A"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 0}, "in_channels is 0: it must be an integer, 1 or greater"),
        ({"out_channels": -1}, "out_channels is -1"),
        ({"out_channels": 2.5}, "out_channels is 2.5"),
        ({"in_channels": True}, "in_channels is True"),
        ({"kernel_size": 6}, "kernel size is 6: it must be odd"),
        ({"scales": [2.0, 1.0]}, "they must increase"),
        ({"scales": [-1.0, 1.0]}, "every scale must be a positive number"),
        ({"scales": []}, "scales is empty|must be at most 0"),
        ({"effective_size": 0}, "effective_size is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"padding": -1}, "padding is -1"),
        ({"basis": "C"}, "basis kind is 'C'"),
        ({"basis": "A", "mult": 1.4}, "leave them out"),
        ({"basis": "B"}, "needs both"),
        ({"basis": "B", "mult": 1.0, "max_order": 4}, "mult is 1.0"),
        ({"basis": "B", "mult": 1.4, "max_order": -1}, "max_order is -1"),
        ({"method": "quick"}, "method is 'quick'"),
        ({"basis": make_basis("A", 9, A, 3)}, "basis has size 9"),
        ({"basis": make_basis("A", 7, [1.0, 2.0, 3.0], 3)}, "they must agree"),
    ],
)
@pytest.mark.parametrize("kind", [ConvTH, ConvHH])
def test_constructors_name_bad_values(kind: type, change: dict, message: str) -> None:
    values = GOOD | change | ({"scale_extent": 1} if kind is ConvHH else {})
    with pytest.raises(ValueError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("extent", "message"),
    [(0, "scale_extent is 0"), (4, "scale_extent is 4: it must be at most 3"), (1.5, "extent is 1.5")],
)
def test_scale_extent_is_checked(extent: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvHH(**GOOD, scale_extent=extent)


@pytest.mark.parametrize("change", [{"in_channels": 0}, {"out_channels": 0}, {"stride": 0}])
def test_conv_hh_1x1_names_bad_values(change: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} is 0"):
        ConvHH1x1(**({"in_channels": 2, "out_channels": 3} | change))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (ConvTH(**GOOD), (1, 3, 9, 9), "ConvTH needs .* C = 2"),
        (ConvTH(**GOOD), (1, 2, 3, 9, 9), "ConvTH needs"),
        (ConvTH(**GOOD), (2, 9, 9), "ConvTH needs"),
        (ConvHH(**GOOD, scale_extent=1), (1, 3, 3, 9, 9), "ConvHH needs .* C = 2 and S = 3"),
        (ConvHH(**GOOD, scale_extent=1), (1, 2, 4, 9, 9), "S = 3"),
        (ConvHH(**GOOD, scale_extent=1), (1, 2, 9, 9), "ConvHH needs"),
        (ConvHH1x1(2, 3), (1, 3, 3, 9, 9), "ConvHH1x1 needs .* C = 2"),
        (ConvHH1x1(2, 3), (1, 2, 9, 9), "ConvHH1x1 needs"),
        (ScaleMaxProjection(), (1, 2, 9, 9), "ScaleMaxProjection needs"),
    ],
)
def test_inputs_of_another_shape_are_named(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        layer(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)


# --- what notebook 4 compares itself with -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv_th_A", "conv_th_B", "conv_hh_A_interscale2", "conv_hh_B_interscale3"])
def test_numbers_shipped_with_the_notebooks_are_the_reference(name: str, reference_folder: Path) -> None:
    shipped = np.load(reference_folder.parents[1] / "notebooks" / "results" / "reference_layers.npz")
    truth = np.load(reference_folder / "layers.npz")[name]
    assert np.array_equal(shipped[f"{name}.output"], truth[:1, ..., ::3, ::3])
    assert tuple(shipped[f"{name}.input_shape"]) == CASES[name][1]
    layer, _ = by_recipe(name, torch.float32)
    for parameter, value in layer.named_parameters():
        assert torch.equal(torch.from_numpy(shipped[f"{name}.{parameter}"]), value.detach())


def test_no_image_at_all_gives_no_map() -> None:
    layer = ConvTH(1, 2, 5, 2, [1.0, 1.4], basis="A", padding=2)
    assert layer(torch.zeros(0, 1, 8, 8)).shape == (0, 2, 2, 8, 8)
