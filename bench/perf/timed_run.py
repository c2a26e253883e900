"""A pretraining run that can be timed: its workload, its recipe, and its steps."""

from dataclasses import dataclass, replace

import torch

from imssl.datasets.prepared import Prepared
from imssl.device import on_device
from imssl.encoder import new_encoder
from imssl.method import Method, MethodSettings, TrainingSet
from imssl.methods.moco import Moco, MocoSettings
from imssl.methods.moco_barlow import MocoBarlow, MocoBarlowSettings
from imssl.methods.moco_mse import MocoMse, MocoMseSettings
from imssl.pretrain import Recipe, Training, batch_of
from imssl.seeds import initialising, torch_generator
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation, PretrainSettings
from imssl.training_images import TrainingImages

# As MoCo v2 is published: no rotation, one batch norm for all of the batch, a long queue.
AUGMENTATION = Augmentation(rotation_degrees=0.0)
QUEUE = 4096
METHODS: dict[str, tuple[type[Method], MocoSettings]] = {
    "moco": (Moco, MocoSettings(queue=QUEUE, queue_limit=1e6, batch_norm_splits=1)),
    "moco-mse": (MocoMse, MocoMseSettings(queue=QUEUE, queue_limit=1e6, batch_norm_splits=1)),
    "moco-barlow": (MocoBarlow, MocoBarlowSettings(queue=QUEUE, queue_limit=1e6, batch_norm_splits=1)),
}


@dataclass(frozen=True)
class Workload:
    """Which encoder is trained on which batches.

    Attributes:
        encoder: torchvision's name of the architecture; it has the ImageNet stem and full width.
        size: side of the images, in pixels.
        batch: images in a step.
    """

    encoder: str
    size: int
    batch: int

    @property
    def title(self) -> str:
        """What a table calls it."""
        name = self.encoder.replace("resnet", "ResNet-")
        return f"{name}, {self.size} px, batch {self.batch}"


def workloads_for(device: torch.device) -> list[Workload]:
    """The workloads that are measured, the cheapest first; a GPU gets larger batches."""
    large = device.type == "cuda"
    return [
        Workload("resnet18", 32, 256 if large else 64),
        Workload("resnet18", 64, 256 if large else 64),
        Workload("resnet50", 224, 128 if large else 16),
    ]


def recipe_for(workload: Workload, prepared: Prepared, hardware: Hardware, device: torch.device) -> Recipe:
    """A workload as a recipe of `imssl.pretrain`."""
    optimisation = Optimisation(
        learning_rate=0.06, momentum=0.9, weight_decay=1e-4, schedule="constant", warmup=0.0
    )
    return Recipe(
        prepared=prepared,
        settings=PretrainSettings(
            epochs=1, batch_size=workload.batch, optimisation=optimisation, monitor_every=1
        ),
        augmentation=AUGMENTATION,
        hardware=hardware,
        device=device,
        seed=0,
    )


class TimedRun:
    """A pretraining run of one method that is advanced a few steps at a time.

    Args:
        method: its class.
        settings: its hyper-parameters.
        encoder: architecture.
        recipe: data set, batch size, augmentation, hardware.
    """

    def __init__(
        self, method: type[Method], settings: MethodSettings, encoder: EncoderSettings, recipe: Recipe
    ) -> None:
        self.recipe = recipe
        prepared = recipe.prepared
        size, channels = prepared.images.shape[2:]
        self.images = TrainingImages(prepared.images, prepared.indices("train"), recipe.device)
        # So many images and steps that no method finds them too few.
        training_set = TrainingSet(10**9, channels, size, recipe.settings.batch_size, 10**9)
        with initialising(recipe.seed, "method"):
            built = method(new_encoder(encoder, channels, recipe.seed), settings, training_set)
        on_device(built, recipe.device)
        built.train()
        self.training = Training(built, recipe.settings.optimisation, training_set.steps)
        self.batch = batch_of(self.training, self.images, self._next_index(), recipe)

    def end_to_end(self, steps: int) -> None:
        """Take steps as `imssl.pretrain` does: images, views, forward, backward, update."""
        for _ in range(steps):
            batch = batch_of(self.training, self.images, self._next_index(), self.recipe)
            self.training.take_step(batch, self.recipe.hardware.precision)
        self._finish()

    def compute_only(self, steps: int) -> None:
        """Take the same steps on views that have been made before."""
        for _ in range(steps):
            self.training.take_step(self.batch, self.recipe.hardware.precision)
        self._finish()

    def few_images(self, count: int) -> None:
        """Take one step on the first ``count`` images of the batch."""
        views = tuple(view[:count] for view in self.batch.views)
        batch = replace(self.batch, views=views, index=self.batch.index[:count])
        self.training.take_step(batch, self.recipe.hardware.precision)
        self._finish()

    def _next_index(self) -> torch.Tensor:
        generator = torch_generator(0, "order", self.training.step)
        # With replacement: a batch may be larger than the data set.
        size = self.recipe.settings.batch_size
        return torch.randint(len(self.images), (size,), generator=generator)

    def _finish(self) -> None:
        if self.recipe.device.type == "cuda":
            torch.cuda.synchronize(self.recipe.device)
