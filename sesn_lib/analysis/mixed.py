"""One model of all runs: a mean for every cell, an ease common to the runs of a realization, and what the seed leaves.

    y_cr = mu_c + b_r + e_cr,    b_r ~ N(0, realization^2),    e_cr ~ N(0, seed^2)

A mean for every cell is the model with network family, scalar or vector, pixels, augmentation and all of their
interactions as fixed effects; the paper's claims are contrasts of these means. Fitted by REML (Patterson and Thompson
1971) with statsmodels; where its optimiser fails, comparisons within realizations take over. Contrasts use Student's t
with the containment degrees of freedom N - rank [X Z], which for complete data make the test exact;
`tests/test_coverage.py` measures coverage and size for incomplete ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from sesn_lib.analysis.statistics import NAN, Difference, student

Runs = Mapping[Hashable, Mapping[int, float]]
BOUNDARY = 0.15
"""Variance of realizations over that of seeds below which the fit is not REML's optimum to three digits (measured)."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """The fitted model.

    Attributes:
        runs: cell -> realization -> error in percent; what it was fitted to.
        realization, seed: standard deviations of b and e, percentage points; the first is NaN if REML gives none.
        df: of contrasts, N - rank [X Z]; 0 or less: nothing can be tested.
        method: "mixed model", or "fixed realizations" where REML did not converge or came so near to no realization
            effect that its optimiser is not to be trusted: least squares with a constant for each realization, which
            compares within realizations only and is exact for any pattern of runs.

    """

    runs: Runs
    realization: float
    seed: float
    df: int
    method: str
    _mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    _design: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def n(self) -> int:
        """Number of runs."""
        return sum(map(len, self.runs.values()))

    @property
    def correlation(self) -> float:
        """Of two runs of one realization, realization^2 / (realization^2 + seed^2); 0 where no effect was estimated."""
        between = self.realization**2 if math.isfinite(self.realization) else 0.0
        return between / (between + self.seed**2) if between else 0.0

    @property
    def means(self) -> dict[Hashable, float]:
        """Cell -> its mean, percent."""
        return dict(zip(self.runs, map(float, self._mean)))

    def contrast(self, weights: Mapping[Hashable, float]) -> Difference:
        """The weighted sum of cell means; `n` of the result is the least number of runs of its cells, twice.

        Raises:
            ValueError: the weights do not add up to zero: a level has other degrees of freedom than a difference.
        """
        if not math.isclose(sum(weights.values()), 0, abs_tol=1e-9):
            raise ValueError(f"the weights add up to {sum(weights.values())}: a contrast's must add up to 0")
        weights = {cell: weight for cell, weight in weights.items() if weight}
        least = min((len(self.runs.get(cell, {})) for cell in weights), default=0)
        if not least:
            return Difference(NAN)
        chosen = np.array([weights.get(cell, 0.0) for cell in self.runs])
        row = np.concatenate([chosen, np.zeros(self._design.shape[1] - len(chosen))])
        within = self._design.T @ np.linalg.lstsq(self._design.T, row, rcond=None)[0]
        if self.df < 1 or not np.allclose(within, row, atol=1e-8):
            why = "no degree of freedom" if self.df < 1 else "no realization in common"
            plain = sum(weight * float(np.mean(list(self.runs[cell].values()))) for cell, weight in weights.items())
            return Difference(plain, n=(least, least), method=why)
        error = math.sqrt(max(float(chosen @ self._covariance @ chosen), 0.0))
        return student(float(chosen @ self._mean), error, self.df, (least, least), self.method)


def fit(runs: Runs) -> Mixed:
    """Fits cell -> realization -> error. Cells without a run are left out; no run at all gives an empty model."""
    runs = {cell: dict(found) for cell, found in runs.items() if found}
    places = [(index, r, y) for index, found in enumerate(runs.values()) for r, y in found.items()]
    if not places:
        return Mixed({}, NAN, NAN, 0, "no data")
    which, group, values = (np.array(column) for column in zip(*places))
    fixed = np.eye(len(runs))[which.astype(int)]
    design = np.hstack([fixed, (group[:, None] == np.unique(group)).astype(float)])
    inverse = np.linalg.pinv(design)
    within = inverse @ values
    df = len(values) - int(np.linalg.matrix_rank(design))
    spread = math.sqrt(((values - design @ within) ** 2).sum() / df) if df else 0.0
    k = len(runs)
    if spread < 1e-9:  # one realization only, or no scatter but rounding's: there is nothing to estimate by REML
        spread, found = 0.0, None
    else:
        found = _reml(values / spread, fixed, group)
    if found is None:
        covariance = spread**2 * (inverse @ inverse.T)[:k, :k]
        return Mixed(runs, NAN, spread if df else NAN, df, "fixed realizations", within[:k], covariance, design)
    means, covariance, between, seed = found
    return Mixed(
        runs, spread * between, spread * seed, df, "mixed model", spread * means, spread**2 * covariance, design
    )


def by_realization(model: Mixed, weights: Mapping[Hashable, float]) -> Difference:
    """The weighted sum of the model's cell means, its error taken from how it scatters between realizations.

    The model's own standard error is right only if realizations have the same ease for every cell; where they have not,
    its tests err too often (`tests/test_coverage.py`). Here each realization is a cluster that may scatter as it likes:
    the cluster-robust variance CR2 of Bell and McCaffrey (2002), for generalized least squares as of Pustejovsky and
    Tipton (2018),

        variance = sum_r (w' M X_r' W_r A_r e_r)^2,    M = (X' W X)^-,    W = V^-1,
        A_r = D_r' (D_r (V_r - X_r M X_r') D_r')^(+1/2) D_r,    V_r = D_r' D_r = seed^2 1 + realization^2 J

    with e_r the residuals of the runs of realization r, and their degrees of freedom (Satterthwaite's under the model).
    Where the model compares within realizations only, X and e are taken less their means within each, and V is 1. Where
    every cell of the contrast has the same realizations, that is Student's paired t-test over them, to the last digit.

    Raises:
        ValueError: the weights do not add up to zero.
    """
    plain = model.contrast(weights)
    if not plain.tested:
        return plain
    places = [(c, r, y) for c, errors in enumerate(model.runs.values()) for r, y in errors.items()]
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
        return Difference(plain.estimate, n=plain.n, method="no spread")
    return student(plain.estimate, error, df, plain.n, "t by realization")


def _root_of_inverse(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of the pseudo-inverse of a matrix that is positive semidefinite."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    roots = np.array([value**-0.5 if value > 1e-9 * values.max() else 0.0 for value in values])
    root: np.ndarray = (vectors * roots) @ vectors.T
    return root


def heterogeneity(runs: Runs, kind: Callable[[Any], Hashable]) -> tuple[float, tuple[int, int], float]:
    """Whether the realizations are equally hard for two kinds of cells, which the model assumes: F, its df, p.

    The F-test of least squares with a constant for each realization of each kind against one with a constant for each
    realization. NaN where there is nothing to test.
    """
    places = [(c, kind(c), r, y) for c, errors in runs.items() for r, y in errors.items()]
    if not places:
        return NAN, (0, 0), NAN
    cells, kinds, group, values = zip(*places)
    columns = [[c == other for c in cells] for other in runs] + [[r == other for r in group] for other in set(group)]
    more = [[(k, r) == other for k, r in zip(kinds, group)] for other in set(zip(kinds, group))]
    fits = []
    for design in (np.array(columns, float).T, np.array(columns + more, float).T):
        residual = np.array(values) - design @ (np.linalg.pinv(design) @ np.array(values))
        fits.append((float(residual @ residual), len(values) - int(np.linalg.matrix_rank(design))))
    (less_sum, less_df), (more_sum, more_df) = fits
    if more_df < 1 or less_df == more_df or not more_sum > 1e-12:
        return NAN, (less_df - more_df, more_df), NAN
    ratio = (less_sum - more_sum) / (less_df - more_df) / (more_sum / more_df)
    return ratio, (less_df - more_df, more_df), float(stats.f.sf(ratio, less_df - more_df, more_df))


def _reml(
    values: np.ndarray, fixed: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float] | None:
    """Means, their covariance, and both standard deviations; None if there is no optimum to be trusted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is asked of the result
        try:
            fitted = MixedLM(values, fixed, groups=group).fit(reml=True, method="powell")
        except (np.linalg.LinAlgError, ValueError):
            return None
        k = fixed.shape[1]
        covariance = np.asarray(fitted.cov_params())[:k, :k]
    between = float(np.asarray(fitted.cov_re)[0, 0])
    if not (fitted.converged and np.isfinite(covariance).all() and between > BOUNDARY * fitted.scale > 0):
        return None
    return np.asarray(fitted.fe_params), covariance, math.sqrt(between), math.sqrt(fitted.scale)
