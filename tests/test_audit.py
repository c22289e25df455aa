"""The sceptic's look at records: each rule catches its damage and no other does, and good records pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_stl10_recipe import a_record

from sesn_lib import models
from sesn_lib.cli.commands import main
from sesn_lib.experiments import stl10
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.provenance import cell_seed
from sesn_lib.runner.audit import audit
from sesn_lib.training.counting import trained_parameters

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "notebooks" / "results" / "runs"
CELL, OTHER = Cell("mnist_ses_vector_28", 0.5, 3), Cell("mnist_cnn_28", 1.0, 0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout whose one commit is that of every record in `folder`."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q")
    git(path, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "one")
    return path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_of(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """Two real records, one of which also says what newer ones say."""
    for cell in (CELL, OTHER):
        record = json.loads((RECORDS / f"{cell.name}.json").read_text())
        record["environment"]["git_commit"] = commit_of(repository)
        write(tmp_path, record, cell)
    change(tmp_path, with_more)
    return tmp_path


def with_more(record: dict[str, Any]) -> None:
    images, part = record["test_images"], 48000
    first, all_ = (round(record[key] * n / 100) for key, n in (("test_error_48k", part), ("test_error_50k", images)))
    wrong = set(range(first)) | set(range(part, part + all_ - first))
    record["correct"] = encode(image not in wrong for image in range(images))
    record["last_epoch"] = {"test_error_50k": 2.5, "test_error_48k": 100 * 1205 / part}


def write(folder: Path, record: dict[str, Any], cell: Cell) -> Path:
    path = folder / "runs" / f"{cell.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def change(folder: Path, damage: Callable[[dict[str, Any]], Any], cell: Cell = CELL) -> None:
    path = folder / "runs" / f"{cell.name}.json"
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))


def setting(dotted: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def damage(record: dict[str, Any]) -> None:
        part: Any = record
        *parents, last = dotted.split(".")
        for key in parents:
            part = part[int(key)] if isinstance(part, list) else part[key]
        part[last] = value(part[last]) if callable(value) else value

    return damage


def shift_scales(record: dict[str, Any]) -> None:
    images = record["by_scale"]["images"]
    images[0], images[1] = images[0] - 1, images[1] + 1


def last_one_more(record: dict[str, Any]) -> None:
    record["by_scale"]["errors"][-1] += 1
    del record["correct"]  # or the schema would notice


def later_best(record: dict[str, Any]) -> None:
    """A later epoch that is as good: the first of equals must be named."""
    epoch = record["best_epoch"] + 1
    record["history"][epoch - 1]["val_accuracy"] = record["val_accuracy"]
    record["best_epoch"] = epoch


def crowded_bin(record: dict[str, Any]) -> None:
    """All errors among the smallest digits, of which there are fewer."""
    record |= {"test_error_50k": 20.0, "test_error_48k": 18.75}
    record["by_scale"]["errors"] = [10000, 0, 0, 0, 0, 0, 0]
    del record["correct"]


def an_hour_ahead(record: dict[str, Any]) -> None:
    record["timing"]["finished"] = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def impossible_part(record: dict[str, Any]) -> None:
    record["test_error_48k"] = 100 * (round(record["test_error_50k"] * 500) + 1) / 48000
    del record["correct"]


def half_an_image(record: dict[str, Any]) -> None:
    record["test_error_48k"] += 0.5 / 480
    del record["correct"]


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "schema": (setting("test_error_50k", None), "test_error_50k cannot be None; must be a record"),
    "nan": (setting("history.3.train_loss", float("nan")), "it holds NaN, which is no number; must be a record"),
    "bits": (setting("correct", lambda text: text[:-1] + ("0" if text[-1] != "0" else "1")), "correct is damaged"),
    "seed": (setting("seed", 7), f"seed is 7; that of its cell is {cell_seed(CELL)}"),
    "parameters": (setting("parameters", 494548), "parameters is 494548; mnist_ses_vector_28 has 494549"),
    "data": (setting("data_checksum", "0" * 64), "that of realization 3 is 206806b1"),
    "best epoch": (later_best, "the first of the best by validation is"),
    "val_accuracy": (setting("val_accuracy", 0.5), "val_accuracy is 0.5; the best of its history is 0.9"),
    "half an image": (half_an_image, "images; must be a whole number of them"),
    "last epoch": (setting("last_epoch.test_error_50k", 2.5001), "which is 1250.05 of 50000 images"),
    "accuracy": (setting("history.7.val_accuracy", 0.50001), "val_accuracy of epoch 8 is 0.50001"),
    "trained": (setting("history.7.train_accuracy", 0.12345), "which is 1234.5 of 10000 images"),
    "first images": (impossible_part, "the difference must be 0 to 2000"),
    "last first": (setting("last_epoch.test_error_48k", 5.0), "last_epoch.test_error_48k is 2400 images"),
    "scales": (shift_scales, "[7087, 7206, 7171, 7187, 7098, 7101, 7150]; realization 3 has [7088, 7205, 7171"),
    "errors": (last_one_more, "test_error_50k is"),
    "bin": (crowded_bin, "by_scale.errors is [10000, 0, 0, 0, 0, 0, 0]; must be 0 to the images of each bin, [7088,"),
    "no scales": (setting("by_scale", "none"), "must hold edges (n + 1), images and errors (n each)"),
    "rate": (setting("history.20.learning_rate", 0.01), "of epoch 21 is 0.01; by the protocol it is 0.001"),
    "train time": (setting("timing.train_seconds", 1.0), "timing.train_seconds is 1; its epochs come to"),
    "wall time": (setting("timing.wall_seconds", 1.0), "timing.wall_seconds is 1; training and testing alone took"),
    "no test": (lambda r: r["timing"].update(wall_seconds=r["timing"]["train_seconds"]), "testing alone took"),
    "future": (setting("timing.finished", "2199-01-01T00:00:00Z"), "must not lie in the future"),
    "soon": (an_hour_ahead, "must not lie in the future"),
    "moment": (setting("timing.finished", "yesterday"), "timing.finished is 'yesterday'; must be a time in UTC"),
    "commit": (setting("environment.git_commit", "0" * 40), "is not known; must be one of this repository"),
    "option": (setting("environment.git_commit", "--help"), "must name the commit of the code"),
    "no commit": (setting("environment.git_commit", None), "git_commit is None; must name the commit of the code"),
    "dirty": (setting("environment.git_dirty", True), "git_dirty is True; must be false"),
    "unknown": (setting("environment.git_dirty", None), "git_dirty is None; must be false"),
    "milestones": (setting("history.3.learning_rate", 1e-2 + 1e-9), "learning_rate of epoch 4"),
}  # fmt: skip


def test_good_records_pass(folder: Path, repository: Path) -> None:
    found = audit(folder, repository=repository)
    assert (found.checked, found.problems, found.notes) == (2, [], [])


@pytest.mark.parametrize("which", DAMAGES)
def test_each_damage_is_caught_by_its_rule_and_only_by_it(folder: Path, repository: Path, which: str) -> None:
    damage, expected = DAMAGES[which]
    change(folder, damage)
    found = audit(folder, repository=repository)
    assert found.checked == 2
    assert len(found.problems) == 1, found.problems
    assert found.problems[0].startswith(f"{CELL.name}.json: ")
    assert expected in found.problems[0]
    assert found.notes == []


def test_a_record_under_the_name_of_another_cell(folder: Path, repository: Path) -> None:
    twin = Cell(CELL.model, CELL.extra_scaling, 4)
    shutil.copy(folder / "runs" / f"{CELL.name}.json", folder / "runs" / f"{twin.name}.json")
    found = audit(folder, repository=repository)
    assert len(found.problems) == 1
    assert f"{twin.name}.json: it holds the record of {CELL.name}" in found.problems[0]


@pytest.mark.parametrize("shared", ["losses", "seconds", "images"])
def test_a_run_that_stands_there_twice(folder: Path, repository: Path, shared: str) -> None:
    mine = json.loads((folder / "runs" / f"{CELL.name}.json").read_text())

    def copy(record: dict[str, Any]) -> None:
        if shared == "images":
            keys = ("test_error_50k", "test_error_48k", "correct")
            record.update({key: mine[key] for key in keys})
            del record["by_scale"]  # of another realization
            return
        key = "train_loss" if shared == "losses" else "seconds"
        for theirs, ours in zip(record["history"], mine["history"]):
            theirs[key] = ours[key]
        if shared == "seconds":
            record["timing"] = mine["timing"]

    change(folder, copy, OTHER)
    found = audit(folder, repository=repository)
    assert len(found.problems) == 1, found.problems
    said = {
        "losses": "the losses of its history",
        "seconds": "the seconds of its epochs",
        "images": "the images that it",
    }
    assert found.problems[0].startswith(f"{CELL.name}.json: {said[shared]}")
    assert f"are those of {OTHER.name}.json; must be a run of its own" in found.problems[0]


@pytest.mark.parametrize("error", [0.0, 100.0])
def test_runs_that_read_all_or_nothing_are_alike_for_a_reason(folder: Path, repository: Path, error: float) -> None:
    def extreme(record: dict[str, Any]) -> None:
        record |= {"test_error_50k": error, "test_error_48k": error, "correct": encode([error == 0] * 50000)}
        record.pop("by_scale", None)
        record.pop("last_epoch", None)

    for cell in (CELL, OTHER):
        change(folder, extreme, cell)
    assert audit(folder, repository=repository).problems == []


def test_what_cannot_be_looked_up_is_said_and_not_held_against_a_record(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "no repository"
    elsewhere.mkdir()
    found = audit(folder, repository=elsewhere)
    assert found.problems == []
    assert len(found.notes) == 2
    assert all("the whole history is not here to look in" in note for note in found.notes)


def test_open_values_end_in_a_line_too(folder: Path, repository: Path) -> None:
    change(folder, lambda record: record["protocol"].update(milestones=["20", {}]))
    change(folder, lambda record: record.update(complete=False))
    found = audit(folder, repository=repository)
    assert len(found.problems) == 1
    assert "learning_rates cannot be judged (TypeError" in found.problems[0]


def test_records_of_stl10(tmp_path: Path, repository: Path) -> None:
    cell = stl10.EXPERIMENT.cells()[1]
    record = a_record()
    assert stl10.STL10Cell(record["cell"]["model"], record["cell"]["run"]) == cell
    protocol = record["protocol"]
    for epoch in record["history"]:
        steps = sum(milestone < epoch["epoch"] for milestone in protocol["milestones"])
        epoch["learning_rate"] = protocol["learning_rate"] * protocol["gamma"] ** steps
    record["seed"] = cell_seed(cell)
    record["parameters"] = trained_parameters(models.build(cell.model))
    record["environment"] |= {"git_commit": commit_of(repository), "git_dirty": False}
    seconds = sum(epoch["seconds"] for epoch in record["history"])
    record["timing"] |= {"train_seconds": seconds, "wall_seconds": seconds + 1, "finished": "2026-01-31T12:00:00Z"}
    path = tmp_path / f"{cell.name}.json"
    good = json.dumps(record)
    expected = {
        f"seed is 7; that of its cell is {cell_seed(cell)}": setting("seed", 7),
        "learning_rate of epoch 2": setting("history.1.learning_rate", 9.0),
        "must not lie in the future": setting("timing.finished", "2199-01-01T00:00:00Z"),
        "is not known": setting("environment.git_commit", "0" * 40),
    }
    assert problems_of(path, good, repository) == []
    for line, damage in expected.items():
        changed = json.loads(good)
        damage(changed)
        problems = problems_of(path, json.dumps(changed), repository)
        assert len(problems) == 1, problems
        assert line in problems[0]


def problems_of(path: Path, text: str, repository: Path) -> list[str]:
    path.write_text(text)
    return audit(path.parent, repository=repository).problems


@pytest.mark.slow
def test_the_records_of_the_report_pass() -> None:
    for folder in (RECORDS.parent, RECORDS.parent / "float32"):
        found = audit(folder)
        assert found.problems == []
        assert found.checked == len(list((folder / "runs").glob("*.json"))) > 0


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["status", "--check", *arguments])
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def test_the_command_names_problems_changes_nothing_and_ends_accordingly(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesn_lib.runner.audit.REPOSITORY", repository)
    bare = folder / "runs"  # records that lie in the folder itself
    (bare / "notes (1).json").write_text("{")
    (bare / f"._{CELL.name}.json").write_text("{")
    for place in (folder, bare):
        assert run("--results", str(place), capsys=capsys)[:2] == (0, "2 records checked, nothing wrong\n")
    change(folder, setting("seed", 7))
    (bare / f"{OTHER.name}.json").write_text("{")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = run("--results", str(bare), capsys=capsys)
    assert code == 1
    assert len(out.splitlines()) == 2
    assert f"{OTHER.name}.json: not JSON" in out
    assert f"{CELL.name}.json: seed is 7" in out
    assert "2 records checked, 2 problems" in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    code, _, err = run("--results", str(folder / "repository"), capsys=capsys)
    assert code == 2
    assert "no records in" in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_it_can_be_pointed_at_a_folder_from_a_checkout(tmp_path: Path) -> None:
    shutil.copy(RECORDS / f"{CELL.name}.json", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "sesn_lib", "status", "--check", "--results", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("1 record checked, nothing wrong") or "not here to look in" in done.stdout
    assert done.returncode == 0
