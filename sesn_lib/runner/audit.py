"""Records looked at as a sceptic would before they are believed: do they agree with themselves, and with what is known?

The schema (`schema.validate`) says what a record must look like. Here it must also be possible: the seed is that of its
cell, the data are those of its realization, errors are whole numbers of images, the best epoch is the best one, the
learning rate went as the protocol says, the code is a commit that there is, times fit together, and no run stands there
twice. Nothing is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import checksums, splits
from sesn_lib import models
from sesn_lib.checks import shown
from sesn_lib.experiments.mnist_scale import TEST_PART, DrawnCell
from sesn_lib.experiments.registry import cell_named
from sesn_lib.provenance import cell_seed, git
from sesn_lib.store.records import Store, read_record
from sesn_lib.store.schema import AnyCell, RecordError
from sesn_lib.training.counting import trained_parameters

Record = Mapping[str, Any]
VALIDATION_IMAGES = splits.SIZES["paper"]["val"]
REPOSITORY = Path(__file__).resolve().parents[2]
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass
class Audit:
    """What a look at the records of a folder came to.

    Attributes:
        checked: how many files were looked at.
        problems: one line each: the file, what is wrong, what would be right.
        notes: likewise, what could not be checked here.
    """

    checked: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def audit(folder: Path, *, repository: Path | None = None) -> Audit:
    """Checks the records in `folder`/runs, or in `folder` itself where there is no such folder.

    Arguments:
        repository: the checkout in which commits must be known; None for the one that holds this library.

    Raises:
        ValueError: there is no record at all.
    """
    store = Store(folder)
    if not store.runs.is_dir():
        store.runs = store.folder
    result, records = Audit(), {}
    for path in store.files():
        result.checked += 1
        try:
            records[path] = read_record(path)
        except RecordError as error:
            result.problems.append(f"{path.name}: {error}; must be a record as of sesn_lib.store.schema")
    if not result.checked:
        raise ValueError(f"no records in {store.runs}: --results must name a folder of records, or one with runs/")
    commits = _Commits(repository or REPOSITORY)
    for path, record in records.items():
        cell = cell_named(path.stem)
        assert cell is not None, "by Store.files"
        for rule in _RULES:
            result.problems += [f"{path.name}: {line}" for line in _judged(rule, record, cell)]
        for wrong, line in commits.look(record):
            (result.problems if wrong else result.notes).append(f"{path.name}: {line}")
    result.problems += _duplicates({path.name: record for path, record in records.items()})
    return result


# One record


def _judged(rule: Callable[[Record, AnyCell], Iterator[str]], record: Record, cell: AnyCell) -> list[str]:
    try:
        return list(rule(record, cell))
    except (TypeError, KeyError, ValueError, ArithmeticError) as error:  # values that the schema leaves open
        return [f"{rule.__name__[1:]} cannot be judged ({type(error).__name__}: {error}); must be as a run has it"]


def _seed(record: Record, cell: AnyCell) -> Iterator[str]:
    if record["seed"] != cell_seed(cell):
        yield f"seed is {record['seed']}; that of its cell is {cell_seed(cell)}"


def _parameters(record: Record, cell: AnyCell) -> Iterator[str]:
    count = _parameters_of(cell.network)
    if record["parameters"] != count:
        yield f"parameters is {record['parameters']}; {cell.model} has {count}"


@cache
def _parameters_of(model: str) -> int:
    return trained_parameters(models.build(model))


def _data(record: Record, cell: AnyCell) -> Iterator[str]:
    if isinstance(cell, DrawnCell):
        known = checksums.MNIST_SCALE.get(record["protocol"]["data"])
        if known is None:
            yield f"protocol.data is {shown(record['protocol']['data'])}; must be one of {', '.join(splits.PROTOCOLS)}"
        elif record["data_checksum"] != known[cell.realization]:
            yield (
                f"data_checksum is {shown(record['data_checksum'])}; that of realization {cell.realization} is "
                f"{known[cell.realization]}"
            )


def _best_epoch(record: Record, cell: AnyCell) -> Iterator[str]:
    if not isinstance(cell, DrawnCell):
        if record["protocol"]["selection"] == "final" and record["reported_epoch"] != record["protocol"]["epochs"]:
            yield f"reported_epoch is {record['reported_epoch']}; the final one is {record['protocol']['epochs']}"
        return
    accuracies = [epoch["val_accuracy"] for epoch in record["history"]]
    best = accuracies.index(max(accuracies)) + 1
    if record["best_epoch"] != best:
        yield f"best_epoch is {record['best_epoch']}; the first of the best by validation is {best}"
    if record["val_accuracy"] != max(accuracies):
        yield f"val_accuracy is {record['val_accuracy']}; the best of its history is {max(accuracies)}"


def _multiples(record: Record, cell: AnyCell) -> Iterator[str]:
    """Errors and accuracies are whole numbers of images."""
    images = record["test_images"]
    if not isinstance(cell, DrawnCell):
        errors = [("test_error", record["test_error"], images)]
    else:
        parts = {"test_error_50k": images, "test_error_48k": min(TEST_PART, images)}
        errors = [(key, record[key], n) for key, n in parts.items()]
        last = record.get("last_epoch", {})
        errors += [(f"last_epoch.{key}", last[key], n) for key, n in parts.items() if key in last]
    for name, percent, n in errors:
        if not _is_whole(percent * n / 100):
            yield f"{name} is {percent}, which is {percent * n / 100:.6g} of {n} images; must be a whole number of them"
    trained = record["protocol"]["train_images"]
    for epoch in record["history"]:
        accuracies = [("train_accuracy", trained)]
        accuracies += [("val_accuracy", VALIDATION_IMAGES)] if isinstance(cell, DrawnCell) else []
        for name, n in accuracies:
            if not _is_whole(epoch[name] * n):
                yield (
                    f"{name} of epoch {epoch['epoch']} is {epoch[name]}, which is {epoch[name] * n:.6g} of {n} images; "
                    "must be a whole number of them"
                )


def _is_whole(value: float) -> bool:
    return math.isclose(value, round(value), abs_tol=1e-6)


def _first_images(record: Record, cell: AnyCell) -> Iterator[str]:
    """The errors on the first images are among those on all."""
    if not isinstance(cell, DrawnCell):
        return
    images = record["test_images"]
    part = min(TEST_PART, images)
    for name, errors in (("", record), ("last_epoch.", record.get("last_epoch"))):
        if errors is None:
            continue
        among_all, among_first = (errors[f"test_error_{k}"] * n / 100 for k, n in (("50k", images), ("48k", part)))
        if not -1e-6 <= among_all - among_first <= images - part + 1e-6:
            yield (
                f"{name}test_error_48k is {among_first:.6g} images, {name}test_error_50k {among_all:.6g}; "
                f"the difference must be 0 to {images - part}"
            )


def _by_scale(record: Record, cell: AnyCell) -> Iterator[str]:
    """The images in each bin are those of the realization, the errors come to the test error."""
    by_scale = record.get("by_scale")
    if not isinstance(cell, DrawnCell) or by_scale is None or record["protocol"]["data"] != "paper":
        return
    try:
        edges, images, errors = (np.asarray(by_scale[key], dtype=float) for key in ("edges", "images", "errors"))
        factors = _factors(cell.realization)[: record["test_images"]]
        expected, _ = np.histogram(factors, edges)
        if images.shape != expected.shape or errors.shape != expected.shape:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        yield f"by_scale is {shown(by_scale, 60)}; must hold edges (n + 1), images and errors (n each)"
        return
    if not np.array_equal(images, expected):
        yield f"by_scale.images is {by_scale['images']}; realization {cell.realization} has {expected.tolist()}"
    total = record["test_error_50k"] * record["test_images"] / 100
    if not math.isclose(errors.sum(), total, abs_tol=1e-6):
        yield f"by_scale.errors come to {errors.sum():g}; test_error_50k is {total:.6g} images"
    if (errors < 0).any() or (errors > expected).any():
        yield f"by_scale.errors is {by_scale['errors']}; must be 0 to the images of each bin, {expected.tolist()}"


@cache
def _factors(realization: int) -> np.ndarray:
    return splits.paper_factors(realization)["test"]


def _learning_rates(record: Record, cell: AnyCell) -> Iterator[str]:
    protocol = record["protocol"]
    for epoch in record["history"]:
        steps = sum(milestone < epoch["epoch"] for milestone in protocol["milestones"])
        rate = protocol["learning_rate"] * protocol["gamma"] ** steps
        if not math.isclose(epoch["learning_rate"], rate, rel_tol=1e-9):
            yield (
                f"learning_rate of epoch {epoch['epoch']} is {epoch['learning_rate']:g}; by the protocol it is {rate:g}"
            )
            return  # the later ones are likely to be wrong for the same reason


def _times(record: Record, cell: AnyCell) -> Iterator[str]:
    timing = record["timing"]
    trained = sum(epoch["seconds"] for epoch in record["history"])
    if not math.isclose(timing["train_seconds"], trained, rel_tol=1e-6, abs_tol=1e-6):
        yield f"timing.train_seconds is {timing['train_seconds']:.6g}; its epochs come to {trained:.6g}"
    least = timing["train_seconds"] + timing.get("evaluation_seconds", 0.0)
    if timing["wall_seconds"] < least * (1 - 1e-6):
        yield f"timing.wall_seconds is {timing['wall_seconds']:.6g}; training and testing alone took {least:.6g}"


def _finished(record: Record, cell: AnyCell) -> Iterator[str]:
    text = record["timing"]["finished"]
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        yield f"timing.finished is {shown(text, 40)}; must be a time in UTC such as 2026-01-31T12:00:00Z"
        return
    if moment > datetime.now(UTC) + CLOCKS_DIFFER:
        yield f"timing.finished is {text}; must not lie in the future"


_RULES: tuple[Callable[[Record, AnyCell], Iterator[str]], ...] = (
    _seed, _parameters, _data, _best_epoch, _multiples, _first_images, _by_scale, _learning_rates, _times, _finished,
)  # fmt: skip


# The code


class _Commits:
    """The commits of a checkout, each asked for once."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.known: dict[str, bool] = {}
        self.all_there = git(self.repository, "rev-parse", "--is-shallow-repository") == "false"

    def look(self, record: Record) -> Iterator[tuple[bool, str]]:
        """(whether it is wrong, the line) for what is amiss with the code that a run came from."""
        environment = record["environment"]
        commit, dirty = environment.get("git_commit"), environment.get("git_dirty")
        if not isinstance(commit, str) or not commit or commit.startswith("-"):
            why = environment.get("git_unknown")
            because = f" ({shown(why)})" if why else ""
            yield True, f"environment.git_commit is {shown(commit)}{because}; must name the commit of the code"
            return
        if commit not in self.known:
            self.known[commit] = git(self.repository, "cat-file", "-e", f"{commit}^{{commit}}") is not None
        if not self.known[commit]:
            where = "must be one of this repository" if self.all_there else "the whole history is not here to look in"
            yield self.all_there, f"environment.git_commit {shown(commit, 50)} is not known; {where}"
        if dirty is not False:
            yield True, f"environment.git_dirty is {shown(dirty)}; must be false: code that no commit holds"


# All records


def _duplicates(records: Mapping[str, Record]) -> Iterator[str]:
    """Runs that stand there twice: no two share their losses, the images that they got right, or their seconds."""
    seen: dict[str, dict[Any, str]] = {}
    for name, record in records.items():
        shared: dict[str, list[str]] = {}
        for what, value in _fingerprints(record):
            first = seen.setdefault(what, {}).setdefault(value, name)
            if first != name:
                shared.setdefault(first, []).append(what)
        for first, whats in shared.items():
            yield f"{name}: {' and '.join(whats)} are those of {first}; must be a run of its own"


def _fingerprints(record: Record) -> Iterator[tuple[str, Any]]:
    history = record["history"]
    yield "the losses of its history", tuple(epoch["train_loss"] for epoch in history)
    yield "the seconds of its epochs", tuple(epoch["seconds"] for epoch in history)
    if "correct" in record and record["test_error_50k"] not in (0.0, 100.0):
        yield "the images that it got right", record["correct"]
