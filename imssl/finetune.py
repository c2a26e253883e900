"""Fine-tuning an encoder on labelled images; the epoch that is tested is chosen on validation images."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from imssl.augment import augment
from imssl.batch_norm import FEWEST_IMAGES
from imssl.checkpoint import CHECKPOINT_SECONDS, CheckpointFile, State, is_stopped
from imssl.classifier import Classifier, logits_of, loss_function, predict, to_probabilities
from imssl.datasets.label_sets import LabelledRows
from imssl.datasets.prepared import Prepared
from imssl.device import autocast, on_device, to_device
from imssl.encoder import Encoder
from imssl.errors import Diverged, Stopped
from imssl.features import model_input
from imssl.metrics import metric_value
from imssl.settings.augmentation import Augmentation
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware
from imssl.torch_seeds import initialising, torch_generator
from imssl.training_images import TrainingImages

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model's choices and predictions.

    Attributes:
        history: one row per evaluation: step, epoch, training loss, validation loss and metric.
        best_step: the step whose weights are tested; highest metric on the labelled validation images, of
            equals lowest loss.
        encoder: the encoder at that step, in eval mode.
        validation_probabilities: (N_val, C), at that step, of all validation images, labelled or not.
        test_probabilities: (N_test, C), at that step, every test sample in the data set's order.
        seconds: time of training and evaluation.
    """

    history: list[dict[str, float | None]]
    best_step: int
    encoder: Encoder
    validation_probabilities: np.ndarray
    test_probabilities: np.ndarray
    seconds: float


@dataclass(frozen=True)
class FinetuneRecipe:
    """What every fine-tuning on one data set with one set of labels shares.

    Attributes:
        prepared: data set.
        labelled: rows to fit on, and rows by which the best step is chosen.
        settings: length, batch, optimiser.
        augmentation: of the training images, one view.
        hardware: precision of the forward passes in training; evaluation is in float32.
        device: where to train.
        seed: of the classifier's first weights, the order of the images and their augmentation.
    """

    prepared: Prepared
    labelled: LabelledRows
    settings: FinetuneSettings
    augmentation: Augmentation
    hardware: Hardware
    device: torch.device
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the labelled training images; the last, smaller batch is one too."""
        return -(-len(self.labelled.training) // self.settings.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return max(self.settings.epochs * self.steps_per_epoch, self.settings.min_steps)

    @property
    def evaluated_after(self) -> set[int]:
        """After how many steps the validation images are scored: evenly spread, the last among them."""
        count = self.settings.evaluations
        return {round(self.steps * (i + 1) / count) for i in range(count)} - {0}


def finetune(
    encoder: Encoder,
    recipe: FinetuneRecipe,
    on_progress: OnProgress,
    checkpoint: CheckpointFile | None = None,
) -> Finetuned:
    """Train all weights on some labelled images, choose the best step on validation, predict the test set.

    Args:
        encoder: pretrained; it is not changed, a copy is trained.
        recipe: all that is the same for every encoder.
        on_progress: called with steps done and steps in all.
        checkpoint: to continue from and to write to; None for a run that starts and ends here.

    Raises:
        Diverged: the loss is not finite.
        Stopped: on_progress has raised it; the checkpoint holds the state after the last step.
    """
    prepared, device = recipe.prepared, recipe.device
    with initialising(recipe.seed, "classifier"):
        model = Classifier(copy.deepcopy(encoder), len(prepared.card.classes))
    on_device(model, device)
    tuning = _Tuning(model, recipe)
    tuning.restore(checkpoint.load() if checkpoint else None)
    _train(tuning, on_progress, checkpoint)
    tuning.best.restore(model)
    return Finetuned(
        history=tuning.history,
        best_step=tuning.best.step,
        encoder=model.encoder.eval(),
        validation_probabilities=predict(model, prepared, prepared.indices("val"), device),
        test_probabilities=predict(model, prepared, prepared.indices("test"), device),
        seconds=tuning.seconds + time.perf_counter() - tuning.started,
    )


def _train(tuning: "_Tuning", on_progress: OnProgress, checkpoint: CheckpointFile | None) -> None:
    recipe = tuning.recipe
    last_saved = tuning.started
    evaluated_after = recipe.evaluated_after
    order_of = -1
    for step in range(tuning.step, recipe.steps):
        epoch, position = divmod(step, recipe.steps_per_epoch)
        if epoch != order_of:
            order_of = epoch
            generator = torch_generator(recipe.seed, "finetune order", epoch)
            order = torch.randperm(len(recipe.labelled.training), generator=generator)
        first = position * recipe.settings.batch_size
        tuning.take_step(order[first : first + recipe.settings.batch_size])
        if tuning.step in evaluated_after:
            tuning.evaluate()
        stopped = is_stopped(on_progress, tuning.step, recipe.steps)
        now = time.perf_counter()
        if checkpoint and (stopped or now - last_saved > CHECKPOINT_SECONDS):
            checkpoint.save(tuning.state(now - tuning.started))
            last_saved = now
        if stopped:
            raise Stopped


class _Best:
    """Keeps the weights of the best evaluation so far."""

    def __init__(self) -> None:
        self.step = 0
        self.rank: tuple[float, float] | None = None
        self.weights: dict[str, Tensor] = {}

    def offer(self, row: dict[str, float | None], model: nn.Module) -> None:
        metric, loss = row["validation_metric"], row["validation_loss"]
        # A validation set on which the metric is undefined still has a loss to choose by.
        rank = (float("-inf") if metric is None else metric, -float(loss or 0.0))
        if self.rank is None or rank > self.rank:
            self.rank, self.step = rank, int(row["step"] or 0)
            self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self.weights)


class _Tuning:
    """The state of a run between two steps: all that a checkpoint must hold.

    Random draws are not part of it: each epoch and step derives its own generator from the seed.
    """

    def __init__(self, model: Classifier, recipe: FinetuneRecipe) -> None:
        prepared, settings = recipe.prepared, recipe.settings
        rows = recipe.labelled.training
        self.model = model
        self.recipe = recipe
        self.images = TrainingImages(prepared.images, rows, recipe.device)
        self.labels = torch.from_numpy(prepared.labels()[rows]).to(recipe.device)
        self.loss_of = loss_function(
            prepared.card.task, self.labels, len(prepared.card.classes), settings.class_weights
        )
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )
        self.started = time.perf_counter()
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float | None]] = []
        self.running: list[Tensor] = []
        self.best = _Best()

    def state(self, seconds: float) -> State:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds + seconds,
            "history": self.history,
            "running": self.running,
            "best": {"step": self.best.step, "rank": self.best.rank, "weights": self.best.weights},
        }

    def restore(self, state: State | None) -> None:
        """Continue from a state; None leaves the beginning."""
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.running = [loss.to(self.recipe.device) for loss in state["running"]]
        self.best.step, self.best.rank, self.best.weights = (
            state["best"][name] for name in ("step", "rank", "weights")
        )

    def take_step(self, chosen: Tensor) -> None:
        """One step of the optimiser on the labelled images at some positions, (B,) int64 on the CPU."""
        recipe = self.recipe
        generator = torch_generator(recipe.seed, "finetune step", self.step)
        views = augment(self.images.take(chosen), recipe.augmentation, generator)
        batch = model_input(views, recipe.prepared)
        # So small a batch has no statistics worth the name: batch norm takes its running ones.
        self.model.train(len(chosen) >= FEWEST_IMAGES)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.settings.learning_rate * _factor(recipe.settings, self.step / recipe.steps)
        with autocast(recipe.device, recipe.hardware.precision):
            logits = self.model(batch).float()
            loss = self.loss_of(logits, self.labels[to_device(chosen, recipe.device)])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.running.append(loss.detach())
        self.step += 1

    def evaluate(self) -> None:
        """Score the labelled validation images, and keep the weights if they are the best so far."""
        recipe = self.recipe
        rows, card = recipe.labelled.validation, recipe.prepared.card
        labels = recipe.prepared.labels()[rows]
        training_loss = float(torch.stack(self.running).mean())
        logits = logits_of(self.model, recipe.prepared, rows, recipe.device)
        if not np.isfinite(training_loss) or not logits.isfinite().all():
            raise Diverged(f"the fine-tuning loss or the logits are not finite by step {self.step}")
        loss = self.loss_of(logits.to(recipe.device), torch.from_numpy(labels).to(recipe.device))
        probabilities = to_probabilities(logits, card.task)
        row: dict[str, float | None] = {
            "step": self.step,
            "epoch": self.step / recipe.steps_per_epoch,
            "training_loss": training_loss,
            "validation_loss": float(loss),
            "validation_metric": metric_value(card.primary_metric, card.task, labels, probabilities),
        }
        self.history.append(row)
        self.best.offer(row, self.model)
        self.running = []


def _factor(settings: FinetuneSettings, progress: float) -> float:
    return 1.0 if settings.schedule == "constant" else (1 + float(np.cos(np.pi * progress))) / 2
