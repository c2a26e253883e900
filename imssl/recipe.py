"""What a pretraining run is made from, and the method that it begins with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from imssl.datasets.prepared import Prepared
from imssl.device import on_device
from imssl.encoder import Encoder
from imssl.groups import anonymous_codes
from imssl.method import Method, TrainingSet
from imssl.settings.augmentation import Augmentation
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import PretrainSettings
from imssl.torch_seeds import initialising
from imssl.training_images import TrainingImages

MethodBuilder = Callable[[Encoder, TrainingSet], Method]


@dataclass(frozen=True)
class Recipe:
    """What every method's pretraining on one data set shares.

    Attributes:
        prepared: data set; its labels are read by the kNN monitor only.
        settings: length, batch and optimiser.
        augmentation: of the views.
        hardware: precision of the forward passes, and how many processes share the work.
        device: where to train.
        seed: of the run: initial weights, order of the images, augmentation.
    """

    prepared: Prepared
    settings: PretrainSettings
    augmentation: Augmentation
    hardware: Hardware
    device: torch.device
    seed: int


def new_method(
    encoder: Encoder,
    build: MethodBuilder,
    recipe: Recipe,
    images: TrainingImages,
    image_count: int,
    steps: int,
) -> Method:
    """A method before its first step, on the recipe's device.

    Args:
        encoder: as initialised for the seed.
        build: makes the method around the encoder.
        recipe: all that is the same for every method.
        images: the training images.
        image_count: how many images the method is to expect.
        steps: of the whole run.

    Raises:
        UserError: a setting that the method refuses.
    """
    _, height, _, channels = recipe.prepared.images.shape
    groups = anonymous_codes(recipe.prepared.patients()[images.rows], recipe.seed)
    training_set = TrainingSet(image_count, channels, height, recipe.settings.batch_size, steps, groups)
    with initialising(recipe.seed, "method"):
        method = build(encoder, training_set)
        give_labels(method, recipe.prepared)
    on_device(method, recipe.device)
    return method


def give_labels(method: Method, prepared: Prepared) -> None:
    """Give a method that is a reference with labels those of the training images; others get none."""
    if method.reads_labels:
        labels = torch.from_numpy(prepared.labels()[prepared.indices("train")])
        method.take_labels(labels, prepared.card.task, len(prepared.card.classes))
