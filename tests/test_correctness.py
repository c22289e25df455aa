"""Which images a run got right, as text and back; and the part of a record that says so."""

from __future__ import annotations

import base64
import json
import random
import re
import zlib
from typing import Any

import pytest
from toy_cells import make_record

from sesn_lib.experiments.correctness import LONGEST, decode, encode
from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.store.schema import RecordError, validate

CELL = Cell("mnist_ses_vector_28", 0.5, 3)


def drawn(error: float, images: int = 50000) -> list[bool]:
    draws = random.Random(0)
    return [draws.random() >= error for _ in range(images)]


@pytest.mark.parametrize("images", [1, 7, 8, 9, 30, 50000])
def test_what_was_encoded_is_decoded(images: int) -> None:
    for error in (0.0, 0.02, 0.5, 1.0):
        correct = drawn(error, images)
        assert decode(encode(correct), images) == correct


def test_the_text_is_what_its_description_says() -> None:
    correct = [True, False, False, False, False, False, True, True, False, True]
    assert zlib.decompress(base64.b85decode(encode(correct))) == bytes([0b10000011, 0b01000000])
    text = encode(drawn(0.5))
    assert json.dumps(text) == f'"{text}"', "no character needs an escape"


def test_a_record_spends_at_most_10_kb_on_it_however_bad_the_network() -> None:
    lengths = {error: len(encode(drawn(error))) for error in (0.0, 0.024, 0.1, 0.5, 0.9, 1.0)}
    assert max(lengths.values()) == lengths[0.5] < 8000 < LONGEST == 10_000, "random bits cannot be deflated: the worst"
    assert lengths[0.024] < 2000


def bits(packed: bytes, more: bytes = b"") -> str:
    return base64.b85encode(zlib.compress(packed) + more).decode()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "must be a text of 1 to 10000 characters, is None"),
        ("", "must be a text"),
        ("x" * 10001, "must be a text"),
        ("no base 85: ,,,", "is damaged: bad base85"),
        ("ümlaut", "is damaged"),
        (base64.b85encode(b"not deflated").decode(), "is damaged: Error -3 while decompressing"),
        (bits(bytes(3)), "holds 3 bytes, 30 images take 4"),
        (bits(bytes(5)), "holds more than 4 bytes, 30 images take 4"),
        (bits(bytes(10**6)), "holds more than 4 bytes"),
        (bits(b"\xff\xff\xff\xff"), "it has a bit beyond its 30 images"),
        (bits(bytes(4), b"more"), "does not end where it should"),
        (base64.b85encode(zlib.compress(bytes(4))[:-2]).decode(), "it ends too early"),
        (base64.b85encode(zlib.compress(bytes(4))[:-1] + b"?").decode(), "is damaged: Error -3"),
    ],
)
def test_damage_is_said_in_one_line(text: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^.*{re.escape(complaint)}.*$"):
        decode(text, 30)


def test_no_changed_character_goes_unnoticed() -> None:
    correct = drawn(0.05, 400)
    text = encode(correct)
    for place in range(len(text)):
        changed = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
        with pytest.raises(ValueError, match=r"is damaged|holds"):
            decode(changed, 400)
    assert decode(text, 400) == correct


def full_record(**changes: Any) -> dict[str, Any]:
    """1,100 errors, 100 of them among the last 2,000 images."""
    correct = [True] * 50000
    correct[1000:2000] = [False] * 1000
    correct[-100:] = [False] * 100
    more = {
        "test_error_50k": 2.2,
        "test_error_48k": 100 * 1000 / 48000,
        "last_epoch": {"test_error_50k": 2.2, "test_error_48k": 100 * 1000 / 48000},
        "correct": encode(correct),
        "by_scale": {"edges": [0.3, 0.6, 1.0], "images": [20000, 30000], "errors": [1000, 100]},
    }
    return make_record(CELL, **{**more, **changes})


def test_a_record_with_all_of_it_is_valid_and_so_is_one_with_none() -> None:
    assert validate(full_record()) == validate(make_record(CELL)) == CELL
    assert validate(full_record(best_epoch=59, last_epoch={"test_error_50k": 2.5, "test_error_48k": 2.4})) == CELL


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"correct": None}, "correct must be a text"),
        ({"correct": "?" * 20}, "correct is damaged"),
        ({"correct": encode([True] * 48000)}, "correct holds 6000 bytes, 50000 images take 6250"),
        ({"correct": encode([True] * 50000)}, "test_error_50k is 2.2, but by its images (correct) it would be 0.0"),
        ({"test_error_48k": 2.2}, "test_error_48k is 2.2, but by its images (correct) it would be 2.08"),
        ({"by_scale": {"images": [50000], "errors": [1000]}}, "by_scale.errors is [1000], must come to 1100"),
        ({"by_scale": {"images": [49999], "errors": [1100]}}, "by_scale.images is [49999], must come to 50000"),
        ({"by_scale": {"images": [50000], "errors": "1100"}}, "by_scale.errors is '1100', must come to 1100"),
        ({"by_scale": {"images": [50000]}}, "by_scale.errors is None"),
        ({"last_epoch": 2.2}, "last_epoch cannot be 2.2"),
        ({"last_epoch": {}}, "last_epoch.test_error_50k is missing"),
        ({"last_epoch": {"test_error_50k": 101.0, "test_error_48k": 2.0}}, "last_epoch.test_error_50k cannot be 101.0"),
        (
            {"last_epoch": {"test_error_50k": 2.5, "test_error_48k": 2.5}},
            "last_epoch.test_error_50k is 2.5, but test_error_50k of that same epoch is 2.2",
        ),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, Any], complaint: str) -> None:
    record = full_record(**changes)
    if "test_error_48k" in changes:
        record["last_epoch"] = {key: record[key] for key in ("test_error_50k", "test_error_48k")}
    with pytest.raises(RecordError) as error:
        validate(record)
    assert complaint in str(error.value)
