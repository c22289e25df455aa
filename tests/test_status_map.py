"""The map that `sesn status` draws: each symbol in the place of its cell."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from sesn_lib.cli.display import show_status
from sesn_lib.experiments.mnist_scale import GRID, Cell
from sesn_lib.runner.status import SYMBOLS, Status


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
