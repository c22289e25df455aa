"""The wide residual networks: against the authors' numbers, and against a second writing of the same text."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipe import recipe, relative
from torch import Tensor, nn

from sesn_lib.basis import hermite_a
from sesn_lib.layers import ConvHH, ConvTH
from sesn_lib.models import build, load_official, names
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet, summary

NAMES = list(VARIANTS)
PARAMETERS = dict(zip(NAMES, (10_961_370, 10_961_370, 10_961_370, 10_979_802)))
SCALES = {letter: (s, s * 1.41, s * 1.41**2) for letter, s in {"a": 0.9, "b": 0.9, "c": 1.1}.items()}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def published(reference_folder):
    """The authors' keys and shapes of `_b`."""
    return json.loads((reference_folder / "models.json").read_text())["wrn_16_8_ses_b"]["state_dict"]


def official_shapes(published: dict[str, list[int]], name: str) -> dict[str, list[int]]:
    """Keys and shapes of the other three, made from those of `_b` by the differences between them."""
    if name == "wrn_16_8_ses_b":
        return dict(published)
    shapes = {}
    for key, shape in published.items():
        if "conv1.1.weight" in key:
            shape = [*shape[:2], 1, 9]
        if name == "wrn_16_8_ses_c" and key == "block1.layer.0.conv1.weight":
            shape = [128, 16, 2, 9]
        if name == "wrn_16_8":
            if key.endswith("basis"):
                continue
            if len(shape) > 2 and shape[-1] == 9:
                shape = [*shape[:2], 3, 3]
        shapes[key.replace("conv1.1.", "conv1.")] = shape
    return shapes


def checkpoint(shapes: dict[str, list[int]], name: str) -> dict[str, Tensor]:
    values = {key: recipe(key, shape) for key, shape in shapes.items() if not key.endswith("basis")}
    for key in shapes:
        if key.endswith("basis"):
            values[key] = hermite_a(7, SCALES[name[-1]], 3)
        if key.endswith("running_var"):
            values[key.replace("running_var", "num_batches_tracked")] = torch.tensor(3)
    return values


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    assert sum(p.numel() for p in build(name).parameters()) == PARAMETERS[name]


def test_names_are_offered_by_the_zoo():
    assert set(NAMES) <= set(names())
    with pytest.raises(ValueError, match="did you mean 'wrn_16_8_ses_b'"):
        build("wrn_16_8_sesb")


@pytest.mark.slow
def test_logits_equal_the_authors(reference_folder, published):
    """On the first of the two reference images, in float32; a forward pass at full size takes seconds."""
    model = load_official(build("wrn_16_8_ses_b"), checkpoint(published, "wrn_16_8_ses_b")).eval()
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 96, 96)))
    with torch.inference_mode():
        logits = model(x[:1].float())
    truth = np.load(reference_folder / "logits.npz")["wrn_16_8_ses_b"]
    assert relative(logits, truth[:1]) < 1e-5
    assert relative(logits, truth[1:]) > 1e-3  # the other image's logits are others


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_authors_checkpoints_load(name, published):
    values = checkpoint(official_shapes(published, name), name)
    model = load_official(build(name), values)
    state = model.state_dict()
    assert torch.equal(state["classifier.weight"], values["fc.weight"])
    assert torch.equal(state["groups.2.1.norm2.running_var"], values["block3.layer.1.bn2.running_var"])
    shortcut = values["block1.layer.0.convShortcut.weight"]
    assert torch.equal(state["groups.0.0.shortcut.weight"].flatten(), shortcut.flatten())
    entry = "block2.layer.0.conv1.1.weight" if name.endswith("_b") else "block2.layer.0.conv1.weight"
    assert torch.equal(model.groups[1][0].conv1.state_dict().popitem()[1], values[entry])


@pytest.mark.slow
def test_a_checkpoint_of_another_variant_is_refused(published):
    values = checkpoint(official_shapes(published, "wrn_16_8_ses_a"), "wrn_16_8_ses_a")
    with pytest.raises(ValueError, match=r"conv1\.1\.weight"):
        load_official(build("wrn_16_8_ses_b"), values)
    with pytest.raises(ValueError, match=r"block1\.layer\.0\.conv1\.weight has shape \[128, 16, 1, 9\]"):
        load_official(build("wrn_16_8_ses_c"), values)
    del values["fc.bias"]
    with pytest.raises(ValueError, match=r"missing \['fc.bias'\]"):
        load_official(build("wrn_16_8_ses_a"), values)


# A second writing: the network as a function of the authors' keys, every scale of every layer written out.


def _plain(v: dict[str, Tensor], key: str, x: Tensor, stride: int, _: Tensor | None) -> Tensor:
    return F.conv2d(x, v[key], stride=stride, padding=1)


def _steerable(v: dict[str, Tensor], key: str, x: Tensor, stride: int, basis: Tensor) -> Tensor:
    def one(image: Tensor, weight: Tensor, s: int) -> Tensor:
        return F.conv2d(image, torch.einsum("ocb,bij->ocij", weight, basis[:, s]), stride=stride, padding=3)

    weight = v[key]
    if weight.dim() == 3:  # lifts an image to the scales
        return torch.stack([one(x, weight, s) for s in range(3)], 2)
    scales = []
    for s in range(3):
        seen = [k for k in range(weight.shape[2]) if s + k < 3]
        scales.append(torch.stack([one(x[:, :, s + k], weight[:, :, k], s) for k in seen]).sum(0))
    return torch.stack(scales, 2)


def _normalise(v: dict[str, Tensor], key: str, x: Tensor) -> Tensor:
    view = [1, -1] + [1] * (x.dim() - 2)
    parts = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (v[f"{key}.{part}"].view(view) for part in parts)
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def twin(v: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    plain = name == "wrn_16_8"
    conv = _plain if plain else _steerable
    basis = None if plain else hermite_a(7, SCALES[name[-1]], 3, dtype=torch.float64)
    x = conv(v, "conv1.weight", x, 1, basis)
    for group in (1, 2, 3):
        for unit in (0, 1):
            key = f"block{group}.layer.{unit}"
            stride = 2 if group > 1 and unit == 0 else 1
            h = _normalise(v, f"{key}.bn1", x).clamp(min=0)
            if f"{key}.conv1.1.weight" in v:
                y = conv(v, f"{key}.conv1.1.weight", h.max(dim=2).values, stride, basis)
            else:
                y = conv(v, f"{key}.conv1.weight", h, stride, basis)
            y = conv(v, f"{key}.conv2.weight", _normalise(v, f"{key}.bn2", y).clamp(min=0), 1, basis)
            if f"{key}.convShortcut.weight" in v:
                mixed = torch.einsum("oc,bc...->bo...", v[f"{key}.convShortcut.weight"].flatten(1), h)
                x = mixed[..., ::stride, ::stride] + y
            else:
                x = x + y
    x = x if plain else x.max(dim=2).values
    return _normalise(v, "bn1", x).clamp(min=0).mean(dim=(2, 3)) @ v["fc.weight"].T + v["fc.bias"]


def narrow(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same network with widening 1 and 7 classes: groups of 16, 32, 64 channels, no shortcut in the first."""

    def width(n: int) -> int:
        return {10: 7}.get(n, n if n <= 16 else n // 8)

    shapes = {key: shape for key, shape in shapes.items() if "block1.layer.0.convShortcut" not in key}
    return {
        key: shape if key.endswith("basis") else [*map(width, shape[:2]), *shape[2:]] for key, shape in shapes.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_equals_its_twin(name, published):
    torch.manual_seed(0)
    shapes = narrow(official_shapes(published, name))
    values = {key: value.double() for key, value in checkpoint(shapes, name).items()}
    model = load_official(WideResNet(VARIANTS[name], widening=1, input_size=20, num_classes=7), values).double().eval()
    layers = [layer for layer in model.modules() if isinstance(layer, (ConvTH, ConvHH))]
    for layer in layers:  # both sides on the unrounded basis
        layer.basis.functions = hermite_a(7, SCALES[name[-1]], 3, dtype=torch.float64)
    x = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    with torch.inference_mode():
        assert relative(model(x), twin(values, name, x)) < 1e-12
        values["block2.layer.0.bn1.weight"] = values["block2.layer.0.bn1.weight"].flip(0)
        assert relative(model(x), twin(values, name, x)) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_initial_values(name):
    torch.manual_seed(0)
    model = build(name)
    expected = {
        "stem": 0.1179,
        "groups.0.1.conv1": 0.04167,
        "groups.1.1.conv2": 0.02946,
        "groups.2.1.conv2": 0.02083,
        "groups.0.0.shortcut": 0.1250,
        "groups.2.0.shortcut": 0.0625,
        "groups.0.0.conv1": 0.02946 if name.endswith("_c") else 0.04167,
    }
    modules = dict(model.named_modules())
    for key, std in expected.items():
        weight = modules[key].weight
        tolerance = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a sample's standard deviation
        assert weight.std().item() == pytest.approx(std, rel=tolerance + 1e-3), key
        assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel()), key
    assert not model.classifier.bias.any()
    assert model.classifier.weight.abs().max() <= 1 / math.sqrt(512)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 13
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)


def test_dropout_and_strides():
    model = WideResNet(VARIANTS["wrn_16_8_ses_b"], widening=1, input_size=24)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.3] * 6
    sizes = []
    for group in model.groups:
        group.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    model(torch.zeros(2, 3, 24, 24))
    assert sizes == [(16, 3, 24, 24), (32, 3, 12, 12), (64, 3, 6, 6)]


def test_numbers_of_classes_and_pixels_are_real():
    model = WideResNet(VARIANTS["wrn_16_8_ses_a"], widening=1, input_size=33, num_classes=4)
    assert model(torch.zeros(2, 3, 33, 33)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"\[2, 3, 32, 32\]: the network was built for \[B, 3, 33, 33\]"):
        model(torch.zeros(2, 3, 32, 32))
    model = build("wrn_16_8", num_classes=3, input_size=16)
    assert model.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    with pytest.raises(ValueError, match="28 pixels only"):
        build("mnist_cnn_28", input_size=96)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 15},
        {"depth": 13},
        {"depth": 4},
        {"widening": 0},
        {"num_classes": 0},
        {"input_size": 3},
        {"dropout": 1.0},
    ],
)
def test_bad_values_are_named(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        WideResNet(VARIANTS["wrn_16_8"], **options)


def test_gradients_reach_every_parameter():
    model = WideResNet(VARIANTS["wrn_16_8_ses_c"], widening=1, input_size=16)
    F.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_what_happens(name):
    network = WideResNet(VARIANTS[name], widening=1, input_size=21)
    parts = summary(network)
    shapes = []
    stages = [network.stem, *(unit for group in network.groups for unit in group)]
    if name != "wrn_16_8":
        stages.append(network.project)
    for module in (*stages, network.classifier):
        module.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    network(torch.zeros(2, 3, 21, 21))
    assert [part.shape for part in parts] == shapes
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in network.parameters())
    kinds = {"8": "conv", "a": "group", "b": "max, lift", "c": "group"}
    assert parts[3].first == kinds[name[-1]]
    assert parts[1].first == ("group, 2 scales" if name.endswith("c") else "conv" if name == "wrn_16_8" else "group")
