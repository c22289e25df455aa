"""The rivals' layers: sizes and taps to the last one, and what each method promises about scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipe import relative
from torch import Tensor, nn

from sesn_lib.models.rivals import dss, kanazawa, resampling, sevf, ss, xu


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# --- resampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "target"), [(28, 8), (28, 93), (7, 2), (7, 23), (14, 14), (23, 6)])
def test_the_matrices_are_torchs_functions(size: int, target: int) -> None:
    x = noise(1, 1, size, size)
    for matrix, aligned in ((resampling.corner_aligned, True), (resampling.half_pixel, False)):
        m = torch.from_numpy(matrix(size, target))
        torch.testing.assert_close(
            m @ x @ m.T, F.interpolate(x, (target, target), mode="bilinear", align_corners=aligned)
        )
    m = torch.from_numpy(resampling.fit(target, size))
    y = noise(1, 1, target, target)
    torch.testing.assert_close(m @ y @ m.T, resampling.fitted(y, size))


def test_fit_puts_the_odd_pixel_at_the_end_and_cuts_it_at_the_beginning() -> None:
    assert resampling.fit(2, 5).argmax(axis=0).tolist() == [1, 2]
    assert resampling.fit(5, 2).argmax(axis=1).tolist() == [2, 3]
    assert resampling.corner_aligned(5, 1).tolist() == [[1, 0, 0, 0, 0]]


FORWARD_BACKWARD = {  # scales other than 1: pixels there / back, and the first row's place in the map
    56: "16/186 20/-65  25/124 15/-34  37/83 9/-14  83/37 -14/9  124/25 -34/15  186/16 -65/20",
    28: "8/93 10/-33  12/62 8/-17  18/41 5/-7  41/18 -7/5  62/12 -17/8  93/8 -33/10",
    14: "4/46 5/-16  6/31 4/-9  9/20 2/-3  20/9 -3/2  31/6 -9/4  46/4 -16/5",
    7: "2/23 2/-8  3/15 2/-4  4/10 1/-2  10/4 -2/1  15/3 -4/2  23/2 -8/2",
}


@pytest.mark.parametrize("size", FORWARD_BACKWARD)
def test_sizes_of_si_convnet(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def interpolate(x: Tensor, size: tuple[int, int], **_: object) -> Tensor:
        asked.append(size[0])
        return x.new_ones(*x.shape[:2], *size)

    monkeypatch.setattr(F, "interpolate", interpolate)
    found = []
    for scale in kanazawa.SCALES:
        if scale == 1:
            assert kanazawa.resized(x := noise(1, 1, size, size), scale) is x
            continue
        offsets = []
        for factor in (scale, 1 / scale):
            row = kanazawa.resized(noise(1, 1, size, size), factor)[0, 0, size // 2]
            assert row.shape == (size,)
            inside = int(row.argmax())
            target = asked[-1]
            offsets.append(inside if target < size else (size - target) // 2)
            assert int(row.sum()) == min(size, target)
        found.append("{}/{} {}/{}".format(*asked[-2:], *offsets))
    assert "  ".join(found) == FORWARD_BACKWARD[size]


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (56, [22, 28, 35, 44, 56, 71, 89, 112]),
        (28, [11, 14, 18, 22, 28, 35, 44, 56]),
        (14, [6, 7, 9, 11, 14, 18, 22, 28]),
        (7, [3, 3, 4, 6, 7, 9, 11, 14]),
    ],
)
def test_sizes_of_sevf(size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    convolve = F.conv2d

    def conv2d(x: Tensor, *args: object, **options: object) -> Tensor:
        asked.append(x.shape[-1])
        return convolve(x, *args, **options)

    monkeypatch.setattr(F, "conv2d", conv2d)
    sevf.LiftedMagnitude(1, 1)(torch.zeros(1, 1, size, size))
    assert asked == sizes
    assert [round(s, 4) for s in sevf.SCALES] == [0.3968, 0.4999, 0.6299, 0.7937, 1, 1.26, 1.5876, 2.0004]
    assert np.allclose(sevf.ANGLES[:3], [-1.196797, -0.897598, -0.598399], atol=1e-6)


TAPS = {  # of SiCNN: first pixel of the frame that sees the kernel, and the kernel's coordinates from there on
    0.3: (10, [0.8, 5.2]),
    0.45: (9, [-2 / 3, 1 + 7 / 9, 4 + 2 / 9, 6 + 2 / 3]),
    0.67: (9, [-1 / 7, 1 + 3 / 7, 3, 4 + 4 / 7, 6 + 1 / 7]),
    1.0: (8, [0, 1, 2, 3, 4, 5, 6]),
    1.49: (6, [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6]),
    2.23: (4, [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6]),
    3.33: (0, [0] * 3 + [1] * 4 + [2] * 3 + [3] * 3 + [4] * 4 + [5] * 3 + [6] * 3),
}


@pytest.mark.parametrize("scale", xu.SCALES)
def test_taps_of_sicnn(scale: float) -> None:
    first, coordinates = TAPS[scale]
    expected = torch.zeros(xu.FRAME, 7, dtype=torch.float64)
    for i, position in enumerate(coordinates):
        for tap in range(7):  # linear between taps, towards zeros outside of the kernel
            expected[first + i, tap] = max(0.0, 1 - abs(position - tap))
    kernels = torch.einsum("i,j->ij", noise(7), noise(7))
    found = xu.resized(resampling.fitted(kernels[None, None], xu.FRAME), scale)[0, 0]
    torch.testing.assert_close(found, expected @ kernels @ expected.T, rtol=0, atol=1e-12)


def test_the_older_rule_for_the_nearest_pixel_would_change_two_taps() -> None:
    # What the explicit factor in `xu.resized` is for: by the ratio of sizes, these would be others.
    frame = resampling.fitted(noise(1, 1, 7, 7), xu.FRAME)
    for scale, differ in ((1.49, False), (2.23, True), (3.33, True)):
        size = math.floor(xu.FRAME * scale)
        by_ratio = resampling.fitted(F.interpolate(frame, (size, size), mode="nearest"), xu.FRAME)
        assert torch.equal(by_ratio, xu.resized(frame, scale)) != differ
        m = torch.from_numpy(resampling.fit(size, xu.FRAME) @ resampling.nearest(xu.FRAME, scale))
        torch.testing.assert_close(m @ frame @ m.T, xu.resized(frame, scale), rtol=0, atol=0)


# --- what each method promises ----------------------------------------------------------------------------------------


def blobs(scale: float, size: int = 28) -> Tensor:
    """Three smooth spots, enlarged about the middle of the image, [1, 1, size, size]."""
    axis = (np.arange(size) - (size - 1) / 2) / scale
    spots = [(1, -3, 2, 2.5), (-0.7, 3, 3.5, 3), (0.9, 2, -4, 2.5)]  # height, row, column, radius
    image = sum(
        h * np.outer(np.exp(-((axis - y) ** 2) / (2 * r**2)), np.exp(-((axis - x) ** 2) / (2 * r**2)))
        for h, y, x, r in spots
    )
    return torch.from_numpy(np.asarray(image))[None, None]


def scale_error(layer: Callable[[Tensor], Tensor], scale: float) -> float:
    """`||F(L_s f) - L_s F(f)||^2 / ||L_s F(f)||^2` on the inner pixels, L_s F(f) by bicubic interpolation."""
    with torch.no_grad():
        large, small = layer(blobs(1)), layer(blobs(scale))
    axis = torch.linspace(-1, 1, 28, dtype=torch.float64) / scale
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)[None]
    inner = slice(k := int(13.5 * (1 - scale)) + 3, -k)
    expected = F.grid_sample(large, grid, "bicubic", align_corners=True)[..., inner, inner]
    return ((small[..., inner, inner] - expected).square().sum() / expected.square().sum()).item()


@pytest.fixture
def weight() -> Tensor:
    """Sixteen kernels without the finest details, which no pixel grid keeps when it is resized."""
    return F.avg_pool2d(F.pad(noise(16, 1, 7, 7), [1] * 4), 3, 1)


def plain(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: F.conv2d(x, weight, padding=3).relu()


@pytest.mark.parametrize("scale", [0.5, 0.67])
def test_maxima_over_scales_are_about_invariant_and_a_plain_convolution_is_not(weight: Tensor, scale: float) -> None:
    """SI-ConvNet, SiCNN up to its maximum over columns, SEVF's lengths: what they answer moves with the image."""
    convnet, columns, lengths = (
        kanazawa.ScaleInvariantConv(1, 16),
        xu.ColumnConv(1, 16, lifts=True),
        sevf.LiftedMagnitude(1, 16),
    )
    for layer in (convnet, columns, lengths):
        layer.double().weight.data = weight
    convnet.bias.data.zero_()
    control = scale_error(plain(weight), scale)
    assert control > 0.1
    for found in (lambda x: convnet(x).relu(), lambda x: xu.ColumnMax()(columns(x)).relu(), lengths):
        assert scale_error(found, scale) < control / 3


def test_kernels_of_sicnn_keep_their_l1_norm_and_its_columns_do_not_mix() -> None:
    torch.manual_seed(0)
    layer = xu.ColumnConv(2, 3, lifts=False).double()
    norms = layer.kernels().abs().sum(dim=(2, 3)).unflatten(0, (7, 3))
    torch.testing.assert_close(norms, layer.weight.abs().sum(dim=(2, 3)).expand(7, -1, -1))
    x, other = noise(1, 14, 9, 9), noise(1, 14, 9, 9)
    other[:, 4:6] += 1  # the input of column 2
    other[:, :4], other[:, 6:] = x[:, :4], x[:, 6:]
    changed = (layer(x) != layer(other)).flatten(2).any(dim=2)[0].unflatten(0, (7, 3)).any(dim=1)
    assert changed.tolist() == [column == 2 for column in range(7)]
    # Control: in the first layer all columns see the same image, and any change shows in each.
    lifting = xu.ColumnConv(2, 3, lifts=True).double()
    assert (lifting(x[:, :2]) != lifting(other[:, 4:6])).flatten(2).any(dim=2).all()


def test_vectors_turn_by_one_step_when_the_image_grows_by_one(weight: Tensor) -> None:
    layer = sevf.VectorLift(1, 16).double()
    layer.weight.data = weight
    middle = slice(11, 17)
    with torch.no_grad():
        fields = [layer(blobs(1.26**k))[0, :, :, middle, middle] for k in (-1, 0)]
    steps = [torch.atan2(f[:, 1], f[:, 0]) * 21 / (2 * math.pi) for f in fields]
    both = (fields[0].norm(dim=1) > 0.1) & (fields[1].norm(dim=1) > 0.1)
    assert all(torch.allclose(s[both], s[both].round()) for s in steps)  # one of eight directions, exactly
    # Largest answers at the end of the range stay there.
    free = both & (steps[0] > -3.5) & (steps[1] < 2.5)
    turned = (steps[1] - steps[0])[free]
    assert len(turned) > 20
    # Enlarged by 1.26, an image has to be resized by one step less for the same answer.
    assert turned.round().median().item() == -1
    assert abs(turned.mean().item() + 1) < 0.3


def test_lengths_are_those_of_the_vectors() -> None:
    torch.manual_seed(0)
    lift, lengths = sevf.VectorLift(2, 3).double(), sevf.LiftedMagnitude(2, 3).double()
    lengths.load_state_dict(lift.state_dict())
    x = noise(2, 2, 9, 9)
    torch.testing.assert_close(sevf.magnitude(lift(x)), lengths(x))


def test_a_turned_field_needs_turned_filters() -> None:
    """`VectorConv` answers at scale j with filters turned by θ_j: the same as unturned ones on a field turned back."""
    torch.manual_seed(0)
    layer, field = sevf.VectorConv(2, 3).double(), noise(1, 2, 2, 8, 8)
    angle = 0.7

    def turned(u: Tensor, v: Tensor, by: float) -> tuple[Tensor, Tensor]:
        return u * math.cos(by) - v * math.sin(by), u * math.sin(by) + v * math.cos(by)

    with torch.no_grad():
        before = layer(torch.stack(turned(*field.unbind(2), angle), dim=2))
        a, b = layer.weight_u.data, layer.weight_v.data
        layer.weight_u.data, layer.weight_v.data = turned(a, b, -angle)
        torch.testing.assert_close(layer(field), before)
        layer.weight_u.data, layer.weight_v.data = turned(a, b, angle)  # control: the other way round
        assert relative(layer(field), before) > 0.1


def test_pooling_keeps_the_longest_vector_of_a_window() -> None:
    field = noise(2, 3, 2, 7, 7)
    pooled = sevf.VectorMaxPool(4, padding=2)(field)
    assert pooled.shape == (2, 3, 2, 2, 2)
    windows = [slice(0, 2), slice(2, 6)]  # the last row and column are never looked at
    for i, rows in enumerate(windows):
        for j, columns in enumerate(windows):
            inside = field[..., rows, columns].flatten(3)
            longest = inside.norm(dim=2).argmax(dim=2)
            for b in range(2):
                for c in range(3):
                    assert torch.equal(pooled[b, c, :, i, j], inside[b, c, :, longest[b, c]])


def test_vector_normalisation_by_hand() -> None:
    norm, field = sevf.VectorBatchNorm(3).double(), noise(4, 3, 2, 5, 5)
    lengths = field.norm(dim=2)
    variance = lengths.transpose(0, 1).flatten(1).var(dim=1, correction=0)
    expected = field / (variance + 1e-5).sqrt().view(1, 3, 1, 1, 1)
    torch.testing.assert_close(norm(field), expected)
    torch.testing.assert_close(norm.running_var.flatten(), 0.5 + 0.5 * variance * 100 / 99)
    stored = norm.running_var.clone()
    torch.testing.assert_close(norm.eval()(field), field / (stored + 1e-5).sqrt().unsqueeze(2))
    assert torch.equal(norm.running_var, stored)


def test_no_gradient_is_nan_at_vectors_of_zero() -> None:
    field = torch.zeros(2, 1, 2, 4, 4, dtype=torch.float64)
    field[0, 0, :, 1, 1] = torch.tensor([3.0, 4.0])
    field.requires_grad_()
    sevf.magnitude(sevf.VectorMaxPool(2)(sevf.VectorBatchNorm(1)(field))).sum().backward()
    assert field.grad.isfinite().all()
    x = torch.zeros(2, 1, 2, requires_grad=True)  # control: the formula as it stands
    x.square().sum(dim=2).sqrt().sum().backward()
    assert x.grad.isnan().any()


def test_the_blur_is_lindebergs() -> None:
    taps = dss.gaussian(0.1875)
    known = [0.8363316, 0.07806354, 0.003653880, 1.14100e-4, 2.67305e-6]  # |x| = 0..4
    assert taps == pytest.approx([*known[:0:-1], *known], rel=1e-5)
    assert taps @ np.arange(-4, 5) ** 2 == pytest.approx(0.1875, rel=1e-3)  # of variance t
    twice, double = np.convolve(taps, taps), dss.gaussian(0.375)
    assert abs(twice[4:13] - double).max() < 1e-5  # blurs add up, which a sampled Gaussian does not:
    sampled = np.exp(-(np.arange(-4, 5) ** 2) / 0.375)
    sampled /= sampled.sum()
    both = np.exp(-(np.arange(-4, 5) ** 2) / 0.75)
    assert abs(np.convolve(sampled, sampled)[4:13] - both / both.sum()).max() > 1e-2


def test_the_blurred_level_at_every_second_pixel_is_the_first_level_of_half_the_image() -> None:
    """DSS, exactly: a level dilated by 2, seen on a grid twice as coarse, is convolved as the level before."""
    torch.manual_seed(0)
    layer, levels = dss.ScaleCorrelation(2, 3).double(), noise(1, 2, 2, 28, 28)
    with torch.no_grad():
        coarse = layer(levels)[:, :, 1, ::2, ::2]
        half = levels[:, :, 1, ::2, ::2]
        torch.testing.assert_close(layer(torch.stack([half, half], dim=2))[:, :, 0], coarse)
        undilated = layer(levels.flip(2))[:, :, 0, ::2, ::2]  # control
    assert relative(undilated, coarse) > 0.5


def test_scale_space_blurs_rows_and_columns_amid_zeros() -> None:
    x = noise(2, 3, 12, 12)
    levels = dss.ScaleSpaceLift(3).double()(x)
    taps = dss.gaussian(0.1875)
    blur = torch.from_numpy(sum(tap * np.eye(12, k=k - 4) for k, tap in enumerate(taps)))
    assert torch.equal(levels[:, :, 0], x)
    torch.testing.assert_close(levels[:, :, 1], blur @ x @ blur.T)


def test_steered_filters_are_rescaled_ones() -> None:
    """SS-CNN: `(z / 11) W_z(z / 11 x) = W_11(x)`, up to the norms of the sampled functions; unsteered it is not."""
    torch.manual_seed(0)
    layer = ss.ScaleSteerableConv(1, 50, (11, 33)).double()
    squared = (torch.arange(-5.0, 6)[:, None] ** 2 + torch.arange(-5.0, 6) ** 2).double()
    inside = ((squared > 0) & (squared <= 16**2 / 9)).double()  # the centre, where r counts as 1, does not scale
    with torch.no_grad():
        small = layer.kernel(11)[:, 0] * inside
        large = 3 * layer.kernel(33)[:, 0, 1::3, 1::3] * inside
        even, odd = (torch.from_numpy(f)[:, 1::3, 1::3] for f in ss.harmonics(33))
        parts = (
            torch.einsum("koncq,kyxq->oyx", layer.mult_real[:, :, None], even),
            torch.einsum("koncq,kyxq->oyx", layer.mult_imag[:, :, None], odd),
        )
    assert relative(large, small) < 0.2
    assert relative(3 * (parts[0] - parts[1]) * inside, small) > 1


def test_more_sizes_make_ss_cnn_less_dependent_on_scale() -> None:
    torch.manual_seed(0)
    layer, single = (ss.ScaleSteerableConv(1, 30, sizes).double() for sizes in (ss.SIZES[1], (11,)))
    single.load_state_dict({k: v for k, v in layer.state_dict().items() if "filter" not in k}, strict=False)
    assert scale_error(layer, 0.67) < scale_error(single, 0.67) / 1.5


def test_harmonics_by_hand() -> None:
    """Orientations 0 and π give the same functions; straight up is 0; nothing lies outside of the disc."""
    even, odd = ss.harmonics(13)
    assert even.shape == (3, 13, 13, 9)
    for functions in (even, odd):
        np.testing.assert_allclose(functions[..., 0], functions[..., 8], atol=1e-12)
        assert np.linalg.matrix_rank(np.concatenate([even, odd]).transpose(0, 3, 1, 2).reshape(54, -1)) == 48
        assert functions[:, 0, 0].any() == np.False_
    assert ss.wavenumbers(13) == pytest.approx([1.469178, 2.938357, 5.876713], rel=1e-6)
    assert ss.wavenumbers(17) == pytest.approx([1.294960, 2.589920, 5.179840], rel=1e-6)
    column, row = even[1, :, 6, 0], even[1, 6, :, 0]  # of the function along the vertical
    assert abs(column[3]) > 1e3 * abs(row[3])


def test_inputs_of_another_shape_are_named() -> None:
    layers: list[tuple[nn.Module, tuple[int, ...], str]] = [
        (kanazawa.ScaleInvariantConv(2, 3), (1, 3, 9, 9), "C = 2"),
        (kanazawa.ScaleInvariantConv(2, 3), (1, 2, 9, 8), "H = 8"),
        (xu.ColumnConv(2, 3, lifts=False), (1, 2, 9, 9), "C = 14"),
        (sevf.VectorLift(2, 3), (1, 2, 9), r"\[B, C, H, W\]"),
        (sevf.VectorConv(2, 3), (1, 2, 3, 9, 9), "V = 2"),
        (dss.ScaleSpaceLift(2), (1, 3, 9, 9), "C = 2"),
        (dss.ScaleCorrelation(2, 3), (1, 2, 3, 9, 9), "S = 2"),
        (ss.ScaleSteerableConv(2, 3, (5, 7)), (1, 1, 9, 9), "C = 2"),
    ]
    for layer, shape, message in layers:
        with pytest.raises(ValueError, match=message) as error:
            layer(torch.zeros(shape))
        assert str(list(shape)) in str(error.value)
