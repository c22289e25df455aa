"""Makes mistakes in the code on purpose, one at a time in a copy, and sees whether the tests notice.

    python tests/mutants/run.py [PART ...]

`mutants.toml` beside this file lists the mistakes: a file, a text that occurs in it once, what stands there instead,
and the tests (files, or single ones) that should fail. PART chooses those whose file or texts contain it. Mutants
whose text is no longer found exactly once are an error: move them along with the code.

Exit code 0 if all were killed, 1 if one survived, 2 if one could not be tried.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.toml")
SECONDS = 300.0  # for the tests of one mutant: one that hangs has been noticed
# Imported once, before each mutant's tests run in a fork: most of the time would go into it.
HEAVY = (
    *("pytest", "hypothesis", "torch", "torch.optim", "torch._dynamo", "torch.utils.flop_counter", "torchvision"),
    *("pandas", "pandas.io.formats.style", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "PIL.Image"),
    *("scipy.stats", "statsmodels.stats.multitest", "statsmodels.stats.power", "statsmodels.stats.proportion"),
    *("nbformat", "nbconvert", "papermill", "bs4", "fontTools.ttLib", "latex2mathml.converter", "IPython"),
    *("yaml", "rich.console", "rich.table", "typer", "filelock", "sklearn.model_selection"),
)


@dataclass(frozen=True)
class Mutant:
    """One mistake: `old` in `file` becomes `new`; `tests` should fail."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        old, new = (repr(" ".join(text.split()))[:90] for text in (self.old, self.new))
        return f"{self.file}: {old} -> {new}"

    def applied(self, root: Path) -> str:
        """The file's text with the mistake in it; raises ValueError unless `old` occurs once and `new` is another."""
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.old == self.new or text.count(self.old) != 1:
            raise ValueError(f"{self}: the old text is found {text.count(self.old)} times, must be once")
        return text.replace(self.old, self.new)


def load(path: Path = LIST) -> list[Mutant]:
    """The mutants of a list."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Mutant(m["file"], m["old"], m["new"], tuple(m["tests"])) for m in content["mutant"]]


def copy(target: Path, root: Path = ROOT) -> Path:
    """The checkout's files as they are now, without what git ignores; data are linked."""
    listing = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (root / name).is_file() and not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    if (root / "data").exists():
        (target / "data").symlink_to((root / "data").resolve())
    return target


def _tests(root: Path, tests: tuple[str, ...], log: Path) -> None:
    """Runs in a fork: the tests, on the code below `root`."""
    os.setsid()
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(root)
    # No bytecode: a mutant may be as long and as old, to the second, as the one before.
    os.environ.update(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not long"]
    sys.exit(int(importlib.import_module("pytest").main([*options, *tests])))


def verdict(root: Path, tests: tuple[str, ...], seconds: float = SECONDS) -> str:
    """What the tests say: "killed" (also by the time limit), "survived", or "without tests" if there are none."""
    log = root.with_suffix(".log")
    process = multiprocessing.get_context("fork").Process(target=_tests, args=(root, tests, log))
    process.start()
    process.join(seconds)
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        return "killed"
    if process.exitcode in (0, 1, 2):  # 2: not even collected
        return "killed" if process.exitcode else "survived"
    print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    return "without tests"


def first_failure(root: Path) -> str:
    """Which test failed in the last run."""
    log = root.with_suffix(".log").read_text(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", log, re.MULTILINE)
    return failed[1] if failed else "the time limit"


def main() -> int:
    """Runs the chosen mutants and says how many were noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="only mutants whose file or texts contain one of these"
    )
    parser.add_argument("--list", type=Path, default=LIST, help="another list than mutants.toml")
    parser.add_argument("--tests", type=Path, help="a folder of tests that takes the place of the checkout's")
    parser.add_argument("--no-control", action="store_true", help="do not first run the tests without a mutant")
    chosen = parser.parse_args()
    mutants = [
        m for m in load(chosen.list) if not chosen.parts or any(part in m.file + m.old + m.new for part in chosen.parts)
    ]
    for name in HEAVY:
        importlib.import_module(name)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder) / "checkout"
        if chosen.tests:
            shutil.copytree(chosen.tests, root / "tests")
        copy(root)
        everything = tuple(sorted({test for mutant in mutants for test in mutant.tests}))
        if not chosen.no_control and verdict(root, everything, 3600.0) != "survived":
            print(root.with_suffix(".log").read_text(errors="replace")[-2000:])
            print("the tests do not pass without a mutant: nothing can be said")
            return 2
        for mutant in mutants:
            file, start = root / mutant.file, time.monotonic()
            try:
                changed, before = mutant.applied(root), file.read_bytes()
            except ValueError as error:
                counts["no longer applicable"] += 1
                print(f"NO LONGER APPLICABLE {error}", flush=True)
                continue
            file.write_text(changed, encoding="utf-8")
            said = verdict(root, mutant.tests)
            file.write_bytes(before)
            counts[said] += 1
            by = f" (by {first_failure(root)})" if said == "killed" else ""
            said = said if said == "killed" else said.upper()
            print(f"{said:9} {time.monotonic() - start:4.0f} s  {mutant}{by}", flush=True)
    tried = counts["killed"] + counts["survived"]
    print(
        ", ".join(f"{number} {word}" for word, number in counts.items()),
        f"({100 * counts['killed'] / max(tried, 1):.1f} %)",
    )
    return 2 if counts.keys() - {"killed", "survived"} else 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
