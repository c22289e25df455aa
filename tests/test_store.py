"""Records on disk: whole or absent, never overwritten, and nothing damaged is believed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_cells import make_record

from sesn_lib.checks import shown
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.store.atomic import write_aside
from sesn_lib.store.records import RecordError, Store, collect, deterministic_part, now, validate

CELL = Cell("mnist_ses_vector_28", 0.5, 3)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store, record = Store(tmp_path), make_record(CELL)
    record["environment"]["device"] = "Prozessor™ für 8 µs"
    assert not store.has(CELL)
    assert store.load_all() == []
    path = store.write(record)
    assert path == tmp_path / "runs" / "mnist_ses_vector_28-x0.5-r3.json"
    assert store.has(CELL)
    assert store.load(CELL) == record
    assert store.load_all() == [record]
    assert files(tmp_path) == [path.name], "nothing but the record is left"


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = store.write(make_record(CELL, error=2.0)).read_bytes()
    with pytest.raises(FileExistsError, match="not overwritten"):
        store.write(make_record(CELL, error=1.0))
    assert store.path(CELL).read_bytes() == before
    assert files(tmp_path) == [store.path(CELL).name]


def test_records_come_in_the_order_of_the_grid(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outside = Cell("mnist_cnn_28", 0.75, 0)
    for cell in (outside, *reversed(GRID[:25])):
        store.write(make_record(cell))
    assert [Cell(**record["cell"]) for record in store.load_all()] == [*GRID[:25], outside]


@pytest.mark.parametrize("function", ["link", "fsync"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    store = Store(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        store.write(make_record(CELL))
    assert files(tmp_path) == []


def test_who_reads_while_a_file_is_replaced_sees_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_aside(path, b"old", replace=True)
    with path.open("rb") as reader:
        write_aside(path, b"the new one", replace=True)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"the new one"


@pytest.mark.parametrize("replace", [False, True])
def test_the_content_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """Else a power cut could leave an empty record, or none where `write` has returned."""
    path, synced = tmp_path / "new" / "a.json", []
    fsync = os.fsync

    def note(handle: int) -> None:
        fsync(handle)
        status = os.fstat(handle)
        synced.append((os.path.samestat(status, path.parent.stat()), status.st_size if path.exists() else None))
        if not synced[-1][0]:
            assert status.st_size == len(b"content"), "all of it, not a part that waits in memory"

    monkeypatch.setattr(os, "fsync", note)
    write_aside(path, b"content", replace=replace)
    assert [folder for folder, _ in synced] == [False, True]
    assert [named is not None for _, named in synced] == [False, True]
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(("code", "serious"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_syncs_by_itself_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, serious: bool
) -> None:
    fsync = os.fsync

    def refuse(handle: int) -> None:
        if os.path.samestat(os.fstat(handle), tmp_path.stat()):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error") if serious else nullcontext():
        write_aside(tmp_path / "a.json", b"content", replace=True)
    assert (tmp_path / "a.json").read_bytes() == b"content"


def test_without_hard_links_records_are_as_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = Store(tmp_path)
    store.write(make_record(CELL, error=2.0))
    with pytest.raises(FileExistsError):
        store.write(make_record(CELL, error=1.0))
    assert store.load(CELL)["test_error_50k"] == 2.0
    assert files(tmp_path) == [store.path(CELL).name]


def change(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value changed, by dotted path; Ellipsis removes it."""
    copy = json.loads(json.dumps(record))
    part: Any = copy
    *parents, last = path.split(".")
    for key in parents:
        part = part[int(key) if isinstance(part, list) else key]
    if value is ...:
        del part[last]
    else:
        part[int(last) if isinstance(part, list) else last] = value
    return copy


BAD_VALUES = [
    ("schema", 2, "schema is 2; this program reads schema 1"),
    ("schema", ..., "schema is None"),
    ("schema", True, "schema is True; this program reads schema 1"),
    ("more", -(2**63), "more is an integer of 64 bits; more than 63 do not fit"),
    ("cell.model", "mnist_ses_tensor_28", "unknown model 'mnist_ses_tensor_28'"),
    ("cell.realization", 6, "realization must be one of 0 to 5, not 6"),
    ("cell.colour", "red", "cell has the keys"),
    ("seed", ..., "seed is missing"),
    ("test_error_50k", float("nan"), "test_error_50k cannot be nan"),
    ("test_error_50k", 101.0, "test_error_50k cannot be 101.0"),
    ("test_error_48k", "2.1", "test_error_48k cannot be '2.1'"),
    ("val_accuracy", 97.5, "val_accuracy cannot be 97.5"),
    ("best_epoch", 0, "best_epoch cannot be 0"),
    ("best_epoch", 61, "best_epoch is 61 of 60"),
    ("parameters", True, "parameters cannot be True"),
    ("complete", False, "complete is False, but its protocol says otherwise"),
    ("protocol.epochs", 59, "history has 60 epochs, the protocol 59"),
    ("protocol.precision", ..., "protocol.precision is missing"),
    ("history.3.train_loss", float("inf"), "history: epoch 4: train_loss cannot be inf"),
    ("history.3.epoch", 5, "history: epoch 5 stands at place 4"),
    ("history.3.epoch", 3, "history: epoch 3 stands at place 4"),
    ("history.0", None, "history: epoch 1 cannot be None"),
    ("timing.train_seconds", -1.0, "timing.train_seconds cannot be -1.0"),
    ("environment.device", "", "environment.device cannot be ''"),
    ("environment.note", float("-inf"), "environment.note is -inf, which is no number"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_VALUES)
def test_impossible_records_are_not_written(tmp_path: Path, path: str, value: Any, message: str) -> None:
    record = change(make_record(CELL), path, value)
    with pytest.raises(RecordError) as caught:
        Store(tmp_path).write(record)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


def test_what_is_no_dictionary_is_no_record() -> None:
    with pytest.raises(RecordError, match="not list"):
        validate([])
    assert validate(make_record(CELL)) == CELL, "the control: an unchanged record passes"


def damage(path: Path, how: str) -> None:
    text = path.read_text()
    if how == "half":
        path.write_text(text[: len(text) // 2])
    elif how == "empty":
        path.write_text("")
    elif how == "binary":
        path.write_bytes(os.urandom(500))
    elif how == "nan":
        path.write_text(text.replace('"test_error_50k": 2.0', '"test_error_50k": NaN'))
    elif how == "infinity":
        path.write_text(text.replace('"test_error_50k": 2.0', '"test_error_50k": 1e999'))
    elif how == "schema":
        path.write_text(text.replace('"schema": 1', '"schema": 99'))
    elif how == "nested":
        path.write_text("[" * 100000)
    elif how == "list":
        path.write_text("[1, 2]")


@pytest.mark.parametrize("how", ["half", "empty", "binary", "nan", "infinity", "schema", "nested", "list"])
def test_damaged_files_are_set_aside_and_the_rest_goes_on(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path)
    good, bad = GRID[0], GRID[1]
    store.write(make_record(good))
    path = store.write(make_record(bad))
    damage(path, how)
    content = path.read_bytes()
    with pytest.raises(RecordError):
        store.load(bad)
    looking = Store(tmp_path)
    for _ in range(2):
        assert [Cell(**record["cell"]) for record in looking.load_all()] == [good]
    assert [found for found, reason in looking.damaged] == [path]
    assert path.read_bytes() == content, "who looks renames nothing"
    store.set_aside_damaged()
    assert [Cell(**record["cell"]) for record in store.load_all()] == [good]
    aside = path.with_name(path.name + ".damaged")
    assert aside.read_bytes() == content, "set aside, not deleted"
    assert [found for found, reason in store.damaged] == [aside]
    assert not store.has(bad)
    store.write(make_record(bad))
    assert len(store.load_all()) == 2
    damage(path, "half")
    store.set_aside_damaged()
    assert len(store.set_aside_before()) == 2, "an earlier damaged file is not lost to a later one"


def test_a_copied_record_counts_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write(make_record(GRID[0]))
    shutil.copy(path, store.path(GRID[1]))
    shutil.copy(path, path.with_name(path.stem + " (copy).json"))
    assert len(store.load_all()) == 1
    assert [found for found, _ in store.damaged] == [store.path(GRID[1])]
    assert f"it holds the record of {GRID[0].name}" in store.damaged[0][1]
    assert store.foreign == {path.with_name(path.stem + " (copy).json")}


def test_foreign_files_are_read_past_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    record = store.write(make_record(GRID[0]))
    store.write_failure(GRID[1], "Diverged: the loss is nan")
    name = GRID[0].name
    strangers = [f"._{name}.json", f".{name}.json", f"{name} (1).json", "notes.json", f"{name}.json.txt", "broken.json"]
    for folder in (store.runs, store.failed):
        for stranger in strangers:
            (folder / stranger).write_text("{")
        (folder / "._binary.json").write_bytes(bytes(range(256)))
        (folder / f"{GRID[5].name}.json").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert store.load_all() == [json.loads(record.read_text())]
    assert len(store.failures()) == 1
    store.set_aside_damaged()
    assert store.damaged == []
    assert {path.name for path in store.foreign} == {f"{name} (1).json", "notes.json", "broken.json"}
    assert caplog.text.count("its name is no cell's") == 6, "each is said once, hidden ones are not"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\r\n",
        lambda content: json.dumps(json.loads(content)).encode(),
    ],
    ids=["byte order mark", "CRLF", "both", "one line"],
)
def test_what_an_editor_makes_of_a_record_is_read_rightly(tmp_path: Path, rewrite: Any) -> None:
    store, record = Store(tmp_path), make_record(CELL)
    path = store.write(record)
    path.write_bytes(rewrite(path.read_bytes()))
    assert store.load_all() == [record]
    note = store.write_failure(GRID[1], "Diverged")
    note.write_bytes(rewrite(note.read_bytes()))
    assert [failure["error"] for failure in store.failures()] == ["Diverged"]
    assert store.damaged == []


def test_a_note_beside_a_record_is_no_failure(tmp_path: Path) -> None:
    """As a run that was killed between the two leaves it, or a merge of two folders."""
    store = Store(tmp_path)
    note = store.write_failure(CELL, "Diverged")
    content = note.read_bytes()
    store.write(make_record(CELL))
    note.write_bytes(content)
    assert store.failures() == []


def test_a_folder_that_cannot_be_changed_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write(make_record(GRID[0]))
    damage(store.write(make_record(GRID[1])), "half")

    def read_only(*arguments: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", read_only)
    store.set_aside_damaged()
    assert len(store.load_all()) == 1
    assert "could not be set aside (Read-only file system)" in store.damaged[0][1]


def test_failures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.failures() == []
    store.write_failure(GRID[0], "Diverged: the loss is nan")
    store.write_failure(GRID[0], "Diverged: the loss is inf")
    store.write_failure(GRID[1], "MemoryError")
    (store.failed / f"{GRID[2].name}.json").write_text("{")
    assert [failure["error"] for failure in store.failures()] == ["MemoryError", "Diverged: the loss is inf"]
    assert len(store.damaged) == 1
    assert store.has_failed(GRID[0])
    store.write(make_record(GRID[0]))
    assert not store.has_failed(GRID[0]), "a success makes up for a failure"
    assert store.load_all()[0]["cell"] == GRID[0].as_dict()


def test_leftovers_of_a_dead_writer_are_no_records(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record(GRID[0]))
    leftover = store.runs / f".{GRID[1].name}.json.0123456789ab.tmp"
    leftover.write_text("{")
    assert len(store.load_all()) == 1
    store.forget_leftovers(GRID[0])
    store.sweep()
    assert leftover.exists()
    twin = store.runs / f".{GRID[0].name}.json.0123456789ab.tmp"
    twin.hardlink_to(store.path(GRID[0]))
    store.sweep()
    assert not twin.exists()
    assert len(store.load_all()) == 1
    store.forget_leftovers(GRID[1])
    assert not leftover.exists()


def test_deterministic_part_leaves_out_time_and_place() -> None:
    one, two = make_record(CELL), make_record(CELL)
    two["timing"]["wall_seconds"] = 1.0
    two["environment"]["device"] = "another"
    two["history"][0]["seconds"] = 99.0
    assert deterministic_part(one) == deterministic_part(two)
    two["history"][0]["train_loss"] = 99.0
    assert deterministic_part(one) != deterministic_part(two)


def test_collect_takes_complete_runs_of_the_grid_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = "mnist_ses_scalar_28"
    for realization in (2, 0):
        store.write(make_record(Cell(model, 1.0, realization), error=1 + realization))
    store.write(make_record(Cell(model, 0.5, 5), error=0.5))
    store.write(make_record(Cell("mnist_cnn_28", 0.75, 0)))
    store.write(make_record(Cell("mnist_cnn_28", 1.0, 0), epochs=3))
    store.write_failure(GRID[1], "Diverged")
    store.write_failure(Cell("mnist_ss_28", 1.0, 0), "Diverged, of another part")
    path = collect(tmp_path)
    content = yaml.safe_load(path.read_text())
    assert path == tmp_path / "results.yml"
    assert content["counts"] == {"cells": 120, "complete": 3, "partial": 2, "failed": 1}
    assert content["by_condition"] == {model: {1.0: {0: 1.0, 2: 3.0}, 0.5: {5: 0.5}}}
    assert content["single_runs"] == {model: [1.0, 3.0, 0.5]}
    before = path.read_bytes()
    assert collect(tmp_path).read_bytes() == before, "the same records give the same file"


def test_the_table_is_of_all_test_images(tmp_path: Path) -> None:
    Store(tmp_path).write(make_record(CELL, error=2.0, test_error_48k=3.0))
    content = yaml.safe_load(collect(tmp_path).read_text())
    assert content["single_runs"] == {CELL.model: [2.0]}
    assert content["by_condition"] == {CELL.model: {0.5: {3: 2.0}}}


def test_collect_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no records in .*runs"):
        collect(tmp_path / "nowhere")
    assert files(tmp_path) == []


@pytest.mark.slow
def test_the_store_needs_no_torch() -> None:
    code = "import sys, sesn_lib.store, sesn_lib.runner, sesn_lib.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_moments_are_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        moment = datetime.strptime(now(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_a_value_is_shown_in_so_many_characters_whatever_it_is() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    for value in ("x" * 500, 10**5000, nested, "a\nb" * 100):
        text = shown(value, 40)
        assert len(text) <= 40
        assert "\n" not in text
    assert shown("x" * 500, 40).endswith("...")
    assert shown("x" * 10, 12) == "'xxxxxxxxxx'"
    with pytest.raises(RecordError, match="cell: "):
        validate({**make_record(GRID[0]), "cell": {**GRID[0].as_dict(), "extra_scaling": nested}})
    with pytest.raises(RecordError) as refused:
        validate({**make_record(GRID[0]), "parameters": "x" * 500})
    assert len(str(refused.value)) < 100
