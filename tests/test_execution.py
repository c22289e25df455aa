"""One cell from data to record, and its checkpoint: with real networks and a handful of images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toy_cells import make_record, toy_realization, use_toy_data

from sesn_lib import models, provenance
from sesn_lib.checks import PRECISIONS
from sesn_lib.data.splits import to_device
from sesn_lib.experiments import correctness
from sesn_lib.experiments.mnist_scale import EXPERIMENT as MNIST_SCALE
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.fast import Engine
from sesn_lib.provenance import seeded
from sesn_lib.runner import execution
from sesn_lib.runner.budget import format_duration, parse_duration
from sesn_lib.runner.cost import Estimator, measure
from sesn_lib.runner.execution import Trained, settings_of
from sesn_lib.store.checkpoint import Checkpoint, Interrupted
from sesn_lib.store.records import Store, deterministic_part, validate
from sesn_lib.training import loop
from sesn_lib.training import mnist_scale as training
from sesn_lib.training.evaluation import Evaluation, evaluate
from sesn_lib.training.loop import Diverged
from sesn_lib.training.task import FitResult

CELL = Cell("mnist_cnn_28", 0.5, 1)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    use_toy_data(monkeypatch)
    yield
    torch.set_num_threads(threads)


CALLED = ("on_epoch", "stop", "settings")


def options(tmp_path: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Few epochs with a checkpoint after each; what `train_cell` is called with besides is among the changes."""
    called = {name: changes.pop(name) for name in CALLED if name in changes}
    few: dict[str, Any] = {"epochs": 3, "batch_size": 24, "device": "cpu", "threads": 1, "checkpoint_seconds": 0.0}
    return {"options": RunOptions(**{**few, "checkpoints": tmp_path, **changes}), **called}


def train_cell(cell: Cell, **given: Any) -> Trained:
    return execution.train_cell(cell, **given)


def run_cell(cell: Cell, **given: Any) -> dict[str, Any]:
    return execution.run_cell(cell, **given)


@pytest.fixture(scope="module")
def reference_record() -> dict[str, Any]:
    return {}


def undisturbed(cache: dict[str, Any]) -> dict[str, Any]:
    """The record of an undisturbed run, made once."""
    if not cache:
        torch.set_num_threads(2)
        cache.update(run_cell(CELL, **options()))
        assert torch.get_num_threads() == 1, "as the options say"
    return cache


def test_the_record_says_what_was_done(reference_record: dict[str, Any]) -> None:
    record = undisturbed(reference_record)
    assert validate(record) == CELL
    assert record["parameters"] == 494549
    assert record["test_images"] == 30
    assert record["complete"] is False
    assert record["protocol"]["milestones"] == [1, 2]
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3]
    assert record["data_checksum"] == "1" * 64
    assert record["environment"]["device_type"] == "cpu"
    assert record["environment"]["device"].endswith(" (1 thread)")
    timing = record["timing"]
    assert 0 < timing["train_seconds"] + timing["evaluation_seconds"] <= timing["wall_seconds"]
    assert sum(record["by_scale"]["images"]) == 30
    assert sum(record["by_scale"]["errors"]) == round(0.3 * record["test_error_50k"])
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("epochs", [3, 1])
def test_the_record_says_which_images_were_right_and_what_the_last_epoch_came_to(
    monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    results = []

    def fit(*arguments: Any, **more: Any) -> FitResult:
        results.append(fitted(*arguments, **more))
        return results[-1]

    fitted = loop.fit
    monkeypatch.setattr(loop, "fit", fit)
    cell = Cell("mnist_cnn_28", 1.0, 0)
    trained = train_cell(cell, **options(epochs=epochs))
    record, result = trained.record, results[0]
    assert correctness.decode(record["correct"], 30) == trained.evaluation.correct.tolist()
    last = models.build(cell.model)
    last.load_state_dict(result.last_state)
    expected = evaluate(last, trained.test).error()
    assert record["last_epoch"] == {"test_error_50k": expected, "test_error_48k": expected}
    assert all(torch.equal(value, result.best_state[key]) for key, value in trained.model.state_dict().items())
    assert record["best_epoch"] == 1
    assert (expected == record["test_error_50k"]) is (epochs == 1), "the control: the two networks can be told apart"


def test_the_same_cell_gives_the_same_record(reference_record: dict[str, Any]) -> None:
    trained = train_cell(CELL, **options())
    assert deterministic_part(trained.record) == deterministic_part(undisturbed(reference_record))
    assert trained.evaluation.error() == trained.record["test_error_50k"]
    assert len(trained.test) == 30
    other = run_cell(Cell("mnist_cnn_28", 0.5, 2), **options(epochs=1))
    assert other["seed"] != trained.record["seed"], "the control: another cell has another seed"


def test_validation_images_choose_and_test_images_judge_in_the_precision_of_the_record() -> None:
    splits = toy_realization(None, CELL.realization, "paper", False)
    losses = set()
    for precision in PRECISIONS:
        trained = train_cell(CELL, **options(precision=precision))
        record = trained.record
        best = record["history"][record["best_epoch"] - 1]
        assert record["protocol"]["precision"] == precision
        for computed in PRECISIONS:
            val, test = (
                evaluate(trained.model, to_device(split, "cpu"), precision=computed)
                for split in (splits.val, splits.test)
            )
            same = computed == precision
            assert (best["val_loss"] == val.loss) is same
            assert (trained.evaluation.loss == test.loss) is same
            if same:
                assert record["val_accuracy"] == best["val_accuracy"] == val.accuracy
                assert record["test_error_50k"] == test.error()
                assert val.accuracy != test.accuracy, "the control: the two splits can be told apart"
        losses.add(record["history"][0]["train_loss"])
    assert len(losses) == 2, "the training, too, is in the precision of the record"


def test_a_cell_begins_with_weights_of_its_own_seed_on_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def fit(model: torch.nn.Module, *arguments: Any, **more: Any) -> Any:
        begun.append(model)
        raise Interrupted

    monkeypatch.setattr(loop, "fit", fit)
    for cell in (CELL, Cell("mnist_cnn_28", 0.5, 2)):
        with pytest.raises(Interrupted):
            train_cell(cell, **options())
        with seeded(settings_of(cell).seed):
            expected = models.build(cell.model).state_dict()
        found = begun[-1].state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert isinstance(begun[-1].engine, Engine)
    assert not torch.equal(*(next(model.parameters()) for model in begun)), "the control: seeds differ"


def test_errors_on_48000_images_and_by_scale_against_a_hand_count(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = torch.arange(50000) < 24000
    factors = np.where(correct, 0.45, 0.95)
    edges = np.array([0.3, 0.39, 0.4, 0.75, 1.0]), torch.tensor([True, False, False, True, False])

    def realization(*arguments: Any) -> SimpleNamespace:
        splits = toy_realization(*arguments)
        images, labels = np.zeros((50000, 28, 28), dtype=np.uint8), np.zeros(50000, dtype=np.int64)
        splits.test = SimpleNamespace(images=images, labels=labels, factors=factors)
        return splits

    def scripted(model: torch.nn.Module, split: Any, **more: Any) -> Evaluation:
        return Evaluation(correct[: len(split)], torch.zeros(len(split), dtype=torch.int64), 1.0)

    use_toy_data(monkeypatch, realization)
    monkeypatch.setattr(training, "evaluate", scripted)
    record = run_cell(CELL, **options(epochs=1))
    assert (record["test_error_48k"], record["test_error_50k"]) == (50.0, 52.0)
    assert record["by_scale"] == {
        "edges": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        "images": [0, 24000, 0, 0, 0, 0, 26000],
        "errors": [0, 0, 0, 0, 0, 0, 26000],
    }
    monkeypatch.setattr(training, "TEST_PART", 30000)
    assert run_cell(CELL, **options(epochs=1))["test_error_48k"] == 20.0
    factors, correct = edges
    few = run_cell(CELL, **options(epochs=1, test_images=5))["by_scale"]
    assert (few["images"], few["errors"]) == ([2, 1, 0, 0, 1, 0, 1], [1, 1, 0, 0, 0, 0, 1])


def test_the_record_names_the_commit_that_the_run_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    head = provenance.Commit("begun", False)
    monkeypatch.setattr(provenance, "git_commit", lambda: head)

    def pull(report: Any) -> None:
        nonlocal head
        head = provenance.Commit("pulled", True)

    provenance.loaded_commit.cache_clear()
    try:
        for _ in range(2):  # the second cell of a runner, too, is computed by the code loaded at its start
            environment = run_cell(CELL, **options(epochs=1, on_epoch=pull))["environment"]
            assert (environment["git_commit"], environment["git_dirty"]) == ("begun", False)
            assert head.commit == "pulled"
    finally:
        provenance.loaded_commit.cache_clear()


def test_fewer_images(tmp_path: Path) -> None:
    record = run_cell(CELL, **options(epochs=1, train_images=24, test_images=10))
    assert record["protocol"]["train_images"] == 24
    assert record["test_images"] == 10
    for name in ("train_images", "test_images"):
        with pytest.raises(ValueError, match=f"{name} is 1000: it must be an integer, 1 or greater and at most \\d+"):
            run_cell(CELL, **options(epochs=1, **{name: 1000}))


@pytest.mark.parametrize("after", [1, 2, 3])
def test_interrupted_and_resumed_the_record_is_the_same(
    tmp_path: Path, reference_record: dict[str, Any], after: int
) -> None:
    epochs = []
    with pytest.raises(Interrupted):
        run_cell(CELL, **options(tmp_path, on_epoch=epochs.append, stop=lambda: len(epochs) == after - 1))
    assert (tmp_path / f"{CELL.name}.pt").exists()
    resumed: list[Any] = []
    record = run_cell(CELL, **options(tmp_path, on_epoch=resumed.append))
    assert [report.epoch for report in resumed] == list(range(after + 1, 4)), "what was done is not done again"
    assert deterministic_part(record) == deterministic_part(undisturbed(reference_record))
    Checkpoint(tmp_path, CELL).discard()
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_checkpoint_is_set_aside(tmp_path: Path, reference_record: dict[str, Any]) -> None:
    run_cell(CELL, **options(tmp_path))
    path = tmp_path / f"{CELL.name}.pt"
    content = path.read_bytes()[:10000]
    path.write_bytes(content)
    record = run_cell(CELL, **options(tmp_path))
    assert path.with_name(path.name + ".damaged").read_bytes() == content
    assert deterministic_part(record) == deterministic_part(undisturbed(reference_record))


def test_what_was_set_aside_is_kept(tmp_path: Path) -> None:
    path = tmp_path / f"{CELL.name}.pt"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert Checkpoint(tmp_path, CELL, {}).load() is None
    assert path.with_name(path.name + ".damaged").read_bytes() == b"first"
    assert path.with_name(path.name + ".2.damaged").read_bytes() == b"second"


def test_a_checkpoint_that_cannot_be_set_aside_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sesn_lib.store import checkpoint

    def read_only(path: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkpoint, "rename_damaged", read_only)
    (tmp_path / f"{CELL.name}.pt").write_bytes(b"rubbish")
    assert Checkpoint(tmp_path, CELL, {}).load() is None
    assert "training starts over (Read-only file system)" in caplog.text


def test_a_network_of_nan_makes_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = loop.fit

    def poisoned(model: torch.nn.Module, *arguments: Any, **more: Any) -> Any:
        result = fit(model, *arguments, **more)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return result

    assert run_cell(CELL, **options(epochs=1))["test_images"] == 30  # the control
    monkeypatch.setattr(loop, "fit", poisoned)
    with pytest.raises(Diverged, match="the test loss is nan: it must be finite"):
        run_cell(CELL, **options(epochs=1))


def test_a_checkpoint_of_another_run_is_set_aside(tmp_path: Path, reference_record: dict[str, Any]) -> None:
    run_cell(CELL, **options(tmp_path, epochs=2))
    record = run_cell(CELL, **options(tmp_path))
    assert (tmp_path / f"{CELL.name}.pt.damaged").exists()
    assert deterministic_part(record) == deterministic_part(undisturbed(reference_record))


def test_a_checkpoint_of_other_data_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def fit(*arguments: Any, state: Any, save: Any, **more: Any) -> Any:
        given.append(state)
        save({"epoch": len(given)})
        raise Interrupted

    def begin() -> Any:
        with pytest.raises(Interrupted):
            run_cell(CELL, **options(tmp_path))
        return given[-1]

    def other(*arguments: Any) -> SimpleNamespace:
        return SimpleNamespace(**{**vars(toy_realization(*arguments)), "checksum": "another"})

    monkeypatch.setattr(loop, "fit", fit)
    assert begin() is None
    assert begin() == {"epoch": 1}, "the control: the same data"
    use_toy_data(monkeypatch, other)
    assert begin() is None
    assert begin() == {"epoch": 3}
    path = tmp_path / f"{CELL.name}.pt"
    content = torch.load(path, weights_only=True)
    assert content["identity"]["device_type"] == "cpu"
    content["identity"]["device_type"] = "cuda"  # nor one of another kind of device, whose rounding is another
    torch.save(content, path)
    assert begin() is None


def test_a_run_of_the_whole_protocol_is_complete_and_one_on_fewer_test_images_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    history = [{**epoch, "learning_rate": 0.01} for epoch in make_record(CELL)["history"]]

    def realization(*arguments: Any) -> SimpleNamespace:
        asked.append(arguments[1:3])
        splits = toy_realization(*arguments)
        for name, count in (("train", 10000), ("test", 50000)):
            images, labels = np.zeros((count, 28, 28), dtype=np.uint8), np.zeros(count, dtype=np.int64)
            setattr(splits, name, SimpleNamespace(images=images, labels=labels, factors=np.full(count, 0.5)))
        return splits

    def scripted(model: torch.nn.Module, split: Any, **more: Any) -> Evaluation:
        assert more["batch_size"] == 1000
        return Evaluation(torch.ones(len(split), dtype=torch.bool), torch.zeros(len(split)), 1.0)

    use_toy_data(monkeypatch, realization)
    monkeypatch.setattr(training, "evaluate", scripted)

    def fit(model: torch.nn.Module, *arguments: Any, **more: Any) -> FitResult:
        return FitResult(7, {"val_accuracy": 0.5}, history, [], model.state_dict(), model.state_dict())

    monkeypatch.setattr(loop, "fit", fit)
    whole = {"epochs": None, "batch_size": None}
    record = run_cell(CELL, **options(**whole))
    assert validate(record) == CELL
    assert (record["complete"], record["test_images"], record["best_epoch"]) == (True, 50000, 7)
    fewer = run_cell(CELL, **options(**whole, test_images=48000))
    assert validate(fewer) == CELL
    assert (fewer["complete"], fewer["test_images"]) == (False, 48000)
    assert asked == [(CELL.realization, "paper")] * 2


def test_the_settings_of_a_cell_are_its_own() -> None:
    for scaling in (0.5, 1.0):
        settings = settings_of(Cell("mnist_cnn_28", scaling, 1))
        assert (settings.extra_scaling, settings.epochs, settings.precision) == (scaling, 60, "float32")
        assert settings.seed == provenance.cell_seed(f"mnist_cnn_28-x{scaling}-r1")
    assert settings_of(CELL, RunOptions(epochs=9, batch_size=32, precision="bf16")).milestones == (3, 6)


def test_a_resumed_run_counts_the_time_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(model: Any, *arguments: Any, state: Any, save: Any, **more: Any) -> Any:
        if state is None:
            save({"epoch": 1})
            raise Interrupted
        return FitResult(1, {"val_accuracy": 0.5}, [{"epoch": 1, "seconds": 2.0}], [], {}, {})

    monkeypatch.setattr(loop, "fit", fit)
    with pytest.raises(Interrupted):
        run_cell(CELL, **options(tmp_path, epochs=1))
    path = tmp_path / f"{CELL.name}.pt"
    content = torch.load(path, weights_only=True)
    assert 0 < content["seconds"] < 100
    torch.save({**content, "seconds": 5000.0}, path)
    timing = run_cell(CELL, **options(tmp_path, epochs=1))["timing"]
    assert 5000 < timing["wall_seconds"] < 5100
    assert timing["train_seconds"] == 2.0


def test_a_checkpoint_with_a_state_that_does_not_fit_is_set_aside(
    tmp_path: Path, reference_record: dict[str, Any]
) -> None:
    run_cell(CELL, **options(tmp_path))
    path = tmp_path / f"{CELL.name}.pt"
    content = torch.load(path, weights_only=True)
    del content["state"]["optimizer"]
    torch.save(content, path)
    record = run_cell(CELL, **options(tmp_path))
    assert path.with_name(path.name + ".damaged").exists()
    assert deterministic_part(record) == deterministic_part(undisturbed(reference_record))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "evil",))

    path = tmp_path / f"{CELL.name}.pt"
    torch.save({"identity": Evil()}, path)
    assert Checkpoint(tmp_path, CELL, {}).load() is None
    assert path.with_name(path.name + ".damaged").exists()
    assert not (tmp_path / "evil").exists()


def test_without_room_for_a_checkpoint_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference_record: dict[str, Any]
) -> None:
    from sesn_lib.store import checkpoint

    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_aside", full)
    record = run_cell(CELL, **options(tmp_path))
    assert deterministic_part(record) == deterministic_part(undisturbed(reference_record))
    assert list(tmp_path.iterdir()) == []


def test_progress_is_noted_beside_the_checkpoint(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path, CELL).fraction_done() == 0.0
    run_cell(CELL, **options(tmp_path, epochs=2))
    assert Checkpoint(tmp_path, CELL).fraction_done() == 0.5, "the note of the first epoch; the next is due after 5 s"
    (tmp_path / f"{CELL.name}.json").write_text("[]")
    assert Checkpoint(tmp_path, CELL).fraction_done() == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("9m", 540), ("1.5h", 5400), ("1h30m", 5400), (" 2 D ", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "9 parsecs", "m", "-5m", "0", "5m!", "1e3", "nan", "5m and 3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no time budget; write it like"):
        parse_duration(text)


def test_durations_in_words() -> None:
    said = [format_duration(seconds) for seconds in (8.4, 99, 540, 12000, 400000)]
    assert said == ["8 s", "99 s", "9 min", "3 h 20 min", "4 d 15 h"]


def test_estimates_come_from_records_of_this_device_else_from_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference_record: dict[str, Any]
) -> None:
    from sesn_lib.runner import cost

    estimate = Estimator(tmp_path, options()["options"])
    monkeypatch.setattr(cost, "measure", lambda *arguments, **more: {"images_per_second": 24.0})
    cost.measured_speed.cache_clear()
    steps = 3 * 10000 / 24 + (3 * 2000 + 50000) / 3 / 24
    assert estimate(CELL) == pytest.approx(cost.MARGIN * steps)
    assert estimate(CELL, 0.75) == pytest.approx(cost.MARGIN * steps / 4)
    record = undisturbed(reference_record)
    timing = {"train_seconds": 6019.0, "evaluation_seconds": 3.0, "wall_seconds": 40.0, "finished": "now"}
    history = [{**epoch, "seconds": seconds} for epoch, seconds in zip(record["history"], (9.0, 10.0, 6000.0))]
    Store(tmp_path).write({**record, "timing": timing, "history": history})
    # The median epoch, three times: the pause in the last one does not count.
    expected = 30.0 * 10000 / 48 + 3.0 * 50000 / 30
    assert estimate(CELL) == pytest.approx(cost.MARGIN * expected)
    elsewhere = {**record, "cell": GRID[0].as_dict(), "environment": {**record["environment"], "device": "faster"}}
    Store(tmp_path).write(elsewhere)
    assert estimate(GRID[0]) == pytest.approx(cost.MARGIN * steps), "another device's times say nothing"
    in_bf16 = {**record, "cell": GRID[2].as_dict(), "protocol": {**record["protocol"], "precision": "bf16"}}
    Store(tmp_path).write(in_bf16)
    assert estimate(GRID[2]) == pytest.approx(cost.MARGIN * steps), "nor do another precision's"
    cost.measured_speed.cache_clear()


def test_estimates_come_from_records_of_the_precision_to_be_run(
    tmp_path: Path, reference_record: dict[str, Any]
) -> None:
    record = undisturbed(reference_record)
    for realization, (precision, seconds) in enumerate({"float32": 1.0, "bf16": 100.0}.items()):
        Store(tmp_path).write(
            {
                **record,
                "cell": Cell(CELL.model, 0.5, realization).as_dict(),
                "protocol": {**record["protocol"], "precision": precision},
                "timing": {**record["timing"], "evaluation_seconds": seconds},
                "history": [{**epoch, "seconds": seconds} for epoch in record["history"]],
            }
        )
    chosen = RunOptions(device="cpu", threads=1)
    estimates = {name: Estimator(tmp_path, replace(chosen, precision=name))(CELL) for name in PRECISIONS}
    assert estimates["bf16"] == pytest.approx(100 * estimates["float32"])
    assert Estimator(tmp_path, chosen)(CELL) == estimates["float32"]


def test_a_step_can_be_measured() -> None:
    provenance.use_threads(1)
    settings = settings_of(CELL, RunOptions(batch_size=16))
    measured = measure(MNIST_SCALE, CELL.model, settings, device="cpu", epochs=1)
    assert 0 < measured["step_seconds"] < 60
    assert measured["images_per_second"] == pytest.approx(16 / measured["step_seconds"])


def test_settings_of_a_cell() -> None:
    settings = settings_of(CELL)
    assert (settings.epochs, settings.milestones, settings.extra_scaling) == (60, (20, 40), 0.5)
    assert settings_of(CELL, RunOptions(epochs=60)) == settings
    assert settings_of(CELL, RunOptions(epochs=6)).milestones == (2, 4)
    assert len({settings_of(cell).seed for cell in GRID}) == 120, "each cell has a seed of its own"
    with pytest.raises(ValueError, match="fp8"):
        settings_of(CELL, RunOptions(precision="fp8"))
