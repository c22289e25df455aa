"""The DISCO basis: exact where it can be, the best there is elsewhere."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import trapezoid
from torch import Tensor

from sesn_lib.basis import disco, make_basis
from sesn_lib.basis.consistency import autocorrelation, consistent, dilated, keys
from sesn_lib.layers import ConvTH

ROOT2 = (1.0, 2**0.5, 2.0, 2 * 2**0.5)


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(image[None, None], kernel[None, None], padding=kernel.shape[-1] // 2)[0, 0]


def test_the_first_scale_is_free_and_whole_ratios_are_dilated() -> None:
    functions = disco(21, ROOT2, 7, dtype=torch.float64)
    assert functions.shape == (49, 4, 21, 21)
    assert torch.equal(functions[:, 0, 7:14, 7:14].reshape(49, 49), torch.eye(49, dtype=torch.float64))
    assert torch.equal(functions[:, 2, 4:17:2, 4:17:2], functions[:, 0, 7:14, 7:14])
    assert torch.equal(functions[:, 3, 0:21:2, 0:21:2], functions[:, 1, 5:16, 5:16])
    assert functions[:, 0].abs().sum() == functions[:, 2].abs().sum() == 49, "and nothing between"


@pytest.mark.parametrize(("coarse", "fine"), [(2, 0), (3, 1)])
def test_consistency_is_exact_at_factor_two(coarse: int, fine: int) -> None:
    """`R[f * k_2] = R[f] * k_1`, R every second sample, for images of noise; a Hermite-Gauss filter is the control."""
    torch.manual_seed(0)
    image = torch.randn(61, 61, dtype=torch.float64)
    weight = torch.randn(49, dtype=torch.float64)

    def residual(functions: Tensor) -> float:
        small, large = (torch.einsum("n,nij->ij", weight, functions[:, i]) for i in (fine, coarse))
        left, right = filtered(image, large)[::2, ::2], filtered(image[::2, ::2], small)
        inside = (slice(10, 21),) * 2  # where filters of 21 pixels see nothing beyond the frame
        return ((left - right)[inside].norm() / right[inside].norm()).item()

    assert residual(disco(21, ROOT2, 7, dtype=torch.float64)) < 1e-12
    hermite = make_basis("B", 21, ROOT2, 7, mult=1.5, max_order=4).functions.double()
    assert residual(hermite) > 1e-2


def test_autocorrelation_is_the_integral() -> None:
    y = np.linspace(-5, 5, 1_000_001)
    for shift in (0.0, 0.3, -1.41, 2.2, 3.9, 5.0):
        expected = trapezoid(keys(y) * keys(y + shift), y)
        np.testing.assert_allclose(autocorrelation(np.array(shift)), expected, atol=1e-9)


def _residual(kernel: np.ndarray, others: dict[float, np.ndarray]) -> float:
    """By brute force: both sides as images of c, on a fine grid, in place of the integral; a filter [width, width]."""
    fine = np.arange(-24, 24, 1 / 8)

    def image(taps: np.ndarray, step: float) -> np.ndarray:
        at = (np.arange(taps.shape[-1]) - taps.shape[-1] // 2) * step
        rows = keys(fine[:, None] - at)
        return rows @ taps @ rows.T

    total = 0.0
    for ratio, taps in others.items():
        ours, theirs = (1.0, ratio) if ratio > 1 else (1 / ratio, 1.0)
        total += ((image(kernel, ours) - image(taps, theirs)) ** 2).sum() / 64
    return total


@pytest.mark.parametrize("tap", [0, 4, 5])
def test_between_whole_ratios_no_filter_fits_better(tap: int) -> None:
    """The residual by brute force grows in whatever direction one goes; from a spoilt filter it does not."""
    first = np.eye(9).reshape(9, 3, 3)
    others = {2**0.5: first, 2**-0.5: dilated(first, 2)}
    found = consistent(others, 5)[tap]
    mine = {ratio: kernels[tap] for ratio, kernels in others.items()}
    least = _residual(found, mine)
    draws = np.random.default_rng(tap)
    for _ in range(5):
        step = draws.normal(size=found.shape) * 1e-2
        assert _residual(found + step, mine) > least
    spoilt = found + 0.05
    assert _residual(spoilt - 0.02, mine) < _residual(spoilt, mine)


def test_a_filter_is_moved_and_keeps_its_sum() -> None:
    """A tap goes to r times its place, and what weights sum to changes by 5 % at most."""
    functions = disco(21, ROOT2, 7, dtype=torch.float64)
    rows, columns = torch.meshgrid(*(torch.arange(21.0, dtype=torch.float64) - 10,) * 2, indexing="ij")
    for scale, ratio in enumerate(ROOT2):
        at_scale, at_first = functions[:, scale], functions[:, 0]
        sums = at_scale.sum(dim=(1, 2))
        assert (sums - 1).abs().max() < 0.05
        for axis in (rows, columns):
            moved = (at_scale * axis).sum(dim=(1, 2)) / sums
            assert (moved - ratio * (at_first * axis).sum(dim=(1, 2))).abs().max() < 0.06


def test_rounded_scales_and_other_ratios() -> None:
    rounded = disco(21, (1.0, 1.41, 2.0, 2.83), 7)
    assert (rounded - disco(21, ROOT2, 7)).abs().max() < 0.03
    third = disco(15, (1.0, 1.26, 1.59, 2.0), 7)
    assert torch.equal(third[:, 3, 1:14:2, 1:14:2], third[:, 0, 4:11, 4:11])
    assert third.isfinite().all()


def test_layers_take_it() -> None:
    layer = ConvTH(2, 3, 21, 7, ROOT2, basis="DISCO", padding=10)
    x = torch.randn(2, 2, 30, 30)
    fast = layer(x)
    layer.method = "literal"
    torch.testing.assert_close(fast, layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ((21, ROOT2, 6), {}, "effective_size is 6: it must be odd"),
        ((20, ROOT2, 7), {}, "kernel size is 20: it must be odd"),
        (
            (11, (1.0, 2.0), 7),
            {},
            "kernel size is 11: scale 2.0 of (1.0, 2.0) has filters of 13 pixels",
        ),
        ((21, (2.0, 1.0), 7), {}, "scales"),
        ((21, ROOT2, 7), {"mult": 1.5}, "mult=1.5, max_order=None given: a type DISCO basis has neither"),
    ],
)
def test_what_no_such_basis_has_is_refused(values: Any, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make_basis("DISCO", *values, **options)
