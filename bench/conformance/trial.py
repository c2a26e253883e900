"""Short training runs of a method on small images, which the rules look at; in the child process only."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.conformance.loading import as_row, load_class, load_settings
from bench.conformance.method_source import MethodSource
from bench.conformance.rule import NotApplicable, NotFinite
from bench.conformance.surroundings.watch import Watch
from imssl.augment import normalise, to_float
from imssl.batches import Ingredients, assembled
from imssl.device import on_device, select_device
from imssl.encoder import Encoder, new_encoder
from imssl.errors import UserError
from imssl.method import Batch, Method, MethodSettings, TrainingSet, call_after_epoch
from imssl.methods.moco import Moco, MocoSettings
from imssl.pretrain import Training
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import EncoderSettings, TimmSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation
from imssl.torch_seeds import initialising, torch_generator

ENCODER = EncoderSettings(name="resnet18", stem="imagenet", width=8)
AUGMENTATION = Augmentation()
OPTIMISATION = Optimisation(
    learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0
)
CPU = torch.device("cpu")


class Refused(NotApplicable):
    """A method's __init__ does not accept the settings with a size, as it may.

    Attributes:
        reason: that it gives.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused at this size: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Scale:
    """How large the run of a trial is.

    Attributes:
        images: number of training images that the method is given; there are as many different ones.
        size: side of the images in pixels.
        batch_size: images in a step.
    """

    images: int = 10_000
    size: int = 32
    batch_size: int = 16

    def larger(self) -> "Iterator[Scale]":
        """Scales to try where a method refuses this one."""
        yield Scale(max(self.images, 50_000), 2 * self.size, 4 * self.batch_size)
        yield Scale(max(self.images, 1_000_000), max(96, 2 * self.size), 4 * self.batch_size)


@dataclass(frozen=True)
class Situation:
    """What a method is trained on in a trial.

    Attributes:
        scale: how large it is.
        channels: 1 or 3.
        steps: length of the training run.
        seed: of the run.
        device: where it runs.
        encoder: architecture.
    """

    scale: Scale = Scale()
    channels: int = 3
    steps: int = 6
    seed: int = 0
    device: torch.device = CPU
    encoder: EncoderSettings | TimmSettings = ENCODER

    @property
    def in_words(self) -> str:
        """Such as ``5 grey images of 32 px``."""
        kind = "grey" if self.channels == 1 else "colour"
        return f"{self.scale.batch_size} {kind} images of {self.scale.size} px"


@dataclass
class Trial:
    """A method under trial.

    Attributes:
        source: its file.
        method: its class.
        settings: its hyper-parameters.
        watch: notes what it does beyond arithmetic.
        before: what lay around the method before its file was loaded.
        run_scale: number of training images, image size and batch of params.yaml, as far as they are known
            and a check can afford them.
        run_situations: a step's images on each data set of params.yaml.
        timed_encoder: encoder with which speed and memory are measured; that of params.yaml if it is known.
        ratios: speed and memory relative to the reference, once measured.
        unmet: what was found, by name of the rules that were not met.
    """

    source: MethodSource
    method: type[Method]
    settings: MethodSettings
    watch: Watch
    before: dict[str, object]
    run_scale: Scale = Scale()
    run_situations: tuple[Situation, ...] = ()
    timed_encoder: EncoderSettings | TimmSettings = ENCODER
    ratios: dict[str, float] = field(default_factory=dict)
    unmet: dict[str, str] = field(default_factory=dict)

    @cached_property
    def scale(self) -> Scale:
        """The first scale that the method accepts for grey and colour images: the run's, or a larger one.

        Raises:
            NotApplicable: it refuses all of them.
        """
        refusal = ""
        for scale in (self.run_scale, *self.run_scale.larger()):
            try:
                for channels in (1, 3):
                    self.build(Situation(scale, channels))
            except Refused as error:
                refusal = refusal or error.reason
                continue
            return scale
        raise NotApplicable(f"refused at every size that was tried: {refusal}")

    def situation(self, channels: int = 3, batch_size: int = 0, steps: int = 6, seed: int = 0) -> Situation:
        """A situation of the trial's scale, or with another batch."""
        scale = replace(self.scale, batch_size=batch_size) if batch_size else self.scale
        return Situation(scale, channels, steps, seed)

    def small_batches(self) -> Iterator[tuple[Situation, str]]:
        """Grey and colour images, batches of 2 and of 5; for those that the method refuses its reason."""
        for channels in (1, 3):
            for batch_size in (2, 5):
                situation = self.situation(channels, batch_size)
                try:
                    self.build(situation)
                except Refused as error:
                    yield situation, error.reason
                else:
                    yield situation, ""

    def build(self, situation: Situation) -> tuple[Method, Encoder]:
        """A new method in training mode, built as pretraining builds it, and the encoder it was given.

        Raises:
            Refused: the method's __init__ raises UserError.
        """
        encoder = new_encoder(situation.encoder, situation.channels, situation.seed)
        try:
            with initialising(situation.seed, "method"):
                method = self.method(encoder, self.settings, training_set(situation))
        except UserError as error:
            raise Refused(str(error)) from None
        on_device(method, situation.device)
        return method.train(), encoder

    def imported_anew(self) -> "Trial":
        """The same trial of the same file, whose module has been run again: its variables are as at first."""
        method = load_class(self.source)
        return replace(self, method=method, settings=load_settings(method, "", as_row(self.settings)))

    def printed_lines(self) -> int:
        """Lines in the child's output so far, all of them the method's: the checks print nothing."""
        try:
            return os.pread(1, os.fstat(1).st_size, 0).count(b"\n")
        except OSError:  # a terminal or a pipe, where what was printed cannot be read
            return 0

    def training(self, situation: Situation) -> Training:
        """A training run of a new method, before its first step."""
        return Training(self.build(situation)[0], OPTIMISATION, situation.steps)


def training_set(situation: Situation) -> TrainingSet:
    """What a method is told of the run before it starts."""
    scale = situation.scale
    return TrainingSet(scale.images, situation.channels, scale.size, scale.batch_size, situation.steps)


def warm_up() -> None:
    """Set torch up as a run does, and take steps: what torch loads for the first is no method's doing."""
    select_device(Hardware(device="cpu", threads=1, precision="float32"))
    situation = Situation(Scale(batch_size=4), steps=2)
    encoder = new_encoder(ENCODER, situation.channels, situation.seed)
    training = Training(
        Moco(encoder, MocoSettings(queue=8), training_set(situation)), OPTIMISATION, situation.steps
    )
    take_steps(training, situation, 2, epoch=2)


def trial_images(situation: Situation, step: int = 0) -> Tensor:
    """Blurred noise, (B, C, H, W) uint8: other images at each step, always the same ones at the same step."""
    scale = situation.scale
    draw = torch_generator(situation.seed, "trial images", step)
    coarse = torch.rand(scale.batch_size, situation.channels, 8, 8, generator=draw)
    smooth = F.interpolate(coarse, size=(scale.size, scale.size), mode="bilinear", align_corners=False)
    return (smooth * 255).to(torch.uint8).to(situation.device)


def trial_batch(method: Method, situation: Situation, step: int = 0) -> Batch:
    """The batch of one step, made as pretraining makes it."""
    scale = situation.scale
    index = (torch.arange(scale.batch_size) + step * scale.batch_size) % scale.images

    def take(rows: Tensor) -> Tensor:
        # Partners are images that no step has of its own.
        return trial_images(situation, step if rows is index else -1 - step)

    ingredients = Ingredients(take, _normalised, AUGMENTATION, situation.seed, situation.steps)
    return assembled(method, ingredients, index, step)


def clean_batch(situation: Situation) -> Batch:
    """What a clean pass over the training images gives first."""
    images = _normalised(to_float(trial_images(situation)))
    index = torch.arange(len(images), device=situation.device)
    return Batch((), images, index, torch_generator(situation.seed, "clean"), situation.steps, 0.5)


def take_steps(training: Training, situation: Situation, until: int, epoch: int = 3) -> None:
    """Train up to a step, calling every hook of the method.

    Args:
        training: a run that may have begun.
        situation: what to train on.
        until: number of steps at which to stop.
        epoch: steps in an epoch.

    Raises:
        NotFinite: a term is NaN or infinite.
    """
    while training.step < until:
        training.take_step(trial_batch(training.method, situation, training.step), "float32")
        refuse_not_finite(training)
        if training.step % epoch == 0:
            call_after_epoch(training.method, training.step // epoch - 1, [clean_batch(situation)])
            training.method.train()


def refuse_not_finite(training: Training) -> None:
    """Raise NotFinite where a term of the steps so far is NaN or infinite."""
    broken = {name: total for name, total in training.epoch_sums.items() if not torch.isfinite(total)}
    if broken:
        kind = "NaN" if any(torch.isnan(total) for total in broken.values()) else "infinity"
        raise NotFinite(f"{kind} at step {training.step} of {training.steps}: {', '.join(broken)}")


def _normalised(images: Tensor) -> Tensor:
    channels = images.shape[1]
    scaled = normalise(images, torch.full((channels,), 0.5), torch.full((channels,), 0.25))
    return scaled.contiguous(memory_format=torch.channels_last)
