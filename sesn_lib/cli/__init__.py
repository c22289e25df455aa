"""The `sesn` command: options and arguments in, progress on the screen out."""

from sesn_lib.cli.commands import app, main

__all__ = ["app", "main"]
