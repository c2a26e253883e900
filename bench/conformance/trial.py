"""Short training runs of a method on tiny images, which the rules look at. Runs in the child process only."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.conformance.method_source import MethodSource
from bench.conformance.watch import Watch
from imssl.augment import normalise, to_float
from imssl.device import on_device, select_device
from imssl.encoder import Encoder, new_encoder
from imssl.method import Batch, Method, MethodSettings, TrainingSet
from imssl.methods.moco import Moco, MocoSettings
from imssl.pretrain import Training
from imssl.seeds import initialising, torch_generator
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation

ENCODER = EncoderSettings(name="resnet18", stem="imagenet", width=8)
SIZE = 32
AUGMENTATION = Augmentation()
OPTIMISATION = Optimisation(
    learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0
)
# The size of the training set as the method sees it: large enough for any queue.
TRAINING_IMAGES = 10_000_000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Situation:
    """What a method is trained on in a trial.

    Attributes:
        channels: 1 or 3.
        batch_size: images in a step.
        steps: length of the training run.
        seed: of the run.
        device: where it runs.
        encoder: architecture.
    """

    channels: int = 3
    batch_size: int = 16
    steps: int = 6
    seed: int = 0
    device: torch.device = CPU
    encoder: EncoderSettings = ENCODER


@dataclass
class Trial:
    """A method under trial.

    Attributes:
        source: its file.
        method: its class.
        settings: its hyper-parameters.
        watch: notes what it does beyond arithmetic.
        before: the global state before the file was loaded.
        timed_encoder: encoder with which speed and memory are measured; that of params.yaml if it is known.
        ratios: speed and memory relative to the reference, once measured.
    """

    source: MethodSource
    method: type[Method]
    settings: MethodSettings
    watch: Watch
    before: dict[str, object]
    timed_encoder: EncoderSettings = ENCODER
    ratios: dict[str, float] = field(default_factory=dict)

    def build(self, situation: Situation) -> tuple[Method, Encoder]:
        """A new method in training mode, built as pretraining builds it, and the encoder it was given."""
        encoder = new_encoder(situation.encoder, situation.channels, situation.seed)
        training_set = TrainingSet(
            TRAINING_IMAGES, situation.channels, SIZE, situation.batch_size, situation.steps
        )
        with initialising(situation.seed, "method"):
            method = self.method(encoder, self.settings, training_set)
        on_device(method, situation.device)
        return method.train(), encoder

    def training(self, situation: Situation) -> Training:
        """A training run of a new method, before its first step."""
        return Training(self.build(situation)[0], OPTIMISATION, situation.steps)


def warm_up() -> None:
    """Set torch up as a run does, and take steps: what torch loads for the first is no method's doing."""
    select_device(Hardware(device="cpu", threads=1, precision="float32"))
    situation = Situation(batch_size=4, steps=2)
    encoder = new_encoder(ENCODER, situation.channels, situation.seed)
    training_set = TrainingSet(TRAINING_IMAGES, situation.channels, SIZE, situation.batch_size, 2)
    training = Training(Moco(encoder, MocoSettings(queue=8), training_set), OPTIMISATION, 2)
    take_steps(training, situation, 2, epoch=2)


def trial_images(situation: Situation, step: int = 0) -> Tensor:
    """Blurred noise, (B, C, H, W) uint8: other images at each step, always the same ones at the same step."""
    draw = torch_generator(situation.seed, "trial images", step)
    coarse = torch.rand(situation.batch_size, situation.channels, 8, 8, generator=draw)
    smooth = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return (smooth * 255).to(torch.uint8).to(situation.device)


def trial_batch(method: Method, situation: Situation, step: int = 0) -> Batch:
    """The batch of one step, made as pretraining makes it."""
    generator = torch_generator(situation.seed, "step", step)
    images = trial_images(situation, step)
    views = method.augmented(images, AUGMENTATION, generator)
    return Batch(
        views=tuple(_normalised(view) for view in views),
        images=_normalised(to_float(images)),
        index=torch.arange(len(images), device=situation.device) + step * situation.batch_size,
        generator=generator,
        step=step,
        progress=step / situation.steps,
    )


def take_steps(training: Training, situation: Situation, until: int, epoch: int = 3) -> None:
    """Train up to a step, calling every hook of the method.

    Args:
        training: a run that may have begun.
        situation: what to train on.
        until: number of steps at which to stop.
        epoch: steps in an epoch.
    """
    while training.step < until:
        training.take_step(trial_batch(training.method, situation, training.step), "float32")
        if training.step % epoch == 0:
            with torch.no_grad():  # as the training loop calls it
                training.method.after_epoch(training.step // epoch - 1)


def _normalised(images: Tensor) -> Tensor:
    channels = images.shape[1]
    scaled = normalise(images, torch.full((channels,), 0.5), torch.full((channels,), 0.25))
    return scaled.contiguous(memory_format=torch.channels_last)
