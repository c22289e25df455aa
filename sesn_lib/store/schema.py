"""What a record of a finished run holds, and the check that a dictionary is one."""

from __future__ import annotations

import math
from typing import Any

from sesn_lib.experiments.base import AnyCell, Experiment
from sesn_lib.experiments.registry import cell_of, experiment_of
from sesn_lib.experiments.rules import FRACTION, SECONDS, RecordError, check, is_a, number, short, text, whole

SCHEMA = 1
DEEPEST = 50
LARGEST = 2**63 - 1

# Rules for the parts of every record; each experiment has its own beside them.
_RECORD = {
    "cell": is_a(dict),
    "seed": whole(0),
    "protocol": is_a(dict),
    "complete": is_a(bool),
    "parameters": whole(1),
    "test_images": whole(1),
    "history": is_a(list),
    "data_checksum": text,
    "environment": is_a(dict),
    "timing": is_a(dict),
}
_PROTOCOL = {
    "data": text,
    "epochs": whole(1),
    "batch_size": whole(1),
    "optimizer": text,
    "learning_rate": number(0),
    "milestones": is_a(list),
    "gamma": number(0),
    "weight_decay": number(0),
    "train_images": whole(1),
    "precision": text,
}
_EPOCH = {
    "epoch": whole(1),
    "learning_rate": number(0),
    "train_loss": number(),
    "train_accuracy": FRACTION,
    "seconds": SECONDS,
}
_TIMING = {"train_seconds": SECONDS, "wall_seconds": SECONDS, "finished": text}
_ENVIRONMENT = {"device": text, "device_type": text, "torch": text}


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
        raise RecordError(f"its schema is {short(record.get('schema'))}; this program reads schema {SCHEMA}")
    check(record, _RECORD)
    check(record["protocol"], _PROTOCOL, "protocol.")
    check(record["timing"], _TIMING, "timing.")
    check(record["environment"], _ENVIRONMENT, "environment.")
    cell = cell_of(record["cell"])
    experiment = experiment_of(cell)
    _check_history(record, experiment)
    check(record, experiment.RECORD_RULES)
    check(record["protocol"], experiment.PROTOCOL_RULES, "protocol.")
    check(record["timing"], experiment.TIMING_RULES, "timing.")
    experiment.check_record(record)
    _refuse_unwritable(record)
    if record["complete"] != experiment.is_complete(record["protocol"], record["test_images"], cell):
        raise RecordError(f"complete is {record['complete']}, but its protocol says otherwise, or its test_images do")
    return cell


def _check_history(record: dict[str, Any], experiment: Experiment) -> None:
    history, epochs = record["history"], record["protocol"]["epochs"]
    if len(history) != epochs:
        raise RecordError(f"history has {len(history)} epochs, the protocol {epochs}")
    rules = {**_EPOCH, **experiment.EPOCH_RULES}
    for count, epoch in enumerate(history, start=1):
        if not isinstance(epoch, dict):
            raise RecordError(f"history: epoch {count} cannot be {short(epoch)}")
        check(epoch, rules, f"history: epoch {count}: ")
        if epoch["epoch"] != count:
            raise RecordError(f"history: epoch {epoch['epoch']} stands at place {count}")


Place = tuple[Any, str | int] | None
"""Where in a record: the place around it, and one step more. Put into words only where something is wrong."""


def _refuse_unwritable(value: Any, place: Place = None, depth: int = 0) -> None:
    """Raises RecordError for whatever would not be the same again after it was written as JSON and read."""
    if depth > DEEPEST:
        raise RecordError(f"{short(_named(place))} is nested more than {DEEPEST} deep")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(f"{_named(place)} is {value}, which is no number")
    elif isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            raise RecordError(f"{_named(place)} is an integer of {value.bit_length()} bits; more than 63 do not fit")
    elif isinstance(value, str):
        if not _is_unicode(value):
            raise RecordError(f"{_named(place)} is {short(value)}, which is no Unicode text")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not _is_unicode(key):
                raise RecordError(f"{_named(place) or 'the record'} has the key {short(key)}, which is no text")
            _refuse_unwritable(inner, (place, key), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_unwritable(inner, (place, index), depth + 1)
    elif value is not None:
        raise RecordError(f"{_named(place)} is a {type(value).__name__}, which JSON does not know")


def _named(place: Place) -> str:
    """E.g. `history[3].train_loss`; of the record itself nothing."""
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.insert(0, f".{step}" if isinstance(step, str) else f"[{step}]")
    return "".join(steps).lstrip(".")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def deterministic_part(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that the same seed on the same machine repeats exactly: all but timing and environment."""
    part = {key: value for key, value in record.items() if key not in ("timing", "environment")}
    part["history"] = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
    return part
