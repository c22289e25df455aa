"""The rivals, computed fast: the same functions of the same parameters, up to rounding.

What `sesn_lib.fast.engine` does for SESN networks serves here, too: convolutions in the spectral domain, the first
layer as matrix products over patches, and bias and ReLU after pooling. What a method resamples is a `Plan` for each of
its scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sesn_lib.basis.constants import Constant
from sesn_lib.fast.coverage import Builder
from sesn_lib.fast.engine import Engine, _FirstLayer
from sesn_lib.fast.precision import matmul
from sesn_lib.fast.resampled import Plan, ResampledConv, ResampledFirstLayer, ResampledFirstLayers
from sesn_lib.fast.spectral import SpectralConv, max_pool
from sesn_lib.models.mnist import INPUT_SIZE, MNISTNet
from sesn_lib.models.rivals import dss, kanazawa, sevf, ss, xu
from sesn_lib.models.rivals.resampling import corner_aligned, fit, half_pixel, nearest


class _Convolution:
    """What `Engine` asks of a convolution: functions, one tensor [N_b, t, t] a scale, and the weights on them."""

    def __init__(self, layer: nn.Module, functions: Sequence[Tensor] = ()) -> None:
        self.layer, self.functions = layer, list(functions)
        self.supports = tuple(f.shape[-1] for f in functions)

    def weights_of_layer(self) -> Tensor:
        return cast(Tensor, self.layer.weight)

    def weight(self, dtype: torch.dtype) -> Tensor:
        """[C', C, N_b]"""
        return self.weights_of_layer().flatten(2).to(dtype)

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        bias = cast("Tensor | None", getattr(self.layer, "bias", None))
        return None if bias is None else bias.to(dtype)[:, None]


class RivalEngine(Engine):
    """An engine with another kind of layer. Maps as in `Engine`."""

    kind: type[nn.Module] | tuple[type[nn.Module], ...]

    def convolution(self, layer: nn.Module) -> _Convolution:
        return _Convolution(layer)

    def _convolutions(self, layers: list[nn.Module]) -> list[Any]:
        return [self.convolution(m) for m in layers if isinstance(m, self.kind)]

    def _apart(self, maps: Tensor, block: int, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """`_block` of maps that do not mix before a maximum over them at the end, with weights for each."""
        out = [conv(x, weight) for conv, x, weight in zip(self.spectral[block - 1], maps, weights)]
        result = self._activate(torch.stack([max_pool([m], *self.windows[block - 1]) for m in out]), block, dtype)
        return result.amax(dim=0) if block == 2 else result


class ResampledEngine(RivalEngine):
    """An engine of layers that are resampled by `plans`."""

    def plans(self, size: int, block: int) -> list[Plan]:
        raise NotImplementedError

    def _first_layer(self, upsample: int) -> Any:
        return ResampledFirstLayers(
            [ResampledFirstLayer(plan, upsample) for plan in self.plans(INPUT_SIZE * upsample, 0)]
        )

    def _spectral(self, conv: Any, size: int, used: int) -> list[SpectralConv]:
        return [ResampledConv(plan, used) for plan in self.plans(size, self.convs.index(conv))]

    def _first_block(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        pooled = self.first.pooled(images, self.convs[0].weight(dtype)[:, 0], apart=self.keeps_scales)
        return self._activate(torch.stack(pooled), 0, dtype)


class _Steered(_Convolution):
    def weights_of_layer(self) -> Tensor:
        conv = cast(ss.ScaleSteerableConv, self.layer)
        both = torch.stack([conv.mult_real, conv.mult_imag])  # [2, 3, C', C, 9]
        return both.permute(2, 3, 0, 1, 4)


class SteerableEngine(RivalEngine):
    """SS-CNN: as a scalar SESN network, only with other functions."""

    kind = ss.ScaleSteerableConv

    def convolution(self, layer: nn.Module) -> _Convolution:
        conv = cast(ss.ScaleSteerableConv, layer)
        functions = [
            torch.stack(conv.functions(size, exact=True)).permute(0, 1, 4, 2, 3).flatten(0, 2) for size in conv.sizes
        ]
        return _Steered(conv, functions)


class _Dilated(_Convolution):
    def weights_of_layer(self) -> Tensor:
        return cast(dss.ScaleCorrelation, self.layer).weights


class ScaleSpaceEngine(ResampledEngine):
    """DSS. The blur is one more resampling."""

    kind = dss.ScaleCorrelation

    def convolution(self, layer: nn.Module) -> _Convolution:
        return _Dilated(layer)

    def plans(self, size: int, block: int) -> list[Plan]:
        same = np.eye(size)
        taps = dss.gaussian(dss.ZETA**2 * (dss.BASE**2 - 1))
        blur = sum(tap * np.eye(size, k=k - len(taps) // 2) for k, tap in enumerate(taps))
        blurred = block == 0 or not self.keeps_scales
        return [Plan(same, same), Plan(blur if blurred else same, same, dilation=dss.BASE)]

    def _block(self, maps: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        if not self.keeps_scales:
            return super()._block(maps, block, dtype)
        return self._apart(maps, block, [self.convs[block].weight(dtype)] * len(maps), dtype)


class ScaleInvariantEngine(ResampledEngine):
    """SI-ConvNet."""

    kind = kanazawa.ScaleInvariantConv

    def plans(self, size: int, block: int) -> list[Plan]:
        plans = []
        for scale in kanazawa.SCALES:
            if scale == 1:
                plans.append(Plan(np.eye(size), np.eye(size)))
                continue
            there, back = int(size * scale), int(size * (1 / scale))
            before = fit(there, size) @ corner_aligned(size, there)
            after = corner_aligned(size, back)
            if back >= size:
                plans.append(Plan(before, fit(back, size) @ after))
                continue
            margin = (size - back) // 2
            plans.append(Plan(before, after, margin=(margin, size - back - margin)))
        return plans


class LengthEngine(ResampledEngine):
    """SEVF, lengths alone."""

    kind: type[nn.Module] | tuple[type[nn.Module], ...] = sevf.LiftedMagnitude

    def plans(self, size: int, block: int) -> list[Plan]:
        sizes = [round(size * scale) for scale in sevf.SCALES]
        return [Plan(half_pixel(size, target), half_pixel(target, size)) for target in sizes]


def column_taps(scale: float) -> np.ndarray:
    """What SiCNN makes of the seven taps along an axis: [23, 7]."""
    frame = xu.FRAME
    inside = fit(xu.KERNEL_SIZE, frame)
    if scale == 1:
        return inside
    if scale > 1:
        enlarged = nearest(frame, scale)
        return fit(len(enlarged), frame) @ enlarged @ inside
    smaller = int(frame * scale)
    return fit(smaller, frame) @ corner_aligned(frame, smaller) @ inside


class _Columns(_Convolution):
    """A layer of SiCNN: `weights` are the kernels' pixels times what keeps the L1 norm, one tensor a column."""

    def __init__(self, layer: nn.Module) -> None:
        taps = [column_taps(scale) for scale in xu.SCALES]
        functions = []
        for rows in taps:
            reach = int(np.abs(np.flatnonzero(rows.any(axis=1)) - xu.FRAME // 2).max())
            inner = rows[xu.FRAME // 2 - reach : xu.FRAME // 2 + reach + 1]
            functions.append(torch.from_numpy(np.einsum("yu,xv->uvyx", inner, inner)).flatten(0, 1))
        super().__init__(layer, functions)
        # Equal rows, as of copied pixels, count in the norm so many times.
        unique = [np.unique(rows[rows.any(axis=1)], axis=0, return_counts=True) for rows in taps]
        self._rows = [(Constant(rows), Constant(counts)) for rows, counts in unique]

    def weights(self, dtype: torch.dtype) -> list[Tensor]:
        weight = self.weights_of_layer()
        norm = weight.abs().sum(dim=(2, 3))
        weights = []
        for rows, counts in self._rows:
            count, row = counts.like(weight), rows.like(weight)
            resized = (row @ weight @ row.t()).abs()
            kept = norm / (count @ resized @ count)
            weights.append((weight.flatten(2) * kept[..., None]).to(dtype))
        return weights


class _ColumnsFirst(_FirstLayer):
    """All columns see the same image, each with its own weights."""

    def __init__(self, conv: _Columns, upsample: int) -> None:
        super().__init__(cast(Any, conv), upsample)
        self.columns = conv

    def __call__(self, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
        maps = []
        pixels, tables = self._constants(images.device, dtype)
        patches = self._patches(images.to(dtype), pixels)
        for table, weight in zip(tables, self.columns.weights(dtype)):
            filters = matmul(weight[:, 0], table).view(len(weight), 4, -1).transpose(0, 1).flatten(0, 1)
            maps.append(matmul(filters, patches[: filters.shape[1]]).view(2, 2, len(weight), -1))
        return maps


class ColumnsEngine(RivalEngine):
    """SiCNN. Maps are [7, H, W, C, B]."""

    kind = xu.ColumnConv

    def __init__(self, model: MNISTNet, **options: Any) -> None:
        super().__init__(model, **options)
        self.keeps_scales = True

    def convolution(self, layer: nn.Module) -> _Convolution:
        return _Columns(layer)

    def _first_layer(self, upsample: int) -> Any:
        return _ColumnsFirst(self.convs[0], upsample)

    def _block(self, maps: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        return self._apart(maps, block, self.convs[block].weights(dtype), dtype)

    def _normalise(self, x: Tensor, block: int) -> Tensor:
        """Each column has its own statistics: theirs are channels."""
        columns = x.movedim(0, 2)  # [H, W, 7, C, B]
        shape = columns.shape
        return super()._normalise(columns.flatten(2, 3), block).view(shape).movedim(2, 0)


def _wide(x: Tensor) -> Tensor:
    """At least in float32, as statistics need it."""
    return x.float() if x.element_size() < 4 else x


class VectorEngine(LengthEngine):
    """SEVF. Fields are [H, W, 2 C, B], all u before all v."""

    kind = (sevf.VectorLift, sevf.VectorConv)

    def __init__(self, model: MNISTNet, **options: Any) -> None:
        super().__init__(model, **options)
        self.vector_norms = [m for m in model.blocks if isinstance(m, sevf.VectorBatchNorm)]
        self.directions = next(m.directions for m in model.blocks if isinstance(m, sevf.VectorLift))

    def _first_block(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        pooled = self.first.pooled(images, self.convs[0].weight(dtype)[:, 0], apart=True)
        return self._field(torch.stack(pooled), 0)

    def _block(self, maps: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        layer = cast(sevf.VectorConv, self.convs[block].layer)
        a, b = (weight.flatten(2) for weight in (layer.weight_u, layer.weight_v))
        out = []
        for conv, angle in zip(self.spectral[block - 1], sevf.ANGLES):
            cos, sin = math.cos(angle), math.sin(angle)
            weight = torch.cat([a * cos + b * sin, b * cos - a * sin], dim=1).to(dtype)
            out.append(max_pool([conv(maps, weight)], *self.windows[block - 1]))
        pooled = torch.stack(out)
        return torch.relu(pooled.amax(dim=0)) if block == 2 else self._field(pooled, block)

    def _field(self, pooled: Tensor, block: int) -> Tensor:
        """The longest vector over scales and the window is that of the largest answer: [8, H, W, C, B] -> field."""
        largest, which = pooled.max(dim=0)
        lengths, norm = torch.relu(largest), self.vector_norms[block]
        deviation = norm.deviation(_wide(lengths) if norm.training else None, axis=2)
        lengths = lengths / deviation.to(lengths.dtype)[:, None]
        cos, sin = self.directions.like(pooled)[which].unbind(dim=-1)
        return torch.cat([lengths * cos, lengths * sin], dim=2)


FAMILIES: tuple[tuple[type[Engine], Builder], ...] = (
    (SteerableEngine, ss.blocks),
    (ScaleInvariantEngine, kanazawa.blocks),
    (LengthEngine, sevf.scalar_blocks),
    (VectorEngine, sevf.vector_blocks),
    (ColumnsEngine, xu.blocks),
    (ScaleSpaceEngine, dss.scalar_blocks),
    (ScaleSpaceEngine, dss.vector_blocks),
)
