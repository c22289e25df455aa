"""The `sesn` command: what it does, and that every mistake ends in one clear line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from toy_cells import make_record

from sesn_lib.cli.display import closing_line
from sesn_lib.cli.jobs import processes
from sesn_lib.cli.run_commands import exit_with
from sesn_lib.experiments.mnist_scale import GRID, Cell, MNISTScale
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.runner import execution
from sesn_lib.runner import local as runner
from sesn_lib.runner.status import survey
from sesn_lib.runner.worker import Job, Summary, claim
from sesn_lib.store.records import Store
from sesn_lib.training import loop, mnist_scale

ROOT = Path(__file__).resolve().parent.parent
CELL = Cell("mnist_cnn_28", 1.0, 0)
SHORT = ["--epochs", "1", "--train-images", "48", "--test-images", "30", "--batch-size", "24", "--device", "cpu"]


BAD_INPUT = [
    ("train nope", "unknown model 'nope'; the models are mnist_ses_scalar_28, "),
    ("train", "Missing argument"),
    ("train mnist_cnn_28 extra", "extra"),
    ("train mnist_cnn_28 --no-such-option", "--no-such-option"),
    ("train mnist_cnn_28 --realization 7", "realization must be one of 0 to 5, not 7"),
    ("train mnist_cnn_28 --realization -1", "not -1"),
    ("train mnist_cnn_28 --realization two", "'two'"),
    ("train mnist_cnn_28 --realization=1.5", "'1.5'"),
    ("train mnist_cnn_28 --extra-scaling 0", "extra_scaling must lie in (0, 1], not 0.0"),
    ("train mnist_cnn_28 --extra-scaling 1.5", "not 1.5"),
    ("train mnist_cnn_28 --extra-scaling nan", "not nan"),
    ("train mnist_cnn_28 --extra-scaling half", "'half'"),
    ("train mnist_cnn_28 --epochs 0", "epochs is 0: it must be"),
    ("train mnist_cnn_28 --epochs -3", "epochs is -3"),
    ("train mnist_cnn_28 --batch-size 1", "batch_size is 1: it must be at least 2"),
    ("train mnist_cnn_28 --batch-size 0", "batch_size is 0"),
    ("train mnist_cnn_28 --train-images 0", "--train-images must be 2 to 10000, not 0"),
    ("train mnist_cnn_28 --train-images 10001", "not 10001"),
    ("train mnist_cnn_28 --train-images 129", "use 128"),
    ("train mnist_cnn_28 --test-images 0", "--test-images must be 1 to 50000, not 0"),
    ("train mnist_cnn_28 --precision fp8", "precision is 'fp8': it must be one of auto, float32, bf16"),
    ("train mnist_cnn_28 --device tpu", "device is 'tpu'"),
    ("train mnist_cnn_28 --threads 0", "threads is 0"),
    ("bench --rounds 0", "rounds is 0"),
    ("run --experiment cifar", "unknown experiment 'cifar'; the experiments are mnist-scale, stl10"),
    ("run --part rivals-to-be", "mnist-scale has no part 'rivals-to-be'; the parts are sesn, rivals, or all"),
    ("train wrn_16_8 --extra-scaling 0.5", "a scaling of 0.5 is for mnist-scale"),
    ("train mnist_cnn_28 --micro-batch 2", "--micro-batch and --small-memory are for --experiment stl10"),
    ("bench --experiment stl10 --rounds 2", "--ways, --rounds and --jobs are for mnist-scale"),
    ("bench --experiment stl10 --jobs 2", "--ways, --rounds and --jobs are for mnist-scale"),
    ("bench --jobs 1,0", "jobs is 0"),
    ("bench --jobs 1,two", "'two' is neither a whole number nor a range"),
    ("run --time-budget '9 parsecs'", "'9 parsecs' is no time budget; write it like 90s, 9m"),
    ("run --time-budget 0", "'0' is no time budget"),
    ("run --models nope", "the grid has no model 'nope'; it has mnist_ses_scalar_28"),
    ("run --models mnist_cnn_28,mnist_cnn_29", "'mnist_cnn_29'"),
    ("run --models ,", "no model was chosen"),
    ("run --scalings 0.7", "the grid has no extra_scaling 0.7; it has 1.0, 0.5"),
    ("run --scalings small", "'small' is no number"),
    ("run --realizations 7", "the grid has no realization 7; it has 0, 1, 2, 3, 4, 5"),
    ("run --realizations 3-1", "the range '3-1' is empty"),
    ("run --realizations first", "'first' is neither a whole number nor a range"),
    ("run --jobs 0", "--jobs must be at least 1, not 0"),
    ("run --jobs many", "'many'"),
    ("run --cluster cloud", "'cloud'"),
    ("run --cluster slurm --device tpu", "device is 'tpu': it must be"),
    ("run --partition fast", "--partition fast is for --cluster slurm"),
    ("run --partition fast --cluster local", "--partition fast is for --cluster slurm"),
    ("run --device cuda:x", "device is 'cuda:x'"),
    ("collect --results nowhere", "no records in nowhere/runs"),
    ("collect", "no records in "),
    ("report --profile slow", "'slow'"),
    ("data mnist-scale --realization 9", "there is no realization 9"),
    ("data mnist-scale --protocol mine", "'mine'"),
    ("data cifar", "'cifar'"),
    ("fly", "'fly'"),
]


@pytest.mark.parametrize(("line", "message"), BAD_INPUT)
def test_bad_input_ends_in_one_clear_line(sesn: Any, tmp_path: Path, line: str, message: str) -> None:
    import shlex

    result = sesn(*shlex.split(line))
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert result.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing is half-written"


def test_an_absent_gpu_is_an_error(sesn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (["train", "mnist_cnn_28"], ["run"]):
        result = sesn(*command, "--device", "cuda")
        assert result.code == 2
        assert result.err == "error: device is 'cuda', but torch finds no CUDA device here: use 'cpu' or 'auto'\n"


def test_a_folder_that_cannot_be_written_is_an_error(sesn: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (["train", "mnist_cnn_28"], ["run", "--models", "mnist_cnn_28", "--realizations", "0"]):
        result = sesn(*command, *SHORT, "--results", "file/results")
        assert result.code == 2
        assert result.err.splitlines()[-1].startswith("error: cannot write to file/results: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("option", ["--weights", "--checkpoints"])
def test_a_folder_that_cannot_be_made_is_an_error_before_the_training(sesn: Any, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("")
    for command in (["train", "mnist_cnn_28"], ["run", "--models", "mnist_cnn_28"]):
        result = sesn(*command, *SHORT, "--results", "here", option, "file")
        assert result.code == 2
        assert result.err == f"error: {option} file cannot be written: File exists\n"
    result = sesn("bench", "--output", "file/bench.json")
    assert result.err == "error: --output: the folder file cannot be written: File exists\n"
    result = sesn("bench", "--experiment", "stl10", "--output", "file/cost.json")
    assert result.err == "error: --output: the folder file cannot be written: File exists\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_run_does_as_it_is_told(sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["--models", "mnist_cnn_28", "--realizations", "0", *SHORT, "--threads", "1"]
    result = sesn("run", *chosen, "--results", "short", "--time-budget", "0.001s")
    assert (result.code, result.out) == (0, "0 finished, 0 failed, 2 of 2 left\n")
    assert sesn("run", *chosen, "--results", "here", "--precision", "bf16").code == 0
    assert Store(tmp_path / "here").load(CELL)["protocol"]["precision"] == "bf16"

    calls: list[Any] = []
    monkeypatch.setattr(mnist_scale.Task, "fetch", lambda cells, options: calls.append(len(cells)))
    monkeypatch.setattr(runner, "run", lambda job, **options: calls.append(options["jobs"]) or Summary())
    sesn("run", *chosen, "--results", "there", "--jobs", "2")
    assert calls == [2, 2], "data first, then two processes"


def test_the_time_budget_counts_from_the_command_s_begin(
    sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read and prepared before the first cell is begun is a part of it."""
    late, select, now = [0.0], MNISTScale.select, time.time

    def slowly(*arguments: Any, **options: Any) -> Any:
        late[0] += 7200
        return select(*arguments, **options)

    monkeypatch.setattr(MNISTScale, "select", slowly)
    monkeypatch.setattr(time, "time", lambda: now() + late[0])
    chosen = ["--models", "mnist_cnn_28", "--realizations", "0", *SHORT, "--threads", "1", "--results", "here"]
    assert sesn("run", *chosen, "--time-budget", "1h").out == "0 finished, 0 failed, 2 of 2 left\n"
    assert sesn("run", *chosen, "--time-budget", "3h").out == "2 finished, 0 failed, 0 of 2 left\n"


def test_train_writes_a_record_and_does_not_overwrite_it(sesn: Any, tmp_path: Path) -> None:
    result = sesn("train", CELL.model, *SHORT)
    assert result.code == 0, result.err
    path = tmp_path / "build" / "runs" / f"{CELL.name}.json"
    assert f"record: {path}" in result.out
    assert "epoch 1/1" in result.err
    assert Store(tmp_path / "build").load(CELL)["complete"] is False
    assert not (tmp_path / "notebooks").exists(), "the published results are left alone"
    assert list((tmp_path / "build" / "checkpoints").iterdir()) == []
    before = path.read_bytes()
    result = sesn("train", CELL.model, *SHORT)
    assert result.code == 2
    assert "is not overwritten; name another folder with --results" in result.err
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    result = sesn("train", CELL.model, *SHORT)
    assert result.code == 0, result.err
    assert path.with_name(path.name + ".damaged").read_bytes() == before[: len(before) // 2]
    assert Store(tmp_path / "build").load(CELL)["complete"] is False


@pytest.mark.slow
def test_damaged_records_are_missing_cells(sesn: Any, tmp_path: Path) -> None:
    chosen = ["--models", "mnist_cnn_28", "--realizations", "0", "--results", "here", "--threads", "1"]
    assert sesn("run", *chosen, *SHORT).code == 0
    first, second = sorted((tmp_path / "here" / "runs").glob("*.json"))
    good, content = second.read_bytes(), first.read_text()
    damages = {"half": content[:500], "schema": content.replace('"schema": 1', '"schema": 7'), "copy": good.decode()}
    for count, damage in enumerate(damages.values(), start=1):
        first.write_text(damage)
        result = sesn("run", *chosen, *SHORT)
        assert result.code == 0
        assert "1 of 2 cells to run into here" in result.err
        assert "1 finished, 0 failed, 0 of 2 left" in result.out
        assert len(list((tmp_path / "here" / "runs").glob("*.damaged"))) == count
    kept = [path.read_text() for path in (tmp_path / "here" / "runs").glob("*.damaged")]
    assert sorted(kept) == sorted(damages.values()), "nothing is deleted"
    assert second.read_bytes() == good, "the other record is left alone"


@pytest.mark.slow
def test_a_diverging_run_is_noted_shown_and_never_averaged(
    sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of = execution.settings_of

    def absurd(cell: Cell, options: Any) -> Any:
        settings = settings_of(cell, options)
        return replace(settings, learning_rate=1e30) if cell.extra_scaling == 1.0 else settings

    monkeypatch.setattr(execution, "settings_of", absurd)
    chosen = ["--models", "mnist_cnn_28", "--realizations", "0", "--results", "here", "--threads", "1"]
    result = sesn("run", *chosen, *SHORT)
    assert result.code == 1
    assert result.out == "1 finished, 1 failed, 1 of 2 left\n", "and none before"
    assert "loss is nan" in result.err
    shown = sesn("status", "--results", "here").out
    assert "1 failed" in shown
    again = sesn("run", *chosen, *SHORT).out
    assert again.startswith("0 finished, 0 failed, 1 of 2 left, 1 of them failed before (`sesn status` says how; ")
    assert sesn("collect", "--results", "here").code == 0
    assert "failed: 1" in (tmp_path / "here" / "results.yml").read_text()
    assert "nan" not in (tmp_path / "here" / "results.yml").read_text().lower()
    monkeypatch.setattr(execution, "settings_of", settings_of)
    assert "1 finished, 0 failed, 0 of 2 left" in sesn("run", *chosen, *SHORT, "--retry-failed").out, "the control"
    assert "failed" not in sesn("status", "--results", "here").out


def test_train_reports_a_failure(sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: Any, **options: Any) -> Any:
        raise FloatingPointError("the loss is nan after epoch 1")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", diverge)
        result = sesn("train", CELL.model, *SHORT)
    assert result.code == 1
    assert "FAILED, FloatingPointError: the loss is nan after epoch 1" in result.err
    assert Store(tmp_path / "build").failures()[0]["cell"] == CELL.as_dict()
    assert sesn("train", CELL.model, *SHORT).code == 0
    assert Store(tmp_path / "build").has(CELL), "who asks again is not told of the failure before"


def test_train_leaves_a_cell_to_the_process_that_has_it(sesn: Any, tmp_path: Path) -> None:
    with claim(Store(tmp_path / "build"), CELL):
        result = sesn("train", CELL.model, *SHORT)
    assert result.code == 2
    assert f"another process trains {CELL.name}" in result.err


@pytest.mark.slow
def test_run_status_collect(sesn: Any, tmp_path: Path) -> None:
    chosen = ["--models", "mnist_cnn_28", "--realizations", "0-1", "--results", "here"]
    result = sesn("run", *chosen, *SHORT, "--threads", "1", "--time-budget", "1h")
    assert result.code == 0, result.err
    assert "4 finished, 0 failed, 0 of 4 left" in result.out
    assert sesn("run", *chosen, *SHORT).out == "0 finished, 0 failed, 0 of 4 left\n"
    result = sesn("run", *chosen)
    assert result.code == 2
    assert "is of a run with epochs 1, not 60; name another --results" in result.err
    assert "4 partial" in sesn("status", "--results", "here").out
    assert sesn("collect", "--results", "here").out == "wrote here/results.yml\n"
    assert "partial: 4" in (tmp_path / "here" / "results.yml").read_text()


def test_status_shows_every_state(sesn: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in GRID[:3]:
        store.write(make_record(cell, error=2.0))
    store.write(make_record(Cell(GRID[0].model, 1.0, 1), error=3.0))
    store.write(make_record(GRID[3], epochs=3))
    store.write_failure(GRID[4], "Diverged: the loss is nan")
    (store.runs / f"{GRID[6].name}.json").write_text("{")
    (store.runs / f"{GRID[7].name}.json.damaged").write_text("{")
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for cell in GRID[5:7]:
        (checkpoints / f"{cell.name}.pt").touch()
        (checkpoints / f"{cell.name}.json").write_text('{"epoch": 15, "epochs": 60}')
    with claim(store, GRID[5]):
        found = survey(tmp_path, checkpoints=checkpoints)
        result = sesn("status", "--results", ".")
    assert found.counts() == {
        "done": 4,
        "partial": 1,
        "running": 1,
        "checkpoint": 1,
        "failed": 1,
        "missing": 112,
    }
    assert found.progress == {GRID[5]: 0.25, GRID[6]: 0.25}
    mean = found.mean_errors()[(GRID[0].model, 1.0)]
    assert mean == (2, 2.5, pytest.approx(0.5**0.5))
    assert found.seconds_left == pytest.approx(95.0 * (9 + 10))
    assert found.unknown == 115 - 19
    assert result.code == 0
    for text in ("4 done", "1 failed", "2.50 ± 0.71 (2)", "Diverged: the loss is nan", ".damaged", "25 % trained"):
        assert text in result.out, text
    assert "time left: about 30 min on toy" in result.out
    assert (store.runs / f"{GRID[6].name}.json").read_text() == "{", "who looks renames nothing"
    assert survey(tmp_path, checkpoints=checkpoints).states[GRID[5]] == "checkpoint", "its holder has let go"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "status --experiment stl10", "collect"])
def test_a_command_that_only_looks_says_what_is_no_record_and_renames_nothing(tmp_path: Path, command: str) -> None:
    store = Store(tmp_path / "here")
    store.write(make_record(GRID[0]))
    store.path(GRID[1]).write_text("{")
    store.write_failure(GRID[2], "Diverged").write_text("[]")
    for stranger in (f"._{GRID[0].name}.json", f"{GRID[0].name} (1).json"):
        (store.runs / stranger).write_text("{")
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "sesn_lib", *command.split(), "--results", str(store.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 3, "one line each"
    assert f"unusable: {store.path(GRID[1])}: not JSON" in done.stderr
    assert f"unusable: {store.failed / GRID[2].name}.json: not a JSON object but list" in done.stderr
    assert f"not read: {store.runs / GRID[0].name} (1).json: its name is no cell's" in done.stderr
    after = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    after.pop(store.folder / "results.yml", None)
    assert after == before


def test_status_of_nothing(sesn: Any, tmp_path: Path) -> None:
    result = sesn("status")
    assert result.code == 0
    assert "120 missing" in result.out
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_results_folder(sesn: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = sesn("status", "--results", f"{tmp_path}/file")
    assert done.code == 2
    assert done.err.strip() == f"error: {tmp_path}/file: not a folder of results"


def test_by_default_only_the_full_protocol_goes_to_the_published_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sesn_lib import paths

    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    published = paths.results()
    assert published == tmp_path / "notebooks" / "results"
    assert paths.results(shortened=True) == tmp_path / "build"
    assert paths.checkpoints(published) == tmp_path / "checkpoints"
    assert paths.checkpoints(tmp_path / "other") == tmp_path / "other" / "checkpoints"
    (tmp_path / "link").symlink_to(tmp_path / "notebooks")
    for same in (Path("../notebooks/results"), tmp_path / "link" / "results"):
        assert paths.checkpoints(same) == tmp_path / "checkpoints", same


@pytest.mark.parametrize(("jobs", "missing", "number"), [(4, 1, 1), (4, 9, 4), (None, 9, 1), (2, 0, 1)])
def test_there_are_no_more_processes_than_cells_to_run(jobs: int | None, missing: int, number: int) -> None:
    job = Job(GRID[:1], Path("here"))
    with processes(job, jobs, "cpu", missing, print) as shared:
        assert shared == (job, number)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "micro_batch", "train_images", "test_images"])
def test_each_option_that_is_not_the_protocols_makes_a_run_a_shorter_one(name: str) -> None:
    assert RunOptions(**{name: 24}).shortened  # type: ignore[arg-type]
    assert not RunOptions(device="cpu", precision="bf16", threads=1, data="elsewhere").shortened


@pytest.mark.parametrize(("option", "function"), [((), "build"), (("--poster",), "build_poster")])
@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_of_the_report_is_that_of_its_notebooks(
    sesn: Any, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...], function: str, code: int
) -> None:
    from sesn_lib import report

    asked: list[tuple[Any, ...]] = []
    for name in ("build", "build_poster"):
        monkeypatch.setattr(report, name, lambda *given, name=name: asked.append((name, *given)) or code)
    assert sesn("report", "--output", "there", *option).code == code
    assert asked == [(function, Path("there")) if option else (function, Path("there"), "quick")]
    if not option:
        sesn("report", "--profile", "full")
        assert asked[1] == (function, Path("build/report"), "full")


def test_processes_share_the_processor() -> None:
    from sesn_lib.cli.arguments import share_threads

    assert share_threads(None, 1, "cpu", alone=False) is None
    assert share_threads(3, 4, "cpu", alone=False) == 3
    assert share_threads(None, 10**6, "cpu", alone=False) == 1
    assert share_threads(None, 4, "cuda", alone=False) is None


def test_progress_is_calm_in_a_file() -> None:
    from sesn_lib.cli.display import Display
    from sesn_lib.runner.worker import Event

    stream = io.StringIO()
    display = Display(2, stream=stream)
    for cell in GRID[:2]:
        display(Event("started", cell))
        for epoch in range(1, 61):
            report = {"epoch": epoch, "epochs": 60, "train_loss": 0.1, "val_accuracy": 0.98, "seconds": 0.1}
            display(Event("epoch", cell, report))
        display(Event("finished", cell, make_record(cell)))
    display.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith(f"[2/2] {GRID[1].name}: test error 2.000 % on 50,000 images")


def test_an_epoch_that_takes_long_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    from sesn_lib.cli.display import Display
    from sesn_lib.runner import heartbeat
    from sesn_lib.runner.worker import Event

    report = {"epoch": 1, "epochs": 2, "train_loss": 0.1, "val_accuracy": 0.98, "seconds": 0.1}
    monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 0.05)
    with Display(1, every_epoch=True, stream=(stream := io.StringIO())) as display:
        for event, where in (
            (Event("started", CELL), f"{CELL}, epoch 1: at work, 0 s so far"),
            (Event("epoch", CELL, report), f"{CELL}, epoch 2/2: at work, 0 s so far"),
            (Event("epoch", CELL, {**report, "epoch": 2}), f"{CELL}, the test: at work, 0 s so far"),
        ):
            display(event)
            end = time.monotonic() + 60
            while where not in stream.getvalue().splitlines():
                assert time.monotonic() < end, stream.getvalue()
                time.sleep(0.01)
        display(Event("finished", CELL, make_record(CELL)))
    ended = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == ended, "nothing more is said at the end"


@pytest.mark.slow
def test_the_command_works_from_a_checkout_and_starts_without_torch(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    status = ["status", "--results", "nowhere"]
    for arguments, code in (([], 2), (["--help"], 0), (["train", "--help"], 0), (["train", "nope"], 2), (status, 0)):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "sesn_lib", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}
        assert "sesn_lib.cli" in modules
        assert not modules & {"torch", "torchvision", "scipy", "numpy"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("failed", "interrupted", "code"), [(False, True, 130), (True, True, 130), (True, False, 1)])
def test_codes_that_commands_end_with(failed: bool, interrupted: bool, code: int) -> None:
    with pytest.raises(typer.Exit) as ended:
        exit_with(failed, interrupted)
    assert ended.value.exit_code == code
    exit_with(False, False)


def test_a_command_that_is_interrupted_says_so_by_its_code(sesn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("sesn_lib.runner.status.survey", interrupted)
    result = sesn("status")
    assert (result.code, result.out) == (130, "")


def test_only_what_has_no_record_is_left(tmp_path: Path) -> None:
    Store(tmp_path).write(make_record(GRID[0]))
    said = closing_line(Summary(failed={GRID[2]: "why"}), GRID[:3], Store(tmp_path))
    assert said == "0 finished, 1 failed, 2 of 3 left"
    Store(tmp_path).write_failure(GRID[2], "why")
    said = closing_line(Summary(failed={GRID[2]: "why"}), GRID[2:3], Store(tmp_path))
    assert said == "0 finished, 1 failed, 1 of 1 left"
    assert "1 of them failed before" in closing_line(Summary(), GRID[2:3], Store(tmp_path))


def test_the_version_is_told(sesn: Any) -> None:
    from sesn_lib import __version__

    done = sesn("--version")
    assert (done.code, done.out) == (0, f"sesn {__version__}\n")
