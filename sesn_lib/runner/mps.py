"""How many processes work on one GPU, and whether at once: by NVIDIA's Multi-Process Service (MPS).

One training leaves most of a large GPU idle. Processes of their own take turns on it, unless an MPS server stands
between them and the card. Where `nvidia-cuda-mps-control` is installed and no server answers, one is started for the
time of the run; the commands are those of NVIDIA's "Multi-Process Service" (docs.nvidia.com/deploy/mps).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
GIB = 2**30

USUAL_JOBS = 4
# Measured on an H100 with 56-pixel networks: four jobs under MPS finish 1.6 times as much as one, and six no more each.
GAIN_OF_FOUR = 1.6
# A step of 128 images takes up to 0.8 GiB there (bench, float32), a batch of 1000 in evaluation eight times as much at
# the most. Below the least not even a small network begins: a process's context on the card alone takes half of it.
JOB_BYTES, LEAST_BYTES = 6 * GIB, 1 * GIB

# Waits for its standard input to end, as it does with the process that holds the other side, however that one ends.
# `quit` lets the jobs that are still at work finish (they stop after their epoch when their parent is gone).
_WATCHER = """
import shutil, subprocess, sys
sys.stdin.read()
control, folder = sys.argv[1:]
try:
    subprocess.run([control], input="quit\\n", text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
finally:
    shutil.rmtree(folder, ignore_errors=True)
"""


def slowdown(jobs: int, at_once: bool = True) -> float:
    """How many times as long a run takes when `jobs` share a GPU: at once under MPS, or by turns."""
    if not at_once:
        return float(jobs)
    gain = 1 + (GAIN_OF_FOUR - 1) * min(jobs - 1, 3) / 3
    return jobs / gain


@dataclass(frozen=True)
class Plan:
    """`jobs` processes; `at_once` whether they share a GPU by MPS."""

    jobs: int
    at_once: bool = False

    @property
    def slowdown(self) -> float:
        """How many times as long as alone each of them takes on a GPU."""
        return slowdown(self.jobs, self.at_once)


# The card


@dataclass(frozen=True)
class Card:
    """A GPU's memory in bytes, and the processes that hold some of it: process number, name, bytes (None: untold)."""

    free: int
    total: int
    users: tuple[tuple[int, str, int | None], ...] = ()


def card(number: int = 0) -> Card | None:
    """What `nvidia-smi` says of torch's GPU `number`; None where it says nothing. Makes no use of the card."""
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    name = visible[number] if number < len(visible) else str(number)
    memory = _asked("--query-gpu=memory.free,memory.total", name)
    try:
        free, total = (int(part) << 20 for part in memory[0])
    except (IndexError, ValueError):
        return None
    users = []
    for words in _asked("--query-compute-apps=pid,process_name,used_memory", name):
        if len(words) == 3 and words[0].isdecimal():
            users.append((int(words[0]), words[1], int(words[2]) << 20 if words[2].isdecimal() else None))
    return Card(free, total, tuple(users))


def cards() -> list[str]:
    """The models of the machine's GPUs, by `nvidia-smi`; none where it fails."""
    return [words[0] for words in _asked("--query-gpu=name")]


def _asked(query: str, name: str = "") -> list[list[str]]:
    """The rows of a query to `nvidia-smi`, on all cards or one, sizes in MiB; none where it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, query, "--format=csv,noheader,nounits", *(["-i", name] if name else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [[word.strip() for word in line.split(",")] for line in lines]


def check_room(card: Card | None, device: str) -> None:
    """Refuses a card that others have filled.

    Raises:
        ValueError: what is free, and who holds the rest as far as known.
    """
    if card is None or card.free >= LEAST_BYTES:
        return
    holders = [
        f"process {number} ({Path(name).name}) holds {'some' if size is None else f'{size / GIB:.1f} GiB'}"
        for number, name, size in sorted(card.users, key=lambda user: -(user[2] or 0))[:3]
    ]
    raise ValueError(
        f"{device} has {card.free / GIB:.1f} of {card.total / GIB:.1f} GiB free, a run needs at least "
        f"{LEAST_BYTES / GIB:.0f} GiB: {', '.join(holders) or 'it is not told who holds the rest'}; "
        "wait for it or name another --device"
    )


def jobs_on(card: Card | None, cells: int) -> int:
    """How many jobs a GPU is given by default if they can work at once: four, or as many as have room and work."""
    room = USUAL_JOBS if card is None else card.free // JOB_BYTES
    return max(1, min(USUAL_JOBS, room, cells))


# The server


@contextmanager
def served(jobs: int, say: Callable[[str], object], *, or_one: bool = False) -> Iterator[Plan]:
    """Within the block `jobs` new processes share the GPU at once if they can, and how they do is said in one line.

    A server that answers is used and left alone. Else one is started, with pipes and logs in a folder of its own, and
    ended after the block, or when this process ends in whatever way.

    Arguments:
        say: shows a line.
        or_one: whether one job is to do if several would have to take turns.

    Gives: the plan, with one job for `or_one`.
    """
    from sesn_lib.provenance import JOBS_VARIABLE  # which imports torch

    before = {name: os.environ.get(name) for name in (PIPES, LOGS, JOBS_VARIABLE)}
    watcher = None
    try:
        reason, watcher = (None, None) if jobs == 1 else _connect(say, jobs)
        if reason is not None:
            _restore({name: before[name] for name in (PIPES, LOGS)})
            say(f"no MPS, {reason}: " + ("one job at a time" if or_one else f"{jobs} jobs take turns on the GPU"))
            jobs = 1 if or_one else jobs
        at_once = jobs > 1 and reason is None
        os.environ[JOBS_VARIABLE] = f"{jobs} {'at once' if at_once else 'by turns'}"
        yield Plan(jobs, at_once)
    finally:
        _restore(before)
        if watcher is not None:
            _end(watcher)


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _connect(say: Callable[[str], object], jobs: int) -> tuple[str | None, subprocess.Popen[bytes] | None]:
    """Why there is no server (None: there is one), and what ends it, if it is ours."""
    control = shutil.which(CONTROL)
    if control is None:
        return f"{CONTROL} is not installed", None
    if _answers(control):
        say(f"{jobs} jobs share the GPU by the MPS server that is there ({os.environ.get(PIPES) or 'default pipes'})")
        return None, None
    folder = Path(tempfile.mkdtemp(prefix="sesn-mps-"))
    os.environ |= {PIPES: str(folder), LOGS: str(folder)}
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-c", _WATCHER, control, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # or a Ctrl-C, which goes to the whole group, would end it first
    )
    reason = _started(control, folder)
    if reason is None:
        say(f"{jobs} jobs share the GPU by an MPS server that ends with this run")
        return None, watcher
    _end(watcher)
    return reason, None


def _started(control: str, folder: Path) -> str | None:
    """Starts a server; returns why that failed, or None."""
    output = folder / "start.log"
    try:
        with output.open("wb") as file:  # not a pipe, which the server would hold open
            done = subprocess.run([control, "-d"], stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{CONTROL} cannot be started ({getattr(error, 'strerror', None) or type(error).__name__})"
    said = " ".join(output.read_text(errors="replace").split())[:200]
    if done.returncode:
        return f"{CONTROL} ended with code {done.returncode}" + (f" ({said})" if said else "")
    return None if _answers(control) else f"{CONTROL} started, but does not answer"


def _answers(control: str) -> bool:
    """Whether a server's control process listens at the pipes that the environment names."""
    try:
        done = subprocess.run([control], input="get_server_list\n", capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and "cannot find" not in (done.stdout + done.stderr).lower()


def _end(watcher: subprocess.Popen[bytes]) -> None:
    """Lets the watcher do its work, and waits for it a while."""
    assert watcher.stdin is not None
    with suppress(OSError):
        watcher.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        watcher.wait(timeout=20)
