"""The two ways of drawing a digit at another size: the authors' affine transform, and the earlier report's resize."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

SIZE = 28
"""Side of an MNIST image, pixels."""

CENTRE = 14.5
"""Centre of the authors' transform, in pixels, both axes; in PIL's coordinates the middle of the image is 14."""


def inverse_matrix(factor: float, centre: float = CENTRE) -> tuple[float, float, float, float, float, float]:
    """PIL's affine data (a, b, c, d, e, f) for scaling by `factor` about (`centre`, `centre`).

    An output point (x, y) reads the input at (a x + b y + c, d x + e y + f), hence the inverse: a = e = 1 / factor and
    c = f = centre - centre / factor. The order of operations is the authors', so that results agree to the last bit.
    """
    inverse = 1.0 / factor
    offset = inverse * -centre + centre
    return (inverse, 0.0, offset, 0.0, inverse, offset)


def affine_bicubic(image: np.ndarray, factor: float, centre: float = CENTRE) -> np.ndarray:
    """Scale one image about `centre` (pixels) as the paper's authors do.

    Cubic convolution at the sampling points, zero where these lie outside the image, no low-pass filter before
    downscaling: small factors alias, and that is part of the data set. The kernel is Keys' with a = -1, which is what
    Pillow's `transform` computes; its `resize` has a = -0.5.

    Arguments:
        image: uint8 [H, W].
        factor: above 0; below 1 shrinks.

    Returns: uint8 [H, W].
    """
    height, width = image.shape
    picture = Image.fromarray(image).transform(
        (width, height),
        Image.Transform.AFFINE,
        inverse_matrix(factor, centre),
        resample=Image.Resampling.BICUBIC,
        fillcolor=0,
    )
    return np.asarray(picture)


def resize_and_paste(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale one image as the earlier report does: resize to int(H factor) squared, paste centred on black.

    Bilinear with PIL's antialiasing (the kernel widens with the reduction). Where the border cannot be even, the extra
    row and column are at the bottom and right.

    Arguments:
        image: uint8 [H, H].
        factor: from 1 / H to 1.

    Returns: uint8 [H, H].
    """
    size = image.shape[0]
    side = int(size * factor)
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    canvas = np.zeros_like(image)
    start = (size - side) // 2
    canvas[start : start + side, start : start + side] = np.asarray(small)
    return canvas


def rescale_all(
    images: np.ndarray,
    factors: np.ndarray,
    method: Callable[[np.ndarray, float], np.ndarray],
    *,
    done: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Apply `method` to every image with its own factor.

    Arguments:
        images, factors: uint8 [N, H, W], float64 [N].
        done: is told now and then how many more images are ready.

    Returns: uint8 [N, H, W].
    """
    result = np.empty_like(images)
    told = 0
    for index, (image, factor) in enumerate(zip(images, factors.tolist(), strict=True)):
        result[index] = method(image, factor)
        if done is not None and index - told >= 1000:
            done(index - told)
            told = index
    if done is not None:
        done(len(images) - told)
    return result
