"""Where a number comes from: seeds, versions, the commit, the device. Host, user and paths are never named."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sesn_lib import machine
from sesn_lib.checks import DeviceError, check_device, check_threads, check_whole, shown

__all__ = [
    "Commit",
    "cell_seed",
    "commit_time",
    "device_description",
    "environment",
    "git",
    "git_commit",
    "loaded_commit",
    "resolve_device",
    "seed_everything",
    "seeded",
    "sharing",
    "unknown_commit",
    "use_threads",
    "versions",
]

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow")
COMMIT_VARIABLE = "SESN_GIT_COMMIT"
JOBS_VARIABLE = "SESN_JOBS"  # by which the processes of a runner, and their records, know how they share a GPU
_TOLD = re.compile("([0-9a-f]{7,40})(-dirty)?")
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
_ROOT = Path(__file__).resolve().parent.parent
_CODE = ("sesn_lib", "data_prep", "pyproject.toml")


# Seeds


def cell_seed(cell: Any) -> int:
    """The seed of a cell of the grid: 31 bits of SHA-256 over its name, the same in every process and on every machine.

    `cell` is a name, e.g. ``mnist_ses_vector_28-x0.5-r3``, or an object with such a ``name``.
    """
    name = cell if isinstance(cell, str) else cell.name
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def seed_everything(seed: int, deterministic: bool = True) -> int:
    """Seeds ``random``, NumPy's legacy state and torch (every device); returns the seed.

    `deterministic` also makes cuDNN choose deterministic algorithms, and the same ones each time. The CPU is
    deterministic as it is.

    Raises:
        ValueError: a seed outside of NumPy's range, 0 <= seed < 2**32.
    """
    check_whole(0, most=2**32 - 1, seed=seed)
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if deterministic:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return seed


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block ambient randomness follows `seed`; after it everything goes on as if the block had not been."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        initialised = torch.cuda.is_available() and torch.cuda.is_initialized()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if initialised else []):
            seed_everything(seed, deterministic=False)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


# Versions and commit


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; ``cuda``, ``cudnn`` where this torch has them."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = torch.__version__ if package == "torch" else metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "absent"
    if torch.version.cuda:
        installed["cuda"] = torch.version.cuda
        if torch.backends.cudnn.is_available():
            installed["cudnn"] = str(torch.backends.cudnn.version())
    return installed


class Commit(NamedTuple):
    """The commit that the running code came from (None: unknown) and whether the code differs from it."""

    commit: str | None
    dirty: bool | None


def git_commit(folder: Path | None = None) -> Commit:
    """The commit of the checkout that holds this library. Changed code makes it dirty, notebooks and records do not.

    A copy without its ``.git`` (a GPU machine, say) can be told by the environment variable ``SESN_GIT_COMMIT``, e.g.
    ``1a2b3c4`` or ``1a2b3c4-dirty``. An installed library and a machine without git give ``Commit(None, None)``.
    """
    root = folder or _ROOT
    # Asking for a tracked file keeps an environment that merely lies inside some checkout from borrowing its commit.
    if git(root, "ls-files", "--error-unmatch", "sesn_lib/provenance.py") is None:
        told = _TOLD.fullmatch(os.environ.get(COMMIT_VARIABLE, "").strip())
        return Commit(told[1], told[2] is not None) if told else Commit(None, None)
    head = git(root, "rev-parse", "HEAD")
    changes = git(root, "status", "--porcelain", "--untracked-files=normal", "--", *_CODE)
    return Commit(head, None if changes is None else bool(changes))


def unknown_commit(folder: Path | None = None) -> str:
    """Why there is no commit to be told, in one line that names the remedy."""
    root = folder or _ROOT
    remedy = f"set {COMMIT_VARIABLE} to the commit of the code"
    if told := os.environ.get(COMMIT_VARIABLE, "").strip():
        remedy = f"{COMMIT_VARIABLE} is {shown(told)}: it must be a commit such as 1a2b3c4 or 1a2b3c4-dirty"
    if not (root / ".git").exists():
        return f"no git checkout; {remedy}"
    try:
        done = _ask_git(root, "rev-parse", "HEAD")
    except FileNotFoundError:
        return f"git is not installed; {remedy}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"git does not answer ({type(error).__name__}); {remedy}"
    if "dubious ownership" in done.stderr or "safe.directory" in done.stderr:
        allow = "git config --global --add safe.directory FOLDER"
        return f"git refuses a checkout of another owner; {remedy}, or allow it: {allow}"
    said = " ".join(done.stderr.split()[:20]) or "the code is not tracked"
    return f"git says: {said}; {remedy}"


@cache
def loaded_commit() -> Commit:
    """`git_commit` as it was at the first call: the checkout may move on while the code it had runs.

    Where there is none, a warning says why, once.
    """
    loaded = git_commit()
    if loaded.commit is None:
        log.warning("the commit of this code is unknown: %s", unknown_commit())
    return loaded


def commit_time(commit: str) -> float | None:
    """When a commit was made, in seconds since 1970; None where the history does not have it, or there is none."""
    if not re.fullmatch("[0-9a-f]{7,40}", commit):
        return None
    seconds = git(_ROOT, "show", "-s", "--format=%ct", commit)
    return float(seconds) if seconds else None


def git(root: Path, *arguments: str) -> str | None:
    """What git says in a folder; None where it fails."""
    try:
        done = _ask_git(root, *arguments)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _ask_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Whoever calls from a hook of git has variables that would make it look at another checkout.
    english = {key: value for key, value in os.environ.items() if key not in _OF_ANOTHER} | {"LC_ALL": "C"}
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, env=english)


# Device


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:N`` as a device that exists here.

    A GPU is told to compute in the precision that is asked for: by default cuDNN rounds the factors of float32
    convolutions to TF32, and long sums of bf16 products may be added up in bf16.

    Raises:
        DeviceError: there is no such device here.
    """
    text = str(name)
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    kind, index = check_device(text)
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise DeviceError(f"device is {text!r}, but torch finds no CUDA device here: use 'cpu' or 'auto'")
    number = int(index) if index else torch.cuda.current_device()
    if number >= count:
        last = f" to 'cuda:{count - 1}'" if count > 1 else ""
        raise DeviceError(f"device is {text!r}, but this machine has {count}: use 'cuda:0'{last}")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return torch.device("cuda", number)


def use_threads(threads: int | None) -> None:
    """Sets torch's number of threads on the CPU; None leaves it.

    Raises:
        ValueError: a number of threads that cannot be started.
    """
    if threads is not None:
        check_threads(threads)
        torch.set_num_threads(threads)


def device_description(device: torch.device | str = "cpu") -> str:
    """The processor's model and torch's thread count, e.g. ``AMD EPYC (2 threads)``, or the GPU's model."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{machine.processor()} ({threads} thread{'s' if threads > 1 else ''})"


def sharing() -> dict[str, int | bool]:
    """How many jobs share the GPU that this process works on, `jobs`, and whether by `mps`: as a record states it."""
    jobs, _, at_once = os.environ.get(JOBS_VARIABLE, "1").partition(" ")
    return {"jobs": int(jobs) if jobs.isdecimal() else 1, "mps": at_once == "at once"}


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """All of the above as one flat dict, as a run's record stores it; of a GPU also how it is shared."""
    commit = loaded_commit()
    kind = torch.device(device).type
    return {
        "device": device_description(device),
        "device_type": kind,
        **(sharing() if kind == "cuda" else {}),
        **versions(),
        "git_commit": commit.commit,
        "git_dirty": commit.dirty,
        **({} if commit.commit else {"git_unknown": unknown_commit()}),
    }
