"""Memory that training keeps: no fresh pages in each step, all of it back at the end."""

from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sesn_lib.fast import memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory"
)

# A process of its own: what an allocator does depends on what it did before. Ordinary pages, so that a fault is 4 KiB.
SCRIPT = """
import os, resource
os.environ["THP_MEM_ALLOC_ENABLE"] = "0"
import torch
from sesn_lib.fast import memory

def faults(times=5):
    counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(times):
        torch.ones(16 << 20)  # 64 MiB
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    # the least: a machine that is short of memory takes pages away between two
    return min(after - before for before, after in zip(counts, counts[1:]))

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

control, before = faults(), resident()
with memory.kept():
    faults(10)  # the first few small rests are kept apart, and the freed block beside them is too short
    inside, held = faults(), resident() - before
print(control, inside, held, resident() - before)
"""


@pytest.mark.slow
def test_memory_is_kept_inside_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    control, inside, held, after = map(float, done.stdout.split())
    assert control > 30  # 64 MiB are 16,384 pages, or 32 where Linux makes all of them large
    assert inside < control / 10
    assert held > 60  # MiB
    assert after < 20


def test_an_error_inside_passes_and_the_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    names = ("mallopt", "malloc_trim")
    library = SimpleNamespace(**{name: lambda *values, name=name: calls.append((name, *values)) for name in names})
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    with pytest.raises(KeyError), memory.kept():
        raise KeyError
    assert calls[:2] == [("mallopt", memory.MMAP_MAX, 0), ("mallopt", memory.TRIM_THRESHOLD, -1)]
    assert calls[-1] == ("malloc_trim", 0)
    assert {option: value for name, option, value in (c for c in calls[2:] if len(c) == 3)} == memory.USUAL
    assert memory.USUAL[memory.MMAP_MAX] == 65536, "as mallopt(3) has it: large pieces are the system's own again"
    assert memory.USUAL[memory.MMAP_THRESHOLD] == 4 * 1024 * 1024 * 8, "DEFAULT_MMAP_THRESHOLD_MAX of 64 bits"
    assert memory.USUAL[memory.TRIM_THRESHOLD] == 2 * memory.USUAL[memory.MMAP_THRESHOLD], "twice that, likewise"


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: asked.append("the C library") or SimpleNamespace())
    with memory.kept():  # another C library: without glibc's functions
        memory.give_back()
    assert asked == ["the C library"] * 2, "the control: it was asked for them"
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.kept():
        memory.give_back()
    assert len(asked) == 2
