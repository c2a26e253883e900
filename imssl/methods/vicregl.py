"""VICRegL: VICReg of whole images and of places that match (Bardes, Ponce and LeCun 2022)."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from imssl.device import to_device
from imssl.encoder import Encoder
from imssl.geometry import Geometry, cell_centres
from imssl.heads import batch_norm_mlp
from imssl.losses import off_diagonal_covariance, variance_hinge
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.settings.base import Tuned
from imssl.settings.encoder import BLOCKS


class VicreglSettings(MethodSettings):
    """Hyper-parameters of VICRegL.

    Attributes:
        block: whose map has the places; the last one in the paper, whose images have 224 pixels: on 32 pixels
            that is a single place.
        matched: share of the places that are paired, the best matches first; 20 of 49 in the paper.
        global_share: weight of the loss of whole images against that of places, alpha in the paper.
        expansion: width of the expander's three layers; 8192 in the paper.
        local_expansion: likewise of places; 512 in the paper.
        invariance: weight of the distance between the views.
        variance: weight of the hinge that keeps every feature's deviation at 1 or above.
        covariance: weight of the squared covariances of different features.
    """

    block: int = Field(default=3, ge=1, le=BLOCKS)
    matched: float = Field(default=0.4, gt=0, le=1)
    global_share: Annotated[float, Tuned(0.5, 0.95)] = Field(default=0.75, ge=0, le=1)
    expansion: int = Field(default=512, ge=2)
    local_expansion: int = Field(default=128, ge=2)
    invariance: Annotated[float, Tuned(2.5, 100.0, log=True)] = Field(default=25.0, ge=0)
    variance: Annotated[float, Tuned(2.5, 100.0, log=True)] = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)


class Vicregl(Method):
    """Two views get the same projection, and so do their places that show the same or look alike."""

    settings_class = VicreglSettings
    settings: VicreglSettings

    def __init__(self, encoder: Encoder, settings: VicreglSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.expander = batch_norm_mlp(encoder.width, *[settings.expansion] * 3)
        width = encoder.block_widths[settings.block - 1]
        self.local_expander = batch_norm_mlp(width, *[settings.local_expansion] * 3)

    def losses(self, batch: Batch) -> Losses:
        """VICReg of images, of places matched by location, and of places matched by feature (eq. 3 to 5)."""
        first, second = (self.encoder(view) for view in batch.views)
        first_embedding, second_embedding = (
            self.expander(features.embedding).float() for features in (first, second)
        )
        first_map, second_map = (features.block(self.settings.block) for features in (first, second))
        first_places, second_places = self.expanded_places(first_map), self.expanded_places(second_map)
        first_geometry, second_geometry = batch.geometry
        apart = distances_in_image(first_geometry, second_geometry, first_map.shape[-1])
        by_location = to_device(apart, first_map.device)
        by_feature = torch.cdist(first_places, second_places).detach()
        share = self.settings.global_share
        return {
            "images": share * self.vicreg(first_embedding, second_embedding),
            "by_location": (1 - share) * self.of_matches(first_places, second_places, by_location),
            "by_feature": (1 - share) * self.of_matches(first_places, second_places, by_feature),
        }

    def expanded_places(self, maps: Tensor) -> Tensor:
        """The local expander at every place of maps (B, C, H, W): (B, H * W, D), float32."""
        places = maps.flatten(2).mT
        return self.local_expander(places.flatten(0, 1)).float().unflatten(0, places.shape[:2])

    def of_matches(self, first: Tensor, second: Tensor, distances: Tensor) -> Tensor:
        """VICReg of the places (B, P, D) of two views that are closest by distances (B, P, P), both ways."""
        count = math.ceil(self.settings.matched * distances.shape[1])
        forwards = self.vicreg(*closest_pairs(first, second, distances, count))
        backwards = self.vicreg(*closest_pairs(second, first, distances.mT, count))
        return (forwards + backwards) / 2

    def vicreg(self, first: Tensor, second: Tensor) -> Tensor:
        """The three terms of VICReg on (B, D), or on (B, P, D) place by place over the batch."""
        hinge = (variance_hinge(first) + variance_hinge(second)) / 2
        covariance = (off_diagonal_covariance(first) + off_diagonal_covariance(second)) / 2
        return (
            self.settings.invariance * F.mse_loss(first, second)
            + self.settings.variance * hinge
            + self.settings.covariance * covariance
        )


def distances_in_image(first: Geometry, second: Geometry, side: int) -> Tensor:
    """How far apart the places of two views lie in their image: (B, P, P) float32 on the CPU, in pixels.

    Args:
        first: of one view.
        second: of the other.
        side: of the square map whose P = side * side cells are the places.

    Returns:
        Places that a view does not show, as a rotation has brought in black, are infinitely far from all
        others.
    """
    first_centres = cell_centres(first.view_size, side, side)
    second_centres = cell_centres(second.view_size, side, side)
    distances = torch.cdist(first.in_image(first_centres), second.in_image(second_centres))
    shown = first.shows(first_centres)[:, :, None] & second.shows(second_centres)[:, None]
    return distances.masked_fill(~shown, torch.inf).float()


def closest_pairs(first: Tensor, second: Tensor, distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The places of one view that have the nearest counterparts in the other, and these.

    Args:
        first: (B, P, D), places of one view.
        second: (B, P, D), of the other.
        distances: (B, P, P), from each of the first to each of the second.
        count: how many pairs, at most P.

    Returns:
        Two of (B, count, D), the closest pair first; infinitely far ones only where there are too few others.
    """
    nearest_distance, partner = distances.min(dim=2)
    best = nearest_distance.topk(count, dim=1, largest=False).indices
    rows = torch.arange(len(first), device=first.device)[:, None]
    return first[rows, best], second[rows, partner.gather(1, best)]
