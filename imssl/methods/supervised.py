"""All labels of the training set, from scratch: an upper mark for pretraining without them."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from imssl.classifier import loss_function
from imssl.encoder import Encoder
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.task import Task


class SupervisedSettings(MethodSettings):
    """Hyper-parameters of supervised training.

    Attributes:
        class_weights: ``balanced`` weighs classes by the inverse of their frequency, ``none`` does not.
        views: augmented views of each image in a step; 2 cost what those of contrastive methods do.
    """

    class_weights: Literal["none", "balanced"] = "balanced"
    views: int = Field(default=2, ge=1, le=8)


class Supervised(Method):
    """The encoder and a linear classifier learn the labels, in the loop and for the length of pretraining.

    A reference and no competitor: it has seen every label of the training set, also where it is evaluated
    with 1% of them.
    """

    settings_class = SupervisedSettings
    settings: SupervisedSettings
    is_reference = True
    from_scratch = True
    reads_labels = True
    labels: Tensor

    def __init__(self, encoder: Encoder, settings: SupervisedSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.view_count = settings.views
        self.loss: Callable[[Tensor, Tensor], Tensor] | None = None

    def take_labels(self, labels: Tensor, task: Task, classes: int) -> None:
        """Keep the labels, and make a classifier for them."""
        self.register_buffer("labels", labels, persistent=False)
        self.task: Task = task
        self.classifier = nn.Linear(self.encoder.width, classes)

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of every view, or binary cross-entropy where an image may have several labels."""
        if self.loss is None:  # not before the labels are on the device
            weights, classes = self.settings.class_weights, self.classifier.out_features
            self.loss = loss_function(self.task, self.labels, classes, weights)
        labels = self.labels[batch.index]
        terms = [
            self.loss(self.classifier(self.encoder(view).embedding).float(), labels) for view in batch.views
        ]
        return {"classification": torch.stack(terms).mean()}
