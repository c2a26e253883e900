"""The pretraining loop: the same for every method, and able to continue where it was stopped."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from imssl.batch_norm import fill_batch_norm, running_statistics, set_batch_norm_splits
from imssl.checkpoint import CHECKPOINT_SECONDS, State, load_checkpoint, save_checkpoint
from imssl.datasets.prepared import Prepared
from imssl.device import autocast, on_device, peak_memory_mib, to_device
from imssl.encoder import Encoder
from imssl.errors import Diverged, UserError
from imssl.features import evaluation_input, model_input
from imssl.method import Batch, Method, TrainingSet
from imssl.monitor import Monitor
from imssl.seeds import initialising, torch_generator
from imssl.settings.augmentation import Augmentation
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation, PretrainSettings
from imssl.training_images import TrainingImages, room


@dataclass(frozen=True)
class Pretrained:
    """What pretraining leaves behind.

    Attributes:
        encoder: the pretrained encoder, in eval mode.
        history: one row per epoch: losses by term, learning rate, images/s, spread and kNN score.
        images_seen: training images that went through a step, over the whole run.
        trained_parameters: number of weights that the optimiser holds, heads included.
        batch_norm_filled: whether batch norm holds the statistics of all training images; otherwise those of
            the last steps, or of the initial encoder.
        statistics_before: the running means and variances that filling has replaced, by name; empty where
            batch norm was not filled.
        seconds: time spent in steps, monitoring and filling batch norm, resumed parts included.
        peak_memory_mib: of the GPU, or resident on the CPU.
    """

    encoder: Encoder
    history: list[dict[str, float | None]]
    images_seen: int
    trained_parameters: int
    batch_norm_filled: bool
    statistics_before: dict[str, Tensor]
    seconds: float
    peak_memory_mib: float


MethodBuilder = Callable[[Encoder, TrainingSet], Method]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """What every method's pretraining on one data set shares.

    Attributes:
        prepared: data set; its labels are read by the kNN monitor only.
        settings: length, batch and optimiser.
        augmentation: of the views.
        hardware: precision of the forward passes.
        device: where to train.
        seed: of the run: initial weights, order of the images, augmentation.
    """

    prepared: Prepared
    settings: PretrainSettings
    augmentation: Augmentation
    hardware: Hardware
    device: torch.device
    seed: int


def pretrain(
    encoder: Encoder,
    build: MethodBuilder,
    recipe: Recipe,
    checkpoint: Path,
    run: str,
    on_progress: OnProgress,
) -> Pretrained:
    """Pretrain an encoder on the training images of one data set.

    Args:
        encoder: as initialised for the seed; it is trained in place.
        build: makes the method around the encoder.
        recipe: all that is the same for every method.
        checkpoint: file to continue from and to write to.
        run: identity that a checkpoint must have.
        on_progress: called with steps done and steps in all.

    Raises:
        UserError: fewer training images than a batch, or a setting that the method refuses.
        Diverged: the loss is not finite.
    """
    prepared, settings = recipe.prepared, recipe.settings
    images = TrainingImages(prepared.images, prepared.indices("train"), recipe.device)
    steps_per_epoch = settings.steps_per_epoch(len(images))
    if steps_per_epoch == 0:
        raise UserError(
            f"pretrain.batch_size = {settings.batch_size}, but {prepared.card.name} has only {len(images)} "
            "training images. Set it to that or less."
        )
    steps = settings.steps_on(len(images))
    _, height, _, channels = prepared.images.shape
    with initialising(recipe.seed, "method"):
        method = build(
            encoder,
            TrainingSet(len(images), channels, height, settings.batch_size, steps),
        )
    on_device(method, recipe.device)
    monitor = Monitor(prepared, recipe.device, recipe.seed)
    filled = settings.fill_batch_norm if method.pretrains else method.fills_batch_norm
    if not method.pretrains:
        before = running_statistics(encoder) if filled else {}
        seconds = _fill_batch_norm(encoder, images, recipe) if filled else 0.0
        history = [{"epoch": 0, **monitor.scores(encoder)}]
        return Pretrained(
            encoder.eval(), history, 0, 0, filled, before, seconds, peak_memory_mib(recipe.device)
        )
    training = Training(method, settings.optimisation, steps)
    training.restore(load_checkpoint(checkpoint, run), recipe.device)
    _train(training, images, recipe, monitor, steps_per_epoch, on_progress,
           save=lambda: save_checkpoint(checkpoint, training.state(), run))  # fmt: skip
    set_batch_norm_splits(encoder, 1)
    before = running_statistics(encoder) if filled else {}
    if filled:
        training.seconds += _fill_batch_norm(encoder, images, recipe)
    return Pretrained(
        encoder=encoder.eval(),
        history=training.history,
        images_seen=training.images_seen,
        trained_parameters=training.trained_parameters,
        batch_norm_filled=filled,
        statistics_before=before,
        seconds=training.seconds,
        peak_memory_mib=peak_memory_mib(recipe.device),
    )


class Training:
    """The state of a run between two steps: all that a checkpoint must hold.

    Random draws are not part of it: each step derives its own generator from seed and step number.
    """

    def __init__(self, method: Method, optimisation: Optimisation, steps: int) -> None:
        self.method = method
        self.optimisation = optimisation
        self.optimizer = method.optimizer(optimisation)
        self.learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = steps
        self.step = 0
        self.images_seen = 0
        self.seconds = 0.0
        self.history: list[dict[str, float | None]] = []
        self.epoch_sums: dict[str, Tensor] = {}
        self.epoch_counts: dict[str, int] = {}

    @property
    def trained_parameters(self) -> int:
        """Number of weights that the optimiser holds."""
        return sum(weight.numel() for group in self.optimizer.param_groups for weight in group["params"])

    def state(self) -> State:
        """Everything as tensors, numbers and containers of these."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "images_seen": self.images_seen,
            "seconds": self.seconds,
            "history": self.history,
            "epoch_sums": self.epoch_sums,
            "epoch_counts": self.epoch_counts,
        }

    def restore(self, state: State | None, device: torch.device) -> None:
        """Continue from a state; None leaves the beginning."""
        if state is None:
            return
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.images_seen = state["step"], state["images_seen"]
        self.seconds, self.history = state["seconds"], state["history"]
        self.epoch_sums = {name: total.to(device) for name, total in state["epoch_sums"].items()}
        self.epoch_counts = dict(state["epoch_counts"])

    def take_step(self, batch: Batch, precision: str) -> None:
        """One step of the optimiser on the sum of the method's terms."""
        for group, learning_rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            factor = self.method.learning_rate_factor(self.optimisation, batch.progress, group)
            group["lr"] = learning_rate * factor
        self.method.logged = {}
        with autocast(batch.images.device, precision):
            terms = self.method.losses(batch)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.method.after_step(batch)
        self.step += 1
        for name, value in {**terms, **self.method.logged, "loss": loss}.items():
            self.epoch_sums[name] = self.epoch_sums.get(name, 0.0) + value.detach().double()
            self.epoch_counts[name] = self.epoch_counts.get(name, 0) + 1

    def check_finite(self) -> None:
        """Raise Diverged where a term of this epoch is NaN or infinite."""
        broken = [name for name, total in self.epoch_sums.items() if not torch.isfinite(total)]
        if broken:
            raise Diverged(f"{', '.join(broken)} is not finite after step {self.step} of {self.steps}")


def _train(
    training: Training,
    images: TrainingImages,
    recipe: Recipe,
    monitor: Monitor,
    steps_per_epoch: int,
    on_progress: OnProgress,
    save: Callable[[], None],
) -> None:
    size = recipe.settings.batch_size
    clock = last_saved = time.perf_counter()
    training.method.train()
    while training.step < training.steps:
        epoch = training.step // steps_per_epoch
        # A run of so many steps may end within a pass.
        end = min((epoch + 1) * steps_per_epoch, training.steps)
        order = torch.randperm(len(images), generator=torch_generator(recipe.seed, "order", epoch))
        for step in range(training.step, end):
            first = step % steps_per_epoch * size
            index = order[first : first + size]
            batch = batch_of(training, images, index, recipe)
            training.take_step(batch, recipe.hardware.precision)
            # Counted here and not from the batch, which a method's own augmentation may widen.
            training.images_seen += len(index)
            now = time.perf_counter()
            training.seconds, clock = training.seconds + now - clock, now
            on_progress(training.step, training.steps)
            if now - last_saved > CHECKPOINT_SECONDS and training.step < end:
                training.check_finite()
                save()
                last_saved = now
        _end_epoch(training, epoch, recipe.settings, monitor)
        now = time.perf_counter()
        training.seconds, clock = training.seconds + now - clock, now
        if now - last_saved > CHECKPOINT_SECONDS:
            save()
            last_saved = now


def batch_of(training: Training, images: TrainingImages, index: Tensor, recipe: Recipe) -> Batch:
    """What the next step of a run sees of the training images at some positions, (B,) int64 on the CPU."""
    generator = torch_generator(recipe.seed, "step", training.step)
    taken = images.take(index)
    views = training.method.augmented(taken, recipe.augmentation, generator)
    return Batch(
        views=tuple(model_input(view, recipe.prepared) for view in views),
        images=evaluation_input(taken, recipe.prepared),
        index=to_device(index, recipe.device),
        generator=generator,
        step=training.step,
        progress=training.step / training.steps,
    )


def fill_from_training_images(encoder: Encoder, images: TrainingImages, prepared: Prepared) -> None:
    """Fill batch norm with the statistics of the training images as they are, without augmentation.

    Args:
        encoder: on the device; it is changed in place.
        images: the training images, on the device.
        prepared: their data set.
    """

    def batches() -> Iterator[Tensor]:
        for index in torch.arange(len(images)).split(256):
            yield evaluation_input(images.take(index), prepared)

    fill_batch_norm(encoder.parts, batches, room(images.device))


def _fill_batch_norm(encoder: Encoder, images: TrainingImages, recipe: Recipe) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    fill_from_training_images(encoder, images, recipe.prepared)
    return time.perf_counter() - started


def _end_epoch(training: Training, epoch: int, settings: PretrainSettings, monitor: Monitor) -> None:
    training.check_finite()
    with torch.no_grad():
        training.method.after_epoch(epoch)
    row: dict[str, float | None] = {"epoch": epoch + 1}
    row |= {name: float(total) / training.epoch_counts[name] for name, total in training.epoch_sums.items()}
    row["learning_rate"] = training.optimizer.param_groups[0]["lr"]
    row["images_per_second"] = training.step * settings.batch_size / training.seconds
    if training.step == training.steps or (epoch + 1) % settings.monitor_every == 0:
        row |= monitor.scores(training.method.encoder)
    training.history.append(row)
    training.epoch_sums, training.epoch_counts = {}, {}
