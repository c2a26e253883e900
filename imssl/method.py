"""The contract that every self-supervised method fulfils: one file, one class, one loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from imssl.augment import augment
from imssl.encoder import Encoder
from imssl.optimisation import learning_rate_factor, sgd
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Settings
from imssl.settings.pretraining import Optimisation

Losses = dict[str, Tensor]


class MethodSettings(Settings):
    """Hyper-parameters of a method: typed fields with defaults, checked like the rest of params.yaml."""


@dataclass(frozen=True)
class TrainingSet:
    """What a method may know of the run before it starts.

    Attributes:
        images: number of training images.
        channels: 1 or 3.
        size: side of the square images, in pixels.
        batch_size: images in a step.
        steps: optimisation steps of the whole run.
    """

    images: int
    channels: int
    size: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Batch:
    """One step's images; there are no labels in it.

    Attributes:
        views: augmented and normalised images, each (B, C, H, W), float32; of other sizes than the images,
            and than each other, where the method's own ``augmented`` makes them so.
        images: the same images, normalised but not augmented, (B, C, H, W), float32.
        index: (B,) int64, on the device of the images: which of the training images they are, from 0.
        generator: for every draw that the method makes itself; on the CPU, seeded by run and step.
        step: number of this step, from 0.
        progress: share of the run that is done, in [0, 1).
    """

    views: tuple[Tensor, ...]
    images: Tensor
    index: Tensor
    generator: torch.Generator
    step: int
    progress: float


class Method(nn.Module):
    """Base of every method.

    A subclass sets ``settings_class`` and writes ``__init__`` and ``losses``; the rest has defaults.
    Everything that must survive a resume is a parameter, a buffer, or in ``get_extra_state`` (tensors,
    numbers, text, and lists and dictionaries of these). Where the settings do not fit the training set,
    ``__init__`` raises :class:`imssl.errors.UserError`.

    Attributes:
        settings_class: the hyper-parameters, a subclass of :class:`MethodSettings`.
        pretrains: False for a row that trains nothing.
        is_reference: whether the row is there to measure the others against: it is shown beside them, and is
            left out of ranks and of what is best.
        fills_batch_norm: of a method that does not pretrain: whether its batch norm gets the statistics of
            the training images. For those that do, the protocol decides (``pretrain.fill_batch_norm``).
        reads_optimisation: False for a method whose optimiser takes rate and decay from its own settings.
        view_count: augmented views of each image in a batch; may be set in ``__init__``, and may be 0.
        encoder: the network that is pretrained and evaluated; the one given, never a copy.
    """

    settings_class: ClassVar[type[MethodSettings]] = MethodSettings
    pretrains: ClassVar[bool] = True
    is_reference: ClassVar[bool] = False
    fills_batch_norm: ClassVar[bool] = False
    reads_optimisation: ClassVar[bool] = True
    view_count: int = 2

    def __init__(self, encoder: Encoder, settings: MethodSettings, training_set: TrainingSet) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.training_set = training_set
        self.logged: dict[str, Tensor] = {}

    def losses(self, batch: Batch) -> Losses:
        """The terms of the loss by name, each a scalar with gradient; their sum is minimised."""
        raise TypeError(f"{type(self).__name__} does not define losses(batch)")

    def after_step(self, batch: Batch) -> None:
        """Called after each optimisation step, without gradients: momentum updates, queues, prototypes."""

    def after_epoch(self, epoch: int) -> None:
        """Called after each pass over the training images, without gradients; epochs count from 0."""

    def augmented(
        self, images: Tensor, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """The views of uint8 images (B, C, H, W): float32 in [0, 1], the same draws for every method.

        Args:
            images: one step's images, (B, C, H, W), uint8.
            augmentation: as the protocol sets it for the data set.
            generator: on the CPU; ``losses`` goes on drawing from it.

        Returns:
            One (B, C, H, W) per view, float32 in [0, 1]; the loop normalises them.
        """
        return tuple(augment(images, augmentation, generator) for _ in range(self.view_count))

    def optimizer(self, optimisation: Optimisation) -> torch.optim.Optimizer:
        """The optimiser of all weights that need a gradient; SGD as the protocol sets it.

        A method may bring another one, with groups of its own (:func:`imssl.optimisation.weight_groups`);
        the encoder's come first. What is to happen between the gradient and the step, such as clipping, is
        registered on it (``register_step_pre_hook``).
        """
        return sgd([weight for weight in self.parameters() if weight.requires_grad], optimisation)

    def learning_rate_factor(
        self, optimisation: Optimisation, progress: float, group: dict[str, Any]
    ) -> float:
        """What a parameter group's learning rate is multiplied by at a share of the run.

        Args:
            optimisation: as the protocol sets it.
            progress: in [0, 1).
            group: of the optimiser; a key of one's own in it, such as ``name``, tells groups apart.
        """
        return learning_rate_factor(optimisation, progress)

    def log(self, name: str, value: Tensor) -> None:
        """Note a scalar of this step; the training curves show its mean over each epoch."""
        self.logged[name] = value.detach()
