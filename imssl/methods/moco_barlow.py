"""MoCo + Barlow Twins on the encoder's blocks (Kaku et al. 2021, section 3)."""

from typing import Annotated

from pydantic import Field
from torch import nn

from imssl.encoder import Encoder, Features
from imssl.heads import batch_norm_mlp
from imssl.losses import barlow_twins
from imssl.method import Losses, TrainingSet
from imssl.methods.moco import Moco, MocoSettings
from imssl.settings.base import Tuned


class MocoBarlowSettings(MocoSettings):
    """Hyper-parameters of MoCo + Barlow Twins.

    Attributes:
        projection: width of each block's projector; 2048 in the released code.
        on_diagonal: weight of the invariance term. Zbontar et al. take 1, the released code 5e-5.
        off_diagonal: weight of the redundancy term. Zbontar et al. take 5.1e-3, the released code 5e-5.
        scale: multiplies both terms of every block; 1/32 in the released code.
    """

    projection: int = Field(default=2048, ge=2)
    on_diagonal: float = Field(default=1.0, ge=0)
    off_diagonal: Annotated[float, Tuned(5e-5, 0.05, log=True)] = Field(default=5.1e-3, ge=0)
    scale: Annotated[float, Tuned(3e-4, 0.3, log=True)] = Field(default=1 / 32, ge=0)


class MocoBarlow(Moco):
    """MoCo whose query and key encoders must also agree block by block.

    Each block's features are globally pooled and projected, and their cross-correlation over the batch
    is pulled towards the identity (Zbontar et al. 2021, eq. 1).
    """

    settings_class = MocoBarlowSettings
    settings: MocoBarlowSettings

    def __init__(self, encoder: Encoder, settings: MocoBarlowSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.projectors = nn.ModuleList(
            batch_norm_mlp(width, *[settings.projection] * 3) for width in encoder.block_widths
        )

    def block_losses(self, query: Features, key: Features) -> Losses:
        """One scaled Barlow Twins term per block; the gradient reaches the query encoder only."""
        terms = {}
        for i, projector in enumerate(self.projectors, start=1):
            z_query, z_key = projector(query.pooled(i)), projector(key.pooled(i))
            term = barlow_twins(z_query, z_key, self.settings.on_diagonal, self.settings.off_diagonal)
            terms[f"barlow_{i}"] = self.settings.scale * term
        return terms
