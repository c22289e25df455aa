"""What this machine computes with, asked without torch, which takes seconds to import."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The processor's model, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"
