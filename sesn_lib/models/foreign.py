"""Checkpoints that others made: opened, or told what they are instead; the network's entries found in them."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["entries", "few", "read"]

# Where a checkpoint that holds more than weights has them: of several that fit, the first.
NESTED = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights")
DEEPEST = 5
# Parts of a key that come from what a network, or a part of it, was wrapped in; and what tools leave among the entries.
WRAPPERS = re.compile(r"(?<=\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
BOOKKEEPING = re.compile(r"(?:^n_averaged|(?:^|\.)total_ops|(?:^|\.)total_params)$")
BEGINNINGS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS: `git lfs pull` fetches the file itself"),
    (b"\x1f\x8b", "it is packed with gzip: unpack it first"),
    (b"\x89HDF", "it is an HDF5 file"),
    (b"<", "it is an HTML page or XML, not the file"),
)


def read(path: str | os.PathLike[str]) -> Any:
    """What a checkpoint file holds, on the CPU; nothing in it is executed.

    Raises:
        ValueError: it is not there, or no file of tensors; in one line that says what it is instead.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        what = "a folder" if file.is_dir() else "not there"
        raise ValueError(f"{os.fspath(path)!r} is {what}: it must be a checkpoint file")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for what is no checkpoint of its own
        raise ValueError(
            f"{str(file)!r} is no file of tensors alone, as torch.save makes of a state dict: {_reason(file, error)}"
        ) from error


def _reason(file: Path, error: Exception) -> str:
    """Why torch cannot read it, in a few words."""
    if isinstance(error, PermissionError):
        return "permission denied"
    with file.open("rb") as content:
        start = content.read(300)
    if not start:
        return "it is empty"
    if start[8:10] == b'{"':
        return "it is a safetensors file: give what safetensors.torch.load_file reads from it"
    if start[257:262] == b"ustar":
        return "it is a tar archive: unpack it first"
    for beginning, what in BEGINNINGS:
        if start.lstrip().startswith(beginning):
            return what
    if start[:2] == b"PK":
        return _zipped(file, error)
    return _pickled(error)


def _zipped(file: Path, error: Exception) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return "it is cut off or damaged"
    if "constants.pkl" in names:
        return "it is a TorchScript archive: give the state_dict() of what torch.jit.load reads from it"
    return _pickled(error) if "data.pkl" in names else f"it is a zip archive with {few(sorted(names))}"


def _pickled(error: Exception) -> str:
    if found := re.search(r"(?:GLOBAL|global:?|class) ([\w.]+\.[\w.]+)", str(error)):
        remedy = "if you trust it, give the state dict that torch.load(..., weights_only=False) reads"
        return f"it also holds {found[1]}; {remedy}"
    return "it is no checkpoint of torch, or damaged"


def entries(state: Any, wanted: Collection[str]) -> dict[str, Any]:
    """The network's entries, wherever they lie in a checkpoint, by the names that the network has for them.

    Arguments:
        state: a dictionary of tensors; or dictionaries that hold one, by whatever names.
        wanted: names of entries. What is in front of all keys is left out if the rest is such a name.

    Raises:
        ValueError: there is no dictionary of tensors, or several fit as well.
    """
    if isinstance(state, nn.Module):
        raise ValueError(f"state_dict is a {type(state).__name__}: give its state_dict()")
    if not isinstance(state, Mapping):
        raise ValueError(
            f"state_dict is a {type(state).__name__}: it must be a dictionary of tensors, or a file's path"
        )
    if not state:
        raise ValueError("state_dict is empty: it must have the authors' entries")
    found = [(place, _unwrapped(held, wanted)) for place, held in _dictionaries(state, (), wanted)]
    if not found:
        modules = [f"; {key} is a {type(v).__name__}: give its state_dict()" for key, v in state.items() if _module(v)]
        raise ValueError(
            f"state_dict holds {few([*map(str, state)])}, and no dictionary of tensors in it{''.join(modules[:1])}"
        )
    fitting = [len(set(wanted) & set(held)) for _, held in found]
    best = [one for one, count in zip(found, fitting) if count == max(fitting)]
    if not max(fitting):
        return max((held for _, held in best), key=len)
    ranks = [NESTED.index(place[-1]) if place and place[-1] in NESTED else len(NESTED) for place, _ in best]
    first = [one for one, rank in zip(best, ranks) if rank == min(ranks)]
    if len(first) > 1:
        places = few([".".join(map(str, place)) for place, _ in first])
        raise ValueError(f"state_dict holds entries of such a network under {places}: give one of them")
    return first[0][1]


def _module(value: Any) -> bool:
    return isinstance(value, nn.Module)


def _dictionaries(
    state: Mapping[Any, Any], place: tuple[Any, ...], wanted: Collection[str]
) -> Iterator[tuple[tuple[Any, ...], Mapping[Any, Any]]]:
    """All dictionaries that hold tensors, and the keys that lead to them."""
    if any(isinstance(value, Tensor) for value in state.values()) or not set(wanted).isdisjoint(state):
        yield place, state
    if len(place) < DEEPEST:
        for key, value in state.items():
            if isinstance(value, Mapping):
                yield from _dictionaries(value, (*place, key), wanted)


def _unwrapped(state: Mapping[Any, Any], wanted: Collection[str]) -> dict[str, Any]:
    keys = {str(key): value for key, value in state.items() if not isinstance(value, Mapping)}
    keys = {key: value for key, value in keys.items() if not BOOKKEEPING.search(key)}
    bare = {WRAPPERS.sub("", f".{key}")[1:]: value for key, value in keys.items()}
    while bare:
        if not set(wanted).isdisjoint(bare):
            return bare
        front = next(iter(bare)).partition(".")[0] + "."
        # The authors' networks that enlarge their input first have a number in front, others have not.
        if front[0].isdecimal() or not all(key.startswith(front) for key in bare):
            break
        bare = {key.removeprefix(front): value for key, value in bare.items()}
    return keys


def few(keys: Collection[str]) -> str:
    """The first keys, and how many there are."""
    if not keys:
        return "none"
    listed = [key if len(key) <= 80 else f"{key[:77]}..." for key in [*keys][:3]]
    return str(listed) if len(keys) <= 3 else f"{listed} and {len(keys) - 3} more, {len(keys)} in all"
