"""Checkpoints from elsewhere: loaded, or refused in one line that names the cause."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REFERENCE
from torch import Tensor, nn

from sesn_lib.models import build, load_official

State = dict[str, Tensor]
NAME = "mnist_ses_vector_28"
KEYS = list(json.loads((REFERENCE / "models.json").read_text())["mnist_ses_vector_28p"]["state_dict"])
"""The authors' keys of this network, which are those of its twin for training with other scales."""
TRAINED = [key for key in KEYS if not key.endswith("basis")]


def ours(model: nn.Module) -> State:
    """The entries of our state that their checkpoints hold, which is in the same order."""
    return {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def state() -> State:
    """A checkpoint in the authors' keys, with their constants."""
    torch.manual_seed(3)
    model = build(NAME)
    bases = [module.functions.clone() for module in model.modules() if hasattr(module, "functions")]
    constants = [key for key in KEYS if key.endswith("basis")]
    return dict(zip(TRAINED, ours(model).values(), strict=True)) | dict(zip(constants, bases, strict=True))


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def others(state: State) -> State:
    """Of the same shapes, with other values."""
    return {key: value if key.endswith("basis") else value + 1 for key, value in state.items()}


GOOD: dict[str, Callable[[State], Any]] = {
    "as it is": lambda s: s,
    "under state_dict": lambda s: {"state_dict": s, "epoch": 3, "best": torch.tensor(0.9)},
    "under model": lambda s: {"model": s, "optimizer": {"state": {}}},
    "a dictionary in a dictionary in a dictionary": lambda s: {"model": {"state_dict": s}},
    "of several devices": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled, of several devices": lambda s: {"state_dict": prefixed(s, "module._orig_mod.")},
    "of several devices, compiled": lambda s: prefixed(s, "_orig_mod.module."),
    "of a larger module": lambda s: prefixed(s, "net.body."),
    "by a name of one's own": lambda s: {"a": s, "b": 1},
    "deep": lambda s: {"checkpoint": {"ema": {"shadow": s}}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
    "beside another average": lambda s: {"ema": prefixed(others(s), "module."), "model": s, "loss": torch.tensor(0.3)},
    "under two names": lambda s: {"weights": others(s), "state_dict": s, "net": others(s)},
    "averaged": lambda s: {"n_averaged": torch.tensor(3)} | prefixed(s, "module."),
    "counted": lambda s: s | {"total_ops": torch.zeros(1), "main.0.total_params": torch.zeros(1)},
    "parts compiled": lambda s: {k.replace("main.0.", "main.0._orig_mod."): v for k, v in s.items()},
    "parts recomputed": lambda s: {k.replace("main.4.", "main.4._checkpoint_wrapped_module."): v for k, v in s.items()},
    "in float64": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
    "in bf16": lambda s: {k: v.bfloat16() if v.is_floating_point() else v for k, v in s.items()},
    "in float16": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "parameters": lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
    "without constants": lambda s: {k: v for k, v in s.items() if not k.endswith("basis")},
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("as_file", [False, True], ids=["dictionary", "file"])
def test_loads(kind: str, as_file: bool, state: State, tmp_path: Path) -> None:
    given = GOOD[kind](state)
    if as_file:
        torch.save(given, tmp_path / "model {1}.tar")
        given = str(tmp_path / "model {1}.tar")
    model = build(NAME)
    fresh = {key: value.clone() for key, value in ours(model).items()}
    within = {"rtol": 1e-2, "atol": 1e-2} if "16" in kind else {"rtol": 0, "atol": 0}
    expected = dict(zip(fresh, (state[key] for key in TRAINED), strict=True))
    torch.testing.assert_close(ours(load_official(model, given)), expected, **within)
    assert any((fresh[key] != expected[key]).any() for key in fresh), "the control: it had others"


BAD: dict[str, tuple[Callable[[State], Any], str]] = {
    "nothing": (lambda s: {}, "state_dict is empty: it must have the authors' entries"),
    "a list": (lambda s: [1], "state_dict is a list: it must be a dictionary of tensors, or a file"),
    "None": (lambda s: None, "state_dict is a NoneType"),
    "a module": (lambda s: build(NAME), r"state_dict is a MNISTNet: give its state_dict\(\)"),
    "a module inside": (
        lambda s: {"net": build(NAME)},
        r"holds \['net'\], and no dictionary .*; net is a MNISTNet: give",
    ),
    "two that fit": (
        lambda s: {"teacher": s, "student": s},
        r"such a network under \['teacher', 'student'\]: give one",
    ),
    "an optimizer": (lambda s: {"optimizer": {"state": {}}}, r"holds \['optimizer'\], and no dictionary of tensors"),
    "itself": (lambda s: (around := {}) or around.update(model=around) or around, "and no dictionary of tensors in it"),
    "numbered": (lambda s: dict(enumerate(s.values())), r"left over \['0', '1', '10'\] and"),
    "integers": (lambda s: s | {"main.0.bias": torch.ones(32, dtype=torch.int32)}, "main.0.bias is torch.int32: the"),
    "arrays": (lambda s: {k: v.numpy() for k, v in s.items()}, r"main.0.weight is array.*: it must be a tensor"),
    "another network": (
        lambda s: {"layer1.weight": torch.zeros(1)},
        "missing .* and .* more, .* in all, left over .*; no key is this model's: is it of another network?",
    ),
    "another prefix": (lambda s: prefixed(s, "net.body.") | {"head.x": torch.zeros(1)}, "have 'net.body.' in front"),
    "our own keys": (lambda s: build(NAME).state_dict(), "this library's own keys: model.load_state_dict takes them"),
    "numbers": (lambda s: s | {"main.0.bias": 3}, "main.0.bias is 3: it must be a tensor"),
    "NaN": (lambda s: s | {"main.0.bias": torch.full((32,), torch.nan)}, "main.0.bias is a tensor with NaN"),
    "one NaN": (lambda s: s | {"main.0.bias": torch.tensor([torch.nan] + [0.0] * 31)}, "main.0.bias is .* with NaN"),
    "infinity": (lambda s: s | {"main.0.bias": torch.full((32,), -torch.inf)}, "main.0.bias is .* or infinity"),
    "no numbers": (lambda s: {k: v.to("meta") for k, v in s.items()}, "is on the meta device: it has a shape and no"),
    "sparse": (lambda s: s | {"main.0.bias": torch.zeros(32).to_sparse()}, "main.0.bias is .*sparse.* dense tensor"),
    "complex": (lambda s: s | {"main.0.bias": torch.zeros(32, dtype=torch.cfloat)}, "main.0.bias is torch.complex64"),
    "a wrong constant": (lambda s: s | {"main.0.basis": s["main.0.basis"] * 1.01}, "main.0.basis deviates by .* at"),
    "a wrong constant in bf16": (
        lambda s: {k: (1.05 * v if k.endswith("basis") else v).bfloat16() for k, v in s.items()},
        "main.0.basis deviates by",
    ),
    "partly wrapped": (lambda s: s | {"module.x": torch.zeros(1)}, r"missing none, left over \['module.x'\]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_is_refused_in_one_line(kind: str, state: State) -> None:
    make, message = BAD[kind]
    model = build(NAME)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as told:
        load_official(model, make(state))
    assert len(str(told.value).splitlines()) == 1
    assert len(str(told.value)) < 600
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_large_networks_are_refused_as_shortly() -> None:
    with pytest.raises(ValueError, match=r"missing \['.*'\] and \d+ more, \d+ in all") as told:
        load_official(build("wrn_16_8_ses_b", input_size=16), {"x" * 5000: torch.zeros(1)})
    assert len(str(told.value)) < 600


def packed(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n<html><body>Sign in</body></html>", "it is an HTML page or XML, not the file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "it is a pointer of Git LFS: `git lfs pull`",
        ),
        (gzip.compress(b"x", mtime=0), "it is packed with gzip: unpack it first"),
        (b"a" * 257 + b"ustar" + b"x" * 300, "it is a tar archive: unpack it first"),
        (
            b"\x40\0\0\0\0\0\0\0" + b'{"main.0.weight":{"dtype":"F32"',
            "it is a safetensors file: give what safetensors.t",
        ),
        (b"\x80\x04\x95garbage", "it is no checkpoint of torch, or damaged"),
        (b"PK\x03\x04cut off", "it is cut off or damaged"),
        (packed("main.0.weight.npy"), r"it is a zip archive with \['main.0.weight.npy'\]"),
        (packed("a/constants.pkl", "a/code/x.py"), "it is a TorchScript archive: give the state_dict"),
        (packed("a/data.pkl", "a/version"), "it is no checkpoint of torch, or damaged"),
    ],
)
def test_files_that_are_none(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=f"is no file of tensors alone, as torch.save makes of a state dict: {reason}"
    ) as told:
        load_official(build(NAME), path)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "what"), [("x.pt", "not there"), (".", "a folder"), ("https://a.b/x.pt", "not there")]
)
def test_paths_that_are_none(path: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"{path!r} is {what}: it must be a checkpoint file")):
        load_official(build(NAME), path)


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (lambda: build(NAME), r"sesn_lib\.models\.mnist\.MNISTNet"),
        (lambda: {"args": Namespace(a=1)}, r"argparse\.Namespace"),
    ],
)
def test_files_that_would_run_code_are_not_opened(held: Callable[[], Any], kind: str, tmp_path: Path) -> None:
    torch.save(held(), tmp_path / "whole.pt")
    with pytest.raises(
        ValueError, match=rf"it also holds {kind}; if you trust it, give the state dict that torch"
    ) as told:
        load_official(build(NAME), tmp_path / "whole.pt")
    assert len(str(told.value).splitlines()) == 1
    assert str(told.value).isprintable()


def test_models_that_take_none(state: State) -> None:
    with torch.device("meta"):
        empty = build(NAME)
    with pytest.raises(ValueError, match=r"model is on the meta device and has no storage: move it by `to_empty"):
        load_official(empty, state)
    with pytest.raises(ValueError, match=r"model is a DataParallel: it must be a network of sesn_lib.models.build"):
        load_official(nn.DataParallel(build(NAME)), state)
