"""sesn_lib.provenance: seeds that hold, a commit that is the code's, a device that exists."""

from __future__ import annotations

import getpass
import json
import os
import random
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sesn_lib import machine, provenance


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_seed_everything_repeats() -> None:
    state = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        assert provenance.seed_everything(3) == 3
        assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)
        first = draw()
        provenance.seed_everything(3)
        assert draw() == first
        provenance.seed_everything(4)
        assert draw() != first
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = state


def test_seeded_leaves_no_trace() -> None:
    provenance.seed_everything(1, deterministic=False)
    expected = [draw(), draw()]
    provenance.seed_everything(1, deterministic=False)
    before = draw()
    with provenance.seeded(9):
        inside = draw()
    with pytest.raises(KeyError), provenance.seeded(9):
        raise KeyError
    assert [before, draw()] == expected
    with provenance.seeded(9):
        assert draw() == inside


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None, True])
def test_bad_seed_is_named(seed: object) -> None:
    with pytest.raises(
        ValueError, match=f"seed is {seed!r}: it must be an integer, 0 or greater and at most {2**32 - 1}"
    ):
        provenance.seed_everything(seed)  # type: ignore[arg-type]


def test_cell_seed_is_fixed_and_differs_between_cells() -> None:
    name = "mnist_ses_vector_28-x0.5-r3"
    assert provenance.cell_seed(name) == 1233043068  # for ever: published records hold such seeds
    assert provenance.cell_seed(SimpleNamespace(name=name)) == provenance.cell_seed(name)
    seeds = {provenance.cell_seed(f"{model}-x{e}-r{r}") for model in "abcdefghij" for e in (1.0, 0.5) for r in range(6)}
    assert len(seeds) == 120
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_versions_and_environment() -> None:
    found = provenance.environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["device_type"] == "cpu"
    assert "thread" in found["device"]
    assert not {"jobs", "mps"} & set(found), "of a GPU only"
    text = json.dumps(found)  # plain values, and nothing of who and where
    for private in (socket.gethostname(), str(Path.home()), str(Path.cwd())):
        assert private not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with a file where the library would be."""
    if shutil.which("git") is None:
        pytest.skip("no git here")
    (tmp_path / "sesn_lib").mkdir()
    (tmp_path / "sesn_lib" / "provenance.py").write_text("code\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return tmp_path


def test_commit_and_dirty(checkout: Path) -> None:
    commit, dirty = provenance.git_commit(checkout)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    (checkout / "notebooks").mkdir()
    (checkout / "notebooks" / "record.json").write_text("{}")
    assert provenance.git_commit(checkout).dirty is False
    for code in ("sesn_lib/new.py", "data_prep/new.py", "pyproject.toml"):
        (checkout / code).parent.mkdir(exist_ok=True)
        (checkout / code).write_text("more\n")
        assert provenance.git_commit(checkout) == (commit, True), code
        (checkout / code).unlink()


def test_git_is_asked_in_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what it says of a checkout of another owner would not be understood."""
    (tmp_path / ".git").mkdir()
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\n[ "$LC_ALL" = C ] && echo dubious ownership >&2 || echo fragwürdig >&2\nexit 128\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert "git refuses a checkout of another owner" in provenance.unknown_commit(tmp_path)


def test_a_commit_is_as_old_as_itself_not_as_what_it_was_made_of(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was moved onto another keeps its author's date, but its code is new."""
    dates = {"GIT_AUTHOR_DATE": "1000000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    names = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(checkout), "commit", "-q", "--allow-empty", "-m", "moved"]
    subprocess.run(command, check=True, env={**os.environ, **dates, **names})
    monkeypatch.setattr(provenance, "_ROOT", checkout)
    commit, _ = provenance.git_commit()
    assert provenance.commit_time(str(commit)) == 1_700_000_000
    assert provenance.commit_time("0" * 40) is provenance.commit_time("HEAD") is None


def test_no_commit_is_borrowed_from_a_checkout_around(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    installed = checkout / ".venv"
    (installed / "sesn_lib").mkdir(parents=True)
    (installed / "sesn_lib" / "provenance.py").write_text("code\n")
    assert provenance.git_commit(installed) == (None, None)


def test_a_copy_without_git_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, "1a2b3c4")
    assert provenance.git_commit(tmp_path) == ("1a2b3c4", False)
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, "1a2b3c4-dirty")
    assert provenance.git_commit(tmp_path) == ("1a2b3c4", True)
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, "")
    assert provenance.git_commit(tmp_path) == (None, None)


def test_where_git_does_not_tell_of_changes_nobody_knows(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = provenance.git
    monkeypatch.setattr(provenance, "git", lambda root, *words: None if "status" in words else ask(root, *words))
    commit, dirty = provenance.git_commit(checkout)
    assert (commit is None, dirty) == (False, None)


@pytest.mark.parametrize("told", ["foo bar", "1a2b3c", "1A2B3C4D", "1a2b3c4-modified", "v1.0"])
def test_what_is_told_must_be_a_commit(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, told)
    assert provenance.git_commit(tmp_path) == (None, None)
    said = f"{provenance.COMMIT_VARIABLE} is {told!r}: it must be a commit such as 1a2b3c4 or 1a2b3c4-dirty"
    assert said in provenance.unknown_commit(tmp_path)


def test_hooks_and_settings_of_git_hide_nothing(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook of another checkout has variables that point to it; a setting keeps new files out of git's lists."""
    truth = provenance.git_commit(checkout)
    assert truth.commit is not None
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    with monkeypatch.context() as patch:
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            patch.setenv(name, elsewhere)
        assert provenance.git_commit(checkout) == truth
    assert provenance.git(checkout, "config", "status.showUntrackedFiles", "no") is not None
    (checkout / "sesn_lib" / "new.py").touch()
    assert provenance.git_commit(checkout) == (truth.commit, True)


def test_resolve_device() -> None:
    assert provenance.resolve_device("cpu") == torch.device("cpu")
    assert provenance.resolve_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:x", "cuda:", "cpu:0", "mps", ""):
        with pytest.raises(ValueError, match=f"device is '{name}': it must be 'auto'"):
            provenance.resolve_device(name)


def test_an_absent_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is 'cuda', but torch finds no CUDA device here: use 'cpu' or 'auto'"):
        provenance.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for number in (3, 1):  # they count from 0
        with pytest.raises(ValueError, match=f"device is 'cuda:{number}', but this machine has 1: use 'cuda:0'$"):
            provenance.resolve_device(f"cuda:{number}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device is 'cuda:2', but this machine has 2: use 'cuda:0' to 'cuda:1'"):
        provenance.resolve_device("cuda:2")


def test_on_a_gpu_float32_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance.resolve_device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):  # torch's default, given back afterwards
        assert provenance.resolve_device("cuda:0") == torch.device("cuda", 0)
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 1025])
def test_an_impossible_number_of_threads_is_refused(threads: Any) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match=f"threads is {threads!r}: it must be an integer, 1 or greater"):
        provenance.use_threads(threads)
    provenance.use_threads(None)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("told", "platform", "expected"),
    [
        (
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: CPU @ 2 GHz \nmodel name\t: Another",
            ("x", "y"),
            "CPU @ 2 GHz",
        ),
        ("model name\t: \n", ("arm", "arm64"), "arm"),
        ("", ("", "arm64"), "arm64"),
        (PermissionError("no"), ("", ""), "unknown processor"),
        (FileNotFoundError("no"), ("arm", ""), "arm"),
    ],
)
def test_the_processor_s_name(
    monkeypatch: pytest.MonkeyPatch, told: str | OSError, platform: tuple[str, str], expected: str
) -> None:
    def read(path: Path, *_: object, **__: object) -> str:
        assert str(path) == "/proc/cpuinfo"
        if isinstance(told, OSError):
            raise told
        return told

    monkeypatch.setattr(Path, "read_text", read)
    for name, value in zip(("processor", "machine"), platform):
        monkeypatch.setattr(f"platform.{name}", lambda value=value: value)
    assert machine.processor() == expected
