"""The STL-10 recipe and its runs: plain data, validated."""

from __future__ import annotations

import pytest

from sesn_lib.experiments.stl10 import EXPERIMENT, Recipe, STL10Cell
from sesn_lib.provenance import cell_seed
from sesn_lib.store.records import Store, now
from sesn_lib.store.schema import RecordError, cell_of, validate

GRID = EXPERIMENT.cells()


def test_the_recipe_is_the_authors():
    recipe = Recipe()
    rates = {1: 0.1, 300: 0.1, 301: 0.02, 400: 0.02, 401: 0.004, 601: 8e-4, 800: 8e-4, 801: 1.6e-4, 1000: 1.6e-4}
    for epoch, rate in rates.items():
        assert recipe.learning_rate_in(epoch) == pytest.approx(rate)
    looked = [epoch for epoch in range(1, 1001) if recipe.evaluates(epoch)]
    assert looked == [51, 301, 401, 601, 801, 901, 921, 941, 961, 981, 1000]
    assert (recipe.momentum, recipe.weight_decay, recipe.batch_size) == (0.9, 5e-4, 128)
    small = recipe.small_memory()
    assert (small.batch_size, small.learning_rate, small.epochs) == (64, 0.05, 1000)


def test_what_counts_as_the_experiment():
    protocol = Recipe(precision="bf16").protocol(5000)
    assert EXPERIMENT.is_complete(protocol, 8000)
    assert EXPERIMENT.is_complete(Recipe().small_memory().protocol(5000), 8000)
    assert not EXPERIMENT.is_complete(protocol, 7999)
    assert not EXPERIMENT.is_complete(Recipe(validation_images=500).protocol(4500), 8000)
    assert not EXPERIMENT.is_complete(Recipe(micro_batch=16).protocol(5000), 8000)
    assert not EXPERIMENT.is_complete(Recipe(augmentation="report").protocol(5000), 8000)
    assert not EXPERIMENT.is_complete(Recipe(batch_size=64).protocol(5000), 8000)


def test_a_shortened_recipe_keeps_its_shape():
    short = Recipe().shortened(10)
    assert short.milestones == (3, 4, 6, 8)
    assert short.evaluate_after == (1, 3, 4, 6, 8, 9)
    assert short.evaluates(10)
    assert Recipe().shortened(1).milestones == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"milestones": (4, 3)}, r"milestones are \(4, 3\)"),
        ({"evaluate_after": (0,)}, r"evaluate_after are \(0,\)"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"augmentation": "paper"}, "augmentation is 'paper'"),
        ({"selection": "best"}, "selection is 'best'"),
        ({"selection": "validation"}, "validation_images is 0"),
        ({"precision": "fp16"}, "'fp16'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_values_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        Recipe(**changes)


def test_cells():
    assert [cell.model for cell in GRID] == ["wrn_16_8", "wrn_16_8_ses_a", "wrn_16_8_ses_b", "wrn_16_8_ses_c"]
    for cell in (*GRID, STL10Cell("wrn_16_8_ses_b", 12)):
        assert STL10Cell.parse(cell.name) == cell
        assert cell_of(cell.as_dict()) == cell
    for name in ("stl10-wrn_16_8-r-1", "stl10-wrn_16_8", "stl10-mnist_cnn_28-r0", "stl10-wrn_16_8-r01", "wrn_16_8-r0"):
        with pytest.raises(ValueError, match="stl10-wrn_16_8-r0"):
            STL10Cell.parse(name)
    chosen = EXPERIMENT.select(["wrn_16_8"], realizations=[1, 0])
    assert [cell.name for cell in chosen] == [
        "stl10-wrn_16_8-r0",
        "stl10-wrn_16_8-r1",
    ]
    assert EXPERIMENT.select() == GRID
    order = [(cell.run, cell.model) for cell in EXPERIMENT.select(realizations=(1, 0))]
    assert order == [(run, model) for run in (0, 1) for model in EXPERIMENT.models], "run by run"
    with pytest.raises(ValueError, match="wrn_28_10"):
        EXPERIMENT.select(["wrn_28_10"])
    with pytest.raises(ValueError, match="no STL-10 run"):
        EXPERIMENT.select([])


def test_every_run_has_a_seed_of_its_own():
    assert len({cell_seed(cell) for cell in EXPERIMENT.select(realizations=range(5))}) == 20


def a_record(**changes):
    recipe = Recipe().shortened(2)
    protocol = recipe.protocol(5000)
    epoch = {"learning_rate": 0.1, "train_loss": 2.0, "train_accuracy": 0.1, "seconds": 1.0}
    return {
        "schema": 1,
        "cell": GRID[1].as_dict(),
        "seed": 1,
        "protocol": protocol,
        "complete": False,
        "parameters": 10,
        "reported_epoch": 2,
        "test_error": 8.5,
        "test_images": 8000,
        "evaluations": [{"epoch": 2, "test_error": 8.5, "test_loss": 0.3, "val_accuracy": None}],
        "history": [{"epoch": 1, **epoch}, {"epoch": 2, **epoch}],
        "data_checksum": "0",
        "environment": {"device": "toy", "device_type": "cpu", "torch": "2"},
        "timing": {"train_seconds": 2.0, "wall_seconds": 3.0, "finished": now()},
        **changes,
    }


def test_the_store_keeps_such_records(tmp_path):
    store = Store(tmp_path)
    path = store.write(a_record())
    assert path.name == "stl10-wrn_16_8_ses_a-r0.json"
    assert store.load_all() == [a_record(timing=store.load(GRID[1])["timing"])]
    store.write_failure(GRID[2], "Diverged: the loss is nan")
    assert [failure["cell"]["model"] for failure in store.failures()] == ["wrn_16_8_ses_b"]
    assert not store.damaged


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"complete": True}, "complete is True"),
        ({"test_error": 8.4}, "test_error is 8.4"),
        ({"reported_epoch": 1}, "after epoch 1"),
        ({"evaluations": []}, "test_error is 8.5"),
        ({"evaluations": [{"epoch": 2, "test_error": 8.5}]}, "test_loss is missing"),
        ({"history": []}, "history has 0 epochs"),
        ({"cell": {"experiment": "stl10", "model": "wrn_16_8", "run": -1}}, "run must be"),
        ({"cell": {"experiment": "stl10", "model": "wrn_16_8"}}, "cell has the keys"),
        ({"cell": "stl10-wrn_16_8-r0"}, "cell cannot be"),
        ({"test_error": float("nan")}, "test_error cannot be nan"),
    ],
)
def test_records_that_cannot_be(changes, named):
    validate(a_record())
    with pytest.raises(RecordError, match=named):
        validate(a_record(**changes))
