"""What a console cannot show is shown plainer, never as an error of a codec."""

from __future__ import annotations

import codecs
import io
import os
import unicodedata
from contextlib import suppress
from typing import Any

PLAIN = {
    **{"●": "#", "○": "o", "▶": ">", "◐": "c", "✗": "X", "·": "."},  # states of a cell
    **{"±": "+-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "→": "->", "↔": "<->", "≤": "<=", "≥": ">="},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "µ": "u", "σ": "sigma", "━": "-", "─": "-", "│": "|", "█": "#"},
}


STANDARD = ("strict", "surrogateescape", "backslashreplace")  # Python's own ways: the second where the locale is C


def make_safe(*streams: Any) -> None:
    """From now on each stream writes what its encoding lacks in other signs, and no width is none of zero columns."""
    if os.environ.get("COLUMNS", "").strip() == "0":  # as containers and editors set it; rich would print nothing
        del os.environ["COLUMNS"]
    for stream in streams:
        # Standard error never raises, but it would show escapes such as \\u25cf.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in STANDARD:
            with suppress(OSError):  # a file put in its place, which cannot tell where it is: it stays as it was
                stream.reconfigure(errors="sesn-plain")


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_sign, error.object[error.start : error.end])), error.end


def _sign(sign: str) -> str:
    """What stands for a sign; of a letter with an accent the letter."""
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return PLAIN.get(sign) or bare or "?"


codecs.register_error("sesn-plain", _plainer)
