"""The authors' training step beside ours: the shipped files are what they should be, and so is the table of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sesn_lib.analysis.devices import timetable
from sesn_lib.analysis.results import load
from sesn_lib.analysis.speed import AUTHORS_PRECISIONS, authors_steps, our_steps, step_table

README = Path(__file__).resolve().parent.parent / "README.md"
RESULTS = README.parent / "notebooks" / "results"
OURS, THEIRS = RESULTS / "bench_h100.json", RESULTS / "authors_step_h100.json"
NETWORKS = ["mnist_ses_vector_28", "mnist_ses_scalar_28", "mnist_ses_vector_56", "mnist_ses_scalar_56"]


def test_the_shipped_measurements_are_whole_and_say_where_they_come_from() -> None:
    (our, head), (their, other) = our_steps(OURS), authors_steps(THEIRS)
    assert list(our) == list(their) == NETWORKS
    assert all(set(steps) == {"float32", "bf16"} for steps in our.values())
    assert all(tuple(steps) == AUTHORS_PRECISIONS for steps in their.values())
    assert head["device"] == other["device"] == "NVIDIA H100 80GB HBM3"
    assert head["batch_size"] == other["batch_size"] == 128
    content = json.loads(THEIRS.read_text())
    assert set(content["precisions"]) == set(AUTHORS_PRECISIONS)
    assert "authors' public implementation, timed by us" in content["source"]
    assert content["unknown"]


def test_the_table_by_hand() -> None:
    head = {"device": "card", "batch_size": 128}
    ours = {"a": {"float32": 4.0, "bf16": 2.0}, "b": {"bf16": 1.0}, "only ours": {"bf16": 1.0}}
    theirs = {"a": {"tf32": 8.0, "float32": 16.0, "bf16": 5.0}, "b": {"tf32": 3.0}, "only theirs": {"tf32": 1.0}}
    table = step_table((ours, head), (theirs, head))
    assert list(table.index) == ["a", "b"]
    assert list(table.loc["a"]) == ["8.00", "16.00", "5.00", "4.00", "2.00", "4.0x", "2.5x"]
    assert list(table.loc["b"]) == ["3.00", "–", "–", "–", "1.00", "3.0x", "3.0x"]
    assert step_table(({}, head), (theirs, head)).empty


def test_readme_quotes_the_files() -> None:
    text = README.read_text()
    (our, _), (their, _) = our_steps(OURS), authors_steps(THEIRS)
    for name in NETWORKS:
        figures = their[name]["tf32"], min(their[name].values()), our[name]["bf16"]
        row = " | ".join(f"{value:.2f}" for value in figures)
        assert f"| `{name.removeprefix('mnist_ses_')}` | {row} |" in text
    records = [r for r in load(RESULTS).records.values() if r["environment"]["git_commit"].startswith("310b679")]
    gpu = [record for record in records if record["environment"]["device_type"] == "cuda"]
    found, sesn = timetable(gpu), sum("_ses_" in record["cell"]["model"] for record in gpu)
    assert f"{found.runs} runs with 56 pixels, {sesn} of them of SESN, took {found.minutes:.1f} minutes" in text
    assert all("_56" in record["cell"]["model"] for record in gpu)
    assert found.at_once == 6
    assert "up to six at a time" in text
    alone = min(gpu, key=lambda record: record["timing"]["finished"])
    assert alone["cell"]["model"] == "mnist_ses_vector_56"
    assert f"alone on the card took {alone['timing']['wall_seconds']:.0f} s" in text


@pytest.mark.parametrize("other", [{"device": "another"}, {"batch_size": 64}])
def test_measurements_of_other_conditions_are_not_put_side_by_side(other: dict[str, Any]) -> None:
    head = {"device": "card", "batch_size": 128}
    with pytest.raises(ValueError, match="must be equal"):
        step_table(({}, head), ({}, {**head, **other}))


def change(path: Path, target: Path, key: str, value: Any, entries: str) -> Path:
    content = json.loads(path.read_text())
    if key in content:
        del content[key]
    else:
        content[entries][0][key] = value
    target.write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("device", None, "lacks device"),
        ("model", "mnist_ses_tensor_28", "must have a known model"),
        ("step_seconds", 0, "step_seconds 0: must be a number above 0"),
        ("step_seconds", "fast", "must be a number above 0"),
        ("step_seconds", float("nan"), "must be a number above 0"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(tmp_path: Path, key: str, value: Any, complaint: str) -> None:
    for path, read, entries in ((OURS, our_steps, "measurements"), (THEIRS, authors_steps, "steps")):
        with pytest.raises(ValueError, match=complaint):
            read(change(path, tmp_path / "file.json", key, value, entries))
    with pytest.raises(ValueError, match="has the precision 'int8': must be one of tf32, float32, bf16"):
        authors_steps(change(THEIRS, tmp_path / "file.json", "precision", "int8", "steps"))


def test_networks_that_were_not_measured_by_the_fast_path_are_left_out(tmp_path: Path) -> None:
    content = json.loads(OURS.read_text())
    for one in content["measurements"]:
        if one["model"] == NETWORKS[0]:
            one["way"] = "literal float32"
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(content))
    assert list(our_steps(path)[0]) == NETWORKS[1:]
