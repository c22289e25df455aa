"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lanes
import pytest

lanes.share_cores(os.environ)

REFERENCE = Path(__file__).parent / "reference"


def pytest_configure(config: pytest.Config) -> None:
    lanes.set_up(config)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return lanes.left_out(config, collection_path)


def pytest_itemcollected(item: pytest.Item) -> None:
    if lanes.lane(item) == "quick":
        item.add_marker("quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """What is imported stays: looking through it for garbage, again and again, would take a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = lanes.in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    return lanes.sendable((yield))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return lanes.workers(config.args)


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Numbers computed once with the authors' public implementation, shipped with the tests."""
    return REFERENCE


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The data folder, holding real MNIST; fetched on first use."""
    from data_prep import files, sources

    root = files.data_folder()
    sources.mnist(root, progress=False)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Such small work is faster without a second thread, above all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few_channels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks for digits of 5, 7 and as many channels as ever: the literal forms take long at their size."""
    from sesn_lib.fast import coverage
    from sesn_lib.models import mnist
    from sesn_lib.models.rivals import dss, kanazawa, sevf, ss, xu

    for module in (mnist, dss, kanazawa, sevf, ss, xu):
        for name in {"CHANNELS", "VECTOR_CHANNELS"} & set(vars(module)):
            monkeypatch.setattr(module, name, (5, 7, getattr(module, name)[-1]))
    coverage.usual_blocks.cache_clear()
    yield
    coverage.usual_blocks.cache_clear()


@pytest.fixture
def clean_figures() -> Iterator[None]:
    """The project's defaults for figures, and matplotlib's own and no open figure afterwards."""
    import matplotlib
    from matplotlib import pyplot as plt

    from sesn_lib.plotting import style

    with matplotlib.rc_context():
        style.use()
        yield
    plt.close("all")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's web site, made from the committed notebooks as they are stored, once for all processes."""
    from filelock import FileLock

    from sesn_lib import report

    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # which the workers share
    folder = place / "site"
    with FileLock(place / "site.lock"):
        if not folder.exists():
            report.render_site(place / "unfinished", report.find_notebooks(Path(__file__).parent.parent / "notebooks"))
            (place / "unfinished").rename(folder)
    return folder


@pytest.fixture
def sesn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs the command in an empty checkout, on noise in place of digits; gives (exit code, output, errors)."""
    import torch
    from toy_cells import use_toy_data

    from sesn_lib import paths
    from sesn_lib.cli import commands as cli

    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "checkout", lambda start=None: tmp_path)
    use_toy_data(monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    yield call
    torch.set_num_threads(threads)
