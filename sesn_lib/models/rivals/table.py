"""The fourteen networks that the paper compares with, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import nn

from sesn_lib.models import mnist
from sesn_lib.models.rivals import dss, kanazawa, sevf, ss, xu

__all__ = ["RIVALS", "Rival"]


@dataclass(frozen=True)
class Method:
    """What distinguishes one method from another.

    Attributes:
        blocks: makes the three stages.
        features: numbers that go into the classifier.
        bias: whether its first linear map has one.
        parts: the authors' names of our parts.
    """

    blocks: Callable[..., nn.Sequential]
    features: int = 4 * mnist.CHANNELS[-1]
    bias: bool = False
    parts: Mapping[str, str] = field(default_factory=lambda: mnist.OFFICIAL_PARTS)


@dataclass(frozen=True)
class Rival:
    """A network: a method, and 1 for 28-pixel input or 2 for 56-pixel input."""

    method: Method
    upsample: int

    def network(self, num_classes: int) -> mnist.MNISTNet:
        """With random weights from torch's global generator."""
        return mnist.MNISTNet(
            self.method.blocks(upsample=self.upsample),
            upsample=self.upsample,
            num_classes=num_classes,
            features=self.method.features,
            bias=self.method.bias,
            official_parts=self.method.parts,
        )


_CLASSIFIER = {"classifier.0": "fc1", "classifier.1": "fc1bn", "classifier.4": "fc2"}
_SEVF = MappingProxyType(
    {"blocks.0": "conv1", "blocks.2": "bn1", "blocks.3": "conv2", "blocks.5": "bn2", "blocks.6": "conv3"} | _CLASSIFIER
)
_SS = MappingProxyType(
    {"blocks.0": "conv1.steer_conv", "blocks.3": "conv2.steer_conv", "blocks.6": "conv3.steer_conv"}
    | {"blocks.2": "bn1", "blocks.5": "bn2", "blocks.8": "bn3_mag", "blocks.9": "bn3"}
    | _CLASSIFIER
)

SICNN = Method(xu.blocks)
SI_CONVNET = Method(kanazawa.blocks)
SEVF_SCALAR = Method(sevf.scalar_blocks, bias=True, parts=_SEVF)
SEVF_VECTOR = Method(sevf.vector_blocks, features=4 * sevf.VECTOR_CHANNELS[-1], bias=True, parts=_SEVF)
DSS_SCALAR = Method(dss.scalar_blocks)
DSS_VECTOR = Method(dss.vector_blocks)
SS_CNN = Method(ss.blocks, features=4 * ss.CHANNELS[-1], bias=True, parts=_SS)

RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "mnist_xu_28": Rival(SICNN, 1),
        "mnist_xu_56": Rival(SICNN, 2),
        "mnist_kanazawa_28": Rival(SI_CONVNET, 1),
        "mnist_kanazawa_56": Rival(SI_CONVNET, 2),
        "mnist_sevf_scalar_28": Rival(SEVF_SCALAR, 1),
        "mnist_sevf_scalar_56": Rival(SEVF_SCALAR, 2),
        "mnist_sevf_vector_28": Rival(SEVF_VECTOR, 1),
        "mnist_sevf_vector_56": Rival(SEVF_VECTOR, 2),
        "mnist_dss_scalar_28": Rival(DSS_SCALAR, 1),
        "mnist_dss_scalar_56": Rival(DSS_SCALAR, 2),
        "mnist_dss_vector_28": Rival(DSS_VECTOR, 1),
        "mnist_dss_vector_56": Rival(DSS_VECTOR, 2),
        "mnist_ss_28": Rival(SS_CNN, 1),
        "mnist_ss_56": Rival(SS_CNN, 2),
    }
)
