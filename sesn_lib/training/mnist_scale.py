"""Training and evaluation by the paper's protocol. Knows no paths and no grid.

Adam, learning rate 0.01, times 0.1 after epochs 20 and 40, 60 epochs, batches of 128 with the last partial one kept,
cross-entropy; the weights of the best validation epoch (the first of equals) are the result. All randomness follows
``Settings.seed``: the same settings on the same machine give the same weights bit for bit on the CPU, also when a run
is interrupted and taken up again from a saved state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.checks import check_choice, check_whole
from sesn_lib.data.splits import DeviceSplit, Split, epoch_batches, normalise
from sesn_lib.experiments.settings import PRECISION_CHOICES, PRECISIONS, Settings
from sesn_lib.fast import memory
from sesn_lib.fast.graphs import recorded
from sesn_lib.fast.precision import resolve
from sesn_lib.training.state import State, autocast, capture, check_same, forked, restore, run_epochs, stream, to_cpu

__all__ = [
    "PRECISIONS",
    "Diverged",
    "EpochReport",
    "Evaluation",
    "FitResult",
    "Settings",
    "evaluate",
    "fit",
    "train_step",
]


class Diverged(RuntimeError):
    """The loss was not finite at the end of an epoch."""


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch. Losses are means over images, accuracies fractions; training's taken as weights change."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    epochs: int
    best_epoch: int

    def row(self) -> dict[str, float]:
        """The entry of a run's history."""
        return {key: value for key, value in asdict(self).items() if key not in ("epochs", "best_epoch")}


@dataclass(frozen=True, eq=False)
class FitResult:
    """`best_epoch` counts from 1, `val_accuracy` its fraction; `history`: a dict an epoch; the states are on the CPU:
    weights of the best and of the last epoch."""

    best_epoch: int
    val_accuracy: float
    history: list[dict[str, float]]
    best_state: dict[str, Tensor]
    last_state: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`correct` ``bool [N]``, `predictions` ``int64 [N]``, in the split's order, on the CPU; `loss` is their mean."""

    correct: Tensor
    predictions: Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        return float(self.correct.double().mean())

    def error(self, n: int | None = None) -> float:
        """Error in percent on the first `n` images, on all when left out. Raises ValueError unless 1 <= n <= N."""
        count = len(self.correct) if n is None else n
        if not 1 <= count <= len(self.correct):
            raise ValueError(f"error on the first {count} images asked for, must be 1 to {len(self.correct)}")
        return 100.0 * (count - int(self.correct[:count].sum())) / count


def fit(
    model: nn.Module,
    train: DeviceSplit,
    val: DeviceSplit,
    settings: Settings,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    save_every: int = 5,
) -> FitResult:
    """Trains `model` in place, on the splits' device; leaves it in evaluation mode with the best epoch's weights.

    Initial weights are the caller's (seed before building the model). Global random state is the same after as before.

    Arguments:
        on_epoch: called after every epoch, and after `save` if both are due; it may raise to stop the run.
        state: what `save` was once given; the run goes on from there and ends as if never interrupted. `model` must be
            of the same kind.
        save: called with the complete state (CPU tensors, numbers, strings; ``torch.load(weights_only=True)`` reads it)
            every `save_every` epochs and after the last.

    Raises Diverged when a loss is not finite at the end of an epoch, ValueError for data or a state that do not fit.
    """
    _check_data(train, val, settings)
    device = train.device
    settings = replace(settings, precision=resolve(settings.precision, device))
    model.to(device)
    with forked(device), memory.kept():
        run = _Run(model, settings, device, len(train))
        run_epochs(run, settings.epochs, lambda: _train_epoch(run, train, val), on_epoch, state, save, save_every)
    last_state = to_cpu(model.state_dict())
    model.load_state_dict(run.best_state)
    model.eval()
    return FitResult(run.best_epoch, run.best_accuracy, run.history, run.best_state, last_state)


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 1000,
    precision: str = "float32",
    normalise: Callable[[Tensor], Tensor] = normalise,
) -> Evaluation:
    """Predictions of `model`, which must be on the split's device, in evaluation mode; its mode is then restored.

    `normalise` makes the model's input of the bytes; that of MNIST-scale by default.
    """
    check_whole(batch_size=batch_size)
    check_choice(PRECISION_CHOICES, precision=precision)
    if not len(split):
        raise ValueError("there are 0 images to evaluate on, must be at least 1")
    was_training = model.training
    model.eval()
    losses, predictions = [], []
    try:
        with torch.inference_mode():
            for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size)):
                with autocast(split.device, precision):
                    logits = model(normalise(images))
                losses.append(F.cross_entropy(logits.float(), labels, reduction="sum"))
                predictions.append(logits.argmax(dim=1))
            # Back to the CPU once, so that a GPU is never waited for in between.
            predicted = torch.cat(predictions)
            correct = (predicted == split.labels).cpu()
            loss = torch.stack(losses).double().sum().item() / len(split)
    finally:
        model.train(was_training)
    return Evaluation(correct.clone(), predicted.cpu().clone(), loss)


class _Run:
    """All that changes in the course of a run."""

    def __init__(self, model: nn.Module, settings: Settings, device: torch.device, train_images: int) -> None:
        self.model, self.settings, self.device, self.train_images = model, settings, device, train_images
        self.optimizer = new_optimizer(model, settings.learning_rate)
        self.step: Callable[[Tensor, Tensor], Tensor] | None = None
        self.generator = torch.Generator().manual_seed(stream(settings.seed, "order and factors"))
        torch.manual_seed(stream(settings.seed, "dropout"))
        self.epoch, self.best_epoch, self.best_accuracy = 0, 0, -1.0
        self.best_state: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def step_at(self, rate: float) -> Callable[[Tensor, Tensor], Tensor]:
        """The training step with this learning rate; a recording holds for one rate."""
        if self.step is None or any(group["lr"] != rate for group in self.optimizer.param_groups):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.step = new_step(self.model, self.optimizer, self.settings.precision, self.device)
        return self.step

    def state(self) -> State:
        return {
            "settings": asdict(self.settings),
            "train_images": self.train_images,
            "epoch": self.epoch,
            **capture(self.model, self.optimizer, self.generator, self.device),
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "best_state": dict(self.best_state),
            "history": [dict(row) for row in self.history],
        }

    def load(self, state: State) -> None:
        try:
            saved = {**state["settings"], "train_images": state["train_images"]}
            check_same(saved, {**asdict(self.settings), "train_images": self.train_images})
            restore(state, self.model, self.optimizer, self.generator, self.device)
            self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
            self.best_accuracy = state["best_accuracy"]
            self.best_state, self.history = dict(state["best_state"]), [dict(row) for row in state["history"]]
        except KeyError as error:
            raise ValueError(f"the saved state lacks {error.args[0]!r}, must come from `save`") from error


def _train_epoch(run: _Run, train: DeviceSplit, val: DeviceSplit) -> EpochReport:
    """Trains and validates one epoch and brings `run` up to date."""
    settings, epoch, start = run.settings, run.epoch + 1, time.perf_counter()
    rate = settings.learning_rate_in(epoch)
    step = run.step_at(rate)
    run.model.train()
    # Summed loss and number correct stay on the device and are read once an epoch: a GPU is never waited for.
    totals = torch.zeros(2, dtype=torch.float64, device=run.device)
    for images, labels in epoch_batches(train, settings.batch_size, run.generator, settings.extra_scaling):
        totals += step(images, labels)
    train_loss, train_accuracy = (totals / len(train)).tolist()
    check_finite("training", train_loss, epoch, rate)
    validation = evaluate(run.model, val, batch_size=settings.eval_batch, precision=settings.precision)
    check_finite("validation", validation.loss, epoch, rate)
    run.epoch = epoch
    if validation.accuracy > run.best_accuracy:
        run.best_epoch, run.best_accuracy = epoch, validation.accuracy
        run.best_state = to_cpu(run.model.state_dict())
    report = EpochReport(
        epoch=epoch,
        learning_rate=rate,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=validation.loss,
        val_accuracy=validation.accuracy,
        seconds=time.perf_counter() - start,
        epochs=settings.epochs,
        best_epoch=run.best_epoch,
    )
    run.history.append(report.row())
    return report


def new_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam in its fused form; on a GPU one that a graph can hold."""
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True, capturable=on_gpu)


def new_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: str, device: torch.device, *, graph: bool = True
) -> Callable[[Tensor, Tensor], Tensor]:
    """`train_step` of (images, labels); as a graph where the device has such, good while the learning rate stays."""

    def step(images: Tensor, labels: Tensor) -> Tensor:
        return train_step(model, optimizer, images, labels, precision)

    return recorded(step, device) if graph else step


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, precision: str
) -> Tensor:
    """One step of Adam; returns ``[loss summed over the batch, number correct]`` without waiting for the device."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(images.device, precision):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
    loss.backward()
    optimizer.step()
    return torch.stack([loss.detach() * len(labels), (logits.detach().argmax(dim=1) == labels).sum()])


def check_finite(which: str, loss: float, epoch: int, rate: float) -> None:
    """Raises Diverged for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} after epoch {epoch}: it must be finite (learning rate {rate:g})")


def _check_data(train: DeviceSplit, val: DeviceSplit, settings: Settings) -> None:
    if train.device != val.device:
        raise ValueError(f"training images on {train.device}, validation images on {val.device}: must be on one device")
    if not len(val):
        raise ValueError("there are 0 validation images, must be at least 1")
    count, batch = len(train), settings.batch_size
    if count < 2:
        raise ValueError(f"the number of training images is {count}: it must be at least 2")
    if count % batch == 1:  # batch normalisation needs two
        raise ValueError(f"{count} training images in batches of {batch} leave a last batch of one: use {count - 1}")
