"""How far the digits themselves limit what can be said: six realizations share one pool of 70,000.

Two test sets have 71 % of their digits in common, so what the digits drawn do to a difference is partly the same in
all six realizations: it shows in no scatter between them, and no number of runs averages it out. Where records hold
which digits were right, and MNIST is here to say which digits are the same, that part is computed; else it is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep import checksums
from data_prep.files import data_folder, read_bytes
from data_prep.splits import SIZES, overlap, plan
from sesn_lib.analysis.effects import difference_of_digits
from sesn_lib.analysis.evidence import OurRuns, TableCell
from sesn_lib.analysis.published import ALL_ROWS, COLUMNS, REGIME, RIVAL_REGIME, SESN_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, Difference, holm, over_realizations
from sesn_lib.analysis.text import number, p_value, signed
from sesn_lib.experiments.correctness import decode
from sesn_lib.experiments.mnist_scale import REALIZATIONS
from sesn_lib.runner.readings import discordance

REGIMES = {**REGIME, **RIVAL_REGIME}
Pool = Mapping[int, np.ndarray]
"""Realization -> which of the 70,000 digits each test image is: int64 [N], none twice."""


def pool_of_digits(root: str | Path | None = None) -> dict[int, np.ndarray] | None:
    """The pool of the paper's protocol, from MNIST's labels where they are; None where not. Nothing is fetched."""
    labels = []
    for part in ("train", "t10k"):
        name = f"{part}-labels-idx1-ubyte"
        content = read_bytes(data_folder(root) / "MNIST" / "raw" / name)
        if content is None or checksums.md5(content) != checksums.MNIST_FILES[name][1]:
            return None
        labels.append(np.frombuffer(content, np.uint8, offset=8))  # behind the header of an idx file
    every = np.concatenate(labels)
    return {realization: plan(every, realization, "paper")["test"].indices for realization in REALIZATIONS}


def gains(results: Results, a: TableCell, b: TableCell) -> dict[int, np.ndarray]:
    """Realization -> a's error minus b's on each test image, int8 [N] of -1, 0, 1; where both records know it."""
    runs = [results.runs(*REGIMES[name]) for name in (a, b)]
    gained = {}
    for realization in REALIZATIONS:
        pair = [side.get(realization, {}) for side in runs]
        if all("correct" in record for record in pair):
            first, second = (np.array(decode(r["correct"], r["test_images"]), np.int8) for r in pair)
            gained[realization] = second - first
    return gained


def common_variance(by_realization: Mapping[int, np.ndarray], pool: Pool) -> float | None:
    """The covariance of two realizations' differences through the digits that they share, in squared percent.

    With g_ri the gain of digit i in realization r, it is sum_i (g_ri - mean_r)(g_si - mean_s) / N^2 over the digits i
    of both test sets, averaged over all pairs r, s. None for fewer than two realizations.
    """
    size = max((int(digits.max()) for digits in pool.values() if len(digits)), default=0) + 1
    centred = []
    for realization, gain in by_realization.items():
        spread = np.zeros(size)
        spread[pool[realization]] = 100 * (gain - gain.mean()) / len(gain)
        centred.append(spread)
    pairs = [float(a @ b) for a, b in combinations(centred, 2)]
    return float(np.mean(pairs)) if pairs else None


def hidden(first: float, second: float, share: float | None = None, images: int = SIZES["paper"]["test"]) -> float:
    """The most that all realizations can have in common of `effects.difference_of_digits`: its root of the overlap.

    As it would be if a digit that two test sets share did the same to the difference in both.
    """
    return difference_of_digits(first, second, share, images) * math.sqrt(overlap("paper", "test"))


def tightness(results: Results, pool: Pool) -> list[float]:
    """Common variance over its bound, of every two cells of a column that know their digits in two realizations."""
    ratios = []
    for column in COLUMNS:
        for rows in combinations(ALL_ROWS, 2):
            a, b = ((row, column) for row in rows)
            gain = gains(results, a, b)
            common = common_variance(gain, pool)
            if common is not None:
                alone = np.mean([100**2 * np.var(some) / len(some) for some in gain.values()])
                ratios.append(common / float(alone * overlap("paper", "test")))
    return ratios


def own_correlation(results: Results, pool: Pool) -> list[float]:
    """Of each cell, how its errors in two realizations correlate over the digits that both test sets have.

    The control of `tightness`: with the digits of a realization in any other order it would be nil.
    """
    runs: dict[tuple[str, float], dict[int, np.ndarray]] = {}
    for cell, record in results.everything.items():
        if "correct" in record:
            right = np.array(decode(record["correct"], record["test_images"]))
            runs.setdefault((cell.model, cell.extra_scaling), {})[cell.realization] = ~right
    correlations = []
    for wrong in runs.values():
        pairs = []
        for a, b in combinations(wrong, 2):
            _, first, second = np.intersect1d(pool[a], pool[b], assume_unique=True, return_indices=True)
            pairs.append(float(np.corrcoef(wrong[a][first], wrong[b][second])[0, 1]))
        if pairs:
            correlations.append(float(np.mean(pairs)))
    return correlations


def digits_table(ours: OurRuns, pool: Pool | None = None, repeats: Results | None = None) -> pd.DataFrame:
    """SESN before other networks for *other* digits: the standard error that runs show, what they hide, both together.

    What is hidden is exact where two realizations know which digits each network read and `pool` says which are the
    same; the most that the digits which only one network reads allow, where one knows; else the most that the two
    errors allow. The plain CNN is in it always, another method where records know their digits. Where the table's
    records do not know them, those of `repeats` may: the same cells trained again.
    """
    rows = {}
    for column in COLUMNS:
        for row in SESN_ROWS:
            for other in (name for name in ALL_ROWS if name not in SESN_ROWS):
                pair = (row, column), (other, column)
                again = repeats is not None and not gains(ours.results, *pair)
                known = gains(repeats if again and repeats else ours.results, *pair)
                lead = _lead(ours, *pair)
                if lead.n[0] >= LEAST and (other == "CNN" or known):
                    line = _line(ours.results, pair, lead, known, pool)
                    line[-1] += " of repeats" * (again and bool(known))
                    rows[f"{row} {column} before {other}"] = line
    columns = ["difference", "standard error seen", "hidden in common digits", "both", "difference / both"]
    columns.append("known from")
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("comparison")


def discordance_table(results: Results) -> pd.DataFrame:
    """SESN before the CNN digit by digit, network by network, where records know their digits: McNemar's exact test."""
    rows: list[tuple[str, int, int, int, float]] = []
    for column in COLUMNS:
        for row in SESN_ROWS:
            for realization, gain in gains(results, (row, column), ("CNN", column)).items():
                read = discordance(gain < 0, gain > 0)
                name = f"{row} {column}, realization {realization}"
                rows.append((name, read.digits, read.only_first, read.only_second, read.p))
    p = holm([line[-1] for line in rows])
    said = [[*line[:-1], p_value(line[-1]), p_value(q)] for line, q in zip(rows, p)]
    columns = [
        "network",
        "n digits",
        "only SESN reads",
        "only the CNN reads",
        "p, McNemar",
        f"p, Holm over {len(rows)}",
    ]
    return pd.DataFrame(said, columns=columns).set_index("network")


def _lead(ours: OurRuns, a: TableCell, b: TableCell) -> Difference:
    if a in REGIME and b in REGIME:
        return ours.estimate({a: 1.0, b: -1.0})
    return over_realizations((1, ours.results.condition(*a)), (-1, ours.results.condition(*b)))


def _line(
    results: Results, pair: tuple[TableCell, TableCell], lead: Difference, known: Mapping[int, np.ndarray],
    pool: Pool | None,
) -> list[str]:  # fmt: skip
    common = common_variance(known, pool) if pool else None
    exact = common is not None
    images = next((len(gain) for gain in known.values()), SIZES["paper"]["test"])
    errors = [float(np.mean(list(results.condition(*cell).values()))) for cell in pair]
    share = float(np.mean([100 * np.mean(gain != 0) for gain in known.values()])) if known else None
    unseen = math.sqrt(max(common, 0.0)) if common is not None else hidden(errors[0], errors[1], share, images)
    both = math.hypot(lead.error, unseen)
    source = f"digits of {len(known)} realization{'s' * (len(known) > 1)}" if known else "the two errors"
    most, least = ("", "") if exact else ("at most ", "at least ")
    return [
        signed(lead.estimate), number(lead.error, 3), most + number(unseen, 3), most + number(both, 3),
        least + number(abs(lead.estimate) / both, 1), source,
    ]  # fmt: skip
