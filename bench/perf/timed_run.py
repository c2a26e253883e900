"""A pretraining run that can be timed: its workload, its recipe, and its steps."""

from dataclasses import dataclass, replace

import torch

from imssl.batches import BatchSource, batch_of
from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder, new_encoder
from imssl.method import Batch, Method, MethodSettings, TrainingSet
from imssl.methods.moco import Moco, MocoSettings
from imssl.methods.moco_barlow import MocoBarlow, MocoBarlowSettings
from imssl.methods.moco_mse import MocoMse, MocoMseSettings
from imssl.pretrain import Training
from imssl.recipe import Recipe, new_method
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import EncoderSettings, TimmSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation, PretrainSettings
from imssl.torch_seeds import torch_generator
from imssl.training_images import TrainingImages

# As MoCo v2 is published: no rotation, one batch norm for all of the batch, a long queue.
AUGMENTATION = Augmentation(rotation_degrees=0.0)
QUEUE = 4096
# Of a run that is never at its end while it is timed.
STEPS = 10**9
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
    """A workload as a recipe."""
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
        training_images: number of training images as the method sees it, of which a memory bank may hold one
            row each; where it is not given, so many that no method finds them too few.
    """

    def __init__(
        self,
        method: type[Method],
        settings: MethodSettings,
        encoder: EncoderSettings | TimmSettings,
        recipe: Recipe,
        training_images: int = 10**9,
    ) -> None:
        self.recipe = recipe
        prepared = recipe.prepared
        self.images = TrainingImages(prepared.images, prepared.indices("train"), recipe.device)

        def build(encoder: Encoder, training_set: TrainingSet) -> Method:
            return method(encoder, settings, training_set)

        start = new_encoder(encoder, prepared.images.shape[-1], recipe.seed)
        built = new_method(start, build, recipe, self.images, training_images, STEPS).train()
        self.training = Training(built, recipe.settings.optimisation, STEPS)
        self.batch = self._next_batch()

    def end_to_end(self, steps: int) -> None:
        """Take steps as `imssl.pretrain` does: images, views, forward, backward, update."""
        for _ in range(steps):
            self.training.take_step(self._next_batch(), self.recipe.hardware.precision)
        self._finish()

    def compute_only(self, steps: int) -> None:
        """Take the same steps on views that have been made before."""
        for _ in range(steps):
            self.training.take_step(self.batch, self.recipe.hardware.precision)
        self._finish()

    def few_images(self, count: int) -> None:
        """Take one step on the first ``count`` images of the batch."""
        self.training.take_step(first_images(self.batch, count), self.recipe.hardware.precision)
        self._finish()

    def _next_batch(self) -> Batch:
        recipe, step = self.recipe, self.training.step
        size = recipe.settings.batch_size
        source = BatchSource(
            self.images, recipe.prepared, recipe.augmentation, recipe.seed, size, self.training.steps
        )
        # With replacement: a batch may be larger than the data set.
        index = torch.randint(len(self.images), (size,), generator=torch_generator(0, "order", step))
        return batch_of(self.training.method, source, index, step)

    def _finish(self) -> None:
        if self.recipe.device.type == "cuda":
            torch.cuda.synchronize(self.recipe.device)


def first_images(batch: Batch, count: int) -> Batch:
    """The first ``count`` images of a batch and all that belongs to them."""
    return replace(
        batch,
        views=tuple(view[:count] for view in batch.views),
        images=batch.images[:count],
        index=batch.index[:count],
        group=batch.group[:count],
        partners=None if batch.partners is None else batch.partners[:count],
        geometry=tuple(geometry[:count] for geometry in batch.geometry),
    )
