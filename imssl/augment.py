"""Batched augmentation on the device, with separate parameters for every sample.

The pipeline is that of SimCLR (Chen, Kornblith et al. 2020, appendix A) and MoCo v2 (Chen, Fan et al. 2020)
with a rotation: random resized crop, flips, rotation, colour jitter, greyscale, Gaussian blur; on request
flips and rotation come last, as in the released code of Kaku et al. (2021). Each operation equals
torchvision's of the same name, and its parameters follow the same distribution; `imssl.geometry` notes the
one difference.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from imssl.blur import gaussian_blur
from imssl.colour import NEUTRAL, grey_, jitter_
from imssl.device import to_device
from imssl.distributed import gather, processes, share
from imssl.errors import UserError
from imssl.geometry import Geometry, warp
from imssl.settings.augmentation import Augmentation

_TRIES = 10  # after so many draws that do not fit, torchvision's RandomResizedCrop takes a central crop
_TILE_PIXELS = 2**18  # pixels at a time on the CPU, so that intermediate results stay in the cache


@dataclass(frozen=True)
class Parameters:
    """What was drawn for each sample of a batch of B; all tensors on the CPU.

    Attributes:
        crop: (B, 4), int64: top, left, height, width in pixels.
        flips: (B, 2), bool: up-down, left-right.
        angle: (B,), float32: degrees, counter-clockwise.
        jitter: (B, 4), float32: factors of `imssl.colour.OPERATIONS`; neutral where there is no jitter.
        order: (B, 4), int64: the order in which the four are applied.
        grey: (B,), bool.
        sigma: (B,), float32: standard deviation of the blur in pixels; 0 where there is none.
        blur_radius: taps of the blur on each side of its centre.
        turned_last: flips and rotation follow the blur instead of the crop.
    """

    crop: Tensor
    flips: Tensor
    angle: Tensor
    jitter: Tensor
    order: Tensor
    grey: Tensor
    sigma: Tensor
    blur_radius: int
    turned_last: bool = False

    def __getitem__(self, rows: slice) -> "Parameters":
        """The parameters of some of the samples."""
        return Parameters(
            crop=self.crop[rows],
            flips=self.flips[rows],
            angle=self.angle[rows],
            jitter=self.jitter[rows],
            order=self.order[rows],
            grey=self.grey[rows],
            sigma=self.sigma[rows],
            blur_radius=self.blur_radius,
            turned_last=self.turned_last,
        )


def draw(
    batch: int, height: int, width: int, augmentation: Augmentation, generator: torch.Generator
) -> Parameters:
    """Draw the parameters of one view of every sample.

    They are drawn on the CPU, so a seed gives the same views on every device. The number of draws does not
    depend on the settings, so switching one operation off does not change the parameters of the others.

    Args:
        batch: number of samples.
        height: of the images, in pixels.
        width: of the images, in pixels.
        augmentation: strengths and probabilities.
        generator: on the CPU.

    Returns:
        The parameters, one row per sample.
    """
    a = augmentation
    # Double precision: a crop's size must round as in torchvision, which computes with Python's floats.
    uniform = torch.rand(batch, 2 * _TRIES + 17, dtype=torch.float64, generator=generator)
    tries, place, rest = uniform.split((2 * _TRIES, 2, 15), dim=1)
    return Parameters(
        crop=_draw_crop(tries.view(batch, _TRIES, 2), place, (height, width), a),
        flips=rest[:, :2] < torch.tensor([a.vertical_flip, a.horizontal_flip], dtype=torch.float64),
        angle=_between(rest[:, 2], -a.rotation_degrees, a.rotation_degrees),
        jitter=_draw_jitter(rest[:, 3:7], rest[:, 7], a),
        order=rest[:, 8:12].argsort(dim=1),
        grey=rest[:, 12] < a.grey_probability,
        sigma=_between(rest[:, 13], *a.blur_sigma) * (rest[:, 14] < a.blur_probability),
        blur_radius=math.ceil(3 * a.blur_sigma[1]),
        turned_last=a.rotation_and_flips == "last",
    )


def apply(images: Tensor, parameters: Parameters, size: tuple[int, int] | None = None) -> Tensor:
    """Apply the drawn parameters.

    The order is crop, flips, rotation, colour jitter, grey, blur; with `Parameters.turned_last` it is crop,
    colour jitter, grey, blur, flips, rotation. Kaku et al. flip after they rotate, which has the same
    distribution, as angles are symmetric about 0.

    Where several processes train together, each applies them to its share of the images.

    Args:
        images: (B, C, H, W), float32 in [0, 1], C = 1 or 3, on any device.
        parameters: from `draw`, for this B, H and W.
        size: height h and width w of the views, in pixels; H and W where it is not given.

    Returns:
        (B, C, h, w), float32 in [0, 1], in new memory on the same device.

    Raises:
        UserError: if the images have neither one nor three channels.
    """
    if images.shape[1] not in (1, 3):
        channels = images.shape[1]
        raise UserError(f"augmentation: images have {channels} channels; give grey (1) or RGB (3) images.")
    if processes().can_share(len(images)):
        rows = share(torch.arange(len(images)))
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        return gather(_apply_in_tiles(images[part], parameters[part], size))
    return _apply_in_tiles(images, parameters, size)


def _apply_in_tiles(images: Tensor, parameters: Parameters, size: tuple[int, int] | None) -> Tensor:
    if images.device.type != "cpu":
        return _apply(images, parameters, size)
    tile = max(1, _TILE_PIXELS // (images.shape[-2] * images.shape[-1]))
    views = images.new_empty((*images.shape[:2], *(size or images.shape[-2:])))
    for start in range(0, len(images), tile):
        rows = slice(start, start + tile)
        views[rows] = _apply(images[rows], parameters[rows], size)
    return views


def _apply(images: Tensor, parameters: Parameters, size: tuple[int, int] | None) -> Tensor:
    p = parameters
    if p.turned_last:
        straight = torch.zeros_like(p.flips), torch.zeros_like(p.angle)
        views = _coloured_(_moved(images, p.crop, *straight, size), p)
        views = _moved(views, _whole(views).expand_as(p.crop), p.flips, p.angle, size)
    else:
        views = _coloured_(_moved(images, p.crop, p.flips, p.angle, size), p)
    # Interpolation and blur are weighted means, but rounding can exceed the bounds by a few 1e-8.
    return views.clamp_(0, 1)


def _whole(images: Tensor) -> Tensor:
    """The crop (4,) that takes everything."""
    return torch.tensor([0, 0, *images.shape[-2:]])


def _moved(
    images: Tensor, crop: Tensor, flips: Tensor, angle: Tensor, size: tuple[int, int] | None
) -> Tensor:
    """Cropped, resized, flipped and rotated, in new memory."""
    is_resized = size is not None and size != images.shape[-2:]
    if is_resized or (crop != _whole(images)).any() or flips.any() or angle.any():
        return warp(images, crop, flips, angle, size)
    return images.clone(memory_format=torch.contiguous_format)


def _coloured_(views: Tensor, parameters: Parameters) -> Tensor:
    """Jitter, grey and blur, in place."""
    p = parameters
    jitter_(views, p.jitter, p.order)
    grey_(views, p.grey.nonzero().flatten())
    blurred = p.sigma.nonzero().flatten()
    if len(blurred):
        rows = to_device(blurred, views.device)
        soft = gaussian_blur(views.index_select(0, rows), p.sigma[blurred], p.blur_radius)
        views.index_copy_(0, rows, soft)
    return views


# What `augment` has drawn for the views that still exist.
_geometries = WeakTensorKeyDictionary()


def augment(
    images: Tensor, augmentation: Augmentation, generator: torch.Generator, size: int | None = None
) -> Tensor:
    """One random view of every image; `geometry_of` gives where its places come from.

    Args:
        images: (B, C, H, W), uint8, or float32 in [0, 1]; C = 1 or 3, on any device.
        augmentation: strengths and probabilities; the blur's are in pixels of the view.
        generator: on the CPU; the draws do not depend on ``size``.
        size: side of square views in pixels, as multi-crop has them; where it is not given, the views are as
            large as the images.

    Returns:
        (B, C, H, W), or (B, C, size, size), float32 in [0, 1], in new memory on the same device.

    Raises:
        UserError: if the images have neither one nor three channels.
    """
    batch, _, height, width = images.shape
    parameters = draw(batch, height, width, augmentation, generator)
    view_size = (height, width) if size is None else (size, size)
    views = apply(to_float(images), parameters, view_size)
    _geometries[views] = Geometry(
        parameters.crop, parameters.flips, parameters.angle, (height, width), view_size
    )
    return views


def geometry_of(views: Tensor) -> Geometry | None:
    """The geometry of what `augment` has returned.

    It belongs to that very tensor: of one that was computed from it (scaled, cut out, joined with others)
    nothing is known, and the answer is None.
    """
    return _geometries.get(views)


def to_float(images: Tensor) -> Tensor:
    """Images of uint8 as float32 in [0, 1]; float32 images as they are.

    Raises:
        TypeError: if the images are neither.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255)
    if images.dtype == torch.float32:
        return images
    raise TypeError(f"images are {images.dtype}; give uint8, or float32 in [0, 1]")


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images - mean) / std for each channel.

    Args:
        images: (B, C, H, W), float32.
        mean: (C,), of the channels.
        std: (C,), of the channels, > 0.

    Returns:
        (B, C, H, W), float32, in new memory.
    """
    mean, std = (to_device(part.to(images.dtype), images.device).view(-1, 1, 1) for part in (mean, std))
    return (images - mean).div_(std)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return (low + (high - low) * uniform).float()


def _draw_crop(tries: Tensor, place: Tensor, size: tuple[int, int], augmentation: Augmentation) -> Tensor:
    """The first of the tries (B, n, 2) that fits, or else torchvision's central crop; as in `Parameters`."""
    height, width = size
    low, high = augmentation.crop_scale
    if low == high == 1.0:
        return torch.tensor([[0, 0, height, width]]).repeat(len(tries), 1)
    low_ratio, high_ratio = augmentation.crop_ratio
    area = height * width * (low + (high - low) * tries[..., 0])
    ratio = torch.exp(math.log(low_ratio) + math.log(high_ratio / low_ratio) * tries[..., 1])
    lengths = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=-1).round()
    limits = torch.tensor([height, width], dtype=torch.float64)
    fits = ((lengths > 0) & (lengths <= limits)).all(dim=-1)
    first = fits.byte().argmax(dim=1)
    chosen = lengths[torch.arange(len(tries)), first]
    starts = (place * (limits - chosen + 1)).floor()

    tallest, widest = min(height, round(width / low_ratio)), min(width, round(height * high_ratio))
    central = torch.tensor([tallest, widest], dtype=torch.float64)
    fitted = fits.any(dim=1, keepdim=True)
    chosen = torch.where(fitted, chosen, central)
    starts = torch.where(fitted, starts, ((limits - central) / 2).floor())
    return torch.cat([starts, chosen], dim=1).long()


def _draw_jitter(uniform: Tensor, gate: Tensor, augmentation: Augmentation) -> Tensor:
    """Factors (B, 4) as in `Parameters`, from uniform draws (B, 4) and (B,)."""
    a = augmentation
    strengths = torch.tensor([a.brightness, a.contrast, a.saturation, a.hue], dtype=torch.float64)
    neutral = torch.tensor(NEUTRAL, dtype=torch.float64)
    lowest = torch.tensor([0.0, 0.0, 0.0, -math.inf], dtype=torch.float64)
    low = torch.maximum(neutral - strengths, lowest)
    factors = low + (neutral + strengths - low) * uniform
    return torch.where((gate < a.jitter_probability)[:, None], factors, neutral).float()
