"""Settings of pretraining."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from imssl.settings.base import Settings, Tuned


class Optimisation(Settings):
    """SGD and its schedule, the same for every method that has no values of its own in its row.

    Attributes:
        learning_rate: at its highest.
        momentum: of SGD.
        weight_decay: L2, on all weights, as in He et al. 2020.
        schedule: ``cosine`` falls to zero over the run (Chen et al. 2020), ``constant`` stays.
        warmup: share of the run over which the rate rises linearly from zero.
    """

    learning_rate: Annotated[float, Tuned(3e-3, 0.3, log=True)] = Field(gt=0, le=100)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Annotated[float, Tuned(1e-6, 1e-3, log=True)] = Field(ge=0, le=1)
    schedule: Literal["cosine", "constant"]
    warmup: float = Field(ge=0, lt=1)


class PretrainLength(Settings):
    """How long every method is pretrained: in epochs or in steps, and exactly one of them is given.

    Attributes:
        epochs: passes over the training images.
        steps: optimisation steps; the last pass is cut short where they are not a multiple of an epoch's.
    """

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    steps: int | None = Field(default=None, ge=1, le=1_000_000_000)

    @model_validator(mode="after")
    def _one_length(self) -> "PretrainLength":
        if self.epochs is None and self.steps is None:
            raise ValueError("has no length; give epochs or steps")
        if self.epochs is not None and self.steps is not None:
            raise ValueError("steps stands beside epochs; give one of the two")
        return self

    def shortened(self, share: float) -> "PretrainLength":
        """A share of this length, in (0, 1]; one epoch or one step at the least."""
        if self.steps is not None:
            return PretrainLength(steps=max(1, round(self.steps * share)))
        return PretrainLength(epochs=max(1, round((self.epochs or 0) * share)))

    @property
    def words(self) -> str:
        """The length for a reader, such as ``200 epochs``."""
        return f"{self.steps:,} steps" if self.steps is not None else f"{self.epochs:,} epochs"


class PretrainSettings(PretrainLength):
    """How long and how every method is pretrained.

    Attributes:
        batch_size: images in a step; an epoch's last, smaller batch is left out, as the losses depend on
            the batch.
        optimisation: SGD and its schedule.
        monitor_every: epochs between two kNN scores on the validation images; the end is always scored.
        fill_batch_norm: whether the encoder's batch norm gets, once after pretraining, the statistics of all
            training images, without augmentation; otherwise it keeps the running averages of its last
            steps, whose state differs from method to method.
    """

    batch_size: int = Field(ge=2, le=65_536)
    optimisation: Optimisation
    monitor_every: int = Field(ge=1)
    fill_batch_norm: bool = True

    def for_length(self, length: PretrainLength) -> "PretrainSettings":
        """The same settings with another length."""
        return self.model_copy(update={"epochs": length.epochs, "steps": length.steps})

    def steps_per_epoch(self, images: int) -> int:
        """Steps of a pass over so many training images; 0 where they do not fill a batch."""
        return images // self.batch_size

    def steps_on(self, images: int) -> int:
        """Steps of the whole run on so many training images."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(images)
