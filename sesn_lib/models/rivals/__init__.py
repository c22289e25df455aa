"""The other ways to treat scale that the paper compares with, each on the skeleton of the MNIST-scale networks.

One module a method; here are their fourteen networks, a row a method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from torch import nn

from sesn_lib.models import mnist
from sesn_lib.models.rivals import dss, kanazawa, sevf, ss, xu

__all__ = ["RIVALS", "Rival"]


@dataclass(frozen=True)
class Rival:
    """A network of one of these methods.

    Attributes:
        blocks: makes the three stages.
        features: numbers that go into the classifier.
        bias: whether its first linear map has one.
        parts: the authors' names of our parts.
        upsample: 1 for 28-pixel input, 2 for 56-pixel input.
    """

    blocks: Callable[..., nn.Sequential]
    features: int = 4 * mnist.CHANNELS[-1]
    bias: bool = False
    parts: Mapping[str, str] = field(default_factory=lambda: mnist.OFFICIAL_PARTS)
    upsample: int = 1

    def network(self, num_classes: int) -> mnist.MNISTNet:
        """With random weights from torch's global generator."""
        return mnist.MNISTNet(
            self.blocks(upsample=self.upsample),
            upsample=self.upsample,
            num_classes=num_classes,
            features=self.features,
            bias=self.bias,
            official_parts=self.parts,
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

_METHODS = {
    "xu": Rival(xu.blocks),
    "kanazawa": Rival(kanazawa.blocks),
    "sevf_scalar": Rival(sevf.scalar_blocks, bias=True, parts=_SEVF),
    "sevf_vector": Rival(sevf.vector_blocks, features=4 * sevf.VECTOR_CHANNELS[-1], bias=True, parts=_SEVF),
    "dss_scalar": Rival(dss.scalar_blocks),
    "dss_vector": Rival(dss.vector_blocks),
    "ss": Rival(ss.blocks, features=4 * ss.CHANNELS[-1], bias=True, parts=_SS),
}
RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        f"mnist_{name}_{mnist.INPUT_SIZE * upsample}": replace(method, upsample=upsample)
        for name, method in _METHODS.items()
        for upsample in (1, 2)
    }
)
