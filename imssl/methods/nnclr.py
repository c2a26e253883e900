"""NNCLR: the positive is the nearest neighbour among earlier images (Dwibedi et al. 2021)."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from imssl.encoder import Encoder
from imssl.heads import batch_norm_mlp
from imssl.losses import in_batch_info_nce, nearest
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.queue import KeyQueue
from imssl.settings.base import Tuned


class NnclrSettings(MethodSettings):
    """Hyper-parameters of NNCLR.

    Attributes:
        hidden: width of the hidden layers of projector and predictor; 2048 and 4096 in the paper.
        dimension: width of a projection; 256 in the paper.
        queue: projections of earlier images among which the neighbour is looked for; 98,304 in the paper, for
            1.28 million images. With more than there are training images, the neighbour is often the image
            itself.
        temperature: of the softmax.
    """

    hidden: int = Field(default=512, ge=1)
    dimension: int = Field(default=128, ge=2)
    queue: int = Field(default=1024, ge=1)
    temperature: Annotated[float, Tuned(0.03, 0.5, log=True)] = Field(default=0.1, gt=0)


class Nnclr(Method):
    """From one view, a predictor predicts the projection in the queue that is nearest to the other view's."""

    settings_class = NnclrSettings
    settings: NnclrSettings

    def __init__(self, encoder: Encoder, settings: NnclrSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        widths = settings.hidden, settings.hidden, settings.dimension
        self.projector = batch_norm_mlp(encoder.width, *widths)
        self.predictor = batch_norm_mlp(settings.dimension, settings.hidden, settings.dimension)
        self.queue = KeyQueue(settings.queue, settings.dimension)

    def losses(self, batch: Batch) -> Losses:
        """InfoNCE of predictions against the other view's neighbours (eq. 3), mean of both directions."""
        first, second = (self.projector(self.encoder(view).embedding).float() for view in batch.views)
        self.latest = F.normalize(first.detach(), dim=1)
        first_neighbours, second_neighbours = self.neighbours(first), self.neighbours(second)
        terms = [
            self.contrast(first_neighbours, self.predictor(second)),
            self.contrast(second_neighbours, self.predictor(first)),
        ]
        return {"contrastive": torch.stack(terms).mean()}

    @torch.no_grad()
    def neighbours(self, projections: Tensor) -> Tensor:
        """The nearest projection in the queue for each of (B, D), by cosine; (B, D)."""
        return self.queue.keys[nearest(projections, self.queue.keys)]

    def contrast(self, neighbours: Tensor, predictions: Tensor) -> Tensor:
        """Each neighbour must be closest to its own image's prediction."""
        return in_batch_info_nce(neighbours, predictions, self.settings.temperature)

    def after_step(self, batch: Batch) -> None:
        """Enqueue the projections of the first view."""
        self.queue.enqueue(self.latest, batch.index)
