"""The spectral convolution and the pooling against torch's own, value and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sesn_lib.fast import spectral
from sesn_lib.fast.spectral import SpectralConv, max_pool


def twin(functions: Tensor, x: Tensor, weight: Tensor, outputs: int) -> Tensor:
    """The sum over taps, by torch, in the layout [H, W, C, B]."""
    kernels = torch.einsum("ocn,nuv->ocuv", weight, functions)
    y = F.conv2d(x.permute(3, 2, 0, 1), kernels, padding=functions.shape[-1] // 2)
    return y.permute(2, 3, 1, 0)[:outputs, :outputs]


# Both transforms (one dense product, or rows then columns), even and odd periods, filters wider than the map.
CASES = [
    (7, 5, 7),
    (7, 13, 6),
    (7, 15, 6),
    (10, 3, 10),
    (14, 13, 14),
    (14, 7, 12),
    (28, 15, 28),
    (13, 9, 13),
    (1, 3, 1),
]


@pytest.mark.parametrize(("size", "taps", "outputs"), CASES)
def test_equals_the_sum_over_taps(size: int, taps: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(size * taps)
    functions = torch.randn(6, taps, taps, generator=generator, dtype=torch.float64)
    x = torch.randn(size, size, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    fast = SpectralConv(functions, size, outputs)(x, weight)
    slow = twin(functions, x, weight, outputs)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12 * slow.abs().max().item())
    grad = torch.randn(slow.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(fast, [x, weight], grad), torch.autograd.grad(slow, [x, weight], grad)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-11 * b.abs().max().item())


def test_both_transforms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = torch.randn(5, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, weight = torch.randn(9, 9, 2, 3, dtype=torch.float64), torch.randn(4, 2, 5, dtype=torch.float64)
    results = []
    for limit in (0, 100):
        monkeypatch.setattr("sesn_lib.fast.spectral.DENSE_UP_TO", limit)
        conv = SpectralConv(functions, 9)
        assert conv.separable == (limit == 0)
        results.append(conv(x, weight))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_a_period_too_short_is_noticed() -> None:
    # Control: with a smaller period the circular convolution wraps around, and the comparison above must see it.
    functions = torch.ones(1, 5, 5, dtype=torch.float64)
    x, weight = torch.rand(8, 8, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)

    class Short(SpectralConv):
        def _dense_grid(self):  # type: ignore[no-untyped-def]
            self.period = 8
            return super()._dense_grid()

    difference = Short(functions, 8)(x, weight) - twin(functions, x, weight, 8)
    assert difference.abs().max() > 0.5


@pytest.mark.parametrize("pool", [max_pool, spectral.max_pool_by_place, spectral.max_pool_by_index])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("size", "kernel", "padding"), [(28, 2, 0), (7, 4, 2), (14, 8, 2), (9, 2, 0), (6, 3, 1), (2, 2, 0), (5, 1, 0)]
)
def test_pooling_equals_torch(
    size: int, kernel: int, padding: int, dtype: torch.dtype, pool: Callable[..., Tensor]
) -> None:
    generator = torch.Generator().manual_seed(size)
    # Few distinct values: ties are the rule, and the first candidate must get the gradient, as in torch.
    x = torch.randint(-2, 2, (size, size, 3, 2), generator=generator).to(dtype).requires_grad_()
    fast = pool([x], kernel, padding)
    slow = F.max_pool2d(x.permute(3, 2, 0, 1), kernel, padding=padding).permute(2, 3, 1, 0)
    assert torch.equal(fast, slow)
    grad = torch.randn(slow.shape, generator=generator).to(dtype)
    assert torch.equal(torch.autograd.grad(fast, x, grad)[0], torch.autograd.grad(slow, x, grad)[0])


@pytest.mark.parametrize("pool", [max_pool, spectral.max_pool_by_place, spectral.max_pool_by_index])
@pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
def test_of_zeros_of_either_sign_one_gets_the_gradient(zeros: tuple[float, float], pool: Callable[..., Tensor]) -> None:
    x = torch.tensor([[-1.0, zeros[0]], [zeros[1], -1.0]])[..., None].requires_grad_()
    (grad,) = torch.autograd.grad(pool([x], 2), x, torch.full((1, 1, 1), 3.0))
    assert sorted(grad.flatten().tolist()) == [0.0, 0.0, 0.0, 3.0]
    assert grad[x == 0].sum() == 3


@pytest.mark.parametrize("pool", [spectral.max_pool_by_place, spectral.max_pool_by_index])
def test_pooling_over_maps_is_pooling_of_their_maximum(pool: Callable[..., Tensor]) -> None:
    maps = [torch.randn(6, 6, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    fast = pool(maps, 2)
    slow = pool([torch.stack(maps).amax(0)], 2)
    assert torch.equal(fast, slow)
    grad = torch.randn_like(slow)
    for a, b in zip(torch.autograd.grad(fast, maps, grad), torch.autograd.grad(slow, maps, grad)):
        assert torch.equal(a, b)


def test_a_gpus_pooling_of_windows_side_by_side_copies_nothing() -> None:
    """No operation but the pooling touches a tensor as large as the map, neither forth nor back."""

    class Large(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            tensors = [value for value in (*args, result) if isinstance(value, Tensor)]
            if not func.is_view and any(tensor.numel() >= x.numel() for tensor in tensors):
                self.names.append(func.overloadpacket.__name__)
            return result

    x = torch.randn(14, 14, 6, 5, requires_grad=True)
    with Large() as large:
        spectral.max_pool_by_index([x], 2).sum().backward()
    assert [name for name in large.names if name != "detach"] == [
        "max_pool2d_with_indices",
        "max_pool2d_with_indices_backward",
    ]
    with Large() as large:
        spectral.max_pool_by_index([x], 1)
    assert set(large.names) <= {"detach"}  # windows of one pixel need no pooling


@pytest.mark.parametrize("kernel", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_gpus_pooling_is_a_cpus(count: int, dtype: torch.dtype, kernel: int) -> None:
    generator = torch.Generator().manual_seed(count)
    # Few values, so that equal maxima in a window, and of several maps, are the rule; odd sides leave a row over.
    maps = [torch.randint(-2, 2, (7, 7, 3, 4), generator=generator).to(dtype).requires_grad_() for _ in range(count)]
    found, expected = spectral.max_pool_by_index(maps, kernel), max_pool(maps, kernel)
    assert torch.equal(found, expected)
    grad = torch.randn(found.shape, generator=generator).to(dtype)
    for a, b in zip(torch.autograd.grad(found, maps, grad), torch.autograd.grad(expected, maps, grad)):
        assert torch.equal(a, b)
