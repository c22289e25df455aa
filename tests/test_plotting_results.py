"""The figures on results with few, some and all records: nothing overlaps, nothing is empty, the numbers are right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from toy_cells import make_record

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from sesn_lib.analysis import published, results, sizes, summary, verdicts  # noqa: E402
from sesn_lib.analysis.statistics import Sample  # noqa: E402
from sesn_lib.experiments.mnist_scale import EXPERIMENT, Cell  # noqa: E402
from sesn_lib.plotting import overview, style  # noqa: E402
from sesn_lib.plotting import results as figures  # noqa: E402
from sesn_lib.store.records import Store  # noqa: E402

PUBLISHED = published.load(Path(__file__).resolve().parent.parent / "notebooks" / "results")
SMALL = ["mnist_cnn_28", "mnist_ses_scalar_28", "mnist_ses_scalar_28p", "mnist_ses_vector_28", "mnist_ses_vector_28p"]
CELLS: dict[str, list[Cell]] = {
    "few": list(EXPERIMENT.select(models=["mnist_ses_vector_28", "mnist_cnn_28"], realizations=[0])),
    "some": list(EXPERIMENT.select(models=SMALL, realizations=[0, 1])),
    "all": list(EXPERIMENT.select()),
}


def synthetic(cell: Cell, draws: np.random.Generator) -> dict:
    """A record with errors, curves and times such as a run has; its device says that it is synthetic."""
    large, plain, scaled = "56" in cell.model, "cnn" in cell.model, cell.extra_scaling < 1
    error = 2.1 - 0.35 * large + 0.4 * plain - 0.3 * scaled + draws.normal(0, 0.06)
    history = make_record(cell)["history"]
    for entry in history:
        entry["val_accuracy"] = 1 - error * (1 + 6 * np.exp(-entry["epoch"] / 4)) * np.exp(draws.normal(0, 0.06)) / 100
    size = np.array([3.2, 1.3, 0.8, 0.5, 0.5, 0.5, 0.6])
    counts = np.round(draws.normal(1, 0.05, 7) * error * size * 5000 / 700).astype(int)
    seconds = (1000 if plain else 4800) * (4 if large else 1)
    slow = cell.realization % 2 == 0 and not large
    for entry in history:
        entry["seconds"] = seconds / (1 if slow else 40) / len(history)
    return make_record(
        cell,
        error=round(error, 3),
        history=history,
        by_scale={"edges": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "images": [7143] * 7, "errors": counts.tolist()},
        environment={"device": f"synthetic {'CPU' if slow else 'GPU'}", "device_type": "cpu", "torch": "2.11.0"},
        timing={
            "train_seconds": seconds / (1 if slow else 40),
            "evaluation_seconds": 5.0,
            "wall_seconds": seconds + 9.0,
            "finished": "2026-01-01T00:00:00Z",
        },
    )


@pytest.fixture(scope="module", params=list(CELLS))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> results.Results:
    folder, draws = tmp_path_factory.mktemp(request.param), np.random.default_rng(0)
    for cell in CELLS[request.param]:
        Store(folder).write(synthetic(cell, draws))
    loaded = results.load(folder)
    assert len(loaded.records) == len(CELLS[request.param])
    return loaded


pytestmark = pytest.mark.usefixtures("clean_figures")


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that run into each other, and texts that leave the figure (paired with "edge")."""
    figure.canvas.draw()
    page = figure.bbox
    boxes, hidden = [], set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        beyond = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        hidden.update(id(label) for tick in beyond for label in (tick.label1, tick.label2))
    for text in figure.findobj(matplotlib.text.Text):
        shown = text.get_visible() and text.get_text().strip() and (text.axes is None or text.axes.axison)
        if shown and id(text) not in hidden:
            boxes.append((text.get_text(), text.get_window_extent()))
    wrong = []
    for (a, first), (b, second) in combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        if width > 2 and height > 2:
            wrong.append((a, b))
    inside = page.padded(1)
    return wrong + [
        (name, "edge") for name, box in boxes if not (inside.contains(*box.min) and inside.contains(*box.max))
    ]


DRAWN: dict[str, Callable[[results.Results], Figure]] = {
    "forest": lambda r: figures.forest(
        summary.by_condition(r),
        PUBLISHED.paper,
        {name: cell.sample for name, cell in published.regroup(PUBLISHED).items()},
        published.ROWS,
    ),
    "claims": lambda r: figures.claims(verdicts.evidence(r, PUBLISHED).regimes),
    "grid": figures.grid_map,
    "curves": figures.learning_curves,
    "size": lambda r: figures.error_by_scale(sizes.errors_by_size(r)),
    "time": lambda r: figures.error_time(summary.error_against_time(r)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DRAWN))
def test_no_text_runs_into_another(name: str, found: results.Results) -> None:
    figure = DRAWN[name](found)
    assert overlaps(figure) == []
    for axis in figure.axes:
        assert not axis.axison or axis.has_data()


@pytest.mark.slow
def test_the_published_figures_have_no_overlaps() -> None:
    errors = [error for runs in PUBLISHED.runs.values() for error in runs]
    assert overlaps(figures.single_runs(PUBLISHED)) == []
    assert overlaps(figures.decomposition(results.aggregation(PUBLISHED))) == []
    assert overlaps(figures.image_counts(errors, range(40000, 61000, 1000))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["claims", "decomposition", "overview"])
def test_for_print_larger_type_fits_too(name: str, found: results.Results) -> None:
    style.use(vector=True)
    drawn = {
        "claims": lambda: DRAWN["claims"](found),
        "decomposition": lambda: figures.decomposition(results.aggregation(PUBLISHED)),
        "overview": overview.draw,
    }
    assert overlaps(drawn[name]()) == []


def test_the_overlap_check_notices() -> None:
    figure, axis = plt.subplots()
    axis.plot([0, 1])
    assert overlaps(figure) == []
    axis.annotate("one label", (0.5, 0.5))
    axis.annotate("another label", (0.51, 0.5))
    assert ("one label", "another label") in overlaps(figure)
    figure.text(0.95, 0.5, "far too long for this place", in_layout=False)
    assert ("far too long for this place", "edge") in overlaps(figure)


def test_errors_by_size_are_compared_on_the_same_realizations(tmp_path: Path) -> None:
    runs = {
        "mnist_cnn_28": {0: 40, 1: 80, 2: 999},
        "mnist_ses_vector_28": {0: 20, 1: 70},
        "mnist_ses_scalar_56": {0: 1},
    }
    for model, found in runs.items():
        for realization, errors in found.items():
            record = synthetic(Cell(model, 1.0, realization), np.random.default_rng(0))
            record["by_scale"]["errors"] = [errors] * 6 + [0]
            Store(tmp_path).write(record)
    table = sizes.size_table(results.load(tmp_path))
    assert list(table.index) == ["SESN Vector 28"]  # no CNN of 56 pixels to compare with
    assert list(table.loc["SESN Vector 28"]) == [2, *["0.75"] * 6, "–"]  # 90 errors against 120; none against none
    assert list(table.columns[:2]) == ["runs", "0.3–0.4"]
    assert sizes.size_table(results.load(tmp_path / "nothing")).empty
    none = sizes.size_trend(results.load(tmp_path), "28", sizes.as_ratio)
    assert none.n == (0, 0)  # no errors at all among the largest digits


def test_an_advantage_that_grows_with_the_digit_is_found(tmp_path: Path) -> None:
    for growing in (True, False):
        store = Store(tmp_path / str(growing))
        for realization in range(4):
            for model, largest in (("mnist_cnn_28", 100), ("mnist_ses_vector_28", 50 if growing else 100)):
                record = synthetic(Cell(model, 1.0, realization), np.random.default_rng(0))
                record["by_scale"]["errors"] = [200 + realization, 90, 90, 90, 90, 90, largest + realization % 2]
                store.write(record)
        found = sizes.size_trend(results.load(store.folder), "28", sizes.as_ratio)
        assert found.n == (4, 4)
        if growing:
            assert found.estimate == pytest.approx(np.mean([np.log((50 + i) / (100 + i)) for i in (0, 1)]))
            assert found.high < 0
        else:
            assert found.estimate == 0


def test_a_ring_marks_the_same_part_of_the_paper(tmp_path: Path) -> None:
    for cell in EXPERIMENT.select(models=["mnist_cnn_28"]):
        Store(tmp_path).write(synthetic(cell, np.random.default_rng(0)))
    answers = verdicts.evidence(results.load(tmp_path), PUBLISHED).regimes
    lines = figures.claims(answers).axes[0].lines
    rings = [float(line.get_xdata()[0]) for line in lines if line.get_markerfacecolor() == "none"]
    # The report has no CNN: augmentation and pixels without it. Ours is nothing but CNN: augmentation at 28 and at 56.
    assert rings == pytest.approx([-0.315, -0.25, -0.38, -0.315, -0.60], abs=0.001)
    whole = {verdicts.US: answers[verdicts.PAPER]}
    assert not any(line.get_markerfacecolor() == "none" for line in figures.claims(whole).axes[0].lines)


def test_points_are_where_the_records_put_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for realization, error in enumerate((2.0, 2.2)):
        record = synthetic(Cell("mnist_cnn_28", 1.0, realization), np.random.default_rng(0))
        record["environment"]["device"], record["test_error_50k"] = "synthetic", error
        record["history"] = [{**epoch, "seconds": 2.0 + realization} for epoch in record["history"]]
        record["timing"]["train_seconds"] = 1800.0 * (1 + realization)
        record["by_scale"]["errors"] = [round(error * 71.43)] * 7
        store.write(record)
    store.write(make_record(Cell("mnist_cnn_28", 0.5, 0)))  # it does not count by size
    loaded = results.load(tmp_path)
    minutes, errors = summary.error_against_time(loaded)["synthetic"]["CNN", "28"]
    assert (minutes, errors.n, errors.mean) == (2.0, 2, pytest.approx(2.1))  # 60 epochs at 2 s, the faster of the two
    cost = summary.cost_table(loaded).set_index("device").loc["synthetic"]
    assert (cost["fastest run, minutes"], cost["runs"]) == ("2.0", 2)
    assert cost["all, hours by the clock"] == "1.5"
    assert list(sizes.errors_by_size(loaded)) == ["28"]
    line = figures.error_by_scale(sizes.errors_by_size(loaded)).axes[0].lines[0]
    assert line.get_ydata() == pytest.approx([2.1] * 7, abs=0.01)
    point = figures.error_time(summary.error_against_time(loaded)).axes[0].lines[0]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (2.0, pytest.approx(2.1))


def bars(figure: Figure) -> list[tuple[float, float]]:
    """(middle, half length) of each vertical error bar of the first panel."""
    segments = [s for c in figure.axes[0].collections for s in getattr(c, "get_segments", list)()]
    return [((low[1] + high[1]) / 2, (high[1] - low[1]) / 2) for low, high in segments]


def test_bars_are_sample_standard_deviations_of_the_errors_on_all_test_images(tmp_path: Path) -> None:
    """Of 1, 2 and 6 %: the mean is 3, the sum of squares 14, the sample standard deviation sqrt(7)."""
    store = Store(tmp_path)
    for realization, error in enumerate((1.0, 2.0, 6.0)):
        counts = {"edges": [0.3, 0.6, 1.0], "images": [1000, 500], "errors": [int(10 * error), int(5 * error)]}
        cell = Cell("mnist_cnn_28", 1.0, realization)
        store.write(make_record(cell, error=error, test_error_48k=error + 1, by_scale=counts))
    loaded = results.load(tmp_path)
    by_time = bars(figures.error_time(summary.error_against_time(loaded)))
    assert by_time == [pytest.approx((3.0, 7**0.5))]
    figure = figures.error_by_scale(sizes.errors_by_size(loaded))
    assert bars(figure) == [pytest.approx((3.0, 7**0.5))] * 2
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == pytest.approx([0.45, 0.8]), "in the middle of each range of sizes"
    assert list(line.get_ydata()) == pytest.approx([3.0, 3.0])


def by_label(axis: matplotlib.axes.Axes) -> dict[str, tuple[list[float], list[float], str]]:
    """Legend text -> abscissae, ordinates and colour of the first line of that name."""
    found: dict[str, tuple[list[float], list[float], str]] = {}
    for line in axis.lines:
        found.setdefault(str(line.get_label()), (list(line.get_xdata()), list(line.get_ydata()), line.get_color()))
    return found


def test_whose_point_is_whose_in_the_forest() -> None:
    name = ("SESN Vector", "28+")
    cells = [{name: Sample.of([mean - 0.1, mean + 0.1])} for mean in (1.0, 2.0, 3.0)]
    every = {("SESN Scalar", column): Sample.of([5.0]) for column in published.COLUMNS}
    figure = figures.forest(cells[0] | every, cells[1], cells[2], ["SESN Scalar", "SESN Vector"])
    axis = figure.axes[published.COLUMNS.index("28+")]
    points = {line.get_color(): line for line in axis.lines if line.get_marker() in "Dso" and line.get_ydata()[0] < 0.5}
    middles = {colour: (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for colour, line in points.items()}
    expected = {style.OURS: (1.0, -0.25), style.PAPER: (2.0, 0.25), style.REPORT: (3.0, 0.0)}
    assert middles == {colour: pytest.approx(point) for colour, point in expected.items()}
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["SESN Vector", "SESN Scalar"]
    # Of two values 0.2 apart the 95 % interval is 12.706 times 0.1 to either side.
    intervals = [line for line in axis.lines if line.get_color() == style.OURS and len(line.get_xdata()) == 2]
    (interval,) = [line for line in intervals if line.get_marker() == "None" and line.get_ydata()[0] < 0.5]
    assert list(interval.get_xdata()) == pytest.approx([1 - 1.2706, 1 + 1.2706], abs=1e-3)


def test_learning_curves_are_validation_errors_and_their_means(tmp_path: Path) -> None:
    for realization, accuracies in enumerate(((0.9, 0.96, 0.97), (0.9, 0.92, 0.93), (0.9, 0.91, 0.92))):
        record = make_record(Cell("mnist_cnn_28", 0.5, realization), epochs=60)
        for place, entry in enumerate(record["history"]):
            entry["val_accuracy"] = accuracies[min(place, 2)]
        Store(tmp_path).write(record)
    record = make_record(Cell("mnist_cnn_28", 1.0, 0), epochs=60)
    Store(tmp_path).write({**record, "history": [{**entry, "val_accuracy": 0.5} for entry in record["history"]]})
    (axis,) = figures.learning_curves(results.load(tmp_path)).axes
    drawn = by_label(axis)
    epochs, errors, colour = drawn["with augmentation"]
    assert (epochs[:3], colour) == ([1, 2, 3], figures.SCALED)
    assert errors[:3] == pytest.approx([10.0, 7.0, 6.0])
    assert drawn["without augmentation"][1][:2] == pytest.approx([50.0, 50.0])
    edges = axis.collections[-1].get_paths()[0].vertices
    assert sorted(edges[edges[:, 0] == 2, 1]) == pytest.approx([4.0, 9.0]), "the band reaches over all runs"
    assert axis.get_title() == "cnn 28 (n = 4)"


def test_precisions_are_not_exchanged() -> None:
    cells = [Cell("mnist_cnn_28", 1.0, 0), Cell("mnist_ses_vector_28", 0.5, 3)]
    (axis,) = figures.precision({cells[0]: (2.0, 2.5), cells[1]: (1.5, 1.25)}).axes
    drawn = by_label(axis)
    assert drawn["float32"][:2] == ([2.0, 1.5], [0, 1])
    assert drawn["bf16"][:2] == ([2.5, 1.25], [0, 1])
    assert [text.get_text() for text in axis.get_yticklabels()] == ["cnn 28, e = 1, r = 0", "vector 28, e = 0.5, r = 3"]


def test_single_runs_stand_over_the_published_band() -> None:
    figure = figures.single_runs(PUBLISHED)
    axis = next(axis for axis in figure.axes if axis.get_title().startswith("scalar 56"))
    model = "mnist_ses_scalar_56"
    runs, pooled = PUBLISHED.runs[model], PUBLISHED.report[model]
    band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((pooled.mean - pooled.std, pooled.mean + pooled.std))
    circles, squares = (next(line for line in axis.lines if line.get_marker() == kind) for kind in "os")
    assert list(circles.get_ydata()) == pytest.approx(runs[:6])
    assert list(squares.get_ydata()) == pytest.approx(runs[6:])
    assert circles.get_color() == squares.get_color() == style.REPORT
    assert (circles.get_markerfacecolor(), squares.get_markerfacecolor()) == ("none", style.REPORT)
    means = [line.get_ydata()[0] for line in axis.lines if line.get_color() == style.INK and len(line.get_ydata()) == 2]
    assert means == pytest.approx([np.mean(runs[:6]), np.mean(runs[6:])])


def test_the_decomposition_is_report_minus_paper() -> None:
    parts = [results.Aggregation("CNN", "28", "m", "order", table=2.5, pooled=2.4, regrouped=2.1, paper=2.0)]
    parts.append(results.Aggregation("CNN", "56", "m", "order", table=1.5, pooled=1.4, regrouped=1.9, paper=2.0))
    (axis,) = figures.decomposition(parts).axes
    drawn = by_label(axis)
    labels = dict(zip(axis.get_yticks(), (text.get_text() for text in axis.get_yticklabels())))
    assert labels == {1: "CNN 28", 0: "CNN 56"}
    assert drawn["as the report's table puts it"][:2] == (pytest.approx([0.5, -0.5]), [1, 0])
    assert drawn["the same runs, grouped as the paper does"][:2] == (pytest.approx([0.1, -0.1]), [1, 0])
    assert parts[0].parts == pytest.approx((0.1, 0.3, 0.1))


def test_the_map_has_each_run_in_its_place(tmp_path: Path) -> None:
    Store(tmp_path).write(make_record(Cell("mnist_ses_vector_28", 0.5, 1)))
    (axis,) = figures.grid_map(results.load(tmp_path)).axes
    done = np.asarray(axis.collections[0].get_array()).reshape(10, 12)
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert np.argwhere(done).tolist() == [[labels.index("vector 28"), 6 + 1]]  # with augmentation: the right half
    assert axis.get_title() == "1 of 120 runs done (blue)"


def test_claims_are_where_their_differences_are(tmp_path: Path) -> None:
    answers = verdicts.evidence(results.load(tmp_path), PUBLISHED).regimes
    (axis,) = figures.claims(answers).axes
    points = [(line.get_color(), line.get_xdata()[0]) for line in axis.lines if line.get_marker() in ("D", "s", "o")]
    for source, colour in ((verdicts.PAPER, style.PAPER), (verdicts.REPORT, style.REPORT)):
        for given in answers[source]:
            if np.isfinite(given.found.estimate):
                assert any(c == colour and x == pytest.approx(given.found.estimate) for c, x in points)
    assert all(x < 0.1 for _, x in points), "left of 0 is as claimed"
    labels = [f"{given.question.claim}: {given.question.where}" for given in answers[verdicts.US]]
    assert [text.get_text() for text in axis.get_yticklabels()] == labels[::-1]


def test_numbers_of_images_that_allow_the_printed_errors() -> None:
    (axis,) = figures.image_counts([2.0, 2.001], [1000, 100000]).axes
    assert [patch.get_height() for patch in axis.patches] == [50, 100]
    assert [patch.get_x() + patch.get_width() / 2 for patch in axis.patches] == pytest.approx([1, 100])
    (axis,) = figures.image_counts([2.0] * 199 + [2.001], [1000, 100000]).axes
    assert [to_hex(patch.get_facecolor()).upper() for patch in axis.patches] == [style.FAINT, style.GOOD], "all or not"
