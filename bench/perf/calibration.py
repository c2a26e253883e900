"""What the parts of a cell cost on this machine, measured with the models and images of the protocol.

All workers measure at the same time, as they will run: two cells side by side are each slower than one alone.
What else the machine does at the moment is not counted (`bench.perf.timing.undisturbed_seconds`).
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bench.cells.files import data_folder
from bench.forecast.estimate import Costs
from bench.forecast.plan import at_once_here
from bench.machine.workers import DONE, workers
from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import TimedRun
from bench.perf.timing import undisturbed_seconds
from bench.protocol.protocol import Protocol
from bench.protocol.registry import load_method
from imssl.augment import augment
from imssl.cka import permutation_null
from imssl.classifier import Classifier, loss_function
from imssl.datasets.draw import draw_rows
from imssl.datasets.prepared import Prepared, read_card, read_prepared
from imssl.device import autocast, on_device, select_device
from imssl.encoder import new_encoder
from imssl.errors import UserError
from imssl.features import model_input, pooled_features
from imssl.linear import fit
from imssl.recipe import Recipe
from imssl.training_images import TrainingImages

# What a cell takes besides its arithmetic: reading, writing CSV and JSON with checksums, calling git for the
# provenance. A typical value, not measured on this machine.
FIXED_SECONDS = 0.04
# The most images passed through an encoder and fitted, images compared, and permutations of them; the cost of
# more is extrapolated.
MOST_IMAGES, MOST_COMPARED, MOST_PERMUTATIONS = 512, 300, 20
# Training images as a method sees them where the data set is not prepared: a memory bank has a row for each.
UNKNOWN_IMAGES = 10**6


@dataclass(frozen=True)
class _Subject:
    """One data set to measure on, with the seconds that each of its measurements may take."""

    dataset: str
    prepared: Prepared
    protocol: Protocol
    device: torch.device
    seconds: float

    @property
    def on_gpu(self) -> bool:
        """Whether a step waits for a GPU."""
        return self.device.type == "cuda"


def calibrate(protocol: Protocol, seconds: float) -> Costs:
    """Measure the costs of the protocol's cells.

    Args:
        protocol: its models, batches and images are measured with.
        seconds: about how long to measure.
    """
    measurements = len(protocol.datasets) * (len(protocol.methods) + 4)
    count = at_once_here(protocol, os.cpu_count() or 1)
    by_worker: list[dict[str, float]] = []
    # Also where there is one: the files of the methods are imported to be measured, and not here.
    with workers(count, partial(_measured_by_worker, protocol, seconds / measurements)) as run:
        by_worker += [measured for _, kind, measured in run(range(count)) if kind == DONE]
    means = {name: fmean(measured[name] for measured in by_worker) for name in by_worker[0]}
    return _as_costs(means, protocol)


def _measured_by_worker(
    protocol: Protocol, seconds: float, _job: int, _report: Callable[[Any], None]
) -> dict[str, float]:
    # NumPy's BLAS on one thread, as in a stage (`bench.launch.run_stage`).
    with threadpool_limits(1, user_api="blas"):
        return dict(_measured(protocol, seconds))


def _as_costs(means: dict[str, float], protocol: Protocol) -> Costs:
    def by_dataset(part: str) -> dict[str, float]:
        return {dataset: means[f"{part} {dataset}"] for dataset in protocol.datasets}

    return Costs(
        fixed=FIXED_SECONDS,
        pretrain={
            (dataset, method): means[f"pretrain {dataset} {method}"]
            for dataset in protocol.datasets
            for method in protocol.methods
        },
        train_step=by_dataset("train_step"),
        train=by_dataset("train"),
        forward=by_dataset("forward"),
        fit_last=by_dataset("fit_last"),
        fit_all=by_dataset("fit_all"),
        compare=by_dataset("compare"),
    )


def _measured(protocol: Protocol, seconds: float) -> Iterator[tuple[str, float]]:
    device = select_device(protocol.hardware)
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        for dataset in protocol.datasets:
            prepared = _images_like(dataset, protocol, Path(folder))
            subject = _Subject(dataset, prepared, protocol, device, seconds)
            for method in protocol.methods:
                yield f"pretrain {dataset} {method}", _pretrain(subject, method)
            yield from _train(subject)
            yield from _frozen(subject)


def _images_like(dataset: str, protocol: Protocol, folder: Path) -> Prepared:
    """The data set if it is prepared, otherwise phantom images of its shape."""
    try:
        return read_prepared(data_folder(dataset))
    except UserError:
        settings = protocol.datasets[dataset]
        return phantom_set("chest" if settings.channels == 1 else "histology", 40, settings.size, folder)


def _per_image(step: Callable[[int], object], batch: int, seconds: float, on_gpu: bool) -> float:
    """Seconds that a step takes per image, the median of as many steps as the time allows.

    If a full batch takes too long, the steps are of fewer images.

    Args:
        step: the step; its argument is the number of images.
        batch: images in a full batch.
        seconds: about how long to measure.
        on_gpu: whether the step waits for a GPU.
    """
    count = min(batch, max(2, batch // 8))
    step(count)
    # By doubling: in proportion to its images a small step takes far longer than a large one.
    while count < batch and undisturbed_seconds(partial(step, count), on_gpu) * 2 * 3 <= seconds:
        count = min(batch, 2 * count)
    step(count)
    started = time.perf_counter()
    times: list[float] = []
    while not times or time.perf_counter() - started + times[-1] < seconds:
        times.append(undisturbed_seconds(partial(step, count), on_gpu))
    return median(times) / count


def _pretrain(subject: _Subject, method: str) -> float:
    registered = load_method(method, subject.protocol, subject.dataset)
    if not registered.method.pretrains:
        return 0.0
    settings = subject.protocol.pretrain_of(subject.dataset)
    recipe = Recipe(
        prepared=subject.prepared,
        settings=settings,
        augmentation=subject.protocol.augmentation_of(subject.dataset),
        hardware=subject.protocol.hardware,
        device=subject.device,
        seed=0,
    )

    def step(images: int) -> None:
        run.recipe = replace(recipe, settings=settings.model_copy(update={"batch_size": images}))
        run.end_to_end(1)

    images = _training_images(subject)
    run = TimedRun(registered.method, registered.settings, subject.protocol.encoder, recipe, images)
    return _per_image(step, settings.batch_size, subject.seconds, subject.on_gpu)


def _training_images(subject: _Subject) -> int:
    """Training images of the data set; where it is not prepared, more than any queue holds."""
    try:
        return read_card(data_folder(subject.dataset)).counts["train"].samples
    except UserError:
        return UNKNOWN_IMAGES


def _train(subject: _Subject) -> Iterator[tuple[str, float]]:
    """Fine-tuning: the seconds per image, and those of a step besides, from a small and a full batch."""
    protocol, prepared, device = subject.protocol, subject.prepared, subject.device
    settings, classes = protocol.finetune, len(prepared.card.classes)
    model = Classifier(new_encoder(protocol.encoder, prepared.images.shape[-1], 0), classes)
    on_device(model, device)
    rows = prepared.indices("train")
    labels = torch.from_numpy(prepared.labels()[rows]).to(device)
    loss_of = loss_function(prepared.card.task, labels, classes, settings.class_weights)
    images = TrainingImages(prepared.images, rows, device)
    views = protocol.finetune_augmentation_of(subject.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, foreach=True)
    generator = torch.Generator().manual_seed(0)

    def step(count: int) -> None:
        chosen = torch.randint(len(rows), (count,), generator=generator)
        batch = model_input(augment(images.take(chosen), views, generator), prepared)
        with autocast(device, protocol.hardware.precision):
            loss = loss_of(model(batch).float(), labels[chosen.to(device)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        float(loss.detach())

    full, few = max(4, min(settings.batch_size, len(rows))), 2
    small_step = few * _per_image(step, few, subject.seconds / 2, subject.on_gpu)
    full_step = full * _per_image(step, full, subject.seconds / 2, subject.on_gpu)
    per_image = max(0.0, (full_step - small_step) / (full - few))
    yield f"train {subject.dataset}", per_image
    yield f"train_step {subject.dataset}", max(0.0, small_step - few * per_image)


def _frozen(subject: _Subject) -> Iterator[tuple[str, float]]:
    protocol, prepared = subject.protocol, subject.prepared
    encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], 0)
    on_device(encoder, subject.device)
    # Of many patients: the first images may be of one class only, which is fitted in no time.
    rows = draw_rows(prepared, prepared.indices("train"), MOST_IMAGES, np.random.default_rng(0))

    def extract(count: int) -> list[np.ndarray]:
        return pooled_features(encoder, prepared, rows[:count], subject.device)

    yield f"forward {subject.dataset}", _per_image(extract, len(rows), subject.seconds, subject.on_gpu)
    features, labels = extract(len(rows)), prepared.labels()[rows]
    task, classes = prepared.card.task, len(prepared.card.classes)
    settings = protocol.linear
    fit_last = partial(fit, features[-1], labels, task, classes, settings.l2, settings.class_weights)
    yield f"fit_last {subject.dataset}", undisturbed_seconds(fit_last) / len(rows)
    settings = protocol.probe
    by_block = [
        undisturbed_seconds(partial(fit, block, labels, task, classes, settings.l2, settings.class_weights))
        for block in features
    ]
    yield f"fit_all {subject.dataset}", sum(by_block) / len(rows)
    test = max(4, min(protocol.reuse.samples, len(prepared.indices("test"))))
    yield f"compare {subject.dataset}", _compare(features, test, protocol.reuse.permutations)


def _compare(features: list[np.ndarray], samples: int, permutations: int) -> float:
    """Seconds of the CKA of one label set: four blocks, two kernels, with their permutation nulls."""
    count, few = min(samples, MOST_COMPARED, len(features[0])), min(permutations, MOST_PERMUTATIONS)
    noise = np.random.default_rng(0)
    seconds = 0.0
    for block in features:
        before, after = block[:count], block[:count] + noise.normal(size=block[:count].shape)
        for kernel in ("linear", "rbf"):
            literal = cast(Any, kernel)
            null = partial(permutation_null, before, after, few, noise, kernel=literal)
            seconds += undisturbed_seconds(null)
    return seconds * permutations / few * (samples / count) ** 2
