"""The map that `sesn status` draws: each symbol in the place of its cell."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from toy_cells import make_record

from sesn_lib import machine
from sesn_lib.cli.display import Display, result_line, show_status
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.experiments.stl10 import STL10Cell
from sesn_lib.runner.status import SYMBOLS, Status, survey
from sesn_lib.runner.worker import Event
from sesn_lib.store.records import Store


def lines(*shown: RenderableType | Status) -> list[str]:
    """As on a terminal that has colours."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", no_color=False, width=100)
    for each in shown:
        show_status(each, console) if isinstance(each, Status) else console.print(each)
    return console.file.getvalue().splitlines()


def test_a_row_shows_the_states_in_the_order_of_the_realizations() -> None:
    strong, plain = ([Cell("mnist_cnn_28", scaling, number) for number in range(6)] for scaling in (0.5, 1.0))
    states = dict.fromkeys(GRID, "missing") | dict(zip(plain, SYMBOLS)) | {strong[1]: "done"}
    status = Status(states, {}, {plain[0]: 2.5, strong[1]: 1.25}, {}, (), 0.0, 0)
    (row,) = (line for line in lines(status) if "mnist_cnn_28 " in line)
    expected = lines(
        "[bold green]●[/][green]○[/][bold cyan]▶[/][yellow]◐[/][bold red]✗[/][dim]·[/]",
        "[dim]·[/][bold green]●[/][dim]·[/][dim]·[/][dim]·[/][dim]·[/]",
    )
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "mnist_cnn_28",
        expected[0],
        "2.50 (1)",
        expected[1],
        "1.25 (1)",
    ]


def test_numbers_are_those_on_all_test_images_with_the_spread_of_a_sample(tmp_path: Path) -> None:
    cells = [Cell("mnist_cnn_28", 0.5, number) for number in range(3)]
    for cell, error in zip(cells, (1.0, 2.0, 4.5)):
        Store(tmp_path).write(make_record(cell, error=error, test_error_48k=9.0))
    status = survey(tmp_path)
    assert status.errors == dict(zip(cells, (1.0, 2.0, 4.5)))
    n, mean, spread = status.mean_errors()["mnist_cnn_28", 0.5]
    assert (n, mean, spread) == (3, pytest.approx(2.5), pytest.approx(((1.5**2 + 0.5**2 + 2**2) / 2) ** 0.5))
    assert any("2.50 ± 1.80 (3)" in line for line in lines(status))


def test_a_finished_run_is_told_in_errors() -> None:
    record = make_record(Cell("mnist_cnn_28", 0.5, 0), error=2.0, test_error_48k=3.0, val_accuracy=0.97, best_epoch=41)
    said = "test error 2.000 % on 50,000 images, best epoch 41 of 60 (validation 3.00 %), 2 min on toy"
    assert result_line(record) == said


def test_an_epoch_is_told_in_errors() -> None:
    stream = io.StringIO()
    display = Display(1, every_epoch=True, stream=stream)
    report = {"epoch": 3, "epochs": 60, "train_loss": 0.125, "val_accuracy": 0.98, "seconds": 1.5}
    display(Event("epoch", GRID[0], report))
    display(Event("epoch", GRID[0], {**report, "val_accuracy": None}))
    first, second = stream.getvalue().splitlines()
    assert first == f"{GRID[0]}: epoch 3/60, loss 0.1250, validation error 2.00 %, 1.5 s"
    assert second == f"{GRID[0]}: epoch 3/60, loss 0.1250, 1.5 s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_tells_errors_too() -> None:
    stream = Terminal()
    display = Display(1, stream=stream)
    display(
        Event("epoch", GRID[0], {"epoch": 3, "epochs": 60, "train_loss": 0.125, "val_accuracy": 0.98, "seconds": 1})
    )
    assert "loss 0.125, validation error 2.00 %" in stream.getvalue()
    assert "3/60" in stream.getvalue()
    display(Event("epoch", GRID[0], {"epoch": 4, "epochs": 60, "train_loss": 0.1, "val_accuracy": 0.5, "seconds": 1}))
    display.close()
    assert "4/60" in stream.getvalue()
    assert "7/60" not in stream.getvalue()


def test_a_finished_run_of_stl10_is_told_in_errors() -> None:
    record = make_record(GRID[0], reported_epoch=1000, test_error=8.25, test_images=8000)
    record["cell"] = STL10Cell("wrn_16_8", 0).as_dict()
    record["protocol"]["epochs"] = 1000
    said = "test error 8.25 % on 8,000 images, after epoch 1000 of 1000, 2 min on toy"
    assert result_line(record) == said


def test_the_time_left_is_judged_by_whole_runs_on_the_newest_device(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, (device, day, seconds, epochs) in enumerate(
        (("old", 1, 9.0, 60), ("new", 2, 1.0, 60), ("new", 3, 99.0, 3))
    ):
        record = make_record(Cell("mnist_cnn_28", 1.0, number), epochs=epochs)
        record["environment"]["device"] = device
        record["timing"]["finished"] = f"2026-01-0{day}T00:00:00Z"
        record["history"] = [{**epoch, "seconds": seconds} for epoch in record["history"]]
        store.write(record)
    cells = [Cell("mnist_cnn_28", 1.0, number) for number in range(5)]
    status = survey(tmp_path, cells=[*cells, Cell("mnist_cnn_56", 1.0, 0)])
    assert status.seconds_left == pytest.approx(2 * (60 * 1.0 + 5.0))
    said = (
        "time left: about 2 min on new, which this machine does not have, one run after the other, and 1 run of models "
        "not timed there yet"
    )
    assert said in " ".join(" ".join(lines(status)).split()), "not this machine's time, so it says whose"
    assert (status.unknown, status.counts()["done"], status.counts()["partial"]) == (1, 2, 1)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{cells[4].name}.pt").touch()
    (tmp_path / "kept" / f"{cells[4].name}.json").write_text('{"epoch": 45, "epochs": 60}')
    begun = survey(tmp_path, cells=cells, checkpoints=tmp_path / "kept")
    assert begun.progress == {cells[4]: 0.75}
    assert begun.seconds_left == pytest.approx(1.25 * (60 * 1.0 + 5.0))


def test_a_shorter_run_is_not_left_to_run(tmp_path: Path) -> None:
    cells = [Cell("mnist_cnn_28", 1.0, r) for r in (0, 1)]
    Store(tmp_path).write(make_record(cells[0]))
    Store(tmp_path).write(make_record(cells[1], epochs=3))
    found = survey(tmp_path, cells=cells)
    assert lines(found)[-1].strip() == "nothing left to run"
    assert list(found.errors) == cells[:1], "its error is none of the table's"


def test_the_time_left_is_that_of_the_device_that_knows_most_of_what_is_left(tmp_path: Path) -> None:
    """The newest record may be of a machine that never ran what is missing."""
    store, own = Store(tmp_path), f"{machine.processor()} (3 threads)"
    runs = (("mnist_cnn_56", "card", 1, 2.0), ("mnist_cnn_28", own, 2, 3.0), ("mnist_cnn_28", "newest", 3, 4.0))
    for number, (model, device, day, seconds) in enumerate(runs):
        record = make_record(Cell(model, 1.0, number))
        record["environment"]["device"] = device
        record["timing"]["finished"] = f"2026-01-0{day}T00:00:00Z"
        record["history"] = [{**epoch, "seconds": seconds} for epoch in record["history"]]
        store.write(record)
    large, more, small, other = (
        Cell(f"mnist_{name}", 1.0, realization)
        for name, realization in (("cnn_56", 4), ("cnn_56", 5), ("cnn_28", 5), ("ses_scalar_28", 5))
    )
    found = [survey(tmp_path, cells=cells) for cells in ([large, more, small], [small], [other])]
    assert [status.device for status in found] == ["card", own, own]
    assert [status.here for status in found] == [False, True, True]
    assert found[0].seconds_left == pytest.approx(2 * (60 * 2.0 + 5.0))
    said = [" ".join(" ".join(lines(status)).split()) for status in found]
    assert "on card, which this machine does not have" in said[0]
    assert f"on {own}, as this machine has" in said[1]
    assert "time left: unknown, no run of a model that is left is done" in said[2]
