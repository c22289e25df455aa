"""The two rescalings, against their definitions written out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from data_prep import rescaling
from data_prep.rescaling import affine_bicubic, inverse_matrix, rescale_all, resize_and_paste


@pytest.fixture
def image() -> np.ndarray:
    """A smooth blob, uint8 [28, 28], black at the border."""
    rows, columns = np.mgrid[:28, :28]
    return (250 * np.exp(-((rows - 12) ** 2 / 40 + (columns - 16) ** 2 / 25))).astype(np.uint8)


def keys(distance: float, a: float) -> float:
    """Keys' cubic convolution kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def slow_affine(image: np.ndarray, factor: float, a: float = -1.0) -> np.ndarray:
    """Sample the image by hand; indices clamped to the border as PIL does, zero where the point is outside."""
    result = np.zeros((28, 28))
    for row in range(28):
        for column in range(28):
            y, x = ((value + 0.5 - 14.5) / factor + 14.5 for value in (row, column))
            if not (0 <= x < 28 and 0 <= y < 28):
                continue
            y, x = y - 0.5, x - 0.5
            top, left = math.floor(y), math.floor(x)
            for i in range(top - 1, top + 3):
                for j in range(left - 1, left + 3):
                    value = float(image[min(max(i, 0), 27), min(max(j, 0), 27)])
                    result[row, column] += value * keys(y - i, a) * keys(x - j, a)
    return result.clip(0, 255)


@pytest.mark.parametrize("factor", [0.3, 0.61, 1.0, 1.7])
def test_affine_bicubic_is_keys_interpolation_about_the_centre(image: np.ndarray, factor: float) -> None:
    assert np.abs(affine_bicubic(image, factor) - slow_affine(image, factor)).max() < 1.01


def test_an_image_need_not_be_square(image: np.ndarray) -> None:
    assert np.array_equal(affine_bicubic(image[:, :20], 1.0), image[:, :20])


def test_beyond_the_image_all_is_black(image: np.ndarray) -> None:
    frame = np.ones((28, 28), bool)
    frame[9:20, 9:20] = False  # at 0.3 the image covers 8.4 pixels about 14.5
    assert affine_bicubic(image, 0.3)[frame].max() == 0


def test_another_centre_or_kernel_is_noticed(image: np.ndarray) -> None:
    assert np.abs(affine_bicubic(image, 0.61) - slow_affine(image, 0.61, a=-0.5)).max() > 3
    assert np.abs(affine_bicubic(image, 0.5, centre=14.0) - slow_affine(image, 0.5)).max() > 20


def test_the_inverse_matrix_keeps_the_centre_and_scales_by_the_inverse() -> None:
    a, b, c, d, e, f = inverse_matrix(0.4)
    assert (a, b, d, e) == (2.5, 0.0, 0.0, 2.5)
    assert c == f == 14.5 - 2.5 * 14.5
    assert a * rescaling.CENTRE + c == rescaling.CENTRE


def test_affine_bicubic_at_one_changes_nothing(image: np.ndarray) -> None:
    assert np.array_equal(affine_bicubic(image, 1.0), image)


@pytest.mark.parametrize(("factor", "side"), [(0.3, 8), (0.5, 14), (0.75, 21), (0.9999, 27)])
def test_resize_and_paste_is_centred_on_black(image: np.ndarray, factor: float, side: int) -> None:
    white = np.full_like(image, 255)
    result = resize_and_paste(white, factor)
    rows = np.flatnonzero(result.any(axis=1))
    assert len(rows) == side
    assert rows[0] == (28 - side) // 2
    assert result.sum() == 255 * side**2
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    window = slice(rows[0], rows[0] + side)
    assert np.array_equal(resize_and_paste(image, factor)[window, window], np.asarray(small))


def test_rescale_all_is_one_by_one_and_counts(image: np.ndarray) -> None:
    images = np.stack([np.roll(image, shift, axis=0) for shift in range(5)] * 500)
    factors = np.linspace(0.3, 1, len(images))
    told: list[int] = []
    result = rescale_all(images, factors, affine_bicubic, done=told.append)
    assert sum(told) == len(images)
    assert len(told) > 1
    for index in (0, 999, 2499):
        assert np.array_equal(result[index], affine_bicubic(images[index], factors[index]))


def test_the_images_that_are_ready_are_told_once_each() -> None:
    told: list[int] = []
    images = np.zeros((2500, 1, 1), np.uint8)
    rescale_all(images, np.ones(2500), lambda image, factor: image, done=told.append)
    assert sum(told) == 2500
    assert len(told) == 3, "now and then"
    with pytest.raises(ValueError, match=r"shorter|longer"):
        rescale_all(images, np.ones(3), lambda image, factor: image)
