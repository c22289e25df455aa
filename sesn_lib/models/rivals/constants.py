"""Numbers that a layer is made with and never changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["Constant"]


class Constant:
    """A tensor kept in float64 and rounded once to the type that is asked for; on each device there is one copy.

    It is no buffer: a change of the module's type and back leaves it exact. After a first use nothing is copied to the
    device any more.
    """

    def __init__(self, exact: Tensor | np.ndarray) -> None:
        self.exact = torch.as_tensor(exact, dtype=torch.float64)
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        key = device, dtype
        if key not in self._copies:
            with torch.inference_mode(False):  # training may use it after an evaluation did
                self._copies[key] = self.exact.to(device, dtype)
        return self._copies[key]

    def like(self, x: Tensor) -> Tensor:
        """The numbers in the type and on the device of x."""
        return self.on(x.device, x.dtype)
