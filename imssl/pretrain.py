"""The pretraining loop: the same for every method, and able to continue where it was stopped."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from imssl.batch_norm import has_batch_norm, running_statistics, set_batch_norm_splits
from imssl.batches import BatchSource, CleanBatches, batch_of
from imssl.checkpoint import CHECKPOINT_SECONDS, CheckpointFile, State, is_stopped
from imssl.device import autocast, peak_memory_mib
from imssl.distributed import (
    agreed,
    averaged,
    in_micro_batches,
    processes,
    refuse_drift,
    refuse_uneven_shares,
)
from imssl.encoder import Encoder
from imssl.errors import Diverged, Stopped, UserError
from imssl.features import fingerprint
from imssl.filling import fill_from_training_images
from imssl.method import Batch, Method, call_after_epoch
from imssl.monitor import Monitor
from imssl.optimisation import update
from imssl.recipe import MethodBuilder, Recipe, new_method
from imssl.settings.pretraining import Optimisation, PretrainSettings
from imssl.torch_seeds import torch_generator
from imssl.training_images import TrainingImages


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


OnProgress = Callable[[int, int], None]
OnEpoch = Callable[[Mapping[str, float | None]], None]


def pretrain(
    encoder: Encoder,
    build: MethodBuilder,
    recipe: Recipe,
    checkpoint: Path,
    run: str,
    on_progress: OnProgress,
    on_epoch: OnEpoch = lambda row: None,
) -> Pretrained:
    """Pretrain an encoder on the training images of one data set.

    Args:
        encoder: as initialised for the seed; it is trained in place.
        build: makes the method around the encoder.
        recipe: all that is the same for every method.
        checkpoint: file to continue from and to write to.
        run: identity that a checkpoint must have.
        on_progress: called with steps done and steps in all.
        on_epoch: called with each row of the history; again with the earlier ones where it continues.

    Raises:
        UserError: fewer training images than a batch, or a setting that the method refuses.
        Diverged: the loss is not finite.
        Stopped: on_progress has raised it; the checkpoint holds the state after the last step.
    """
    prepared, settings = recipe.prepared, recipe.settings
    images = TrainingImages(prepared.images, prepared.indices("train"), recipe.device)
    steps_per_epoch = settings.steps_per_epoch(len(images))
    steps = settings.steps_on(len(images))
    method = new_method(encoder, build, recipe, images, len(images), steps)
    monitor = Monitor(prepared, recipe.device, recipe.seed)
    filled = has_batch_norm(encoder) and _is_to_be_filled(method, settings)
    if not method.pretrains:
        before = running_statistics(encoder) if filled else {}
        seconds = fill_from_training_images(encoder, images, prepared) if filled else 0.0
        history = [{"epoch": 0, **monitor.scores(encoder)}]
        return Pretrained(
            encoder.eval(), history, 0, 0, filled, before, seconds, peak_memory_mib(recipe.device)
        )
    if steps_per_epoch == 0:
        raise UserError(
            f"pretrain.batch_size = {settings.batch_size}, but {prepared.card.name} has only {len(images)} "
            "training images. Set it to that or less."
        )
    refuse_uneven_shares(settings.batch_size, recipe.hardware.micro_batches)
    training = Training(method, settings.optimisation, steps)
    file = CheckpointFile(checkpoint, run)
    training.restore(file.load(), recipe.device)
    for row in training.history:
        on_epoch(row)
    with in_micro_batches(recipe.hardware.micro_batches):
        _train(training, images, recipe, monitor, steps_per_epoch, on_progress, on_epoch,
               save=lambda: file.save(training.state()) if processes().is_first else None)  # fmt: skip
    if processes().number > 1:
        refuse_drift(fingerprint(encoder))
    set_batch_norm_splits(encoder, 1)
    before = running_statistics(encoder) if filled else {}
    if filled:
        training.seconds += fill_from_training_images(encoder, images, prepared)
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


def _is_to_be_filled(method: Method, settings: PretrainSettings) -> bool:
    if method.pretrains or method.pretrained_elsewhere:
        return settings.fill_batch_norm
    return method.fills_batch_norm


class Training:
    """The state of a run between two steps: all that a checkpoint must hold.

    Random draws are not part of it: each step derives its own generator from seed and step number.
    """

    def __init__(self, method: Method, optimisation: Optimisation, steps: int) -> None:
        self.method = method
        self.optimisation = optimisation
        self.optimizer = method.optimizer(optimisation)
        self.losses = averaged(method, lambda batch: method.losses(batch))
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
        loss, terms = self._loss_and_gradient(batch, precision)
        with torch.no_grad():
            self.method.before_step(batch)
        update(self.optimizer, lambda: self._loss_and_gradient(batch, precision)[0])
        with torch.no_grad():
            self.method.after_step(batch)
        self.step += 1
        for name, value in {**terms, **self.method.logged, "loss": loss}.items():
            self.epoch_sums[name] = self.epoch_sums.get(name, 0.0) + value.detach().double()
            self.epoch_counts[name] = self.epoch_counts.get(name, 0) + 1

    def _loss_and_gradient(self, batch: Batch, precision: str) -> tuple[Tensor, dict[str, Tensor]]:
        self.method.logged = {}
        with autocast(batch.images.device, precision):
            terms = self.losses(batch)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss, terms

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
    on_epoch: OnEpoch,
    save: Callable[[], None],
) -> None:
    size = recipe.settings.batch_size
    source = BatchSource(images, recipe.prepared, recipe.augmentation, recipe.seed, size, training.steps)
    clock = last_saved = time.perf_counter()
    training.method.train()
    stopped = False
    while training.step < training.steps:
        epoch = training.step // steps_per_epoch
        # A run of so many steps may end within a pass.
        end = min((epoch + 1) * steps_per_epoch, training.steps)
        order = torch.randperm(len(images), generator=torch_generator(recipe.seed, "order", epoch))
        for step in range(training.step, end):
            first = step % steps_per_epoch * size
            index = order[first : first + size]
            batch = batch_of(training.method, source, index, step)
            training.take_step(batch, recipe.hardware.precision)
            # Counted here and not from the batch, which a method's own augmentation, or partners, may widen.
            training.images_seen += len(index)
            now = time.perf_counter()
            training.seconds, clock = training.seconds + now - clock, now
            stopped, due = agreed(
                is_stopped(on_progress, training.step, training.steps), now - last_saved > CHECKPOINT_SECONDS
            )
            if (stopped or due) and training.step < end:
                training.check_finite()
                save()
                last_saved = now
                if stopped:
                    raise Stopped
        training.check_finite()
        call_after_epoch(training.method, epoch, CleanBatches(training.method, source, epoch, training.step))
        # A checkpoint does not hold modes, so one that was changed for the clean pass must not outlive it.
        training.method.train()
        _end_epoch(training, epoch, recipe.settings, monitor)
        on_epoch(training.history[-1])
        now = time.perf_counter()
        training.seconds, clock = training.seconds + now - clock, now
        if stopped or now - last_saved > CHECKPOINT_SECONDS:
            save()
            last_saved = now
        if stopped:
            raise Stopped


def _end_epoch(training: Training, epoch: int, settings: PretrainSettings, monitor: Monitor) -> None:
    row: dict[str, float | None] = {"epoch": epoch + 1}
    row |= {name: float(total) / training.epoch_counts[name] for name, total in training.epoch_sums.items()}
    row["learning_rate"] = training.optimizer.param_groups[0]["lr"]
    row["images_per_second"] = training.step * settings.batch_size / training.seconds
    if training.step == training.steps or (epoch + 1) % settings.monitor_every == 0:
        row |= monitor.scores(training.method.encoder)
    training.history.append(row)
    training.epoch_sums, training.epoch_counts = {}, {}
