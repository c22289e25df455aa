"""STL-10's binary format, and the small file in that format that stands in for it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_prep import DataError, checksums, stl10, synthetic


def test_the_format_byte_by_byte(tmp_path):
    """As its authors describe it: colours one after another, each column by column, labels from 1."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    stl10.write(tmp_path, "train", images, np.array([0, 9]))
    content = (tmp_path / "train_X.bin").read_bytes()
    assert len(content) == 2 * 3 * 96 * 96
    for n, c, row, column in ((0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 1, 5, 7), (1, 2, 95, 94)):
        assert content[n * 27648 + c * 9216 + column * 96 + row] == images[n, c, row, column]
    assert (tmp_path / "train_y.bin").read_bytes() == bytes([1, 10])
    found, labels = stl10.read(tmp_path, "train")
    assert np.array_equal(found, images)
    assert labels.tolist() == [0, 9]
    assert labels.dtype == np.int64


def test_torchvision_reads_the_same(tmp_path):
    torchvision = pytest.importorskip("torchvision.datasets.stl10")
    images, labels = synthetic.pictures(1, seed=3)
    stl10.write(tmp_path / "stl10_binary", "test", images, labels)
    reader = torchvision.STL10.__new__(torchvision.STL10)
    reader.root, reader.base_folder = str(tmp_path), "stl10_binary"
    found, found_labels = reader._STL10__loadfile("test_X.bin", "test_y.bin")
    assert np.array_equal(found, images)
    assert np.array_equal(found_labels, labels)


def test_the_loader_reads_columns_of_colours(tmp_path, monkeypatch):
    """`data_prep.stl10.load`, told not to mind that the file is not STL-10, on one byte put there by hand."""
    content = bytearray(3 * 96 * 96)
    content[96 * 96 + 5 * 96 + 7] = 200  # the second colour, column 5, row 7
    (tmp_path / "test_X.bin").write_bytes(content)
    (tmp_path / "test_y.bin").write_bytes(bytes([10]))
    monkeypatch.setattr(stl10, "fetch", lambda *args, **options: tmp_path)
    images, labels = stl10.load(tmp_path, "test")
    assert (images.shape, images.dtype, labels.dtype) == ((1, 3, 96, 96), np.uint8, np.int64)
    assert (images[0, 1, 7, 5], images.sum(), labels.tolist()) == (200, 200, [9])


def test_stl10_where_it_is_and_the_stand_in_elsewhere(tmp_path, monkeypatch):
    found = synthetic.load_any(tmp_path, each=2)
    assert not found.genuine
    assert found.label == synthetic.LABEL
    assert len(found.train[0]) == len(found.test[1]) == 20
    assert not any((image == found.train[0]).all(axis=(1, 2, 3)).any() for image in found.test[0])
    (tmp_path / "stl10_binary").mkdir()
    for name in checksums.STL10_FILES:
        (tmp_path / "stl10_binary" / name).write_bytes(b"")
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: (split, root))
    found = synthetic.load_any(tmp_path)
    assert found.genuine
    assert found.label == "STL-10"
    assert found.classes == stl10.CLASSES
    assert found.test == ("test", tmp_path)
    (tmp_path / "stl10_binary" / "train_y.bin").unlink()
    assert not synthetic.load_any(tmp_path, each=1).genuine


def test_it_is_never_taken_for_stl10(tmp_path):
    folder = synthetic.make(tmp_path, each=1)
    folder.rename(tmp_path / "stl10_binary")
    with pytest.raises(DataError):
        stl10.load(tmp_path, "train", progress=False, source=tmp_path)


@pytest.mark.parametrize(
    ("content", "named"),
    [((b"", b""), "0 bytes"), ((bytes(100), b"\x01"), "100 bytes"), ((bytes(27648), b"\x00"), "label 0")],
)
def test_files_of_another_format_are_refused(tmp_path, content, named):
    (tmp_path / "train_X.bin").write_bytes(content[0])
    (tmp_path / "train_y.bin").write_bytes(content[1])
    with pytest.raises(DataError, match=named):
        stl10.read(tmp_path, "train")


def test_absent_files_and_impossible_arrays(tmp_path):
    with pytest.raises(DataError, match=r"train_X\.bin"):
        stl10.read(tmp_path, "train")
    with pytest.raises(ValueError, match="float64"):
        stl10.write(tmp_path, "train", np.zeros((1, 3, 96, 96)), np.zeros(1))
    with pytest.raises(ValueError, match="labels are -1"):
        stl10.write(tmp_path, "train", np.zeros((1, 3, 96, 96), np.uint8), np.array([-1]))


def test_the_same_bytes_each_time(tmp_path):
    first, second = synthetic.make(tmp_path / "a", each=2), synthetic.make(tmp_path / "b", each=2)
    names = {path.name for path in first.iterdir()}
    assert names == {"train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"}
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert (first / "train_X.bin").read_bytes() != (first / "test_X.bin").read_bytes()
    other = synthetic.make(tmp_path / "c", each=2, seed=1)
    assert (first / "train_X.bin").read_bytes() != (other / "train_X.bin").read_bytes()


def test_ten_classes_of_pictures():
    images, labels = synthetic.pictures(3, seed=0)
    assert images.shape == (30, 3, 96, 96)
    assert np.bincount(labels).tolist() == [3] * 10
    assert len(synthetic.CLASSES) == 10
    assert all(image.std() > 5 for image in images)
    flat = images.reshape(30, -1)
    assert len(np.unique(flat, axis=0)) == 30
    photograph = Image.fromarray(images[3].transpose(1, 2, 0))  # the flower is orange, its background dark
    red, _, blue = (np.asarray(channel).mean() for channel in photograph.split())
    assert red > blue
    with pytest.raises(ValueError, match="each is 0"):
        synthetic.make(each=0)


def test_pictures_are_of_the_class_that_their_label_says():
    images, labels = synthetic.pictures(2, seed=1)
    assert labels.tolist() == [label for label in range(10) for _ in range(2)]
    colours = [len(np.unique(image.reshape(3, -1), axis=1).T) for image in images]
    flat = {"stripes", "checks", "dots", "blobs"}  # two colours; the others have shades
    assert [count == 2 for count in colours] == [synthetic.CLASSES[label] in flat for label in labels]


def test_no_seed_tests_on_what_another_one_trains_on(tmp_path):
    first, second = (synthetic.make(tmp_path / str(seed), each=1, seed=seed) for seed in (0, 1))
    assert not np.array_equal(stl10.read(first, "test")[0], stl10.read(second, "train")[0])
