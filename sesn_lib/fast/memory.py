"""A CPU's memory, kept from one training step to the next.

A step takes and frees the same large tensors as the one before. The C library gives freed ones back to the system and
asks for them again, and the system clears every page of 4 KiB anew: up to a quarter of a step of the fast path.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Large tensors on pages of 2 MiB, where Linux has them. Torch looks at this once, at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
# What glibc comes to by itself once large pieces have been freed (mallopt(3)).
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}


@contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory stays with the process; at the end what is unused goes back to the system.

    Does nothing where the C library is not glibc (macOS, Windows, musl). Not for two threads at once.
    """
    set_option = _glibc("mallopt")
    if set_option is None:
        yield
        return
    set_option(MMAP_MAX, 0)  # no piece of memory is one of the system's own, which freeing would end
    set_option(TRIM_THRESHOLD, -1)  # and the heap is never cut
    try:
        yield
    finally:
        for option, value in USUAL.items():
            set_option(option, value)
        give_back()


def give_back() -> None:
    """Returns to the system what the process has freed but kept, where the C library is glibc."""
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


def _glibc(name: str) -> Callable[..., Any] | None:
    """A function of glibc; None where there is another C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
