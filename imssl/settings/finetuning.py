"""Settings of fine-tuning."""

from typing import Literal

from pydantic import Field

from imssl.settings.base import Settings


class FinetuneSettings(Settings):
    """How every encoder is fine-tuned.

    Attributes:
        epochs: passes over the labelled images.
        min_steps: steps at the least, so that a subset of a few images is not left after a few steps.
        batch_size: images in a step; the last, smaller batch of an epoch is used too. Batch norm normalises
            a batch of one or two images by its running statistics: by their own, two images on a 1x1 map
            would come out as +1 and -1 in every channel.
        learning_rate: of Adam.
        weight_decay: of Adam.
        schedule: of the learning rate over the run.
        class_weights: ``balanced`` weighs a class (or the positives of a label) by the inverse of its
            frequency among the labelled images.
        evaluations: how often, evenly spread, the validation images are scored to choose the best epoch.
    """

    epochs: int = Field(ge=1, le=100_000)
    min_steps: int = Field(ge=1)
    batch_size: int = Field(ge=3, le=65_536)
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=1)
    schedule: Literal["constant", "cosine"]
    class_weights: Literal["none", "balanced"]
    evaluations: int = Field(ge=1)
