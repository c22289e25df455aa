"""Which MNIST images go into which split of a realization, and by which factor each is scaled."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

PROTOCOLS = ("paper", "report")
REALIZATIONS = range(6)
SPLITS = ("train", "test", "val")
"""The authors' order: factors are drawn, files numbered and checksums taken in it."""

SIZES = {
    "paper": {"train": 10_000, "test": 50_000, "val": 2_000},
    "report": {"train": 10_000, "test": 48_000, "val": 2_000},
}
TOTALS = {"paper": 70_000, "report": 60_000}
"""How many MNIST images a protocol draws from; `report` leaves out MNIST's test images."""

FACTORS = (0.3, 1.0)
"""Scale factors are uniform between these."""


def check(protocol: str, realization: int) -> None:
    """Raise ValueError, quoting the value, unless there is such a protocol and such a realization."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if isinstance(realization, bool) or not isinstance(realization, (int, np.integer)):
        raise ValueError(f"realization {realization!r} is not a whole number; choose 0 to {REALIZATIONS[-1]}")
    if realization not in REALIZATIONS:
        raise ValueError(f"there is no realization {realization}; choose 0 to {REALIZATIONS[-1]}")


def overlap(protocol: str, split: str) -> float:
    """Which share of a split's images two realizations have in common on average: N of T drawn twice, so N / T."""
    return SIZES[protocol][split] / TOTALS[protocol]


@dataclass(frozen=True, eq=False)
class Plan:
    """Where one split comes from: `indices` int64 [N] into MNIST (train then test), `factors` float64 [N]."""

    indices: np.ndarray
    factors: np.ndarray


def plan(labels: np.ndarray, realization: int, protocol: str) -> dict[str, Plan]:
    """The plan of every split, in the order of `SPLITS`; depends on nothing but the arguments.

    `paper`: all of MNIST; stratified into 12,000 and the test images, the 12,000 again into training and validation;
    then for every image of every split an unused angle and a factor. The authors seed the two global generators with
    the realization's number; private generators with the same seeds draw the same and leave those alone.

    `report`: the 60,000 training images only; one factor per image in the order of the file, then the same two
    stratified splits.

    Arguments:
        labels: uint8 [70000]; `report` reads the first 60,000.

    Raises:
        ValueError: an unknown protocol or realization, too few labels.
    """
    check(protocol, realization)
    sizes = SIZES[protocol]
    total = TOTALS[protocol]
    if len(labels) < total:
        raise ValueError(f"{len(labels)} labels given; protocol {protocol!r} needs {total}")
    if protocol == "paper":
        indices, drawn = _stratified(labels[:total], sizes, realization), paper_factors(realization)
        return {split: Plan(indices[split], drawn[split]) for split in SPLITS}
    factors = _factors(_uniform(realization, total))
    indices = _stratified(labels[:total], sizes, realization)
    return {split: Plan(indices[split], factors[indices[split]]) for split in SPLITS}


def paper_factors(realization: int) -> dict[str, np.ndarray]:
    """The scale factors of each split under the `paper` protocol, float64 [N]; no data are needed to know them."""
    check("paper", realization)
    sizes = SIZES["paper"]
    drawn = _factors(_uniform(realization, 2 * sum(sizes.values()))[1::2])  # before each the draw of an angle in [0, 0]
    parts = np.split(drawn, np.cumsum([sizes[split] for split in SPLITS])[:-1])
    return dict(zip(SPLITS, parts))


def _uniform(seed: int, count: int) -> np.ndarray:
    """The first `count` numbers of `random.Random(seed).random()`, float64 [count], drawn by NumPy: it has the same
    generator, but seeds it otherwise, so it is given the state."""
    _, (*key, position), _ = random.Random(seed).getstate()
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(key, dtype=np.uint32), position, 0, 0.0))
    return generator.random_sample(count)


def _factors(drawn: np.ndarray) -> np.ndarray:
    """Scale factors out of numbers in [0, 1), as `random.uniform` makes them, to the last bit."""
    low, high = FACTORS
    return low + (high - low) * drawn


def _stratified(labels: np.ndarray, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Indices int64 of each split; every split has the classes in the proportions of `labels`."""
    from sklearn.model_selection import train_test_split  # a second to import, and needed only when data are made

    generator = np.random.RandomState(seed)
    learn, test = train_test_split(
        np.arange(len(labels)),
        train_size=sizes["train"] + sizes["val"],
        test_size=sizes["test"],
        stratify=labels,
        random_state=generator,
    )
    train, val = train_test_split(
        learn, train_size=sizes["train"], test_size=sizes["val"], stratify=labels[learn], random_state=generator
    )
    return {"train": train, "test": test, "val": val}
