"""The grid: which cells, in which order, by which names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from sesn_lib.experiments.base import ALL
from sesn_lib.experiments.mnist_scale import (
    CNN_MODELS,
    EXPERIMENT,
    GRID,
    MODELS,
    PROTOCOL,
    REALIZATIONS,
    RIVAL_MODELS,
    SCALINGS,
    SESN_MODELS,
    Cell,
)
from sesn_lib.experiments.settings import RunOptions


def test_grid_is_96_sesn_and_24_cnn_cells_without_repetition() -> None:
    assert len(GRID) == len(set(GRID)) == 120
    assert sum(cell.model in SESN_MODELS for cell in GRID) == 96
    assert sum(cell.model in CNN_MODELS for cell in GRID) == 24


def test_order_fills_the_table_evenly_and_begins_with_28_pixels() -> None:
    assert [cell.realization for cell in GRID] == sorted(cell.realization for cell in GRID)
    for start in range(0, 120, 20):
        block = GRID[start : start + 20]
        assert {cell.realization for cell in block} == {start // 20}
        assert ["_56" in cell.model for cell in block] == [False] * 10 + [True] * 10
        assert [cell.extra_scaling for cell in block] == [1.0, 0.5] * 10


def test_models_come_by_size_then_kind_then_padding() -> None:
    """The order in which tables, `sesn status` and messages show them."""
    names = [f"mnist_ses_{name}" for name in ("scalar_28", "scalar_28p", "vector_28", "vector_28p")]
    assert list(MODELS[:8]) == names + [name.replace("28", "56") for name in names]


def test_models_of_the_grid_can_be_built() -> None:
    from sesn_lib import models

    assert {*MODELS, *RIVAL_MODELS} <= set(models.names())


def test_the_rivals_are_a_second_part_of_the_grid() -> None:
    from sesn_lib.models.rivals import RIVALS

    assert set(RIVAL_MODELS) == set(RIVALS)
    cells = EXPERIMENT.cells("rivals")
    assert len(set(cells)) == len(cells) == 14 * len(SCALINGS) * len(REALIZATIONS) == 168
    assert set(EXPERIMENT.cells(ALL)) == {*GRID, *cells}
    assert not set(GRID) & set(cells)
    assert EXPERIMENT.cells() == GRID, "the paper's own networks are what is meant by default"
    assert [cell.realization for cell in cells] == sorted(cell.realization for cell in cells)
    assert EXPERIMENT.select(["mnist_ss_28"], [0.5], [2], part="rivals") == (Cell("mnist_ss_28", 0.5, 2),)
    with pytest.raises(ValueError, match="the grid has no model 'mnist_ss_28'"):
        EXPERIMENT.select(["mnist_ss_28"])


def test_filters_that_are_not_trained_do_not_count() -> None:
    from sesn_lib import models
    from sesn_lib.training.counting import trained_parameters

    network = models.build("mnist_ss_28")
    assert trained_parameters(network) == 493688  # the authors' count; 27,378 numbers more are kept fixed
    assert sum(parameter.numel() for parameter in network.parameters()) == 521066


def test_names() -> None:
    assert Cell("mnist_ses_vector_28", 0.5, 3).name == "mnist_ses_vector_28-x0.5-r3"
    assert Cell("mnist_cnn_56", 1, 0).name == "mnist_cnn_56-x1.0-r0"
    odd = [Cell("mnist_cnn_28", scaling, 5) for scaling in (0.123456789, 1e-5, 1 / 3)]
    for cell in [*GRID, *odd]:
        assert Cell.parse(cell.name) == cell
    assert len({cell.name for cell in GRID}) == 120


def test_a_cell_is_trained_by_the_protocol() -> None:
    """Otherwise hours of training would end in a record that says `complete: false`."""
    from sesn_lib.runner.execution import settings_of

    settings = settings_of(GRID[0])
    given = {key: getattr(settings, key) for key in ("epochs", "batch_size", "learning_rate", "milestones", "gamma")}
    assert given | {"milestones": list(settings.milestones)} == {key: PROTOCOL[key] for key in given}
    assert replace(settings, gamma=0.2).gamma != PROTOCOL["gamma"]  # negative control


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"precision": "float8"}, "precision .*float8"),
        ({"train_images": 1}, "--train-images must be 2 to 10000, not 1"),
        ({"test_images": 50_001}, "--test-images must be 1 to 50000, not 50001"),
    ],
)
def test_what_no_run_can_be_made_with_is_refused_before_any_is_begun(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        EXPERIMENT.check(RunOptions(**options))
    EXPERIMENT.check(RunOptions(batch_size=2, epochs=1, train_images=2, test_images=50_000))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mnist_cnn_28",
        "mnist_cnn_28-x1-r0",
        "mnist_cnn_28-x1.0-r7",
        "mnist_cnn_28-x1.0-r0.json",
        "mnist_cnn_28-x1.0-r00",
        "mnist_cnn_29-x1.0-r0",
        "../mnist_cnn_28-x1.0-r0",
        "mnist_cnn_28-xnan-r0",
        "mnist_cnn_28-x0.50-r0",
    ],
)
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        Cell.parse(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("mnist_ses_vector_29", 1.0, 0), "unknown model 'mnist_ses_vector_29'; the models are mnist_ses_scalar_28"),
        (("mnist_cnn_28", 0.0, 0), r"extra_scaling must lie in \(0, 1\], not 0.0"),
        (("mnist_cnn_28", -0.5, 0), "not -0.5"),
        (("mnist_cnn_28", 1.5, 0), "not 1.5"),
        (("mnist_cnn_28", float("nan"), 0), "not nan"),
        (("mnist_cnn_28", "0.5", 0), "extra_scaling must be a number, not '0.5'"),
        (("mnist_cnn_28", True, 0), "not True"),
        (("mnist_cnn_28", 1.0, 7), "realization must be one of 0 to 5, not 7"),
        (("mnist_cnn_28", 1.0, -1), "not -1"),
        (("mnist_cnn_28", 1.0, 0.0), "realization must be a whole number, not 0.0"),
    ],
)
def test_impossible_cells_are_refused(values: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cell(*values)


def test_select() -> None:
    assert EXPERIMENT.select() == GRID
    chosen = EXPERIMENT.select(models=["mnist_cnn_28", "mnist_ses_vector_56p"], scalings=[0.5], realizations=[4, 2])
    assert [cell.name for cell in chosen] == [
        "mnist_cnn_28-x0.5-r2",
        "mnist_ses_vector_56p-x0.5-r2",
        "mnist_cnn_28-x0.5-r4",
        "mnist_ses_vector_56p-x0.5-r4",
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"models": ["nope"]}, "the grid has no model 'nope'; it has mnist_ses_scalar_28, "),
        ({"scalings": [0.7]}, "the grid has no extra_scaling 0.7; it has 1.0, 0.5"),
        ({"realizations": [0, 7]}, "the grid has no realization 7; it has 0, 1, 2, 3, 4, 5"),
        ({"models": []}, "no model was chosen"),
    ],
)
def test_select_refuses_what_the_grid_does_not_hold(choice: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        EXPERIMENT.select(**choice)


def test_complete_means_every_value_of_the_protocol() -> None:
    assert EXPERIMENT.is_complete({**PROTOCOL, "precision": "bf16"}, 50000)
    assert not EXPERIMENT.is_complete(PROTOCOL, 48000)
    for key in PROTOCOL:
        assert not EXPERIMENT.is_complete({**PROTOCOL, key: "other"}, 50000), key
        assert not EXPERIMENT.is_complete({k: v for k, v in PROTOCOL.items() if k != key}, 50000), key
    assert SCALINGS == (1.0, 0.5)
