"""DINO: a student with many crops agrees with its own moving average (Caron et al. 2021)."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imssl.augment import augment
from imssl.encoder import Encoder
from imssl.losses import cosines
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.momentum import cosine_momentum, momentum_copy, momentum_update
from imssl.settings.augmentation import Augmentation, Share
from imssl.settings.base import Tuned


class DinoSettings(MethodSettings):
    """Hyper-parameters of DINO.

    Attributes:
        small_views: crops that only the student sees; 8 in the paper.
        small_scale: smallest and largest share of the image's area that they show.
        small_size: their side in pixels; half of the images' where it is null (96 of 224 in the paper).
        hidden: width of the head's hidden layers; 2048 in the paper.
        bottleneck: width of the projection before the prototypes; 256 in the paper.
        prototypes: number of outputs; 65,536 in the paper.
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's, which is sharper.
        centre_momentum: of the running mean that is taken off the teacher's outputs.
        momentum: of the teacher at the beginning; it rises to 1 over the run. 0.996 in the paper; shorter
            runs need less.
        resting_epochs: first passes in which the prototypes rest.
        largest_gradient: norm to which the gradient of each weight is clipped.
    """

    small_views: int = Field(default=4, ge=0)
    small_scale: tuple[Share, Share] = (0.05, 0.4)
    small_size: int | None = Field(default=None, ge=8)
    hidden: int = Field(default=512, ge=1)
    bottleneck: int = Field(default=64, ge=2)
    prototypes: int = Field(default=1024, ge=2)
    student_temperature: float = Field(default=0.1, gt=0)
    teacher_temperature: Annotated[float, Tuned(0.02, 0.08)] = Field(default=0.04, gt=0)
    centre_momentum: float = Field(default=0.9, ge=0, le=1)
    momentum: Annotated[float, Tuned(0.9, 0.999)] = Field(default=0.99, ge=0, le=1)
    resting_epochs: int = Field(default=1, ge=0)
    largest_gradient: float = Field(default=3.0, gt=0)


class Dino(Method):
    """From any crop, the student predicts what the teacher says of the large crops.

    The teacher's softmax is centred, against one prototype for all images, and sharpened, against the same
    share for every prototype. Large crops and all colours are the protocol's, as for every method; the
    paper's large crops show 40% of an image or more. The optimiser is the protocol's too: SGD, as the paper's
    for a ResNet.
    """

    settings_class = DinoSettings
    settings: DinoSettings
    centre: Tensor

    def __init__(self, encoder: Encoder, settings: DinoSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.head = DinoHead(encoder.width, settings)
        self.teacher_encoder = momentum_copy(encoder)
        self.teacher_head = momentum_copy(self.head)
        self.register_buffer("centre", torch.zeros(settings.prototypes))

    def augmented(
        self, images: Tensor, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """The protocol's two views, and small ones of a small part of the image (multi-crop)."""
        settings = self.settings
        small = augmentation.model_copy(update={"crop_scale": settings.small_scale})
        size = settings.small_size or images.shape[-1] // 2
        large_views = super().augmented(images, augmentation, generator)
        small_views = [augment(images, small, generator, size=size) for _ in range(settings.small_views)]
        return *large_views, *small_views

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of the student on each crop with the teacher on each other large crop (eq. 3)."""
        settings, large, small = self.settings, batch.views[:2], batch.views[2:]
        # One pass per size, as in the paper: batch norm is over all crops of a size.
        student = list(self.head(self.encoder(torch.cat(large)).embedding).chunk(2))
        if small:
            student += self.head(self.encoder(torch.cat(small)).embedding).chunk(len(small))
        with torch.no_grad():
            self.latest = self.teacher_head(self.teacher_encoder(torch.cat(large)).embedding)
            teacher = F.softmax((self.latest - self.centre) / settings.teacher_temperature, dim=1).chunk(2)
        terms = [
            F.cross_entropy(scores / settings.student_temperature, targets)
            for i, targets in enumerate(teacher)
            for j, scores in enumerate(student)
            if i != j
        ]
        return {"cross_entropy": torch.stack(terms).mean()}

    def before_step(self, batch: Batch) -> None:
        """Clip each weight's gradient; let the prototypes rest at first (appendix C of the paper)."""
        for weight in self.parameters():
            if weight.grad is not None:
                nn.utils.clip_grad_norm_(weight, self.settings.largest_gradient)
        steps_per_epoch = self.training_set.images // self.training_set.batch_size
        if batch.step < self.settings.resting_epochs * steps_per_epoch:
            self.head.prototypes.grad = None

    def after_step(self, batch: Batch) -> None:
        """Move the centre (eq. 4), and let the teacher follow the student."""
        self.centre.lerp_(self.latest.mean(dim=0), 1 - self.settings.centre_momentum)
        momentum = cosine_momentum(self.settings.momentum, batch.progress)
        momentum_update(self.teacher_encoder, self.encoder, momentum)
        momentum_update(self.teacher_head, self.head, momentum)


class DinoHead(nn.Module):
    """Three linear layers, then cosines with the prototypes; no batch norm.

    The cosines are what the paper has as a weight-normalised layer after an L2 normalisation.
    """

    def __init__(self, inputs: int, settings: DinoSettings) -> None:
        super().__init__()
        hidden, bottleneck = settings.hidden, settings.bottleneck
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )  # fmt: skip
        # As the paper's linear layer begins, with norms of 0.58: only directions count, and the longer a
        # prototype, the more slowly a gradient turns it.
        self.prototypes = nn.Parameter(torch.empty(settings.prototypes, bottleneck))
        nn.init.uniform_(self.prototypes, -(bottleneck**-0.5), bottleneck**-0.5)

    def forward(self, embedding: Tensor) -> Tensor:
        """Scores of the prototypes, (B, prototypes), float32 in [-1, 1]."""
        return cosines(self.layers(embedding), self.prototypes)
