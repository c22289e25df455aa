"""Which precision a device computes well in; the one place that knows."""

from __future__ import annotations

import os
import platform
from functools import cache

import torch
from torch import Tensor

from sesn_lib.checks import PRECISION_CHOICES, PRECISIONS, check_choice

# Instruction sets that oneDNN can be held to by ONEDNN_MAX_CPU_ISA and that have no products of bf16.
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve(precision: str, device: torch.device | str) -> str:
    """ "float32" or "bf16": what is named, and for "auto" bf16 where the device has units for it, float32 elsewhere.

    Raises:
        ValueError: neither of the three.
    """
    check_choice(PRECISION_CHOICES, precision=precision)
    if precision != "auto":
        return precision
    return precisions_on(device)[-1]


def precisions_on(device: torch.device | str) -> tuple[str, ...]:
    """The precisions that the device has units for."""
    return PRECISIONS if has_bf16_units(device) else PRECISIONS[:1]


def slow(precision: str, device: torch.device | str) -> str | None:
    """One line for who asks for a precision that the device is slow in; None where it is not."""
    if resolve(precision, device) == PRECISIONS[0] or has_bf16_units(device):
        return None
    return f"{precision} will be slow: torch has no units for it here; precision auto takes {PRECISIONS[0]}"


def has_bf16_units(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 in hardware: a GPU from compute capability 8 on; a processor with avx512_bf16
    or amx_bf16, unless torch or oneDNN is held to less by ATEN_CPU_CAPABILITY or ONEDNN_MAX_CPU_ISA.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _cpu_has_bf16_units()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` for factors of one dtype.

    bf16 without units goes by way of float32, as units do it: the products of two bf16 numbers are exact there, and the
    sum is rounded once. torch's own way takes several times as long.
    """
    if a.dtype is torch.bfloat16 and not has_bf16_units(a.device):
        return torch.matmul(a.float(), b.float()).to(torch.bfloat16)
    return torch.matmul(a, b)


@cache
def _cpu_has_bf16_units() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    held_to = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return (
        # AMX for bf16 came with AMX's tiles, on processors that all have avx512_bf16 as well.
        torch.cpu._is_avx512_bf16_supported()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and held_to not in WITHOUT_BF16
    )
