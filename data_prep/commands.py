"""What the command lines do: `python -m data_prep` and `sesn data` call these functions with `print` or the like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from data_prep import DataError, checksums, realizations, stl10
from data_prep.files import progress_bar
from data_prep.preparation import Row, prepare, prepare_all
from data_prep.splits import PROTOCOLS, REALIZATIONS, SIZES, check

__all__ = ["mnist_scale", "selection", "stl10_files", "table"]


def selection(protocol: str, realization: str | int) -> list[tuple[str, int]]:
    """(protocol, realization) pairs named on a command line: a protocol or `both`, a number or `all`.

    Raises ValueError quoting what is neither.
    """
    if protocol != "both" and protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}, both")
    protocols = PROTOCOLS if protocol == "both" else (protocol,)
    if realization == "all":
        return [(name, number) for name in protocols for number in REALIZATIONS]
    try:
        number = int(realization)
        check(protocols[0], number)
    except ValueError:
        raise ValueError(f"there is no realization {realization}; choose 0 to {REALIZATIONS[-1]}, or all") from None
    return [(name, number) for name in protocols]


def mnist_scale(
    root: str | Path | None = None,
    *,
    protocol: str = "paper",
    realization: str | int = "all",
    source: str | Path | None = None,
    png: str | Path | None = None,
    png_md5: bool = False,
    progress: bool = True,
    write: Callable[[str], object] = print,
) -> list[Row]:
    """Prepare the realizations, export them as PNG if a folder is named, and write the checksum table.

    `png` gets one folder per realization, e.g. <png>/paper-0/train/5/0.png. Errors as `preparation.prepare_all`, and
    DataError if a folder of PNG files is in the way, before anything is made.
    """
    wanted = selection(protocol, realization)
    folders = {pair: Path(png).expanduser() / f"{pair[0]}-{pair[1]}" for pair in wanted} if png is not None else {}
    for folder in folders.values():
        realizations.check_vacant(folder)
    rows = prepare_all(root, wanted, source=source, png_md5=png_md5 and not folders, progress=progress)
    digests = {(row.protocol, row.realization): row.png_md5 for row in rows}
    for (name, number), folder in folders.items():
        data = prepare(root, number, name, source=source, progress=progress)
        total = sum(SIZES[name].values())
        with progress_bar(total, f"writing {folder}", progress=progress, unit="file") as bar:
            digests[name, number] = realizations.export_png(data, folder, done=bar.update)
    for line in table(rows, digests):
        write(line)
    wrong = [
        row
        for row in rows
        if row.published_md5 not in (None, digests[row.protocol, row.realization] or row.published_md5)
    ]
    if wrong:
        numbers = ", ".join(str(row.realization) for row in wrong)
        raise DataError(
            f"PNG files of paper {numbers} have another MD5 than published although every pixel is right: "
            "this Pillow compresses PNG differently"
        )
    return rows


def table(rows: Iterable[Row], digests: dict[tuple[str, int], str | None]) -> list[str]:
    """The checksum table, line by line."""
    lines = [f"{'protocol':<9}{'r':<3}{'images':<8}{'SHA-256 of the arrays':<66}{'PNG MD5':<34}state"]
    for row in rows:
        digest = digests[row.protocol, row.realization]
        if digest is None:
            verdict = "array checksum right"
        elif row.published_md5 is None:
            verdict = "array checksum right; no MD5 published"
        else:
            verdict = f"array checksum right; {'as' if digest == row.published_md5 else 'NOT as'} published"
        origin = "made" if row.made else "stored"
        lines.append(
            f"{row.protocol:<9}{row.realization:<3}{row.images:<8}{row.checksum:<66}{digest or '(not computed)':<34}"
            f"{origin}, {verdict}"
        )
    return lines


def stl10_files(
    root: str | Path | None = None,
    *,
    source: str | Path | None = None,
    progress: bool = True,
    write: Callable[[str], object] = print,
) -> Path:
    """Fetch STL-10's labelled splits, check them and write the checksum table; raises DataError."""
    folder = stl10.fetch(root, source=source, progress=progress)
    write(f"{'file':<14}{'bytes':<12}MD5")
    for name, (size, digest) in checksums.STL10_FILES.items():
        write(f"{name:<14}{size:<12}{digest}  right")
    return folder
