"""Made, stored, loaded, damaged, made again, several at once, exported: on a tiny MNIST."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_mnist

from data_prep import DataError, checksums, commands, files, preparation, realizations, sources
from data_prep.commands import main
from data_prep.mnist_scale import MNISTScale
from data_prep.preparation import Row, prepare, prepare_all


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with a tiny MNIST, whose realizations' checksums are the expected ones; no network."""
    raw = tiny_mnist.install(monkeypatch)
    folder = tmp_path / "data"
    tiny_mnist.write_folder(folder / "MNIST" / "raw", raw)
    monkeypatch.setattr(sources, "from_torchvision", lambda *_: pytest.fail("asked the network"))
    images, labels = sources.mnist(folder)
    made = {
        protocol: tuple(realizations.make(images, labels, number, protocol).checksum for number in range(6))
        for protocol in ("paper", "report")
    }
    monkeypatch.setattr(checksums, "MNIST_SCALE", made)
    # One core: other processes would not see the tiny tables.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    return folder


def stored(root: Path, number: int = 0, protocol: str = "paper") -> Path:
    return realizations.path_of(root, number, protocol)


def test_what_is_loaded_is_what_was_made(root: Path) -> None:
    made, other_one = prepare(root, 3, "report"), prepare(root, 0, "report")
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").unlink()  # no longer needed
    loaded = prepare(root, 3, "report")
    for name, split in made.splits():
        other = getattr(loaded, name)
        for array, dtype in (("images", np.uint8), ("labels", np.int64), ("factors", np.float64)):
            assert getattr(other, array).dtype == getattr(split, array).dtype == dtype
            assert np.array_equal(getattr(other, array), getattr(split, array))
    assert loaded.checksum == made.checksum != other_one.checksum


DAMAGES = (
    "half",
    "flipped",
    "empty",
    "other realization",
    "pickle",
    "another type",
    "an array missing",
    "bomb",
    "impossible shape",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_named_and_made_again(
    root: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    right = prepare(root, 0)
    path = stored(root)
    content = path.read_bytes()
    if damage == "other realization":
        prepare(root, 1)
        path.write_bytes(stored(root, 1).read_bytes())
    elif damage == "pickle":
        np.savez(path, train_images=np.array([{}], dtype=object))
    elif damage == "another type":
        arrays = dict(np.load(io.BytesIO(content)))
        np.savez_compressed(path, **{**arrays, "test_images": arrays["test_images"].astype(np.int8)})
    elif damage == "an array missing":
        np.savez(path, train_images=right.train.images)
    elif damage == "bomb":
        np.savez_compressed(path, train_images=np.zeros(1 << 27, np.uint8))
    elif damage == "impossible shape":
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (120, 1000000000000000, 28)}".ljust(117) + "\n"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode())
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"half": content[:middle], "flipped": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert prepare(root, 0).checksum == right.checksum
    assert f"refused {path}" in caplog.text
    assert damage != "bomb" or "it unpacks to 134217856 bytes, more than" in caplog.text
    assert damage != "another type" or "test images are int8 [" in caplog.text
    caplog.clear()
    assert realizations.load(root, 0, "paper") is not None
    assert caplog.text == ""


def test_a_wrong_result_is_not_stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(realizations.METHODS, "paper", lambda image, factor: image)
    with pytest.raises(DataError, match=r"paper 0 came out with SHA-256 .* not stored; one of pillow \d"):
        prepare(root, 0)
    assert not stored(root).exists()


def test_a_full_disk_or_a_blocked_folder_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(DataError, match=r"cannot write .*paper-0\.npz: no space left on device"):
            prepare(root, 0)
    assert list(stored(root).parent.iterdir()) == []
    stored(root).parent.rmdir()
    stored(root).parent.write_text("in the way")
    with pytest.raises(DataError, match="cannot make the data folder"):
        prepare(root, 0)


def test_prepare_all_makes_what_is_missing(root: Path) -> None:
    prepare(root, 2)
    rows = prepare_all(root, [("paper", 2), ("paper", 0), ("report", 0), ("paper", 2)])
    assert [(row.protocol, row.realization, row.made) for row in rows] == [
        ("paper", 2, False),
        ("paper", 0, True),
        ("report", 0, True),
    ]
    assert [row.png_md5 is None for row in rows] == [True, False, True]
    assert [row.images for row in rows] == [220] * 3
    again = prepare_all(root, [("paper", 0), ("report", 0)], png_md5=True)
    assert [row.made for row in again] == [False, False]
    assert again[0].png_md5 == rows[1].png_md5 != again[1].png_md5
    (without,) = prepare_all(root, [("paper", 1)], png_md5=False)
    assert (without.made, without.png_md5) == (True, None)


def test_processes_that_break_are_made_up_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, given = [], []

    class Breaks(ThreadPoolExecutor):
        """Does the first task; then its processes are gone."""

        def __init__(self, workers: int, *_: object) -> None:
            asked.append(workers)
            super().__init__(1)

        def submit(self, task: Any, *arguments: Any) -> Any:
            given.append(arguments)
            return super().submit(task if len(given) == 1 else self.gone, *arguments)

        @staticmethod
        def gone(*_: object) -> None:
            raise BrokenProcessPool

    monkeypatch.setattr(preparation, "ProcessPoolExecutor", Breaks)
    rows = prepare_all(root, [("paper", number) for number in range(3)], workers=2)
    assert (asked, len(given)) == ([2], 3)
    assert [row.checksum for row in rows] == list(checksums.MNIST_SCALE["paper"][:3])
    prepare_all(root, [("report", number) for number in range(2)], workers=5)
    assert asked == [2, 2], "no more processes than there is to make"


def test_realizations_that_take_long_side_by_side_are_heard_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not only when the first of them is ready. Threads in place of processes."""
    monkeypatch.setattr(preparation, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers))
    monkeypatch.setattr(preparation, "HEARTBEAT", 0.01)
    monkeypatch.delitem(
        sys.modules, "ipykernel", raising=False
    )  # or it would be taken for a notebook, which shows bars
    rows = prepare_all(root, [("paper", 0), ("paper", 1)], png_md5=True, workers=2)
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert [row.made for row in rows] == [True, True]
    assert any("MNIST-scale" in line and "0/2" in line for line in said)


def test_a_command_that_is_interrupted_says_so_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "prepare_all", interrupted)
    assert main(["mnist-scale"]) == 130


def test_export_is_the_folder_whose_md5_is_computed(root: Path, tmp_path: Path) -> None:
    data = prepare(root, 0)
    md5 = realizations.export_png(data, tmp_path / "png")
    assert (tmp_path / "png").stat().st_mode & 0o777 == 0o755, "others may read it"
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="exists already; name a new or an empty folder"):
        realizations.check_vacant(tmp_path / "file")
    paths = sorted(str(path.relative_to(tmp_path / "png")) for path in (tmp_path / "png").rglob("*.png"))
    assert len(paths) == 220
    content = b"".join((tmp_path / "png" / path).read_bytes() for path in paths)
    assert md5 == checksums.md5(content) == realizations.png_md5(data)
    assert (tmp_path / "png" / "val" / str(data.val.labels[-1]) / "219.png").is_file()
    assert (tmp_path / "png" / "test" / str(data.test.labels[0]) / "120.png").is_file()
    with pytest.raises(DataError, match="exists already; name a new or an empty folder"):
        realizations.export_png(data, tmp_path / "png")


@pytest.mark.parametrize("slow", [False, True])
def test_slow_work_is_heard_of_through_a_pipe(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], slow: bool
) -> None:
    """Quick work says nothing there; what lasts says how far it is, its images counted to the last."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # a notebook would show the bar
    data = prepare(root, 0, "paper")
    capsys.readouterr()
    monkeypatch.setattr(files, "HEARTBEAT", 0.0 if slow else 25.0)
    prepare_all(root, [("paper", 0)], png_md5=True)
    said = capsys.readouterr().err
    images = sum(len(split) for _, split in data.splits())
    assert ("PNG files of paper 0" in said, f"{images}/{images}" in said) == (slow, slow)
    prepare_all(root, [("paper", 0)], png_md5=True, progress=False)
    assert capsys.readouterr().err == ""


def test_every_bar_comes_to_its_end(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []

    class Bar:
        def __init__(self, total: int, desc: str, disable: bool, **_: object) -> None:
            self.total, self.desc, self.n = total, desc, 0
            bars.extend([] if disable else [self])

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            self.n += count

    monkeypatch.setattr(files, "tqdm", Bar)
    monkeypatch.setattr(checksums, "PAPER_PNG_MD5", (realizations.png_md5(prepare(root, 0, progress=False)),) * 6)
    realizations.path_of(root, 0, "paper").unlink()
    bars.clear()
    assert main(["mnist-scale", "--root", str(root), "--realization", "0", "--png", str(tmp_path), "--png-md5"]) == 0
    expected = ["MNIST-scale paper 0", f"writing {tmp_path / 'paper-0'}"]  # whose MD5 is that of what is written
    assert [bar.desc for bar in bars if bar.total == 220] == expected
    assert [(bar.desc, bar.n) for bar in bars] == [(bar.desc, bar.total) for bar in bars]
    bars.clear()
    assert main(["mnist-scale", "--root", str(root), "--realization", "0", "--png-md5"]) == 0
    assert [(bar.desc, bar.n) for bar in bars if bar.total == 220] == [("PNG files of paper 0", 220)]


def test_a_failing_export_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = prepare(root, 0)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot write the PNG files to .*: no space left on device"):
        realizations.export_png(data, tmp_path / "out" / "png")
    assert list((tmp_path / "out").iterdir()) == []


def test_command_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ["mnist-scale", "--root", str(root), "--realization", "0"]
    md5 = realizations.png_md5(prepare(root, 0))
    monkeypatch.setattr(checksums, "PAPER_PNG_MD5", (md5,) * 6)
    assert main([*shared, "--protocol", "both", "--png", str(tmp_path / "png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(f"paper    0  220     {checksums.MNIST_SCALE['paper'][0]}  {md5}")
    assert lines[1].endswith("as published")
    assert lines[2].endswith("no MD5 published")
    assert len(list((tmp_path / "png" / "report-0").rglob("*.png"))) == 220
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main([*shared, "--png=~/home"]) == 0
    assert (tmp_path / "home" / "paper-0").is_dir()
    capsys.readouterr()
    assert main([*shared, "--png", str(tmp_path / "png")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(shared) == 0
    assert "(not computed)" in capsys.readouterr().out
    monkeypatch.setattr(checksums, "PAPER_PNG_MD5", ("0" * 32,) * 6)
    assert main([*shared, "--png-md5"]) == 2
    streams = capsys.readouterr()
    assert "NOT as published" in streams.out
    assert "compresses PNG differently" in streams.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("mnist-scale --realization 7", "there is no realization 7; choose 0 to 5, or all"),
        ("mnist-scale --realization many", "there is no realization many; choose 0 to 5, or all"),
        ("mnist-scale --protocol papper", "unknown protocol 'papper'; choose one of paper, report, both"),
        ("mnist-scale --sauce here", "No such option: --sauce"),
        ("mnist-scale --source absent", "source absent is not a folder"),
        ("mnist-scale --root file", "cannot make the data folder file/MNIST/raw: not a directory"),
        ("stl10 --source absent", "source absent is not a folder"),
        ("mnist", "No such command 'mnist'"),
        ("", "Missing command; see python -m data_prep --help"),
    ],
)
def test_wrong_commands_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESN_DATA", str(tmp_path / "data"))
    (tmp_path / "file").touch()
    assert main(arguments.split()) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert complaint in streams.err
    assert streams.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_table_says_whose_md5_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "PAPER_PNG_MD5", ("a" * 32,) * 6)
    rows = [Row("paper", 0, 62000, "c" * 64, Path("x"), True), Row("report", 1, 60000, "d" * 64, Path("y"), False)]
    for digest, said in (("a" * 32, "as published"), ("b" * 32, "NOT as published")):
        lines = commands.table(rows, {("paper", 0): digest, ("report", 1): digest})
        assert lines[1].endswith(f"made, array checksum right; {said}")
        assert lines[2].endswith("stored, array checksum right; no MD5 published")
    without = commands.table(rows[:1], {("paper", 0): None})[1].split()
    assert " ".join(without[4:]) == "(not computed) made, array checksum right"
    lacking = commands.table(rows[1:], {("report", 1): None})[1]
    assert lacking.endswith("(not computed)                    stored, array checksum right"), "none to be compared"


def test_a_data_set_is_by_default_the_training_images_of_the_first_realization(root: Path) -> None:
    first = prepare(root, 0, "paper", progress=False)
    data = MNISTScale(root)
    assert np.array_equal(data.data, first.train.images)
    assert (data.split, data.protocol, data.realization) == ("train", "paper", 0)
    with pytest.raises(DataError, match="use download=True to make it"):
        MNISTScale(root, 1, download=False)


def test_selection() -> None:
    assert commands.selection("report", "2") == [("report", 2)]
    assert commands.selection("both", 0) == [("paper", 0), ("report", 0)]
    assert commands.selection("both", "all") == [(name, r) for name in ("paper", "report") for r in range(6)]


def test_two_processes_at_once_do_not_disturb_each_other(mnist_root: Path, tmp_path: Path) -> None:
    """Both make realization 1 of `report` of real MNIST in the same new folder, raw files included."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [
        sys.executable,
        "-m",
        "data_prep",
        "mnist-scale",
        "--protocol",
        "report",
        "--realization",
        "1",
        "--quiet",
    ]
    command += ["--root", str(tmp_path), "--source", str(mnist_root)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (0, "")
        assert checksums.MNIST_SCALE["report"][1] in output
    assert [path.name for path in (tmp_path / "mnist_scale").iterdir()] == ["report-1.npz"]
    assert len(list((tmp_path / "MNIST" / "raw").iterdir())) == 4
