"""A small file in STL-10's binary format for where STL-10 is not: crops of two photographs, and generated textures.

The photographs are those that scikit-learn ships (`load_sample_images`). The ten classes are the ten kinds of picture
and have nothing to do with STL-10's; no accuracy on them says anything about STL-10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import checksums, stl10
from data_prep.files import data_folder

LABEL = "generated stand-in, not STL-10"

FOLDER = "stl10_synthetic"
SIZE = 96
CLASSES = ("china", "flower", "stripes", "checks", "rings", "dots", "clouds", "grain", "waves", "blobs")


@dataclass(frozen=True, eq=False)
class Pictures:
    """STL-10, or what stands in for it.

    Attributes:
        genuine: whether it is STL-10.
        label: what every figure must say.
        classes: names of the labels.
        train, test: (images uint8 [N, 3, 96, 96], labels int64 [N]).
    """

    genuine: bool
    label: str
    classes: tuple[str, ...]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load_any(root: str | Path | None = None, *, each: int = 4) -> Pictures:
    """STL-10 where it is in the data folder, verified; the stand-in everywhere else. Downloads nothing.

    Arguments:
        root: the data folder; None for the default one.
        each: pictures per class and split of the stand-in.

    Raises:
        DataError: files of STL-10 that are there and damaged; a folder that cannot be written.
    """
    folder = data_folder(root)
    if all((folder / "stl10_binary" / name).exists() for name in checksums.STL10_FILES):
        train, test = (stl10.load(folder, split, progress=False) for split in ("train", "test"))
        return Pictures(True, "STL-10", stl10.CLASSES, train, test)
    place = make(folder, each=each)
    train, test = (stl10.read(place, split) for split in ("train", "test"))
    return Pictures(False, LABEL, CLASSES, train, test)


def make(root: str | Path | None = None, *, each: int = 4, seed: int = 0) -> Path:
    """Writes `<root>/stl10_synthetic/{train,test}_{X,y}.bin` and returns the folder; the same bytes each time.

    Arguments:
        root: the data folder; None for the default one.
        each: pictures per class and split.
        seed: of everything that is drawn.

    Raises:
        ValueError: each below 1.
        DataError: the files cannot be written.
    """
    if each < 1:
        raise ValueError(f"each is {each}: it must be at least 1")
    folder = data_folder(root) / FOLDER
    for offset, split in enumerate(("train", "test")):
        images, labels = pictures(each, seed=2 * seed + offset)
        stl10.write(folder, split, images, labels)
    return folder


def pictures(each: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`each` pictures of every class, class by class: uint8 [10 each, 3, 96, 96], labels int64 [10 each]."""
    random = np.random.default_rng(seed)
    drawn = [_photograph(name, random) for name in CLASSES[:2] for _ in range(each)]
    drawn += [_coloured(_TEXTURES[name](random), random) for name in CLASSES[2:] for _ in range(each)]
    images = np.stack(drawn).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), np.repeat(np.arange(len(CLASSES)), each)


def _photograph(name: str, random: np.random.Generator) -> np.ndarray:
    """A square crop, 190 to 420 pixels wide, made 96 wide."""
    from sklearn.datasets import load_sample_image

    picture = Image.fromarray(load_sample_image(f"{name}.jpg"))
    width = int(random.integers(190, 421))
    left, top = (int(random.integers(0, side - width + 1)) for side in picture.size)
    return np.asarray(
        picture.crop((left, top, left + width, top + width)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    )


def _coloured(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Values in [0, 1] as a blend of two random colours, uint8 [96, 96, 3]."""
    first, second = random.uniform(0, 255, (2, 3))
    blend = first + (second - first) * np.clip(values, 0, 1)[..., None]
    return np.rint(blend).astype(np.uint8)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(SIZE) - (SIZE - 1) / 2
    return np.meshgrid(at, at, indexing="ij")


def _wave(random: np.random.Generator) -> np.ndarray:
    """A plane wave of random direction, phase and wavelength, in [-1, 1]."""
    y, x = _grid()
    angle, phase, length = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi), random.uniform(8, 30)
    return np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length + phase)


def _rings(random: np.random.Generator) -> np.ndarray:
    y, x = _grid()
    centre = random.uniform(-24, 24, 2)
    return (1 + np.sin(np.hypot(y - centre[0], x - centre[1]) * 2 * np.pi / random.uniform(8, 24))) / 2


def _dots(random: np.random.Generator) -> np.ndarray:
    y, x = _grid()
    values = np.zeros((SIZE, SIZE))
    for _ in range(int(random.integers(8, 25))):
        centre, radius = random.uniform(-48, 48, 2), random.uniform(2, 7)
        values[np.hypot(y - centre[0], x - centre[1]) < radius] = 1
    return values


def _noise(random: np.random.Generator, power: float) -> np.ndarray:
    """Noise whose spectrum falls as frequency^-power, scaled to mean 1/2 and standard deviation 1/5."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij"))
    frequency[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(random.standard_normal((SIZE, SIZE))) * frequency**-power).real
    return 0.5 + 0.2 * noise / noise.std()


_TEXTURES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "stripes": lambda random: (_wave(random) > 0).astype(float),
    "checks": lambda random: ((_wave(random) > 0) ^ (_wave(random) > 0)).astype(float),
    "rings": _rings,
    "dots": _dots,
    "clouds": lambda random: _noise(random, 1.5),
    "grain": lambda random: _noise(random, 0.0),
    "waves": lambda random: 0.5 + (_wave(random) + _wave(random) + _wave(random)) / 6,
    "blobs": lambda random: (_noise(random, 2.0) > 0.5).astype(float),
}
