"""Realizations on demand: load what is stored and right, make, verify and store the rest, several at once."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from data_prep import DataError, checksums, realizations, sources
from data_prep.files import HEARTBEAT, data_folder, progress_bar, usable_cores
from data_prep.realizations import Realization, Split
from data_prep.splits import SIZES, SPLITS, check, plan


@dataclass(frozen=True)
class Row:
    """One line of the checksum table: a verified realization, and the MD5 of its PNG files where it was computed."""

    protocol: str
    realization: int
    images: int
    checksum: str
    path: Path
    made: bool
    png_md5: str | None = None

    @property
    def published_md5(self) -> str | None:
        """The MD5 that the authors publish for this realization, None for the `report` protocol."""
        return checksums.PAPER_PNG_MD5[self.realization] if self.protocol == "paper" else None


def prepare(
    root: str | Path | None = None,
    realization: int = 0,
    protocol: str = "paper",
    *,
    source: str | Path | None = None,
    progress: bool = True,
) -> Realization:
    """A verified realization; made and stored under `root` where it is not there yet, or damaged.

    Arguments:
        root: the data folder (default `files.data_folder()`).
        source: a folder to look for raw MNIST first.

    Raises:
        ValueError: an unknown protocol or realization.
        DataError: the data cannot be had or come out wrong.
    """
    check(protocol, realization)
    folder = data_folder(root)
    stored = realizations.load(folder, realization, protocol)
    return stored or _make(folder, realization, protocol, source, progress)


def originals(
    root: str | Path | None = None,
    realization: int = 0,
    split: str = "test",
    protocol: str = "paper",
    *,
    source: str | Path | None = None,
    progress: bool = True,
) -> Split:
    """The MNIST digits behind a split of a realization, in its order, before they are scaled; `factors` is what the
    realization scales each by. Arguments as `prepare`.

    Raises:
        ValueError: an unknown split, protocol or realization.
        DataError: MNIST cannot be had.
    """
    check(protocol, realization)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of train, val, test")
    images, labels = sources.mnist(data_folder(root), source=source, progress=progress)
    part = plan(labels, realization, protocol)[split]
    return Split(images[part.indices], labels[part.indices].astype("int64"), part.factors)


def prepare_all(
    root: str | Path | None,
    wanted: Iterable[tuple[str, int]],
    *,
    source: str | Path | None = None,
    png_md5: bool | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[Row]:
    """Prepare several (protocol, realization); those that have to be made are made side by side, one process each.

    All are checked by the SHA-256 of their arrays. `png_md5` says of which the MD5 of the authors' PNG files is had as
    well, seconds each: True of all, False of none, None of the `paper` ones that are made here. `workers` defaults to
    the number of usable processor cores. Errors as `prepare`. Returns the rows in the order of `wanted`.
    """
    pairs = list(dict.fromkeys(wanted))
    for protocol, realization in pairs:
        check(protocol, realization)
    folder = data_folder(root)
    rows = {pair: _stored(folder, *pair) for pair in pairs}
    missing = [pair for pair in pairs if rows[pair] is None]
    if missing:
        sources.mnist(folder, source=source, progress=progress)  # once, before several processes need it
    tasks = [pair for pair in pairs if rows[pair] is None or png_md5]
    workers, heard = min(workers or usable_cores(), len(tasks)), time.monotonic()
    with progress_bar(len(tasks), "MNIST-scale", progress=progress and workers > 1, unit="realization") as bar:
        for row in _in_processes(folder, tasks, png_md5, workers) if workers > 1 else ():
            if row is not None:
                rows[row.protocol, row.realization] = row
                tasks.remove((row.protocol, row.realization))
                bar.update()
            if time.monotonic() - heard >= HEARTBEAT:
                heard = time.monotonic()
                bar.refresh()
    for pair in tasks:  # what processes did not do
        rows[pair] = _work(folder, *pair, png_md5, progress)
    return [replace(row, made=pair in missing) for pair, row in rows.items() if row is not None]


def _make(folder: Path, realization: int, protocol: str, source: str | Path | None, progress: bool) -> Realization:
    """Make, verify and store a realization; raises DataError."""
    images, labels = sources.mnist(folder, source=source, progress=progress)
    total = sum(SIZES[protocol].values())
    with progress_bar(total, f"MNIST-scale {protocol} {realization}", progress=progress, unit="image") as bar:
        made = realizations.make(images, labels, realization, protocol, done=bar.update)
    fault = realizations.verify(made)
    if fault is not None:
        used = ", ".join(f"{name} {version(name)}" for name in ("pillow", "scikit-learn", "numpy"))
        raise DataError(
            f"MNIST-scale {protocol} {realization} came out with {fault} and was not stored; one of {used} "
            "computes differently from the releases in environment.yml"
        )
    realizations.store(made, folder)
    return made


def _row(folder: Path, data: Realization, made: bool, png_md5: str | None = None) -> Row:
    path = realizations.path_of(folder, data.realization, data.protocol)
    images = sum(len(split) for _, split in data.splits())
    return Row(data.protocol, data.realization, images, data.checksum, path, made, png_md5)


def _stored(folder: Path, protocol: str, realization: int) -> Row | None:
    data = realizations.load(folder, realization, protocol)
    return None if data is None else _row(folder, data, False)


def _work(folder: Path, protocol: str, realization: int, png_md5: bool | None, progress: bool = False) -> Row:
    """Prepare one realization, in this process or another, and say how it came out."""
    stored = realizations.load(folder, realization, protocol)
    made = stored is None
    data = stored or _make(folder, realization, protocol, None, progress)
    if not (made and protocol == "paper" if png_md5 is None else png_md5):
        return _row(folder, data, made)
    total = sum(len(split) for _, split in data.splits())
    with progress_bar(total, f"PNG files of {protocol} {realization}", progress=progress, unit="image") as bar:
        return _row(folder, data, made, realizations.png_md5(data, done=bar.update))


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_processes(
    folder: Path, tasks: list[tuple[str, int]], png_md5: bool | None, workers: int
) -> Iterable[Row | None]:
    """Yield the rows as they are finished, None after a second without one; fewer than asked for where the platform
    refuses to start processes.

    New processes are spawned: a fork of one that has started threads (torch does) may hang.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _leave_interrupts_to_the_parent) as pool:
        futures = [pool.submit(_work, folder, protocol, realization, png_md5) for protocol, realization in tasks]
        try:
            waiting = set(futures)
            while waiting:
                finished, waiting = wait(waiting, min(1.0, HEARTBEAT), FIRST_COMPLETED)
                yield from (future.result() for future in finished) if finished else (None,)
        except BrokenProcessPool:
            return
        finally:
            for future in futures:
                future.cancel()
