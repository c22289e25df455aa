"""The parts of torch's synchronised batch normalisation, which torch has for GPUs alone, in plain words for a CPU.

After `torch.nn.modules._functions.SyncBatchNorm` and what the kernels of torch 2.11 do (ATen/native/cuda/
Normalization.cuh); the statistics of bf16 maps are in float32.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

OVER = (0, 2)


def along(values: Tensor) -> Tensor:
    """[C] to be applied to [N, C, B]."""
    return values[:, None]


def wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return wide(x).mean(OVER), (wide(x).var(OVER, correction=0) + eps).rsqrt()


def gather(
    x: Tensor,
    means: Tensor,
    invstds: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    assert running_mean is not None
    assert running_var is not None
    assert counts.dtype == running_mean.dtype  # or the kernel would refuse them
    mean, squares, n = torch.zeros_like(means[0]), torch.zeros_like(means[0]), counts.new_zeros(())
    for count, m, invstd in zip(counts, means, invstds, strict=True):
        total = n + count
        squares = squares + (invstd**-2 - eps) * count + (mean - m) ** 2 * n * count / total
        mean, n = (n * mean + count * m) / total, total
    running_mean.copy_((1 - momentum) * running_mean + momentum * mean)
    running_var.copy_((1 - momentum) * running_var + momentum * squares / (n - 1))
    return mean, (squares / n + eps).rsqrt()


def elemt(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor, eps: float) -> Tensor:
    y = (wide(x) - along(mean)) * along(invstd)
    y = y if weight is None else y * along(weight)
    return (y if bias is None else y + along(bias)).to(x.dtype)


def backward_reduce(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    x_g: bool,
    weight_g: bool,
    bias_g: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert (x_g, weight_g, bias_g) == (True, False, False)
    nothing = mean.new_zeros(0)
    return wide(grad).sum(OVER), (wide(grad) * (wide(x) - along(mean))).sum(OVER), nothing, nothing.clone()


def backward_elemt(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    sum_dy: Tensor,
    sum_dy_xmu: Tensor,
    count: Tensor,
) -> Tensor:
    assert count.dtype == torch.int32  # the kernel reads it as such
    n = count.sum()
    slope = along(invstd**2 * sum_dy_xmu / n)
    centred = wide(grad) - along(sum_dy / n) - (wide(x) - along(mean)) * slope
    return (centred * along(invstd if weight is None else invstd * weight)).to(x.dtype)


PARTS = {
    "batch_norm_stats": stats,
    "batch_norm_gather_stats_with_counts": gather,
    "batch_norm_elemt": elemt,
    "batch_norm_backward_reduce": backward_reduce,
    "batch_norm_backward_elemt": backward_elemt,
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `torch` have them on every device, tensors without values among them."""
    for name, part in PARTS.items():
        monkeypatch.setattr(torch, name, part)
