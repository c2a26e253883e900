"""Settings of pretraining."""

from typing import Literal

from pydantic import Field

from imssl.settings.base import Settings


class Optimisation(Settings):
    """SGD and its schedule, the same for every method that does not bring its own.

    Attributes:
        learning_rate: at its highest.
        momentum: of SGD.
        weight_decay: L2, on all weights, as in He et al. 2020.
        schedule: ``cosine`` falls to zero over the run (Chen et al. 2020), ``constant`` stays.
        warmup: share of the run over which the rate rises linearly from zero.
    """

    learning_rate: float = Field(gt=0, le=100)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    schedule: Literal["cosine", "constant"]
    warmup: float = Field(ge=0, lt=1)


class PretrainSettings(Settings):
    """How long and how every method is pretrained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step; an epoch's last, smaller batch is left out, as the losses depend on
            the batch.
        optimisation: SGD and its schedule.
        monitor_every: epochs between two kNN scores on the validation images.
        fill_batch_norm: whether the encoder's batch norm gets, once after pretraining, the statistics of all
            training images, without augmentation; otherwise it keeps the running averages of its last
            steps, whose state differs from method to method.
    """

    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=2, le=65_536)
    optimisation: Optimisation
    monitor_every: int = Field(ge=1)
    fill_batch_norm: bool = True
