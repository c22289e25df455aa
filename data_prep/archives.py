"""The files in a .tar.gz, read in place: nothing is unpacked to the disk, so no path and no link in it matters."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import IO

from data_prep.files import reason

PIECE = 1 << 24  # bytes; no header of an honest archive is larger, and contents are read in such pieces


def members(path: Path, limit: int) -> Generator[tuple[str, IO[bytes]]]:
    """(name, content) of each regular file, in the archive's order; folders, links and devices are passed over.

    A content is to be read before the next one is asked for, in pieces of at most `PIECE` bytes. Unpacked, the archive
    may have `limit` bytes.

    Raises:
        tarfile.ReadError: here or while a content is read: it is damaged or larger.
    """
    try:
        with _Unpacked(path, limit) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a million empty files should not fill the memory
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, content
    except tarfile.ReadError:
        raise
    except OSError as error:
        raise tarfile.ReadError(reason(error)) from None
    except Exception as error:  # tarfile meets made-up headers with errors of many kinds, RecursionError among them
        raise tarfile.ReadError(f"{type(error).__name__} {error}".strip()) from None


def kind_of(beginning: bytes) -> str | None:
    """What a file is that should be a .gz, by its first 300 bytes, in a few words; None if it is one."""
    if beginning[:2] == b"\x1f\x8b":
        return None
    if not beginning:
        return "empty"
    if beginning.lstrip()[:1] == b"<":
        return "an HTML page"
    if beginning[257:262] == b"ustar" or beginning[:3] == b"\0\0\x08":
        return "already unpacked"
    return "no .gz"


class _Unpacked(gzip.GzipFile):
    """The unpacked bytes of a .gz, up to a limit; what is beyond it is not even unpacked."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "rb")
        self.limit = limit

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"a header that asks for {size} bytes")
        self._check(self.tell() + size - tarfile.RECORDSIZE)
        try:
            return super().read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise tarfile.ReadError(str(error)) from None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check(offset)
        try:
            return super().seek(offset, whence)
        except (OSError, EOFError, zlib.error) as error:
            raise tarfile.ReadError(str(error)) from None

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise tarfile.ReadError(f"it unpacks to more than {self.limit} bytes")
