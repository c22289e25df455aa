"""Short trainings, records, a resumed run, an old checkpoint and a page, held against what they were when frozen.

Sums are rounded in another order by another processor, another number of threads or another torch, so weights are held
by their SHA-256 only where all three are those that the file `reference/goldens.json` names. Elsewhere only the loss
before the first update is held, to 1e-5: after it Adam divides rounding noise by rounding noise (the gradient of a bias
before batch normalisation is zero), and no number of digits is promised. Integers and protocols are held everywhere.

`python tests/test_goldens.py` writes the file and the checkpoints anew; do that only for a change of numbers that is
meant.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from toy_cells import toy_realization, use_toy_data

from data_prep import stl10, synthetic
from sesn_lib import fast, models, provenance
from sesn_lib.data.augment import ColourSplit
from sesn_lib.data.splits import to_device
from sesn_lib.experiments.mnist_scale import Cell, Settings
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.experiments.stl10 import Recipe, STL10Cell
from sesn_lib.models.wide_resnet import VARIANTS, WideResNet
from sesn_lib.report.pages import Page, Site, render
from sesn_lib.runner import execution
from sesn_lib.store.checkpoint import Interrupted
from sesn_lib.store.schema import deterministic_part, validate
from sesn_lib.training import mnist_scale as mnist_training
from sesn_lib.training import stl10 as stl10_training
from sesn_lib.training.loop import fit

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent / "reference"
FILE = FOLDER / "goldens.json"
MNIST = ("mnist_cnn_28", "mnist_ses_scalar_28", "mnist_ses_vector_28", "mnist_ses_vector_56")
STL10 = ("wrn_16_8", "wrn_16_8_ses_a")
NARROW = "narrow wrn_16_8_ses_a"  # an eighth of the channels
TRAININGS = [f"{name} {precision}" for name in (*MNIST, *STL10, NARROW) for precision in ("float32", "bf16")]
LONG = {"mnist_ses_vector_56 bf16", "wrn_16_8_ses_a float32", "wrn_16_8_ses_a bf16"}
MNIST_CELL, STL10_CELL = Cell("mnist_ses_vector_28", 0.5, 1), STL10Cell("wrn_16_8", 1)
STOP_AFTER = 2


def kind() -> dict[str, str]:
    """What the sums are rounded by."""
    return {
        "processor": provenance.device_description("cpu").partition(" (")[0],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": "1",
    }


def fingerprint(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


# What is made


def training(which: str) -> dict[str, Any]:
    """A few steps of one network at its full size: the digest of its weights, its history, the next random number."""
    *narrow, name, precision = which.split()
    rows: list[dict[str, float]] = []
    with provenance.seeded(3):
        # Of the large networks, which see large images, the image is the quarter.
        model = (
            models.build(name)
            if name in MNIST
            else WideResNet(VARIANTS[name], widening=1 if narrow else 8, input_size=24)
        )
        if name in MNIST:
            splits = toy_realization(None, 1, "paper", False)
            train, val = to_device(splits.train, "cpu").first(24), to_device(splits.val, "cpu").first(8)
            settings = Settings(
                epochs=2, batch_size=12, milestones=(1,), extra_scaling=0.5, precision=precision, seed=5
            )
            result = fit(fast.accelerate(model), mnist_training.Task(train, val, settings))
            rows = result.history
        else:
            images, labels = (torch.from_numpy(array) for array in stl10.load(None, "train", progress=False))
            split = ColourSplit(images[..., ::4, ::4].contiguous(), labels).first(2)
            recipe = Recipe(batch_size=2, precision=precision, seed=5, eval_batch=2).shortened(2)
            result = fit(model, stl10_training.Task(split, split, recipe))
            rows = result.history + result.evaluations
        drawn = torch.rand(1).item()
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return {"weights": fingerprint(model), "rows": rows, "drawn": drawn}


def mnist_record(checkpoints: Path | None = None, **called: Any) -> dict[str, Any]:
    few = RunOptions(epochs=3, batch_size=24, train_images=24, device="cpu", threads=1, checkpoints=checkpoints)
    return execution.run_cell(MNIST_CELL, few, **called)


def stl10_record(checkpoints: Path | None = None, **called: Any) -> dict[str, Any]:
    few = RunOptions(epochs=3, batch_size=5, device="cpu", threads=1, checkpoints=checkpoints)
    return execution.run_cell(STL10_CELL, few, **called)


RECORDS: dict[str, tuple[Callable[..., dict[str, Any]], Any]] = {
    "mnist-scale": (mnist_record, MNIST_CELL),
    "stl10": (stl10_record, STL10_CELL),
}


def page() -> str:
    """A page of the report: Markdown, formulas, code and its output, a table, links."""
    cells = [
        nbformat.v4.new_markdown_cell("# 1. A *page*\n\nA promise with $s^2$, [next](02_b.ipynb#A-part).", id="a"),
        nbformat.v4.new_markdown_cell(
            "## A part\n\n$$\\begin{aligned} \\psi_\\sigma(x) &= \\frac{1}{\\sigma^2} \\psi(x/\\sigma) \\\\"
            " &\\le \\lVert c\\rVert\\end{aligned}$$\n\n| a | b |\n|---|---|\n| 1 | 2 |",
            id="b",
        ),
        nbformat.v4.new_code_cell(
            "print(f'{1 / 3:.2f}')",
            id="c",
            execution_count=1,
            outputs=[nbformat.v4.new_output("stream", text="0.33\n")],
        ),
    ]
    pages = [
        Page(name, nbformat.v4.new_notebook(cells=list(part)), FOLDER)
        for name, part in {"01_a": cells, "02_b": cells[1:]}.items()
    ]
    return render(Site(pages, "Title", "Short", "Lead.", "quick", "today", [("Device", "none")]))["01_a.html"].decode()


class Little(torch.nn.Sequential):
    """A network with a small state, so that its checkpoint can be kept among the tests."""

    def __init__(self, channels: int) -> None:
        layers = torch.nn.Conv2d(channels, 4, 8, stride=8), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.3)
        super().__init__(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 10))


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network is a little one."""
    monkeypatch.setattr(models, "build", lambda name: Little(1 if name.startswith("mnist") else 3))
    monkeypatch.setattr(fast, "accelerate", lambda model: model)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks for STL-10 are narrow ones; those for digits are as they are."""
    build = models.build

    def built(name: str) -> torch.nn.Module:
        return build(name) if name.startswith("mnist") else WideResNet(VARIANTS[name], depth=10, widening=1)

    monkeypatch.setattr(models, "build", built)


@pytest.fixture(autouse=True)
def small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Noise for digits, the stand-in for STL-10."""
    folder = synthetic.make(tmp_path_factory.mktemp("data"), each=1)
    monkeypatch.setattr(stl10, "load", lambda root, split, progress: stl10.read(folder, split))
    use_toy_data(monkeypatch)


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    return json.loads(FILE.read_text())


# What it is held against


def test_trainings_end_in_the_same_weights(goldens: dict[str, Any], which: str) -> None:
    made, golden = training(which), goldens["trainings"][which]
    first, expected = made["rows"][0], golden["rows"][0]
    tolerance = 1e-5 if which.endswith("float32") else 2e-2
    if len(made["rows"]) == 4:  # of STL-10, whose epochs here have a single step
        assert first["train_loss"] == pytest.approx(expected["train_loss"], rel=tolerance)
    assert [row.keys() for row in made["rows"]] == [row.keys() for row in golden["rows"]]
    assert [row.get("learning_rate") for row in made["rows"]] == [row.get("learning_rate") for row in golden["rows"]]
    assert made["drawn"] == golden["drawn"], "a training leaves the global random state as it was"
    if kind() == goldens["kind"]:
        assert made == golden


def same_record(made: dict[str, Any], golden: dict[str, Any], goldens: dict[str, Any]) -> None:
    """Equal where rounding is; elsewhere in all that does not depend on it."""
    validate(made)
    part = json.loads(json.dumps(deterministic_part(made)))
    part = {key: part[key] for key in golden}  # a record may say more by now, never less
    for key in ("schema", "cell", "seed", "protocol", "complete", "parameters", "test_images", "data_checksum"):
        assert part[key] == golden[key]
    assert [row.keys() for row in part["history"]] == [row.keys() for row in golden["history"]]
    if kind() == goldens["kind"]:
        assert part == golden


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_the_same_interrupted_or_not(
    goldens: dict[str, Any], tmp_path: Path, narrow: None, name: str
) -> None:
    make, cell = RECORDS[name]
    same_record(make(), goldens["records"][name], goldens)
    interrupt(make, tmp_path)
    assert (tmp_path / f"{cell.name}.pt").exists()
    epochs: list[int] = []
    same_record(
        make(checkpoints=tmp_path, on_epoch=lambda epoch: epochs.append(epoch.epoch)), goldens["records"][name], goldens
    )
    assert epochs == [3]


@pytest.mark.parametrize("name", RECORDS)
def test_a_checkpoint_of_the_past_is_taken_up(goldens: dict[str, Any], tmp_path: Path, little: None, name: str) -> None:
    make, cell = RECORDS[name]
    shutil.copy(FOLDER / f"checkpoint_{name}.pt", tmp_path / f"{cell.name}.pt")
    epochs: list[int] = []
    record = make(checkpoints=tmp_path, on_epoch=lambda epoch: epochs.append(epoch.epoch))
    assert epochs == [3], "what was trained then is not trained again"
    assert not list(tmp_path.glob("*.damaged"))
    golden = goldens["little records"][name]
    same_record(record, golden, goldens)
    assert record["history"][:2] == goldens["little history"][name], "these epochs come from the checkpoint"


def test_a_page_of_the_report_is_the_same(goldens: dict[str, Any]) -> None:
    if nbconvert_version() != goldens["nbconvert"]:
        pytest.skip(f"the page was made by nbconvert {goldens['nbconvert']}")
    assert page() == (FOLDER / "page.html").read_text(encoding="utf-8")


def nbconvert_version() -> str:
    import nbconvert

    return nbconvert.__version__


def interrupt(make: Callable[..., dict[str, Any]], folder: Path) -> None:
    """Stops the run after `STOP_AFTER` epochs, which leaves a checkpoint."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == STOP_AFTER

    with pytest.raises(Interrupted):
        make(checkpoints=folder, stop=stop)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "which" in metafunc.fixturenames:
        metafunc.parametrize("which", [pytest.param(t, marks=[pytest.mark.long] * (t in LONG)) for t in TRAININGS])


def write(folder: Path, patches: pytest.MonkeyPatch) -> None:
    """Makes everything anew."""
    torch.set_num_threads(1)
    pictures = synthetic.make(folder, each=1)
    patches.setattr(stl10, "load", lambda root, split, progress: stl10.read(pictures, split))
    use_toy_data(patches)
    content: dict[str, Any] = {"kind": kind(), "nbconvert": nbconvert_version()}
    content["trainings"] = {which: training(which) for which in TRAININGS}
    with patches.context() as context:
        narrow.__wrapped__(context)  # type: ignore[attr-defined]
        content["records"] = {name: deterministic_part(make()) for name, (make, _) in RECORDS.items()}
    with patches.context() as context:
        little.__wrapped__(context)  # type: ignore[attr-defined]
        content["little records"], content["little history"] = {}, {}
        for name, (make, cell) in RECORDS.items():
            content["little records"][name] = deterministic_part(make())
            interrupt(make, folder)
            shutil.copy(folder / f"{cell.name}.pt", FOLDER / f"checkpoint_{name}.pt")
            state = torch.load(folder / f"{cell.name}.pt", weights_only=True)["state"]
            content["little history"][name] = state["history"]
    FILE.write_text(json.dumps(content, indent=1) + "\n")
    (FOLDER / "page.html").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patches:
        write(Path(temporary), patches)
