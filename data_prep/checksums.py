"""Checksums: how they are computed, and the values that the data must have."""

from __future__ import annotations

import hashlib
from typing import Any


def new_md5() -> Any:
    """An MD5 to be updated; an integrity check, as published, not a matter of security."""
    return hashlib.md5(usedforsecurity=False)


def md5(content: Any) -> str:
    """Hexadecimal MD5 of a bytes-like object."""
    digest = new_md5()
    digest.update(content)
    return digest.hexdigest()


def sha256(content: Any) -> str:
    """Hexadecimal SHA-256 of a bytes-like object."""
    return hashlib.sha256(content).hexdigest()


# The four uncompressed idx files of MNIST: name -> (size in bytes, MD5).
MNIST_FILES: dict[str, tuple[int, str]] = {
    "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
}

# MD5 that the paper's authors publish for the PNG folder of each realization (see `realizations.png_md5`).
PAPER_PNG_MD5: tuple[str, ...] = (
    "00f60f1d99234b8fe8e5e1fe79306759",
    "f13da5cde237fb224846b8e0dd8188b2",
    "f06ad4b20d3f7d33f7b417cf7a1eb811",
    "eeb05f67093efae9f9b3f5a5617b2444",
    "5aa583af4e3c08a32f633bcb565823e5",
    "35ec90ad3cd9543123208cbb4a311233",
)

# SHA-256 of each realization (see `realizations.Realization.checksum`), by protocol, realizations 0 to 5. Those of
# `paper` cover the arrays whose PNG files have the MD5 above; those of `report` are our own.
MNIST_SCALE: dict[str, tuple[str, ...]] = {
    "paper": (
        "458dcb1180911110b9d2a204b6e8ef31a03406f832819294e4f327e7a9857b2f",
        "ad35eb7ea246bfdf4915de68519525c9678bb4c525548b846c5d835dec2c1b0f",
        "5845cbbf10cdc97dfa704500e616ee095ecb09e0a38875c890343959437cdaa9",
        "206806b1d24db7f2a5e62a9508bc450e5c760f6d8135035289b9d076d1cddab5",
        "d48092813d70a44d79e44c322ecbfae3f55b0facabdd5c0efb025daf3af3653c",
        "438bf4893a60e5c84249805b9260222953a783d47688ffa8fe53b2e82e403fec",
    ),
    "report": (
        "ac76db8047322961104a2419414b46ca505acd058a8703f6161ee429fbc35004",
        "488915f9b5a9b0a2de8154241365382e20f2cc782d2713730b35fff13e30a8b8",
        "01784347a4519538fd0530f411534df154ea16a20598ccef691b518d40aa8384",
        "626a9615b0e55a7a38075126e23ca6343a37c292edddc331d6b0f01155e33082",
        "89d6a41d0467019aeaea75665469ce41d2feb593753160b1f2b3dcfb0fe50d4b",
        "7a53b0ff9e907ad31720469c3402f4a83d5b8ccdf48fc541fc357124ab4bc2f7",
    ),
}

# STL-10 in its binary format: the archive, and the four files of the labelled splits, name -> (size in bytes, MD5).
STL10_ARCHIVE: tuple[str, str] = ("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")
STL10_FILES: dict[str, tuple[int, str]] = {
    "train_X.bin": (5_000 * 3 * 96 * 96, "918c2871b30a85fa023e0c44e0bee87f"),
    "train_y.bin": (5_000, "5a34089d4802c674881badbb80307741"),
    "test_X.bin": (8_000 * 3 * 96 * 96, "7f263ba9f9e0b06b93213547f721ac82"),
    "test_y.bin": (8_000, "36f9794fa4beb8a2c72628de14fa638e"),
}
