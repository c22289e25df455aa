"""A training step as one CUDA graph.

A step of these networks is many hundred small pieces of work. A GPU does most of them faster than Python can ask for
them; recorded once as a graph (A. Gray, "Getting Started with CUDA Graphs", NVIDIA, 2019) they are asked for all at
once. What is computed is the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]
Work = Callable[[], Tensor]
Replay = Callable[[], None]

# Calls before recording: the first ones choose algorithms, allocate moments and put constants on the device.
WARM_UP = 3


def recorded(step: Step, device: torch.device) -> Step:
    """`step` as a graph where the device has such, itself elsewhere."""
    return Recorded(step, partial(_record, device=device)) if device.type == "cuda" else step


@dataclass(frozen=True, eq=False)
class _Recording:
    """`replay` reads `images` and `labels` and writes `output`, always in the same places."""

    images: Tensor
    labels: Tensor
    output: Tensor
    replay: Replay

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.replay()
        return self.output


class Recorded:
    """Calls `step(images, labels)` a few times, then records a call and from then on replays the recording.

    A batch of another shape or type than the first is never replayed. Where recording fails, a warning says why and the
    step goes on as it was, only slower.

    Arguments:
        step: does the same work each time, on tensors that stay where they are, and never waits for the device. Numbers
            that it reads, such as a learning rate, are fixed by the recording.
        record: makes of a piece of work its result and what does the work again.

    A call returns what `step` returns; the next call may overwrite it.
    """

    def __init__(self, step: Step, record: Callable[[Work], tuple[Tensor, Replay]]) -> None:
        self._step, self._record = step, record
        self._kind: tuple[object, ...] | None = None
        self._calls = 0
        self._recording: _Recording | None = None

    @property
    def replays(self) -> bool:
        """Whether there is a recording."""
        return self._recording is not None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        kind = (images.shape, images.dtype, labels.shape, labels.dtype)
        self._kind = self._kind or kind
        if kind != self._kind:
            return self._step(images, labels)
        self._calls += 1
        if self._calls <= WARM_UP:
            return _beside(self._step, images, labels)
        if self._calls == WARM_UP + 1:
            self._recording = self._make(images.clone(), labels.clone())
        return (self._recording or self._step)(images, labels)

    def _make(self, images: Tensor, labels: Tensor) -> _Recording | None:
        try:
            return _Recording(images, labels, *self._record(lambda: self._step(images, labels)))
        except RuntimeError as error:
            reason = str(_first_cause(error)).partition("\n")[0]
            warnings.warn(f"no CUDA graph of this step could be made, it goes on without: {reason}", stacklevel=3)
            return None


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong first: a recording that breaks off also fails to end, and torch raises that."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _record(work: Work, device: torch.device) -> tuple[Tensor, Replay]:
    graph = torch.cuda.CUDAGraph()
    usual = torch.cuda.current_stream(device)
    generator = torch.cuda.default_generators[usual.device.index]
    before = generator.clone_state()  # seed and offset, and of no recording
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, stream=_side(device)):  # records, runs nothing
            output = work()
    except RuntimeError:
        # Torch is left on the stream of the recording that broke off, with a generator that believes in it: outside of
        # one it would refuse every draw.
        torch.cuda.set_stream(usual)
        generator.graphsafe_set_state(before)
        raise
    return output, graph.replay


@lru_cache
def _side(device: torch.device) -> torch.cuda.Stream:
    """The stream beside the usual one; one for all, since torch keeps a workspace for each that was ever used."""
    return torch.cuda.Stream(device)


def _beside(step: Step, images: Tensor, labels: Tensor) -> Tensor:
    """A call on a stream of its own, as CUDA asks of those before a recording."""
    if images.device.type != "cuda":
        return step(images, labels)
    usual = torch.cuda.current_stream(images.device)
    stream = _side(images.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        output = step(images, labels)
    usual.wait_stream(stream)
    return output
