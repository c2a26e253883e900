"""MoCo v2: momentum contrast with an MLP head (He et al. 2020; Chen et al. 2020)."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from imssl.batch_norm import set_batch_norm_splits
from imssl.device import to_device
from imssl.distributed import processes
from imssl.encoder import Encoder, Features
from imssl.errors import UserError
from imssl.heads import linear_head, mlp_head
from imssl.losses import contrastive_logits, info_nce, top1, without_own_keys
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet
from imssl.momentum import momentum_copy, momentum_update
from imssl.queue import KeyQueue
from imssl.settings.base import Tuned


class MocoSettings(MethodSettings):
    """Hyper-parameters of MoCo.

    Attributes:
        head: ``mlp`` (v2) or ``linear`` (v1, and the released code of Kaku et al.).
        hidden: width of the MLP head's hidden layer.
        dimension: width of a key.
        queue: K, number of keys.
        queue_limit: the longest queue that is accepted, as a multiple of the training images.
        mask_own_keys: leave earlier keys of the query's own image out of its negatives; He et al. do not.
        momentum: of the key encoder.
        temperature: of the softmax.
        batch_norm_splits: parts of the batch that are normalised apart, whatever the number of processes; 1
            switches the shuffle off, unless processes or micro-batches are normalised apart.
    """

    head: Literal["mlp", "linear"] = "mlp"
    hidden: int = Field(default=512, ge=1)
    dimension: int = Field(default=128, ge=2)
    queue: int = Field(default=4096, ge=1)
    queue_limit: float = Field(default=1.0, gt=0)
    mask_own_keys: bool = False
    momentum: Annotated[float, Tuned(0.9, 0.999)] = Field(default=0.99, ge=0, le=1)
    temperature: Annotated[float, Tuned(0.03, 0.5, log=True)] = Field(default=0.2, gt=0)
    batch_norm_splits: int = Field(default=4, ge=1)


class Moco(Method):
    """A query must be closer to the key of its own image than to the keys in the queue.

    An earlier key of the same image may be among the negatives, even where the queue is no longer than an
    epoch, as each epoch has an order of its own: a queue of the share s of an epoch, s <= 1, holds one for
    about s^2 / 2 of the queries. On ImageNet that is next to nothing; on a few thousand images with a queue
    of an epoch it is every second query. ``mask_own_keys`` leaves these keys out.
    """

    settings_class = MocoSettings
    settings: MocoSettings

    def __init__(self, encoder: Encoder, settings: MocoSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        _check_queue(settings, training_set)
        set_batch_norm_splits(encoder, settings.batch_norm_splits)
        self.head: nn.Module = (
            mlp_head(encoder.width, settings.hidden, settings.dimension)
            if settings.head == "mlp"
            else linear_head(encoder.width, settings.dimension)
        )
        self.key_encoder = momentum_copy(encoder)
        self.key_head = momentum_copy(self.head)
        self.queue = KeyQueue(settings.queue, settings.dimension)

    def losses(self, batch: Batch) -> Losses:
        """InfoNCE of view 0 (query) against view 1 (key), and what a subclass adds."""
        query_features = self.encoder(batch.views[0])
        query = F.normalize(self.head(query_features.embedding).float(), dim=1)
        key_features = self.key_features(batch)
        with torch.no_grad():
            self.latest_keys = F.normalize(self.key_head(key_features.embedding).float(), dim=1)
        logits = contrastive_logits(query, self.latest_keys, self.queue.keys, self.settings.temperature)
        if self.settings.mask_own_keys:
            logits = without_own_keys(logits, batch.index, self.queue.indices)
        self.log("top1", top1(logits))
        return {"contrastive": info_nce(logits)} | self.block_losses(query_features, key_features)

    def block_losses(self, query: Features, key: Features) -> Losses:
        """Terms on the intermediate blocks; plain MoCo has none."""
        return {}

    @torch.no_grad()
    def key_features(self, batch: Batch) -> Features:
        """Features of view 1 by the key encoder, on a shuffled batch where batch norm sees a part of it.

        Otherwise query and key of an image would be normalised with the same images, and the network
        could tell the positive by that (He et al. 2020, section 3.3).
        """
        views = batch.views[1]
        if self.settings.batch_norm_splits == 1 and not processes().batch_norm_is_split:
            return self.key_encoder(views)
        shuffle = to_device(torch.randperm(len(views), generator=batch.generator), views.device)
        shuffled = self.key_encoder(views[shuffle])
        return shuffled.reordered(shuffle.argsort())

    def after_step(self, batch: Batch) -> None:
        """Enqueue the step's keys; let the key encoder follow the query encoder."""
        self.queue.enqueue(self.latest_keys, batch.index)
        momentum_update(self.key_encoder, self.encoder, self.settings.momentum)
        momentum_update(self.key_head, self.head, self.settings.momentum)


def _check_queue(settings: MocoSettings, training_set: TrainingSet) -> None:
    longest = int(settings.queue_limit * training_set.images)
    if settings.queue > longest:
        raise UserError(
            f"queue = {settings.queue} keys, but there are only {training_set.images} training images: in a "
            "queue that outlasts an epoch most queries have earlier keys of their own image as negatives.\n"
            f"Set queue to {longest} or less, or raise queue_limit = {settings.queue_limit:g} if you mean it."
        )
