"""Masked reconstruction: predict the pixels that are masked in an image (after SimMIM, Xie et al. 2022)."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from imssl.device import to_device
from imssl.encoder import Encoder
from imssl.errors import UserError
from imssl.heads import upsampling_decoder
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.optimisation import weight_groups
from imssl.settings.augmentation import Augmentation
from imssl.settings.base import Tuned
from imssl.settings.pretraining import Optimisation


class MaskedReconstructionSettings(MethodSettings):
    """Hyper-parameters of masked reconstruction.

    Attributes:
        patch: side of a masked square, in pixels.
        ratio: share of the squares that is masked; 0.6 in the paper.
        hidden: channels of the decoder.
        learning_rate: of AdamW, at the peak of the protocol's schedule.
        weight_decay: of AdamW, on kernels only.
    """

    patch: int = Field(default=4, ge=1)
    ratio: Annotated[float, Tuned(0.3, 0.9)] = Field(default=0.6, gt=0, lt=1)
    hidden: int = Field(default=32, ge=1)
    learning_rate: Annotated[float, Tuned(1e-4, 1e-2, log=True)] = Field(default=1e-3, gt=0)
    weight_decay: Annotated[float, Tuned(1e-3, 0.3, log=True)] = Field(default=0.05, ge=0)


class MaskedReconstruction(Method):
    """A small decoder on the last block's map predicts the pixels of the masked squares.

    SimMIM replaces masked patches by a learnt token after the patch embedding of a transformer, and decodes
    with one linear layer. A ResNet has no patch embedding: here masked pixels are set to the mean colour,
    which is 0 in normalised images (as in A2MIM, Li et al. 2023), and a few convolutions decode. Batch norm's
    running averages are those of masked images; ``pretrain.fill_batch_norm`` replaces them by those of whole
    ones.
    """

    settings_class = MaskedReconstructionSettings
    reads_optimisation = False
    settings: MaskedReconstructionSettings
    view_count = 1

    def __init__(
        self, encoder: Encoder, settings: MaskedReconstructionSettings, training_set: TrainingSet
    ) -> None:
        super().__init__(encoder, settings, training_set)
        if settings.patch >= training_set.size:
            raise UserError(
                f"patch = {settings.patch} pixels masks all or nothing of images of {training_set.size} "
                f"pixels. Set it to {training_set.size // 2} or less."
            )
        if encoder.stride & (encoder.stride - 1):
            raise UserError(
                f"the decoder doubles the side of a map step by step, and cannot undo an encoder's stride of "
                f"{encoder.stride}. Take an encoder whose stride is a power of 2."
            )
        self.decoder = upsampling_decoder(
            encoder.width, settings.hidden, training_set.channels, encoder.stride
        )

    def augmented(
        self, images: Tensor, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """One view, only cropped, flipped and rotated, because the colours are to be predicted."""
        untouched = {"jitter_probability": 0.0, "grey_probability": 0.0, "blur_probability": 0.0}
        return super().augmented(images, augmentation.model_copy(update=untouched), generator)

    def losses(self, batch: Batch) -> Losses:
        """Mean absolute error over the masked pixels (section 3.4)."""
        (images,) = batch.views
        mask = self.masks(images, batch.generator)
        features = self.encoder(images.masked_fill(mask, 0))
        height, width = images.shape[-2:]
        decoded = self.decoder(features.block(4))[..., :height, :width].float()
        if decoded.shape[-2:] != images.shape[-2:]:  # a ConvNeXt leaves out what its stride does not divide
            raise UserError(
                f"the encoder's map covers {decoded.shape[-1]} of {width} pixels, so not every pixel can be "
                f"predicted. Take images of a size that {self.encoder.stride} divides."
            )
        error = (decoded - images).abs() * mask
        return {"reconstruction": error.sum() / (mask.sum() * images.shape[1])}

    def masks(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Which pixels each image loses: (B, 1, H, W), bool, the same number of squares for every image."""
        count, _, height, width = images.shape
        patch = self.settings.patch
        rows, columns = math.ceil(height / patch), math.ceil(width / patch)
        masked = min(max(1, round(self.settings.ratio * rows * columns)), rows * columns - 1)
        ranks = torch.rand(count, rows * columns, generator=generator).argsort(dim=1)
        squares = (ranks < masked).view(count, 1, rows, columns)
        pixels = squares.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
        return to_device(pixels[..., :height, :width], images.device)

    def optimizer(self, optimisation: Optimisation) -> torch.optim.Optimizer:
        """AdamW, with no weight decay on biases and norms, as in the paper."""
        groups = weight_groups(self, self.settings.weight_decay)
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate)
