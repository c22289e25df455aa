"""Probes: networks whose weights were kept, before digits of fixed sizes, inside and outside of what they trained on.

Each original digit is interpolated once, from its 28 x 28 pixels onto a canvas that holds all of it, as the data set's
digits are; the network is shown the middle 28 x 28 pixels, and the share of the ink outside of them is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_prep.mnist_scale import originals
from data_prep.rescaling import CENTRE as DRAWN_ABOUT
from sesn_lib import equivariance, fast
from sesn_lib.checks import check_whole
from sesn_lib.data.splits import DeviceSplit, normalise, rescale, to_device
from sesn_lib.experiments.base import AnyCell
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import TEST_IMAGES, MNISTScale
from sesn_lib.experiments.registry import cell_named, experiment_of
from sesn_lib.fast.precision import resolve
from sesn_lib.models.mnist import INPUT_SIZE, MNISTNet
from sesn_lib.provenance import environment
from sesn_lib.store import probes, weights
from sesn_lib.store.records import now
from sesn_lib.training.evaluation import evaluate

FACTORS = tuple(2 ** (k / 4) for k in range(-9, 5))
"""From 0.21 to 2."""
DIGITS = 10_000
PAIR = (2**-0.25, 2**-0.75)
"""Sizes between which equivariance is measured: 0.84 and 0.59, in the middle of the trained range."""
PAIR_DIGITS = 1000
MARGIN = 16
"""Pixels around the digit that hold all of it at the largest size."""
CENTRE = INPUT_SIZE / 2
"""Of the pixel grid, where maps of every resolution have theirs; the data set's digits are scaled about 14.5."""


def at_size(digits: Tensor, factor: float, *, centre: float = DRAWN_ABOUT) -> tuple[Tensor, float]:
    """Digits at another size, interpolated once, as a network is shown them; and the share of ink that it is not shown.

    Arguments:
        digits: ``uint8 [N, 28, 28]``.
        factor: above 1 enlarges; at most 2.
        centre: the point that stays, in pixels of the digit.

    Returns: ``uint8 [N, 28, 28]``; a fraction, over all digits.

    Raises:
        ValueError: a factor out of range, digits of another kind.
    """
    if not 0 < factor <= max(FACTORS):
        raise ValueError(f"factor is {factor!r}: it must be above 0 and at most {max(FACTORS):g}, for the canvas")
    canvas = F.pad(digits, [MARGIN] * 4)
    chunk = 1000 if digits.device.type == "cpu" else 5000
    factors = torch.full((chunk,), factor, dtype=torch.float64)
    scaled = [rescale(part, factors[: len(part)], centre=MARGIN + centre) for part in canvas.split(chunk)]
    everything = torch.cat(scaled)
    middle = slice(MARGIN, MARGIN + digits.shape[-1])
    shown = everything[:, middle, middle].contiguous()
    total = everything.sum(dtype=torch.int64).item()
    return shown, 1 - shown.sum(dtype=torch.int64).item() / total if total else 0.0


def layer_maps(model: MNISTNet, images: Tensor) -> Iterator[Tensor]:
    """The images, what follows each convolution (maximum over scales, ReLU), ``[B, C, H, W]``, and the logits."""
    yield images
    x = model.upsample(images)
    for module in model.blocks:
        x = module(x)
        if isinstance(module, nn.ReLU):
            yield x.amax(dim=2) if x.dim() == 5 else x
    yield model.classifier(x.flatten(1))


def layer_errors(model: MNISTNet, large: Tensor, small: Tensor, scale: float) -> tuple[dict[str, float], Tensor]:
    """How far each layer of a network is from equivariance: mean of ``||L_s F(f) - F(L_s f)||^2 / ||L_s F(f)||^2``.

    L_s scales a map about its centre by cubic interpolation, and leaves logits alone. At "input" it is what that
    interpolation differs from the digit's own at the smaller size, the floor for the rest.

    Arguments:
        model: in evaluation mode; computed by its modules, in float32.
        large, small: f and L_s f, ``uint8 [N, 28, 28]``, the same digits at two sizes about the centre of the grid.
        scale: s, the ratio of these sizes.

    Returns: the error by layer (`store.probes.LAYERS`), and of each digit's logits, ``[N]``.
    """
    by_layer: dict[str, list[Tensor]] = {layer: [] for layer in probes.LAYERS}
    with torch.inference_mode():
        for f, scaled in zip(large.split(250), small.split(250)):
            maps = zip(probes.LAYERS, layer_maps(model, normalise(f)), layer_maps(model, normalise(scaled)))
            for layer, plain, expected in maps:
                moved = plain if layer == "logits" else _moved(plain, scale, zero=layer == "input")
                by_layer[layer].append(equivariance.relative_errors(moved, expected))
    errors = {layer: torch.cat(parts).double().cpu() for layer, parts in by_layer.items()}
    return {layer: values.mean().item() for layer, values in errors.items()}, errors["logits"]


def _moved(maps: Tensor, scale: float, *, zero: bool) -> Tensor:
    """L_s of maps, about their value on black, which is what lies beyond the frame: the first pixel's."""
    ground = maps[..., :1, :1] if zero else torch.zeros_like(maps[..., :1, :1])
    return equivariance.rescale(maps - ground, scale) + ground


class _Digits:
    """The first test digits of a realization on a device, at every size; made once for all networks."""

    def __init__(self, data: str | Path | None, realization: int, count: int, device: torch.device) -> None:
        split = to_device(originals(data, realization, progress=False), device).first(count)
        self.sizes = [at_size(split.images, factor) for factor in FACTORS]
        self.labels = split.labels
        self.large, self.small = (at_size(split.images[:PAIR_DIGITS], factor, centre=CENTRE)[0] for factor in PAIR)


def probe(model: MNISTNet, digits: _Digits, *, precision: str) -> dict[str, Any]:
    """What a probe says of a network on the digits' device: which digits it reads at each size, how equivariant it is.

    Sizes are read by the fast path in the given precision; equivariance is measured in float32.
    """
    model.eval()
    by_layer, by_digit = layer_errors(model, digits.large, digits.small, PAIR[1] / PAIR[0])
    fast.accelerate(model)
    read = [
        evaluate(model, DeviceSplit(images, digits.labels), precision=precision).correct for images, _ in digits.sizes
    ]
    return {
        "digits": len(digits.labels),
        "precision": precision,
        "factors": list(FACTORS),
        "correct": [encode(correct.tolist()) for correct in read],
        "ink_outside": [outside for _, outside in digits.sizes],
        "equivariance": {
            "from": PAIR[0],
            "to": PAIR[1],
            "by_layer": by_layer,
            "by_digit": [float(f"{value:.5g}") for value in by_digit.tolist()],
        },
    }


def kept_cells(folder: str | Path) -> list[AnyCell]:
    """The cells whose weights are in a folder, those of a realization together.

    Raises:
        ValueError: there are none; weights of other networks than those for MNIST-scale.
    """
    cells = [cell for path in sorted(Path(folder).glob("*.pt")) if (cell := cell_named(path.stem)) is not None]
    if not cells:
        raise ValueError(f"no weights in {folder}; keep some with `sesn run --weights {folder}`")
    for cell in cells:
        if not isinstance(experiment_of(cell), MNISTScale):
            raise ValueError(f"{cell} in {folder} is of {experiment_of(cell).title}: probes are for MNIST-scale")
    return sorted(cells, key=lambda cell: (cell.repetition, cell.name))


def probe_all(
    cells: Iterable[AnyCell],
    kept: str | Path,
    results: str | Path,
    *,
    device: torch.device,
    precision: str = "auto",
    digits: int = DIGITS,
    data: str | Path | None = None,
    say: Callable[[str], object] = print,
) -> list[Path]:
    """Probes networks by their kept weights and stores what is found; returns the files.

    Arguments:
        cells: as `kept_cells` gives them.
        kept: the folder of the weights.
        results: the results folder; probes go to its folder `probes`.
        digits: so many of a realization's test digits, the first.
        say: shows a line.

    Raises:
        ValueError: weights that are damaged, digits out of range.
        DataError: no data.
    """
    check_whole(most=TEST_IMAGES, digits=digits)
    kind, written, prepared = resolve(precision, device), [], {}
    for cell in cells:
        model, record = weights.load(kept, cell)
        if cell.repetition not in prepared:
            prepared = {cell.repetition: _Digits(data, cell.repetition, digits, device)}
        assert isinstance(model, MNISTNet)
        probed = probe(model.to(device), prepared[cell.repetition], precision=kind)
        whole = {
            "schema": probes.SCHEMA,
            "cell": cell.as_dict(),
            "weights": weights.checksum(kept, cell),
            "trained": record["timing"]["finished"],
            "test_error_50k": record["test_error_50k"],
            **probed,
            "environment": environment(device),
            "finished": now(),
        }
        written.append(probes.write(results, whole))
        logits = probed["equivariance"]["by_layer"]["logits"]
        say(f"[{len(written)}] {cell}: probed, equivariance error of the logits {logits:.3g}")
    return written
