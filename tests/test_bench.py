"""The benchmark's bookkeeping; its timings are nobody's pass or fail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sesn_lib.fast import precision
from sesn_lib.runner import bench, gauges


def test_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gauges, "PEAK_SECONDS", 1e-3)
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
    shown = capsys.readouterr().out
    assert "Training step, batch 2" in shown
    # On the 80 characters of a pipe names are whole, and no unit is taken for rich's markup.
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("mnist_ses_vector_28", "(ms)", "images/s", "(GiB)"):
        assert word in shown


def test_gain_share_and_median_of_known_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways, output = [bench.LITERAL, "fast bf16"], tmp_path / "bench.json"
    seconds = iter([9.0, 1.0, 12.0, 2.0, 7.0, 4.0])  # the ways take turns
    peaks = {"float32": 1e12, "bf16": 8e12}
    monkeypatch.setattr(bench.Step, "warm_up", lambda step: setattr(step, "flops", 3.6e12))
    monkeypatch.setattr(bench.Step, "timed", lambda step: next(seconds))
    monkeypatch.setattr(gauges, "matrix_peak", lambda device, precision: peaks[precision])
    monkeypatch.setattr(gauges, "forget_peak_memory", lambda device: 1 << 30)  # in use before
    monkeypatch.setattr(gauges, "peak_memory", lambda device: 5 << 29)
    monkeypatch.setattr(gauges, "seconds_of", lambda work, device: [6.4, 64.0, 0.1])  # of 128 images
    bench.run(device="cpu", models=["mnist_cnn_28"], batch_size=2, output=output, rounds=3, ways=ways)
    report = json.loads(output.read_text())
    literal, fast = report["measurements"]
    assert report["augmentation_seconds"] == pytest.approx(0.1), "of a batch"
    assert literal["peak_bytes"] == fast["peak_bytes"] == 3 << 29
    assert [literal[f"{which}_seconds"] for which in ("fastest", "step", "slowest")] == [7, 9, 12]
    assert [fast[f"{which}_seconds"] for which in ("fastest", "step", "slowest")] == [1, 2, 4]
    assert (literal["gain"], fast["gain"]) == (1, 6)  # the middle one of 9/1, 12/2 and 7/4
    assert (literal["matrix_share"], fast["matrix_share"]) == pytest.approx((0.4, 0.225))
    shown = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines() if "fast bf16" in line]
    assert shown == [["fast bf16", "2000.0", "6.0x", "1", "22 %", "1.50"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["mnist_ses_tensor_28"]}, "unknown model 'mnist_ses_tensor_28'"),
        ({"models": ["wrn_16_8"]}, "'wrn_16_8' cannot be measured here"),
        ({"batch_size": 1}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"rounds": 0}, "rounds is 0"),
        ({"ways": ["fast"]}, "way is 'fast': it must be one of literal float32"),
    ],
)
def test_bad_input_is_refused_first(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench.run(device="cpu", **options)


def test_a_way_is_named_after_what_it_does() -> None:
    for name, way in bench.WAYS.items():
        assert name.partition(",")[0] == f"{way.method or 'fast'} {way.precision}"
        assert way.graph == (name.startswith("fast") and "no graph" not in name)


@pytest.mark.parametrize("speed", [1e9, 1e11, 1e14], ids="{:g} a second".format)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_peak_counts_what_was_done_in_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, precision: str, speed: float
) -> None:
    """On a device of known speed, on which products alone are counted, nothing computed."""
    spent: list[float] = []
    dtypes = set()

    def seconds_of(work: Callable[[], torch.Tensor], device: torch.device, times: int = 9) -> list[float]:
        with FlopCounterMode(display=False) as counter:
            dtypes.add(work().dtype)
        spent.extend((1 + times) * [counter.get_total_flops() / speed])
        return times * [spent[-1]]

    monkeypatch.setattr(gauges, "seconds_of", seconds_of)
    with FakeTensorMode():
        for work in (gauges.product, gauges.convolution):  # of which the peak is the faster one
            assert gauges.rate(work, torch.device("cpu"), torch.float32) == pytest.approx(speed, rel=1e-12)
        spent.clear()
        dtypes.clear()
        assert gauges.matrix_peak(torch.device("cpu"), precision) == pytest.approx(speed, rel=1e-12)
    assert sum(spent) < 10, "seconds: sized to a time, not to a shape"
    assert max(spent) >= gauges.PEAK_SECONDS or speed == 1e14, "the control: as long as is needed to be measured"
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_only_the_peaks_of_the_precisions_in_use_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(ways: list[str] | None) -> set[str]:
        asked: set[str] = set()
        monkeypatch.setattr(gauges, "matrix_peak", lambda device, precision: asked.add(precision) or 1e12)
        output = tmp_path / "bench.json"
        bench.run(device="cpu", models=["mnist_cnn_28"], batch_size=2, output=output, rounds=1, ways=ways)
        assert set(json.loads(output.read_text())["matrix_peak_flops"]) == asked
        return asked

    monkeypatch.setattr(bench.Step, "warm_up", lambda step: setattr(step, "flops", 1.0))
    monkeypatch.setattr(bench.Step, "timed", lambda step: 1.0)
    assert measured(["fast float32"]) == {"float32"}
    assert measured(["fast bf16"]) == {"bf16"}
    for units in (True, False):
        capsys.readouterr()
        monkeypatch.setattr(precision, "has_bf16_units", lambda device, units=units: units)
        assert measured(None) == ({"float32", "bf16"} if units else {"float32"})
        assert ("fast bf16" in bench.ways_on(torch.device("cpu"))) is units
        assert capsys.readouterr().err == ""
        assert measured(["fast bf16"]) == {"bf16"}, "what is asked for is done"
        assert ("bf16 will be slow" in capsys.readouterr().err) is not units


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak")
def test_the_peak_of_a_processs_memory_is_in_bytes() -> None:
    """Once it is forgotten it is what is there now, and grows with what is taken."""
    device, page = torch.device("cpu"), os.sysconf("SC_PAGE_SIZE")
    gauges.forget_peak_memory(device)
    before, there = gauges.peak_memory(device), int(Path("/proc/self/statm").read_text().split()[1]) * page
    assert before == pytest.approx(there, rel=0.01)
    taken = torch.ones(16 << 20)  # 64 MiB
    del taken
    assert before is not None
    assert gauges.peak_memory(device) == pytest.approx(before + (64 << 20), rel=0.02)


def test_the_first_call_does_not_count() -> None:
    calls: list[int] = []
    seconds = gauges.seconds_of(lambda: calls.append(1), torch.device("cpu"), 3)
    assert (len(calls), len(seconds)) == (4, 3)
    assert min(seconds) >= 0
