"""BYOL: the network predicts a slowly moving copy of itself, without negatives (Grill et al. 2020)."""

from typing import Annotated

import torch
from pydantic import Field

from imssl.encoder import Encoder
from imssl.heads import batch_norm_mlp
from imssl.losses import negative_cosine
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.momentum import cosine_momentum, momentum_copy, momentum_update
from imssl.settings.base import Tuned


class ByolSettings(MethodSettings):
    """Hyper-parameters of BYOL.

    Attributes:
        hidden: width of the hidden layer of projector and predictor; 4096 in the paper.
        dimension: width of a projection; 256 in the paper.
        momentum: of the target network at the beginning; it rises to 1 over the run. 0.996 in the paper for
            1000 epochs of ImageNet, 0.99 for 300; shorter runs need less.
    """

    hidden: int = Field(default=512, ge=1)
    dimension: int = Field(default=128, ge=2)
    momentum: Annotated[float, Tuned(0.9, 0.999)] = Field(default=0.99, ge=0, le=1)


class Byol(Method):
    """From one view, the online network predicts the target network's projection of the other view."""

    settings_class = ByolSettings
    settings: ByolSettings

    def __init__(self, encoder: Encoder, settings: ByolSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.projector = batch_norm_mlp(encoder.width, settings.hidden, settings.dimension)
        self.predictor = batch_norm_mlp(settings.dimension, settings.hidden, settings.dimension)
        self.target_encoder = momentum_copy(encoder)
        self.target_projector = momentum_copy(self.projector)

    def losses(self, batch: Batch) -> Losses:
        """Squared distance of normalised prediction and target (eq. 2), summed over both directions."""
        first, second = (self.predictor(self.projector(self.encoder(view).embedding)) for view in batch.views)
        with torch.no_grad():
            first_target, second_target = (
                self.target_projector(self.target_encoder(view).embedding) for view in batch.views
            )
        cosines = negative_cosine(first, second_target) + negative_cosine(second, first_target)
        return {"distance": 4 + 2 * cosines}

    def after_step(self, batch: Batch) -> None:
        """Let the target network follow the online network (eq. 1)."""
        momentum = cosine_momentum(self.settings.momentum, batch.progress)
        momentum_update(self.target_encoder, self.encoder, momentum)
        momentum_update(self.target_projector, self.projector, momentum)
