"""Linear probes of all four blocks: solved to the optimum, against the usual training with SGD."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import nn

from bench.perf.phantoms import phantom_set
from bench.perf.timing import Effort, PerfRow, interleaved, per_second, quartiles, times_faster
from imssl.datasets.prepared import Prepared
from imssl.device import on_device
from imssl.encoder import new_encoder
from imssl.features import pooled_features
from imssl.linear import fit, predict_probabilities, select
from imssl.metrics import metric_value
from imssl.settings.encoder import EncoderSettings

GROUP = "probes"
SOLVED, BY_SGD = "L-BFGS", "SGD"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# The linear evaluation of MoCo: 100 epochs of SGD with momentum 0.9 and batches of 256 (He et al. 2020,
# section 4.1), a cosine schedule instead of steps, on standardised features.
EPOCHS, BATCH, LEARNING_RATE = 100, 256, 0.1


@dataclass(frozen=True)
class Probing:
    """Features and labels of one data set.

    Attributes:
        prepared: data set.
        features: pooled features of blocks 1 to 4, each (N, C), of all its samples.
    """

    prepared: Prepared
    features: list[np.ndarray]

    def score(self, probabilities: np.ndarray) -> float:
        """The primary metric of probabilities (N_val, C) of the validation samples."""
        card, rows = self.prepared.card, self.prepared.indices("val")
        value = metric_value(card.primary_metric, card.task, self.prepared.labels()[rows], probabilities)
        return float("nan") if value is None else value


def measure(effort: Effort, device: torch.device, folder: Path) -> Iterator[PerfRow]:
    """Feature extraction, and both ways of fitting every block at every strength of regularisation."""
    prepared = phantom_set("chest", 300, 32, folder)
    encoder = new_encoder(EncoderSettings(name="resnet18", stem="imagenet"), prepared.images.shape[-1], 0)
    on_device(encoder, device)
    everything = np.arange(len(prepared.samples))
    extraction = interleaved(
        {"features": partial(pooled_features, encoder, prepared, everything, device)}, effort.rounds
    )["features"]
    yield PerfRow(
        "features",
        "ResNet-18, 32 px, all four blocks in one pass",
        "images/s",
        per_second(extraction, len(everything)),
    )
    probing = Probing(prepared, pooled_features(encoder, prepared, everything, device))
    scores: dict[str, float] = {}

    def solved() -> None:
        scores[SOLVED] = by_solver(probing)

    def trained() -> None:
        scores[BY_SGD] = by_sgd(probing)

    # NumPy's BLAS on one thread, as in a stage: its products here are small.
    with threadpool_limits(1, user_api="blas"):
        seconds = interleaved({SOLVED: solved, BY_SGD: trained}, min(effort.rounds, 3))
    train = len(prepared.indices("train"))
    name = f"4 blocks x {len(STRENGTHS)} strengths, {train} images"
    yield PerfRow(
        GROUP,
        name,
        "s",
        quartiles(seconds[SOLVED]),
        against=f"SGD on the same stored features, {EPOCHS} epochs",
        ratio=times_faster(seconds, SOLVED, BY_SGD),
        at_least=10.0,
    )
    # The SGD probe of He et al. (2020) and Kaku et al. (2021) runs the frozen encoder in every epoch.
    share = train / len(everything)
    passes = [EPOCHS * share * pass_seconds for pass_seconds in extraction[: len(seconds[SOLVED])]]
    with_passes = {
        SOLVED: [a + b for a, b in zip(seconds[SOLVED], extraction, strict=False)],
        BY_SGD: [a + b for a, b in zip(seconds[BY_SGD], passes, strict=True)],
    }
    yield PerfRow(
        GROUP,
        f"{name}, encoder included",
        "s",
        quartiles(with_passes[SOLVED]),
        against=f"SGD with the encoder run in each of {EPOCHS} epochs",
        ratio=times_faster(with_passes, SOLVED, BY_SGD),
        at_least=10.0,
        note="one pass of the encoder is measured; for SGD it is counted once for every epoch",
    )
    yield PerfRow(
        GROUP,
        f"validation {prepared.card.primary_metric}, mean of the blocks",
        "",
        quartiles([scores[SOLVED]]),
        against=f"SGD: {scores[BY_SGD]:.4f}",
        at_least=scores[BY_SGD],
    )


def by_solver(probing: Probing) -> float:
    """Mean over the blocks of the best validation metric, as the stage ``probe`` finds it."""
    prepared = probing.prepared
    card, labels = prepared.card, prepared.labels()
    train, validation = prepared.indices("train"), prepared.indices("val")
    best = []
    for features in probing.features:

        def score(linear, features=features) -> float:  # type: ignore[no-untyped-def]
            return probing.score(predict_probabilities(linear, features[validation]))

        fitted = fit(features[train], labels[train], card.task, len(card.classes), STRENGTHS)
        best.append(score(select(fitted, score)))
    return float(np.mean(best))


def by_sgd(probing: Probing) -> float:
    """The same with SGD: one run per block and strength, with weight decay in the place of the penalty."""
    return float(
        np.mean([max(_sgd_run(probing, block, l2) for l2 in STRENGTHS) for block in probing.features])
    )


def _sgd_run(probing: Probing, features: np.ndarray, l2: float) -> float:
    prepared = probing.prepared
    train, validation = prepared.indices("train"), prepared.indices("val")
    mean, std = features[train].mean(axis=0), features[train].std(axis=0) + 1e-8
    x = torch.from_numpy((features - mean) / std)
    y = torch.from_numpy(prepared.labels()[train]).float()
    linear = nn.Linear(x.shape[1], y.shape[1])
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.SGD(linear.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=l2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    generator = torch.Generator().manual_seed(0)
    inputs = x[torch.from_numpy(train)]
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs), generator=generator).split(BATCH):
            loss = F.binary_cross_entropy_with_logits(linear(inputs[rows]), y[rows], reduction="none")
            optimizer.zero_grad()
            loss.sum(dim=1).mean().backward()
            optimizer.step()
        schedule.step()
    with torch.inference_mode():
        return probing.score(linear(x[torch.from_numpy(validation)]).sigmoid().double().numpy())
