"""Numbers that a layer is made with and never changes: bases, blurs, tables."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Constant:
    """Numbers kept in float64 and rounded once to the type that is asked for; on each device there is one copy.

    It is no buffer: whatever casts, moves, empties, copies, pickles or reloads a module leaves it exact, and a layer
    asks for it in the type and on the device of its weights, wherever they are by then. After a first use nothing is
    copied to the device any more.

    Raises:
        ValueError: a tensor without values, as on the meta device.
    """

    def __init__(self, exact: Tensor | np.ndarray) -> None:
        if isinstance(exact, Tensor):
            if exact.is_meta or hasattr(exact, "fake_mode"):
                raise ValueError(f"a tensor {list(exact.shape)} without values is no constant: make it on a device")
            exact = exact.detach().cpu().double().numpy()
        self.values = np.array(exact, dtype=np.float64)
        self._copies: dict[tuple[object, ...], Tensor] = {}

    def __reduce__(self) -> tuple[type[Constant], tuple[np.ndarray]]:
        return Constant, (self.values,)  # copies on devices do not travel

    @property
    def exact(self) -> Tensor:
        """In float64 on the CPU, for the caller to keep."""
        return torch.from_numpy(self.values.copy())

    def like(self, x: Tensor) -> Tensor:
        """The numbers in the type and on the device of x."""
        return self.on(x.device, x.dtype, getattr(x, "fake_mode", None))

    def on(self, device: torch.device, dtype: torch.dtype, fake_mode: object = None) -> Tensor:
        """The numbers on a device; `fake_mode` is that of tensors without values, by which work is counted."""
        key = device, dtype, fake_mode
        if (made := self._copies.get(key)) is None:
            with torch.inference_mode(False):  # training may use it after an evaluation did
                # Rounded before it is moved: some devices have no float64.
                made = torch.from_numpy(self.values).to(dtype).to(device)
            # One without values is not for later, nor one of a trace: the next trace must find the same steps.
            if getattr(made, "fake_mode", None) is fake_mode and not torch.jit.is_tracing():
                self._copies[key] = made
        return made
