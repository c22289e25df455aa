"""What a record of a finished run holds, and the check that a dictionary is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sesn_lib.checks import is_number, shown
from sesn_lib.experiments import correctness, stl10
from sesn_lib.experiments.mnist_scale import TEST_PART, Cell, is_complete
from sesn_lib.experiments.stl10 import STL10Cell

__all__ = ["SCHEMA", "AnyCell", "RecordError", "cell_of", "deterministic_part", "validate"]

AnyCell = Cell | STL10Cell

SCHEMA = 1
DEEPEST = 50
LARGEST = 2**63 - 1


class RecordError(ValueError):
    """A record that is damaged, incomplete, of another schema, or holds impossible values."""


def _whole(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, int | float) and is_number(value) and low <= value <= high

    return check


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_FRACTION, _PERCENT, _SECONDS = _number(0, 1), _number(0, 100), _number(0)

# Rules for the parts of a record: common to both experiments, then each one's own.
_RECORD = {
    "cell": _is(dict),
    "seed": _whole(0),
    "protocol": _is(dict),
    "complete": _is(bool),
    "parameters": _whole(1),
    "test_images": _whole(1),
    "history": _is(list),
    "data_checksum": _text,
    "environment": _is(dict),
    "timing": _is(dict),
}
_MNIST_RECORD = {
    "best_epoch": _whole(1),
    "val_accuracy": _FRACTION,
    "test_error_50k": _PERCENT,
    "test_error_48k": _PERCENT,
}
_LAST_EPOCH = {"test_error_50k": _PERCENT, "test_error_48k": _PERCENT}
_STL10_RECORD = {"reported_epoch": _whole(1), "test_error": _PERCENT, "evaluations": _is(list)}
_PROTOCOL = {
    "data": _text,
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "optimizer": _text,
    "learning_rate": _number(0),
    "milestones": _is(list),
    "gamma": _number(0),
    "weight_decay": _number(0),
    "train_images": _whole(1),
    "precision": _text,
}
_STL10_PROTOCOL = {
    "momentum": _number(0),
    "augmentation": _text,
    "validation_images": _whole(0),
    "selection": _text,
}
_EPOCH = {
    "epoch": _whole(1),
    "learning_rate": _number(0),
    "train_loss": _number(),
    "train_accuracy": _FRACTION,
    "seconds": _SECONDS,
}
_MNIST_EPOCH = {"val_loss": _number(), "val_accuracy": _FRACTION}
_EVALUATION = {"epoch": _whole(1), "test_error": _PERCENT, "test_loss": _number()}
_TIMING = {"train_seconds": _SECONDS, "wall_seconds": _SECONDS, "finished": _text}
_MNIST_TIMING = {"evaluation_seconds": _SECONDS}
_ENVIRONMENT = {"device": _text, "device_type": _text, "torch": _text}


def cell_of(values: Any) -> AnyCell:
    """The cell that a record or a note of a failure holds.

    Raises:
        RecordError: values that no cell has.
    """
    if not isinstance(values, dict):
        raise RecordError(f"cell cannot be {_short(values)}")
    keys = set(values)
    try:
        if values.get("experiment") == stl10.EXPERIMENT and keys == {"experiment", "model", "run"}:
            return STL10Cell(values["model"], values["run"])
        if keys == {"model", "extra_scaling", "realization"}:
            return Cell(**values)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"cell: {error}") from None
    raise RecordError(f"cell has the keys {_short(sorted(map(str, keys)))}, not model, extra_scaling, realization")


def validate(record: Any) -> AnyCell:
    """Checks that a dictionary is a whole, possible record. Further keys are allowed; NaN, infinity and what JSON
    cannot hold are not, anywhere. Records of MNIST-scale may lack what older ones do not have: `last_epoch`, the test
    errors of the last epoch's weights, and `correct`, the test images that were classified correctly (`correctness`).

    Returns: the record's cell, which says of which experiment it is.

    Raises:
        RecordError: naming what is wrong.
    """
    if not isinstance(record, dict):
        raise RecordError(f"a record is a dictionary, not {type(record).__name__}")
    if record.get("schema") != SCHEMA or type(record["schema"]) is not int:
        raise RecordError(f"its schema is {_short(record.get('schema'))}; this program reads schema {SCHEMA}")
    _check(record, _RECORD, "")
    _check(record["protocol"], _PROTOCOL, "protocol.")
    _check(record["timing"], _TIMING, "timing.")
    _check(record["environment"], _ENVIRONMENT, "environment.")
    cell = cell_of(record["cell"])
    _check_history(record, {} if isinstance(cell, STL10Cell) else _MNIST_EPOCH)
    if isinstance(cell, STL10Cell):
        _check(record, _STL10_RECORD, "")
        _check(record["protocol"], _STL10_PROTOCOL, "protocol.")
        _check_evaluations(record)
        complete = stl10.is_complete(record["protocol"], record["test_images"])
    else:
        _check(record, _MNIST_RECORD, "")
        _check(record["timing"], _MNIST_TIMING, "timing.")
        if record["best_epoch"] > len(record["history"]):
            raise RecordError(f"best_epoch is {record['best_epoch']} of {len(record['history'])}")
        _check_last_epoch(record)
        _check_correct(record)
        complete = is_complete(record["protocol"], record["test_images"])
    _refuse_unwritable(record, "")
    if record["complete"] != complete:
        raise RecordError(f"complete is {record['complete']}, but its protocol says otherwise, or its test_images do")
    return cell


def _check(part: dict[str, Any], rules: Mapping[str, Callable[[Any], bool]], where: str) -> None:
    for key, rule in rules.items():
        if key not in part:
            raise RecordError(f"{where}{key} is missing")
        if not rule(part[key]):
            raise RecordError(f"{where}{key} cannot be {_short(part[key])}")


def _check_last_epoch(record: dict[str, Any]) -> None:
    last = record.get("last_epoch", {})
    if not isinstance(last, dict):
        raise RecordError(f"last_epoch cannot be {_short(last)}")
    if "last_epoch" in record:
        _check(last, _LAST_EPOCH, "last_epoch.")
    if record["best_epoch"] == len(record["history"]):  # then it is the same network
        for key, value in last.items():
            if key in _LAST_EPOCH and value != record[key]:
                raise RecordError(f"last_epoch.{key} is {value}, but {key} of that same epoch is {record[key]}")


def _check_correct(record: dict[str, Any]) -> None:
    if "correct" not in record:
        return
    images = record["test_images"]
    try:
        correct = correctness.decode(record["correct"], images)
    except ValueError as error:
        raise RecordError(f"correct {error}") from None
    for key, n in (("test_error_50k", images), ("test_error_48k", min(TEST_PART, images))):
        percent = 100.0 * correct[:n].count(False) / n
        if not math.isclose(record[key], percent, rel_tol=1e-12):
            raise RecordError(f"{key} is {record[key]}, but by its images (correct) it would be {percent}")
    by_scale = record.get("by_scale")
    if not isinstance(by_scale, dict):
        return
    for key, total in (("images", images), ("errors", correct.count(False))):
        counts = by_scale.get(key)
        if not isinstance(counts, list) or not all(map(_whole(0), counts)) or sum(counts) != total:
            raise RecordError(f"by_scale.{key} is {_short(counts)}, must come to {total}, as its images (correct) say")


def _check_evaluations(record: dict[str, Any]) -> None:
    for number, evaluation in enumerate(record["evaluations"], start=1):
        if not isinstance(evaluation, dict):
            raise RecordError(f"evaluations: number {number} cannot be {_short(evaluation)}")
        _check(evaluation, _EVALUATION, f"evaluations: number {number}: ")
    epoch = record["reported_epoch"]
    errors = [evaluation["test_error"] for evaluation in record["evaluations"] if evaluation["epoch"] == epoch]
    if errors != [record["test_error"]]:
        raise RecordError(
            f"test_error is {record['test_error']}, but after epoch {epoch} (reported_epoch) it was {_short(errors)}"
        )


def _check_history(record: dict[str, Any], further: Mapping[str, Callable[[Any], bool]]) -> None:
    history, epochs = record["history"], record["protocol"]["epochs"]
    if len(history) != epochs:
        raise RecordError(f"history has {len(history)} epochs, the protocol {epochs}")
    for number, epoch in enumerate(history, start=1):
        if not isinstance(epoch, dict):
            raise RecordError(f"history: epoch {number} cannot be {_short(epoch)}")
        _check(epoch, {**_EPOCH, **further}, f"history: epoch {number}: ")
        if epoch["epoch"] != number:
            raise RecordError(f"history: epoch {epoch['epoch']} stands at place {number}")


def _refuse_unwritable(value: Any, where: str, depth: int = 0) -> None:
    """Raises RecordError for whatever would not be the same again after it was written as JSON and read."""
    name = where.lstrip(".")
    if depth > DEEPEST:
        raise RecordError(f"{_short(name)} is nested more than {DEEPEST} deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{name} is {value}, which is no number")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise RecordError(f"{name} is an integer of {value.bit_length()} bits; more than 63 do not fit")
    if isinstance(value, str) and not _is_unicode(value):
        raise RecordError(f"{name} is {_short(value)}, which is no Unicode text")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not _is_unicode(key):
                raise RecordError(f"{name or 'the record'} has the key {_short(key)}, which is no text")
            _refuse_unwritable(inner, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_unwritable(inner, f"{where}[{index}]", depth + 1)
    elif value is not None and not isinstance(value, str | int | float):
        raise RecordError(f"{name} is a {type(value).__name__}, which JSON does not know")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _short(value: Any) -> str:
    return shown(value, 60)


def deterministic_part(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that the same seed on the same machine repeats exactly: all but timing and environment."""
    part = {key: value for key, value in record.items() if key not in ("timing", "environment")}
    part["history"] = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
    return part
