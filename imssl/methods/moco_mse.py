"""MoCo + MSE on the encoder's blocks (Kaku et al. 2021, section 3)."""

from typing import Annotated

from pydantic import Field

from imssl.encoder import Features
from imssl.losses import block_mse
from imssl.method import Losses
from imssl.methods.moco import Moco, MocoSettings
from imssl.settings.base import Tuned

Weight = Annotated[float, Field(ge=0)]
Weights = tuple[Weight, Weight, Weight, Weight]
Grid = Annotated[int, Field(ge=1)]


class MocoMseSettings(MocoSettings):
    """Hyper-parameters of MoCo + MSE.

    Attributes:
        block_weights: weight of the error of blocks 1 to 4; 0.25 each in the paper.
        block_grids: side to which the maps of blocks 1 to 4 are average-pooled before they are compared.
            The released code takes 16, 16, 4, 4 for two data sets and 1, 1, 1, 1 for the third; as the
            two views are rotated independently, places in the maps do not correspond.
    """

    block_weights: Annotated[Weights, Tuned(0.01, 10.0, log=True)] = (0.25, 0.25, 0.25, 0.25)
    block_grids: tuple[Grid, Grid, Grid, Grid] = (16, 16, 4, 4)


class MocoMse(Moco):
    """MoCo whose query and key encoders must also give similar features, block by block."""

    settings_class = MocoMseSettings
    settings: MocoMseSettings

    def block_losses(self, query: Features, key: Features) -> Losses:
        """One weighted mean squared error per block."""
        errors = block_mse(query, key, self.settings.block_grids)
        weights = self.settings.block_weights
        return {
            f"mse_{i}": w * error for i, (w, error) in enumerate(zip(weights, errors, strict=True), start=1)
        }
