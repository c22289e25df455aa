"""Training by the STL-10 recipe: its steps against plain torch, resume, gradient accumulation, selection."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sesn_lib.data.augment import ColourSplit, Draws, augment, normalise
from sesn_lib.experiments.stl10 import Recipe
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.training import loop
from sesn_lib.training.evaluation import evaluate
from sesn_lib.training.state import stream
from sesn_lib.training.stl10 import Task, epoch_batches, hold_out, make_optimizer, train_step

SIZE = 8


pytestmark = pytest.mark.usefixtures("one_thread", "small_hole")


@pytest.fixture(scope="module")
def small_hole():
    """A hole of 32 pixels leaves nothing of such small pictures: all runs would be trained on black."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sesn_lib.data.augment.HOLE", 2)
        yield


def pictures(count: int, seed: int) -> ColourSplit:
    """Noise in which one colour of two dominates: four classes by colour and brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randint(0, 60, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images[torch.arange(count), labels % 2] += (80 * (1 + labels // 2)).to(torch.uint8)[:, None, None]
    return ColourSplit(images, labels)


@pytest.fixture(scope="module")
def train():
    return pictures(40, 0)


@pytest.fixture(scope="module")
def test():
    return pictures(24, 1)


def network(name: str = "wrn_16_8_ses_c", seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return WideResNet(VARIANTS[name], depth=10, widening=1, input_size=SIZE, num_classes=4)


def fit(model, train, test, recipe, **options):
    return loop.fit(model, Task(train, test, recipe), **options)


def error(model, test, recipe):
    return evaluate(model, test, batch_size=recipe.eval_batch, normalise=normalise).error()


SHORT = Recipe(epochs=4, batch_size=16, milestones=(2, 3), evaluate_after=(1, 3), seed=5)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def test_it_learns_and_reports(train, test):
    recipe = dataclasses.replace(SHORT, epochs=8, milestones=(6,), evaluate_after=(2, 5), augmentation="none")
    model, reports = network("wrn_16_8"), []
    result = fit(model, train, test, recipe, on_epoch=reports.append)
    assert [e["epoch"] for e in result.evaluations] == [2, 5, 8]
    assert result.reported_epoch == 8
    assert result.reported["test_error"] == result.evaluations[-1]["test_error"] == error(model, test, recipe)
    assert result.reported["test_error"] < 30  # chance is 75
    assert [r.epoch for r in reports] == list(range(1, 9))
    assert [r.test_error is None for r in reports] == [True, False, True, True, False, True, True, False]
    assert result.history[-1]["learning_rate"] == pytest.approx(0.02)
    assert not model.training


def test_steps_equal_plain_torch(train):
    """Two epochs, written out with torch's own loader order, loss and SGD."""
    recipe = dataclasses.replace(SHORT, epochs=2, milestones=(1,))
    model, twin = network("wrn_16_8"), network("wrn_16_8")
    fit(model, train, train, recipe)
    generator = torch.Generator().manual_seed(stream(recipe.seed, "order and augmentation"))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1], gamma=0.2)
    twin.train()
    with torch.random.fork_rng():
        torch.manual_seed(stream(recipe.seed, "dropout"))
        for _ in range(2):
            order = torch.randperm(40, generator=generator)
            draws = Draws.sample(40, generator, size=SIZE)
            batches = zip(order.split(16), range(0, 40, 16))
            for chosen, start in batches:
                optimizer.zero_grad()
                images = augment(train.images[chosen], draws[start : start + 16])
                F.cross_entropy(twin(images), train.labels[chosen]).backward()
                optimizer.step()
            schedule.step()
    for name, value in weights(model).items():
        torch.testing.assert_close(value, twin.state_dict()[name], atol=1e-6, rtol=1e-5)
    assert not same(weights(model), weights(network("wrn_16_8")))


def test_weight_decay_acts_on_all_parameters():
    """With a zero gradient one step multiplies every parameter by 1 - lr * decay * (1 + momentum)."""
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, Recipe(learning_rate=0.1, weight_decay=0.01))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    after = {name: p.detach() for name, p in model.named_parameters()}
    assert after.keys() == before.keys()
    assert {"bias", "weight"} == {name.rpartition(".")[2] for name in after}, "no kind of them is spared"
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] * (1 - 0.1 * 0.01 * 1.9))


def test_an_epoch_is_every_image_once_augmented(train):
    recipe = dataclasses.replace(SHORT, augmentation="none")
    batches = list(epoch_batches(train, recipe, torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in batches] == [16, 16, 8]
    known = normalise(train.images)
    found = torch.cat([images for images, _ in batches])
    places = [int((known == image).flatten(1).all(1).nonzero()) for image in found]
    assert sorted(places) == list(range(40))
    assert places != sorted(places)
    assert torch.equal(torch.cat([labels for _, labels in batches]), train.labels[places])
    augmented = torch.cat([i for i, _ in epoch_batches(train, SHORT, torch.Generator().manual_seed(0))])
    assert all((augmented[i] != known[places[i]]).any() for i in range(40))


def test_holes_lie_in_images_of_any_size(train):
    white = type(train)(torch.full_like(train.images, 255), train.labels)
    images = torch.cat([i for i, _ in epoch_batches(white, SHORT, torch.Generator().manual_seed(0))])
    assert (images == 0).all(1).flatten(1).any(1).all()


def test_same_seed_same_run_and_ambient_randomness_untouched(train, test):
    first, second, third = network(), network(), network()
    torch.manual_seed(1)
    results = [fit(first, train, test, SHORT)]
    drawn = torch.rand(3)
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, torch.rand(3))
    results.append(fit(second, train, test, SHORT))
    fit(third, train, test, dataclasses.replace(SHORT, seed=6))
    assert same(weights(first), weights(second))
    assert without_seconds(results[0].history) == without_seconds(results[1].history)
    assert not same(weights(first), weights(third))


@pytest.mark.parametrize(("selection", "stop_after"), [("final", 3), ("validation", 1)])
def test_a_resumed_run_equals_the_undisturbed_one(train, test, stop_after, selection):
    recipe = dataclasses.replace(SHORT, selection=selection, validation_images=8)

    class Stop(Exception):
        pass

    kept = []

    def save(state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        kept.append(buffer.getvalue())
        if len(kept) == stop_after:
            raise Stop

    with pytest.raises(Stop):
        fit(network(), train, test, recipe, save=save)
    state = torch.load(io.BytesIO(kept[-1]), weights_only=True)
    resumed, whole = network(seed=9), network()
    second = fit(resumed, train, test, recipe, state=state)
    first = fit(whole, train, test, recipe)
    assert same(weights(resumed), weights(whole))
    assert without_seconds(first.history) == without_seconds(second.history)
    assert first.evaluations == second.evaluations
    # Negative control: without the optimiser's moments it is another run.
    state = torch.load(io.BytesIO(kept[-1]), weights_only=True)
    for moments in state["optimizer"]["state"].values():
        moments["momentum_buffer"].zero_()
    forgetful = fit(network(seed=9), train, test, recipe, state=state)
    assert without_seconds(forgetful.history) != without_seconds(first.history)
    assert forgetful.evaluations[-1] != first.evaluations[-1]


def test_a_state_of_another_run_is_refused(train, test):
    states = []
    fit(network(), train, test, dataclasses.replace(SHORT, epochs=1), save=states.append)
    with pytest.raises(ValueError, match="epochs 1, this run 4"):
        fit(network(), train, test, SHORT, state=states[0])
    with pytest.raises(ValueError, match="another model"):
        fit(network("wrn_16_8"), train, test, dataclasses.replace(SHORT, epochs=1), state=states[0])
    with pytest.raises(ValueError, match="lacks 'train_images'"):
        fit(network(), train, test, SHORT, state={"settings": {}})


class Plain(nn.Module):
    """No batch normalisation, no dropout: accumulated gradients are exact for it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * SIZE * SIZE, 4)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_what_an_epoch_reports_is_a_mean_over_its_images(train, test):
    """A network of zeros that hardly moves: the loss is log 4 for each image, and all are taken for the first class."""
    model, reports = Plain(), []
    nn.init.constant_(model.layer.bias[0], 1e-6)
    result = fit(model, train, test, dataclasses.replace(SHORT, epochs=1, learning_rate=1e-30), on_epoch=reports.append)
    assert result.history[0]["train_loss"] == pytest.approx(math.log(4), rel=1e-5)
    assert result.history[0]["train_accuracy"] == pytest.approx(0.25)
    assert reports[0].test_error == result.reported["test_error"] == pytest.approx(75.0)
    assert reports[0].test_loss == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.parametrize("micro_batch", [2, 5, 16])
def test_accumulated_gradients_equal_those_of_the_batch(train, micro_batch):
    images, labels = normalise(train.images[:16]), train.labels[:16]
    found = []
    for size in (None, micro_batch):
        model, recipe = Plain(), dataclasses.replace(SHORT, micro_batch=size)
        totals = train_step(model, make_optimizer(model, recipe), images, labels, recipe)
        found.append((model.layer.weight.detach().clone(), totals))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_micro_batches_change_batch_normalisation(train):
    """Said in the recipe: the norms see micro-batches."""
    found = []
    for size in (None, 4):
        model, recipe = network("wrn_16_8"), dataclasses.replace(SHORT, micro_batch=size)
        model.train()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            train_step(model, make_optimizer(model, recipe), normalise(train.images[:16]), train.labels[:16], recipe)
        found.append(model.classifier.weight.detach())
    assert (found[0] - found[1]).abs().max() > 1e-4


def test_held_out_images(train):
    kept, held = hold_out(train, 12, seed=1)
    assert torch.bincount(held.labels).tolist() == [3] * 4
    assert len(kept) == 28
    together = torch.cat([kept.images, held.images]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 40
    assert torch.equal(hold_out(train, 12, seed=1)[1].images, held.images)
    assert not torch.equal(hold_out(train, 12, seed=2)[1].images, held.images)
    assert hold_out(train, 0, seed=1) == (train, None)
    assert len(hold_out(train, 36, seed=1)[0]) == 4
    for count in (13, 40):
        with pytest.raises(ValueError, match=f"validation_images is {count}"):
            hold_out(train, count, seed=1)


def test_held_out_images_are_evaluated_and_never_trained_on(train, test):
    recipe = dataclasses.replace(SHORT, epochs=1, validation_images=12, augmentation="none")
    model, seen = network(), {True: [], False: []}
    model.register_forward_pre_hook(lambda module, inputs: seen[module.training].append(inputs[0].clone()))
    result = fit(model, train, test, recipe)

    def same_images(found, expected):
        order = [images.flatten(1).double().sum(1).argsort() for images in (found, expected)]
        return found.shape == expected.shape and torch.equal(found[order[0]], expected[order[1]])

    kept, held = hold_out(train, 12, recipe.seed)
    assert same_images(torch.cat(seen[True]), normalise(kept.images))
    evaluated = torch.cat(seen[False])
    assert same_images(evaluated[: len(test)], normalise(test.images))
    assert same_images(evaluated[len(test) :], normalise(held.images))
    assert result.evaluations[0]["val_accuracy"] == evaluate(model, held, normalise=normalise).accuracy


def test_dropout_has_a_random_stream_of_its_own(train, test):
    states = []
    recipe = dataclasses.replace(SHORT, epochs=1, batch_size=40, seed=8)
    fit(Plain(), train, test, recipe, save=states.append)  # it draws nothing: the stream is as it was seeded
    assert torch.equal(states[0]["dropout"], torch.Generator().manual_seed(stream(8, "dropout")).get_state())
    assert stream(8, "dropout") != stream(8, "order and augmentation")


def test_validation_chooses_only_when_asked(train, test):
    recipe = dataclasses.replace(SHORT, epochs=6, evaluate_after=(1, 2, 3, 4, 5), validation_images=8)
    final = fit(network(), train, test, recipe)
    assert final.reported_epoch == 6
    model = network()
    chosen = fit(model, train, test, dataclasses.replace(recipe, selection="validation"))
    assert chosen.evaluations == final.evaluations
    best = max(e["val_accuracy"] for e in chosen.evaluations)
    first = next(e for e in chosen.evaluations if e["val_accuracy"] == best)
    assert (chosen.reported_epoch, chosen.reported["test_error"]) == (first["epoch"], first["test_error"])
    assert error(model, test, recipe) == chosen.reported["test_error"]


def test_bf16_runs(train, test):
    recipe = dataclasses.replace(SHORT, epochs=1, precision="bf16")
    model = network()
    losses = [fit(network(), train, test, dataclasses.replace(SHORT, epochs=1)), fit(model, train, test, recipe)]
    full, rounded = (result.history[0]["train_loss"] for result in losses)
    assert full != rounded
    assert rounded == pytest.approx(full, rel=0.05)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_splits_of_other_kinds_are_refused(train):
    with pytest.raises(ValueError, match="float32"):
        ColourSplit(train.images.float(), train.labels)
    with pytest.raises(ValueError, match=r"int64 \[40\]"):
        ColourSplit(train.images, train.labels[:3])
    with pytest.raises(ValueError, match="count is 41"):
        train.first(41)
