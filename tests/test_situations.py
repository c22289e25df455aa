"""Where people take the project: a situation, what happens, and the message. One row each; the other tests go deeper."""

# ruff: noqa: E501 (a row of the table is a line)

from __future__ import annotations

import copy
import errno
import gzip
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import tiny_mnist
import torch
from torch import nn
from toy_cells import make_record

from data_prep import files, sources
from data_prep.archives import kind_of
from sesn_lib import layers, models, provenance, report
from sesn_lib.cli import commands, plain
from sesn_lib.experiments.mnist_scale import GRID
from sesn_lib.fast import accelerate
from sesn_lib.runner import worker
from sesn_lib.runner.audit import audit
from sesn_lib.runner.status import survey
from sesn_lib.store.records import Store

Do = Callable[[Path], Any]
SCALES = [1.0, 1.5]


def th(**options: Any) -> nn.Module:
    return layers.ConvTH(1, 2, 7, 3, SCALES, basis="A", **options)


def hh(**options: Any) -> nn.Module:
    return layers.ConvHH(1, 2, 1, 7, 3, SCALES, basis="A", **options)


X = torch.zeros(2, 1, 9, 9)
IMAGES = torch.zeros(2, 1, 28, 28)


def cnn() -> Any:
    return models.build("mnist_cnn_28").eval()


def fast(change: Callable[[Any], Any], before: bool = False) -> Do:
    """Call of an accelerated network that was changed afterwards, or before."""

    def do(_: Path) -> Any:
        model = cnn()
        if before:
            change(model)
        accelerate(model)
        if not before:
            change(model)
        return model(IMAGES).shape

    return do


def under(dtype: torch.dtype, do: Callable[[], Any]) -> Any:
    try:
        torch.set_default_dtype(dtype)
        return do()
    finally:
        torch.set_default_dtype(torch.float32)


def meta(do: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return do()


def official(wrap: Callable[[dict[str, Any]], Any]) -> Do:
    return lambda _: models.load_official(models.build("mnist_cnn_28"), wrap(authors()))


def authors() -> dict[str, Any]:
    own = models.build("mnist_cnn_28").state_dict()
    return {k.replace("blocks", "main").replace("classifier", "linear"): v for k, v in own.items()}


def whole(folder: Path) -> str:
    """A folder whose every file is cut off, beside its whole .gz."""
    for name, content in TINY.items():
        (folder / name).write_bytes(content[:9])
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return f"{len(list(sources.fetch(folder, progress=False).iterdir()))} files"


def content(path: Path, held: bytes) -> Path:
    path.write_bytes(held)
    return path


def circle(folder: Path) -> Path:
    path = folder / "MNIST" / next(iter(TINY))
    path.parent.mkdir()
    path.symlink_to(path)
    return path


def refusal_of(*words: str) -> Do:
    """The error that a command ends in, up to its advice, of a user whose home is /home/of/u."""

    def do(_: Path) -> str:
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as said:
            patch.setenv("HOME", "/home/of/u")
            with pytest.raises(SystemExit):
                commands.main([*words])
        return said.getvalue().partition(";")[0]

    return do


TINY: dict[str, bytes] = {}


def store_with(folder: Path, foreign: dict[str, bytes]) -> Store:
    store = Store(folder)
    store.write(make_record(GRID[0]))
    for name, content in foreign.items():
        (store.runs / name).write_bytes(content)
    return store


def looked(foreign: dict[str, bytes]) -> Do:
    """How many records commands that only look find, and whether they left every name as it was."""

    def do(folder: Path) -> str:
        store = store_with(folder, foreign)
        before = sorted(path.name for path in store.runs.iterdir())
        found = len(Store(folder).load_all())
        survey(folder)
        audit(folder)
        assert sorted(path.name for path in store.runs.iterdir() if path.name != ".locks") == before
        return f"{found} record"

    return do


def rewritten(change: Callable[[bytes], bytes]) -> Do:
    def do(folder: Path) -> str:
        store = store_with(folder, {})
        path = store.path(GRID[0])
        path.write_bytes(change(path.read_bytes()))
        return f"{len(Store(folder).load_all())} record"

    return do


def shown(encoding: str, columns: int = 100, colour: bool = False) -> Do:
    """`sesn status` on a console of that encoding, as it writes it."""

    def do(folder: Path) -> str:
        from rich.console import Console

        from sesn_lib.cli.display import show_status

        store_with(folder, {})
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        plain.make_safe(stream)
        show_status(survey(folder), Console(file=stream, width=columns, force_terminal=colour))
        stream.flush()
        text = raw.getvalue().decode(encoding)
        assert all(len(line) <= columns + 2 for line in text.splitlines() if not colour), "within the columns"
        return text

    return do


def said(encoding: str, text: str, errors: str = "strict") -> Do:
    def do(_: Path) -> str:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
        plain.make_safe(stream)
        print(text, file=stream, flush=True)
        return raw.getvalue().decode(encoding).strip()

    return do


def no_columns(_: Path) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "0")
        plain.make_safe()
        return "COLUMNS" in os.environ


def no_locks(number: int) -> Do:
    def do(folder: Path) -> Any:
        def acquire(self: Any, **_: Any) -> None:
            raise OSError(number, os.strerror(number))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker.FileLock, "acquire", acquire)
            with worker.claim(Store(folder), GRID[0]) as had:
                return had

    return do


def owned_by_another(folder: Path) -> str:
    """What git says in a container whose user does not own the checkout."""
    (folder / ".git").mkdir()

    def refuse(root: Path, *_: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 128, "", "fatal: detected dubious ownership in repository at '/x'")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "_ask_git", refuse)
        patch.delenv(provenance.COMMIT_VARIABLE, raising=False)
        assert provenance.git_commit(folder) == (None, None)
        return provenance.unknown_commit(folder)


def recorded_reason(folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "loaded_commit", lambda: provenance.Commit(None, None))
        patch.setattr(provenance, "unknown_commit", lambda: "git refuses a checkout of another owner")
        return str(provenance.environment()["git_unknown"])


def told(folder: Path, commit: str = "1a2b3c4") -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(provenance.COMMIT_VARIABLE, commit)
        return provenance.git_commit(folder).commit or provenance.unknown_commit(folder).partition("; ")[2]


def project(folder: Path, name: str) -> Path:
    (folder / "notebooks" / "deep").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    return folder / "notebooks" / "deep"


def notebooks(folder: Path) -> str:
    for name in ("01_a.ipynb", "01_a-Copy1.ipynb", "01_a (1).ipynb", "._01_a.ipynb", "Untitled.ipynb"):
        (folder / name).touch()
    return str([path.name for path in report.find_notebooks(folder)])


# kind, situation, what is done, what happens: a value that is returned, or an error and its message
TABLE: list[tuple[int, str, Do, Any]] = [
    (1, "a layer made on the meta device", lambda _: meta(lambda: th().basis.functions.device.type), "meta"),
    (1, "called there", lambda _: th().to("meta")(X.to("meta")).device.type, "meta"),
    (1, "float64 as the default type", lambda _: under(torch.float64, lambda: th()(torch.randn(2, 1, 9, 9)).dtype), torch.float64),
    (1, "bf16 and back", lambda _: torch.equal(th().bfloat16().float().basis.functions, th().basis.functions), True),
    (1, "float64", lambda _: th().double().basis.functions.dtype, torch.float64),
    (1, "half precision", lambda _: th().half()(X.half()).dtype, torch.float16),
    (1, "a copy", lambda _: torch.equal(copy.deepcopy(th()).basis.functions, th().basis.functions), True),
    (1, "a copy of a whole network", lambda _: type(copy.deepcopy(cnn())).__name__, "MNISTNet"),
    (1, "to_empty", lambda _: torch.equal(th().to_empty(device="cpu").basis.functions, th().basis.functions), True),
    (1, "functions without values", lambda _: meta(lambda: setattr(th().basis, "functions", torch.ones(9, 2, 7, 7))), (ValueError, r"a tensor \[9, 2, 7, 7\] without values is no constant")),
    (1, "an input of another type", lambda _: th()(X.double()), (TypeError, r"input is torch.float64: ConvTH has weights of torch.float32, convert one of them")),
    (1, "an integer input", lambda _: th()(X.long()), (TypeError, "input is torch.int64: ConvTH has weights of")),
    (2, "a layer exchanged", fast(lambda m: m.blocks.__setitem__(0, nn.Conv2d(1, 32, 7, padding=3))), (2, 10)),
    (2, "no bias", fast(lambda m: setattr(m.blocks[0], "bias", None)), (2, 10)),
    (2, "another activation", fast(lambda m: m.blocks.__setitem__(1, nn.GELU())), (ValueError, "blocks.1 is a GELU: the fast path knows a ReLU there")),
    (2, "another activation, before", fast(lambda m: m.blocks.__setitem__(1, nn.GELU()), True), (ValueError, "blocks.1 is a GELU")),
    (2, "a hook", fast(lambda m: m.blocks[0].register_forward_hook(print)), (ValueError, "blocks.0 has a forward hook, which the fast path would not call: take it away, or")),
    (2, "momentum None", fast(lambda m: setattr(m.blocks[3], "momentum", None), True), (ValueError, "blocks.3 has momentum None, an average over all batches")),
    (2, "another padding mode", fast(lambda m: setattr(m.blocks[0], "padding_mode", "circular")), (ValueError, "blocks.0 has padding_mode circular: the fast path knows zeros only")),
    (2, "no image", lambda _: accelerate(cnn())(IMAGES[:0]).shape, (0, 10)),
    (2, "weights of another type", lambda _: accelerate(cnn())(IMAGES.double()), (TypeError, "input is torch.float64: Conv2d has weights of torch.float32")),
    (2, "another network", lambda _: accelerate(nn.Linear(1, 1)), (ValueError, "a Linear cannot be accelerated: only the MNIST-scale networks can")),
    (2, "a layer of another class", fast(lambda m: setattr(m.blocks[0], "__class__", type("Other", (nn.Conv2d,), {}))), (ValueError, "blocks.0 is a Other: the fast path knows a Conv2d there")),
    (2, "a bias of another shape", fast(lambda m: setattr(m.blocks[0], "bias", nn.Parameter(torch.ones(1)))), (ValueError, r"blocks.0 has bias of shape \[1\]: it must be \[32\] there")),
    (2, "an array in place of a tensor", lambda _: accelerate(cnn())(IMAGES.numpy()), (TypeError, "input is array.*: MNISTNet needs a tensor")),
    (2, "a sparse tensor", lambda _: accelerate(cnn())(IMAGES.to_sparse()), (TypeError, r"layout torch.sparse_coo: MNISTNet needs a dense one, as x.to_dense\(\) gives")),
    (2, "vmap", lambda _: torch.func.vmap(accelerate(cnn()))(IMAGES[:, None]).shape[0::2], (2, 10)),
    (2, "a trace", lambda _: torch.jit.trace(accelerate(cnn()), IMAGES)(IMAGES).shape, (2, 10)),
    (3, "a dictionary in a dictionary", official(lambda s: {"state_dict": s, "epoch": 3}), nn.Module),
    (3, "keys of several devices", official(lambda s: {f"module.{k}": v for k, v in s.items()}), nn.Module),
    (3, "keys of a compiled network", official(lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}), nn.Module),
    (3, "by a name of one's own", official(lambda s: {"checkpoint": {"ema": s}, "epoch": 3}), nn.Module),
    (3, "an average of weights", official(lambda s: {"n_averaged": torch.tensor(3)} | {f"module.{k}": v for k, v in s.items()}), nn.Module),
    (3, "an optimizer alone", official(lambda s: {"optimizer": {"state": {}}}), (ValueError, r"state_dict holds \['optimizer'\], and no dictionary of tensors in it")),
    (3, "two networks", official(lambda s: {"teacher": s, "student": s}), (ValueError, r"under \['teacher', 'student'\]: give one of them")),
    (3, "weights as integers", official(lambda s: {k: v.int() for k, v in s.items()}), (ValueError, "is torch.int32: the model's is floating-point")),
    (3, "a page in place of a file", lambda p: models.load_official(cnn(), content(p / "x.pt", b"<html>")), (ValueError, "it is an HTML page or XML, not the file")),
    (3, "a pointer of Git LFS", lambda p: models.load_official(cnn(), content(p / "x.pt", b"version https://git-lfs")), (ValueError, "`git lfs pull` fetches the file")),
    (3, "a path that is not there", lambda p: models.load_official(cnn(), p / "x.pt"), (ValueError, r"x.pt' is not there: it must be a checkpoint file")),
    (3, "a folder", lambda p: models.load_official(cnn(), p), (ValueError, "is a folder: it must be a checkpoint file")),
    (3, "another network's keys", official(lambda s: {f"x{i}": torch.zeros(1) for i in range(99)}), (ValueError, r"and \d+ more, \d+ in all, left over .* and 96 more, 99 in all; no key is this")),
    (3, "our own keys", lambda _: models.load_official(cnn(), cnn().state_dict()), (ValueError, "these are this library's own keys: model.load_state_dict takes them")),
    (3, "a network in place of its state", official(lambda s: cnn()), (ValueError, r"state_dict is a MNISTNet: give its state_dict\(\)")),
    (4, "cut off files beside whole ones", whole, "4 files"),
    (4, "a circle of links beside whole ones", lambda p: circle(p) and whole(p), "4 files"),
    (4, "HTML under a packed name", lambda _: kind_of(b"\n<html>"), "an HTML page"),
    (4, "unpacked under a packed name", lambda _: kind_of(b"\0\0\x08\x03"), "already unpacked"),
    (4, "a source that is a file", lambda p: sources.fetch(p, source=__file__, progress=False), (files.DataError, "is not a folder; name the one that holds")),
    (5, "home in an option", refusal_of("collect", "--results=~/runs"), "error: no records in /home/of/u/runs/runs"),
    (5, "home as an argument", refusal_of("probe", "~/runs"), "error: no weights in /home/of/u/runs"),
    (5, "home alone", refusal_of("collect", "--results=~"), "error: no records in /home/of/u/runs"),
    (5, "a tilde inside a name", refusal_of("collect", "--results=runs~1"), "error: no records in runs~1/runs"),
    (5, "records below an odd path", lambda p: looked({})(p / "it's 100 %s {a} [b] ~ ü"), "1 record"),
    (6, "below the checkout", lambda p: files.checkout(project(p, "sesn-report")) == p, True),
    (6, "below another project", lambda p: files.checkout(project(p, "another")) == Path(files.__file__).parent.parent, True),
    (6, "copies of notebooks beside them", notebooks, "['01_a.ipynb']"),
    (6, "no notebooks", lambda p: report.find_notebooks(p), (ValueError, "there are no notebooks in .*: start `sesn report` in a checkout of the project")),
    (7, "dot-files among the records", looked({"._a.json": b"\0", ".DS_Store": b"\0"}), "1 record"),
    (7, "a copy that a browser made", looked({f"{GRID[0].name} (1).json": b"{}"}), "1 record"),
    (7, "a text file", looked({"notes.txt": b"x", "Thumbs.db": b"x"}), "1 record"),
    (7, "a byte order mark", rewritten(lambda c: b"\xef\xbb\xbf" + c), "1 record"),
    (7, "UTF-16, as a Windows shell redirects", rewritten(lambda c: c.decode().encode("utf-16")), "1 record"),
    (7, "another encoding", rewritten(lambda c: c.replace(b'"device": "', b'"device": "\xfc')), "0 record"),
    (7, "bytes left by a file system", rewritten(lambda c: c + b"\0\0"), "0 record"),
    (7, "not a number", rewritten(lambda c: re.sub(rb'"test_error_50k": [0-9.]+', b'"test_error_50k": NaN', c)), "0 record"),
    (7, "lists in lists", looked({f"{GRID[1].name}.json": b"[" * 100_000}), "1 record"),
    (7, "copies of programs that synchronise", looked({f"{GRID[0].name} (conflicted copy).json": b"{}", "~$a.json": b"", "a.json~": b""}), "1 record"),
    (7, "lines of Windows", rewritten(lambda c: c.replace(b"\n", b"\r\n")), "1 record"),
    (7, "half a record", rewritten(lambda c: c[: len(c) // 2]), "0 record"),
    (7, "a damaged record, looked at", looked({f"{GRID[1].name}.json": b"{"}), "1 record"),
    (8, "status in ASCII", shown("ascii"), re.compile(r"#.* 1 done")),
    (8, "status in cp1252", shown("cp1252"), re.compile(r"# 1 done")),
    (8, "status in Latin 1", shown("latin-1"), re.compile(r"# 1 done")),
    (8, "status in UTF-8", shown("utf-8"), re.compile("● 1 done")),
    (8, "status in 40 columns", shown("ascii", 40), re.compile("1 done")),
    (8, "status in colour", shown("utf-8", 100, True), re.compile("\x1b")),
    (8, "an error in ASCII", said("ascii", "±1.5 – Müller → 3×3"), "+-1.5 - Muller -> 3x3"),
    (8, "standard error in ASCII", said("ascii", "3×3 ✓ …", "backslashreplace"), re.compile(r"^3x3 .+ \.\.\.$")),
    (8, "the locale C", said("ascii", "±1.5 – 3×3", "surrogateescape"), "+-1.5 - 3x3"),
    (8, "zero columns", no_columns, False),
    (8, "a sign that has no plainer form", said("ascii", "漢"), "?"),
    (9, "a checkout of another owner", owned_by_another, re.compile("git refuses a checkout of another owner; set SESN_GIT_COMMIT")),
    (9, "in its record", recorded_reason, "git refuses a checkout of another owner"),
    (9, "no checkout", lambda p: provenance.unknown_commit(p), re.compile("no git checkout; set SESN_GIT_COMMIT to the commit of the code")),
    (9, "a commit that is told", told, "1a2b3c4"),
    (9, "a commit that is none", lambda p: told(p, "v1.0"), re.compile("^SESN_GIT_COMMIT is 'v1.0': it must be a commit such as")),
    (9, "a file system without locks", no_locks(errno.ENOLCK), (worker.RunnerError, "is on a file system without locks, by which jobs keep apart: name a results folder on a local disk")),
    (9, "one that does not support them", no_locks(errno.EOPNOTSUPP), (worker.RunnerError, "without locks")),
    (9, "a folder that cannot be written", no_locks(errno.EACCES), (OSError, "ermission denied")),
    (11, "dilation", lambda _: th(dilation=2), (ValueError, "dilation is 2: ConvTH does not support it, only 1")),
    (11, "groups", lambda _: hh(groups=2), (ValueError, "groups is 2: ConvHH does not support it, only 1")),
    (11, "padding mode", lambda _: th(padding_mode="reflect"), (ValueError, "padding_mode is 'reflect': ConvTH does not support it, only 'zeros'")),
    (11, "padding same", lambda _: th(padding="same"), (ValueError, "padding is 'same': it must be an integer, 0 or greater")),
    (11, "a slip of the pen", lambda _: th(strides=2), (TypeError, "ConvTH has no argument 'strides', given as 2")),
    (11, "torch.jit.script", lambda _: torch.jit.script(th()), (NotImplementedError, "ConvTH cannot be compiled by torch.jit.script: use torch.compile")),
    (11, "torch.jit.script of a network", lambda _: torch.jit.script(cnn()), (NotImplementedError, "MNISTNet cannot be compiled by torch.jit.script")),
    (11, "torch.jit.trace", lambda _: torch.jit.trace(cnn(), IMAGES)(IMAGES).shape, (2, 10)),
]  # fmt: skip


def test_there_are_many() -> None:
    assert len(TABLE) >= 60
    assert {kind for kind, *_ in TABLE} == {1, 2, 3, 4, 5, 6, 7, 8, 9, 11}  # 10, versions: tests/test_packaging.py


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "situation", "do", "happens"), TABLE, ids=[f"{k} {s}" for k, s, *_ in TABLE])
def test_what_happens(
    kind: int, situation: str, do: Do, happens: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == 4:
        TINY.clear()
        TINY.update(tiny_mnist.install(monkeypatch))
    if isinstance(happens, tuple) and isinstance(happens[0], type):
        with pytest.raises(happens[0], match=happens[1]) as error:
            do(tmp_path)
        assert len(str(error.value).splitlines()) == 1
        return
    found = do(tmp_path)
    if isinstance(happens, re.Pattern):
        assert happens.search(found), found
    elif isinstance(happens, type):
        assert isinstance(found, happens)
    else:
        assert found == happens


def test_an_unknown_commit_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(provenance, "git_commit", lambda: provenance.Commit(None, None))
    provenance.loaded_commit.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                provenance.environment()
        lines = [record.message for record in caplog.records if "commit of this code is unknown" in record.message]
        assert len(lines) == 1
        assert provenance.COMMIT_VARIABLE in lines[0]
    finally:
        provenance.loaded_commit.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["out{1}", "it's 100 %d [bold]"])
def test_a_notebook_runs_in_this_python_whatever_the_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel `python3` of the user's, which is no Python at all, is not taken."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    from sesn_lib.report import execute

    kernel = tmp_path / "user" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false", "{connection_file}"], "display_name": "Other", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
    place = tmp_path / folder
    place.mkdir()
    source = place / "01_a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import sys\nprint(sys.executable)")]), source)
    told: list[tuple[int, int]] = []
    outcome = execute.run(
        source, place / "done.ipynb", {}, timeout=120, on_cell=lambda done, cells: told.append((done, cells))
    )
    assert outcome.error is None
    assert told == [(1, 1)], "one cell of one"
    assert outcome.path is not None
    printed = nbformat.read(outcome.path, as_version=4).cells[0].outputs[0].text.strip()
    assert Path(printed) == Path(sys.executable)


@pytest.mark.slow
@pytest.mark.parametrize(
    "console",
    [
        {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
        {"PYTHONIOENCODING": "cp1252", "COLUMNS": "0"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"},
    ],
    ids=["ascii", "cp1252, no columns", "locale C"],
)
def test_commands_end_without_an_error_of_a_codec(console: dict[str, str], tmp_path: Path) -> None:
    store_with(tmp_path, {})
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONIOENCODING", "LC_ALL")}
    environment = {**inherited, "NO_COLOR": "1", "PYTHONUTF8": "0", **console}
    command = [sys.executable, "-m", "sesn_lib", "status", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"1 done" in done.stdout
    assert b"Error" not in done.stderr
