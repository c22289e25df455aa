"""STL-10's files: a small data set in the same format, wherever it comes from, whatever is wrong with it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tiny_mnist
import tiny_stl10
from tiny_stl10 import COUNTS, members

from data_prep import DataError, checksums, stl10
from data_prep.download import Unavailable


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four .bin files, expected by `data_prep`, and no network."""

    def refuse(urls: list[str], *_: object, **__: object) -> None:
        raise Unavailable(f"no route to {urls[0]}")

    monkeypatch.setattr(stl10, "download", refuse)
    return tiny_stl10.install(monkeypatch)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_tables_are_torchvisions() -> None:
    from torchvision.datasets import STL10

    listed = {name: digest for name, digest in STL10.train_list + STL10.test_list if name != "unlabeled_X.bin"}
    assert {name: digest for name, (_, digest) in checksums.STL10_FILES.items()} == listed
    assert (STL10.filename, STL10.tgz_md5) == checksums.STL10_ARCHIVE
    pixels = 3 * 96 * 96
    sizes = {"train_X.bin": 5000 * pixels, "train_y.bin": 5000, "test_X.bin": 8000 * pixels, "test_y.bin": 8000}
    assert {name: size for name, (size, _) in checksums.STL10_FILES.items()} == sizes


def test_images_and_labels_are_as_torchvision_reads_them(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import STL10

    given = tiny_mnist.write_folder(tmp_path / "given", tiny)
    for split, count in COUNTS.items():
        images, labels = stl10.load(tmp_path / "data", split, source=given, progress=False)
        assert (images.shape, images.dtype) == ((count, 3, 96, 96), np.uint8)
        assert (labels.dtype, labels.tolist()) == (np.int64, list(range(count)))
        monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)
        theirs = STL10(tmp_path / "data", split)
        assert np.array_equal(images, theirs.data)
        assert labels.tolist() == theirs.labels.tolist()  # type: ignore[union-attr]
    assert names(tmp_path / "data" / "stl10_binary") == sorted(tiny)


@pytest.mark.parametrize("place", ["stl10_binary", "archive"])
def test_an_unpacked_folder_or_the_archive_will_do(tiny: dict[str, bytes], tmp_path: Path, place: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    if place == "archive":
        tiny_mnist.write_archive(given / "stl10_binary.tar.gz", members(tiny) | {"stl10_binary/unlabeled_X.bin": b"x"})
    else:
        tiny_mnist.write_folder(given / place, tiny)
    folder = stl10.fetch(tmp_path / "data", source=given, progress=False)
    assert names(folder) == sorted(tiny)
    (given / "gone").mkdir()
    assert stl10.fetch(tmp_path / "data", progress=False) == folder  # nothing is fetched twice


def test_words_when_nothing_works(tiny: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with pytest.raises(DataError) as caught:
        stl10.fetch(tmp_path / "data", source=tmp_path / "given", progress=False)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("train_X.bin", str(tmp_path / "given"), "no route to", "Put stl10_binary.tar.gz into a folder"):
        assert part in message
    with pytest.raises(ValueError, match="unknown split 'unlabeled'; choose one of train, test"):
        stl10.load(tmp_path / "data", "unlabeled")


def test_labels_that_a_byte_cannot_hold_are_refused(tmp_path: Path) -> None:
    """They are stored from 1 on, so 255 would come back as -1."""
    images, labels = np.zeros((2, 3, 96, 96), dtype=np.uint8), np.array([0, 254])
    stl10.write(tmp_path, "test", images, labels)
    assert stl10.read(tmp_path, "test")[1].tolist() == [0, 254]
    for wrong in (255, -1):
        with pytest.raises(ValueError, match="they must be 0 to 254"):
            stl10.write(tmp_path, "test", images, np.array([0, wrong]))


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_a_damaged_file_is_refused_named_and_fetched_again(
    tiny: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    content = tiny["test_X.bin"]
    bad = content[:-1] if damage == "short" else bytes([content[0] ^ 1]) + content[1:]
    folder = tiny_mnist.write_folder(tmp_path / "data" / "stl10_binary", tiny | {"test_X.bin": bad})
    with pytest.raises(DataError, match=r"test_X\.bin missing"):
        stl10.load(tmp_path / "data", "test", progress=False)
    assert len(stl10.load(tmp_path / "data", "train", progress=False)[0]) == 6  # the other split is all right
    given = tiny_mnist.write_folder(tmp_path / "given", tiny)
    with caplog.at_level(logging.WARNING):
        stl10.load(tmp_path / "data", "test", source=given, progress=False)
    assert f"refused from the data folder: {folder / 'test_X.bin'} " in caplog.text
    assert (folder / "test_X.bin").read_bytes() == content


@pytest.mark.parametrize("fault", ["flipped", "long", "truncated archive"])
def test_a_damaged_archive_leaves_nothing_wrong_behind(tiny: dict[str, bytes], tmp_path: Path, fault: str) -> None:
    content = tiny["test_X.bin"]
    bad = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "long": content + b"\0"}.get(fault, content)
    given = tmp_path / "given"
    given.mkdir()
    archive = tiny_mnist.write_archive(given / "stl10_binary.tar.gz", members(tiny | {"test_X.bin": bad}))
    if fault == "truncated archive":
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 3 // 4])
    with pytest.raises(DataError, match=r"test_X\.bin"):
        stl10.fetch(tmp_path / "data", source=given, progress=False)
    for path in (tmp_path / "data" / "stl10_binary").iterdir():
        assert path.read_bytes() == tiny[path.name]  # only whole, right files


def test_an_archive_cannot_write_elsewhere(tiny: dict[str, bytes], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(tiny["test_X.bin"])
    given = tmp_path / "given"
    given.mkdir()
    inside = members({name: tiny[name] for name in tiny if name != "test_X.bin"}) | {"../escaped": b"x"}
    links = {"stl10_binary/test_X.bin": str(secret)}
    tiny_mnist.write_archive(given / "stl10_binary.tar.gz", inside, links)
    with pytest.raises(DataError, match=r"test_X\.bin not there"):
        stl10.fetch(tmp_path / "data", source=given, progress=False)
    assert names(tmp_path) == ["data", "given", "secret"]
    assert "test_X.bin" not in names(tmp_path / "data" / "stl10_binary")


@pytest.mark.parametrize("place", ["", "stl10_binary"])
def test_an_archive_in_the_data_folder_is_found(tiny: dict[str, bytes], tmp_path: Path, place: str) -> None:
    """Torchvision and browsers leave it there; an unpacked file that is cut off lies beside it."""
    (tmp_path / "stl10_binary").mkdir()
    first = next(iter(tiny))
    (tmp_path / "stl10_binary" / first).write_bytes(tiny[first][:-1])
    tiny_mnist.write_archive(tmp_path / place / "stl10_binary.tar.gz", members(tiny))
    folder = stl10.fetch(tmp_path, progress=False)
    assert {path.name: path.read_bytes() for path in folder.glob("*.bin")} == tiny


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!doctype html><html>", "stl10_binary.tar.gz is an HTML page"),
        (b"", "stl10_binary.tar.gz is empty"),
        (b"\0" * 257 + b"ustar" + b"\0" * 300, "stl10_binary.tar.gz is already unpacked"),
        (b"\x1f\x8bcut off", "damaged stl10_binary.tar.gz: "),
    ],
)
def test_what_the_archive_is_instead_is_said(content: bytes, said: str, tiny: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "stl10_binary.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"the data folder \({said}.*; torchvision's address") as told:
        stl10.fetch(tmp_path, progress=False)
    assert len(str(told.value).splitlines()) == 1
