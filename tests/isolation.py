"""Running a program where the checkout cannot be written and no other machine can be reached.

Where the system allows it, in namespaces of its own: the folder is mounted read-only, the only network is the machine's
own. Elsewhere, for an ordinary user, the folder's permissions are taken away and every proxy leads to a dead port.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# Given a folder (or "") and a command: mounts the folder read-only, starts the network inside the machine, which
# kernels need, and becomes the command.
INSIDE = """
import fcntl, os, socket, struct, subprocess, sys
folder, command = sys.argv[1], sys.argv[2:]
if folder:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
with socket.socket() as any_socket:
    request = bytearray(struct.pack("16sH22x", b"lo", 0))
    fcntl.ioctl(any_socket, 0x8913, request)  # SIOCGIFFLAGS
    (flags,) = struct.unpack_from("H", request, 16)
    struct.pack_into("H", request, 16, flags | 1)  # IFF_UP
    fcntl.ioctl(any_socket, 0x8914, bytes(request))  # SIOCSIFFLAGS
os.execvp(command[0], command)
"""
DEAD = "http://127.0.0.1:9"
KINDS = ("http", "https", "ftp", "all")
PROXIES = {name: DEAD for kind in KINDS for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")}


@functools.cache
def namespaces() -> tuple[str, ...] | None:
    """The beginning of a command that runs it in namespaces of its own, None where that is not possible."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return None
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    command = ("unshare", *rights, "--mount", "--net", sys.executable, "-c", INSIDE)
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = subprocess.run([*command, folder, "true"], capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError):
            return None
    return command if tried.returncode == 0 else None


@contextmanager
def cut_off(
    command: Sequence[str], environment: dict[str, str], *, read_only: Path | None = None
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """(command, environment) that do the same without a network and, if one is named, with a read-only folder.

    Skips the test where neither namespaces nor permissions can do that.
    """
    inside = namespaces()
    if inside is not None:
        yield [*inside, str(read_only or ""), *command], environment
    elif read_only is not None and os.geteuid() == 0:
        pytest.skip("a read-only checkout: no namespaces here, and root may write whatever the permissions say")
    else:
        places = [path for path in [read_only, *read_only.rglob("*")] if not path.is_symlink()] if read_only else []
        for place in places:
            place.chmod(place.stat().st_mode & ~0o222)
        try:
            yield list(command), {**environment, **PROXIES}
        finally:
            for place in places:
                place.chmod(place.stat().st_mode | 0o200)
