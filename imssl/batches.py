"""What a method is given of the training images: the batch of a step, and a clean pass after an epoch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imssl.augment import geometry_of, to_float
from imssl.datasets.prepared import Prepared
from imssl.device import to_device
from imssl.errors import UserError
from imssl.features import evaluation_input, model_input
from imssl.geometry import Geometry
from imssl.method import Batch, Method
from imssl.settings.augmentation import Augmentation
from imssl.torch_seeds import torch_generator
from imssl.training_images import TrainingImages


@dataclass(frozen=True)
class BatchSource:
    """Where the batches of a run come from.

    Attributes:
        images: the training images.
        prepared: their data set, by whose mean and deviation they are normalised.
        augmentation: of the views.
        seed: of the run.
        batch_size: images in a step.
        steps: of the whole run.
    """

    images: TrainingImages
    prepared: Prepared
    augmentation: Augmentation
    seed: int
    batch_size: int
    steps: int


def batch_of(method: Method, source: BatchSource, index: Tensor, step: int) -> Batch:
    """What a method sees in a step.

    Args:
        method: makes the views, and may ask for partners.
        source: the training images.
        index: which of them, (B,) int64 on the CPU.
        step: its number, from 0.

    Raises:
        UserError: the partners are no training images.
    """

    def normalised(images: Tensor) -> Tensor:
        return model_input(images, source.prepared)

    ingredients = Ingredients(source.images.take, normalised, source.augmentation, source.seed, source.steps)
    return assembled(method, ingredients, index, step)


@dataclass(frozen=True)
class Ingredients:
    """What a batch is made with, wherever its images come from.

    Attributes:
        take: images at some indices, (B,) int64 on the CPU, as (B, C, H, W) uint8 on the device.
        normalised: images of [0, 1], (B, C, H, W) float32, as an encoder takes them.
        augmentation: of the views.
        seed: of the run.
        steps: of the whole run.
    """

    take: Callable[[Tensor], Tensor]
    normalised: Callable[[Tensor], Tensor]
    augmentation: Augmentation
    seed: int
    steps: int


def assembled(method: Method, ingredients: Ingredients, index: Tensor, step: int) -> Batch:
    """The batch of a step: views of its images, then of their partners if the method asks for some.

    Raises:
        UserError: the partners are no training images.
    """
    generator = torch_generator(ingredients.seed, "step", step)
    images = ingredients.take(index)
    device = images.device
    views = method.augmented(images, ingredients.augmentation, generator)
    # From a generator of their own: the views of the images themselves stay the same draws for every method.
    partners = _partners_of(method, index, torch_generator(ingredients.seed, "partners", step))
    if partners is not None:
        others = ingredients.take(partners)
        views = (*views, *method.augmented(others, ingredients.augmentation, generator))
    return Batch(
        views=tuple(map(ingredients.normalised, views)),
        images=ingredients.normalised(to_float(images)),
        index=to_device(index, device),
        generator=generator,
        step=step,
        progress=step / ingredients.steps,
        group=to_device(method.training_set.groups[index], device),
        partners=None if partners is None else to_device(partners, device),
        geometry=_geometry_of_all(views),
    )


def _geometry_of_all(views: Sequence[Tensor]) -> tuple[Geometry, ...]:
    """Where all views come from in their images; nothing where that is not known of every one."""
    known = [geometry for view in views if (geometry := geometry_of(view)) is not None]
    return tuple(known) if len(known) == len(views) else ()


def _partners_of(method: Method, index: Tensor, generator: torch.Generator) -> Tensor | None:
    """The partners that a method asks for.

    Args:
        method: that may ask for some.
        index: (B,) int64 on the CPU, the images of a step.
        generator: on the CPU.

    Returns:
        (B,) int64 on the CPU, or None.

    Raises:
        UserError: they are no training images.
    """
    partners = method.partners(index, generator)
    if partners is not None:
        _check_partners(partners, index, method)
    return partners


def _check_partners(partners: Tensor, index: Tensor, method: Method) -> None:
    count, name = method.training_set.images, type(method).__name__
    expected = f"{name}.partners(index, generator) must return a tensor of {len(index)} int64 on the CPU"
    if not isinstance(partners, Tensor) or partners.shape != index.shape or partners.dtype != torch.int64:
        kind = f"{tuple(partners.shape)} {partners.dtype}" if isinstance(partners, Tensor) else repr(partners)
        raise UserError(f"{expected}, one training image for each in index; it returned {kind}.")
    if partners.device.type != "cpu":
        raise UserError(f"{expected}; they are on {partners.device}.")
    if len(partners) and (partners.min() < 0 or partners.max() >= count):
        low, high = int(partners.min()), int(partners.max())
        raise UserError(f"{expected}, from 0 to {count - 1}; it returned {low} to {high}.")


class CleanBatches:
    """The training images without augmentation, in their order, batch by batch; each ``for`` is a new pass.

    Nothing is read or computed before it is iterated over. The last batch may be smaller. The method's mode
    is left alone: one that wants features as in evaluation calls ``self.encoder.eval()`` before, and
    ``self.encoder.train()`` after the pass; otherwise batch norm goes by the batch, and its running
    statistics move.

    Args:
        method: its training set has the groups.
        source: the training images.
        epoch: that has ended, from 0.
        step: number of steps done.
    """

    def __init__(self, method: Method, source: BatchSource, epoch: int, step: int) -> None:
        self._groups = method.training_set.groups
        self._source = source
        self._epoch = epoch
        self._step = step

    def __len__(self) -> int:
        """Number of batches in a pass."""
        return -(-len(self._source.images) // self._source.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches with ``views = ()``; their generators are of epoch and batch, so each pass is alike."""
        source = self._source
        for number, index in enumerate(torch.arange(len(source.images)).split(source.batch_size)):
            yield Batch(
                views=(),
                images=evaluation_input(source.images.take(index), source.prepared),
                index=to_device(index, source.images.device),
                generator=torch_generator(source.seed, "clean", self._epoch, number),
                step=self._step,
                progress=self._step / source.steps,
                group=to_device(self._groups[index], source.images.device),
            )
