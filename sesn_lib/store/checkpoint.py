"""The checkpoint of a run: what a killed training goes on from."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sesn_lib.experiments.settings import CHECKPOINT_SECONDS
from sesn_lib.store.atomic import rename_damaged, write_aside
from sesn_lib.store.schema import AnyCell

log = logging.getLogger(__name__)

T = TypeVar("T")


class Interrupted(Exception):
    """A run was asked to stop and did; its checkpoint, if it has one, holds what was done."""


class Checkpoint:
    """The state of a cell's training on disk: `<folder>/<cell>.pt`, and `<cell>.json` which says how far it is.

    Only tensors and plain containers are stored and only those are ever loaded. A checkpoint that is damaged, or of a
    run with other settings, data or kind of device, is renamed to `*.damaged` and training starts over.

    Arguments:
        folder: None keeps no checkpoint.
        identity: what must be the same for the state to be usable.
        every: seconds between two writes, at least.
        stop: asked at each chance to save; if it says True the state is written and Interrupted raised.
    """

    def __init__(
        self,
        folder: str | Path | None,
        cell: AnyCell,
        identity: dict[str, Any] | None = None,
        *,
        every: float = CHECKPOINT_SECONDS,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.path = None if folder is None else Path(folder) / f"{cell.name}.pt"
        self.identity, self.every, self.stop = identity, every, stop
        self.seconds_before = 0.0
        self._start = self._last = time.perf_counter()
        self._last_note = float("-inf")

    def load(self) -> dict[str, Any] | None:
        """The state to go on from; None if there is none that can be used."""
        import torch

        if self.path is None or not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["identity"] != self.identity:
                raise ValueError(f"it is of a run with another {_difference(content['identity'], self.identity)}")
            state, self.seconds_before = content["state"], float(content["seconds"])
        except Exception as error:  # whatever a damaged file makes torch raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.set_aside(reason)
            return None
        return state

    def resume(self, train: Callable[[dict[str, Any] | None], T]) -> T:
        """The result of `train`, given the state to go on from; of starting over, with None, if that does not fit."""
        state = self.load()
        if state is not None:
            try:
                return train(state)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                self.set_aside(f"it does not fit this run: {error}")
        return train(None)

    def save(self, state: dict[str, Any]) -> None:
        """Writes the state if it is time or if the run is to stop; a full disk costs the checkpoint, not the run.

        Raises:
            Interrupted: the run is to stop.
        """
        import torch

        stopping = self.stop is not None and self.stop()
        moment = time.perf_counter()
        if self.path is not None and (stopping or moment - self._last >= self.every):
            buffer = io.BytesIO()
            seconds = self.seconds_before + moment - self._start
            torch.save({"identity": self.identity, "seconds": seconds, "state": state}, buffer)
            try:
                write_aside(self.path, buffer.getvalue(), replace=True)
            except OSError as error:
                log.warning("no checkpoint at %s: %s", self.path, error.strerror or error)
            self._last = moment
        if stopping:
            raise Interrupted

    def note(self, epoch: int, epochs: int) -> None:
        """Leaves word of how far the run is, every few seconds, for `sesn status`."""
        moment = time.perf_counter()
        if self.path is None or moment - self._last_note < 5:
            return
        self._last_note = moment
        content = json.dumps({"epoch": epoch, "epochs": epochs}).encode()
        try:
            write_aside(self.path.with_suffix(".json"), content, replace=True)
        except OSError as error:
            log.warning("no note of progress beside %s: %s", self.path, error.strerror or error)

    def fraction_done(self) -> float:
        """How much of the training a checkpoint saves, 0 without one; by the note beside it, which costs no torch."""
        return self.fraction_noted() if self.path is not None and self.path.exists() else 0.0

    def fraction_noted(self) -> float:
        """How far the run was when it last left word, 0 if it never did."""
        if self.path is None:
            return 0.0
        try:
            note = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
            return min(max(float(note["epoch"] / note["epochs"]), 0.0), 1.0)
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            return 0.0

    def set_aside(self, reason: str) -> None:
        """Renames the file to `*.damaged`; the training starts over."""
        if self.path is not None and self.path.exists():
            try:
                target = rename_damaged(self.path)
            except OSError as error:  # a folder that cannot be changed costs the checkpoint, not the run
                log.warning("checkpoint %s: %s; training starts over (%s)", self.path, reason, error.strerror)
            else:
                log.warning("set aside checkpoint %s: %s; training starts over", target, reason)
        self.seconds_before = 0.0

    def discard(self, before: float = float("inf")) -> None:
        """Removes the checkpoint and what belongs to it, if written before a moment; once the record is stored."""
        if self.path is None or not self.path.parent.is_dir():
            return
        for path in (self.path, self.path.with_suffix(".json"), *self.path.parent.glob(f".{self.path.stem}.*.tmp")):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime <= before:
                    path.unlink()


def _difference(stored: Any, wanted: Any) -> str:
    """The first thing in which two identities differ, such as `protocol.epochs (5, not 60)`."""
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        return f"identity ({stored!r}, not {wanted!r})"
    key = next(key for key in {**wanted, **stored} if stored.get(key) != wanted.get(key))
    if isinstance(stored.get(key), dict) and isinstance(wanted.get(key), dict):
        return f"{key}.{_difference(stored[key], wanted[key])}"
    return f"{key} ({stored.get(key)!r}, not {wanted.get(key)!r})"
