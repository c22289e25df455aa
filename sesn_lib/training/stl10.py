"""Training on STL-10 by the recipe of `sesn_lib.experiments.stl10`. Knows no paths and no grid.

All randomness follows `Recipe.seed`; on a CPU the same recipe gives the same weights bit for bit, also when a run is
interrupted and taken up again from a saved state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.data.augment import ColourSplit, Draws, augment, normalise
from sesn_lib.experiments.stl10 import Recipe
from sesn_lib.fast.precision import resolve
from sesn_lib.training import mnist_scale as training
from sesn_lib.training.mnist_scale import Evaluation, check_finite
from sesn_lib.training.state import State, autocast, capture, check_same, forked, restore, run_epochs, stream, to_cpu

__all__ = [
    "EpochReport",
    "FitResult",
    "epoch_batches",
    "evaluate",
    "fit",
    "hold_out",
    "make_optimizer",
    "train_step",
]


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch; what was not evaluated after it is None.

    The training loss is a mean over images and its accuracy a fraction, both taken while the weights change. Errors are
    percentages.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    seconds: float
    epochs: int
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_error: float | None = None

    def row(self) -> dict[str, float]:
        """The entry of a run's history."""
        names = ("epoch", "learning_rate", "train_loss", "train_accuracy", "seconds")
        return {name: getattr(self, name) for name in names}

    def evaluation(self) -> dict[str, float | None]:
        """The entry among a run's evaluations."""
        return {name: getattr(self, name) for name in ("epoch", "test_error", "test_loss", "val_accuracy")}


@dataclass(frozen=True, eq=False)
class FitResult:
    """How a training ended.

    Attributes:
        reported_epoch: whose weights the model has and whose test error is the result; counts from 1.
        test_error: in percent.
        history: one dictionary per epoch.
        evaluations: one per evaluated epoch, with epoch, test_error, test_loss and val_accuracy (None without
            validation images).
    """

    reported_epoch: int
    test_error: float
    history: list[dict[str, float]]
    evaluations: list[dict[str, Any]]


def hold_out(split: ColourSplit, count: int, seed: int) -> tuple[ColourSplit, ColourSplit | None]:
    """The split without `count` images, the same number of each class, and those images; (split, None) for 0.

    Raises:
        ValueError: count is no multiple of the number of classes, or leaves a class without training images.
    """
    if count == 0:
        return split, None
    labels = split.labels.cpu()
    classes = labels.unique().tolist()
    each, rest = divmod(count, len(classes))
    fewest = min(int((labels == label).sum()) for label in classes)
    if rest or each >= fewest:
        raise ValueError(
            f"validation_images is {count}: it must be a multiple of {len(classes)}, the number of classes, and below "
            f"{len(classes) * fewest}"
        )
    generator = torch.Generator().manual_seed(stream(seed, "held-out images"))
    held = torch.zeros(len(split), dtype=torch.bool)
    for label in classes:
        members = (labels == label).nonzero().flatten()
        held[members[torch.randperm(len(members), generator=generator)[:each]]] = True
    held = held.to(split.device)
    return split[~held], split[held]


def epoch_batches(split: ColourSplit, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (augmented, normalised images [B, 3, H, W], labels [B]), in random order.

    The last batch holds what is left. `generator` is a CPU generator, advanced by one permutation and the draws of the
    augmentation.
    """
    order = torch.randperm(len(split), generator=generator).to(split.device)
    draws = Draws.sample(len(split), generator, size=split.images.shape[-1]).to(split.device)
    for start in range(0, len(split), recipe.batch_size):
        part = slice(start, start + recipe.batch_size)
        chosen = order[part]
        images = split.images[chosen]
        if recipe.augmentation == "none":
            yield normalise(images), split.labels[chosen]
        else:
            yield augment(images, draws[part], order=recipe.augmentation), split.labels[chosen]


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, recipe: Recipe
) -> Tensor:
    """One step of the optimiser on a batch, in micro-batches if the recipe says so.

    The gradient is that of the mean loss over the batch however it is divided.
    Returns [loss summed over the batch, number correct] on the device, which is not waited for.
    """
    optimizer.zero_grad(set_to_none=True)
    totals = torch.zeros(2, device=images.device)
    size = recipe.micro_batch or len(images)
    for part, truth in zip(images.split(size), labels.split(size)):
        with autocast(images.device, recipe.precision):
            logits = model(part)
        loss = F.cross_entropy(logits.float(), truth, reduction="sum")
        (loss / len(images)).backward()
        totals += torch.stack([loss.detach(), (logits.detach().argmax(dim=1) == truth).sum()])
    optimizer.step()
    return totals


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum over all parameters, those of the norms included."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def evaluate(model: nn.Module, split: ColourSplit, recipe: Recipe) -> Evaluation:
    """`training.evaluate` of a split of STL-10, as the recipe says."""
    return training.evaluate(
        model, split, batch_size=recipe.eval_batch, precision=recipe.precision, normalise=normalise
    )


def fit(
    model: nn.Module,
    train: ColourSplit,
    test: ColourSplit,
    recipe: Recipe,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
) -> FitResult:
    """Trains `model` in place, on the splits' device; leaves it in evaluation mode with the reported epoch's weights.

    Initial weights are the caller's (seed before building the model). Global random state is the same after as before.

    Arguments:
        train, test: images uint8 [N, 3, H, H] and labels; validation images are held out of `train`.
        on_epoch: called after every epoch, and after `save` if both are due; it may raise to stop the run.
        state: what `save` was once given; the run goes on from there and ends as if never interrupted.
        save: called with the complete state (CPU tensors, numbers, strings) after each epoch.

    Raises:
        Diverged: a loss that is not finite at the end of an epoch.
        ValueError: data or a state that do not fit.
    """
    if train.device != test.device:
        raise ValueError(f"training images on {train.device}, test images on {test.device}: they must be on one device")
    device = train.device
    recipe = replace(recipe, precision=resolve(recipe.precision, device))
    model.to(device)
    kept, val = hold_out(train, recipe.validation_images, recipe.seed)
    with forked(device):
        run = _Run(model, recipe, device, len(train))
        run_epochs(run, recipe.epochs, lambda: _epoch(run, kept, val, test), on_epoch, state, save, 1)
    if recipe.selection == "validation":
        model.load_state_dict(run.best_state)
    model.eval()
    chosen = run.reported()
    return FitResult(chosen["epoch"], chosen["test_error"], run.history, run.evaluations)


class _Run:
    """All that changes in the course of a run."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device, train_images: int) -> None:
        self.model, self.recipe, self.device, self.train_images = model, recipe, device, train_images
        self.optimizer = make_optimizer(model, recipe)
        self.generator = torch.Generator().manual_seed(stream(recipe.seed, "order and augmentation"))
        torch.manual_seed(stream(recipe.seed, "dropout"))
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.best_state: dict[str, Tensor] = {}

    def reported(self) -> dict[str, Any]:
        """The evaluation that is the result, by the recipe's selection; of equal ones the first."""
        if self.recipe.selection == "final":
            return self.evaluations[-1]
        return max(self.evaluations, key=lambda evaluation: evaluation["val_accuracy"])

    def state(self) -> State:
        return {
            "settings": asdict(self.recipe),
            "train_images": self.train_images,
            "epoch": self.epoch,
            **capture(self.model, self.optimizer, self.generator, self.device),
            "best_state": dict(self.best_state),
            "history": [dict(row) for row in self.history],
            "evaluations": [dict(row) for row in self.evaluations],
        }

    def load(self, state: State) -> None:
        try:
            saved = {**state["settings"], "train_images": state["train_images"]}
            check_same(saved, {**asdict(self.recipe), "train_images": self.train_images})
            restore(state, self.model, self.optimizer, self.generator, self.device)
            self.epoch, self.best_state = state["epoch"], dict(state["best_state"])
            self.history = [dict(row) for row in state["history"]]
            self.evaluations = [dict(row) for row in state["evaluations"]]
        except KeyError as error:
            raise ValueError(f"the saved state lacks {error.args[0]!r}, must come from `save`") from error


def _epoch(run: _Run, train: ColourSplit, val: ColourSplit | None, test: ColourSplit) -> EpochReport:
    """Trains one epoch, evaluates if it is time, and brings `run` up to date."""
    recipe, epoch, start = run.recipe, run.epoch + 1, time.perf_counter()
    rate = recipe.learning_rate_in(epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.model.train()
    totals = torch.zeros(2, dtype=torch.float64, device=run.device)
    for images, labels in epoch_batches(train, recipe, run.generator):
        totals += train_step(run.model, run.optimizer, images, labels, recipe)
    loss, accuracy = (totals / len(train)).tolist()
    check_finite("training", loss, epoch, rate)
    seconds = time.perf_counter() - start
    measured: dict[str, float | None] = {}
    if recipe.evaluates(epoch):
        tested = evaluate(run.model, test, recipe)
        held = None if val is None else evaluate(run.model, val, recipe)
        measured = {
            "test_error": tested.error(),
            "test_loss": tested.loss,
            "val_accuracy": None if held is None else held.accuracy,
        }
    run.epoch = epoch
    report = EpochReport(epoch, rate, loss, accuracy, seconds, recipe.epochs, **measured)
    run.history.append(report.row())
    if measured:
        run.evaluations.append(report.evaluation())
        if recipe.selection == "validation" and run.reported()["epoch"] == epoch:
            run.best_state = to_cpu(run.model.state_dict())
    return report
