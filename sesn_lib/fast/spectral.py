"""Convolution with fixed basis functions as matrix products over spatial frequencies.

By the convolution theorem a convolution is a product at each frequency k,

    y^(k)[o, b] = sum_c kappa^(k)[o, c] x^(k)[c, b],   kappa^(k)[o, c] = sum_n w[o, c, n] psi^_n(k),

where the transforms psi^_n of the basis are constants. With wide filters on small maps this takes far
fewer multiplications than the sum over taps, and every step is a dense matrix product, which any processor does well:
the discrete Fourier transforms themselves are small constant matrices, and complex numbers are pairs of real ones.

Maps are laid out [H, W, C, B], space first and the batch innermost, so that no step has to reorder anything but the
filters.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sesn_lib.fast.precision import matmul

# Above this map width two passes, along rows and along columns, beat one product with the full two-dimensional
# transform.
DENSE_UP_TO = 10


class SpectralConv:
    """`y[i, j, o, b] = sum_{c, u, v, n} w[o, c, n] psi_n[u, v] x[i + u, j + v, c, b]`, zero outside of the map.

    Equal to a convolution with padding t // 2, up to rounding.

    Arguments:
        functions: psi, [N_b, t, t] with odd t; kept in float64.
        size: H = W of the input map.
        outputs: only the first `outputs` rows and columns of the result are computed; all by default.
    """

    def __init__(self, functions: Tensor, size: int, outputs: int | None = None) -> None:
        self.size, self.outputs = size, size if outputs is None else outputs
        psi = functions.detach().cpu().double().numpy()
        half = psi.shape[-1] // 2
        # Offsets that reach from some output to some input; the rest of a filter wider than the map only meets zeros.
        self._offsets = np.arange(-min(half, self.outputs - 1), min(half, size - 1) + 1)
        inner = slice(half + self._offsets[0], half + self._offsets[-1] + 1)
        # Smallest period for which the circular convolution does not wrap around.
        self.period = max(size - self._offsets[0], self.outputs + self._offsets[-1])
        self.separable = size > DENSE_UP_TO
        frequencies = self._separable_grid() if self.separable else self._dense_grid()
        self.bins = len(frequencies)
        self._tables = {"filters": self._filters(psi[:, inner, inner], frequencies)}
        self._tables |= self._separable_tables() if self.separable else self._dense_tables(frequencies)
        self._cache: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [H, W, C, B], weight [C', C, N_b] of the same dtype -> [outputs, outputs, C', B]."""
        tables = self._constants(x.device, x.dtype)
        channels, batch = x.shape[2:]
        out_channels = weight.shape[0]
        spectrum = self._forward(x, tables).view(self.bins, 2 * channels, batch)
        # [bin, part of y, part of x, C', C] -> one real matrix per bin, [[Re, -Im], [Im, Re]]
        kernel = matmul(tables["filters"], weight.flatten(0, 1).t()).view(self.bins, 2, 2, out_channels, channels)
        matrix = kernel.transpose(2, 3).reshape(self.bins, 2 * out_channels, 2 * channels)
        product = matmul(matrix, spectrum)
        return self._inverse(product, tables, out_channels, batch)

    def _forward(self, x: Tensor, tables: dict[str, Tensor]) -> Tensor:
        if not self.separable:
            return matmul(tables["forward"], x.reshape(self.size**2, -1))
        rows = matmul(tables["forward_rows"], x.reshape(self.size, -1)).view(self.period // 2 + 1, 2 * self.size, -1)
        return matmul(tables["forward_columns"], rows)

    def _inverse(self, product: Tensor, tables: dict[str, Tensor], channels: int, batch: int) -> Tensor:
        if not self.separable:
            flat = matmul(tables["inverse"], product.view(2 * self.bins, channels * batch))
        else:
            half = self.period // 2 + 1
            columns = matmul(tables["inverse_columns"], product.view(half, 2 * self.period, -1))
            flat = matmul(tables["inverse_rows"], columns.view(2 * half, -1))
        return flat.view(self.outputs, self.outputs, channels, batch)

    def _constants(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        key = (device, dtype)
        if key not in self._cache:
            # Made outside of inference mode, because training may use them after an evaluation did.
            with torch.inference_mode(False):
                self._cache[key] = {k: torch.from_numpy(v).to(device, dtype) for k, v in self._tables.items()}
        return self._cache[key]

    def _dense_grid(self) -> np.ndarray:
        """One of each pair (k, -k): the other is its complex conjugate. [bins, 2]"""
        n = self.period
        pairs = {max((ky, kx), (-ky % n, -kx % n)) for ky in range(n) for kx in range(n)}
        return np.array(sorted(pairs))

    def _separable_grid(self) -> np.ndarray:
        """Half of the vertical frequencies, all of the horizontal ones. [bins, 2]"""
        n = self.period
        return np.array([(ky, kx) for ky in range(n // 2 + 1) for kx in range(n)])

    def _filters(self, psi: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """The real 2x2 form of psi^_n at each bin, [bins * 2 * 2, N_b] = [(bin, part of y, part of x), n]."""
        # Correlation, not convolution: the transform of the filter is conjugated, hence the sign.
        wave = np.exp(2j * np.pi * np.multiply.outer(frequencies, self._offsets) / self.period)  # [bins, 2, offsets]
        hat = np.einsum("nuv,ku,kv->kn", psi, wave[:, 0], wave[:, 1], optimize=True)
        blocks = np.stack([np.stack([hat.real, -hat.imag], 1), np.stack([hat.imag, hat.real], 1)], 1)
        return np.ascontiguousarray(blocks.reshape(-1, psi.shape[0]))

    def _dense_tables(self, frequencies: np.ndarray) -> dict[str, np.ndarray]:
        n, (ky, kx) = self.period, frequencies.T
        unpaired = (2 * ky % n == 0) & (2 * kx % n == 0)
        i, j = np.divmod(np.arange(self.size**2), self.size)
        phase = 2 * np.pi * (np.outer(ky, i) + np.outer(kx, j)) / n
        forward = np.stack([np.cos(phase), -np.sin(phase)], 1).reshape(-1, self.size**2) / n
        i, j = np.divmod(np.arange(self.outputs**2), self.outputs)
        phase = 2 * np.pi * (np.outer(i, ky) + np.outer(j, kx)) / n
        multiplicity = np.where(unpaired, 1, 2) / n
        inverse = np.stack([multiplicity * np.cos(phase), -multiplicity * np.sin(phase)], 2)
        return {"forward": forward, "inverse": inverse.reshape(self.outputs**2, -1)}

    def _separable_tables(self) -> dict[str, np.ndarray]:
        n = self.period
        half = n // 2 + 1
        root = 1 / math.sqrt(n)
        full, kept = np.arange(n), np.arange(half)
        phase = 2 * np.pi * np.outer(kept, np.arange(self.size)) / n
        forward_rows = root * np.stack([np.cos(phase), -np.sin(phase)], 1).reshape(2 * half, self.size)
        phase = 2 * np.pi * np.outer(full, np.arange(self.size)) / n
        cos, sin = root * np.cos(phase), root * np.sin(phase)
        # [(kx, part), (part, column)]: the complex product with exp(-i phase)
        forward_columns = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1).reshape(2 * n, -1)
        phase = 2 * np.pi * np.outer(np.arange(self.outputs), full) / n
        cos, sin = root * np.cos(phase), root * np.sin(phase)
        # [(part, column), (kx, part)]: the complex product with exp(+i phase)
        inverse_columns = np.stack([np.stack([cos, -sin], 2), np.stack([sin, cos], 2)], 0).reshape(-1, 2 * n)
        phase = 2 * np.pi * np.outer(np.arange(self.outputs), kept) / n
        multiplicity = np.where(2 * kept % n == 0, root, 2 * root)
        inverse_rows = np.stack([multiplicity * np.cos(phase), -multiplicity * np.sin(phase)], 2)
        return {
            "forward_rows": forward_rows,
            "forward_columns": forward_columns,
            "inverse_columns": inverse_columns,
            "inverse_rows": inverse_rows.reshape(self.outputs, -1),
        }


def max_pool(maps: list[Tensor], kernel: int, padding: int = 0) -> Tensor:
    """Maximum over windows of `kernel` x `kernel` pixels, side by side, and over the maps of the list.

    Arguments:
        maps: tensors [H, W, ...] of one shape, such as the maps of all scales.
        kernel, padding: as of `torch.nn.MaxPool2d` with stride = kernel.

    Returns:
        Tensor [(H + 2 padding) // kernel, (W + 2 padding) // kernel, ...].

    Of equal candidates the first gets the whole gradient, as in torch's pooling; +0 and -0 may count as unequal.
    """
    by = max_pool_by_index if maps[0].device.type == "cuda" else max_pool_by_place
    return by(maps, kernel, padding)


def max_pool_by_place(maps: list[Tensor], kernel: int, padding: int = 0) -> Tensor:
    """`max_pool` place by place of a window, with little memory: for a CPU."""
    pooled: Tensor = _MaxPool.apply(kernel, padding, *maps)
    return pooled


def max_pool_by_index(maps: list[Tensor], kernel: int, padding: int = 0) -> Tensor:
    """`max_pool` in a few large steps: for a GPU, where a step costs more to start than the additional memory to read.

    `max_pool_by_place` takes about 4 S kernel^2 small ones, this takes three for each map and four in all; and for
    windows that need no frame one for each map, by torch's own pooling; for windows of one pixel none.
    """
    height, width, *rest = maps[0].shape
    if not padding and kernel < min(height, width):
        pooled = maps if kernel == 1 else [_max_pool_in_place(image, kernel) for image in maps]
        return torch.stack(pooled).max(dim=0).values if len(pooled) > 1 else pooled[0]
    rows, columns = ((side + 2 * padding) // kernel for side in (height, width))
    # Below and to the right of the last full window nothing is looked at; a negative margin cuts it off.
    below, right = rows * kernel - padding - height, columns * kernel - padding - width
    margins = [0, 0] * len(rest) + [padding, right, padding, below]
    windows = []
    for image in maps:
        framed = F.pad(image, margins, value=-math.inf) if any(margins) else image
        placed = framed.reshape(rows, kernel, columns, kernel, *rest).movedim((1, 3), (0, 1))
        windows.append(placed.flatten(0, 1))
    candidates = torch.cat(windows) if len(windows) > 1 else windows[0]  # of a single map no copy is needed
    return candidates.max(dim=0).values


def _max_pool_in_place(image: Tensor, kernel: int) -> Tensor:
    """[H, W, ...] -> [H // kernel, W // kernel, ...] where the pixels are: to torch a map is one image, channels last.

    Nothing is copied, as it is when the windows are laid out side by side, forth in the forward pass and back in the
    backward pass.
    """
    height, width, *rest = image.shape
    last = image.reshape(1, height, width, -1).permute(0, 3, 1, 2)
    pooled = F.max_pool2d(last, kernel)
    return pooled.permute(0, 2, 3, 1).reshape(height // kernel, width // kernel, *rest)


def _window_slices(size: int, kernel: int, padding: int) -> list[tuple[slice, slice]]:
    """For each place inside a window: which outputs have a pixel there, and which pixels these are."""
    outputs = (size + 2 * padding) // kernel
    slices = []
    for place in range(kernel):
        start = place - padding
        first = max(0, -(start // kernel))  # ceil(-start / kernel)
        last = min(outputs, (size - 1 - start) // kernel + 1)
        begin = first * kernel + start
        slices.append((slice(first, last), slice(begin, begin + (last - first - 1) * kernel + 1, kernel)))
    return slices


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers as wide as the numbers, by bytes


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel: int, padding: int, *maps: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        height, width = maps[0].shape[:2]
        rows, columns = _window_slices(height, kernel, padding), _window_slices(width, kernel, padding)
        shape = ((height + 2 * padding) // kernel, (width + 2 * padding) // kernel, *maps[0].shape[2:])
        top = maps[0].new_full(shape, -math.inf)
        for image in maps:
            if (height, width, padding) == (kernel, kernel, 0):  # one window, as of the first layer: one pass
                torch.maximum(top, image.flatten(0, 1).amax(dim=0), out=top)
                continue
            for out_rows, in_rows in rows:
                for out_columns, in_columns in columns:
                    region = top[out_rows, out_columns]
                    torch.maximum(region, image[in_rows, in_columns], out=region)
        ctx.windows = rows, columns
        ctx.covers = height == kernel * shape[0] - 2 * padding and width == kernel * shape[1] - 2 * padding
        ctx.save_for_backward(top, *maps)
        return top

    @staticmethod
    @once_differentiable  # what compares bits has no second derivative
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        top, *maps = ctx.saved_tensors
        rows, columns = ctx.windows
        # An element is the maximum where its bits are the maximum's. As integers they are compared, and a gradient is
        # multiplied by 1 or 0, several times faster than as bf16, which a CPU computes by way of float32.
        bits = _BITS[top.element_size()]
        top, left = top.view(bits), grad.clone().view(bits)  # left: what no candidate has received yet
        grads = []
        for image in maps:
            result = torch.empty_like(image) if ctx.covers else torch.zeros_like(image)
            candidates, parts = image.view(bits), result.view(bits)
            for out_rows, in_rows in rows:
                for out_columns, in_columns in columns:
                    here, part = left[out_rows, out_columns], parts[in_rows, in_columns]
                    torch.eq(candidates[in_rows, in_columns], top[out_rows, out_columns], out=part)
                    here.sub_(part.mul_(here))
            grads.append(result)
        return None, None, *grads
