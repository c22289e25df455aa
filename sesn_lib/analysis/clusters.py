"""A contrast of the mixed model whose standard error does not take a realization for equally hard for all networks.

The model of `mixed` gives the estimate. Its own standard error is right only if realizations have the same ease for
every cell; where they have not, its tests err too often (`tests/test_coverage.py`). Here each realization is a cluster
that may scatter as it likes: the cluster-robust variance CR2 of Bell and McCaffrey (2002) with their degrees of
freedom, for generalized least squares as of Pustejovsky and Tipton (2018). Where every cell of the contrast has the
same realizations, that is Student's paired t-test over the realizations, to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np

from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.statistics import Difference, student

__all__ = ["by_realization"]


def by_realization(model: Mixed, weights: Mapping[Hashable, float], level: float = 0.95) -> Difference:
    """The weighted sum of the model's cell means, its error taken from how it scatters between realizations.

        variance = sum_r (w' M X_r' W_r A_r e_r)^2,    M = (X' W X)^-,    W = V^-1,
        A_r = D_r' (D_r (V_r - X_r M X_r') D_r')^(+1/2) D_r,    V_r = D_r' D_r = seed^2 1 + realization^2 J

    with e_r the residuals of the runs of realization r; Satterthwaite's degrees of freedom under the model. Where the
    model compares within realizations only, X and e are taken less their means within each, and V is 1.

    Raises ValueError unless the weights add up to zero.
    """
    plain = model.contrast(weights, level)
    if not plain.tested:
        return plain
    places = [(c, r, y) for c, found in enumerate(model.runs.values()) for r, y in found.items()]
    which, group, values = (np.array(column) for column in zip(*places))
    fixed = np.eye(len(model.runs))[which.astype(int)]
    realizations = [group == r for r in np.unique(group)]
    within = not math.isfinite(model.realization)
    if within:
        for rows in realizations:
            fixed[rows] -= fixed[rows].mean(axis=0)
            values[rows] -= values[rows].mean()
    total = np.eye(len(values))
    if not within:  # in units of the seed's variance
        total += (model.realization / model.seed) ** 2 * (group[:, None] == group)
    inverse = np.linalg.inv(total)
    bread = np.linalg.pinv(fixed.T @ inverse @ fixed)
    leaves = np.eye(len(values)) - fixed @ bread @ fixed.T @ inverse  # of the values, the residuals
    chosen = np.array([weights.get(cell, 0.0) for cell in model.runs])
    rows = []
    for at in realizations:
        square = np.linalg.cholesky(total[np.ix_(at, at)]).T
        part = square @ (total[np.ix_(at, at)] - fixed[at] @ bread @ fixed[at].T) @ square.T
        adjusted = square.T @ _root_of_inverse(part) @ square
        rows.append(chosen @ bread @ fixed[at].T @ inverse[np.ix_(at, at)] @ adjusted @ leaves[at])
    scores = np.array(rows)
    spread = scores @ total @ scores.T
    df = float(np.trace(spread) ** 2 / (spread**2).sum()) if (spread**2).sum() > 0 else 0.0
    error = math.sqrt(float(((scores @ values) ** 2).sum()))
    if df < 0.5 or not error > 1e-12:
        return Difference(plain.estimate, n=plain.n, level=level, method="no spread")
    return student(plain.estimate, error, df, plain.n, level, "t by realization")


def _root_of_inverse(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of the pseudo-inverse of a matrix that is positive semidefinite."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    roots = np.array([value**-0.5 if value > 1e-9 * values.max() else 0.0 for value in values])
    found: np.ndarray = (vectors * roots) @ vectors.T
    return found
