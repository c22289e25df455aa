"""sesn_lib.training on a tiny network and made-up digits: protocol, determinism, resume, evaluation, errors."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sesn_lib.data.splits import DeviceSplit, normalise
from sesn_lib.experiments.mnist_scale import Settings
from sesn_lib.fast.precision import resolve
from sesn_lib.training import loop
from sesn_lib.training import mnist_scale as training
from sesn_lib.training import state as state_of_training
from sesn_lib.training.evaluation import Evaluation, evaluate
from sesn_lib.training.loop import Diverged
from sesn_lib.training.state import stream
from sesn_lib.training.task import EpochReport, FitResult

pytestmark = pytest.mark.usefixtures("one_thread")


class Tiny(nn.Sequential):
    """A convolution, batch normalisation and dropout: what could make a run irreproducible."""

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(1, 4, 5, stride=3),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Dropout(0.3),
                nn.Linear(64, 10),
            )


def digits(count: int, seed: int) -> DeviceSplit:
    """Noise with a bright bar whose row tells the class: easy, but not at once perfect."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (count, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=generator)
    for image, label in zip(images, labels):
        image[4 + 2 * int(label), 6:22] = 220
    return DeviceSplit(images, labels)


@pytest.fixture(scope="module")
def train() -> DeviceSplit:
    return digits(300, 0)


@pytest.fixture(scope="module")
def val() -> DeviceSplit:
    return digits(200, 1)


SHORT = Settings(epochs=6, milestones=(3, 5), extra_scaling=0.5, seed=3)


def same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def accuracy(result: FitResult) -> float:
    return result.reported["val_accuracy"]


def same_result(first: FitResult, second: FitResult) -> bool:
    return (
        without_seconds(first.history) == without_seconds(second.history)
        and (first.reported_epoch, accuracy(first)) == (second.reported_epoch, accuracy(second))
        and same_weights(first.best_state, second.best_state)
        and same_weights(first.last_state, second.last_state)
    )


def fit(model: nn.Module, train: DeviceSplit, val: DeviceSplit, settings: Settings, **options: Any) -> FitResult:
    return loop.fit(model, training.Task(train, val, settings), **options)


def run(train: DeviceSplit, val: DeviceSplit, settings: Settings = SHORT, **options: Any) -> FitResult:
    return fit(Tiny(), train, val, settings, **options)


def test_it_learns(train: DeviceSplit, val: DeviceSplit) -> None:
    result = run(train, val, Settings(epochs=8))
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]
    assert accuracy(result) > 0.6


@pytest.mark.parametrize(("precision", "threads"), [("float32", 1), ("bf16", 1), ("float32", 2)])
def test_same_seed_same_run_bit_for_bit(train: DeviceSplit, val: DeviceSplit, precision: str, threads: int) -> None:
    torch.set_num_threads(threads)
    settings = Settings(epochs=2, extra_scaling=0.5, precision=precision, seed=7)
    first = run(train, val, settings)
    torch.rand(5)  # ambient randomness must not matter
    assert same_result(first, run(train, val, settings))


def test_another_seed_or_precision_is_another_run(train: DeviceSplit, val: DeviceSplit) -> None:
    first = run(train, val, Settings(epochs=2, seed=1))
    assert not same_result(first, run(train, val, Settings(epochs=2, seed=2)))
    assert not same_result(first, run(train, val, Settings(epochs=2, seed=1, precision="bf16")))
    assert not same_result(first, run(train, val, Settings(epochs=2, seed=1, extra_scaling=0.5)))


def test_a_model_is_trained_in_training_mode_however_it_comes(train: DeviceSplit, val: DeviceSplit) -> None:
    results = [fit(model, train, val, Settings(epochs=1)) for model in (Tiny().train(), Tiny().eval())]
    assert same_result(*results)


def test_global_randomness_is_left_alone(train: DeviceSplit, val: DeviceSplit) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    run(train, val, Settings(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def serialised(state: dict[str, Any]) -> dict[str, Any]:
    """To a file and back the safe way, as a runner would."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_resumed_run_equals_the_undisturbed_one(train: DeviceSplit, val: DeviceSplit) -> None:
    undisturbed = run(train, val)
    states: list[dict[str, Any]] = []

    class Killed(Exception):
        pass

    killed_after = random.randrange(1, SHORT.epochs)

    def kill(report: EpochReport) -> None:
        if report.epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        run(train, val, on_epoch=kill, save=states.append, save_every=1)
    assert len(states) == killed_after
    for _ in range(2):  # twice: the state must not be worn by use
        model = Tiny(seed=99)  # its own initial weights must not matter
        resumed = fit(model, train, val, SHORT, state=serialised(states[-1]))
        assert same_result(undisturbed, resumed)
        assert same_weights(model.state_dict(), undisturbed.best_state)
    assert same_result(undisturbed, run(train, val, state=states[-1]))
    assert same_result(undisturbed, run(train, val, state=states[-1]))
    run(train, val, save=states.append, save_every=SHORT.epochs)
    assert states[-1]["epoch"] == SHORT.epochs
    assert same_result(undisturbed, fit(Tiny(seed=99), train, val, SHORT, state=states[-1])), "nothing was left to do"


@pytest.mark.parametrize("forgotten", ["generator", "dropout", "optimizer", "model"])
def test_each_part_of_the_state_is_needed(train: DeviceSplit, val: DeviceSplit, forgotten: str) -> None:
    """Negative control: a state with one part of another run in it does not reproduce the run."""
    states: list[dict[str, Any]] = []
    undisturbed = run(train, val, save=states.append, save_every=2)
    others: list[dict[str, Any]] = []
    run(train, val, Settings(epochs=2, seed=8), save=others.append)
    damaged = {**states[0], forgotten: others[0][forgotten]}
    assert not same_result(undisturbed, run(train, val, state=damaged))


def test_every_purpose_has_a_random_stream_of_its_own(train: DeviceSplit, val: DeviceSplit) -> None:
    purposes = ("order and factors", "dropout", "order and augmentation", "held-out images")
    assert len({stream(seed, purpose) for seed in range(5) for purpose in purposes}) == 20
    assert stream(0, "dropout") == 6686649721561522694  # for ever: records are repeated by it
    states: list[dict[str, Any]] = []
    settings = Settings(epochs=1, batch_size=300, seed=4)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))  # it draws nothing, so that the streams are as seeded
    fit(plain, train, val, settings, save=states.append)
    order, dropout = (torch.Generator().manual_seed(stream(4, p)) for p in purposes[:2])
    assert torch.equal(states[0]["dropout"], dropout.get_state())
    torch.randperm(len(train), generator=order)
    assert torch.equal(states[0]["generator"], order.get_state())


def test_the_random_state_of_the_device_is_the_one_that_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: asked.append(list(devices)))
    for device in (torch.device("cuda", 1), torch.device("cpu")):
        state_of_training.forked(device)
    assert asked == [[torch.device("cuda", 1)], []]


def test_a_state_is_not_changed_by_the_training_that_goes_on(train: DeviceSplit, val: DeviceSplit) -> None:
    states: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []

    def save(state: dict[str, Any]) -> None:
        states.append(state)
        kept.append(serialised(state))

    run(train, val, Settings(epochs=3, extra_scaling=0.5), save=save, save_every=1)
    assert [state["epoch"] for state in kept] == [1, 2, 3]
    for state, first in zip(states, kept, strict=True):
        assert without_seconds(state["history"]) == without_seconds(first["history"])
        assert [len(state["history"]), state["epoch"]] == [first["epoch"]] * 2
        for part in ("model", "best_state"):
            assert same_weights(state[part], first[part])
        assert len(state["optimizer"]["state"]) == len(list(Tiny().parameters()))
        for index, moments in state["optimizer"]["state"].items():
            assert same_weights(moments, first["optimizer"]["state"][index])


def test_a_state_from_a_gpu_holds_its_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws there; what torch is asked for and given back, without a GPU."""
    device, given = torch.device("cuda", 1), []
    stored = torch.arange(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda of: stored if of == device else None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, of: given.append((state, of)))
    model = Tiny()
    optimizer, generator = torch.optim.Adam(model.parameters()), torch.Generator()
    state = serialised(state_of_training.capture(model, optimizer, generator, device))
    assert torch.equal(state["dropout_cuda"], stored)
    with torch.random.fork_rng(devices=[]):
        state_of_training.restore(state, model, optimizer, generator, device)
        assert [(found.tolist(), of) for found, of in given] == [(stored.tolist(), device)]
        assert optimizer.param_groups[0]["capturable"], "by a graph, which that device has"
        on_cpu = state_of_training.capture(model, optimizer, generator, torch.device("cpu"))
        state_of_training.restore({**on_cpu, "dropout_cuda": stored}, model, optimizer, generator, torch.device("cpu"))
    assert on_cpu["dropout_cuda"] is None
    assert not optimizer.param_groups[0]["capturable"]
    assert len(given) == 1, "a CPU leaves the GPU alone"


def test_save_every_and_at_the_end(train: DeviceSplit, val: DeviceSplit) -> None:
    states: list[dict[str, Any]] = []
    result = run(train, val, Settings(epochs=5), save=states.append, save_every=2)
    assert [state["epoch"] for state in states] == [2, 4, 5]
    finished = run(train, val, Settings(epochs=5), state=states[-1])
    assert same_result(result, finished)


def test_a_state_that_does_not_fit_is_refused(train: DeviceSplit, val: DeviceSplit) -> None:
    states: list[dict[str, Any]] = []
    settings = Settings(epochs=2)
    run(train, val, settings, save=states.append)
    state = states[-1]
    with pytest.raises(ValueError, match=r"the saved state has seed 0, this run 1: must be equal"):
        run(train, val, Settings(epochs=2, seed=1), state=state)
    with pytest.raises(ValueError, match=r"the saved state has train_images 300, this run 200"):
        run(train.first(200), val, settings, state=state)
    with pytest.raises(ValueError, match=r"the saved state lacks 'dropout'"):
        run(train, val, settings, state={key: value for key, value in state.items() if key != "dropout"})
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(ValueError, match=r"the saved state is of another model: it must be of this Sequential"):
        fit(other, train, val, settings, state=state)


def test_the_best_epoch_first_of_equals_is_kept(
    train: DeviceSplit, val: DeviceSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([40, 90, 70, 90, 10])
    weights: list[dict[str, Tensor]] = []
    number = len(val)

    def scripted(model: nn.Module, split: DeviceSplit, **options: Any) -> Evaluation:
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return Evaluation(torch.arange(number) < next(accuracies), torch.zeros(number), 1.0)

    monkeypatch.setattr(training, "evaluate", scripted)
    reports: list[EpochReport] = []
    model = Tiny()
    result = fit(model, train, val, Settings(epochs=5), on_epoch=reports.append)
    assert result.reported_epoch == 2
    assert accuracy(result) == 90 / number
    assert [report.best_epoch for report in reports] == [1, 2, 2, 2, 2]
    assert same_weights(result.best_state, weights[1])
    assert same_weights(model.state_dict(), weights[1])
    assert not same_weights(result.best_state, weights[3])
    assert same_weights(result.last_state, weights[4])
    assert not model.training


@pytest.mark.parametrize(("precision", "other"), [("float32", "bf16"), ("bf16", "float32")])
def test_the_returned_model_has_the_reported_validation_accuracy(
    train: DeviceSplit, val: DeviceSplit, precision: str, other: str
) -> None:
    model = Tiny()
    result = fit(model, train, val, replace(SHORT, precision=precision))
    best = result.history[result.reported_epoch - 1]
    evaluation = evaluate(model, val, precision=precision)
    assert evaluation.accuracy == accuracy(result) == best["val_accuracy"]
    assert evaluation.loss == best["val_loss"]
    assert evaluate(model, val, precision=other).loss != best["val_loss"], "the control"
    assert accuracy(result) == max(row["val_accuracy"] for row in result.history)


def test_history_and_reports(train: DeviceSplit, val: DeviceSplit) -> None:
    reports: list[EpochReport] = []
    result = run(train, val, on_epoch=reports.append)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    assert [report.row() for report in reports] == result.history
    assert {report.epochs for report in reports} == {6}
    keys = "epoch learning_rate train_loss train_accuracy val_loss val_accuracy seconds"
    assert list(result.history[0]) == keys.split()
    assert all(row["seconds"] > 0 for row in result.history)
    assert [row["learning_rate"] for row in result.history] == pytest.approx([1e-2] * 3 + [1e-3] * 2 + [1e-4])


def test_a_measured_zero_is_kept_and_what_was_not_measured_is_left_out() -> None:
    perfect = EpochReport(3, 60, 0.01, 0.0, 1.0, 1.5, best_epoch=2, val_loss=0.0, test_error=0.0)
    said = {"epoch": 3, "learning_rate": 0.01, "train_loss": 0.0, "train_accuracy": 1.0, "seconds": 1.5}
    assert perfect.row() == {**said, "val_loss": 0.0, "test_error": 0.0}


def test_the_schedule_equals_torchs() -> None:
    settings = Settings()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(settings.milestones), settings.gamma)
    rates = []
    for epoch in range(1, settings.epochs + 1):
        assert settings.learning_rate_in(epoch) == optimizer.param_groups[0]["lr"]
        rates.append(settings.learning_rate_in(epoch))
        optimizer.step()
        schedule.step()
    assert [rates[i] for i in (0, 19, 20, 39, 40, 59)] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_the_first_epoch_equals_a_plain_loop(train: DeviceSplit, val: DeviceSplit) -> None:
    """Slow twin: the textbook loop in float64 with torch's own Adam, fed with the same order."""
    model, plain = Tiny().double(), Tiny().double()
    start = {name: value.clone() for name, value in plain.state_dict().items()}
    model[5].p = plain[5].p = 0.0
    # `fit` feeds float32 images; these networks work in float64 so that rounding does not hide a mistake.
    model.register_forward_pre_hook(lambda module, inputs: inputs[0].double())
    settings = Settings(epochs=1, seed=5)
    fit(model, train, val, settings)
    generator = torch.Generator().manual_seed(stream(5, "order and factors"))
    order = torch.randperm(len(train), generator=generator)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01, fused=False, foreach=False)
    for batch in order.split(128):
        optimizer.zero_grad()
        logits = plain(normalise(train.images[batch]).double())
        nn.functional.cross_entropy(logits, train.labels[batch]).backward()
        optimizer.step()
    assert len(start) == len(plain.state_dict()) == 9
    assert not any(start[name].equal(value) for name, value in plain.state_dict().items()), "all of it moves"
    for ours, theirs in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_what_an_epoch_reports_is_a_mean_over_its_images(train: DeviceSplit, val: DeviceSplit) -> None:
    """A network of zeros that hardly moves: the loss is log 10 for every image, and all are taken for zeros."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(model[1].bias[0], 1e-6)
    (row,) = fit(model, train, val, Settings(epochs=1, learning_rate=1e-30)).history
    assert row["train_loss"] == pytest.approx(math.log(10), rel=1e-5)
    assert row["val_loss"] == pytest.approx(math.log(10), rel=1e-5)
    assert row["train_accuracy"] == pytest.approx((train.labels == 0).double().mean().item())
    assert row["val_accuracy"] == pytest.approx((val.labels == 0).double().mean().item())


def test_a_validation_loss_that_is_not_finite_ends_the_run(
    train: DeviceSplit, val: DeviceSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Evaluation(torch.zeros(len(val), dtype=torch.bool), torch.zeros(len(val)), math.inf)
    monkeypatch.setattr(training, "evaluate", lambda *arguments, **options: nothing)
    with pytest.raises(Diverged, match="the validation loss is inf after epoch 1: it must be finite"):
        run(train, val)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_diverging_run_says_so(train: DeviceSplit, val: DeviceSplit, precision: str) -> None:
    model = Tiny()
    with torch.no_grad():
        model[-1].weight.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) after epoch 1: it must be finite"):
        fit(model, train, val, Settings(epochs=3, precision=precision))


def test_evaluate_against_one_image_at_a_time(val: DeviceSplit) -> None:
    model = Tiny(4).eval()
    evaluation = evaluate(model, val, batch_size=64)
    with torch.no_grad():
        logits = torch.cat([model(normalise(image[None])) for image in val.images])
    assert torch.equal(evaluation.predictions, logits.argmax(1))
    assert torch.equal(evaluation.correct, logits.argmax(1) == val.labels)
    assert evaluation.loss == pytest.approx(float(nn.functional.cross_entropy(logits, val.labels)), rel=1e-5)
    assert evaluation.predictions.dtype == torch.int64
    assert evaluation.accuracy == pytest.approx(1 - evaluation.error() / 100)


def test_evaluate_restores_the_mode_and_leaves_the_model_alone(val: DeviceSplit) -> None:
    model = Tiny().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = evaluate(model, val)
    assert model.training
    assert same_weights(before, model.state_dict())
    assert torch.equal(first.predictions, evaluate(model.eval(), val, batch_size=7).predictions)
    assert not model.training
    agreement = (evaluate(model, val, precision="bf16").predictions == first.predictions).double().mean()
    assert agreement > 0.9


def test_error_on_the_first_n() -> None:
    correct = torch.tensor([True, True, False, True, False, False, False, False])
    evaluation = Evaluation(correct, torch.zeros(8, dtype=torch.int64), 0.0)
    assert evaluation.error() == 62.5
    assert evaluation.error(4) == 25.0
    assert evaluation.error(1) == 0.0
    for n in (0, 9, -1):
        with pytest.raises(ValueError, match=f"error on the first {n} images asked for, must be 1 to 8"):
            evaluation.error(n)


def test_settings_follow_the_protocol() -> None:
    settings = Settings()
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == (60, 128, 0.01)
    assert (settings.milestones, settings.gamma, settings.extra_scaling) == ((20, 40), 0.1, 1.0)
    assert (settings.precision, settings.seed, settings.eval_batch) == ("float32", 0, 1000)
    assert Settings(milestones=[5, 9]).milestones == (5, 9)  # type: ignore[arg-type]


def test_shortened_moves_the_steps_to_thirds() -> None:
    assert Settings().shortened(60) == Settings()
    cases = {30: (10, 20), 9: (3, 6), 3: (1, 2), 2: (1,), 1: ()}
    for epochs, milestones in cases.items():
        assert Settings(seed=4).shortened(epochs) == Settings(epochs=epochs, milestones=milestones, seed=4)
    assert Settings(epochs=5).milestones == (20, 40)  # only when asked


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("epochs", 0, "an integer, 1 or greater"),
        ("epochs", 2.5, "an integer, 1 or greater"),
        ("epochs", True, "an integer, 1 or greater"),
        ("batch_size", 0, "an integer, 1 or greater"),
        ("batch_size", 1, "at least 2"),
        ("eval_batch", -3, "an integer, 1 or greater"),
        ("seed", -1, "an integer, 0 or greater"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("gamma", float("inf"), "a finite number above 0"),
        ("extra_scaling", 0, "a finite number above 0 and at most 1"),
        ("extra_scaling", 1.01, "a finite number above 0 and at most 1"),
        ("extra_scaling", -0.5, "a finite number above 0 and at most 1"),
        ("extra_scaling", float("nan"), "a finite number above 0 and at most 1"),
        ("extra_scaling", None, "a finite number above 0 and at most 1"),
        ("precision", "fp8", "one of auto, float32, bf16"),
        ("milestones", (40, 20), "increasing such as"),
        ("milestones", (20, 20), "increasing such as"),
        ("milestones", (0, 20), "an integer, 1 or greater"),
        ("milestones", 20, "a sequence of epochs"),
        ("milestones", "20", "a sequence of epochs"),
    ],
)
def test_bad_settings_are_named(name: str, value: Any, right: str) -> None:
    with pytest.raises(ValueError, match=f"must be {right}") as caught:
        Settings(**{name: value})
    message = str(caught.value)
    quoted = repr(value[0]) if value == (0, 20) else repr(value)
    assert quoted in message
    assert name.rstrip("s") in message
    assert "\n" not in message


def test_bad_data_and_options_are_named(train: DeviceSplit, val: DeviceSplit) -> None:
    with pytest.raises(ValueError, match="129 training images in batches of 128 leave a last batch of one: use 128"):
        run(train.first(129), val)
    with pytest.raises(ValueError, match="the number of training images is 1: it must be at least 2"):
        run(train.first(1), val)
    nothing = DeviceSplit(val.images[:0], val.labels[:0])
    with pytest.raises(ValueError, match="there are 0 validation images"):
        run(train, nothing)
    with pytest.raises(ValueError, match="there are 0 images to evaluate on"):
        evaluate(Tiny(), nothing)
    with pytest.raises(ValueError, match="save_every is 0"):
        run(train, val, save_every=0)
    with pytest.raises(ValueError, match="precision is 'fp16': it must be one of auto, float32, bf16"):
        evaluate(Tiny(), val, precision="fp16")


def test_a_record_says_what_auto_came_to(train: DeviceSplit, val: DeviceSplit) -> None:
    task = training.Task(train, val, Settings(precision="auto"))
    assert task.settings.protocol(len(train))["precision"] == resolve("auto", "cpu") != "auto"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_gpu_learns_and_resumes(train: DeviceSplit, val: DeviceSplit, precision: str) -> None:
    on_gpu = [DeviceSplit(split.images.cuda(), split.labels.cuda()) for split in (train, val)]
    settings = Settings(epochs=8, precision=precision)
    states: list[dict[str, Any]] = []
    result = run(*on_gpu, settings, save=states.append, save_every=4)
    assert accuracy(result) > 0.6
    resumed = run(*on_gpu, settings, state=states[0])
    assert resumed.history[:4] == result.history[:4]
    assert resumed.history[-1]["train_loss"] == pytest.approx(result.history[-1]["train_loss"], rel=0.05)
    assert all(value.device.type == "cpu" for value in result.best_state.values())
