"""The command line, by itself as `python -m data_prep` and within `sesn data`: fetch, verify and make the data sets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_prep import DataError

if TYPE_CHECKING:
    from data_prep.preparation import Row

NAME = "python -m data_prep"

RootOption = Annotated[
    Path | None, typer.Option("--data", "--root", help="Data folder. [$SESN_DATA, else data/ in the checkout]")
]
SourceOption = Annotated[Path | None, typer.Option("--source", "--from", help="Folder to look for the files in first.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]

app = typer.Typer(
    help="Fetch, verify and make the data sets.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command("mnist-scale")
def mnist_scale(
    protocol: Annotated[str, typer.Option(help="paper, report or both.")] = "paper",
    realization: Annotated[str, typer.Option(help="0 to 5, or all.")] = "all",
    root: RootOption = None,
    source: SourceOption = None,
    png: Annotated[Path | None, typer.Option(help="Export the authors' folders of PNG files here too.")] = None,
    png_md5: Annotated[bool, typer.Option("--png-md5", help="Compare with the MD5 that the authors publish.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Make and verify MNIST-scale, fetching MNIST if need be, and print its checksums."""
    # `png` gets one folder per realization, e.g. <png>/paper-0/train/5/0.png.
    from data_prep import files, preparation, realizations, splits

    wanted = selection(protocol, realization)
    folders = {pair: png.expanduser() / f"{pair[0]}-{pair[1]}" for pair in wanted} if png is not None else {}
    for folder in folders.values():
        realizations.check_vacant(folder)
    make_md5 = False if folders else png_md5 or None  # a folder that is written gives its MD5
    rows = preparation.prepare_all(root, wanted, source=source, png_md5=make_md5, progress=not quiet)
    digests = {(row.protocol, row.realization): row.png_md5 for row in rows}
    for (name, number), folder in folders.items():
        data = preparation.prepare(root, number, name, source=source, progress=not quiet)
        total = sum(splits.SIZES[name].values())
        with files.progress_bar(total, f"writing {folder}", progress=not quiet, unit="file") as bar:
            digests[name, number] = realizations.export_png(data, folder, done=bar.update)
    for line in table(rows, digests):
        typer.echo(line)
    computed = [row for row in rows if row.published_md5 and digests[row.protocol, row.realization]]
    wrong = [str(row.realization) for row in computed if digests[row.protocol, row.realization] != row.published_md5]
    if wrong:
        raise DataError(
            f"PNG files of paper {', '.join(wrong)} have another MD5 than published although every pixel is right: "
            "this Pillow compresses PNG differently"
        )


@app.command("stl10")
def stl10(root: RootOption = None, source: SourceOption = None, quiet: QuietOption = False) -> None:
    """Fetch and verify STL-10's labelled splits, and print their checksums."""
    from data_prep import checksums
    from data_prep.stl10 import fetch

    fetch(root, source=source, progress=not quiet)
    typer.echo(f"{'file':<14}{'bytes':<12}MD5")
    for name, (size, digest) in checksums.STL10_FILES.items():
        typer.echo(f"{name:<14}{size:<12}{digest}  right")


def selection(protocol: str, realization: str | int) -> list[tuple[str, int]]:
    """(protocol, realization) pairs named on a command line: a protocol or `both`, a number or `all`.

    Raises:
        ValueError: it is neither.
    """
    from data_prep.splits import PROTOCOLS, REALIZATIONS, check

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


def table(rows: Iterable[Row], digests: Mapping[tuple[str, int], str | None]) -> list[str]:
    """The checksum table, line by line."""
    lines = [f"{'protocol':<9}{'r':<3}{'images':<8}{'SHA-256 of the arrays':<66}{'PNG MD5':<34}state"]
    for row in rows:
        digest = digests[row.protocol, row.realization]
        verdict = "array checksum right"
        if digest is not None and row.published_md5 is None:
            verdict += "; no MD5 published"
        elif digest is not None:
            verdict += f"; {'as' if digest == row.published_md5 else 'NOT as'} published"
        lines.append(
            f"{row.protocol:<9}{row.realization:<3}{row.images:<8}{row.checksum:<66}{digest or '(not computed)':<34}"
            f"{'made' if row.made else 'stored'}, {verdict}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after one line that says what is wrong."""
    usage_error: Any = typer.BadParameter.__mro__[2]  # click's ClickException, which newer typers carry inside
    try:
        return int(app(args=arguments, prog_name=NAME, standalone_mode=False) or 0)
    except usage_error as error:
        message = f"{error.format_message().rstrip('.')}; see {NAME} --help"
    except (ValueError, DataError, OSError) as error:
        message = str(error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # a value may hold line breaks
    return 2
