"""The way to a cluster: what SLURM is asked for, what becomes of failures, what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.runner import cluster
from sesn_lib.runner.cluster import ClusterRunner, submit
from sesn_lib.runner.worker import Job, RunnerError, Summary
from sesn_lib.store.records import Store

submitit = pytest.importorskip("submitit")
CHOSEN = ["--models", "mnist_cnn_28", "--realizations", "0", "--results", "here"]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster's commands that only keep what they are given; returns the scripts sent so far."""
    commands, sent = tmp_path / "commands", tmp_path / "sent"
    sent.mkdir()
    commands.mkdir()
    (commands / "sbatch").write_text(
        f'#!/bin/sh\nn=$(ls {sent} | wc -l)\ncp "$1" {sent}/$n.sh\necho "Submitted batch job $n"\n'
    )
    (commands / "srun").write_text("#!/bin/sh\n")
    for command in commands.iterdir():
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    return lambda: [path.read_text() for path in sorted(sent.iterdir())]


def asked(script: str) -> dict[str, str]:
    return dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", script))


def test_slurm_is_asked_for_what_was_named(sesn: Any, slurm: Any) -> None:
    result = sesn("run", *CHOSEN, "--cluster", "slurm", "--partition", "fast", "--jobs", "2", "--time-budget", "50m")
    assert result.code == 0, result.err
    assert result.out.count("submitted job") == 2
    first, second = map(asked, slurm())
    assert first["partition"] == second["partition"] == "fast"
    assert first["time"] == "52", "the budget, and two minutes for last words"
    assert first["gpus-per-node"] == "1"


def test_who_wants_no_gpu_is_given_none(sesn: Any, slurm: Any) -> None:
    assert sesn("run", *CHOSEN, "--cluster", "slurm", "--device", "cpu").code == 0
    (only,) = map(asked, slurm())
    assert only["gpus-per-node"] == "0"
    assert "partition" not in only
    assert only["time"] == str(cluster.DEFAULT_MINUTES)


@pytest.fixture
def given(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> list[ClusterRunner]:
    """What is handed to submitit, and goes no further."""
    runners: list[ClusterRunner] = []
    sent = SimpleNamespace(job_id="1", paths=SimpleNamespace(stdout="log"))
    monkeypatch.setattr(submitit.AutoExecutor, "submit", lambda self, one: runners.append(one) or sent)
    return runners


def test_a_job_ends_by_itself_before_the_cluster_ends_it(sesn: Any, given: list[ClusterRunner]) -> None:
    for budget in ([], ["--time-budget", "50m"]):
        assert sesn("run", *CHOSEN, "--cluster", "slurm", *budget).code == 0
    assert [one.seconds for one in given] == [(240 - 2) * 60, 50 * 60]


def test_jobs_find_the_library_that_is_not_installed(sesn: Any, slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert sesn("run", *CHOSEN, "--cluster", "slurm").code == 0
    first, *others = os.environ["PYTHONPATH"].split(os.pathsep)
    assert Path(first) / "sesn_lib" / "runner" / "cluster.py" == Path(cluster.__file__).resolve()
    assert others == ["elsewhere"]


def test_no_path_depends_on_where_the_cluster_works(sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(cluster, "submit", lambda job, **options: jobs.append(job) or [])
    assert sesn("run", *CHOSEN, "--cluster", "slurm", "--checkpoints", "kept", "--weights", "w").code == 0
    (job,) = jobs
    options = job.execute.keywords["options"]  # type: ignore[attr-defined]
    assert job.results == tmp_path / "here" == job.estimate.folder  # type: ignore[union-attr]
    assert job.checkpoints == options.checkpoints == tmp_path / "kept"
    assert options.weights == tmp_path / "w"


def test_folders_are_whole_paths_when_a_job_is_sent(
    given: list[ClusterRunner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    submit(Job(GRID[:1], Path("here"), checkpoints=Path("kept"), deadline=1.0), engine="slurm")
    assert (given[0].job.results, given[0].job.checkpoints) == (tmp_path / "here", tmp_path / "kept")
    assert given[0].job.deadline is None


def test_a_job_that_is_taken_away_is_sent_anew(tmp_path: Path) -> None:
    one = ClusterRunner(Job(GRID[:1], tmp_path), 60.0)
    again = one.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function is one


@pytest.mark.parametrize("failed", [{}, {GRID[0]: "Diverged: the loss is nan"}])
def test_failed_cells_show_in_the_exit_code_and_are_tried_again_when_asked(
    sesn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: dict[Any, str]
) -> None:
    store = Store(tmp_path / "here")
    cell = next(cell for cell in GRID if cell.model == "mnist_cnn_28")
    ended = SimpleNamespace(result=lambda: Summary(failed=failed))
    monkeypatch.setattr(cluster, "submit", lambda job, **options: [ended])
    store.write_failure(cell, "Diverged: the loss is nan")
    assert sesn("run", *CHOSEN, "--cluster", "local").code == bool(failed)
    assert store.has_failed(cell), "left alone unless asked"
    assert sesn("run", *CHOSEN, "--cluster", "local", "--retry-failed").code == bool(failed)
    assert not store.has_failed(cell)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_fails_the_job_and_no_cell(sesn: Any, tmp_path: Path) -> None:
    result = sesn("run", *CHOSEN, "--device", "cuda", "--cluster", "local", "--time-budget", "5m")
    assert result.code == 2
    assert re.search(r"job \S+ failed: .*device is 'cuda', but torch finds no CUDA device here", result.err)
    assert Store(tmp_path / "here").failures() == []


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            RuntimeError(
                "Job failed:\nTraceback (most recent call last):\n  File x\nValueError: no 'tpu'\n- /a/12_log.out"
            ),
            "ValueError: no 'tpu'",
        ),
        (RuntimeError("killed\nby the system"), "by the system"),
        (KeyError(), "KeyError"),
    ],
    ids=["traceback", "words", "nothing"],
)
def test_the_cause_is_the_line_that_names_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    """Of a job that failed on the other side, as submitit tells of it."""

    class Failed:
        job_id, paths = "12", SimpleNamespace(stdout="12.out", stderr="12.err")

        def result(self) -> Any:
            raise error

    class Executor:
        def __init__(self, **_: Any) -> None: ...

        def update_parameters(self, **_: Any) -> None: ...

        def submit(self, _: Any) -> Failed:
            return Failed()

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    monkeypatch.setenv("PYTHONPATH", "")
    job = Job(GRID[:1], tmp_path, lambda *_: {})
    with pytest.raises(RunnerError) as told:
        submit(job, jobs=1, engine="local")
    assert str(told.value) == f"job 12 failed: {cause}; its log: 12.err"


def test_without_a_cluster_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="cannot submit to slurm"):
        submit(Job(GRID[:1], tmp_path))
