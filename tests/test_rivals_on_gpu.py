"""The rivals on a GPU, by what can be known without one: where tensors are, what waits, what a GPU's way computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import synchronised
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sesn_lib.fast import accelerate, engine, norms, resampled, rivals, spectral
from sesn_lib.models import build
from sesn_lib.models.rivals import RIVALS
from sesn_lib.training.mnist_scale import new_optimizer, train_step

# There torch asks the GPU itself which convolution it would take, and where there is none the process ends.
pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("2.6.") and not torch.cuda.is_available(),
    reason="torch 2.6 convolves tensors without values on a GPU only where there is one",
)
SMALL = [name for name in RIVALS if name.endswith("_28")]


class Copies(TorchDispatchMode):
    """Counts what is copied from the CPU to another device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        inputs = {x.device.type for x in args if isinstance(x, Tensor) and x.dim()}
        outputs = {result.device.type} if isinstance(result, Tensor) else set()
        self.count += inputs == {"cpu"} and bool(outputs - {"cpu"})
        return result


def on_fake(model: nn.Module, device: str) -> None:
    """Tensors that have a device and no values in place of the model's own."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for key, value in tensors.items():
                fake = None if value is None else torch.empty_like(value, device=device)
                is_parameter = isinstance(value, nn.Parameter)
                tensors[key] = nn.Parameter(fake, value.requires_grad) if is_parameter else fake


@contextmanager
def bf16(device: str) -> Iterator[None]:
    """Autocast to bf16; `torch.autocast` itself refuses a GPU that is not there."""
    was_enabled, was = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, was_enabled)
        torch.set_autocast_dtype(device, was)


@pytest.fixture
def gpu_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fast path does differently on a GPU is done on every device."""
    synchronised.install(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for module in (engine, resampled, rivals):
        monkeypatch.setattr(module, "max_pool", spectral.max_pool_by_index)

    def by_groups(x: Tensor, norm: Any) -> Tensor:
        groups = norms.groups_of(*x.shape[:2])
        if not norm.training or groups == 1:
            return norms.batch_norm(x, norm)
        norm.num_batches_tracked.add_(1)
        return norms.batch_norm_in_groups(x, norm, groups)

    monkeypatch.setattr(engine, "batch_norm", by_groups)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_gpus_way_computes_the_same(few_channels: None, name: str, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    model = accelerate(build(name).double())
    model.classifier[3].p = 0.0
    start = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    found = []
    for way in (None, "gpu_way"):
        if way is not None:
            request.getfixturevalue(way)
        model.load_state_dict(start)
        model.zero_grad()
        logits = model(images)
        logits.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append(torch.cat([x.detach().flatten().double() for x in (logits, *gradients, *model.buffers())]))
    assert (found[1] - found[0]).norm() < 1e-11 * found[0].norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * n.endswith("_56")) for n in RIVALS])
@pytest.mark.usefixtures("gpu_way")
def test_no_step_waits_or_copies(name: str) -> None:
    """What waits for a device fails on tensors without values: `.item()`, a mask, a table left on the CPU.

    Training and evaluation as they are run: in bf16, with whole batches and an epoch's last one of 16 images.
    """
    model = accelerate(build(name))
    with FakeTensorMode(allow_non_fake_inputs=True), bf16("cuda"):
        on_fake(model, "cuda")

        def step(size: int) -> None:
            logits = model.train()(torch.empty(size, 1, 28, 28, device="cuda"))
            assert (logits.device.type, logits.dtype, logits.shape) == ("cuda", torch.bfloat16, (size, 10))

        step(16)  # brings the tables to the device: those for every size of a batch
        with Copies() as copies:
            step(128)
            with torch.inference_mode():
                assert model.eval()(torch.empty(1000, 1, 28, 28, device="cuda")).shape == (1000, 10)
        assert copies.count == 0
    with FakeTensorMode(allow_non_fake_inputs=True), bf16("cpu"):
        on_fake(model, "cpu")  # torch differentiates on a GPU only where there is one
        F.cross_entropy(model.train()(torch.empty(128, 1, 28, 28)).float(), torch.zeros(128).long()).backward()
        assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_what_a_step_changes_stays_where_it_is(name: str) -> None:
    """A graph goes on writing where it wrote when it was recorded."""
    torch.manual_seed(0)
    model = accelerate(build(name))
    optimizer = new_optimizer(model, 0.01)
    images, labels = torch.randn(8, 1, 28, 28), torch.arange(8)

    def places() -> dict[str, int]:
        moments = {f"{i} {key}": v for i, s in enumerate(optimizer.state.values()) for key, v in s.items()}
        return {key: value.data_ptr() for key, value in (model.state_dict() | moments).items()}

    train_step(model, optimizer, images, labels, "bf16")
    before, values = places(), {key: value.clone() for key, value in model.state_dict().items()}
    train_step(model, optimizer, images, labels, "bf16")
    assert places() == before
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, values[key])}
    assert {key for key in values if "running_var" in key and "blocks.9" not in key} <= changed


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, pytest.param("mnist_kanazawa_56", marks=pytest.mark.long)])
def test_the_literal_form_does_not_wait_either(name: str) -> None:
    model = build(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_fake(model, "cuda")
        images = torch.empty(8, 1, 28, 28, device="cuda")
        assert model(images).shape == (8, 10)
        with Copies() as copies:
            model(images)
        assert copies.count == 0
        on_fake(model, "cpu")
        model(torch.empty(8, 1, 28, 28)).square().sum().backward()


def test_waiting_and_copying_are_noticed() -> None:
    class Waiting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.amax().item()

    class Copying(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.zeros(28, 28).to(x.device)

    for layer in (Waiting(), Copying()):
        model = build("mnist_dss_vector_28")
        model.blocks.insert(0, layer)
        with FakeTensorMode(allow_non_fake_inputs=True):
            on_fake(model, "cuda")
            images = torch.empty(8, 1, 28, 28, device="cuda")
            if isinstance(layer, Waiting):
                with pytest.raises(DataDependentOutputException):
                    model(images)
                continue
            model(images)
            with Copies() as copies:
                model(images)
            assert copies.count == 1
