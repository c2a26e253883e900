"""Augmentation alone, on one thread: this suite against torchvision on PIL images, and against kornia."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from bench.perf.phantoms import phantom_set
from bench.perf.timing import Effort, PerfRow, interleaved, per_second, times_faster
from imssl.augment import augment
from imssl.datasets.prepared import Prepared
from imssl.features import model_input
from imssl.settings.augmentation import Augmentation

GROUP = "augmentation"
OURS, PIL, KORNIA = "imssl", "torchvision, PIL", "kornia"
# Side of the images in pixels, and images in a batch.
WORKLOADS = ((32, 128), (64, 128), (224, 32))
AUGMENTATION = Augmentation()


def measure(effort: Effort, folder: Path) -> Iterator[PerfRow]:
    """Images per second, two views of each; the pipelines draw from the same distributions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size, batch in WORKLOADS[: effort.workloads]:
            prepared = phantom_set("histology", 40, size, folder)
            yield from _workload(prepared, size, batch, effort)
    finally:
        torch.set_num_threads(threads)


def _workload(prepared: Prepared, size: int, batch: int, effort: Effort) -> Iterator[PerfRow]:
    images = torch.from_numpy(prepared.images[:batch].transpose(0, 3, 1, 2).copy())
    calls: dict[str, Callable[[], object]] = {
        OURS: partial(_ours, images, prepared, torch.Generator().manual_seed(0)),
        PIL: partial(_pil, [Image.fromarray(image) for image in prepared.images[:batch]], prepared, size),
    }
    if importlib.util.find_spec("kornia"):
        calls[KORNIA] = partial(_each_view, kornia_pipeline(size), images, prepared)
    seconds = interleaved(calls, effort.rounds)
    name = f"two views, {size} px, one thread"
    ours = per_second(seconds[OURS], len(images))
    faster = times_faster(seconds, OURS, PIL)
    # Only small images have a target; the others are reported for information.
    target = 5.0 if size == WORKLOADS[0][0] else None
    yield PerfRow(GROUP, name, "images/s", ours, against=PIL, ratio=faster, at_least=target)
    if KORNIA in seconds:
        faster = times_faster(seconds, OURS, KORNIA)
        yield PerfRow(GROUP, name, "images/s", ours, against=KORNIA, ratio=faster)
    else:
        yield PerfRow(GROUP, name, "images/s", None, against=KORNIA, note="left out: kornia is not installed")


def _ours(images: Tensor, prepared: Prepared, generator: torch.Generator) -> None:
    for _ in range(2):
        model_input(augment(images, AUGMENTATION, generator), prepared)


def _pil(images: list[Image.Image], prepared: Prepared, size: int) -> None:
    pipeline = pil_pipeline(size, prepared)
    for _ in range(2):
        torch.stack([pipeline(image) for image in images])


def _each_view(pipeline: Callable[[Tensor], Tensor], images: Tensor, prepared: Prepared) -> None:
    for _ in range(2):
        model_input(pipeline(images.to(torch.float32).div_(255)), prepared)


def pil_pipeline(size: int, prepared: Prepared) -> Callable[[Image.Image], Tensor]:
    """MoCo v2's transform and a rotation, as users of torchvision write it."""
    a = AUGMENTATION
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, a.crop_scale, a.crop_ratio),
            transforms.RandomHorizontalFlip(a.horizontal_flip),
            transforms.RandomRotation(a.rotation_degrees, InterpolationMode.BILINEAR),
            transforms.RandomApply(
                [transforms.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue)], a.jitter_probability
            ),
            transforms.RandomGrayscale(a.grey_probability),
            transforms.RandomApply([transforms.GaussianBlur(13, a.blur_sigma)], a.blur_probability),
            transforms.ToTensor(),
            transforms.Normalize(prepared.card.channel_mean, prepared.card.channel_std),
        ]
    )


def kornia_pipeline(size: int) -> Callable[[Tensor], Tensor]:
    """The same in kornia: batched, with separate parameters for every sample."""
    from kornia import augmentation

    a = AUGMENTATION
    pipeline: Callable[[Tensor], Tensor] = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=a.crop_scale, ratio=a.crop_ratio),
        augmentation.RandomHorizontalFlip(p=a.horizontal_flip),
        augmentation.RandomRotation(a.rotation_degrees, p=1.0),
        augmentation.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue, p=a.jitter_probability),
        augmentation.RandomGrayscale(p=a.grey_probability),
        augmentation.RandomGaussianBlur((13, 13), a.blur_sigma, p=a.blur_probability),
        data_keys=["input"],
    )
    return pipeline
