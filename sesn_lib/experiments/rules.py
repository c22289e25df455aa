"""Rules for what a record may hold, and the error for one that breaks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sesn_lib.checks import is_number, shown

Rules = Mapping[str, Callable[[Any], bool]]
ORDINARY = (int, float)  # what JSON knows of numbers


class RecordError(ValueError):
    """A record that is damaged, incomplete, of another schema, or holds impossible values."""


def whole(low: int) -> Callable[[Any], bool]:
    """A whole number of at least `low`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], bool]:
    """A finite number from `low` to `high`."""

    def check_number(value: Any) -> bool:
        return isinstance(value, ORDINARY) and is_number(value) and low <= value <= high

    return check_number


def text(value: Any) -> bool:
    """Text that is not empty."""
    return isinstance(value, str) and value != ""


def is_a(kind: type) -> Callable[[Any], bool]:
    """A value of this type."""
    return lambda value: isinstance(value, kind)


FRACTION, PERCENT, SECONDS = number(0, 1), number(0, 100), number(0)


def check(part: Mapping[str, Any], rules: Rules, where: str = "") -> None:
    """Raises RecordError unless a part of a record has every key that the rules name, with a possible value."""
    for key, rule in rules.items():
        if key not in part:
            raise RecordError(f"{where}{key} is missing")
        if not rule(part[key]):
            raise RecordError(f"{where}{key} cannot be {short(part[key])}")


def short(value: Any) -> str:
    """A value as an error shows it."""
    return shown(value, 60)
