"""The fast path against the modules it stands for: logits, gradients, buffers."""

from __future__ import annotations

import pytest
import synchronised
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sesn_lib.fast import accelerate
from sesn_lib.models import build, names
from sesn_lib.models.rivals import RIVALS

MNIST = [name for name in names() if name.startswith("mnist") and name not in RIVALS]
# At 56 pixels the literal forms of the others take very long.
COMPARED = [*MNIST, *(name for name in RIVALS if "_28" in name or "_dss_" in name or "kanazawa" in name)]
QUICK = {"mnist_cnn_28", "mnist_ses_scalar_28", "mnist_ses_vector_28"}


def run(model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, all gradients in one vector, and the buffers after a step in training mode."""
    model.zero_grad()
    logits = model(x)
    torch.nn.functional.cross_entropy(logits, target).backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return logits.detach(), gradients, {k: v.clone() for k, v in model.named_buffers()}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n not in QUICK)) for n in COMPARED])
def test_equals_the_modules(name: str) -> None:
    assert_equal(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPARED if name not in QUICK])
def test_equals_the_modules_of_a_narrow_network(few_channels: None, name: str) -> None:
    assert_equal(name)


def assert_equal(name: str) -> None:
    torch.manual_seed(0)
    model = build(name).double()
    model.classifier.eval()  # dropout would draw other units in the two runs, and two images are no statistics
    for p in model.parameters():  # initial biases of zero would hide where they are added
        p.data += 0.05 * torch.randn_like(p) * p.requires_grad
    x, target = torch.randn(2, 1, 28, 28, dtype=torch.float64), torch.arange(2)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    slow = run(model, x, target)
    model.load_state_dict(start)
    assert list(accelerate(model).state_dict()) == list(start)
    fast = run(model, x, target)
    assert (fast[0] - slow[0]).norm() < 1e-12 * slow[0].norm()
    assert (fast[1] - slow[1]).norm() < 1e-11 * slow[1].norm()
    for key, buffer in slow[2].items():
        torch.testing.assert_close(fast[2][key], buffer, rtol=1e-12, atol=1e-12, msg=key)
    # And in evaluation mode, where the statistics are the stored ones.
    model.eval()
    with torch.inference_mode():
        quick = model(x[:1])
        model.engine = None
        assert (quick - model(x[:1])).norm() < 1e-12 * quick.norm()


def test_float32_and_bf16_stay_within_rounding() -> None:
    torch.manual_seed(0)
    model = build("mnist_ses_vector_28").eval()
    x = torch.randn(16, 1, 28, 28)
    with torch.inference_mode():
        truth = build("mnist_ses_vector_28").double().eval()
        truth.load_state_dict(model.state_dict())
        exact = truth(x.double())
        accelerate(model)
        single = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x)
            model.engine = None
            layer_by_layer = model(x)

    def error(y: Tensor) -> float:
        return ((y.double() - exact).norm() / exact.norm()).item()

    assert error(single) < 1e-5
    # bf16 keeps 8 bits; autocast of the plain modules is the measure of what that costs.
    assert error(half) < 0.05
    assert error(half) < 3 * error(layer_by_layer)


def test_a_wrong_filter_is_noticed() -> None:
    torch.manual_seed(0)
    model = build("mnist_ses_scalar_28").double().eval()
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    with torch.inference_mode():
        truth = model(x)
        engine = accelerate(model).engine
        first, second = engine.spectral[0][:2]
        engine.spectral[0][:2] = [second, first]  # control: two scales exchange their filters, and nothing else
        moved = model(x)
        assert torch.allclose(moved, truth)  # the scalar network takes the maximum over scales: no change
        engine.spectral[0][1] = second  # one scale twice, another never: this must show
        assert (model(x) - truth).norm() > 1e-3 * truth.norm()


def test_only_mnist_networks_can_be_accelerated() -> None:
    with pytest.raises(ValueError, match="a Linear cannot be accelerated: only the MNIST-scale networks can"):
        accelerate(nn.Linear(2, 2))


def on_a_gpu(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets it compute there as far as that goes without one: on tensors that have a device and no values."""
    synchronised.install(monkeypatch)
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for key, value in tensors.items():
                fake = None if value is None else torch.empty_like(value, device="cuda")
                tensors[key] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake


@pytest.mark.slow
@pytest.mark.parametrize("name", MNIST)
def test_all_of_it_is_on_one_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = accelerate(build(name))
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_a_gpu(model, monkeypatch)
        logits = model(torch.empty(8, 1, 28, 28, device="cuda"))
        assert (logits.device.type, logits.shape) == ("cuda", (8, 10))


def test_a_table_left_behind_on_the_cpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = accelerate(build("mnist_ses_scalar_28"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_a_gpu(model, monkeypatch)
        model(torch.empty(8, 1, 28, 28, device="cuda"))
        cache = model.engine.spectral[0][0]._cache
        cache.update({key: {k: v.cpu() for k, v in tables.items()} for key, tables in cache.items()})
        with pytest.raises(Exception, match="device"):
            model(torch.empty(8, 1, 28, 28, device="cuda"))


def test_fast_path_of_a_float64_network_is_exact() -> None:
    """A network that was in float32 first, too: nothing of it may be rounded any more."""
    torch.manual_seed(0)
    model = build("mnist_ses_scalar_28").eval()
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    with torch.inference_mode():
        accelerate(model)(x.float())
        fast = model.double()(x)
        model.engine = None
        assert (fast - model(x)).norm() < 1e-12 * fast.norm()
