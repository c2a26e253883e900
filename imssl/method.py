"""The contract that every self-supervised method fulfils: one file, one class, one loss."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from imssl.augment import augment
from imssl.encoder import Encoder
from imssl.geometry import Geometry
from imssl.optimisation import learning_rate_factor, sgd
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Settings
from imssl.settings.pretraining import Optimisation
from imssl.task import Task

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
        groups: (images,) int64 on the CPU: an anonymous code of each image's patient; every image has a code
            of its own where the data set has no patient ids, or where none are given here.
    """

    images: int
    channels: int
    size: int
    batch_size: int
    steps: int
    groups: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.groups is None:
            object.__setattr__(self, "groups", torch.arange(self.images))


@dataclass(frozen=True)
class Batch:
    """One step's images; there are no labels in it.

    Attributes:
        views: augmented and normalised images, each (B, C, H, W), float32; of other sizes than the images,
            and than each other, where the method's own ``augmented`` makes them so. Where the method has
            asked for partners, as many views of these follow.
        images: the same images, normalised but not augmented, (B, C, H, W), float32.
        index: (B,) int64, on the device of the images: which of the training images they are, from 0.
        generator: for every draw that the method makes itself; on the CPU, seeded by run and step.
        step: number of this step, from 0.
        progress: share of the run that is done, in [0, 1).
        group: (B,) int64, on the same device: an anonymous code of each image's patient, as in
            ``TrainingSet.groups``.
        partners: (B,) int64, on the same device: the training images that the method has asked for; None
            where it has not.
        geometry: of each view: crop, flips and rotation, and where in its image each of its places lies;
            empty where :func:`imssl.augment.augment` did not make all of them, or they were changed
            afterwards.
    """

    views: tuple[Tensor, ...]
    images: Tensor
    index: Tensor
    generator: torch.Generator
    step: int
    progress: float
    group: Tensor = None  # type: ignore[assignment]
    partners: Tensor | None = None
    geometry: tuple[Geometry, ...] = ()

    def __post_init__(self) -> None:
        if self.group is None:
            object.__setattr__(self, "group", self.index)


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
            the training images. For those that do, and for those that were pretrained elsewhere, the
            protocol decides (``pretrain.fill_batch_norm``).
        from_scratch: whether the encoder starts from random weights even where the protocol names a file.
        pretrained_elsewhere: whether the row evaluates weights that somebody else has trained.
        reads_labels: whether :meth:`take_labels` is called before training; for references only.
        reads_optimisation: False for a method whose optimiser takes rate and decay from its own settings.
        view_count: augmented views of each image in a batch; may be set in ``__init__``, and may be 0.
        encoder: the network that is pretrained and evaluated; the one given, never a copy.
    """

    settings_class: ClassVar[type[MethodSettings]] = MethodSettings
    pretrains: ClassVar[bool] = True
    is_reference: ClassVar[bool] = False
    fills_batch_norm: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False
    pretrained_elsewhere: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
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

    def take_labels(self, labels: Tensor, task: Task, classes: int) -> None:
        """Called once after ``__init__`` where ``reads_labels`` says so; pretraining proper has no labels.

        Args:
            labels: of the training images, (N,) or, of a multilabel task, (N, C); ``Batch.index``
                says which of them belong to a batch.
            task: what kind of labels they are.
            classes: C.
        """
        raise TypeError(f"{type(self).__name__} reads labels, but does not define take_labels")

    def before_step(self, batch: Batch) -> None:
        """Called between gradient and step, without gradients: clipping, or weights that rest."""

    def after_step(self, batch: Batch) -> None:
        """Called after each optimisation step, without gradients: momentum updates, queues, prototypes."""

    def after_epoch(self, epoch: int, clean_batches: Iterable[Batch]) -> None:
        """Called after each pass over the training images, without gradients.

        Args:
            epoch: from 0.
            clean_batches: all training images in their order, without augmentation and with ``views = ()``;
                it may be iterated over several times, and costs nothing where it is not
                (:class:`imssl.batches.CleanBatches`). A method may also take ``epoch`` alone.
        """

    def partners(self, index: Tensor, generator: torch.Generator) -> Tensor | None:
        """Other training images of which the batch gets views as well, such as one of the same patient.

        Args:
            index: (B,) int64, on the CPU: the images of the step.
            generator: on the CPU, for this step's partners alone.

        Returns:
            (B,) int64, on the CPU, one training image for each in ``index``; None for no partners. They go
            through ``augmented`` as the images do, and their views follow those of the images: with
            ``view_count = 1``, ``batch.views`` is a view of each image and one of its partner.
        """
        return None

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


@torch.no_grad()
def call_after_epoch(method: Method, epoch: int, clean_batches: Iterable[Batch]) -> None:
    """Call a method's ``after_epoch``, with the clean batches if it takes them."""
    if _has_clean_batches(type(method)):
        method.after_epoch(epoch, clean_batches)
    else:
        cast(Any, method).after_epoch(epoch)


def takes_clean_pass(method: type[Method]) -> bool:
    """Whether a method gets a pass over the training images as they are after each epoch, and may use it."""
    return method.after_epoch is not Method.after_epoch and _has_clean_batches(method)


def _has_clean_batches(method: type[Method]) -> bool:
    return "clean_batches" in inspect.signature(method.after_epoch).parameters
