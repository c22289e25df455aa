"""What the command line is given, turned into values; ValueError with one clear line where that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_prep.files import usable_cores
from sesn_lib import paths
from sesn_lib.experiments.base import Experiment
from sesn_lib.experiments.settings import RunOptions

LONGEST = 1000


def words(values: Iterable[str] | None) -> list[str] | None:
    """`["a,b", "c"]` as `["a", "b", "c"]`; None stays None."""
    if values is None:
        return None
    return [word for value in values for part in value.split(",") if (word := part.strip())]


def numbers(values: Iterable[str] | None) -> list[float] | None:
    """Likewise, as numbers.

    Raises:
        ValueError: a word that is no number.
    """
    listed = words(values)
    try:
        return None if listed is None else [float(word) for word in listed]
    except ValueError as error:
        raise ValueError(f"{str(error).rpartition(': ')[2]} is no number") from None


def whole_numbers(values: Iterable[str] | None) -> list[int] | None:
    """Likewise, as whole numbers; `0-3` is a range.

    Raises:
        ValueError: a word that is neither a whole number nor a range; an empty range, or one that is too long.
    """
    listed = words(values)
    if listed is None:
        return None
    whole: list[int] = []
    for word in listed:
        first, dash, last = word.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(f"{word!r} is neither a whole number nor a range such as 0-3") from None
        if low > high:
            raise ValueError(f"the range {word!r} is empty; write it from the lower to the higher number")
        if high - low >= LONGEST:
            raise ValueError(f"the range {word!r} is longer than {LONGEST} numbers")
        whole += range(low, high + 1)
    return whole


def share_threads(threads: int | None, jobs: int, device: str, *, alone: bool) -> int | None:
    """Threads for each of several processes on one CPU; what the user named comes first."""
    if threads is not None or jobs == 1 or alone or device.startswith("cuda"):
        return threads
    return max(1, usable_cores() // jobs)


def refused_value(error: Any, args: list[str] | None) -> str:
    """The value that a refused option was given, which not every version of typer names."""
    words = sys.argv[1:] if args is None else args
    for option in getattr(getattr(error, "param", None), "opts", []):
        for word, following in zip(words, [*words[1:], ""]):
            value = following if word == option else word.partition("=")[2] if word.startswith(option + "=") else ""
            if value and value not in error.format_message():
                return f": {value!r}"
    return ""


def folders(experiment: Experiment, results: Path | None, options: RunOptions) -> tuple[Path, Path]:
    """Where records and checkpoints are: those of another than the first experiment by default in a folder of it."""
    beside = paths.results(shortened=options.shortened) if results is None else results
    folder = beside / experiment.folder if results is None else results
    return folder, Path(options.checkpoints) if options.checkpoints else paths.checkpoints(beside)
