"""A checkpoint is taken up by the run that it is of, and by no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.store.checkpoint import Checkpoint

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
