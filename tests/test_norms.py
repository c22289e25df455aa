"""Batch normalisation by groups of positions against torch's: outputs, gradients, running means."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import synchronised
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from sesn_lib import fast, models
from sesn_lib.fast import engine, norms
from sesn_lib.fast.norms import _GroupedBatchNorm, batch_norm, batch_norm_in_groups, groups_of

GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not GPU, reason="no GPU here"))]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}

Way = Callable[[Tensor, Any], Tensor]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cpu":
        synchronised.install(monkeypatch)
    return request.param


def module(channels: int, device: str, dtype: torch.dtype, **options: Any) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(channels, **options).to(device, torch.float32 if dtype == torch.bfloat16 else dtype)
    for tensor in [*norm.parameters(), norm.running_mean, norm.running_var]:
        if tensor is not None:
            tensor.data += 0.3 * torch.rand_like(tensor)
    return norm


def maps(shape: tuple[int, ...], device: str, dtype: torch.dtype, mean: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = mean + (torch.randn(shape, generator=generator, dtype=torch.float64) * 0.7).relu()
    return x.to(device, dtype).requires_grad_()


def results(way: Way, x: Tensor, norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    norm = copy.deepcopy(norm)
    x = x.detach().clone().requires_grad_()
    y = way(x, norm)
    weights = torch.linspace(-1, 2, y.numel(), device=y.device, dtype=torch.float64).view(y.shape).to(y.dtype)
    y.backward(weights + y.detach().cos())
    found = {"output": y.detach(), "gradient of x": x.grad}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in norm.named_parameters()}
    return found | dict(norm.named_buffers())


def torchs(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """The module itself, on [B, C, positions, 1]; contiguous: for others with B = 1 torch 2.11 errs on a CPU."""
    return norm(x.permute(2, 1, 0).contiguous()[..., None])[..., 0].permute(2, 1, 0)


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        distance = (found[name].double() - value.double()).norm() / (value.double().norm() + 1e-30)
        assert distance < tolerance, (name, float(distance))
        assert found[name].dtype == value.dtype


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("shape", "groups"), [((48, 5, 9), 6), ((48, 5, 9), 1), ((147, 3, 16), 21), ((16, 4, 1), 2)])
def test_equals_torchs(shape: tuple[int, ...], groups: int, dtype: torch.dtype, affine: bool, device: str) -> None:
    def by_groups(x: Tensor, norm: Any) -> Tensor:
        norm.num_batches_tracked.add_(1)
        return batch_norm_in_groups(x, norm, groups)

    norm = module(shape[1], device, dtype, affine=affine, momentum=0.23, eps=1e-3)
    x = maps(shape, device, dtype)
    # In bf16 torch's function, too, is held against what float64 makes of the same numbers.
    exact = results(torchs, x.double(), copy.deepcopy(norm).double()) if dtype == torch.bfloat16 else None
    expected, found = results(torchs, x, norm), results(by_groups, x, norm)
    trained = {"gradient of weight", "gradient of bias"} if affine else set()
    assert found.keys() == {"output", "gradient of x", "running_mean", "running_var", "num_batches_tracked"} | trained
    if exact is None:
        compare(found, expected, TOLERANCE[dtype])
        return
    for name, value in found.items():
        distances = [
            (v.double() - exact[name].double()).norm() / exact[name].double().norm() for v in (value, expected[name])
        ]
        assert value.dtype == expected[name].dtype
        assert distances[0] < max(1.5 * distances[1], 1e-6), (name, distances)
        if "running" in name:  # statistics are not rounded to bf16
            assert distances[0] < 1e-6


def test_gradcheck(device: str) -> None:
    norm = module(3, device, torch.float64)

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        changed = copy.deepcopy(norm)
        del changed.weight, changed.bias
        changed.weight, changed.bias = weight, bias
        return batch_norm_in_groups(x, changed, 4)

    given = maps((8, 3, 4), device, torch.float64), norm.weight, norm.bias
    assert torch.autograd.gradcheck(function, given)


def test_a_large_mean_costs_no_digits(device: str) -> None:
    # 1000 +- 0.4 in float32: E[x^2] - E[x]^2 would leave nothing of the variance.
    x, norm = maps((64, 3, 32), device, torch.float32, mean=1000.0), module(3, device, torch.float32)
    exact = results(torchs, x.double(), copy.deepcopy(norm).double())
    found = results(lambda x, norm: batch_norm_in_groups(x, norm, 8), x, norm)
    for name in ("output", "gradient of x", "running_var"):
        assert (found[name].double() - exact[name]).norm() < 2e-4 * exact[name].norm(), name
    naive = (x**2).mean((0, 2)) - x.mean((0, 2)) ** 2
    assert (naive.double() - x.double().var((0, 2), correction=0)).abs().max() > 0.01  # control


@pytest.mark.parametrize(
    ("positions", "channels", "groups"),
    [
        (3136, 32, 16),
        (784, 63, 14),
        (588, 32, 21),
        (147, 63, 7),
        (4, 95, 1),
        (1, 256, 1),
        (13, 32, 1),
        (3136, 600, 1),
        (64, 32, 8),
    ],
)
def test_groups_fill_a_gpu_and_share_the_positions_evenly(positions: int, channels: int, groups: int) -> None:
    assert groups_of(positions, channels) == groups
    assert positions % groups == 0


def test_on_a_cpu_it_is_torchs_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "batch_norm_in_groups", None)  # is not called
    for training in (True, False):
        norm = module(5, "cpu", torch.float32).train(training)
        x = maps((48, 5, 9), "cpu", torch.float32)
        found, expected = copy.deepcopy(norm), copy.deepcopy(norm)
        y = batch_norm(x, found)
        expected.num_batches_tracked.add_(int(training))
        z = nn.functional.batch_norm(
            x, expected.running_mean, expected.running_var, expected.weight, expected.bias, training, 0.1, 1e-5
        )
        assert torch.equal(y, z)
        assert all(torch.equal(value, found.state_dict()[name]) for name, value in expected.state_dict().items())


def test_a_mean_over_all_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum is None"):
        batch_norm(torch.zeros(4, 3, 2), nn.BatchNorm2d(3, momentum=None))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_ses_vector_28", "mnist_ses_scalar_56", "mnist_cnn_28"])
def test_a_network_is_the_same_with_it(few_channels: None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def by_groups(x: Tensor, norm: Any) -> Tensor:
        used.append(groups_of(*x.shape[:2]))
        norm.num_batches_tracked.add_(1)
        return batch_norm_in_groups(x, norm, used[-1])

    synchronised.install(monkeypatch)
    torch.manual_seed(0)
    model = fast.accelerate(models.build(name).double())
    model.classifier[3].p = 0.0
    x, start = torch.randn(4, 1, 28, 28, dtype=torch.float64), copy.deepcopy(model.state_dict())
    found = []
    for way in (batch_norm, by_groups):
        monkeypatch.setattr(engine, "batch_norm", way)
        model.load_state_dict(start)
        model.zero_grad()
        model(x).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()] + [b.flatten() for b in model.buffers()]))
    assert (found[1] - found[0]).norm() < 1e-11 * found[0].norm()
    assert used[0] > 1


class Traffic(TorchDispatchMode):
    """Counts what operations read and write of tensors as large as the map, and the operations on small ones."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.maps, self.small = elements, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "detach" not in func.name():
            self.note(*args, result)
        return result

    def note(self, *values: Any) -> None:
        large = sum(isinstance(value, Tensor) and value.numel() == self.elements for value in values)
        self.maps, self.small = self.maps + large, self.small + (not large)

    def whole(self, part: Callable[..., Any]) -> Callable[..., Any]:
        """`part` as one operation, as it is on a GPU."""

        def counted(*args: Any) -> Any:
            with _disable_current_modes():
                result = part(*args)
            # The union of groups is told the map for its type and its size only.
            self.note(*(args[1:] if part is synchronised.gather else args), result)
            return result

        return counted


def test_reads_and_writes_no_more_than_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    # As torch's: the statistics read the map, the pass reads and writes it; the sums read it and its gradient, the
    # gradient's pass reads both and writes one.
    x, norm = maps((3136, 2, 8), "cpu", torch.float32), module(2, "cpu", torch.float32)
    traffic, gradient = Traffic(x.numel()), torch.ones_like(x.detach())
    for name, part in synchronised.PARTS.items():
        monkeypatch.setattr(torch, name, traffic.whole(part))
    with traffic:
        y = batch_norm_in_groups(x, norm, 16)
        assert (traffic.maps, traffic.small) == (1 + 2, 2)  # small: the groups' counts, their union
        _GroupedBatchNorm.backward(y.grad_fn, gradient)
    assert traffic.maps == 3 + (2 + 3)
    assert traffic.small == 2 + 6  # two repeated, two summed, a count, a product


def test_in_evaluation_the_running_values_count_though_they_are_tracked_no_more() -> None:
    norm = nn.BatchNorm2d(3).eval()
    for values in (norm.running_mean, norm.running_var):
        values.copy_(torch.tensor([0.5, 1.0, 2.0]))  # type: ignore[union-attr]
    norm.track_running_stats = False
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))  # [positions, C, B]
    with torch.no_grad():
        torch.testing.assert_close(batch_norm(x, norm), norm(x.permute(2, 1, 0)[..., None])[..., 0].permute(2, 1, 0))
