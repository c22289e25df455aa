"""What trainings share: seeds for each purpose, mixed precision, and a state that an interrupted run goes on from."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from sesn_lib.fast.precision import resolve

State = dict[str, Any]


def forked(device: torch.device) -> AbstractContextManager[None]:
    """Within the block torch's global random state may be set at will; after it, it is as before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def stream(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that no two streams of random numbers coincide."""
    return int.from_bytes(hashlib.sha256(f"{purpose}: {seed}".encode()).digest()[:8], "big") >> 1


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 autocast for the precision "bf16", nothing for "float32", and for "auto" one of them."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=resolve(precision, device) == "bf16")


def to_cpu(values: dict[str, Any]) -> dict[str, Any]:
    """A copy on the CPU that shares no tensor with `values`."""
    return {k: v.detach().to("cpu", copy=True) if isinstance(v, Tensor) else v for k, v in values.items()}


def capture(
    model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, device: torch.device
) -> State:
    """The weights, the optimiser's moments and the random state, as CPU tensors, numbers and strings."""
    optimised = optimizer.state_dict()
    return {
        "model": to_cpu(model.state_dict()),
        "optimizer": {**optimised, "state": {index: to_cpu(v) for index, v in optimised["state"].items()}},
        "generator": generator.get_state(),
        "dropout": torch.get_rng_state(),
        "dropout_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, device: torch.device
) -> None:
    """Puts back what `capture` took; torch's global random state among it.

    Raises:
        KeyError: the state lacks something.
        ValueError: it is of another model.
    """
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(f"the saved state is of another model: it must be of this {type(model).__name__}") from error
    # Copied, because the optimiser would go on to write into the caller's tensors.
    moments = {index: to_cpu(values) for index, values in state["optimizer"]["state"].items()}
    optimizer.load_state_dict({**state["optimizer"], "state": moments})
    for group in optimizer.param_groups:
        if "capturable" in group:  # by a graph: the device's business, not the state's
            group["capturable"] = device.type == "cuda"
    generator.set_state(state["generator"])
    torch.set_rng_state(state["dropout"])
    # A state saved on a CPU and taken up on a GPU goes on with the GPU's stream as seeded.
    if device.type == "cuda" and state["dropout_cuda"] is not None:
        torch.cuda.set_rng_state(state["dropout_cuda"], device)


def check_same(saved: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises ValueError, naming the first difference, unless the saved run was made with what this one is made with."""
    for name, value in expected.items():
        if saved[name] != value:
            raise ValueError(f"the saved state has {name} {saved[name]!r}, this run {value!r}: must be equal")
