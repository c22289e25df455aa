"""A disk that is full and a folder that cannot be written, for real: a small file system of its own (needs root)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_cells import toy_record

from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.store.records import Store, collect

ROOT = Path(__file__).resolve().parent.parent


def sesn(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sesn_lib", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    path = folder / "ballast"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 1024)
        except OSError:
            return path


def test_a_full_disk_loses_no_record(small_disk: Path) -> None:
    store = Store(small_disk / "results")
    store.write(toy_record(GRID[0]))
    before = store.path(GRID[0]).read_bytes()
    ballast = fill(small_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        store.write(toy_record(GRID[1]))
    assert str(caught.value.filename) == str(store.path(GRID[1]))
    done = sesn("collect", "--results", store.folder)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [f"error: {store.folder}/results.yml: No space left on device"]
    assert sorted(path.name for path in store.runs.iterdir() if path.is_file()) == [f"{GRID[0].name}.json"]
    assert store.path(GRID[0]).read_bytes() == before
    ballast.unlink()
    store.write(toy_record(GRID[1]))
    collect(store.folder)
    assert len(store.load_all()) == 2, "with room again, all goes on"


def test_a_read_only_folder_is_still_read(small_disk: Path) -> None:
    store = Store(small_disk / "results")
    store.write(toy_record(GRID[0]))
    store.path(GRID[1]).write_text("{")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    shown = sesn("status", "--results", store.folder)
    assert shown.returncode == 0
    assert "1 done" in shown.stdout
    assert f"unusable: {store.path(GRID[1])}" in shown.stderr
    for command in (["collect"], ["run", "--models", "mnist_cnn_28", "--realizations", "1", "--epochs", "1"]):
        done = sesn(*command, "--results", store.folder)
        assert done.returncode == 2, done.stdout
        assert "Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert len(Store(store.folder).load_all()) == 1
    Store(store.folder).set_aside_damaged()
    assert store.path(GRID[1]).with_name(f"{GRID[1].name}.json.damaged").read_text() == "{", "set aside once it can be"
