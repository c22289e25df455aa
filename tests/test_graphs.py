"""Recorded steps: with a recording that a CPU can make, and with real ones where there is a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sesn_lib import fast, graphs, models, training
from sesn_lib.data import DeviceSplit
from sesn_lib.graphs import WARM_UP, Recorded
from sesn_lib.training import Settings, fit, new_optimizer, new_step

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def repeating(work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """A recording for a CPU: like a graph it runs nothing when made, and always on the tensors of that moment."""
    output = torch.zeros(2, dtype=torch.float64)
    return output, lambda: output.copy_(work())


class Sum:
    """A step that notes what it saw."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.calls.append((images, labels))
        return torch.stack([images.double().sum(), labels.double().sum()])


def batch(value: int, count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.full((count, 3), float(value)), torch.full((count,), value)


def test_replays_each_batch_and_not_the_recorded_one() -> None:
    step = Sum()
    recording = Recorded(step, repeating)
    given = [batch(value) for value in range(WARM_UP + 4)]
    for value in range(WARM_UP + 4):
        assert recording(*given[value]).tolist() == [12.0 * value, 4.0 * value]
        assert recording.replays == (value >= WARM_UP)
    places = {images.data_ptr() for images, _ in step.calls[WARM_UP:]}
    assert len(step.calls) == WARM_UP + 4
    for value, (images, labels) in enumerate(given):
        assert (images == value).all(), "the caller's batches are left alone"
        assert (labels == value).all()
    assert len(places) == 1  # a graph reads from where it was recorded, whatever tensor is given


def test_a_recording_that_forgets_to_copy_is_noticed() -> None:
    # Control: a graph of the caller's own tensors would go on showing the first batch.
    made: list[tuple[Tensor, Callable[[], None]]] = []

    def kept(work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        made.append(repeating(work))
        return made[-1]

    recording = Recorded(Sum(), kept)
    for value in range(WARM_UP + 1):
        recording(*batch(value))
    ((output, replay),) = made
    replay()
    assert output.tolist() == [12.0 * WARM_UP, 4.0 * WARM_UP]


def test_a_batch_of_another_shape_is_not_replayed() -> None:
    step = Sum()
    recording = Recorded(step, repeating)
    for value in range(WARM_UP + 2):
        recording(*batch(value))
    last = batch(7, count=2)
    assert recording(*last).tolist() == [42.0, 14.0]
    assert step.calls[-1][0] is last[0]
    assert recording(*batch(5)).tolist() == [60.0, 20.0]
    assert recording(batch(5)[0].half(), batch(5)[1]).tolist() == [60.0, 20.0]
    assert step.calls[-1][0].dtype == torch.half


def test_a_failed_recording_is_said_and_training_goes_on() -> None:
    def failing(work: Callable[[], Tensor]) -> Any:
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore about it")
        finally:  # as torch, when it leaves a recording that broke off
            raise RuntimeError("operation failed due to a previous error during capture")

    recording = Recorded(Sum(), failing)
    for value in range(WARM_UP):
        recording(*batch(value))
    with pytest.warns(UserWarning, match=r"goes on without: operation not permitted when stream is capturing$"):
        recording(*batch(WARM_UP))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recording(*batch(8)).tolist() == [96.0, 32.0]
    assert not recording.replays


def noise(count: int, device: str = "cpu") -> DeviceSplit:
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    return DeviceSplit(images.to(device), torch.randint(0, 10, (count,), generator=generator).to(device))


SETTINGS = Settings(epochs=4, milestones=(1, 3), batch_size=8, extra_scaling=0.5, seed=2)


def train(device: str = "cpu", dropout: bool = True, **options: Any) -> training.FitResult:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = fast.accelerate(models.build("mnist_cnn_28")).to(device)
    if not dropout:
        model.classifier[3].p = 0.0
    return fit(model, noise(60, device), noise(20, device), SETTINGS, **options)


def losses(result: training.FitResult) -> list[tuple[float, float]]:
    return [(row["train_loss"], row["val_loss"]) for row in result.history]


def test_a_run_is_the_same_with_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train()
    made: list[Recorded] = []

    def recorded(step: graphs.Step, device: torch.device) -> Recorded:
        made.append(Recorded(step, repeating))
        return made[-1]

    monkeypatch.setattr(training, "recorded", recorded)
    states: list[dict[str, Any]] = []
    result = train(save=states.append, save_every=1)
    assert len(made) == 3  # one for each learning rate: it is fixed in a recording
    assert all(recording.replays for recording in made)
    assert losses(result) == losses(plain)
    assert all(torch.equal(value, plain.best_state[name]) for name, value in result.best_state.items())
    assert losses(train(state=states[1])) == losses(plain)


def test_nothing_is_recorded_on_a_cpu() -> None:
    step = Sum()
    assert graphs.recorded(step, torch.device("cpu")) is step
    assert isinstance(graphs.recorded(step, torch.device("cuda")), Recorded)


@GPU
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["mnist_ses_vector_28", "mnist_ses_scalar_56"])
def test_a_graph_computes_what_the_step_does(name: str, precision: str) -> None:
    device = torch.device("cuda")
    found = []
    for graph in (False, True):
        torch.manual_seed(0)
        model = fast.accelerate(models.build(name)).to(device).train()
        model.classifier[3].p = 0.0  # which units are dropped depends on how the generator is asked
        step = new_step(model, new_optimizer(model, 1e-3), precision, device, graph=graph)
        split = noise(128 * 8, "cuda")
        batches = zip(split.images.split(128), split.labels.split(128))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a graph that could not be made
            found.append([step(training.normalise(images), labels).tolist()[0] for images, labels in batches])
    tolerance = 1e-4 if precision == "float32" else 1e-2
    assert found[1] == pytest.approx(found[0], rel=tolerance)


@GPU
def test_a_run_on_a_gpu_is_the_run_on_a_cpu() -> None:
    found, expected = (losses(train(device, dropout=False)) for device in ("cuda", "cpu"))  # it draws other units there
    assert found[0][0] == pytest.approx(expected[0][0], rel=0.01)


@GPU
def test_after_a_recording_that_broke_off_everything_is_as_it_was() -> None:
    def step(images: Tensor, labels: Tensor) -> Tensor:
        kept = torch.nn.functional.dropout(images, 0.5)
        if torch.cuda.is_current_stream_capturing():
            kept.sum().item()  # waits for the device, which no recording can hold
        return torch.stack([kept.sum(), labels.sum()])

    recording = graphs.recorded(step, torch.device("cuda", 0))
    usual = torch.cuda.current_stream()
    given = [value.cuda() for value in batch(1, count=512)]
    for _ in range(WARM_UP):
        recording(*given)
    with pytest.warns(UserWarning, match="goes on without"):
        recording(*given)
    assert torch.cuda.current_stream() == usual
    first, second = (float(recording(*given)[0]) for _ in range(2))
    assert first != second  # the generator goes on, too
    assert 0 < first < 2 * 512 * 3
