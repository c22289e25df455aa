"""Numbers as readers see them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sesn_lib.analysis.statistics import Difference, Sample

DASH = "–"


def number(value: float, decimals: int = 2) -> str:
    """A number, a dash if there is none."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else DASH


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign; never a negative zero."""
    if not math.isfinite(value):
        return DASH
    rounded = round(value, decimals)
    return f"{0:.{decimals}f}" if rounded == 0 else f"{rounded:+.{decimals}f}".replace("-", "−")


def mean(sample: Sample | None, *, n: bool = True, decimals: int = 2) -> str:
    """`2.10 ± 0.10 (6)`: mean, sample standard deviation, number of runs."""
    if sample is None:
        return DASH
    spread = f" ± {sample.std:.{decimals}f}" if math.isfinite(sample.std) else ""
    return f"{sample.mean:.{decimals}f}{spread}" + (f" ({sample.n})" if n else "")


def interval(found: Difference, decimals: int = 2, *, sign: bool = True) -> str:
    """`−0.02 [−0.14, +0.10]`: a difference and its confidence interval; `sign`: with the sign of what is above zero."""
    estimate, low, high = (signed(value, decimals) for value in (found.estimate, found.low, found.high))
    said = f"{estimate} [{low}, {high}]" if math.isfinite(found.low) else estimate
    return said if sign else said.replace("+", "")


def p_value(p: float) -> str:
    """Two decimals, three below 0.1, and a bound below 0.001."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def p_is(p: float) -> str:
    """`p = 0.02` or `p < 0.001`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`; with commas alone where a part has brackets."""
    return ", ".join(parts) if "(" in "".join(parts) else " and ".join(", ".join(parts).rsplit(", ", 1))


ROUNDING = 1e-10  # what is smaller differs from processor to processor, and is not printed as a number


def below(value: float, bound: float) -> str:
    """`2e-07 < 1e-06 ✓`: a value, its bound and a tick, or a cross; below rounding, the bound alone."""
    mark = "✓" if value < bound else "✗"
    return f"{value:.1g} < {bound:.0e} {mark}" if value > ROUNDING else f"< {max(bound, 1e-12):.0e} {mark}"


def above(value: float, bound: float) -> str:
    """`0.23 > 0.1 ✓`: for a control, which has to be large."""
    return f"{value:.2g} > {bound:g} {'✓' if value > bound else '✗'}"


def same(held: bool) -> str:
    """`equal ✓` or `different ✗`."""
    return "equal ✓" if held else "different ✗"
