"""MedAug: another image of the same patient is the positive (Vu et al. 2021), with MoCo as its loss."""

from dataclasses import replace

import torch
from torch import Tensor

from imssl.encoder import Encoder
from imssl.groups import GroupMembers
from imssl.method import Batch, Losses, TrainingSet
from imssl.methods.moco import Moco, MocoSettings


class Medaug(Moco):
    """The query is a view of an image, its key a view of another image of the same patient.

    A patient with one image has two views of it, as in MoCo and in MICLe (Azizi et al. 2021), which pairs the
    images of a patient in SimCLR. The paper also tries which images of a patient to pair, by study and
    laterality; here it is any of them. ``mask_own_keys`` leaves all earlier keys of the query's patient out
    of its negatives; in the paper they stay.
    """

    settings_class = MocoSettings
    view_count = 1

    def __init__(self, encoder: Encoder, settings: MocoSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.patients = GroupMembers.of(training_set.groups)

    def partners(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Another image of each image's patient; its view comes second."""
        return self.patients.another(index, generator)

    def losses(self, batch: Batch) -> Losses:
        """MoCo's loss (section 3.2), with patients in the place of images."""
        return super().losses(replace(batch, index=batch.group))

    def after_step(self, batch: Batch) -> None:
        """Enqueue the step's keys as those of their patients, and let the key encoder follow."""
        super().after_step(replace(batch, index=batch.group))
