"""Time, memory and arithmetic of a device, measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from sesn_lib.fast import memory

Work = tuple[Callable[[], Any], int]  # and the floating-point operations in it
PEAK_SECONDS = 0.03  # of one piece of work: long enough for all cores to be at it
LARGEST = {"cpu": 3, "cuda": 5}  # doublings of 256 x 256: enough for the fastest, and no more memory than that


def wait(device: torch.device) -> None:
    """Returns when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device, times: int = 9) -> list[float]:
    """Seconds that each of `times` calls takes, after a first one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def matrix_peak(device: torch.device, precision: str) -> float:
    """Floating-point operations a second, "float32" or "bf16", in the faster of two large pieces of work.

    A product of two square matrices, and a 3x3 convolution of 128 channels without padding, channels last: on some
    processors a library's convolutions are faster than another one's products. Each grows until it takes
    `PEAK_SECONDS`, so that a slow device does not work at it for minutes.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.inference_mode():
        return max(rate(work, device, dtype) for work in (product, convolution))


def rate(work: Callable[[int, torch.device, torch.dtype], Work], device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the smallest piece of work that takes `PEAK_SECONDS`, or of the largest."""
    for doublings in range(LARGEST[device.type] + 1):
        once, operations = work(doublings, device, dtype)
        if min(seconds_of(once, device, 1)) >= PEAK_SECONDS:
            break
    return operations / min(seconds_of(once, device, 5))


def product(doublings: int, device: torch.device, dtype: torch.dtype) -> Work:
    size = 256 * 2**doublings
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b, 2 * size**3


def convolution(doublings: int, device: torch.device, dtype: torch.dtype) -> Work:
    batch, channels, taps, side = min(8**doublings, 512), 128, 3, 28  # eightfold, as the product grows
    images = torch.randn(batch, channels, side + taps - 1, side + taps - 1, device=device).to(dtype)
    kernels = torch.randn(channels, channels, taps, taps, device=device).to(dtype)
    images, kernels = (x.contiguous(memory_format=torch.channels_last) for x in (images, kernels))
    return lambda: F.conv2d(images, kernels), 2 * batch * (channels * side * taps) ** 2


def forget_peak_memory(device: torch.device) -> int:
    """Lets `peak_memory` start anew. Returns the bytes that torch has on a GPU already, 0 on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    memory.give_back()  # or what was freed before would count
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the process's peak
    return 0


def peak_memory(device: torch.device) -> int | None:
    """Bytes: the most that torch had on a GPU; on a CPU the most that the process had, None where Linux is not."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)
