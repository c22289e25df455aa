"""Puts the repository's public address into every notebook: the way to Colab, and the cell that installs the package.

    python .ci/colab.py https://github.com/OWNER/NAME

The address is kept in one place, `Repository` under `[project.urls]` of pyproject.toml; without an argument the
notebooks are written by what stands there (nothing: the reader is asked for the address).
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "pyproject.toml"
TEMPLATE = ROOT / "tests" / "reference" / "first_cell.py"
ASKED = 'os.environ.get("SESN_REPOSITORY")'
COLAB = "https://colab.research.google.com/github/"
ADDRESS = re.compile(r"https://[\w.-]+/[\w.-]+/[\w.-]+?(?:\.git)?/?")


def stored() -> str:
    """The address in pyproject.toml, empty if there is none yet."""
    return str(tomllib.loads(SETTINGS.read_text("utf-8"))["project"].get("urls", {}).get("Repository", ""))


def badge(address: str, name: str) -> str:
    """The line above the installing cell."""
    on_github = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)", address)
    if on_github:
        link = f"{COLAB}{on_github[1]}/blob/HEAD/notebooks/{name}"
        return f"[Open in Colab]({link}). The next cell does nothing where the package is installed."
    return (
        f"[Open in Colab]({COLAB}): give the repository's address and choose this notebook. The next cell does nothing "
        "where the package is installed."
    )


def cell(address: str) -> str:
    """The installing cell."""
    source = TEMPLATE.read_text("utf-8").strip()
    return source.replace(ASKED, f"{ASKED[:-1]}, {json.dumps(address)})") if address else source


def write(address: str) -> list[Path]:
    """Write both into every notebook that has the cell; returns those that changed."""
    changed = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        before = path.read_text("utf-8")
        notebook = json.loads(before)
        for above, here in zip(notebook["cells"], notebook["cells"][1:]):
            if "install" in here["metadata"].get("tags", []):
                above["source"] = badge(address, path.name).splitlines(keepends=True)
                here["source"] = cell(address).splitlines(keepends=True)
        after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if after != before:
            path.write_text(after, "utf-8")
            changed.append(path)
    return changed


def store(address: str) -> str:
    """Put an address into pyproject.toml; returns it without `.git` and `/` at its end.

    Raises:
        ValueError: it is none that `git clone` takes without a password.
    """
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"address is {address!r}: it must be one such as https://github.com/OWNER/NAME")
    address = address.rstrip("/").removesuffix(".git")
    text = SETTINGS.read_text("utf-8")
    entry = f'[project.urls]\nRepository = "{address}"\n'
    found = re.subn(r'\[project\.urls\]\nRepository = "[^"]*"\n', lambda _: entry, text)
    SETTINGS.write_text(
        found[0] if found[1] else text.replace("[project.scripts]", f"{entry}\n[project.scripts]"), "utf-8"
    )
    return address


def main(arguments: list[str]) -> int:
    try:
        address = store(arguments[0]) if arguments else stored()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{address or 'no address'}: {len(write(address))} notebooks changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
