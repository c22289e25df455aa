"""Arithmetic is counted as torch counts it and as a hand does."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sesn_lib import models
from sesn_lib.fast import accelerate
from sesn_lib.training.counting import Arithmetic, count


@pytest.mark.slow
def test_counted_arithmetic_of_the_networks_for_digits() -> None:
    """The CNN: 49 taps on three maps. SI-ConvNet: seven times the CNN's; DSS: twice, and the blur; by hand."""
    maps = sum(2 * 49 * before * after * size**2 for before, after, size in ((1, 32, 28), (32, 63, 14), (63, 95, 7)))
    head = 2 * (380 * 256 + 256 * 10)
    cnn, convnet, scale_space = (count(f"mnist_{name}_28") for name in ("cnn", "kanazawa", "dss_vector"))
    assert cnn.forward_flops == maps + head
    assert convnet.forward_flops == 7 * maps + head
    assert scale_space.forward_flops == 2 * maps + head + 2 * 2 * 9 * 28**2
    assert (cnn.parameters, scale_space.parameters) == (494_549, 494_359)
    forward = count("mnist_cnn_28", backward=False)
    assert (forward.forward_flops, forward.saved_bytes) == (cnn.forward_flops, cnn.saved_bytes)
    assert math.isnan(forward.step_flops)
    assert cnn.step_flops > 2 * cnn.forward_flops


def test_filters_are_made_once_a_batch() -> None:
    found = {images: count("mnist_ses_vector_28", images=images).forward_flops for images in (2, 4, 8)}
    once = 4 * (found[2] - found[4])  # what the whole batch shares
    assert once > found[8] / 10
    assert found[4] - found[8] == pytest.approx(once / 8)
    plain = [count("mnist_cnn_28", images=images).forward_flops for images in (2, 8)]
    assert plain[0] == plain[1]  # control: it makes none


def test_what_is_kept_is_of_the_images_and_not_the_weights() -> None:
    """The CNN's 494,549 weights of 4 bytes would be a quarter of a megabyte an image in a batch of 8."""
    two, eight = (count("mnist_cnn_28", images=images).saved_bytes for images in (2, 8))
    assert two == pytest.approx(eight, rel=0.01)
    assert two > 4 * 32 * 28**2, "the first map at least"


@pytest.mark.parametrize("name", ["mnist_cnn_28", "mnist_dss_scalar_28", "mnist_ses_vector_28"])
def test_arithmetic_is_counted_as_torch_counts_it(name: str) -> None:
    """And of the fast path as well, which torch's own counter cannot watch."""
    model, x = models.build(name), torch.randn(2, 1, 28, 28)
    with Arithmetic() as ours:
        model(x).sum().backward()
    with FlopCounterMode(display=False) as torchs:
        model(x).sum().backward()
    assert ours.flops == torchs.get_total_flops() > 0
    accelerate(model)
    with pytest.raises(ValueError, match="hook for all modules"), FlopCounterMode(display=False):
        model(x)
    with Arithmetic() as fast:
        model(x).sum().backward()
    assert fast.flops > 0
