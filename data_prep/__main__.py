"""``python -m data_prep``: fetch, verify and make the data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from data_prep import DataError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """One line for a wrong command, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m data_prep", description="Fetch, verify and make the data sets of the report.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="mnist-scale|stl10", parser_class=_Parser)
    common = _Parser(add_help=False)
    common.add_argument(
        "--root", metavar="FOLDER", help="data folder (default: $SESN_DATA, else data/ in the checkout)"
    )
    common.add_argument(
        "--source", "--from", dest="source", metavar="FOLDER", help="a folder that holds the raw files; looked at first"
    )
    common.add_argument("--quiet", action="store_true", help="no progress bars")
    scale = commands.add_parser("mnist-scale", parents=[common], help="make MNIST-scale, print its checksums")
    scale.add_argument("--protocol", default="paper", metavar="paper|report|both", help="default: paper")
    scale.add_argument("--realization", default="all", metavar="0..5|all", help="default: all")
    scale.add_argument("--png", metavar="FOLDER", help="also export PNG files, one folder per realization")
    scale.add_argument("--png-md5", action="store_true", help="compute the PNG MD5 of stored realizations too")
    commands.add_parser("stl10", parents=[common], help="fetch STL-10's labelled splits, print their checksums")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after one line that says what is wrong."""
    try:
        parser = _parser()
        options = parser.parse_args(arguments)
        for name, value in vars(options).items():
            if isinstance(value, list):  # what argparse of Python 3.11 makes of `--root=--`
                parser.error(f"argument --{name}: expected one argument, not '--'")
    except SystemExit as end:
        return int(end.code or 0)
    from data_prep import commands  # after parsing: --help needs nothing of it

    shared = {"source": options.source, "progress": not options.quiet}
    try:
        if options.command == "stl10":
            commands.stl10_files(options.root, **shared)
        else:
            commands.mnist_scale(
                options.root,
                protocol=options.protocol,
                realization=options.realization,
                png=options.png,
                png_md5=options.png_md5,
                **shared,
            )
    except (ValueError, DataError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # a value may hold line breaks
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
