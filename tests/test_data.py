"""sesn_lib.data: the augmentation against Pillow, its slow twin; every image once an epoch; normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep import rescaling
from sesn_lib.data import splits as data

SIZE = 28


def pillow(image: np.ndarray, factor: float, centre: float = 14.5) -> np.ndarray:
    """The slow twin, written out: output point p reads the source at p / factor + centre - centre / factor."""
    inverse = 1 / factor
    offset = centre - inverse * centre
    matrix = (inverse, 0, offset, 0, inverse, offset)
    size = image.shape[::-1]
    picture = Image.fromarray(image).transform(size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC)
    return np.asarray(picture)


def strokes(count: int, size: int = SIZE) -> np.ndarray:
    """Digit-like images: saturated flat areas, sharp edges, some touching the border. uint8 [count, size, size]."""
    rng = np.random.default_rng(5)
    images = np.zeros((count, size, size), np.uint8)
    for image in images:
        for _ in range(4):
            top, left = rng.integers(0, size - 3, 2)
            height, width = rng.integers(2, size // 2, 2)
            image[top : top + height, left : left + width] = rng.choice([253, 254, 255, 252, 128, rng.integers(256)])
    return images


def disagreement(images: np.ndarray, factors: np.ndarray, centre: float | None = None) -> tuple[int, float]:
    """Largest difference from Pillow in grey levels, and the fraction of pixels that differ."""
    expected = np.stack([pillow(image, factor) for image, factor in zip(images, factors)])
    ours = data.rescale(torch.from_numpy(images), torch.from_numpy(factors), centre=centre).numpy()
    difference = np.abs(ours.astype(int) - expected)
    return int(difference.max()), float((difference > 0).mean())


def check_agreement(images: np.ndarray, factors: np.ndarray, centre: float | None = None) -> None:
    largest, fraction = disagreement(images, factors, centre)
    assert largest <= 1
    assert fraction < 1e-3


@pytest.fixture(scope="module")
def factors() -> np.ndarray:
    return np.random.default_rng(6).uniform(0.3, 2.2, 2000)


def test_rescale_agrees_with_pillow_on_strokes(factors: np.ndarray) -> None:
    check_agreement(strokes(len(factors)), factors)


def test_rescale_agrees_with_pillow_on_noise(factors: np.ndarray) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (len(factors), SIZE, SIZE), dtype=np.uint8)
    check_agreement(noise, factors)


def test_rescale_agrees_with_pillow_on_real_digits(mnist_root, factors: np.ndarray) -> None:
    from data_prep import sources

    images, _ = sources.mnist(mnist_root, progress=False)
    check_agreement(np.ascontiguousarray(images[: len(factors)]), factors)


@pytest.mark.parametrize("wrong", [14.0, 13.5, 15.0])
def test_the_check_flags_a_wrong_centre(wrong: float, factors: np.ndarray) -> None:
    images = strokes(200)
    with pytest.raises(AssertionError):
        check_agreement(images, factors[:200], centre=wrong)
    largest, fraction = disagreement(images, factors[:200], centre=wrong)
    assert largest > 50
    assert fraction > 0.02


def test_the_check_flags_rounding_instead_of_truncation(factors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_TRUNCATION_SLACK", 0.5)
    with pytest.raises(AssertionError):
        check_agreement(strokes(200), factors[:200])


@pytest.mark.parametrize("factor", [0.3217, 0.5, 1.0, 1.7313, 2.0])
def test_rescale_agrees_with_the_data_sets_own_transform(factor: float) -> None:
    images = strokes(20)
    expected = np.stack([rescaling.affine_bicubic(image, factor) for image in images])
    ours = data.rescale(torch.from_numpy(images), torch.full((20,), factor, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(ours, expected)


def test_factor_one_changes_nothing_and_other_sizes_work() -> None:
    images = torch.from_numpy(strokes(10, size=17))
    assert torch.equal(data.rescale(images, torch.ones(10)), images)
    factors = np.linspace(0.4, 2.1, 10)
    expected = np.stack([pillow(image, factor, 9.0) for image, factor in zip(images.numpy(), factors)])
    ours = data.rescale(images, torch.from_numpy(factors)).numpy().astype(int)
    assert np.abs(ours - expected).max() <= 1


def test_rescale_on_an_impulse_by_hand() -> None:
    """Magnified twice, every second pixel falls between two of the source, where the kernel (a = -1) is 5/8."""
    image = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    image[0, 14, 14] = 64
    row = data.rescale(image, torch.tensor([2.0]))[0, 14]
    # Output pixel i reads position (i + 1/2) / 2 + 14.5 / 2 - 1/2 = 14 + (i - 14) / 2. At 1.5 pixels it it is -1/8: 0.
    assert row[12:17].tolist() == [0, 40, 64, 40, 0]


def split_of(count: int, seed: int = 0) -> data.DeviceSplit:
    """Images that carry their own number, so that an order can be read off them."""
    images = torch.from_numpy(strokes(count)).clone()
    images[:, 0, 0] = torch.arange(count) % 256
    images[:, 0, 1] = torch.arange(count) // 256
    return data.DeviceSplit(images, torch.arange(count))


def test_every_image_once_an_epoch_with_its_label_and_a_partial_last_batch() -> None:
    split = split_of(300)
    generator = torch.Generator().manual_seed(1)
    epochs = [list(data.epoch_batches(split, 128, generator)) for _ in range(2)]
    for batches in epochs:
        assert [len(labels) for _, labels in batches] == [128, 128, 44]
        labels = torch.cat([labels for _, labels in batches])
        assert torch.equal(labels.sort().values, split.labels)
        images = torch.cat([images for images, _ in batches])
        assert images.shape == (300, 1, SIZE, SIZE)
        assert torch.equal(images, data.normalise(split.images[labels]))
    assert not torch.equal(epochs[0][0][1], epochs[1][0][1])


def test_augmentation_draws_factors_between_e_and_its_inverse() -> None:
    """A large square's area tells its factor: sqrt(area) within the two bounds, and spread over them."""
    image = torch.zeros(2000, SIZE, SIZE, dtype=torch.uint8)
    image[:, 9:20, 9:20] = 255
    split = data.DeviceSplit(image, torch.zeros(2000, dtype=torch.int64))
    epoch = data.shuffled(split, torch.Generator().manual_seed(0), 0.5)
    factor = (epoch.images.double().sum((1, 2)) / 255).sqrt() / 11
    assert 0.45 < factor.min() < 0.55
    assert 1.9 < factor.max() < 2.1
    assert abs(float(factor.mean()) - 1.25) < 0.04  # 1.25 is the mean, its standard error 0.01
    assert image.sum() == 2000 * 121 * 255  # the split itself stays as it was


def test_same_generator_same_epoch_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_of(250)
    first = data.shuffled(split, torch.Generator().manual_seed(3), 0.5)
    monkeypatch.setattr(data, "CHUNK", {"cpu": 40})
    second = data.shuffled(split, torch.Generator().manual_seed(3), 0.5)
    other = data.shuffled(split, torch.Generator().manual_seed(4), 0.5)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.images, other.images)


def test_an_epoch_is_drawn_as_in_the_published_runs() -> None:
    """One permutation, then a float64 number an image, uniform in [e, 1/e]: what records of old are repeated by."""
    split, e = split_of(60), 0.4
    found = data.shuffled(split, torch.Generator().manual_seed(3), e)
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(60, generator=generator)
    factors = e + (1 / e - e) * torch.rand(60, generator=generator, dtype=torch.float64)
    assert torch.equal(found.labels, split.labels[order])
    assert torch.equal(found.images, data.rescale(split.images[order], factors))
    # For ever: another generator or another way of drawing would be another experiment.
    assert order[:5].tolist() == [46, 21, 53, 15, 4]
    assert factors[:3].tolist() == pytest.approx([0.858851265711974, 0.998691612246382, 0.87680754468518], rel=1e-12)
    unscaled = data.shuffled(split, torch.Generator().manual_seed(3))
    assert torch.equal(unscaled.images, split.images[order])


def test_normalise() -> None:
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    expected = (images.double() / 255 - 0.0607) / 0.2161
    assert data.normalise(images).shape == (1, 1, 2, 2)
    torch.testing.assert_close(data.normalise(images)[:, 0].double(), expected, rtol=1e-6, atol=1e-6)


def test_to_device_copies_numpy_arrays() -> None:
    class Split:
        images = strokes(3)
        labels = np.array([1, 2, 3])

    split = data.to_device(Split, "cpu")
    Split.images[:] = 0
    assert split.images.max() > 0
    assert len(split.first(2)) == 2


def test_bad_input_is_named() -> None:
    split = split_of(10)
    generator = torch.Generator()
    for value in (0, -0.5, 1.5, float("nan"), float("inf"), "half", True):
        with pytest.raises(ValueError, match=r"extra_scaling is .*must be a finite number above 0 and at most 1"):
            data.shuffled(split, generator, value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size is 0"):
        next(data.epoch_batches(split, 0, generator))
    with pytest.raises(ValueError, match="count is 11: it must be an integer, 1 or greater and at most 10"):
        split.first(11)
    with pytest.raises(ValueError, match=r"images are float32 \[1, 28, 28\]: they must be uint8"):
        data.rescale(torch.zeros(1, 28, 28), torch.ones(1))
    with pytest.raises(ValueError, match=r"factors are float32 \[2\] for 10 images"):
        data.rescale(split.images, torch.ones(2))
    with pytest.raises(ValueError, match=r"labels are int64 \[9\]: they must be int64"):
        data.DeviceSplit(split.images, split.labels[:9])
    with pytest.raises(ValueError, match=r"labels are int32 \[10\]: they must be int64"):
        data.DeviceSplit(split.images, split.labels.int())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_sees_the_same_epoch() -> None:
    split = split_of(600)
    on_gpu = data.DeviceSplit(split.images.cuda(), split.labels.cuda())
    cpu = data.shuffled(split, torch.Generator().manual_seed(3), 0.5)
    gpu = data.shuffled(on_gpu, torch.Generator().manual_seed(3), 0.5)
    assert torch.equal(cpu.labels, gpu.labels.cpu())
    difference = (cpu.images.int() - gpu.images.cpu().int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).double().mean() < 1e-4
