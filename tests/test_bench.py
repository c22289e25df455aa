"""The benchmark's bookkeeping; its timings are nobody's pass or fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sesn_lib import bench


def test_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "deep" / "bench.json"
    ways = [bench.LITERAL, "fast float32"]
    code = bench.run(device="cpu", models=["mnist_ses_vector_28"], batch_size=2, output=output, rounds=1, ways=ways)
    assert code == 0
    report = json.loads(output.read_text())
    rows = report["measurements"]
    assert [row["way"] for row in rows] == ways
    assert rows[0]["gain"] == 1.0
    for row in rows:
        assert row["images_per_second"] == pytest.approx(2 / row["step_seconds"])
        assert 0 < row["fastest_seconds"] <= row["step_seconds"] <= row["slowest_seconds"]
    # The point of the fast path: far less arithmetic for the same result.
    arithmetic = [row["matrix_share"] * row["step_seconds"] for row in rows]
    assert arithmetic[1] < 0.4 * arithmetic[0]
    assert "Training step, batch 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["mnist_ses_tensor_28"]}, "unknown model 'mnist_ses_tensor_28'"),
        ({"models": ["wrn_16_8"]}, "'wrn_16_8' cannot be measured here"),
        ({"batch_size": 1}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"rounds": 0}, "rounds is 0"),
        ({"ways": ["fast"]}, "unknown way 'fast': it must be one of literal float32"),
    ],
)
def test_bad_input_is_refused_first(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench.run(device="cpu", **options)
