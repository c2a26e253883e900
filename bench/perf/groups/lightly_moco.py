"""MoCo v2 as lightly's documentation builds it, on the same images, model, batch and precision.

Its parts and settings are those of the example "MoCo" of lightly's documentation: PIL images and
``MoCoV2Transform`` in the worker processes of a DataLoader, ``MoCoProjectionHead``, ``NTXentLoss`` with a
memory bank, ``update_momentum``.
"""

import copy
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models

from bench.perf.timed_run import Workload
from imssl.datasets.prepared import Prepared
from imssl.device import autocast
from imssl.errors import UserError
from imssl.settings.hardware import Hardware

MOMENTUM = 0.99


def check_installed() -> None:
    """Check that lightly can be imported.

    Raises:
        UserError: it cannot; the message says how to install it.
    """
    try:
        import lightly  # noqa: F401
    except ImportError:
        raise UserError(
            "--against lightly: lightly is not installed here. Install it: pip install 'imssl-bench[perf]'"
        ) from None


@dataclass(frozen=True)
class _Views(Dataset[tuple[Tensor, Tensor]]):
    """Two views of each image by lightly's transform; ``length`` images, the data set repeated as needed."""

    prepared: Prepared
    size: int
    length: int

    def __post_init__(self) -> None:
        from lightly.transforms import MoCoV2Transform

        object.__setattr__(self, "transform", MoCoV2Transform(input_size=self.size))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images = self.prepared.images
        return tuple(self.transform(Image.fromarray(images[index % len(images)])))  # type: ignore[attr-defined]


class LightlyRun:
    """A run of lightly's MoCo v2 that is advanced an epoch of a few steps at a time."""

    def __init__(
        self,
        workload: Workload,
        prepared: Prepared,
        hardware: Hardware,
        device: torch.device,
        steps: int,
        queue: int,
    ) -> None:
        check_installed()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        network = getattr(models, workload.encoder)()
        width = network.fc.in_features
        self.backbone = nn.Sequential(*list(network.children())[:-1]).to(device)
        self.head = MoCoProjectionHead(width, width, 128).to(device)
        self.key_backbone, self.key_head = copy.deepcopy(self.backbone), copy.deepcopy(self.head)
        for key_module in (self.key_backbone, self.key_head):
            deactivate_requires_grad(key_module)
        self.criterion = NTXentLoss(memory_bank_size=(queue, 128))
        weights = [*self.backbone.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(weights, lr=0.06)
        self.device, self.precision = device, hardware.precision
        # Persistent workers: in a long run the time to start them does not count.
        self.loader = DataLoader(
            _Views(prepared, workload.size, steps * workload.batch),
            batch_size=workload.batch,
            shuffle=True,
            drop_last=True,
            num_workers=hardware.threads,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )

    def epoch(self) -> None:
        """One pass over the loader."""
        from lightly.models.utils import update_momentum

        for query_view, key_view in self.loader:
            update_momentum(self.backbone, self.key_backbone, m=MOMENTUM)
            update_momentum(self.head, self.key_head, m=MOMENTUM)
            with autocast(self.device, self.precision):
                query = self.head(self.backbone(query_view.to(self.device)).flatten(start_dim=1))
                with torch.no_grad():
                    key = self.key_head(self.key_backbone(key_view.to(self.device)).flatten(start_dim=1))
                loss = self.criterion(query, key.detach())
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
