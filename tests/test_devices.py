"""Processors against GPUs, float32 against bf16, and when runs were at work: on made-up records with known answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from toy_cells import make_record

from sesn_lib.analysis.devices import compare_devices, lead_over_cnn, timetable
from sesn_lib.analysis.results import Results, load
from sesn_lib.experiments.mnist_scale import Cell

RESULTS = Path(__file__).resolve().parent.parent / "notebooks" / "results"
DIFFICULTY = np.array([0.0, 0.3, 0.1, -0.2, 0.05, 0.15])
REFERENCES = ("mnist_cnn_28", "mnist_ses_vector_28")


def made(shift: float = 0.0, noise: float = 0.0, references: tuple[str, ...] = REFERENCES) -> Results:
    """cnn_56 on a processor for realizations 0 to 2 and on a GPU, `shift` worse, for the others."""
    draws, records = np.random.default_rng(1), {}
    # What one reference finds harder than the other cancels in their mean.
    leanings = {model: sign * np.array([0.2, -0.1, 0.0, 0.1, -0.3, 0.1]) for model, sign in zip(references, (1, -1))}
    for model in (*references, "mnist_cnn_56"):
        for scaling in (1.0, 0.5):
            for r in range(6):
                on_gpu = model == "mnist_cnn_56" and r >= 3
                error = (
                    2
                    + scaling
                    + DIFFICULTY[r]
                    + leanings.get(model, np.zeros(6))[r]
                    + noise * draws.standard_normal()
                    + shift * on_gpu
                )
                record = make_record(Cell(model, scaling, r), error=float(error))
                record["environment"]["device_type"] = "cuda" if on_gpu else "cpu"
                records[Cell(model, scaling, r)] = record
    return Results(records)


def test_what_realizations_have_in_common_is_not_taken_for_the_device() -> None:
    found = compare_devices(made())
    assert found.raw.estimate == pytest.approx(DIFFICULTY[3:].mean() - DIFFICULTY[:3].mean())
    assert found.adjusted.estimate == pytest.approx(0, abs=1e-12)
    assert found.references == tuple(
        (model, e) for model in ("mnist_ses_vector_28", "mnist_cnn_28") for e in (1.0, 0.5)
    )
    assert [found.values[r][0] for r in range(6)] == ["cpu"] * 3 + ["cuda"] * 3
    assert compare_devices(made(shift=0.4)).adjusted.estimate == pytest.approx(0.4), "the control: a shift is seen"


def test_the_spread_says_what_would_have_been_seen() -> None:
    quiet, loud = compare_devices(made(noise=0.02)), compare_devices(made(noise=0.2))
    assert quiet.detectable < loud.detectable
    assert quiet.adjusted.low < 0 < quiet.adjusted.high
    seen = compare_devices(made(noise=0.02, shift=2 * quiet.detectable))
    assert seen.adjusted.p < 0.05


def test_without_references_or_without_two_devices_nothing_is_made_up() -> None:
    alone = compare_devices(made(references=()))
    assert alone.references == ()
    assert alone.adjusted == alone.raw
    for empty in (compare_devices(made(), "mnist_cnn_28"), compare_devices(Results({}))):
        assert math.isnan(empty.adjusted.estimate)
        assert math.isnan(empty.detectable)


def test_a_reference_that_was_run_on_two_kinds_of_device_is_none() -> None:
    results = made()
    record = results.records[Cell("mnist_cnn_28", 1.0, 0)]
    record["environment"]["device_type"] = "cuda"
    assert ("mnist_cnn_28", 1.0) not in compare_devices(results).references


def test_a_realization_that_was_run_on_two_kinds_of_device_is_not_compared() -> None:
    results = made()
    results.records[Cell("mnist_cnn_56", 0.5, 4)]["environment"]["device_type"] = "cpu"
    assert sorted(compare_devices(results).values) == [0, 1, 2, 3, 5]


def test_the_records_of_the_report_on_two_kinds_of_device() -> None:
    found = compare_devices(load(RESULTS))
    assert sorted(kind for kind, *_ in found.values.values()) == ["cpu"] * 3 + ["cuda"] * 3
    assert found.adjusted.low < 0 < found.adjusted.high
    assert abs(found.adjusted.estimate) < found.detectable


def with_precision(precision: str, errors: dict[Cell, float]) -> Results:
    records = {}
    for cell, error in errors.items():
        records[cell] = make_record(cell, error=error)
        records[cell]["protocol"]["precision"] = precision
    return Results(records)


def test_the_lead_over_the_cnn_is_paired_and_what_is_missing_is_said() -> None:
    cnn = {Cell("mnist_cnn_28", 0.5, r): 2.0 + 0.1 * r for r in range(6)}
    scalar = {Cell("mnist_ses_scalar_28p", 0.5, r): 1.9 + 0.1 * r - 0.01 * r for r in range(4)}
    full = with_precision("float32", cnn | scalar)
    table = lead_over_cnn({"float32": full, "bf16": with_precision("bf16", cnn)}, ("SESN Scalar", "SESN Vector"), "28+")
    one = table.loc[("SESN Scalar", "float32")]
    assert one["runs"] == 4
    assert one["SESN − CNN [95 %]"].startswith("−0.115 [")
    for name in ("SESN Vector", "mean of these"):
        assert list(table.loc[(name, "float32")]) == [0, "–", "–", "–", "–"]
    assert list(table["runs"]) == [4, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="is in float32: it must be in bf16"):
        lead_over_cnn({"bf16": full}, ("SESN Scalar",), "28+")


def test_the_mean_of_both_networks_is_over_realizations_that_they_share() -> None:
    cnn = {Cell("mnist_cnn_28", 0.5, r): 2.0 for r in range(6)}
    scalar = {Cell("mnist_ses_scalar_28p", 0.5, r): 1.8 + 0.01 * r for r in (0, 1, 2, 3)}
    vector = {Cell("mnist_ses_vector_28p", 0.5, r): 1.6 + 0.03 * r for r in (2, 3, 4)}
    table = lead_over_cnn(
        {"bf16": with_precision("bf16", cnn | scalar | vector)}, ("SESN Scalar", "SESN Vector"), "28+"
    )
    assert table.loc[("mean of these", "bf16")]["runs"] == 2
    assert table.loc[("mean of these", "bf16")]["SESN − CNN [95 %]"].startswith("−0.250 [")


def at_work(wall: float, finished: str) -> dict[str, dict[str, float | str]]:
    return {"timing": {"wall_seconds": wall, "finished": finished}}


def test_when_runs_were_at_work() -> None:
    records = [
        at_work(60.0, "2026-01-01T12:01:00Z"),
        at_work(60.0, "2026-01-01T12:01:30Z"),
        at_work(30.0, "2026-01-01T12:01:20Z"),
        at_work(120.0, "2026-01-01T13:00:00Z"),
    ]
    found = timetable(records)
    assert (found.runs, found.fastest, found.at_once) == (4, 30.0, 3)
    assert found.minutes == pytest.approx(1.5 + 2)
    turns = timetable([at_work(60.0, "2026-01-01T12:01:00Z"), at_work(60.0, "2026-01-01T12:02:00Z")])
    assert (turns.at_once, turns.minutes) == (1, 2.0), "one begins when the other has ended"
    empty = timetable([])
    assert (empty.runs, empty.fastest, empty.minutes, empty.at_once) == (0, 0.0, 0.0, 0)
