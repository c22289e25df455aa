"""What a network makes of a split that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sesn_lib.checks import PRECISION_CHOICES, check_choice, check_whole
from sesn_lib.data.splits import Split, normalise
from sesn_lib.training.state import autocast


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
        """Error in percent on the first `n` images, on all when left out.

        Raises:
            ValueError: n below 1 or above N.
        """
        count = len(self.correct) if n is None else n
        if not 1 <= count <= len(self.correct):
            raise ValueError(f"error on the first {count} images asked for, must be 1 to {len(self.correct)}")
        return 100.0 * (count - int(self.correct[:count].sum())) / count


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

    Raises:
        ValueError: no image at all, an impossible batch size or precision.
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
