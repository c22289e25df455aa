"""Real MNIST-scale against the published checksums, controls that must fail them, and the torchvision-style class."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import DataError, checksums, mnist_scale, realizations, rescaling, sources
from data_prep.mnist_scale import MNISTScale, Realization

PAPER = json.loads((Path(__file__).parent / "reference" / "mnist_scale_paper.json").read_text())


def deviations(data: Realization) -> list[str]:
    """The arrays that differ from the authors'."""
    return [
        f"{name} {array}"
        for name, split in data.splits()
        for array in ("images", "labels")
        if split.digests()[array] != PAPER[str(data.realization)][name][f"{array}_sha256"]
    ]


@pytest.fixture(scope="module")
def made(mnist_root: Path) -> Realization:
    """Realization 0 of `paper`, made from the raw files in memory."""
    return realizations.make(*sources.mnist(mnist_root, progress=False), 0, "paper")


def test_realization_0_is_the_authors_to_the_byte(made: Realization) -> None:
    assert deviations(made) == []
    assert realizations.verify(made) is None
    assert mnist_scale.png_md5(made) == PAPER["0"]["png_md5"]


def test_all_six_realizations_are_the_authors(mnist_root: Path) -> None:
    rows = mnist_scale.prepare_all(mnist_root, [("paper", number) for number in range(6)], progress=False)
    assert [row.published_md5 for row in rows] == [PAPER[str(number)]["png_md5"] for number in range(6)]
    for row in rows:
        assert row.png_md5 in (None, row.published_md5)  # computed where the realization had to be made
        assert deviations(mnist_scale.prepare(mnist_root, row.realization, progress=False)) == []


def test_the_report_protocol_by_its_definition(mnist_root: Path) -> None:
    data = mnist_scale.prepare(mnist_root, 0, "report", progress=False)
    assert data.checksum == checksums.MNIST_SCALE["report"][0]
    assert [len(data.train), len(data.val), len(data.test)] == [10_000, 2_000, 48_000]
    heights = np.array([np.ptp(np.flatnonzero(image.any(axis=1))) + 1 for image in data.val.images])
    assert (heights <= (28 * data.val.factors).astype(int)).all()
    images, labels = sources.mnist(mnist_root, progress=False)
    images[60_000:] = 0  # MNIST's test images are not touched
    assert realizations.make(images, labels, 0, "report").checksum == data.checksum


@pytest.mark.parametrize("array", ["images", "labels", "factors"])
def test_one_flipped_bit_changes_the_checksum(made: Realization, array: str) -> None:
    flipped = getattr(made.val, array).copy()
    flipped.view(np.uint8).reshape(-1)[-8] ^= 1
    val = mnist_scale.Split(**(vars(made.val) | {array: flipped}))
    other = Realization("paper", 0, made.train, val, made.test)
    assert realizations.verify(other) is not None
    assert deviations(other) == ([] if array == "factors" else [f"val {array}"])


def test_swapped_splits_change_the_checksum(made: Realization) -> None:
    fault = realizations.verify(Realization("paper", 0, made.val, made.train, made.test))
    assert fault is not None
    assert fault.endswith(f" instead of {made.checksum}")
    assert realizations.verify(made) is None, "the control"


def test_a_shifted_centre_changes_the_checksum(
    made: Realization, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifted = partial(rescaling.affine_bicubic, centre=14.0)
    monkeypatch.setitem(realizations.METHODS, "paper", shifted)
    other = realizations.make(*sources.mnist(mnist_root, progress=False), 0, "paper")
    assert deviations(other) == ["train images", "test images", "val images"]
    assert realizations.verify(other) is not None


def test_pixel_statistics_are_those_of_the_normalisation(made: Realization) -> None:
    pixels = made.train.images / 255
    assert abs(pixels.mean() - mnist_scale.MEAN) < 1e-3
    assert abs(pixels.std() - mnist_scale.STD) < 2e-3


def test_the_data_set_class(mnist_root: Path, made: Realization) -> None:
    data = MNISTScale(mnist_root, 0, "val")
    assert len(data) == 2_000
    image, label = data[7]
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("L", (28, 28))
    assert np.array_equal(np.asarray(image), made.val.images[7])
    assert (type(label), label) == (int, made.val.labels[7])
    assert "Protocol: paper" in repr(data)
    moved = MNISTScale(
        mnist_root, 0, "val", transform=np.asarray, target_transform=lambda digit: -digit, download=False
    )
    assert moved[7][0].shape == (28, 28)
    assert moved[7][1] == -label


def test_the_data_set_class_with_a_loader(mnist_root: Path) -> None:
    from torch.utils.data import DataLoader
    from torchvision.transforms import ToTensor

    images, labels = next(iter(DataLoader(MNISTScale(mnist_root, 0, "val", transform=ToTensor()), batch_size=16)))
    assert images.shape == (16, 1, 28, 28)
    assert labels.shape == (16,)


def test_the_data_set_class_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'valid'; choose one of train, val, test"):
        MNISTScale(tmp_path, 0, "valid")
    with pytest.raises(ValueError, match="there is no realization 7; choose 0 to 5"):
        MNISTScale(tmp_path, 7)
    with pytest.raises(ValueError, match="unknown protocol 'papper'"):
        mnist_scale.prepare(tmp_path, 0, "papper")
    with pytest.raises(DataError, match="use download=True"):
        MNISTScale(tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []
