"""How fast a training step is, against the literal form of the layers, measured in the same run.

The ways of computing take turns, round by round, and a gain is the median over rounds of the ratio of neighbours: a
machine whose speed drifts does not change it much. A step is what training does: forward, loss, backward, Adam.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sesn_lib import fast, layers, models, provenance
from sesn_lib.checks import check_choice, check_whole
from sesn_lib.data.splits import CHUNK, noise, normalise, rescale
from sesn_lib.fast import memory, precision
from sesn_lib.fast.graphs import WARM_UP
from sesn_lib.paths import check_folders
from sesn_lib.runner import bench_jobs, gauges
from sesn_lib.runner.heartbeat import at_work, warn_if_slow
from sesn_lib.training.counting import Arithmetic
from sesn_lib.training.mnist_scale import new_optimizer, new_step

DEFAULT_MODELS = ("mnist_ses_vector_28", "mnist_ses_scalar_28", "mnist_ses_vector_56", "mnist_ses_scalar_56")
LITERAL = "literal float32"


class Way(NamedTuple):
    """Method of the layers (None: the network's fast path), precision, and whether as a graph on a GPU, as training."""

    method: str | None
    precision: str
    graph: bool = False


WAYS: dict[str, Way] = {
    LITERAL: Way("literal", "float32"),
    "supports float32": Way("supports", "float32"),
    "supports bf16": Way("supports", "bf16"),
    "fast float32": Way(None, "float32", graph=True),
    "fast bf16": Way(None, "bf16", graph=True),
    "fast bf16, no graph": Way(None, "bf16"),
}
ROUNDS = 5
ROUND_SECONDS = 0.5


@dataclass(frozen=True)
class Measurement:
    """One network, computed in one way.

    Attributes:
        step_seconds: median over rounds.
        gain: literal float32 step over this step, median over rounds; None where the literal form was not measured.
        images_per_second: batch size over step_seconds.
        matrix_flops: floating-point operations of the step's matrix products and convolutions. Taps on the padding are
            counted, though a library may skip them: the literal form can seem to do more than the device's peak.
        peak_bytes: largest memory in use during the first steps, in which a graph is recorded (it allocates nothing
            later): of the process on a CPU; on a GPU what torch has for this way, network and moments included.
    """

    model: str
    way: str
    step_seconds: float
    fastest_seconds: float
    slowest_seconds: float
    gain: float | None
    images_per_second: float
    matrix_flops: float
    peak_bytes: int | None


def run(
    *,
    device: str = "auto",
    models: Sequence[str] | None = None,
    batch_size: int = 128,
    output: Path | None = None,
    threads: int | None = None,
    rounds: int = ROUNDS,
    ways: Sequence[str] | None = None,
    jobs: Sequence[int] | None = None,
) -> int:
    """Measure, print a table, write JSON if `output` is given; returns the exit code 0.

    `ways` are by default all that differ on the device, in the precisions that it has units for; `jobs` as of
    `bench_jobs.jobs_to_time`.

    Raises:
        ValueError: unknown model or way, absent device, impossible batch size or number of rounds.
    """
    from rich.console import Console

    provenance.use_threads(threads)
    _check(batch_size, rounds, ways or (), names := list(DEFAULT_MODELS if models is None else models))
    target = provenance.resolve_device(device)
    ways, jobs = ways or ways_on(target), bench_jobs.jobs_to_time(jobs, target)
    wanted = sorted({WAYS[way].precision for way in ways}, reverse=True)
    for name in wanted:
        warn_if_slow(name, device)
    if output is not None:
        check_folders({"--output: the folder": output.parent})
    console = Console()
    rows: list[Measurement] = []
    peaks = dict.fromkeys(wanted, 0.0)
    with at_work("rescaling", console) as tell:
        augmentation = _augmentation_seconds(target, batch_size)
        if target.type == "cuda":  # what its libraries keep for themselves is counted to no network
            Step(names[0], ways[-1], target, batch_size).warm_up()
        for name in names:
            tell(name)
            # Beside each network anew: a peak taken while something else runs would flatter every share.
            peaks = {name: max(peak, gauges.matrix_peak(target, name)) for name, peak in peaks.items()}
            rows += measure(name, target, batch_size=batch_size, rounds=rounds, ways=ways)
    report = _report(target, batch_size, rounds, peaks, augmentation, rows)
    console.print(_table(rows, report))
    if output is not None:
        output.write_text(json.dumps(report, indent=1) + "\n")
        console.print(f"written to {output}")
    if jobs:
        bench_jobs.run(models, jobs, target, output, console)
    return 0


def _report(
    device: torch.device, batch_size: int, rounds: int, peaks: dict[str, float], augmentation: float,
    rows: Sequence[Measurement],
) -> dict[str, Any]:  # fmt: skip
    """What the JSON file holds."""
    return {
        "device": provenance.device_description(device),
        "machine": platform.machine(),
        "environment": provenance.environment(device),
        "batch_size": batch_size,
        "rounds": rounds,
        "matrix_peak_flops": peaks,
        "augmentation_seconds": augmentation,
        "measurements": [asdict(row) | {"matrix_share": _matrix_share(row, peaks)} for row in rows],
    }


def _check(batch_size: int, rounds: int, ways: Sequence[str], names: Sequence[str]) -> None:
    """Refuses what cannot be measured before anything is."""
    check_whole(2, batch_size=batch_size)
    check_whole(rounds=rounds)
    for way in ways:
        check_choice(WAYS, way=way)
    for name in names:
        _network(name)


def ways_on(device: torch.device) -> tuple[str, ...]:
    """The ways that differ there and that it has units for: where there are no graphs, nothing is done without."""
    good = precision.precisions_on(device)
    ways = ((name, way) for name, way in WAYS.items() if way.precision in good)
    return tuple(name for name, way in ways if device.type == "cuda" or way.method or way.graph)


@memory.kept()
def measure(name: str, device: torch.device, *, batch_size: int, rounds: int, ways: Sequence[str]) -> list[Measurement]:
    """Measure one network in the given ways, taking turns; memory is kept, as in training."""
    steps: dict[str, Step] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peak_bytes: dict[str, int | None] = {}
    for way in ways:
        before = gauges.forget_peak_memory(device)
        steps[way] = Step(name, way, device, batch_size)
        steps[way].warm_up()
        gauges.wait(device)
        peak = gauges.peak_memory(device)
        peak_bytes[way] = None if peak is None else peak - before
    for _ in range(rounds):
        for way, step in steps.items():
            seconds[way].append(step.timed())
    rows = []
    for way, step in steps.items():
        typical = median(seconds[way])
        ratios = [a / b for a, b in zip(seconds.get(LITERAL, []), seconds[way])]
        rows.append(
            Measurement(
                model=name,
                way=way,
                step_seconds=typical,
                fastest_seconds=min(seconds[way]),
                slowest_seconds=max(seconds[way]),
                gain=median(ratios) if ratios else None,
                images_per_second=batch_size / typical,
                matrix_flops=step.flops,
                peak_bytes=peak_bytes[way],
            )
        )
    return rows


class Step:
    """A training step of one network in one way, on fixed random digits' worth of noise."""

    def __init__(self, name: str, way: str, device: torch.device, batch_size: int) -> None:
        check_choice(WAYS, way=way)
        method, self.precision, graph = WAYS[way]
        self.device = device
        with provenance.seeded(0):
            self.model = _network(name).to(device).train()
        if method is None:
            fast.accelerate(self.model)
        else:
            layers.set_method(self.model, method)
        optimizer = new_optimizer(self.model, 1e-3)
        self.step = new_step(self.model, optimizer, self.precision, device, graph=graph)
        split = noise(batch_size, device)
        self.images, self.labels = normalise(split.images), split.labels
        self.repeats = 1
        self.flops = 0.0

    def __call__(self) -> Tensor:
        return self.step(self.images, self.labels)

    def warm_up(self) -> None:
        """First steps: allocate, count arithmetic, record a graph, and find how many steps make a measurable time."""
        with Arithmetic() as arithmetic:
            self()
        self.flops = float(arithmetic.flops)
        if self.device.type == "cuda":
            for _ in range(WARM_UP):
                self()
        self.repeats = max(1, min(200, int(ROUND_SECONDS / self.timed())))

    def timed(self) -> float:
        """Seconds of one step, averaged over a few."""
        gauges.wait(self.device)
        start = time.perf_counter()
        for _ in range(self.repeats):
            self()
        gauges.wait(self.device)
        return (time.perf_counter() - start) / self.repeats


def _network(name: str) -> torch.nn.Module:
    if not name.startswith("mnist_"):
        raise ValueError(f"{name!r} cannot be measured here: the names are those of the MNIST-scale networks")
    return models.build(name)


def _matrix_share(row: Measurement, peaks: dict[str, float]) -> float:
    """The step's matrix arithmetic over what the device's fastest does in that time (`gauges.matrix_peak`)."""
    return row.matrix_flops / row.step_seconds / peaks[WAYS[row.way].precision]


def _augmentation_seconds(device: torch.device, batch_size: int) -> float:
    """Seconds that rescaling takes for each batch; as many images at once as in training on this device."""
    count = CHUNK[device.type]
    images = noise(count, device).images
    factors = torch.linspace(0.5, 2, count, dtype=torch.float64, device=device)
    return median(gauges.seconds_of(lambda: rescale(images, factors), device)) * batch_size / count


def _table(rows: Sequence[Measurement], report: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    peaks = report["matrix_peak_flops"]
    table = Table(
        box=box.SIMPLE,  # without lines between them all columns fit on 80 characters
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"Training step, batch {report['batch_size']}, {report['device']}",
        caption=(
            f"median of {report['rounds']} rounds; matrix peak "
            + ", ".join(f"{peak / 1e12:.3g} TFLOP/s in {name}" for name, peak in peaks.items())
            + f"; rescaling a batch {1e3 * report['augmentation_seconds']:.1f} ms; "
            "the share counts taps on padding, which a library may skip"
        ),
    )
    for heading in ("network", "way", "step (ms)", "gain", "images/s", "matrix share", "memory (GiB)"):
        left = heading in ("network", "way")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading in ("network", "images/s"))
    for row in rows:
        table.add_row(
            row.model if row.way == next(r.way for r in rows if r.model == row.model) else "",
            row.way,
            f"{1e3 * row.step_seconds:.1f}",
            "-" if row.gain is None else f"{row.gain:.1f}x",
            f"{row.images_per_second:.0f}",
            f"{100 * _matrix_share(row, peaks):.0f} %",
            "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}",
        )
    return table
