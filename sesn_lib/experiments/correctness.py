"""Which test images a run got right, as a short text that a record can hold.

One bit an image in the order of the test images, 1 for right, eight to a byte from the most significant bit on, the
last byte filled up with 0; deflated (zlib), then written in base 85 as of Python's `base64.b85encode`, whose alphabet
needs no escape in JSON. 50,000 images take 1.8 KB at an error of 2.4 %, and 7.9 KB when nothing can be deflated.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from itertools import chain
from typing import Any

from sesn_lib.checks import check_whole, shown

LONGEST = 10_000
"""Characters that a record may spend on it."""
BITS = tuple(tuple(bit == "1" for bit in f"{byte:08b}") for byte in range(256))
"""The images of each byte."""


def encode(correct: Iterable[bool]) -> str:
    """The text for ``correct [N]``, of which `decode` is the inverse.

    Raises:
        ValueError: no image at all.
    """
    bits = "".join("1" if right else "0" for right in correct)
    check_whole(images=len(bits))
    size = -(-len(bits) // 8)
    packed = int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")
    return base64.b85encode(zlib.compress(packed, 9)).decode("ascii")


def decode(text: Any, images: int) -> list[bool]:
    """``correct [N]``: of each of the N = `images` test images, whether it was classified correctly.

    Raises:
        ValueError: in one line, for a text that is too long, damaged, or of another number of images.
    """
    check_whole(images=images)
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST:
        raise ValueError(f"must be a text of 1 to {LONGEST} characters, is {shown(text, 40)}")
    size = -(-images // 8)
    try:
        inflate = zlib.decompressobj()
        packed = inflate.decompress(base64.b85decode(text), size + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"is damaged: {error}") from None
    if len(packed) != size:
        more = "more than " if len(packed) > size else ""
        raise ValueError(f"holds {more}{min(len(packed), size)} bytes, {images} images take {size}")
    if not inflate.eof or inflate.unused_data:
        raise ValueError("is damaged: it ends too early, or does not end where it should")
    correct = list(chain.from_iterable(map(BITS.__getitem__, packed)))
    if any(correct[images:]):
        raise ValueError(f"is damaged: it has a bit beyond its {images} images")
    return correct[:images]
