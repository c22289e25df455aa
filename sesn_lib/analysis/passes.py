"""In which order the earlier report's single runs stand: three arguments that do not lean on one another.

Its lists come without labels. The training script that it made public loops over the models, in that over the scaling
1.0 and then 0.5, in that over the realizations, and appends each result; so a full list would be six runs without
augmentation and then six with it, each in the order of the realizations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.published import PAPER_RUNS, REPORT_RUNS, Published
from sesn_lib.experiments.mnist_scale import REALIZATIONS, SCALINGS


def full_lists(published: Published) -> dict[str, tuple[float, ...]]:
    """The lists that lack one run at most."""
    return {model: runs for model, runs in published.runs.items() if len(runs) >= REPORT_RUNS - 1}


def gaps_that_fit(runs: Sequence[float], between: float, outer: str) -> list[tuple[int, int]]:
    """Which single gap in the order of the script leaves a list with this pattern of high and low errors.

    Arguments:
        runs: a list that lacks some of its 12 runs.
        between: what parts high from low errors.
        outer: "scaling": six runs of one condition, then six of the other; "realization": the two in turns.

    Returns: (place, length) of the gap, places from 0; whichever condition is the high one.

    Raises:
        ValueError: another `outer`.
    """
    orders = {
        "scaling": [place >= PAPER_RUNS for place in range(REPORT_RUNS)],
        "realization": [bool(place % 2) for place in range(REPORT_RUNS)],
    }
    if outer not in orders:
        raise ValueError(f"outer is {outer!r}: it must be one of {', '.join(orders)}")
    low = [error < between for error in runs]
    length, found = REPORT_RUNS - len(runs), []
    for place in range(len(runs) + 1):
        left = orders[outer][:place] + orders[outer][place + length :]
        if left in (low, [not value for value in low]):
            found.append((place, length))
    return found


def likelihood_ratio(published: Published, model: Mixed) -> dict[str, float]:
    """List -> log10 of how much likelier it is if the second pass is the augmented one, by what our runs did.

    The difference of its two means is normal about ours, or about the negative of ours, with the variance
    seed^2 (1/6 + 1/n) of the report's runs plus that of our own estimate; realizations cancel in it.
    """
    found = {}
    for name, runs in full_lists(published).items():
        ours = model.contrast({(name, SCALINGS[0]): 1.0, (name, SCALINGS[1]): -1.0})
        if not (math.isfinite(ours.error) and math.isfinite(model.seed)):
            continue
        step = float(np.mean(runs[:PAPER_RUNS]) - np.mean(runs[PAPER_RUNS:]))
        rest = len(runs) - PAPER_RUNS
        spread = math.sqrt(model.seed**2 * (1 / PAPER_RUNS + 1 / rest) + ours.error**2)
        logs = stats.norm.logpdf(step, [ours.estimate, -ours.estimate], spread)
        found[name] = float(logs[0] - logs[1]) / math.log(10)
    return found


def by_place(published: Published) -> np.ndarray:
    """How much harder than its pass each place 1 to 6 is, mean over passes that are whole: float64 [6]."""
    whole = [
        np.array(runs[start : start + PAPER_RUNS])
        for runs in full_lists(published).values()
        for start in (0, PAPER_RUNS)
        if len(runs) >= start + PAPER_RUNS
    ]
    centred: np.ndarray = np.mean([run - run.mean() for run in whole], axis=0)
    return centred


def our_realizations(runs: Mapping[object, Mapping[int, float]]) -> np.ndarray | None:
    """The same of our realizations, over cells that have all six: float64 [6]; None if there is no such cell."""
    whole = [[found[r] for r in REALIZATIONS] for found in runs.values() if len(found) == len(REALIZATIONS)]
    if not whole:
        return None
    array = np.array(whole)
    centred: np.ndarray = (array - array.mean(axis=1, keepdims=True)).mean(axis=0)
    return centred
