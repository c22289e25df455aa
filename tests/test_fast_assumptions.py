"""The fast path computes what the modules are at the time of the call, or says what it does not cover."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe import relative
from torch import Tensor, nn
from torch.autograd import forward_ad as fwd
from torch.func import functional_call, vmap
from torch.nn.utils import parametrizations, parametrize, prune

from sesn_lib.basis import make_basis
from sesn_lib.fast import accelerate
from sesn_lib.layers import ConvHH, ConvTH, set_method
from sesn_lib.models import build
from sesn_lib.models.mnist import MNISTNet

pytestmark = pytest.mark.usefixtures("one_thread")

VECTOR, SCALAR, CNN = "mnist_ses_vector_28", "mnist_ses_scalar_28", "mnist_cnn_28"
Change = Callable[[MNISTNet], object]


def network(name: str) -> MNISTNet:
    torch.manual_seed(0)
    model = build(name)
    model.classifier[3].p = 0.0  # dropout would draw other units in the two runs
    assert isinstance(model, MNISTNet)
    return model


def images(batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(1)).to(dtype)


def both(model: MNISTNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """(by the engine that the network has, by its modules), from equal buffers."""
    buffers = {k: v.clone() for k, v in model.named_buffers()}
    with torch.no_grad():
        fast = model(x)
        after = {k: v.clone() for k, v in model.named_buffers()}
        for key, buffer in model.named_buffers():
            buffer.copy_(buffers[key])
        engine, model.engine = model.engine, None
        truth = model(x)
        model.engine = engine
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(after[key], buffer, rtol=1e-3, atol=1e-5, msg=key)
    return fast, truth


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def exchange(index: int, layer: Callable[[MNISTNet], nn.Module]) -> Change:
    return lambda model: model.blocks.__setitem__(index, layer(model))


def wider(model: MNISTNet) -> None:
    """One more channel between the first two layers, to be exact."""
    scales, channels = model.blocks[0].basis.scales, model.blocks[3].num_features + 1
    options = {"basis": "A", "padding": 7}
    model.blocks[0] = ConvTH(1, channels, 15, 4, scales, **options)
    model.blocks[3] = nn.BatchNorm3d(channels)
    model.blocks[4] = ConvHH(channels, model.blocks[7].num_features, 1, 15, 4, scales, **options)


def no_bias(model: MNISTNet) -> None:
    for layer in model.blocks:
        if getattr(layer, "bias", None) is not None and not isinstance(layer, nn.BatchNorm3d):
            layer.bias = None


def no_statistics(model: MNISTNet) -> None:
    model.blocks[3] = nn.BatchNorm3d(model.blocks[3].num_features, track_running_stats=False)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


# What is computed: every change may follow every other.
COVERED: dict[str, Change] = {
    "a layer exchanged": exchange(4, lambda m: copy.deepcopy(m.blocks[4]).apply(_redraw)),
    "a first layer with another basis": wider,
    "a basis exchanged": lambda m: (
        setattr(m.blocks[8], "basis", make_basis("B", 13, [1.5, 2.0, 3.0], 7, mult=1.4, max_order=4))
        if m.blocks[8].basis.num_scales == 3
        else None
    ),
    "functions of a basis exchanged": lambda m: setattr(m.blocks[8].basis, "functions", -m.blocks[8].basis.functions),
    "all blocks exchanged": lambda m: setattr(m, "blocks", nn.Sequential(*m.blocks)),
    "no bias": no_bias,
    "another eps": lambda m: setattr(m.blocks[3], "eps", 0.1),
    "another momentum": lambda m: setattr(m.blocks[3], "momentum", 0.7),
    "a normalisation in evaluation": lambda m: m.blocks[3].eval(),
    "a normalisation without weights": lambda m: setattr(m.blocks[7], "weight", None),
    "a normalisation without statistics": no_statistics,
    "statistics no longer tracked": lambda m: setattr(m.blocks[7], "track_running_stats", False),
    "method literal": lambda m: set_method(m, "literal"),
    "ReLU in place": lambda m: setattr(m.blocks[5], "inplace", True),
    "weights frozen": lambda m: m.requires_grad_(False),
    "weights computed from others": lambda m: (
        parametrize.is_parametrized(m.blocks[4])
        or parametrize.register_parametrization(m.blocks[4], "weight", Doubled())
    ),
    "weights loaded": lambda m: m.load_state_dict({k: v * 1.01 for k, v in m.state_dict().items()}),
    "train": lambda m: m.train(),
    "eval": lambda m: m.eval(),
    "there and back in bf16": lambda m: m.bfloat16().float(),
    "a hook on the whole network": lambda m: m.register_forward_hook(lambda *_: None),
    "a hook in the classifier": lambda m: m.classifier[0].register_forward_hook(lambda *_: None),
}


def _redraw(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        nn.init.normal_(parameter, std=0.1)


@pytest.mark.slow
@given(changes=st.lists(st.sampled_from(sorted(COVERED)), min_size=1, max_size=4), training=st.booleans())
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_the_modules_are_at_the_call(few_channels: None, changes: list[str], training: bool) -> None:
    model = network(VECTOR).train(training)
    accelerate(model)
    x = images()
    model(x)
    for change in changes:
        COVERED[change](model)
    fast, truth = both(model, x)
    assert relative(fast, truth) < 1e-4, changes


@pytest.mark.parametrize("change", ["a layer exchanged", "no bias", "functions of a basis exchanged"])
def test_changes_change_something(change: str) -> None:
    """Control: an engine that looked away would be caught."""
    model = network(VECTOR).eval()
    for parameter in model.parameters():
        parameter.data += 0.05
    with torch.no_grad():
        before = accelerate(model)(images())
        COVERED[change](model)
        assert relative(model(images()), before) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", [VECTOR, "mnist_ss_28", "mnist_dss_vector_28", "mnist_sevf_vector_28", "mnist_xu_28"])
@pytest.mark.parametrize("way", [copy.deepcopy, saved], ids=["deepcopy", "torch.save"])
def test_copies_have_their_own_weights(few_channels: None, name: str, way: Callable[[nn.Module], nn.Module]) -> None:
    model = network(name).eval()
    with torch.no_grad():
        before = accelerate(model)(images())
        other = way(model)
        other.apply(_redraw)
        assert other.engine is not None
        fast, truth = both(other, images())
        assert relative(fast, truth) < 1e-4
        assert relative(fast, before) > 1e-2
        assert torch.equal(model(images()), before)


# What is refused: when it is switched over, and when it was changed afterwards.
REFUSED: dict[str, tuple[str, Change, str]] = {
    "activation": (CNN, exchange(1, lambda m: nn.GELU()), "blocks.1 is a GELU: the fast path knows a ReLU there"),
    "dropout": (
        CNN,
        lambda m: m.blocks.insert(4, nn.Dropout()),
        "blocks.4 is a Dropout: the fast path knows a Conv2d there",
    ),
    "layer left out": (CNN, lambda m: m.blocks.pop(11), "blocks.11 is missing: the fast path knows a BatchNorm2d"),
    "one more": (CNN, lambda m: m.blocks.append(nn.ReLU()), "blocks.12 is a ReLU: .* knows nothing more there"),
    "average pooling": (CNN, exchange(2, lambda m: nn.AvgPool2d(2)), "blocks.2 is a AvgPool2d"),
    "window": (CNN, exchange(2, lambda m: nn.MaxPool2d(2, 2, ceil_mode=True)), "blocks.2 has ceil_mode True"),
    "stride of pooling": (CNN, lambda m: setattr(m.blocks[2], "stride", 1), "blocks.2 has stride 1"),
    "stride": (VECTOR, lambda m: setattr(m.blocks[4], "stride", 2), "blocks.4 has stride 2: .* knows 1 only"),
    "padding": (VECTOR, lambda m: setattr(m.blocks[0], "padding", 0), "blocks.0 has padding 0: .* knows size // 2"),
    "padding mode": (
        CNN,
        exchange(0, lambda m: nn.Conv2d(1, 32, 7, padding=3, padding_mode="reflect")),
        "blocks.0 has padding_mode reflect",
    ),
    "dilation": (CNN, exchange(0, lambda m: nn.Conv2d(1, 32, 4, padding=3, dilation=2)), "blocks.0 has dilation 2"),
    "groups": (SCALAR, exchange(4, lambda m: nn.InstanceNorm2d(32)), "blocks.4 is a InstanceNorm2d"),
    "kernel": (CNN, exchange(0, lambda m: nn.Conv2d(1, 32, 5, padding=2)), "blocks.0 has kernel_size 5"),
    "several scales": (
        VECTOR,
        exchange(4, lambda m: ConvHH(32, 63, 2, 13, 3, m.blocks[0].basis.scales, basis="A", padding=6)),
        "blocks.4 has scale_extent 2",
    ),
    "numbers of scales": (
        VECTOR,
        exchange(4, lambda m: ConvHH(32, 63, 1, 13, 3, [1.0, 2.0], basis="A", padding=6)),
        "blocks.4 has 2 scales: it is given 3",
    ),
    "more scales": (
        VECTOR,
        exchange(4, lambda m: ConvHH(32, 63, 1, 13, 3, [1.0, 1.5, 2.0, 2.5], basis="A", padding=6)),
        "blocks.4 has 4 scales: it is given 3",
    ),
    "average over batches": (
        VECTOR,
        exchange(3, lambda m: nn.BatchNorm3d(32, momentum=None)),
        "blocks.3 has momentum None",
    ),
    "subclass": (CNN, exchange(1, lambda m: type("Other", (nn.ReLU,), {})()), "blocks.1 is a Other"),
    "hook": (CNN, lambda m: m.blocks[1].register_forward_hook(lambda *_: None), "blocks.1 has a forward hook"),
    "hook before": (
        VECTOR,
        lambda m: m.blocks[0].basis.register_forward_pre_hook(print),
        "basis has a forward pre hook",
    ),
    "hook on blocks": (CNN, lambda m: m.blocks.register_full_backward_hook(print), "blocks has a backward hook"),
    "hook on upsampling": (
        "mnist_cnn_56",
        lambda m: m.upsample.register_forward_hook(print),
        "upsample has a forward hook",
    ),
    "pruning": (CNN, lambda m: prune.l1_unstructured(m.blocks[0], "weight", 3), "blocks.0 has a forward pre hook"),
    "class": (
        VECTOR,
        lambda m: setattr(m.blocks[4], "__class__", type("Other", (ConvHH,), {})),
        "blocks.4 is a Other: the fast path knows a ConvHH there",
    ),
    "own method": (
        VECTOR,
        lambda m: setattr(m.blocks[8], "_convolve_scale", lambda x, weight, scale: x[:, :1]),
        "blocks.8 has a _convolve_scale of its own",
    ),
    "shape of a bias": (
        VECTOR,
        lambda m: setattr(m.blocks[0], "bias", nn.Parameter(torch.ones(1))),
        r"blocks.0 has bias of shape \[1\]: it must be \[32\] there",
    ),
    "shape of weights": (
        SCALAR,
        lambda m: setattr(m.blocks[5].weight, "data", torch.ones(63, 32, 48)),
        r"blocks.5 has weight of shape \[63, 32, 48\]: it must be \[63, 32, 49\] there",
    ),
    "channels of the input": (
        CNN,
        exchange(0, lambda m: nn.Conv2d(3, 32, 7, padding=3)),
        r"blocks.0 has weight of shape \[32, 3, 7, 7\]: it must be \[32, 1, 7, 7\] there",
    ),
    "channels that do not meet": (
        VECTOR,
        exchange(3, lambda m: nn.BatchNorm3d(31)),
        r"blocks.3 has weight of shape \[31\]: it must be \[32\] there",
    ),
    "widths of a rival": (
        "mnist_ss_28",
        exchange(2, lambda m: nn.BatchNorm2d(31)),
        r"blocks.2 has weight of shape \[31\]: it must be \[30\] there",
    ),
    "own forward": (CNN, lambda m: setattr(m.blocks[1], "forward", torch.tanh), "blocks.1 has a forward of its own"),
    "upsampling": (
        "mnist_cnn_56",
        lambda m: setattr(m, "upsample", nn.Upsample(scale_factor=2, mode="bilinear")),
        "upsample has mode bilinear: the fast path knows nearest only",
    ),
    "upsampling of another kind": (
        "mnist_cnn_56",
        lambda m: setattr(m, "upsample", nn.ReLU()),
        "upsample is a ReLU: the fast path knows a Identity there",
    ),
    "blocks of another kind": (
        CNN,
        lambda m: setattr(m, "blocks", type("Blocks", (nn.Sequential,), {})(*m.blocks)),
        "blocks is a Blocks",
    ),
    "blurs": (
        "mnist_dss_scalar_28",
        lambda m: setattr(m.blocks[0], "taps", m.blocks[0].taps * 2),
        "blocks.0 has taps",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_named(what: str) -> None:
    name, change, message = REFUSED[what]
    model = network(name).eval()
    change(model)
    with pytest.raises(ValueError, match=message) as told:
        accelerate(model)
    assert len(str(told.value).splitlines()) == 1
    assert len(str(told.value)) < 300
    assert model.engine is None
    model = network(name).eval()
    accelerate(model)
    change(model)
    with pytest.raises(ValueError, match=message):
        model(images())


def test_hooks_for_all_modules() -> None:
    model = accelerate(network(CNN).eval())
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(ValueError, match="torch has a hook for all modules"):
            model(images())
    finally:
        handle.remove()
    model(images())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [VECTOR, SCALAR, CNN])
def test_no_images(name: str, training: bool) -> None:
    def outcome() -> object:
        try:
            return model(images(0)).shape
        except ValueError as error:
            return str(error)

    model = network(name).train(training)
    slow = outcome()
    accelerate(model)
    assert outcome() == slow


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("of_input", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("of_weights", [torch.float64, torch.float32, torch.bfloat16])
def test_types_are_those_of_the_modules(of_weights: torch.dtype, of_input: torch.dtype, autocast: bool) -> None:
    """The same type of result, or an error in both."""
    if autocast and of_weights is torch.bfloat16:
        pytest.skip("torch's batch normalisation on a CPU does not take this mixture, the fast path does")
    model = network(VECTOR).to(of_weights).eval()
    x = images(dtype=of_input)

    def outcome() -> Tensor | None:
        try:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return model(x)
        except (TypeError, RuntimeError):
            return None

    slow = outcome()
    accelerate(model)
    fast = outcome()
    assert (slow is None) == (fast is None)
    if slow is not None and fast is not None:
        assert fast.dtype == slow.dtype
        within = {torch.bfloat16: 0.1, torch.float32: 1e-5, torch.float64: 1e-12}[slow.dtype]
        assert relative(fast.double(), slow.double()) < within


def test_a_kernel_that_comes_to_see_two_scales_is_noticed_on_the_call() -> None:
    model = accelerate(network(VECTOR).eval())
    weight = model.blocks[4].weight.detach()
    model.blocks[4].weight = nn.Parameter(weight.repeat(1, 1, 2, 1))
    with pytest.raises(ValueError, match="scale_extent 2: the fast path knows 1 only"):
        model(images())


def test_a_network_that_is_made_wider_is_computed_by_exact_filters() -> None:
    model = accelerate(network(VECTOR).eval())
    model(images())
    fast, truth = both(model.double(), images().double())
    assert relative(fast, truth) < 1e-12


def test_weights_of_another_type_are_named() -> None:
    model = accelerate(network(VECTOR).double().eval())
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), pytest.raises(TypeError) as told:
            model(images(dtype=torch.float32))
        assert str(told.value).startswith("input is torch.float32: ConvTH has weights of torch.float64")


def test_spectral_normalisation() -> None:
    model = network(CNN)
    parametrizations.spectral_norm(model.blocks[4])
    model.eval()
    accelerate(model)
    fast, truth = both(model, images())
    assert relative(fast, truth) < 1e-5


def test_second_derivatives_are_refused() -> None:
    """What the fast path has no second derivative of raises, and is not silently zero."""
    model = accelerate(network(CNN).double().eval())
    x = images(dtype=torch.float64).requires_grad_()
    (first,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        first.square().sum().backward()
    model.engine = None
    (first,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    first.square().sum().backward()


def _stacked(model: nn.Module, x: Tensor) -> Tensor:
    parameters, buffers = torch.func.stack_module_state([model, model])
    return vmap(lambda *state: functional_call(model, state, (x,)))(parameters, buffers)[1]


WATCHED: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "vmap over images": lambda model, x: vmap(lambda image: model(image[None])[0])(x),
    "vmap over networks": _stacked,
    "torch.func.grad": lambda model, x: torch.func.grad(lambda images: model(images).square().sum())(x),
    "torch.func.jvp": lambda model, x: torch.func.jvp(model, (x,), (x,))[1],
    "forward mode": lambda model, x: fwd.unpack_dual(model(fwd.make_dual(x, x))).tangent,
    "torch.jit.trace": lambda model, x: torch.jit.trace(model, x)(x),
    "torch.export": lambda model, x: torch.export.export(model, (x,)).module()(x),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("way", WATCHED)
def test_transforms_and_traces_are_of_the_modules(way: str) -> None:
    model = network(CNN).eval()
    with fwd.dual_level() if way == "forward mode" else nullcontext():
        truth = WATCHED[way](model, images())
        assert torch.equal(WATCHED[way](accelerate(model), images()), truth)


def test_shapes_without_values() -> None:
    model = accelerate(network(VECTOR).eval()).to("meta")
    assert model(images().to("meta")).is_meta


def test_made_and_called_under_another_default_device() -> None:
    model = network(SCALAR).eval()
    with torch.no_grad():
        truth = model(images())
        with torch.device("meta"):
            accelerate(model)
        assert relative(model(images()), truth) < 1e-5
        with torch.device("meta"):
            wherever = model.double()(X64)
        assert wherever.device.type == "cpu"


X64 = images(dtype=torch.float64)
