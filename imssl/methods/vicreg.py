"""VICReg: variance, invariance and covariance of the projections (Bardes et al. 2022)."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field

from imssl.encoder import Encoder
from imssl.heads import batch_norm_mlp
from imssl.losses import off_diagonal_covariance, variance_hinge
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.settings.base import Tuned


class VicregSettings(MethodSettings):
    """Hyper-parameters of VICReg.

    Attributes:
        expansion: width of the expander's three layers; 8192 in the paper.
        invariance: weight of the distance between the views.
        variance: weight of the hinge that keeps every feature's deviation at 1 or above.
        covariance: weight of the squared covariances of different features.
    """

    expansion: int = Field(default=512, ge=2)
    invariance: Annotated[float, Tuned(2.5, 100.0, log=True)] = Field(default=25.0, ge=0)
    variance: Annotated[float, Tuned(2.5, 100.0, log=True)] = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)


class Vicreg(Method):
    """Two views get the same projection, whose features vary over the batch and do not correlate."""

    settings_class = VicregSettings
    settings: VicregSettings

    def __init__(self, encoder: Encoder, settings: VicregSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.expander = batch_norm_mlp(encoder.width, *[settings.expansion] * 3)

    def losses(self, batch: Batch) -> Losses:
        """The three terms of eq. 6, each with its weight.

        As in the released code, which the weights 25, 25 and 1 are meant for, the distance is divided by
        the number of features and the hinge averaged over the two views; eq. 5 and 6 do neither.
        """
        first, second = (self.expander(self.encoder(view).embedding).float() for view in batch.views)
        hinge = (variance_hinge(first) + variance_hinge(second)) / 2
        covariance = off_diagonal_covariance(first) + off_diagonal_covariance(second)
        return {
            "invariance": self.settings.invariance * F.mse_loss(first, second),
            "variance": self.settings.variance * hinge,
            "covariance": self.settings.covariance * covariance,
        }
