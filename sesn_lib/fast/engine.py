"""The MNIST-scale networks, computed fast: the same function of the same parameters, up to rounding.

Three changes against running the modules one by one:

- The second and third convolution are done in the spectral domain (`sesn_lib.fast.spectral`), scale by scale with its
  own support.
- The first one sees a single channel, which convolution primitives handle badly. It becomes one matrix product per
  scale over image patches, with the four pixels of each pooling window as four sets of output channels: pooling is then
  a maximum over them, and the large map before it is written once. Nearest-neighbour upsampling is folded into these
  filters: the 56-pixel networks never make their 56-pixel input.
- Bias and ReLU commute with every maximum, so they act on the pooled maps, a quarter of the size.

`sesn bench` measures what it gains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.fast.coverage import facts
from sesn_lib.fast.norms import batch_norm
from sesn_lib.fast.precision import matmul
from sesn_lib.fast.spectral import SpectralConv, max_pool
from sesn_lib.layers import _SteerableConv
from sesn_lib.models.mnist import INPUT_SIZE, MNISTNet, last_window


class _Convolution:
    """A steerable or plain convolution: its basis functions per scale, its weights [C', C, N_b]."""

    def __init__(self, layer: _SteerableConv | nn.Conv2d, wide: bool) -> None:
        self.layer = layer
        if isinstance(layer, nn.Conv2d):
            # A plain filter is a sum over single pixels, and there is one scale.
            size = layer.kernel_size[0]
            self.functions = [torch.eye(size**2, dtype=torch.float64).view(-1, size, size)]
            self.supports: tuple[int, ...] = (size,)
        else:
            basis = layer.basis
            margins = [(basis.size - t) // 2 for t in basis.supports]
            self.supports = basis.supports
            # As the layer has them: rounded to float32, unless it computes in more.
            exact = basis.constant.exact
            functions = exact if wide else exact.float().double()
            self.functions = [
                functions[:, i, m : m + t, m : m + t] for i, (m, t) in enumerate(zip(margins, basis.supports))
            ]

    def weight(self, dtype: torch.dtype) -> Tensor:
        weight = self.layer.weight
        return weight.reshape(weight.shape[0], weight.shape[1], -1).to(dtype)

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        return None if self.layer.bias is None else self.layer.bias.to(dtype)[:, None]


class _FirstLayer:
    """Convolution of a one-channel image, up to 2x2 pooling: [B, 1, 28, 28] -> per scale [2, 2, C', H H B]."""

    def __init__(self, conv: _Convolution, upsample: int) -> None:
        self.conv = conv
        self.stride = 2 // upsample  # pixels of the input from one pooling window to the next
        self.outputs = INPUT_SIZE // self.stride
        # Pixel of the input seen by tap u of the window's pixel a, relative to the window's first pixel.
        reach = [[(a + u) // upsample for u in range(-(t // 2), t // 2 + 1)] for t in conv.supports for a in (0, 1)]
        self.low, self.high = min(map(min, reach)), max(map(max, reach))
        taps = self.high - self.low + 1
        # Taps in order of distance from the middle of the patch: a smaller filter then uses the first rows of the
        # patches.
        centre = self.high + self.low
        ring = torch.tensor([abs(2 * v - centre) for v in range(self.low, self.high + 1)])
        self.order = torch.maximum(ring[:, None], ring[None, :]).flatten().argsort(stable=True)
        self.tables = [self._table(i, reach[2 * i : 2 * i + 2], taps) for i in range(len(conv.supports))]
        # The pixel of the padded image that each tap sees in each window.
        self.after = (self.outputs - 1) * self.stride + self.high - (INPUT_SIZE - 1)
        width = INPUT_SIZE - self.low + self.after
        down, across = (self.order // taps).view(-1, 1, 1), (self.order % taps).view(-1, 1, 1)
        first = torch.arange(self.outputs) * self.stride
        self.pixels = ((down + first[:, None]) * width + across + first).flatten()
        self._cache: dict[tuple[torch.device, torch.dtype], tuple[Tensor, list[Tensor]]] = {}

    def _table(self, scale: int, reach: list[list[int]], taps: int) -> Tensor:
        """[N_b, 4 * used taps]: the basis functions as filters on patches, for each of a window's four pixels."""
        functions = self.conv.functions[scale]
        place = functions.new_zeros(2, functions.shape[-1], taps)
        for a in (0, 1):
            for u, v in enumerate(reach[a]):
                place[a, u, v - self.low] = 1
        # Taps of the upsampled image that see the same input pixel are summed.
        filters = torch.einsum("nuv,auy,bvx->nabyx", functions, place, place).flatten(3).flatten(1, 2)[..., self.order]
        used = int(filters.abs().amax(dim=(0, 1)).nonzero().max()) + 1
        return filters[..., :used].flatten(1)

    def _constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        if (device, dtype) not in self._cache:
            with torch.inference_mode(False):
                tables = [table.to(device, dtype) for table in self.tables]
                self._cache[device, dtype] = self.pixels.to(device), tables
        return self._cache[device, dtype]

    def _patches(self, images: Tensor, pixels: Tensor) -> Tensor:
        """[taps, H H B]: for each pooling window of each image, the input pixels that its outputs see."""
        padded = F.pad(images[:, 0], [-self.low, self.after, -self.low, self.after])
        rows = padded.permute(1, 2, 0).flatten(0, 1).contiguous()  # [pixels, B]: only whole rows are moved
        return rows.index_select(0, pixels).view(self.order.numel(), -1)

    def __call__(self, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
        pixels, tables = self._constants(images.device, dtype)
        patches = self._patches(images.to(dtype), pixels)
        weight = self.conv.weight(dtype).flatten(0, 1)  # [C', N_b]
        channels = weight.shape[0]
        maps = []
        for table in tables:
            filters = matmul(weight, table).view(channels, 4, -1).transpose(0, 1).flatten(0, 1)  # [4 C', taps]
            maps.append(matmul(filters, patches[: filters.shape[1]]).view(2, 2, channels, -1))
        return maps


class Engine:
    """Computes an `MNISTNet` fast; see the module's text. Maps are [H, W, C, B], with scales [S, H, W, C, B].

    Arguments:
        model: one that is covered (`sesn_lib.fast.coverage.find`).
        wide: whether it computes in float64.
        again: makes a new engine of the network if it is no longer what it was, and sets it.
    """

    def __init__(self, model: MNISTNet, *, wide: bool, again: Callable[[MNISTNet, bool], Engine]) -> None:
        self.wide, self.facts, self._again = wide, facts(model), again
        layers = list(model.blocks)
        self.norms = [m for m in layers if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
        upsample = 2 if isinstance(model.upsample, nn.Upsample) else 1
        self.convs = self._convolutions(layers)
        self.first = self._first_layer(upsample)
        # Vector networks keep the scale axis up to the last block, scalar ones and the baseline never have it.
        self.keeps_scales = any(isinstance(m, nn.BatchNorm3d) for m in layers)
        self.windows = [(2, 0), last_window(upsample)]
        size = self.first.outputs
        self.spectral: list[list[SpectralConv]] = []
        for conv, (kernel, padding) in zip(self.convs[1:], self.windows):
            outputs = (size + 2 * padding) // kernel
            used = min(size, outputs * kernel - padding)  # rows beyond the last full window are never looked at
            self.spectral.append(self._spectral(conv, size, used))
            size = outputs

    def _convolutions(self, layers: list[nn.Module]) -> list[Any]:
        return [_Convolution(m, self.wide) for m in layers if isinstance(m, _SteerableConv | nn.Conv2d)]

    def _first_layer(self, upsample: int) -> Any:
        return _FirstLayer(self.convs[0], upsample)

    def _spectral(self, conv: Any, size: int, used: int) -> list[SpectralConv]:
        """One a scale, for maps of size x size pixels, of whose result `used` rows and columns are looked at."""
        return [SpectralConv(f, size, used) for f in conv.functions]

    def __call__(self, model: MNISTNet, images: Tensor) -> Tensor:
        kind, wide = images.device.type, images.dtype is torch.float64
        if wide != self.wide or self.facts != facts(model):
            return self._again(model, wide)(model, images)
        # Autocast leaves float64 as it is.
        lowered = torch.is_autocast_enabled(kind) and images.is_floating_point() and not wide
        self._check_types(images.dtype, lowered)
        dtype = torch.get_autocast_dtype(kind) if lowered else images.dtype
        with torch.autocast(kind, enabled=False):
            maps = self._first_block(images, dtype)
            for block in (1, 2):
                maps = self._block(maps, block, dtype)
            features = maps.flatten(0, 1).permute(2, 1, 0).flatten(1)  # [B, C * 4], as flattening [B, C, 2, 2] gives
        return model.classifier(features.to(images.dtype))

    def _check_types(self, dtype: torch.dtype, lowered: bool) -> None:
        """Raises TypeError where the layers would."""
        for conv in self.convs:
            for weight in conv.layer.parameters(recurse=False):
                if weight.dtype != dtype and not (lowered and weight.dtype is not torch.float64):
                    name = type(conv.layer).__name__
                    raise TypeError(f"input is {dtype}: {name} has weights of {weight.dtype}, convert one of them")

    def _first_block(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        maps = self.first(images, dtype)
        side, batch = self.first.outputs, images.shape[0]
        groups = [[m] for m in maps] if self.keeps_scales else [maps]
        pooled = torch.stack([max_pool(group, 2) for group in groups])
        pooled = pooled.view(len(pooled), -1, side, side, batch).permute(0, 2, 3, 1, 4)
        return self._activate(pooled, 0, dtype)

    def _block(self, maps: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        """Convolution, pooling, bias, ReLU, normalisation: [S or 1, H, W, C, B] -> [S or 1, H', W', C', B]."""
        kernel, padding = self.windows[block - 1]
        weight = self.convs[block].weight(dtype)
        spectral = self.spectral[block - 1]
        # One input map a scale, or the same one for all.
        out = [conv(maps[min(i, len(maps) - 1)], weight) for i, conv in enumerate(spectral)]
        groups = [[m] for m in out] if self.keeps_scales and block == 1 else [out]
        pooled = torch.stack([max_pool(group, kernel, padding) for group in groups])
        result = self._activate(pooled, block, dtype)
        return result[0] if block == 2 else result

    def _activate(self, pooled: Tensor, block: int, dtype: torch.dtype) -> Tensor:
        bias = self.convs[block].bias(dtype)
        x = torch.relu(pooled if bias is None else pooled + bias)
        return self._normalise(x, block) if block < len(self.norms) else x

    def _normalise(self, x: Tensor, block: int) -> Tensor:
        flat = x.reshape(-1, *x.shape[-2:])  # [positions and scales, C, B]: statistics over all but C
        return batch_norm(flat, self.norms[block]).view(x.shape)
