"""What the two networks that ship with the report read, digit by digit, on all 50,000 test digits of their realization.

The file `readings.json` beside their weights holds it, as records do (`experiments.correctness`), so that nobody has to
compute it again to compare them; `python -m sesn_lib.runner.readings` makes it anew (minutes on a processor).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from data_prep.mnist_scale import prepare
from sesn_lib import fast, paths
from sesn_lib.data.splits import to_device
from sesn_lib.experiments.correctness import decode, encode
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.store import weights
from sesn_lib.store.atomic import write_aside
from sesn_lib.training.mnist_scale import evaluate

NAME = "readings.json"
SHIPPED = {"SESN": Cell("mnist_ses_vector_28", 1.0, 0), "CNN": Cell("mnist_cnn_28", 1.0, 0)}


@dataclass(frozen=True)
class Discordance:
    """Two networks on the same digits: `only_first` are read by the first alone, `only_second` by the second alone.

    `p`: McNemar's exact test. Were the networks alike, each of these digits would fall to either side like a coin.
    """

    digits: int
    only_first: int
    only_second: int
    p: float

    @property
    def share(self) -> float:
        """Of the digits that only one of the two reads."""
        return (self.only_first + self.only_second) / self.digits


def discordance(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> Discordance:
    """Of which digits two networks read, in the same order.

    Raises:
        ValueError: different numbers of digits.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} digits against {len(b)}: they must be the same ones")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    one = only_first + only_second
    return Discordance(len(a), only_first, only_second, float(stats.binomtest(only_first, one).pvalue) if one else 1.0)


def shipped(folder: str | Path, cell: Cell, record: Mapping[str, Any]) -> np.ndarray:
    """Which of its test digits the shipped network of a cell reads: bool [N].

    Raises:
        OSError: the file is not there.
        ValueError: it lacks the cell, is damaged, or does not come to the error of the network's `record`.
    """
    content = json.loads((Path(folder) / NAME).read_text(encoding="utf-8"))
    if cell.name not in content:
        raise ValueError(f"{NAME} has no {cell.name}; it has {', '.join(content)}")
    right = np.array(decode(content[cell.name], record["test_images"]))
    error = 100.0 * float(np.mean(~right))
    if not math.isclose(error, record["test_error_50k"], abs_tol=1e-9):
        raise ValueError(
            f"{NAME} comes to an error of {error} % for {cell.name}, its record has {record['test_error_50k']}"
        )
    return right


def make(folder: str | Path) -> Path:
    """Reads all test digits with each shipped network, in the precision of its training, and writes the file."""
    found = {}
    for cell in SHIPPED.values():
        network, record = weights.load(folder, cell)
        test = to_device(prepare(None, cell.realization, record["protocol"]["data"], progress=False).test, "cpu")
        read = evaluate(fast.accelerate(network), test, precision=record["protocol"]["precision"])
        found[cell.name] = encode(read.correct.tolist())
    path = Path(folder) / NAME
    write_aside(path, (json.dumps(found, indent=1) + "\n").encode(), replace=True)
    return path


if __name__ == "__main__":
    print(make(paths.results() / "checkpoints"))
