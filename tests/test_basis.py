"""Steerable bases: reference numbers, closed forms, scaling identities, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sesn_lib.basis import Basis, disco, hermite_a, hermite_b, hermite_gauss, make_basis, support

SCALES_A = [0.9 * 1.41**i for i in range(3)]
SCALES_B = [1.7, 2.45, 3.54, 5.1]
CASES = {
    "A_7_3": lambda **options: hermite_a(7, SCALES_A, 3, **options),
    "B_15_7": lambda **options: hermite_b(15, SCALES_B, 7, mult=1.5, max_order=4, **options),
    "B_17_7": lambda **options: hermite_b(17, [1.0, 1.73, 3.0], 7, mult=1.4, max_order=4, **options),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_reference(name: str, reference_folder: Path) -> None:
    truth = torch.from_numpy(np.load(reference_folder / "bases.npz")[name])
    ours = CASES[name]()
    assert ours.dtype == torch.float32
    assert ours.shape == truth.shape
    assert (ours - truth).abs().max() < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_reference_check_can_fail(name: str, reference_folder: Path) -> None:
    """Rows and columns swapped, scales reversed or functions shifted by one place are not the reference."""
    truth = torch.from_numpy(np.load(reference_folder / "bases.npz")[name])
    ours = CASES[name]()
    for wrong in (ours.transpose(2, 3), ours.flip(1), ours.roll(1, 0)):
        assert (wrong - truth).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("order", "polynomial"),
    [
        (0, lambda u: np.ones_like(u)),
        (1, lambda u: u),
        (2, lambda u: u**2 - 1),
        (3, lambda u: u**3 - 3 * u),
        (4, lambda u: u**4 - 6 * u**2 + 3),
    ],
)
def test_hermite_gauss_is_the_closed_form(order: int, polynomial) -> None:
    x, sigma = np.linspace(-4, 4, 33), 1.3
    truth = polynomial(x / sigma) * np.exp(-((x / sigma) ** 2) / 2) / sigma
    assert np.allclose(hermite_gauss(x, sigma, order), truth, atol=1e-14, rtol=0)


def test_hermite_gauss_orders_are_derivatives_of_the_gaussian() -> None:
    """`d/dx [He_n g] = -He_{n+1} g / sigma`, checked by central differences; a wrong order is caught."""
    x, sigma, h = np.linspace(-5, 5, 41), 1.7, 1e-4
    for order in range(5):
        slope = (hermite_gauss(x + h, sigma, order) - hermite_gauss(x - h, sigma, order)) / (2 * h)
        assert np.abs(slope + hermite_gauss(x, sigma, order + 1) / sigma).max() < 1e-6
        assert np.abs(slope + hermite_gauss(x, sigma, order + 2) / sigma).max() > 1e-2


@pytest.mark.parametrize(
    ("size", "scale", "largest", "expected"),
    [
        (15, 5.1, 5.1, 15),
        (15, 1.7, 5.1, 5),
        (15, 2.45, 5.1, 7),
        (15, 3.54, 5.1, 11),
        (7, 0.9, 1.78929, 3),
        (3, 0.1, 9, 1),
    ],
)
def test_support(size: int, scale: float, largest: float, expected: int) -> None:
    assert support(size, scale, largest) == expected


@pytest.mark.parametrize("name", CASES)
def test_zero_outside_the_support_and_full_inside(name: str) -> None:
    functions = CASES[name](dtype=torch.float64)
    scales = {"A_7_3": SCALES_A, "B_15_7": SCALES_B, "B_17_7": [1.0, 1.73, 3.0]}[name]
    for i, scale in enumerate(scales):
        width = support(functions.shape[-1], scale, max(scales))
        margin = (functions.shape[-1] - width) // 2
        inner = torch.zeros(functions.shape[-2:], dtype=torch.bool)
        inner[margin : margin + width, margin : margin + width] = True
        assert (functions[:, i, ~inner] == 0).all()
        assert (functions[0, i, inner] > 0).all()


@pytest.mark.parametrize("name", CASES)
def test_unit_norm_at_the_first_scale_only(name: str) -> None:
    norms = CASES[name](dtype=torch.float64).square().sum((2, 3)).sqrt()
    assert (norms[:, 0] - 1).abs().max() < 1e-12
    assert (norms[:, 1] - 1).abs().max() > 0.05


def test_functions_that_almost_vanish_at_the_first_scale_are_refused_from_ten_thousand_on() -> None:
    """Normalised where only their flanks are sampled they would reach 4,340 and 17,100 at the second scale."""
    assert 4000 < hermite_a(9, [0.24, 0.4], 2).abs().max() < 5000
    with pytest.raises(ValueError, match=r"orders \[\(1, 1\)\] almost vanish \(normalised there, they reach 1.7e\+04"):
        hermite_a(9, [0.23, 0.4], 2)


def test_type_a_lists_the_order_of_x_fastest() -> None:
    functions = hermite_a(9, [1.5], 3, dtype=torch.float64)[:, 0]
    grid = np.arange(9) - 4.0
    for b, (m, n) in enumerate((m, n) for m in range(3) for n in range(3)):
        truth = torch.from_numpy(np.outer(hermite_gauss(grid, 1.5, n), hermite_gauss(grid, 1.5, m)))
        assert torch.allclose(functions[b], truth / truth.norm(), atol=1e-14)


def test_type_b_lists_widths_then_y_then_x_and_is_cut() -> None:
    functions = hermite_b(11, [2.0, 3.0], 4, mult=1.4, max_order=2, dtype=torch.float64)
    orders = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]
    listed = [(2.0 * 1.4**-k, n, m) for k in range(3) for n, m in orders][:16]
    assert functions.shape == (16, 2, 11, 11)
    grid = np.arange(7) - 3.0  # support of the first scale: int(11 * 2 / 3) // 2 * 2 + 1
    for b, (sigma, n, m) in enumerate(listed):
        truth = torch.from_numpy(np.outer(hermite_gauss(grid, sigma, n), hermite_gauss(grid, sigma, m)))
        assert torch.allclose(functions[b, 0, 2:-2, 2:-2], truth / truth.norm(), atol=1e-13)


def test_max_order_one_means_three_functions_per_width() -> None:
    assert hermite_b(9, [1.0], 2, mult=2.0, max_order=1).shape[0] == 4
    assert hermite_b(9, [1.0], 2, mult=2.0, max_order=0).shape[0] == 4


def test_doubling_the_scale_and_taking_every_second_sample_times_four() -> None:
    """`psi_{2 sigma}(2x) = psi_sigma(x) / 4`, exactly on the grid; without the factor it fails."""
    fine = hermite_a(41, [1.5, 3.0], 3, dtype=torch.float64)
    inner = fine[:, 0, 10:-10, 10:-10]  # 21 pixels, the support of the first scale
    assert support(41, 1.5, 3.0) == 21
    twice = fine[:, 1, ::2, ::2]
    assert (4 * twice - inner).abs().max() < 1e-14
    assert (twice - inner).abs().max() > 0.1


def test_basis_maps_weights_to_filters() -> None:
    basis = make_basis("B", 15, SCALES_B, 7, mult=1.5, max_order=4).double()
    weight = torch.randn(3, 2, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernels = basis(weight)
    assert kernels.shape == (3, 2, 4, 15, 15)
    truth = sum(weight[1, 0, b] * basis.functions[b] for b in range(49))
    assert torch.allclose(kernels[1, 0], truth, atol=1e-13)
    for i, width in enumerate(basis.supports):
        margin = (15 - width) // 2
        cut = kernels[..., i, margin : margin + width, margin : margin + width]
        assert torch.allclose(basis.on_support(weight, i), cut, atol=1e-13)
        assert torch.isclose(cut.abs().sum(), kernels[..., i, :, :].abs().sum())


def test_basis_keeps_out_of_the_state_dict_and_follows_dtype() -> None:
    basis = make_basis("A", 7, SCALES_A, 3)
    assert len(basis.state_dict()) == 0
    assert len(list(basis.parameters())) == 0
    assert basis.functions.dtype == torch.float32
    assert basis.double().functions.dtype == torch.float64
    exact = hermite_a(7, SCALES_A, 3, dtype=torch.float64)
    given = Basis(exact, SCALES_A)
    assert torch.equal(given.functions, exact), "in the type in which they were given"
    assert given.float().functions.dtype == torch.float32
    assert (basis.num_functions, basis.num_scales, basis.size) == (9, 3, 7)
    assert "supports=(3, 5, 7)" in repr(basis)


GOOD_A = {"size": 7, "scales": [1.0, 2.0], "effective_size": 3}
GOOD_B = {**GOOD_A, "mult": 1.4, "max_order": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 8}, "kernel size is 8: it must be odd"),
        ({"size": -3}, "kernel size is -3"),
        ({"size": 0}, "kernel size is 0"),
        ({"scales": []}, "scales is empty"),
        ({"scales": [2.0, 1.0]}, r"scales are \[2.0, 1.0\]: they must increase"),
        ({"scales": [1.0, 1.0]}, "must increase"),
        ({"scales": [-1.0, 1.0]}, "every scale must be a positive number"),
        ({"scales": [0.0, 1.0]}, "every scale must be a positive number"),
        ({"scales": [1.0, math.nan]}, "every scale must be a positive number"),
        ({"scales": [1.0, math.inf]}, "every scale must be a positive number"),
        ({"effective_size": 0}, "effective_size is 0"),
        ({"scales": [0.5, 7.0]}, "vanish on the 1-pixel support"),
    ],
)
def test_bad_values_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hermite_a(**(GOOD_A | change))
    with pytest.raises(ValueError, match=message):
        hermite_b(**(GOOD_B | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mult": 1.0}, "mult is 1.0: it must be a finite number above 1"),
        ({"mult": 0.7}, "mult is 0.7"),
        ({"mult": -2.0}, "mult is -2.0"),
        ({"mult": math.nan}, "mult is nan"),
        ({"mult": math.inf}, "mult is inf"),
        ({"max_order": -1}, "max_order is -1"),
    ],
)
def test_bad_values_of_type_b_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hermite_b(**(GOOD_B | change))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("C", {}, "basis kind is 'C': it must be 'A', 'B' or 'DISCO'"),
        ("a", {}, "basis kind is 'a'"),
        ("A", {"mult": 1.4}, "leave them out"),
        ("B", {"mult": 1.4}, "needs both"),
        ("B", {}, "needs both"),
    ],
)
def test_make_basis_refuses(kind: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_basis(kind, 7, [1.0, 2.0], 3, **options)


@pytest.mark.parametrize("shape", [(9, 3, 7), (9, 2, 7, 7), (9, 3, 7, 5)])
def test_basis_refuses_tensors_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[N_b, S, size, size\] with S = 3"):
        Basis(torch.zeros(shape), SCALES_A)


def test_as_many_functions_as_pixels_are_allowed() -> None:
    assert disco(3, [1.0], 3).flatten(1).tolist() == torch.eye(9).tolist()
