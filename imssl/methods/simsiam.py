"""SimSiam: no negatives and no momentum encoder, only a stopped gradient (Chen and He 2021)."""

from typing import Any

import torch
from pydantic import Field
from torch import nn

from imssl.encoder import Encoder
from imssl.heads import batch_norm_mlp
from imssl.losses import negative_cosine
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.optimisation import sgd
from imssl.settings.pretraining import Optimisation


class SimsiamSettings(MethodSettings):
    """Hyper-parameters of SimSiam.

    Attributes:
        dimension: width of the projector's three layers; 2048 in the paper.
        bottleneck: width of the predictor's hidden layer, a quarter of ``dimension`` in the paper.
    """

    dimension: int = Field(default=512, ge=2)
    bottleneck: int = Field(default=128, ge=1)


class Simsiam(Method):
    """From one view, a predictor predicts the projection of the other view, which gets no gradient."""

    settings_class = SimsiamSettings
    settings: SimsiamSettings

    def __init__(self, encoder: Encoder, settings: SimsiamSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        dimension = settings.dimension
        self.projector = nn.Sequential(
            batch_norm_mlp(encoder.width, dimension, dimension, dimension),
            nn.BatchNorm1d(dimension, affine=False),
        )
        self.predictor = batch_norm_mlp(dimension, settings.bottleneck, dimension)

    def losses(self, batch: Batch) -> Losses:
        """Negative cosine similarity of prediction and projection, mean of both directions (eq. 4)."""
        first, second = (self.projector(self.encoder(view).embedding) for view in batch.views)
        first_to_second = negative_cosine(self.predictor(first), second.detach())
        second_to_first = negative_cosine(self.predictor(second), first.detach())
        return {"similarity": (first_to_second + second_to_first) / 2}

    def optimizer(self, optimisation: Optimisation) -> torch.optim.Optimizer:
        """The protocol's SGD with the predictor's weights in a group of their own."""
        groups = [
            {"name": "encoder", "params": [*self.encoder.parameters(), *self.projector.parameters()]},
            {"name": "predictor", "params": list(self.predictor.parameters())},
        ]
        return sgd(groups, optimisation)

    def learning_rate_factor(
        self, optimisation: Optimisation, progress: float, group: dict[str, Any]
    ) -> float:
        """The predictor's rate is constant, so that it keeps up with the latest projections (section 4.2)."""
        if group["name"] == "predictor":
            return 1.0
        return super().learning_rate_factor(optimisation, progress, group)
