"""`python -m sesn_lib ...` is the `sesn` command."""

from __future__ import annotations

from sesn_lib.cli.commands import main

if __name__ == "__main__":
    main()
