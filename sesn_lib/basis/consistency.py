"""Filters at one scale from those at others, so that filtering and rescaling commute as far as they can.

See `sesn_lib.basis.disco` for the equation and its source.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def dilated(kernels: np.ndarray, factor: int) -> np.ndarray:
    """Filters [N, t, t] with their taps `factor` pixels apart, [N, factor (t - 1) + 1, ...]."""
    width = factor * (kernels.shape[-1] - 1) + 1
    dilated = np.zeros((len(kernels), width, width))
    dilated[:, ::factor, ::factor] = kernels
    return dilated


def consistent(others: Mapping[float, np.ndarray], width: int) -> np.ndarray:
    """Filters [N, width, width] of a scale from those of others, {its scale over the other's: [N, t, t]}.

    For white noise f, and all positions, the squared residual of the equation is that of
    `sum_u k(u) c(y - u) = sum_v k_i(v) c(y - r v)` (r above 1; k_i is known) or of
    `sum_u k(u) c(y - r u) = sum_w k_j(w) c(y - w)` (k_j, at a scale r times larger, is), c the interpolation kernel. So
    its normal equations hold c's autocorrelation A at differences of positions, along either axis.
    """
    u = np.arange(width) - width // 2
    gram, right = np.zeros((width**2, width**2)), 0.0
    for ratio, kernels in others.items():
        v = np.arange(kernels.shape[-1]) - kernels.shape[-1] // 2
        # Where the taps of either side are; the factor that is above 1 belongs to the smaller scale.
        ours, theirs = (u * 1.0, v * ratio) if ratio > 1 else (u / ratio, v * 1.0)
        own = autocorrelation(ours[:, None] - ours)
        cross = autocorrelation(ours[:, None] - theirs)
        gram += np.kron(own, own)
        right = right + np.einsum("ai,nij,bj->abn", cross, kernels, cross).reshape(width**2, -1)
    return np.linalg.solve(gram, right).T.reshape(-1, width, width)


def autocorrelation(shift: np.ndarray) -> np.ndarray:
    """`A(d) = integral c(y) c(y + d) dy` of Keys' cubic kernel, a = -1/2; exact: between knots it is a polynomial."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    part = shift - np.floor(shift)
    total = np.zeros_like(shift, dtype=np.float64)
    for knot in range(-2, 2):  # c's own knots are whole numbers, those of c(y + d) lie 1 - part further on
        for low, high in ((knot, knot + 1 - part), (knot + 1 - part, knot + 1)):
            half = (high - low) / 2
            for node, weight in zip(nodes, weights):
                y = (low + high) / 2 + half * node
                total += weight * half * keys(np.asarray(y)) * keys(np.asarray(y + shift))
    return total


def keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic interpolation kernel (1981), a = -1/2."""
    d = np.abs(x)
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))
