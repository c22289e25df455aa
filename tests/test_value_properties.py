"""Random records, durations, ranges and names: what is accepted comes back the same, the rest is refused by name."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_cells import make_record

from sesn_lib.cli.arguments import numbers, whole_numbers, words
from sesn_lib.experiments.mnist_scale import MODELS, Cell
from sesn_lib.experiments.stl10 import EXPERIMENT as STL10
from sesn_lib.experiments.stl10 import MODELS as STL10_MODELS
from sesn_lib.experiments.stl10 import Recipe, STL10Cell
from sesn_lib.runner.budget import format_duration, parse_duration
from sesn_lib.store.records import Store
from sesn_lib.store.schema import RecordError, validate


def outcome(function: Callable[[Any], Any], value: Any, kind: type[Exception] = ValueError) -> tuple[Any, str | None]:
    """(what the function returns, None), or (None, what its error says)."""
    try:
        return function(value), None
    except kind as error:
        return None, str(error)


CHEAP = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def stl10_record() -> dict[str, Any]:
    record = make_record(Cell("mnist_cnn_28", 1.0, 0), epochs=3)
    recipe = Recipe().shortened(3)
    protocol = recipe.protocol(5000)
    return {
        **{key: value for key, value in record.items() if not key.startswith(("test_error", "best", "val"))},
        "cell": STL10Cell("wrn_16_8", 0).as_dict(),
        "protocol": protocol,
        "complete": STL10.is_complete(protocol, 8000),
        "test_images": 8000,
        "reported_epoch": 3,
        "test_error": 8.5,
        "evaluations": [{"epoch": 3, "test_error": 8.5, "test_loss": 0.3, "val_accuracy": None}],
    }


VALID = [
    make_record(Cell("mnist_ses_vector_28", 0.5, 3), epochs=2),
    make_record(Cell(MODELS[-1], 1, 0)),
    stl10_record(),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.integers()
    | st.floats(width=64)
    | st.text(max_size=8)
    | st.sampled_from([10**400, -(10**4000), 2**63, math.nan, math.inf, -math.inf, -0.0, 1e-320, "\ud800", "NaN", ""])
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
alien = st.sampled_from(
    [(1, 2), {1: 2}, {1, 2}, b"x", 1j, object(), {"a": {3: 4}}, [{None: 1}], "\udfff", {"\ud800": 1}]
)


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a record, those of the history's first and last epoch only."""
    found = [path] if path else []
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = [(index, value[index]) for index in sorted({0, len(value) - 1} & set(range(len(value))))]
    else:
        return found
    return found + [place for key, item in inner for place in places(item, (*path, key))]


PLACES = [(number, place) for number, record in enumerate(VALID) for place in places(record)]


def mutated(number: int, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    record = copy.deepcopy(VALID[number])
    part: Any = record
    for key in place[:-1]:
        part = part[key]
    change(part, place[-1])
    return record


def judged(record: Any, place: tuple[Any, ...]) -> bool:
    """Whether a record is accepted. Then it is the same after writing and reading; else the complaint names a field."""
    cell, message = outcome(validate, record, RecordError)
    if message is not None:
        names = [part for part in place if isinstance(part, str)]
        assert any(name in message for name in names), f"{message} for {place}"
        assert "\n" not in message
        assert len(message) < 1000
        return False
    text = json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
    again = json.loads(text)
    assert again == record
    assert repr(again) == repr(record), "no value has changed its type or sign"
    assert validate(again) == cell
    assert finite(again)
    return True


def finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(finite, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


@CHEAP
@given(st.sampled_from(PLACES), values | alien, st.sampled_from(["set", "set", "set", "remove", "add"]))
def test_a_changed_record_round_trips_or_is_refused(where: tuple[int, tuple[Any, ...]], value: Any, how: str) -> None:
    number, place = where

    def change(part: Any, key: Any) -> None:
        if how == "remove":
            del part[key]
        elif how == "add" and isinstance(part, dict):
            part["further"] = value
        else:
            part[key] = value

    judged(mutated(number, place, change), (*place, "further"))


@CHEAP
@given(values | alien)
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match=r"dictionary|schema"):
        validate(value)


@pytest.mark.parametrize("place", [("environment", "note"), ("seed",), ("cell", "realization"), ("timing", "finished")])
def test_numbers_too_long_to_be_written_are_refused(place: tuple[str, ...]) -> None:
    assert not judged(mutated(0, place, lambda part, key: part.update({key: -(10**5000)})), place)


@pytest.mark.parametrize("levels", [40, 60, 500, 5000, 50000])
@pytest.mark.parametrize("place", [("environment", "note"), ("seed",), ("cell",), ("cell", "model"), ("schema",)])
def test_lists_in_lists_do_not_exhaust_the_stack(place: tuple[str, ...], levels: int) -> None:
    accepted = judged(mutated(0, place, lambda part, key: part.update({key: deep(levels)})), place)
    assert accepted == (place == ("environment", "note") and levels == 40)


def test_the_record_tests_can_fail() -> None:
    """All valid records are accepted; a lenient check would be noticed."""
    assert all(judged(record, ("nothing",)) for record in VALID)
    assert not finite([{"a": math.nan}])
    with pytest.raises(AssertionError, match="for"):
        judged(mutated(0, ("seed",), lambda part, key: part.update(seed=-1)), ("another",))


@CHEAP
@given(st.binary(max_size=40), st.integers(0, 10**6), st.integers(0, 20))
def test_a_file_damaged_anywhere_is_a_record_or_a_record_error(noise: bytes, at: int, length: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        path = store.write(VALID[0])
        content = path.read_bytes()
        at %= len(content)
        path.write_bytes(content[:at] + noise + content[at + length :])
        found = store.load_all()
        assert len(found) + len(store.damaged) == 1
        for record in found:
            assert judged(record, ())


# Durations, ranges and names


@CHEAP
@given(
    st.lists(st.tuples(st.integers(0, 10**6) | st.floats(0.001, 1e6), st.sampled_from("smhd")), min_size=1, max_size=4)
)
def test_durations_add_up(parts: list[tuple[float, str]]) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    listed = [(f"{number:.3f}".rstrip("0").rstrip("."), unit) for number, unit in parts]
    expected = sum(float(number) * seconds[unit] for number, unit in listed)
    for text in ("".join(n + u for n, u in listed), "  ".join(f"{n} {u.upper()}" for n, u in listed)):
        if expected > 0:
            assert parse_duration(text) == pytest.approx(expected, rel=1e-12)
        else:
            with pytest.raises(ValueError, match=re.escape(repr(text))):
                parse_duration(text)


@CHEAP
@given(st.text(alphabet="0123456789.smhd -+eE_xinfa\n٣", max_size=12) | st.sampled_from(["9" * 400, "9" * 400 + "d"]))
def test_other_durations_are_refused_or_positive(text: str) -> None:
    seconds, said = outcome(parse_duration, text)
    assert 0 < seconds < math.inf if said is None else said.startswith(f"{text!r} is no time budget")


@CHEAP
@given(st.floats(0, 1e9))
def test_a_duration_is_said_shortly_and_truly(seconds: float) -> None:
    said = format_duration(seconds)
    again = parse_duration(re.sub(r"(?<=m)in", "", said)) if re.search("[1-9]", said) else 0.0
    assert abs(again - seconds) <= max(0.5, seconds / 100, 3600 if "d" in said else 30 if "m" in said else 0.5)


@CHEAP
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 400)), min_size=1, max_size=4))
def test_ranges_round_trip(pairs: list[tuple[int, int]]) -> None:
    written = ",".join(f"{low}-{low + more}" if more else f"{low}" for low, more in pairs)
    assert whole_numbers([written]) == [n for low, more in pairs for n in range(low, low + more + 1)]
    assert whole_numbers(written.split(",")) == whole_numbers([f" {written} ,"])


@CHEAP
@given(
    st.text(alphabet="0123456789-,. eE+xa\u0663", max_size=12) | st.sampled_from(["0-99999999", "9" * 5000, "0-1000"])
)
def test_other_ranges_are_refused_by_their_words(text: str) -> None:
    given_words = words([text]) or []
    found, said = outcome(whole_numbers, [text])
    if said is None:
        ends = [re.split("(?<=.)-", word, maxsplit=1) for word in given_words]
        assert found == [n for pair in ends for n in range(int(pair[0]), int(pair[-1]) + 1)]
        assert len(found) <= 1000 * len(given_words)
    else:
        assert any(repr(word) in said for word in given_words)


@CHEAP
@given(st.lists(st.floats(allow_nan=False), max_size=4))
def test_numbers_round_trip(found: list[float]) -> None:
    assert numbers([",".join(map(repr, found))]) == found


@CHEAP
@given(
    st.sampled_from(MODELS),
    st.floats(0, 1, exclude_min=True) | st.just(1),
    st.integers(0, 5),
    st.sampled_from(STL10_MODELS),
    st.integers(0, 10**12),
)
def test_cell_names_round_trip(model: str, scaling: float, realization: int, other: str, run: int) -> None:
    cell, stl = Cell(model, scaling, realization), STL10Cell(other, run)
    assert Cell.parse(cell.name) == cell
    assert STL10Cell.parse(stl.name) == stl
    assert re.fullmatch(r"[\w.-]+", cell.name + stl.name), "a name is a file name"
    for parse, name in ((Cell.parse, stl.name), (STL10Cell.parse, cell.name)):
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            parse(name)


@CHEAP
@given(
    st.from_regex(r"(mnist_cnn_28|wrn_16_8|\w+)-?x?[0-9.e-]{0,5}(-r[0-9]{0,3})?", fullmatch=True) | st.text(max_size=9)
)
def test_other_names_are_refused(name: str) -> None:
    for cell in (Cell, STL10Cell):
        found, said = outcome(cell.parse, name)
        assert found.name == name if said is None else repr(name) in said
