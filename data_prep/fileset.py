"""Files of known size and MD5: found, checked, copied into place; whatever the source, only what is right is taken."""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from data_prep import DataError
from data_prep.archives import kind_of, members
from data_prep.checksums import new_md5
from data_prep.download import Unavailable
from data_prep.files import Unwritable, ensure_folder, progress_bar, reason, write_aside

CHUNK = 1 << 20
Content = IO[bytes] | GzipFile

log = logging.getLogger(__name__)


class _Refused(Exception):
    """A content that turned out wrong while it was read; the message says how, in a few words."""


class FileSet:
    """The files of a data set, on their way into one folder.

    Arguments:
        title: of the data set.
        folder: where they belong.
        files: name -> (size in bytes, MD5).
        spellings: the names under which a file may lie in other folders, packed (.gz) or not.
        archive: a .tar.gz that may lie there instead; empty: none.
        inside: the folder in an archive that holds the files.
        limit: bytes that an archive may unpack to.
        spare: gives the folder in place of one that takes no files, for what is found beside it or in a named source.
        progress: whether bars are shown.

    Attributes:
        missing: names of the files that are not there yet.
        refused: what the source that is asked had, and why it was not taken.
    """

    def __init__(
        self,
        title: str,
        folder: Path,
        files: Mapping[str, tuple[int, str]],
        *,
        spellings: Callable[[str], Sequence[str]] = lambda name: (name,),
        archive: str = "",
        inside: str,
        limit: int,
        spare: Callable[[], Path] | None = None,
        progress: bool = True,
    ) -> None:
        self.title, self.folder, self.files, self.progress = title, folder, files, progress
        self.spellings, self.archive, self.inside, self.limit = spellings, archive, inside, limit
        self.spare, self.missing, self.refused = spare, set(files), list[str]()

    def fetch(
        self,
        places: Sequence[Path],
        source: str | Path | None,
        below: Sequence[str],
        remote: Mapping[str, Callable[[FileSet], object]],
        advice: str,
    ) -> Path:
        """See that all files are in place, asking one source after the other; returns the folder.

        Arguments:
            places: folders to look in that belong to the data folder.
            source: a folder that the user names, looked in next.
            below: where in it, "" for itself.
            remote: title -> what asks it: calls `accept` for all that is `missing`, or raises Unavailable.
            advice: how the message ends.

        Raises:
            DataError: the files cannot be had; it names what was tried. The source is no folder. A disk refuses.
        """
        tried: list[str] = []
        named = None if source is None else Path(source).expanduser()
        own, folder = [self.folder, *places], self.folder
        self._ask("the data folder", tried, lambda _: self._look_anyhow(own))
        if self.missing and named is not None and not named.is_dir():
            lacking = self.archive or ", ".join(sorted(self.missing))
            raise DataError(f"source {named} is not a folder; name the one that holds {lacking}")
        if named is not None:
            self._ask(f"folder {named}", tried, lambda _: self._look_anyhow([named / part for part in below], own))
        if self.missing:
            ensure_folder(folder)
        for title, ask in remote.items():
            self._ask(title, tried, ask)
        if self.missing:
            lacking = ", ".join(sorted(self.missing))
            raise DataError(
                f"{self.title} could not be had: {lacking} missing after trying {'; '.join(tried)}. {advice}"
            )
        return self.folder

    def _ask(self, title: str, tried: list[str], ask: Callable[[FileSet], object]) -> None:
        if not self.missing:
            return
        self.refused, absent = [], list[str]()
        try:
            ask(self)
        except Unavailable as error:
            absent.append(str(error))  # a source that cannot be asked is no news while others can
        except OSError as error:  # of a temporary folder, say
            absent.append(reason(error))
        for fault in self.refused:
            log.warning("refused from %s: %s", title, fault)
        if self.missing:
            had = self.refused + absent or [f"{name} not there" for name in sorted(self.missing)]
            tried.append(f"{title} ({', '.join(had)})")

    def _look_anyhow(self, places: Sequence[Path], before: Sequence[Path] = ()) -> None:
        """As `look`; where the folder takes no files, they are put into the spare one, with those found `before`."""
        try:
            self.look(places)
        except Unwritable as error:
            if self.spare is None:
                raise
            self.folder, self.missing = self.spare(), set(self.files)
            self.look([self.folder, *before, *places])
            log.warning("%s; until then %s is unpacked elsewhere, anew by each program", error, self.title)

    def look(self, places: Sequence[Path]) -> None:
        """Take what is right from some folders: from single files, then from archives."""
        for place in places:
            for name in sorted(self.missing):
                for spelling in self.spellings(name):
                    if name in self.missing:
                        self._take(name, place / spelling)
        for place in places:
            if self.missing and (place / self.archive).is_file():
                self.unpack(place / self.archive)

    def _take(self, name: str, path: Path) -> None:
        """Take a file, packed or not, if it is there and right."""
        try:
            with path.open("rb") as file:
                kind = kind_of(file.read(300))
                file.seek(0)
                packed = kind is None and (path.suffix == ".gz" or path.stat().st_size != self.files[name][0])
                content: Content = GzipFile(fileobj=file) if packed else file
                fault = self.accept(name, content, in_place=path == self.folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.refused.append(f"{path} cannot be read: {reason(error)}")
            return
        if fault is None:
            return
        if kind == "an HTML page":
            fault = f"{kind}, not {self.title}"
        elif kind is not None and path.suffix == ".gz":
            fault = f"{kind}, and {fault}"
        self.refused.append(f"{path} {fault}")

    def unpack(self, archive: Path) -> None:
        """Take what is right from an archive."""
        try:
            with closing(members(archive, self.limit)) as contents:
                for path, content in contents:
                    name = path.removeprefix("./").removeprefix(f"{self.inside}/")
                    if name in self.missing and (fault := self.accept(name, content)):
                        self.refused.append(f"{name} {fault}")
                    if not self.missing:
                        return
        except tarfile.TarError as error:
            with archive.open("rb") as file:
                kind = kind_of(file.read(300))
            self.refused.append(f"{archive.name} is {kind}" if kind else f"damaged {archive.name}: {error}")

    def accept(self, name: str, content: Content, *, in_place: bool = False) -> str | None:
        """Copy a content into place, or only check one that is there; what is wrong with it, None if nothing is."""
        target: AbstractContextManager[Any] = nullcontext() if in_place else write_aside(self.folder / name)
        try:
            with target as file:
                self._copy(name, content, file)
        except _Refused as error:
            return str(error)
        self.missing.discard(name)
        return None

    def _copy(self, name: str, content: Content, target: IO[bytes] | None) -> None:
        size, expected = self.files[name]
        digest, left = new_md5(), size + 1
        with progress_bar(size, name if target else f"checking {name}", progress=self.progress, unit="B") as bar:
            for chunk in _chunks(content, left):
                digest.update(chunk)
                if target is not None:
                    target.write(chunk)
                left -= len(chunk)
                bar.update(len(chunk))
        if left != 1:
            raise _Refused(f"{size + 1 - left} bytes instead of {size}")
        if digest.hexdigest() != expected:
            raise _Refused(f"MD5 {digest.hexdigest()} instead of {expected}")


def _chunks(content: Content, most: int) -> Iterator[bytes]:
    """At most so many bytes, in pieces of at most CHUNK. Raises _Refused where they cannot be read."""
    while most > 0:
        try:
            chunk = content.read(min(CHUNK, most))
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise _Refused("a damaged .gz" if isinstance(content, GzipFile) else f"cannot be read: {error}") from None
        if not chunk:
            return
        most -= len(chunk)
        yield chunk
