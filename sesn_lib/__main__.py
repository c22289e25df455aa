"""`python -m sesn_lib ...` is the `sesn` command."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
