"""What an experiment is: its cells and grid, its protocol, the rules for its records. Plain data: no torch."""

from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.experiments.registry import EXPERIMENTS, experiment_named
from sesn_lib.experiments.settings import RunOptions

__all__ = ["EXPERIMENTS", "GRID", "Cell", "RunOptions", "experiment_named"]
