"""The measure must be nearly zero where theory says so, and must flag everything that is not equivariant."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sesn_lib import equivariance as eq
from sesn_lib.basis import Basis, hermite_a
from sesn_lib.layers import ConvHH, ConvTH

RATIO = math.sqrt(2)
SCALES = [RATIO**i for i in range(5)]  # sigma0 = 1: up to 4 pixel, cut at 4 sigma by a kernel of 33 pixel
SIZE = 33


@pytest.fixture(scope="module")
def basis() -> Basis:
    return Basis(hermite_a(SIZE, SCALES, 3, dtype=torch.float64), SCALES)


def lifting(basis: Basis, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return ConvTH(1, 4, SIZE, 3, SCALES, basis=basis, padding=SIZE // 2, bias=False).double()


# -- the positive result and its controls ---------------------------------------------------------


@pytest.mark.slow
def test_wide_kernels_are_equivariant_and_a_lost_scale_shift_is_not(basis: Basis) -> None:
    for seed in range(20):
        layer, images = lifting(basis, seed), eq.gaussian_images(1, seed=seed)
        assert eq.error(layer, images, 2.0, steps=2) <= 4e-7
        if seed < 4:  # the controls are far from their bounds
            assert eq.error(layer, images, 2.0, steps=0) >= 3e-2
            assert eq.error(layer, images, 2.0, steps=1) >= 1e-2


def test_without_normalisation_the_error_is_nine(basis: Basis) -> None:
    layer, images = lifting(basis, 0), eq.gaussian_images(2, seed=0)
    unnormalised = torch.tensor([s**2 for s in SCALES], dtype=torch.float64).view(-1, 1, 1)
    assert eq.error(lambda x: layer(x) * unnormalised, images, 2.0, steps=2) == pytest.approx(9.0, rel=1e-2)


def test_an_ordinary_convolution_is_flagged() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        plain = nn.Conv2d(1, 4, 7, padding=3, bias=False).double()
        assert eq.error(plain, eq.gaussian_images(2, seed=seed), 2.0) >= 3e-2


def test_two_layers_are_equivariant_and_the_wrong_shift_is_not(basis: Basis) -> None:
    torch.manual_seed(0)
    first = lifting(basis, 0)
    second = ConvHH(4, 2, 1, SIZE, 3, SCALES, basis=basis, padding=SIZE // 2, bias=False).double()
    images = eq.gaussian_images(1, seed=3)
    assert eq.error(nn.Sequential(first, second), images, 2.0, steps=2, crop=8) <= 1e-4
    assert eq.error(nn.Sequential(first, second), images, 2.0, steps=1, crop=8) >= 1e-2


# -- the measure itself ---------------------------------------------------------------------------


def test_relative_error_by_hand() -> None:
    expected, found = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 3.0], [1.0, 2.0]])
    assert eq.relative_errors(expected, found).tolist() == pytest.approx([1 / 25, 4.0])
    assert eq.relative_error(expected, found) == pytest.approx((1 / 25 + 4) / 2)


def test_group_error_is_zero_for_what_commutes_and_not_for_what_does_not() -> None:
    x = torch.arange(49.0, dtype=torch.float64).view(1, 1, 7, 7)

    def turn(x: Tensor) -> Tensor:
        return torch.rot90(x, 1, (-2, -1))

    assert eq.group_error(torch.relu, turn, turn, x) == 0
    assert eq.group_error(lambda x: x - 10, torch.neg, torch.neg, x) > 0.1
    assert eq.group_error(lambda x: x.amax((-2, -1)), turn, lambda y: y, x) == 0


def test_the_identity_is_equivariant_by_every_method() -> None:
    images = eq.gaussian_images(2, seed=0)
    assert eq.error(lambda x: x, images, 2.0) < 1e-30
    assert eq.error(lambda x: x, images, 1.3, method="sinc") < 1e-8
    assert eq.error(lambda x: x, images, 1.3, method="cubic") < 1e-4
    assert eq.error(lambda x: x, images, 0.5) < 1e-30
    assert eq.error(lambda x: x, images, 1.5) < 1e-30  # every third pixel comes from a pixel


def test_errors_has_one_entry_per_image_and_error_is_their_mean(basis: Basis) -> None:
    layer, images = lifting(basis, 0), eq.gaussian_images(3, seed=0)
    each = eq.errors(layer, images, 2.0, steps=2, crop=4)
    assert each.shape == (3,)
    assert eq.error(layer, images, 2.0, steps=2, crop=4) == pytest.approx(each.mean().item(), rel=1e-12)


def test_sampled_images_are_taken_too(basis: Basis) -> None:
    layer, x = lifting(basis, 0), eq.gaussian_images(2, seed=0).sample(65)
    assert eq.error(layer, x, 2.0, steps=2, resample="sinc") < 1e-6
    assert eq.error(layer, x, 2.0, steps=0, resample="sinc") > 1e-2


# -- L_s ------------------------------------------------------------------------------------------


def test_rescale_agrees_with_exact_sampling() -> None:
    images = eq.gaussian_images(3, seed=1)
    x = images.sample(65)
    for scale in (0.8, 1.0, 1.3, 2.0):
        exact = images.sample(65, scale)
        assert eq.relative_error(exact, eq.rescale(x, scale, method="sinc")) < 1e-4 if scale < 1 else 1e-8
        assert eq.relative_error(exact, eq.rescale(x, scale, method="cubic")) < 1e-4
        assert eq.relative_error(exact, eq.rescale(x, scale, method="linear")) < 1e-2
    assert torch.equal(eq.rescale(x, 1.0), x)


def test_rescale_enlarges_about_the_centre() -> None:
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    x[0, 0, 4, 6] = 1  # two pixels right of the centre
    enlarged = eq.rescale(x, 2.0)
    assert enlarged[0, 0, 4, 8] == 1  # now four
    assert enlarged[0, 0, 4, 6] == 0


def test_sampling_is_f_of_x_over_s() -> None:
    images = eq.gaussian_images(1, seed=0, blobs=1)
    (row, column), width = images.centres[0, 0].tolist(), images.widths[0, 0].item()
    amplitude, scale = images.amplitudes[0, 0].item(), 1.7
    x, y = (10 - 16) / scale, (20 - 16) / scale
    value = amplitude * math.exp(-((x - row) ** 2 + (y - column) ** 2) / (2 * width**2))
    assert images.sample(33, scale)[0, 0, 10, 20].item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("steps", [1, -1, 0.5, -0.5])
def test_scales_from_beyond_the_axis_are_not_compared(steps: float) -> None:
    x = torch.rand(2, 1, 9, 9, dtype=torch.float64)
    found = eq.errors(lambda f: torch.stack([f] * 3, dim=2), x, 1.0, steps=steps)  # the same at every scale
    assert found.max() < 1e-20


def test_the_frame_s_own_pixels_are_compared() -> None:
    def marked(f: torch.Tensor) -> torch.Tensor:
        out = f.clone()
        out[..., 0, 0] = count.pop()
        return out

    count, x = [1.0, 2.0], torch.rand(1, 1, 5, 5, dtype=torch.float64)
    assert eq.errors(marked, x, 1.0).item() > 0


def test_shift_scales() -> None:
    x = torch.arange(1.0, 5.0).view(1, 1, 4, 1, 1)
    assert eq.shift_scales(x, 1).flatten().tolist() == [0, 1, 2, 3]
    assert eq.shift_scales(x, -2).flatten().tolist() == [3, 4, 0, 0]
    assert eq.shift_scales(x, 0.5).flatten().tolist() == [0.5, 1.5, 2.5, 3.5]
    assert eq.shift_scales(x, 1.75).flatten().tolist() == [0, 0.25, 1.25, 2.25]
    assert eq.shift_scales(x, -0.25).flatten().tolist() == [1.25, 2.25, 3.25, 3]
    assert eq.shift_scales(x, 4).abs().sum() == 0
    assert eq.scale_steps(2.0, SCALES) == pytest.approx(2)


def test_the_same_seed_gives_the_same_images() -> None:
    assert torch.equal(eq.gaussian_images(2, seed=5).sample(17), eq.gaussian_images(2, seed=5).sample(17))
    assert not torch.equal(eq.gaussian_images(2, seed=5).sample(17), eq.gaussian_images(2, seed=6).sample(17))
    assert len(eq.gaussian_images(2, seed=5)) == 2


def test_images_are_drawn_as_they_say() -> None:
    """Uniform in a disc of radius R the mean squared distance is R^2 / 2; amplitudes 0.5 to 1.5 of either sign."""
    images = eq.gaussian_images(200, seed=3, blobs=10, radius=4.0, widths=(1.5, 3.0))
    distance = images.centres.square().sum(-1)
    assert distance.max().item() <= 16
    assert distance.mean().item() == pytest.approx(8.0, rel=0.05)
    assert images.centres.mean((0, 1)).tolist() == pytest.approx([0, 0], abs=0.2)
    assert 1.5 <= images.widths.min().item() < 1.52 < 2.98 < images.widths.max().item() <= 3.0
    size = images.amplitudes.abs()
    assert (size >= 0.5).all()
    assert (size <= 1.5).all()
    assert 0.45 < (images.amplitudes > 0).double().mean().item() < 0.55


def test_what_is_cropped_does_not_count() -> None:
    """A map that is wrong in its outermost two rows or columns of one side alone, and equivariant elsewhere."""
    images = eq.gaussian_images(2, seed=1, radius=2.0)
    for axis, side in ((-2, slice(0, 2)), (-2, slice(-2, None)), (-1, slice(0, 2)), (-1, slice(-2, None))):

        def spoilt(x: Tensor, axis: int = axis, side: slice = side) -> Tensor:
            y = x.clone()
            y.movedim(axis, 0)[side] += torch.arange(1.0, 3.0, dtype=x.dtype).view(2, *[1] * (x.dim() - 1))
            return y

        errors = [eq.error(spoilt, images, 1.01, size=33, crop=crop, method="cubic") for crop in (0, 5)]
        assert errors[0] > 100 * errors[1]


# -- mistakes of the caller -----------------------------------------------------------------------


def test_errors_name_the_offending_value(basis: Basis) -> None:
    layer, images = lifting(basis, 0), eq.gaussian_images(1, seed=0)
    x = images.sample(17)
    with pytest.raises(ValueError, match="has a scale axis"):
        eq.error(layer, images, 2.0)
    with pytest.raises(ValueError, match=r"leave out steps=2"):
        eq.error(lambda x: x, images, 2.0, steps=2)
    with pytest.raises(ValueError, match="nothing is left of a scale axis of 5"):
        eq.error(layer, images, 2.0, steps=7)
    with pytest.raises(ValueError, match=r"scale is 1.37: only 1 of 65 rows"):
        eq.error(lambda x: x, images, 1.37)
    with pytest.raises(ValueError, match="scale is 0"):
        eq.error(lambda x: x, images, 0)
    with pytest.raises(ValueError, match="crop is 40"):
        eq.error(lambda x: x, images, 2.0, crop=40)
    with pytest.raises(ValueError, match=r"method is 'nearest'.*linear, cubic, sinc"):
        eq.rescale(x, 2.0, method="nearest")
    with pytest.raises(ValueError, match="element 0 of the expected tensor is zero"):
        eq.relative_error(torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="differ"):
        eq.relative_error(torch.zeros(1, 3), torch.zeros(1, 4))
