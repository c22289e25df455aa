"""The STL-10 augmentation against a slow twin in Pillow, image by image and pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from sesn_lib.data.augment import HOLE, MEAN, PAD, STD, Draws, augment, normalise, steps


def some_images(count: int, size: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def some_draws(count: int, size: int = 96, seed: int = 1) -> Draws:
    return Draws.sample(count, torch.Generator().manual_seed(seed), size=size)


def normalised_picture(picture: Image.Image | np.ndarray) -> np.ndarray:
    values = np.asarray(picture, dtype=np.float64) / 255
    return (values - np.array(MEAN)) / np.array(STD)


def cut(values: np.ndarray, row: int, column: int) -> np.ndarray:
    """The hole, every pixel asked."""
    values = values.copy()
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if row - 16 <= y <= row + 15 and column - 16 <= x <= column + 15:
                values[y, x] = 0
    return values


def twin(image: torch.Tensor, top: int, left: int, flip: bool, row: int, column: int, order: str) -> np.ndarray:
    """[3, H, W] uint8 -> [H, W, 3] normalised."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    size = picture.width

    def geometry(what: Image.Image) -> Image.Image:
        padded = ImageOps.expand(what, border=12, fill=0)
        cropped = padded.crop((left, top, left + size, top + size))
        return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else cropped

    if order == "authors":
        return cut(normalised_picture(geometry(picture)), row, column)
    channels = [Image.fromarray(c.astype(np.float32)) for c in np.moveaxis(normalised_picture(picture), 2, 0)]
    return cut(np.stack([np.asarray(geometry(channel)) for channel in channels], axis=2), row, column)


def numbers(draws: Draws, i: int) -> tuple[int, int, bool, int, int]:
    return tuple(part[i].item() for part in (draws.top, draws.left, draws.flip, draws.row, draws.column))


@pytest.mark.parametrize("order", ["authors", "report"])
def test_equals_the_pillow_twin(order):
    images, draws = some_images(12), some_draws(12)
    assert 0 < draws.flip.sum() < 12
    result = augment(images, draws, order=order)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    for i in range(12):
        truth = twin(images[i], *numbers(draws, i), order)
        np.testing.assert_allclose(result[i].permute(1, 2, 0).numpy(), truth, atol=2e-6)


@pytest.mark.parametrize("change", ["top", "left", "flip", "row", "column"])
def test_the_twin_notices_every_number(change):
    images, draws = some_images(1), some_draws(1)
    chosen = dict(zip(("top", "left", "flip", "row", "column"), numbers(draws, 0)))
    chosen[change] = not chosen[change] if change == "flip" else (chosen[change] + 1) % 20
    result = augment(images, draws)[0].permute(1, 2, 0).numpy()
    assert np.abs(result - twin(images[0], **chosen, order="authors")).max() > 0.5


@pytest.mark.parametrize("order", ["authors", "report"])
@pytest.mark.parametrize("size", [96, 33])
def test_the_steps_lead_to_the_same(order, size):
    images, draws = some_images(5, size), some_draws(5, size)
    done = steps(images, draws, order=order)
    names = {
        "authors": ["original", "padded", "cropped", "flipped", "normalised", "cutout"],
        "report": ["original", "normalised", "padded", "cropped", "flipped", "cutout"],
    }
    assert list(done) == names[order]
    assert done["padded"].shape[-1] == size + 2 * PAD
    torch.testing.assert_close(done["cutout"], augment(images, draws, order=order), atol=1e-6, rtol=0)


def test_the_orders_differ_in_the_border_only():
    images, draws = some_images(40), some_draws(40)
    differ = (augment(images, draws, order="authors") != augment(images, draws, order="report")).any(1)
    border = augment(torch.full_like(images, 255), draws)[:, 0] < 0  # white images: what is black was padded
    assert torch.equal(differ, border)
    black = augment(images, draws).permute(0, 2, 3, 1)[border]
    assert torch.allclose(black, -torch.tensor(MEAN) / torch.tensor(STD))


def test_the_hole_at_the_edges():
    """Centre at 0: 16 rows; at 95: 17; inside: 32. The rest of a white image stays white."""
    for centre, length in ((0, 16), (95, 17), (48, HOLE), (16, HOLE), (15, 31)):
        place = torch.tensor([centre])
        middle, none = torch.tensor([PAD]), torch.tensor([False])
        draws = Draws(top=middle, left=middle, flip=none, row=place, column=torch.tensor([48]))
        result = augment(torch.full((1, 3, 96, 96), 255, dtype=torch.uint8), draws)
        assert (result[0, 0] == 0).sum() == length * HOLE
        assert (result[0, 0, :, 48] == 0).sum() == length


def test_draws_are_uniform_and_seeded():
    draws = some_draws(20000)
    assert torch.equal(draws.row, some_draws(20000).row)
    assert not torch.equal(draws.row, some_draws(20000, seed=2).row)
    for part, values in (
        (draws.top, 25),
        (draws.left, 25),
        (draws.flip.long(), 2),
        (draws.row, 96),
        (draws.column, 96),
    ):
        counts = torch.bincount(part)
        assert len(counts) == values
        expected = 20000 / values
        chi2 = ((counts - expected) ** 2 / expected).sum().item()
        assert chi2 < values + 5 * (2 * values) ** 0.5


def test_a_part_of_the_draws():
    images, draws = some_images(6), some_draws(6)
    assert torch.equal(augment(images, draws)[2:4], augment(images[2:4], draws[2:4]))
    order = torch.tensor([5, 0, 3])
    assert torch.equal(augment(images, draws)[order], augment(images[order], draws[order]))


def test_normalise_equals_torchvision():
    # The authors' numbers, which torchvision is not given by us.
    assert (MEAN, STD) == ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))
    from torchvision.transforms import functional as tv

    images = some_images(2)
    torch.testing.assert_close(normalise(images), tv.normalize(images.float() / 255, MEAN, STD), atol=1e-6, rtol=0)


def test_refusals():
    images, draws = some_images(2), some_draws(2)
    with pytest.raises(ValueError, match=r"float32 \[2, 3, 96, 96\]"):
        augment(images.float(), draws)
    with pytest.raises(ValueError, match=r"uint8 \[2, 1, 96, 96\]"):
        augment(images[:, :1], draws)
    with pytest.raises(ValueError, match="2 draws for 1 images"):
        augment(images[:1], draws)
    with pytest.raises(ValueError, match="'paper'"):
        augment(images, draws, order="paper")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same():
    images, draws = some_images(8), some_draws(8)
    torch.testing.assert_close(augment(images.cuda(), draws).cpu(), augment(images, draws), atol=1e-6, rtol=0)
