"""SimCLR: contrastive learning within the batch (Chen, Kornblith et al. 2020)."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from imssl.encoder import Encoder
from imssl.heads import mlp_head
from imssl.losses import info_nce, nt_xent_logits, top1
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.settings.base import Tuned


class SimclrSettings(MethodSettings):
    """Hyper-parameters of SimCLR.

    Attributes:
        hidden: width of the projection head's hidden layer; 2048 in the paper.
        dimension: width of a projection.
        temperature: of the softmax; 0.1 for ImageNet and 0.5 for CIFAR-10 in the paper.
    """

    hidden: int = Field(default=512, ge=1)
    dimension: int = Field(default=128, ge=2)
    temperature: Annotated[float, Tuned(0.03, 1.0, log=True)] = Field(default=0.2, gt=0)


class Simclr(Method):
    """Two views of an image must be closer to each other than to any view of another image in the batch."""

    settings_class = SimclrSettings
    settings: SimclrSettings

    def __init__(self, encoder: Encoder, settings: SimclrSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.head = mlp_head(encoder.width, settings.hidden, settings.dimension)

    def losses(self, batch: Batch) -> Losses:
        """NT-Xent (eq. 1), each view being the query once; batch norm is over both views, as in the paper."""
        features = self.encoder(torch.cat(batch.views))
        projections = F.normalize(self.head(features.embedding).float(), dim=1)
        logits = nt_xent_logits(projections, self.settings.temperature)
        self.log("top1", top1(logits))
        return {"contrastive": info_nce(logits)}
