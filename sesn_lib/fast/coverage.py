"""What a plan of the fast path rests on: read from the network on each call, and compared with what is covered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules
from torch.nn.utils import parametrize

from sesn_lib.basis.constants import Constant
from sesn_lib.checks import shown
from sesn_lib.layers import ConvHH, _SteerableConv
from sesn_lib.models.mnist import MNISTNet

Builder = Callable[..., nn.Sequential]

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Read anew on each call, or of no influence on the numbers.
FREE = {
    *("training", "in_channels", "out_channels", "num_features", "eps", "momentum", "affine", "track_running_stats"),
    *("inplace", "method"),
}
INSTEAD = "take it away, or set the network's `engine` to None"


def facts(model: MNISTNet) -> tuple[object, ...]:
    """All that a plan rests on; equal as long as the plan holds. Takes some hundredths of a millisecond."""
    found: list[object] = [_any_hook_for_all()]
    for module in _covered(model):
        own = vars(module)
        found += [module, type(module), len(own), *map(own.get, _keys(tuple(own)))]
        found += [None if tensor is None else tensor.shape for tensor in module._parameters.values()]
        found += [None if tensor is None else tensor.shape for tensor in module._buffers.values()]
        found += [len(own[hooks]) for hooks in HOOKS]
        if isinstance(module, ConvHH):
            found.append(module.scale_extent)
    return tuple(found)


@lru_cache(maxsize=256)
def _keys(own: tuple[str, ...]) -> tuple[str, ...]:
    """The settings among the attributes of a module."""
    return tuple(key for key in own if key[0] != "_" and key not in FREE)


def find(model: MNISTNet, families: Iterable[tuple[type, Builder]]) -> Any:
    """Which of the families (what computes it, what makes its blocks) a network is of.

    Raises:
        ValueError: the network is of none, or has what would not be computed; names the part and what is wrong.
    """
    _check_calls(model)
    upsample = 2 if isinstance(model.upsample, nn.Upsample) else 1
    usual = nn.Upsample(scale_factor=2, mode="nearest") if upsample == 2 else nn.Identity()
    _check_settings("upsample", model.upsample, usual)
    kinds = [_kind(layer) for layer in model.blocks]
    found: list[tuple[int, type, nn.Sequential]] = []
    for engine, make in families:
        blocks = usual_blocks(make, upsample)
        found.append((_agreeing(kinds, blocks), engine, blocks))
        if found[-1][0] == len(kinds) == len(blocks):
            break
    else:
        raise ValueError(_unlike(kinds, *max(found, key=lambda one: one[0])[::2]))
    for i, (layer, like) in enumerate(zip(model.blocks, blocks)):
        _check_settings(f"blocks.{i}", layer, like)
    _check_scales(model)
    _check_shapes(model, blocks)
    return engine


def _covered(model: MNISTNet) -> Iterator[nn.Module]:
    yield model.upsample
    yield model.blocks
    for layer in model.blocks:
        yield layer
        yield from layer.children()  # a basis


@lru_cache(maxsize=64)
def usual_blocks(make: Builder, upsample: int) -> nn.Sequential:
    """What a network of this family is compared with."""
    with torch.device("meta"):  # where nothing is drawn from the generator
        return make(upsample=upsample)


def _kind(layer: nn.Module) -> type:
    """The class of a layer; of one whose weights are computed from others, the one that it had before."""
    return type(layer).__bases__[0] if parametrize.is_parametrized(layer) else type(layer)


def _agreeing(kinds: list[type], blocks: nn.Sequential) -> int:
    """How many layers from the first on are of the same kind."""
    same = [kind is type(layer) for kind, layer in zip(kinds, blocks)]
    return same.index(False) if False in same else len(same)


def _unlike(kinds: list[type], first: int, blocks: nn.Sequential) -> str:
    here = f"a {kinds[first].__name__}" if first < len(kinds) else "missing"
    wanted = f"a {type(blocks[first]).__name__}" if first < len(blocks) else "nothing more"
    return f"blocks.{first} is {here}: the fast path knows {wanted} there"


def _any_hook_for_all() -> bool:
    return any(getattr(all_modules, f"_global{hooks}") for hooks in HOOKS)


def _check_calls(model: MNISTNet) -> None:
    """Raises ValueError for what a call of the modules would do, and the fast path does not."""
    if _any_hook_for_all():
        raise ValueError(f"torch has a hook for all modules, which the fast path would not call: {INSTEAD}")
    if type(model.blocks) is not nn.Sequential:
        raise ValueError(f"blocks is a {type(model.blocks).__name__}: the fast path knows a Sequential there")
    parts = {"blocks": model.blocks, "upsample": model.upsample}
    for part, whole in parts.items():
        for name, module in whole.named_modules(prefix=part):
            for hooks in HOOKS:
                if getattr(module, hooks):
                    what = hooks.strip("_").replace("_", " ").removesuffix("s")
                    raise ValueError(f"{name} has a {what}, which the fast path would not call: {INSTEAD}")
            for key in vars(module):
                if callable(getattr(type(module), key, None)):  # a method, replaced in this module alone
                    raise ValueError(f"{name} has a {key} of its own, which the fast path would not call: {INSTEAD}")


def _check_settings(name: str, layer: nn.Module, like: nn.Module) -> None:
    """Raises ValueError for a setting other than that of the layer that the fast path was made for."""
    if _kind(layer) is not type(like):
        raise ValueError(f"{name} is a {type(layer).__name__}: the fast path knows a {type(like).__name__} there")
    own, usual = _settings(layer), _settings(like)
    for key in sorted({*own, *usual}):
        if own.get(key) != usual.get(key):
            raise ValueError(
                f"{name} has {key} {_told(own.get(key))}: the fast path knows {_told(usual.get(key))} only"
            )
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.momentum is None:
        raise ValueError(
            f"{name} has momentum None, an average over all batches: the fast path knows a number such as 0.1 only"
        )


def _settings(layer: nn.Module) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in vars(layer).items():
        if key[0] != "_" and key not in FREE and not isinstance(value, Tensor):
            pair = isinstance(layer, nn.MaxPool2d | nn.Conv2d) and isinstance(value, tuple) and len(set(value)) == 1
            settings[key] = value[0] if pair else value
    if isinstance(layer, _SteerableConv):
        settings["padding"] = "size // 2" if layer.padding == layer.basis.size // 2 else layer.padding
    if isinstance(layer, ConvHH):
        settings["scale_extent"] = layer.scale_extent
    return {key: _comparable(value) for key, value in settings.items()}


def _told(value: Any) -> str:
    return value if isinstance(value, str) else shown(value, 60)


def _comparable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    return value.values.tolist() if isinstance(value, Constant) else value


def _check_scales(model: MNISTNet) -> None:
    """Raises ValueError unless layers that hand on maps at all scales have equally many."""
    before = 0
    for i, layer in enumerate(model.blocks):
        if isinstance(layer, _SteerableConv):
            if isinstance(layer, ConvHH) and layer.basis.num_scales != before:
                raise ValueError(f"blocks.{i} has {layer.basis.num_scales} scales: it is given {before}")
            before = layer.basis.num_scales


def _check_shapes(model: MNISTNet, blocks: nn.Sequential) -> None:
    """Raises ValueError for weights, biases or statistics that the layers could not use, or that follow nothing."""
    # The layers of the rivals are known with their own widths alone.
    any_width = all(isinstance(like, _WIDE) or not len(like._parameters) for like in blocks)
    width = 1
    for i, (layer, like) in enumerate(zip(model.blocks, blocks)):
        needed = {key: list(value.shape) for key, value in _tensors(like).items()}
        found = {key: value for key in needed if isinstance(value := getattr(layer, key), Tensor)}
        if any_width and isinstance(like, _WIDE):
            if "weight" in found and not isinstance(like, nn.modules.batchnorm._BatchNorm):
                needed["weight"][:2] = [found["weight"].shape[0], width]
                if isinstance(layer, _SteerableConv):
                    needed["weight"][-1] = layer.basis.num_functions
                width = found["weight"].shape[0]
            needed |= {key: [width] for key, shape in needed.items() if len(shape) == 1}
        for key, value in found.items():
            if list(value.shape) != needed[key]:
                raise ValueError(f"blocks.{i} has {key} of shape {list(value.shape)}: it must be {needed[key]} there")


_WIDE = (_SteerableConv, nn.Conv2d, nn.modules.batchnorm._BatchNorm)


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}
