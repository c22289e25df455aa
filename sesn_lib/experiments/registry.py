"""All experiments, by name. A further one is a module here, a module in `training`, and its name in this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sesn_lib.experiments import controls, mnist_scale, stl10
from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.rules import RecordError, short

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one for one in (mnist_scale.EXPERIMENT, stl10.EXPERIMENT, controls.EXPERIMENT)
}


def experiment_named(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        ValueError: there is none; it lists the names.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r:.80}; the experiments are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def experiment_for(name: str | None, part: str | None) -> Experiment:
    """The experiment of this name; where none is named the one with such a part, the first one if none has it.

    Raises:
        ValueError: a name that is none.
    """
    if name is not None:
        return experiment_named(name)
    matching = (experiment for experiment in EXPERIMENTS.values() if part in experiment.parts)
    return next(matching, mnist_scale.EXPERIMENT)


def experiment_with(model: str) -> Experiment:
    """The experiment with a model of this name; the first one for a name that none knows, which it will refuse."""
    matching = (experiment for experiment in EXPERIMENTS.values() if model in experiment.models)
    return next(matching, mnist_scale.EXPERIMENT)


def experiment_of(cell: AnyCell) -> Experiment:
    """The experiment that a cell is of.

    Raises:
        ValueError: a cell of none.
    """
    for experiment in EXPERIMENTS.values():
        if type(cell) is experiment.cell:
            return experiment
    raise ValueError(f"{cell!r:.80} is a cell of no experiment; the experiments are {', '.join(EXPERIMENTS)}")


def cell_of(values: Any) -> AnyCell:
    """The cell that a record or a note of a failure holds.

    Raises:
        RecordError: values that no cell has.
    """
    if not isinstance(values, Mapping):
        raise RecordError(f"cell cannot be {short(values)}")
    try:
        for experiment in EXPERIMENTS.values():
            cell = experiment.cell.from_dict(values)
            if cell is not None:
                return cell
    except (ValueError, RecursionError) as error:
        raise RecordError(f"cell: {error}") from None
    raise RecordError(f"cell has the keys {short(sorted(map(str, values)))}, not model, extra_scaling, realization")


def cell_named(name: str) -> AnyCell | None:
    """The cell, of whichever experiment, that has this name; None if no cell has."""
    for experiment in EXPERIMENTS.values():
        try:
            return experiment.cell.parse(name)
        except ValueError:
            continue
    return None
