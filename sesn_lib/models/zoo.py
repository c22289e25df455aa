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

from torch import nn

from sesn_lib.models import mnist, wide_resnet
from sesn_lib.models.rivals import RIVALS


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
