"""An encoder with a linear classifier: its loss, and what it predicts."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder
from imssl.features import evaluation_input
from imssl.task import Task
from imssl.training_images import TrainingImages


class Classifier(nn.Module):
    """Encoder and one linear layer on its embedding."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, C, H, W)."""
        return self.classifier(self.encoder(images).embedding)


def loss_function(
    task: Task, labels: Tensor, classes: int, class_weights: str
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a task, weighted by the frequencies of the labelled images.

    Args:
        task: multilabel is a sigmoid for every label, otherwise a softmax.
        labels: (n, C) or (n,) of the labelled training images.
        classes: C.
        class_weights: ``none`` or ``balanced``.

    Returns:
        Function of logits (B, C) and labels, mean over the batch.
    """
    if task == "multilabel":
        positives = labels.sum(dim=0).clamp(min=1).float()
        weight = (len(labels) - positives).clamp(min=1) / positives if class_weights == "balanced" else None
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits, y.float(), pos_weight=weight)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).float()
    weight = len(labels) / (classes * counts) if class_weights == "balanced" else None
    return lambda logits, y: F.cross_entropy(logits, y, weight=weight)


def predict(model: Classifier, prepared: Prepared, rows: np.ndarray, device: torch.device) -> np.ndarray:
    """Class probabilities (N, C), float64, of the given rows in their order, in eval mode."""
    return to_probabilities(logits_of(model, prepared, rows, device), prepared.card.task)


def to_probabilities(logits: Tensor, task: Task) -> np.ndarray:
    """Sigmoids (multilabel) or softmax (otherwise) of logits (N, C), in float64."""
    wide = logits.double()
    return (wide.sigmoid() if task == "multilabel" else wide.softmax(dim=1)).numpy()


def logits_of(
    model: Classifier,
    prepared: Prepared,
    rows: np.ndarray,
    device: torch.device,
    batch_size: int = 256,
) -> Tensor:
    """Logits (N, C), float32 on the CPU, of the given rows in their order, in eval mode."""
    images = TrainingImages(prepared.images, rows, device)
    model.eval()
    with torch.inference_mode():
        parts = [
            model(evaluation_input(images.take(positions), prepared)).float().cpu()
            for positions in torch.arange(len(rows)).split(batch_size)
        ]
    return torch.cat(parts)
