"""Checkpoints of the authors' code, loaded into our networks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sesn_lib.basis import Basis
from sesn_lib.checks import shown
from sesn_lib.models import foreign, mnist, wide_resnet
from sesn_lib.models.foreign import few

CONSTANTS = (".basis", ".filter_real", ".filter_imag", ".kernelx_0", ".kernely_0")


def load_official(model: nn.Module, state_dict: Mapping[str, Any] | str | os.PathLike[str]) -> nn.Module:
    """Load a checkpoint of the authors' code into one of our models; returns the model.

    Their keys are translated, every entry must find its place and every parameter its entry. Constants that their
    checkpoints carry, as bases, blurs and filters that are not trained, may be left out and must equal ours.

    Arguments:
        model: from `build`.
        state_dict: the authors' state dict, their keys, or a file of it. It may lie in larger dictionaries, by whatever
            names, and its keys may all have something in front, as `module.` or `_orig_mod.` of networks on several
            devices or compiled ones.

    Raises:
        ValueError: no checkpoint; entries missing, left over, of another shape or not finite; constants that are not
            the model's; a model without storage. In one line; the model is left as it was.
    """
    _check_model(model)
    ours = _official_names(model)
    given = foreign.read(state_dict) if isinstance(state_dict, str | os.PathLike) else state_dict
    state = foreign.entries(given, {*ours, *model.state_dict()})
    for key, value in state.items():
        _check_value(key, value)
    own_constants = _constants(model)
    constants = {key: value for key, value in state.items() if key.endswith(CONSTANTS) or key in own_constants}
    theirs = {key: value for key, value in state.items() if key not in constants}
    _check_keys(model, ours, own_constants, theirs)
    own: dict[str, Tensor] = model.state_dict()
    translated = {}
    for key, name in ours.items():
        value = theirs.get(key, own[name])
        if name.endswith("num_batches_tracked") or key in own_constants:
            translated[name] = value
            continue
        if [n for n in value.shape if n > 1] != [n for n in own[name].shape if n > 1]:
            raise ValueError(f"{key} has shape {list(value.shape)}: the model needs {list(own[name].shape)}")
        if not value.is_floating_point():
            raise ValueError(
                f"{key} is {value.dtype}: the model's is floating-point, and integers would be cut off ones"
            )
        translated[name] = value.reshape(own[name].shape)
    for key, value in constants.items():
        _check_constant(key, value, own_constants.get(key))
    model.load_state_dict(translated, strict=True)
    return model


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, mnist.MNISTNet | wide_resnet.WideResNet):
        raise ValueError(f"model is a {type(model).__name__}: it must be a network of sesn_lib.models.build, unwrapped")
    if any(value.is_meta for value in model.state_dict().values()):
        raise ValueError("model is on the meta device and has no storage: move it by `to_empty(device=...)` first")


def _check_value(key: Any, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{key} is {shown(value)}: it must be a tensor")
    if value.is_meta:
        raise ValueError(f"{key} is on the meta device: it has a shape and no numbers")
    if value.layout is not torch.strided or value.is_quantized or value.is_complex():
        raise ValueError(f"{key} is {value.dtype}, {value.layout}: it must be a dense tensor of real numbers")
    if not value.isfinite().all():
        raise ValueError(f"{key} is a tensor with NaN or infinity")


def _check_keys(
    model: nn.Module, ours: Mapping[str, str], constants: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> None:
    # Checkpoints of old torch versions lack the batch counters, and nothing here depends on them.
    required = {key for key in ours if not key.endswith("num_batches_tracked") and key not in constants}
    missing, extra = sorted(required - set(theirs)), sorted(map(str, set(theirs) - set(ours)))
    if not missing and not extra:
        return
    hint = ""
    if set(theirs) <= set(model.state_dict()):
        hint = "; these are this library's own keys: model.load_state_dict takes them"
    elif not set(theirs) & required:
        fronts = {key.removesuffix(wanted) for key in theirs for wanted in required if key.endswith(f".{wanted}")}
        why = f"keys have {min(fronts, key=len)!r} in front" if fronts else "no key is this model's"
        hint = f"; {why}: is it of another network?"
    raise ValueError(f"checkpoint does not fit the model: missing {few(missing)}, left over {few(extra)}{hint}")


def _check_constant(key: str, value: Tensor, expected: Tensor | None) -> None:
    what = "basis" if key.endswith("basis") else "constant"
    if expected is None or expected.shape != value.shape:
        raise ValueError(f"{key} of shape {list(value.shape)} is not the {what} of this model")
    deviation = (expected - value.double().cpu()).abs().max().item()
    # Of a checkpoint in half precision the constants are rounded, too.
    most = max(1e-5, torch.finfo(value.dtype).eps * expected.abs().max().item()) if value.is_floating_point() else 1e-5
    if deviation > most:
        limit = f"{most:.0e}".replace("e-0", "e-")
        raise ValueError(f"{key} deviates by {deviation:.1e} from the model's {what}: at most {limit} is expected")


def _official_names(model: nn.Module) -> dict[str, str]:
    """The authors' key of each of our entries: {theirs: ours}."""
    return {_official_name(model, name): name for name in model.state_dict()}


def _constants(model: nn.Module) -> dict[str, Tensor]:
    """What their checkpoints hold beside what is trained, by their keys, as it is in our model; in float64."""
    constants = {}
    for name, module in model.named_modules():
        if isinstance(module, Basis):
            constants[_official_name(model, name)] = module.constant.exact
        for suffix, value in getattr(module, "constants", {}).items():
            constants[_official_name(model, f"{name}.{suffix}")] = value
    return constants


def _official_name(model: nn.Module, name: str) -> str:
    if not isinstance(model, mnist.MNISTNet):
        return wide_resnet.official_name(name)
    part = next(part for part in model.official_parts if name.startswith(f"{part}."))
    renamed = model.official_parts[part] + name.removeprefix(part)
    return f"1.{renamed}" if isinstance(model.upsample, nn.Upsample) else renamed  # their upsampling wraps the network
