"""Fine-tuning an encoder on labelled images; the epoch that is tested is chosen on validation images."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imssl.augment import augment
from imssl.checkpoint import CHECKPOINT_SECONDS, CheckpointFile, State
from imssl.datasets.prepared import Prepared
from imssl.device import autocast, on_device, to_device
from imssl.encoder import Encoder
from imssl.errors import Diverged
from imssl.features import evaluation_input, model_input
from imssl.metrics import Task, metric_value
from imssl.seeds import initialising, torch_generator
from imssl.settings.augmentation import Augmentation
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware
from imssl.training_images import TrainingImages

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model's choices and predictions.

    Attributes:
        history: one row per evaluation: step, epoch, training loss, validation loss and metric.
        best_step: the step whose weights are tested; highest validation metric, of equals lowest loss.
        encoder: the encoder at that step, in eval mode.
        validation_probabilities: (N_val, C), at that step.
        test_probabilities: (N_test, C), at that step, every test sample in the data set's order.
        seconds: time of training and evaluation.
    """

    history: list[dict[str, float | None]]
    best_step: int
    encoder: Encoder
    validation_probabilities: np.ndarray
    test_probabilities: np.ndarray
    seconds: float


class Classifier(nn.Module):
    """Encoder and one linear layer on its embedding."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, C, H, W)."""
        return self.classifier(self.encoder(images).embedding)


def finetune(
    encoder: Encoder,
    prepared: Prepared,
    rows: np.ndarray,
    settings: FinetuneSettings,
    augmentation: Augmentation,
    hardware: Hardware,
    device: torch.device,
    seed: int,
    on_progress: OnProgress,
    checkpoint: CheckpointFile | None = None,
) -> Finetuned:
    """Train all weights on some labelled images, choose the best step on validation, predict the test set.

    Args:
        encoder: pretrained; it is not changed, a copy is trained.
        prepared: data set.
        rows: (n,) rows of the labelled training images.
        settings: length, batch, optimiser.
        augmentation: of the training images, one view.
        hardware: precision of the forward passes in training; evaluation is in float32.
        device: where to train.
        seed: of the classifier's first weights, the order of the images and their augmentation.
        on_progress: called with steps done and steps in all.
        checkpoint: to continue from and to write to; None for a run that starts and ends here.

    Raises:
        Diverged: the loss is not finite.
    """
    task, classes = prepared.card.task, len(prepared.card.classes)
    with initialising(seed, "classifier"):
        model = Classifier(copy.deepcopy(encoder), classes)
    on_device(model, device)
    images = TrainingImages(prepared.images, rows, device)
    labels = torch.from_numpy(prepared.labels()[rows]).to(device)
    loss_of = loss_function(task, labels, classes, settings.class_weights)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    steps_per_epoch = -(-len(rows) // settings.batch_size)
    steps = max(settings.epochs * steps_per_epoch, settings.min_steps)
    evaluate_at = {round(steps * (i + 1) / settings.evaluations) for i in range(settings.evaluations)} - {0}
    so_far = _SoFar(model, optimizer)
    so_far.restore(checkpoint.load() if checkpoint else None, device)
    started = last_saved = time.perf_counter()
    order_of = -1
    for step in range(so_far.step, steps):
        epoch, position = divmod(step, steps_per_epoch)
        if epoch != order_of:
            order_of = epoch
            order = torch.randperm(len(rows), generator=torch_generator(seed, "finetune order", epoch))
        chosen = order[position * settings.batch_size : (position + 1) * settings.batch_size]
        generator = torch_generator(seed, "finetune step", step)
        batch = model_input(augment(images.take(chosen), augmentation, generator), prepared)
        # Batch norm cannot normalise a lone image whose last maps are 1x1; it takes the running statistics.
        model.train(len(chosen) > 1)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _factor(settings, step / steps)
        with autocast(device, hardware.precision):
            loss = loss_of(model(batch).float(), labels[to_device(chosen, device)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        so_far.running.append(loss.detach())
        so_far.step = step + 1
        if step + 1 in evaluate_at:
            row = _evaluation(model, prepared, loss_of, device, so_far.running, step, steps_per_epoch)
            so_far.history.append(row)
            so_far.best.offer(row, model)
            so_far.running = []
        on_progress(step + 1, steps)
        now = time.perf_counter()
        if checkpoint and now - last_saved > CHECKPOINT_SECONDS:
            checkpoint.save(so_far.state(now - started))
            last_saved = now
    so_far.best.restore(model)
    return Finetuned(
        history=so_far.history,
        best_step=so_far.best.step,
        encoder=model.encoder.eval(),
        validation_probabilities=predict(model, prepared, prepared.indices("val"), device),
        test_probabilities=predict(model, prepared, prepared.indices("test"), device),
        seconds=so_far.seconds + time.perf_counter() - started,
    )


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


class _SoFar:
    """The state of a run between two steps: all that a checkpoint must hold.

    Random draws are not part of it: each epoch and step derives its own generator from the seed.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
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

    def restore(self, state: State | None, device: torch.device) -> None:
        """Continue from a state; None leaves the beginning."""
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.running = [loss.to(device) for loss in state["running"]]
        self.best.step, self.best.rank, self.best.weights = (
            state["best"][name] for name in ("step", "rank", "weights")
        )


def _evaluation(
    model: Classifier,
    prepared: Prepared,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    running: list[Tensor],
    step: int,
    steps_per_epoch: int,
) -> dict[str, float | None]:
    training_loss = float(torch.stack(running).mean())
    rows = prepared.indices("val")
    labels = prepared.labels()[rows]
    logits = _logits(model, prepared, rows, device)
    if not np.isfinite(training_loss) or not logits.isfinite().all():
        raise Diverged(f"the fine-tuning loss or the logits are not finite by step {step + 1}")
    card = prepared.card
    probabilities = to_probabilities(logits, card.task)
    return {
        "step": step + 1,
        "epoch": (step + 1) / steps_per_epoch,
        "training_loss": training_loss,
        "validation_loss": float(loss_of(logits.to(device), torch.from_numpy(labels).to(device))),
        "validation_metric": metric_value(card.primary_metric, card.task, labels, probabilities),
    }


def loss_function(
    task: Task, labels: Tensor, classes: int, class_weights: str
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a task, weighted by the frequencies of the labelled images.

    Args:
        task: multilabel is a sigmoid for every label, otherwise a softmax.
        labels: (n, C) or (n,) of the labelled training images.
        classes: C.
        class_weights: ``none`` or ``balanced``.

    Returns:
        Function of logits (B, C) and labels, mean over the batch.
    """
    if task == "multilabel":
        positives = labels.sum(dim=0).clamp(min=1).float()
        weight = (len(labels) - positives).clamp(min=1) / positives if class_weights == "balanced" else None
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits, y.float(), pos_weight=weight)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).float()
    weight = len(labels) / (classes * counts) if class_weights == "balanced" else None
    return lambda logits, y: F.cross_entropy(logits, y, weight=weight)


def predict(model: Classifier, prepared: Prepared, rows: np.ndarray, device: torch.device) -> np.ndarray:
    """Class probabilities (N, C), float64, of the given rows in their order, in eval mode."""
    return to_probabilities(_logits(model, prepared, rows, device), prepared.card.task)


def to_probabilities(logits: Tensor, task: Task) -> np.ndarray:
    """Sigmoids (multilabel) or softmax (otherwise) of logits (N, C), in float64."""
    wide = logits.double()
    return (wide.sigmoid() if task == "multilabel" else wide.softmax(dim=1)).numpy()


def _logits(
    model: Classifier,
    prepared: Prepared,
    rows: np.ndarray,
    device: torch.device,
    batch_size: int = 256,
) -> Tensor:
    images = TrainingImages(prepared.images, rows, device)
    model.eval()
    with torch.inference_mode():
        parts = [
            model(evaluation_input(images.take(positions), prepared)).float().cpu()
            for positions in torch.arange(len(rows)).split(batch_size)
        ]
    return torch.cat(parts)


def _factor(settings: FinetuneSettings, progress: float) -> float:
    return 1.0 if settings.schedule == "constant" else (1 + float(np.cos(np.pi * progress))) / 2
