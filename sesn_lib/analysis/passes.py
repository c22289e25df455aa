"""In which order the earlier report's single runs stand: three arguments that do not lean on one another.

Its lists come without labels. The training script that it made public loops over the models, in that over the scaling
1.0 and then 0.5, in that over the realizations, and appends each result; so a full list would be six runs without
augmentation and then six with it, each in the order of the realizations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.published import PAPER_RUNS, REPORT_RUNS, Published
from sesn_lib.analysis.statistics import Difference
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

    By `log_ratio` of the list's differences, first pass minus second, in pairs of one realization.
    """
    found = {}
    for name, runs in full_lists(published).items():
        ours = model.contrast({(name, SCALINGS[0]): 1.0, (name, SCALINGS[1]): -1.0})
        if math.isfinite(ours.error):
            found[name] = log_ratio([a - b for a, b in zip(runs, runs[PAPER_RUNS:])], ours)
    return found


def log_ratio(differences: Sequence[float], ours: Difference) -> float:
    """log10 of the likelihood of n paired differences if their mean is ours over that if it is the negative of ours.

    Their mean is Student's t with n - 1 degrees of freedom about either, with their own variance s^2 / n plus that of
    our estimate: a normal tail of ten standard deviations would be no evidence of that size.
    """
    d = np.asarray(differences)
    spread = math.sqrt(d.var(ddof=1) / len(d) + ours.error**2)
    logs = stats.t.logpdf(d.mean(), len(d) - 1, [ours.estimate, -ours.estimate], spread)
    return float(logs[0] - logs[1]) / math.log(10)


def whole_passes(published: Published) -> dict[tuple[str, int], tuple[float, ...]]:
    """(model, 0 for the first pass or 1) -> its six runs, of the lists that lack one run at most."""
    return {
        (name, place): runs[place * PAPER_RUNS : (place + 1) * PAPER_RUNS]
        for name, runs in full_lists(published).items()
        for place in (0, 1)
        if len(runs) >= (place + 1) * PAPER_RUNS
    }


def by_place(published: Published) -> np.ndarray:
    """How much harder than its pass each place 1 to 6 is, mean over passes that are whole: float64 [6]."""
    whole = [np.array(runs) for runs in whole_passes(published).values()]
    centred: np.ndarray = np.mean([run - run.mean() for run in whole], axis=0)
    return centred


def place_ranks(lists: Iterable[Sequence[float]]) -> np.ndarray:
    """Of each list's first six runs the ranks by error, 1 the easiest; lists with fewer are left out: [lists, 6]."""
    whole = [runs[:PAPER_RUNS] for runs in lists if len(runs) >= PAPER_RUNS]
    return np.array([stats.rankdata(runs) for runs in whole]).reshape(-1, PAPER_RUNS)


def our_realizations(runs: Mapping[object, Mapping[int, float]]) -> np.ndarray | None:
    """The same of our realizations, over cells that have all six: float64 [6]; None if there is no such cell."""
    whole = [[found[r] for r in REALIZATIONS] for found in runs.values() if len(found) == len(REALIZATIONS)]
    if not whole:
        return None
    array = np.array(whole)
    centred: np.ndarray = (array - array.mean(axis=1, keepdims=True)).mean(axis=0)
    return centred
