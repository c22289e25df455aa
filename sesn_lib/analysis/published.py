"""What the paper and the earlier report published, and what can be worked out from that alone.

The paper's table has conditions in its columns, the report's has model variants. `REGIME` says which model, trained
with which augmentation, stands behind a cell of the paper's table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sesn_lib.analysis.statistics import Sample
from sesn_lib.experiments.mnist_scale import RIVAL_MODELS

SESN_ROWS = ("SESN Scalar", "SESN Vector")
ROWS = ("CNN", *SESN_ROWS)
RIVAL_ROWS = ("SiCNN", "SI-ConvNet", "SEVF Scalar", "SEVF Vector", "DSS Scalar", "DSS Vector", "SS-CNN")
ALL_ROWS = ("CNN", *RIVAL_ROWS, *SESN_ROWS)  # of the paper's table, in its order
COLUMNS = ("28", "28+", "56", "56+")  # the paper's: training conditions
VARIANTS = ("28", "28p", "56", "56p")  # the report's: models
PAPER_RUNS = 6  # realizations behind each cell of the paper's table
REPORT_RUNS = 12  # 6 realizations x 2 conditions behind each cell of the report's; behind two of them 11 (`pooled`)


def _regime(row: str, column: str) -> tuple[str, float]:
    pixels, scaled = column.rstrip("+"), column.endswith("+")
    if row == "CNN":
        return f"mnist_cnn_{pixels}", 0.5 if scaled else 1.0
    return f"mnist_ses_{row.split()[1].lower()}_{pixels}{'p' if scaled else ''}", 0.5 if scaled else 1.0


REGIME: Mapping[tuple[str, str], tuple[str, float]] = {(r, c): _regime(r, c) for r in ROWS for c in COLUMNS}
"""(row, column) of the paper's table -> (model, extra_scaling), of SESN and the plain CNN."""

RIVAL_REGIME: Mapping[tuple[str, str], tuple[str, float]] = {
    (row, column): (model, 0.5 if column.endswith("+") else 1.0)
    for column in COLUMNS
    for row, model in zip(RIVAL_ROWS, (m for m in RIVAL_MODELS if m.endswith(column.rstrip("+"))), strict=True)
}
"""The same of the paper's other methods, whose networks are the same with and without augmentation."""


@dataclass(frozen=True)
class Published:
    """Published errors in percent.

    Attributes:
        paper: (method, column) -> sample of 6; all methods of the paper's table.
        report: model -> sample of 12 or 11 (`pooled`), both conditions in one.
        runs: model -> the single runs of the report, as printed.
        notes: the two protocols in words, and the paper's time.
    """

    paper: Mapping[tuple[str, str], Sample]
    report: Mapping[str, Sample]
    runs: Mapping[str, tuple[float, ...]]
    notes: Mapping[str, str]


def load(folder: str | Path) -> Published:
    """Reads `published.yml` of a results folder.

    Raises:
        OSError: it is not there.
        ValueError: it lacks something, or its columns are others.
    """
    path = Path(folder) / "published.yml"
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        paper, report = content["paper"]["mnist_scale"], content["report"]
        runs = {model: tuple(map(float, errors)) for model, errors in report["single_runs"].items()}
        for name, table, expected in (("paper", paper, COLUMNS), ("report", report, VARIANTS)):
            if tuple(table["columns"]) != expected:
                raise ValueError(f"{path.name}: the columns of the {name} are {table['columns']}, not {list(expected)}")
        return Published(
            paper={
                (method, column): _summary(PAPER_RUNS, cell)
                for method, cells in paper["error"].items()
                for column, cell in zip(COLUMNS, cells, strict=True)
            },
            report={
                model: pooled(cell, runs.get(model, ()))
                for method, cells in report["error"].items()
                for model, cell in zip(_variants(method), cells, strict=True)
            },
            runs=runs,
            notes={
                "paper": paper["protocol"],
                "report": report["protocol"],
                "report data": report["data"],
                "paper time": content["paper"]["runtime"],
            },
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from None


def _variants(method: str) -> list[str]:
    return [f"mnist_ses_{method.split()[1].lower()}_{variant}" for variant in VARIANTS]


def _summary(n: int, cell: Sequence[float]) -> Sample:
    mean, std = cell
    return Sample(n, float(mean), float(std))


def pooled(cell: Sequence[float], runs: Sequence[float]) -> Sample:
    """A cell of the report's table, [mean, standard deviation], with the number of results behind it.

    That is `REPORT_RUNS`, as planned; but where a shorter list of `runs` gives mean and sample standard deviation to
    the last digit, cut off as the report cuts them, the cell was made from that list.
    """
    of_list = Sample.of(runs)
    made = of_list is not None and of_list.n > 1 and [printed(v, "cut") for v in (of_list.mean, of_list.std)]
    return _summary(len(runs) if made == list(map(float, cell)) else REPORT_RUNS, cell)


def margin(published: Published) -> float:
    """The margin of equivalence: the smallest lead of the paper's best SESN over its best other method, in any column.

    So it is what the paper's conclusion, SESN before all other methods, rests on. It is no yardstick for scalar against
    vector features, which the paper ranks by 0.02 to 0.08.
    """
    leads = []
    for column in COLUMNS:
        at = {method: cell.mean for (method, where), cell in published.paper.items() if where == column}
        ours = min(at[row] for row in SESN_ROWS)
        leads.append(min(value for method, value in at.items() if method not in SESN_ROWS) - ours)
    return round(min(leads), 10)


@dataclass(frozen=True)
class Regrouped:
    """Runs of the report that belong to one cell of the paper's table.

    Attributes:
        sample: the runs.
        basis: "order" (the list is full or lacks one run: the first six without, the rest with augmentation), "start"
            (the list stops within the first six), "inferred" (which runs are missing follows from the pooled mean).
    """

    sample: Sample
    basis: str


def regroup(published: Published) -> dict[tuple[str, str], Regrouped]:
    """The report's single runs as the paper groups them, where their order allows."""
    cells = {}
    for row in SESN_ROWS:
        for column in COLUMNS:
            model, scaling = REGIME[row, column]
            runs = published.runs[model]
            split, basis = boundary(runs)
            sample = Sample.of(runs[:split] if scaling == 1.0 else runs[split:])
            if sample is not None:
                cells[row, column] = Regrouped(sample, basis)
    return cells


def boundary(runs: Sequence[float]) -> tuple[int, str]:
    """How many runs of a list come before those with augmentation, and how that is known (see `Regrouped`)."""
    if len(runs) >= REPORT_RUNS - 1:
        return PAPER_RUNS, "order"
    if len(runs) <= PAPER_RUNS:
        return len(runs), "start"
    # Between: the pooled mean says that what is missing was trained without augmentation (`missing_mean`).
    return len(runs) - PAPER_RUNS, "inferred"


def missing_mean(runs: Sequence[float], pooled: Sample) -> tuple[float, float]:
    """Between which bounds the mean of the unpublished runs of a list lies, given the pooled mean, cut to two decimals.

    Raises:
        ValueError: no run is missing.
    """
    missing = pooled.n - len(runs)
    if missing < 1:
        raise ValueError(f"none of the {pooled.n} runs is missing")
    low, high = ((bound * pooled.n - sum(runs)) / missing for bound in (pooled.mean, pooled.mean + 0.01))
    return low, high


def printed(value: float, how: str) -> float:
    """A number as it stands in a table, at two decimals: "rounded" or "cut".

    Raises:
        ValueError: another word.
    """
    if how not in ("rounded", "cut"):
        raise ValueError(f"numbers are rounded or cut, not {how!r}")
    return round(value, 2) if how == "rounded" else math.floor(value * 100) / 100


def attainable(value: float, images: int) -> bool:
    """Whether some whole number of errors among so many images prints as this percentage, at three decimals."""
    return images in fitting_counts([value], [images])


def fitting_counts(values: Sequence[float], counts: Sequence[int] | range, decimals: int = 3) -> list[int]:
    """Those numbers of images of which whole numbers of errors print as every one of these percentages."""
    errors, images = np.asarray(values, float)[:, None], np.asarray(counts)
    nearest = np.round(errors * images / 100)
    half = 0.5 * 10.0**-decimals + 1e-9  # a tie may be rounded either way
    fits = (np.abs(100 * nearest / images - errors) <= half).all(axis=0)
    return [int(count) for count in images[fits]]
