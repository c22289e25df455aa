"""Every network by the authors' name, one row of a table each: for MNIST-scale here and, of other methods than SESN, in
`rivals`, for STL-10 in `wide_resnet`.

Scales for MNIST-scale are `min_scale * q^i` with `q = factor^(1 / (num_scales - 1))`, rounded to two decimals
as the authors do; the rounding changes kernel supports, so it stays.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from sesn_lib.basis import Basis
from sesn_lib.models import mnist, wide_resnet
from sesn_lib.models.rivals import RIVALS

CONSTANTS = (".basis", ".filter_real", ".filter_imag", ".kernelx_0", ".kernely_0")

__all__ = ["CHANGED", "MNIST_CONFIGURATIONS", "Configuration", "build", "configuration", "load_official", "names"]


@dataclass(frozen=True)
class Configuration:
    """What distinguishes one SESN model for MNIST-scale from another.

    Attributes:
        kind: "scalar" or "vector".
        upsample: 1 for 28-pixel input, 2 for 56-pixel input.
        num_scales, factor, min_scale: S, largest over smallest scale, smallest scale [pixel].
        mult: ratio of neighbouring widths of the type B basis.
        size: pixels of the filters at the largest scale.
        basis: its type, see `sesn_lib.basis.make_basis`; `mult` counts for type B alone.
    """

    kind: str
    upsample: int
    num_scales: int
    factor: float
    min_scale: float
    mult: float
    size: int
    basis: str = "B"

    @property
    def scales(self) -> tuple[float, ...]:
        ratio = self.factor ** (1 / max(self.num_scales - 1, 1))
        return tuple(round(self.min_scale * ratio**i, 2) for i in range(self.num_scales))


MNIST_CONFIGURATIONS: Mapping[str, Configuration] = MappingProxyType(
    {
        "mnist_ses_scalar_28": Configuration("scalar", 1, 4, 3.0, 1.7, 1.5, 15),
        "mnist_ses_scalar_28p": Configuration("scalar", 1, 4, 3.0, 1.5, 1.4, 13),
        "mnist_ses_vector_28": Configuration("vector", 1, 3, 3.0, 1.5, 1.5, 13),
        "mnist_ses_vector_28p": Configuration("vector", 1, 3, 3.0, 1.5, 1.4, 15),
        "mnist_ses_scalar_56": Configuration("scalar", 2, 3, 2.0, 2.0, 1.4, 15),
        "mnist_ses_scalar_56p": Configuration("scalar", 2, 3, 3.0, 1.0, 1.4, 17),
        "mnist_ses_vector_56": Configuration("vector", 2, 4, 2.0, 2.0, 1.5, 15),
        "mnist_ses_vector_56p": Configuration("vector", 2, 4, 2.0, 1.5, 1.4, 13),
    }
)
_SCALAR, _VECTOR = (MNIST_CONFIGURATIONS[f"mnist_ses_{kind}_28"] for kind in ("scalar", "vector"))
CHANGED: Mapping[str, Configuration] = MappingProxyType(
    {
        "mnist_ses_scalar_28@basis-a": replace(_SCALAR, basis="A"),
        "mnist_ses_scalar_28@one-scale": replace(_SCALAR, num_scales=1, min_scale=2.45, size=7),
        "mnist_ses_scalar_28@raised": replace(_SCALAR, mult=1.25),
        "mnist_ses_scalar_28@size21": replace(_SCALAR, size=21),
        "mnist_ses_scalar_28@disco": Configuration("scalar", 1, 4, 2**1.5, 1.0, 1.5, 21, "DISCO"),
        "mnist_ses_vector_28@basis-a": replace(_VECTOR, basis="A"),
        "mnist_ses_vector_28@one-scale": replace(_VECTOR, num_scales=1, min_scale=2.6, size=7),
        "mnist_ses_vector_28@raised": replace(_VECTOR, mult=1.2),
        "mnist_ses_vector_28@size21": replace(_VECTOR, size=21),
    }
)
"""Networks of the table with one change, as controls: `one-scale` is the one whose filters have 7 x 7 pixels, as the
CNN's; `raised` has its finest width, scale / mult^3, at 0.87 pixel in place of 0.50 and 0.44; `disco` has 7 x 7 free
pixels at its first scale and goes up by the square root of 2."""
CNN_UPSAMPLING: Mapping[str, int] = MappingProxyType({"mnist_cnn_28": 1, "mnist_cnn_56": 2})


def names() -> list[str]:
    """Names that `build` takes: MNIST-scale models first, the rivals last of them, then those for STL-10."""
    return [*MNIST_CONFIGURATIONS, *CNN_UPSAMPLING, *RIVALS, *wide_resnet.VARIANTS]


def configuration(name: str) -> Configuration:
    """The row of the table for an MNIST-scale SESN model.

    Raises:
        ValueError: no such SESN model.
    """
    rows = {**MNIST_CONFIGURATIONS, **CHANGED}
    if not isinstance(name, str) or name not in rows:
        raise ValueError(_unknown(name, list(MNIST_CONFIGURATIONS)))
    return rows[name]


def build(name: str, *, num_classes: int = 10, input_size: int | None = None) -> nn.Module:
    """A fresh network by the authors' name, with random weights from torch's global generator.

    Arguments:
        name: one of `names()`, or of `CHANGED`.
        num_classes: number of outputs.
        input_size: pixels along each side of the images; None stands for the authors' (28 or 96). Models for
            MNIST-scale, whose classifier is made for one size, take no other.

    Raises:
        ValueError: unknown name (the message lists the valid ones); num_classes or input_size out of range.
    """
    if not isinstance(name, str) or name not in (*names(), *CHANGED):
        raise ValueError(_unknown(name, names()))
    if name in wide_resnet.VARIANTS:
        size = 96 if input_size is None else input_size
        return wide_resnet.WideResNet(wide_resnet.VARIANTS[name], input_size=size, num_classes=num_classes)
    if input_size not in (None, mnist.INPUT_SIZE):
        raise ValueError(f"input_size is {input_size!r}: {name} takes {mnist.INPUT_SIZE} pixels only")
    if name in CNN_UPSAMPLING:
        upsample = CNN_UPSAMPLING[name]
        return mnist.MNISTNet(mnist.cnn_blocks(upsample=upsample), upsample=upsample, num_classes=num_classes)
    if name in RIVALS:
        return RIVALS[name].network(num_classes)
    row = configuration(name)
    make = mnist.scalar_blocks if row.kind == "scalar" else mnist.vector_blocks
    blocks = make(upsample=row.upsample, kernel_size=row.size, scales=row.scales, mult=row.mult, basis=row.basis)
    return mnist.MNISTNet(blocks, upsample=row.upsample, num_classes=num_classes)


def _unknown(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(str(name), valid, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown model {name!r}{hint} Valid names: {', '.join(valid)}"


def load_official(model: nn.Module, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Load a checkpoint of the authors' code into one of our models; returns the model.

    Their keys are translated, every entry must find its place and every parameter its entry. Constants that their
    checkpoints carry, as bases, blurs and filters that are not trained, may be left out and must equal ours.

    Arguments:
        model: from `build`.
        state_dict: the authors' state dict, their keys.

    Raises:
        ValueError: entries missing, left over, of another shape or not finite; constants that are not the model's.
    """
    for key, value in state_dict.items():
        if not isinstance(value, Tensor) or not value.isfinite().all():
            raise ValueError(
                f"{key} is {'a tensor with NaN or infinity' if isinstance(value, Tensor) else repr(value)}"
            )
    ours = _official_names(model)
    own_constants = _constants(model)
    constants = {key: value for key, value in state_dict.items() if key.endswith(CONSTANTS) or key in own_constants}
    theirs = {key: value for key, value in state_dict.items() if key not in constants}
    # Checkpoints of old torch versions lack the batch counters, and nothing here depends on them.
    required = {key for key in ours if not key.endswith("num_batches_tracked") and key not in own_constants}
    missing, extra = sorted(required - set(theirs)), sorted(set(theirs) - set(ours))
    if missing or extra:
        raise ValueError(f"checkpoint does not fit the model: missing {missing or 'none'}, left over {extra or 'none'}")
    own: dict[str, Any] = model.state_dict()
    translated = {}
    for key, name in ours.items():
        value = theirs.get(key, own[name])
        if name.endswith("num_batches_tracked") or key in own_constants:
            translated[name] = value
            continue
        if [n for n in value.shape if n > 1] != [n for n in own[name].shape if n > 1]:
            raise ValueError(f"{key} has shape {list(value.shape)}: the model needs {list(own[name].shape)}")
        translated[name] = value.reshape(own[name].shape)
    for key, value in constants.items():
        what = "basis" if key.endswith("basis") else "constant"
        expected = own_constants.get(key)
        if expected is None or expected.shape != value.shape:
            raise ValueError(f"{key} of shape {list(value.shape)} is not the {what} of this model")
        deviation = (expected.double() - value.double().to(expected.device)).abs().max().item()
        if deviation > 1e-5:
            raise ValueError(f"{key} deviates by {deviation:.1e} from the model's {what}: at most 1e-5 is expected")
    model.load_state_dict(translated, strict=True)
    return model


def _official_names(model: nn.Module) -> dict[str, str]:
    """The authors' key of each of our entries: {theirs: ours}."""
    return {_official_name(model, name): name for name in model.state_dict()}


def _constants(model: nn.Module) -> dict[str, Tensor]:
    """What their checkpoints hold beside what is trained, by their keys, as it is in our model."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Basis):
            found[_official_name(model, name)] = module.constant.exact
        for suffix, value in getattr(module, "constants", {}).items():
            found[_official_name(model, f"{name}.{suffix}")] = value
    return found


def _official_name(model: nn.Module, name: str) -> str:
    if not isinstance(model, mnist.MNISTNet):
        return wide_resnet.official_name(name)
    part = next(part for part in model.official_parts if name.startswith(f"{part}."))
    renamed = model.official_parts[part] + name.removeprefix(part)
    return f"1.{renamed}" if isinstance(model.upsample, nn.Upsample) else renamed  # their upsampling wraps the network
