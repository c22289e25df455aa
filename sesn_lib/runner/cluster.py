"""Sends a job to a cluster through submitit: as many runners as asked for, sharing the results folder as local ones do.

submitit is imported when a job is submitted. The folders must be on a file system that all machines share, with working
locks.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sesn_lib.runner.worker import Event, Job, RunnerError, Summary, work

DEFAULT_MINUTES = 240
LAST_WORDS = 120.0


@dataclass
class ClusterRunner:
    """One runner on a machine of the cluster.

    Arguments:
        job: what to run, its deadline left open.
        seconds: time that it has, from its own start.
    """

    job: Job
    seconds: float | None = None

    def __call__(self) -> Summary:
        summary = Summary()

        def tell(event: Event) -> None:
            summary.add(event)
            if event.kind != "epoch":
                detail = f": {event.data}" if isinstance(event.data, str) else ""
                print(f"{event.cell}: {event.kind}{detail}", flush=True)  # into the cluster's log

        deadline = None if self.seconds is None else time.time() + self.seconds
        work(replace(self.job, deadline=deadline), tell, threading.Event())
        return summary

    def checkpoint(self) -> Any:
        """What submitit submits anew when the cluster takes the machine away: the same, to go on."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(
    job: Job,
    *,
    jobs: int = 1,
    engine: str = "slurm",
    partition: str | None = None,
    seconds: float | None = None,
    gpu: bool = True,
    say: Callable[[str], Any] = lambda text: None,
) -> list[Any]:
    """Submits a job as `jobs` runners; on "local" (processes on this machine) waits for them.

    Arguments:
        engine: "slurm" or "local".
        partition: of the cluster.
        seconds: each runner's time; on SLURM four hours by default.
        gpu: whether each runner is to have a GPU, on SLURM.
        say: called with lines to show.

    Returns: submitit's jobs.

    Raises:
        ValueError: submitit or the cluster's commands are not there.
        RunnerError: a local runner failed.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    results = job.results.resolve()
    job = replace(job, results=results, checkpoints=job.checkpoints and job.checkpoints.resolve(), deadline=None)
    executor = _executor(results / "runs" / ".locks" / "cluster", engine)
    minutes = DEFAULT_MINUTES if seconds is None else max(1, int((seconds + LAST_WORDS) / 60 + 0.999))
    machine = {"gpus_per_node": int(gpu), "cpus_per_task": 4, "mem_gb": 16} if engine == "slurm" else {}
    place = {"slurm_partition": partition} if partition is not None and engine == "slurm" else {}
    executor.update_parameters(name="sesn", timeout_min=minutes, **machine, **place)
    if seconds is None and engine == "slurm":
        seconds = DEFAULT_MINUTES * 60 - LAST_WORDS
    # Where the library is used from a checkout without being installed, the processes must find it.
    _share_path()
    submitted = [executor.submit(ClusterRunner(job, seconds)) for _ in range(jobs)]
    for one in submitted:
        say(f"submitted job {one.job_id}; its log: {one.paths.stdout}")
    if engine == "local":
        for one in submitted:
            try:
                summary = one.result()
            except Exception as error:  # submitit passes on what went wrong in the other process as text
                raise RunnerError(f"job {one.job_id} failed: {_cause(error)}; its log: {one.paths.stderr}") from error
            say(f"job {one.job_id}: {len(summary.finished)} finished, {len(summary.failed)} failed")
    return submitted


def _executor(logs: Path, engine: str) -> Any:
    """What submitit submits with; ValueError without it, or without the engine's commands."""
    try:
        import submitit
    except ImportError:
        raise ValueError("a cluster needs submitit; install it with: pip install submitit") from None
    logs.mkdir(parents=True, exist_ok=True)
    try:
        return submitit.AutoExecutor(folder=logs, cluster=engine)
    except RuntimeError as error:  # e.g. no srun here
        raise ValueError(f"cannot submit to {engine}: {error}") from None


def _cause(error: Exception) -> str:
    """The line of a traceback that says what went wrong: the last that begins with the name of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines)[-1]


def _share_path() -> None:
    root = str(Path(__file__).resolve().parents[2])
    parts = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if root not in parts:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *parts])
