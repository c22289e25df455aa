"""A checkpoint is taken up by the run that it is of, and by no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.store.checkpoint import Checkpoint, Interrupted

IDENTITY: dict[str, Any] = {"cell": GRID[0].as_dict(), "protocol": {"epochs": 60, "precision": "bf16"}, "data": "a"}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (IDENTITY, None),
        ({**IDENTITY, "protocol": {"epochs": 5, "precision": "bf16"}}, "protocol.epochs (60, not 5)"),
        ({**IDENTITY, "data": "b"}, "data ('a', not 'b')"),
        ({**IDENTITY, "device_type": "cuda"}, "device_type (None, not 'cuda')"),
        (None, "identity ("),
    ],
)
def test_another_run_is_told_in_what_it_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: Any, difference: str | None
) -> None:
    Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0).save({"epoch": 3})
    found = Checkpoint(tmp_path, GRID[0], other).load()
    assert found == ({"epoch": 3} if difference is None else None)
    assert (tmp_path / f"{GRID[0].name}.pt").exists() == (difference is None)
    if difference is not None:
        assert f"it is of a run with another {difference}" in caplog.text


def test_it_is_written_when_it_is_time_and_when_the_run_is_to_stop(tmp_path: Path) -> None:
    asked = [False, False, True]
    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=3600.0, stop=lambda: asked.pop(0))
    for epoch in (1, 2):
        checkpoint.save({"epoch": epoch})
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(Interrupted):
        checkpoint.save({"epoch": 3})
    assert Checkpoint(tmp_path, GRID[0], IDENTITY).load() == {"epoch": 3}
    eager = Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0)
    eager.save({"epoch": 4})
    assert Checkpoint(tmp_path, GRID[0], IDENTITY).load() == {"epoch": 4}


def test_it_is_not_written_more_often_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("sesn_lib.store.checkpoint.time.perf_counter", lambda: clock[0])
    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=20.0)
    kept = []
    for epoch in range(1, 7):
        clock[0] += 8.0
        checkpoint.save({"epoch": epoch})
        found = Checkpoint(tmp_path, GRID[0], IDENTITY).load() or {"epoch": 0}
        kept.append(found["epoch"])
    assert kept == [0, 0, 3, 3, 3, 6]


def test_the_seconds_of_all_beginnings_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("sesn_lib.store.checkpoint.time.perf_counter", lambda: clock[0])
    for begun, total in ((0.0, 7.0), (7.0, 14.0)):
        checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0)
        checkpoint.load()
        assert checkpoint.seconds_before == begun
        clock[0] += 7.0
        checkpoint.save({})
        again = Checkpoint(tmp_path, GRID[0], IDENTITY)
        again.load()
        assert again.seconds_before == total


def test_seconds_that_led_to_nothing_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("sesn_lib.store.checkpoint.time.perf_counter", lambda: clock[0])
    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0)
    clock[0] += 7.0
    checkpoint.save({"epoch": 3})
    given: list[Any] = []

    def train(state: Any) -> float:
        given.append(state)
        if state is not None:
            raise ValueError("of another model")
        return again.seconds_before

    again = Checkpoint(tmp_path, GRID[0], IDENTITY)
    assert again.resume(train) == 0.0
    assert given == [{"epoch": 3}, None]


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, AttributeError])
def test_a_state_that_does_not_fit_costs_no_more_than_itself(tmp_path: Path, kind: type[Exception]) -> None:
    def train(state: Any) -> str:
        if state is not None:
            raise kind("no such layer")
        return "anew"

    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0)
    checkpoint.save({"epoch": 3})
    assert checkpoint.resume(train) == "anew"
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_how_far_a_run_is_is_a_fraction(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY)
    checkpoint.note(15, 60)
    assert checkpoint.fraction_noted() == 0.25
    assert checkpoint.fraction_done() == 0.0, "there is no checkpoint yet"
    Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0).save({})
    assert checkpoint.fraction_done() == 0.25
    (tmp_path / f"{GRID[0].name}.json").write_text('{"epoch": 90, "epochs": 60}')
    assert checkpoint.fraction_noted() == 1.0


def test_discarding_takes_what_is_older_and_leaves_what_is_newer(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, GRID[0], IDENTITY, every=0.0)
    checkpoint.save({})
    written = checkpoint.path.stat().st_mtime  # type: ignore[union-attr]
    checkpoint.discard(before=written - 10)
    assert checkpoint.path.exists()  # type: ignore[union-attr]
    checkpoint.discard(before=written + 10)
    assert list(tmp_path.iterdir()) == []
