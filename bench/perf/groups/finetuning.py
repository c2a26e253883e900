"""Fine-tuning of all weights, done as the stage ``finetune`` does it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from bench.perf.phantoms import phantom_set
from bench.perf.timing import Effort, PerfRow, interleaved, per_second
from imssl.datasets.label_sets import LabelledRows
from imssl.encoder import new_encoder
from imssl.finetune import FinetuneRecipe, finetune
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import EncoderSettings
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware

BATCH = 64


def measure(effort: Effort, hardware: Hardware, device: torch.device, folder: Path) -> Iterator[PerfRow]:
    """Images per second of a whole fine-tuning run: training, one evaluation, predictions."""
    prepared = phantom_set("histology", 40, 32, folder)
    rows = prepared.indices("train")
    encoder = new_encoder(EncoderSettings(name="resnet18", stem="imagenet"), prepared.images.shape[-1], 0)
    epochs = max(1, round(effort.seconds))
    settings = FinetuneSettings(
        epochs=epochs,
        min_steps=1,
        batch_size=BATCH,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="cosine",
        class_weights="none",
        evaluations=1,
    )
    labelled = LabelledRows(rows, prepared.indices("val"))
    recipe = FinetuneRecipe(prepared, labelled, settings, Augmentation(), hardware, device, seed=0)
    run = partial(finetune, encoder, recipe, lambda *_: None)
    seconds = interleaved({"finetune": run}, effort.rounds)["finetune"]
    name = f"ResNet-18, 32 px, batch {BATCH}, {epochs} epochs with evaluation"
    yield PerfRow("fine-tuning", name, "images/s", per_second(seconds, epochs * len(rows)))
