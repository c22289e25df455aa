"""What is missing gets run: in one process or several, on a cluster, within a time; and what that costs."""

from sesn_lib.runner.execution import Trained, run_cell, train_cell
from sesn_lib.runner.local import run
from sesn_lib.runner.worker import Event, Job, RunnerError, Summary, work

__all__ = ["Event", "Job", "RunnerError", "Summary", "Trained", "run", "run_cell", "train_cell", "work"]
