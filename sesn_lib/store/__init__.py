"""One record a run, on disk whole or not at all; checkpoints of unfinished runs, weights of finished ones."""

from sesn_lib.store.checkpoint import Checkpoint, Interrupted
from sesn_lib.store.records import Store, collect
from sesn_lib.store.schema import deterministic_part, validate

__all__ = ["Checkpoint", "Interrupted", "Store", "collect", "deterministic_part", "validate"]
