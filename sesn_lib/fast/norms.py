"""Batch normalisation of maps [positions, C, B], with all of a GPU at work.

Torch gives a channel to one block of threads: of the 132 multiprocessors of an H100 the 32 channels of a first layer
keep 32 busy. Its synchronised batch normalisation, made for several devices (`torch.nn.SyncBatchNorm`), comes in parts:
statistics and sums on each device, their union, and one pass over the map. Here groups of positions stand in for the
devices, so that there are as many blocks as channels times groups; what is read and written stays the same.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

# Blocks of 512 threads that the largest GPUs have at work at once: 4 on each of about 130 multiprocessors.
BLOCKS = 512
# Positions of a group at the least: as many as a block of 512 threads reads in two steps, for batches of 128.
POSITIONS = 8


def batch_norm(x: Tensor, norm: Norm) -> Tensor:
    """What the module `norm` does to the channels of x, [positions, C, B], running means included, up to rounding.

    In training with a momentum, on a GPU, by groups of positions; else by torch's function.

    Raises:
        ValueError: a module that averages over all batches (momentum None), which no step as a graph could do.
    """
    if norm.momentum is None:
        raise ValueError("momentum is None: batch normalisation must have a momentum here, such as 0.1")
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    mean, var = norm.running_mean, norm.running_var
    own = norm.training or (mean is None and var is None)
    if norm.training and not norm.track_running_stats:
        mean = var = None
    by_groups = x.device.type == "cuda" and own and mean is not None
    groups = groups_of(*x.shape[:2]) if by_groups else 1
    if groups > 1:
        return batch_norm_in_groups(x, norm, groups)
    return F.batch_norm(x, mean, var, norm.weight, norm.bias, own, norm.momentum, norm.eps)


def groups_of(positions: int, channels: int) -> int:
    """How many groups of equally many positions: the fewest that fill a GPU, or as many as leave none too small."""
    allowed = [k for k in range(1, positions // POSITIONS + 1) if positions % k == 0] or [1]
    return next((k for k in allowed if k * channels >= BLOCKS), allowed[-1])


def batch_norm_in_groups(x: Tensor, norm: Norm, groups: int) -> Tensor:
    """Training's `batch_norm` on a GPU. Does not wait for the device, so that a graph can hold it."""
    result: Tensor = _GroupedBatchNorm.apply(
        x.contiguous(), norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps, groups
    )
    return result


def _grouped(x: Tensor, groups: int) -> Tensor:
    """[positions, C, B] -> [positions / groups, groups * C, B]: neighbouring positions are in different groups."""
    return x.view(len(x) // groups, groups * x.shape[1], x.shape[2])


class _GroupedBatchNorm(torch.autograd.Function):
    """With xhat = (x - mean) invstd and n = positions B, for each channel,

        y = w xhat + b,   dx = w invstd (dy - sum dy / n - xhat sum(dy xhat) / n),   dw = sum(dy xhat),   db = sum dy

    (Ioffe and Szegedy, "Batch Normalization", ICML 2015). Means and variances are in float32 where x is in bf16, and
    never a difference of large sums: within a group after Welford, the union of groups after Chan, Golub and LeVeque.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        groups: int,
    ) -> Tensor:
        means, invstds = torch.batch_norm_stats(_grouped(x, groups), eps)
        channels = x.shape[1]
        counts = running_mean.new_full((groups,), x.numel() / channels / groups)
        mean, invstd = torch.batch_norm_gather_stats_with_counts(
            x,
            means.view(groups, channels),
            invstds.view(groups, channels),
            running_mean,
            running_var,
            momentum,
            eps,
            counts,
        )
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.groups = groups
        return torch.batch_norm_elemt(x, weight, bias, mean, invstd, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
        x, weight, mean, invstd = ctx.saved_tensors
        groups, channels = ctx.groups, x.shape[1]
        grad = grad.contiguous()
        # Of the groups only the sums of dy and dy (x - mean) are asked for, with the mean of all.
        sums = torch.batch_norm_backward_reduce(
            _grouped(grad, groups),
            _grouped(x, groups),
            mean.repeat(groups),
            invstd.repeat(groups),
            None,
            True,
            False,
            False,
        )
        sum_dy, sum_dy_xmu = (part.view(groups, channels).sum(0) for part in sums[:2])
        count = torch.full((1,), x.numel() // channels, dtype=torch.int32, device=x.device)
        grad_x = torch.batch_norm_backward_elemt(grad, x, mean, invstd, weight, sum_dy, sum_dy_xmu, count)
        grad_weight = sum_dy_xmu * invstd if ctx.needs_input_grad[1] else None
        grad_bias = sum_dy if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None, None, None, None, None
