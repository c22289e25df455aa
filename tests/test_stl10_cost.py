"""Counted and measured costs of the STL-10 experiment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sesn_lib import models
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.experiments.stl10 import EXPERIMENT, MODELS, Recipe, STL10Cell
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.runner import cost
from sesn_lib.runner.cost import Estimator, add_measurement, estimate, load_measurements, measure
from sesn_lib.training import stl10 as training
from sesn_lib.training.counting import count

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(taps: float) -> float:
    """Floating-point operations of the forward pass of WRN-16-8: 2 x pixels x channels in x channels out x taps."""
    total = 2 * 96**2 * 3 * 16 * taps
    before = 16
    for after, size in ((128, 96), (256, 48), (512, 24)):
        total += 2 * size**2 * (before * after + 3 * after * after) * taps  # four convolutions in two units
        before = after
    return total


def shortcuts() -> float:
    return sum(2 * size**2 * before * after for before, after, size in ((16, 128, 96), (128, 256, 48), (256, 512, 24)))


def test_counted_arithmetic_is_what_it_must_be():
    """Plain: 9 taps. SESN: 9 + 25 + 49 taps over the three scales, three shortcuts, filters once a batch of two."""
    plain, steerable = count("wrn_16_8"), count("wrn_16_8_ses_a")
    assert plain.forward_flops == pytest.approx(by_hand(9) + shortcuts() + 2 * 5120, rel=1e-6)
    filters = (
        2 * 83 * (10_961_370 - 6_154 - 3_872 - 172_032) / 2
    )  # of all parameters but the head's, norms', shortcuts'
    assert steerable.forward_flops == pytest.approx(by_hand(83) + 3 * shortcuts() + filters + 2 * 5120, rel=1e-4)
    assert plain.parameters == steerable.parameters == 10_961_370
    # Backward: once more for the input (not the image's) and once for the weights.
    assert plain.step_flops == pytest.approx(3 * plain.forward_flops - 2 * 96**2 * 3 * 16 * 9, rel=1e-6)


def test_counted_memory_is_what_torch_keeps():
    name = "wrn_16_8"
    kept = {}
    model = models.build(name)
    parameters = {p.data_ptr() for p in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        torch.nn.functional.cross_entropy(model(torch.zeros(2, 3, 96, 96)), torch.tensor([0, 1]))
    found = sum(size for pointer, (size, _) in kept.items() if pointer not in parameters) / 2
    assert count(name).saved_bytes == pytest.approx(found, rel=1e-3)
    assert count(name, precision="bf16").saved_bytes < 0.7 * found


def test_the_estimate():
    speed = 100.0
    assert estimate(EXPERIMENT, "wrn_16_8", speed) == pytest.approx((5_000_000 + 11 * 8000 / 3) / speed, rel=1e-3)
    halved = Recipe(epochs=500, milestones=(), evaluate_after=())
    assert estimate(EXPERIMENT, "wrn_16_8", speed, halved) == pytest.approx(2_500_000 / speed, rel=2e-3)
    with pytest.raises(ValueError, match="images_per_second is 0"):
        estimate(EXPERIMENT, "wrn_16_8", 0)


def test_the_steps_before_the_clock_starts_do_not_count(monkeypatch):
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1, input_size=12))
    monkeypatch.setattr(training, "SIZE", 12)
    moments = iter([0.0, 100.0, 100.0, 102.0])  # the first step compiles and allocates
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    found = measure(EXPERIMENT, "wrn_16_8", Recipe(batch_size=4), device="cpu", epochs=1)
    assert (found["step_seconds"], found["images_per_second"], found["steps"]) == (2.0, 2.0, 1)


def test_what_is_left_of_a_run_is_estimated_with_a_margin(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "measure", lambda *arguments, **options: {"images_per_second": 50.0})
    cost.measured_speed.cache_clear()
    recipe = Recipe(epochs=3, milestones=(), evaluate_after=(), validation_images=500, seed=77)
    held_out = estimate(EXPERIMENT, "wrn_16_8", 50.0, recipe, train_images=1500, test_images=300)
    assert held_out == pytest.approx((3 * 1000 + 800 / 3) / 50, rel=1e-2)
    options = RunOptions(epochs=3, device="cpu", train_images=1500, test_images=300)
    whole = estimate(EXPERIMENT, "wrn_16_8", 50.0, Recipe().shortened(3), train_images=1500, test_images=300)
    estimator, cell = Estimator(tmp_path, options), STL10Cell("wrn_16_8", 0)
    assert estimator(cell) == pytest.approx(1.15 * whole)
    assert estimator(cell, done=0.75) == pytest.approx(1.15 * whole / 4)
    cost.measured_speed.cache_clear()


def test_a_measurement_and_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build", lambda name: WideResNet(VARIANTS[name], depth=10, widening=1, input_size=12))
    monkeypatch.setattr(training, "SIZE", 12)
    path = tmp_path / "cost.json"
    assert load_measurements(path) == []
    two = Recipe(batch_size=2, micro_batch=2)
    for name in reversed(MODELS):
        add_measurement(path, measure(EXPERIMENT, name, two, device="cpu"))
    found = load_measurements(path)
    assert [one["model"] for one in found] == list(MODELS)
    assert all(one["images_per_second"] == pytest.approx(2 / one["step_seconds"]) for one in found)
    assert all(one["peak_bytes"] is None and one["environment"]["device_type"] == "cpu" for one in found)
    add_measurement(path, measure(EXPERIMENT, MODELS[0], two, device="cpu"))
    assert len(load_measurements(path)) == 4
    add_measurement(path, measure(EXPERIMENT, MODELS[0], Recipe(batch_size=3), device="cpu"))
    assert len(load_measurements(path)) == 5
    add_measurement(path, {**found[0], "micro_batch": 1})
    assert len(load_measurements(path)) == 6, "another way to make the same batch"
