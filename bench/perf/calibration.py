"""What the parts of a cell cost on this machine, measured on the protocol's own models and images.

All workers measure at once, as they will run at once: two cells side by side are each slower than one alone.
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
from bench.machine.workers import DONE, in_this_process, workers
from bench.perf.measure import seconds_of
from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import TimedRun
from bench.protocol.protocol import Protocol
from bench.protocol.registry import load_method
from imssl.augment import augment
from imssl.cka import permutation_null
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.device import autocast, on_device, select_device
from imssl.encoder import new_encoder
from imssl.errors import UserError
from imssl.features import model_input, pooled_features
from imssl.finetune import Classifier, loss_function
from imssl.linear import fit
from imssl.pretrain import Recipe
from imssl.training_images import TrainingImages

# A cell beside its arithmetic: reading, CSV and JSON with checksums, asking git for the provenance.
FIXED_SECONDS = 0.04
# At most so many images are passed through an encoder, fitted, or compared; what follows is proportional.
MOST_IMAGES, MOST_COMPARED, MOST_PERMUTATIONS = 512, 300, 20


@dataclass(frozen=True)
class _Bench:
    """One data set on the measuring bench, with the seconds that each of its measurements may take."""

    dataset: str
    prepared: Prepared
    protocol: Protocol
    device: torch.device
    seconds: float


def calibrate(protocol: Protocol, seconds: float) -> Costs:
    """Measure the costs of the protocol's cells.

    Args:
        protocol: whose models, batches and images are measured.
        seconds: about how long.
    """
    measurements = len(protocol.datasets) * (len(protocol.methods) + 4)
    count = at_once_here(protocol, os.cpu_count() or 1)

    def work(_job: int, _tell: Callable[[Any], None]) -> dict[str, float]:
        # NumPy's BLAS on one thread, as in a stage (`bench.launch.run_stage`).
        with threadpool_limits(1, user_api="blas"):
            return dict(_measured(protocol, seconds / measurements))

    told: list[dict[str, float]] = []
    with workers(count, work) if count > 1 else in_this_process(work, lambda *_: None) as run:
        told += [result for _, kind, result in run(range(count)) if kind == DONE]
    return _as_costs({name: fmean(one[name] for one in told) for name in told[0]}, protocol)


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
            bench = _Bench(dataset, prepared, protocol, device, seconds)
            for method in protocol.methods:
                yield f"pretrain {dataset} {method}", _pretrain(bench, method)
            yield from _train(bench)
            yield from _frozen(bench)


def _images_like(dataset: str, protocol: Protocol, folder: Path) -> Prepared:
    """The data set if it is prepared, otherwise phantoms of its shape."""
    try:
        return read_prepared(data_folder(dataset))
    except UserError:
        settings = protocol.datasets[dataset]
        return phantom_set("chest" if settings.channels == 1 else "histology", 40, settings.size, folder)


def _per_image(step: Callable[[int], object], batch: int, seconds: float) -> float:
    """Seconds of an image in a step, from as many steps as the time allows; of a part if a whole is too long.

    Args:
        step: takes the number of images.
        batch: the most images of a step.
        seconds: that the measurement may take.
    """
    count = min(batch, max(2, batch // 8))
    step(count)
    # By doubling, and not at once by proportion: a small step takes nearly as long as a larger one.
    while count < batch and seconds_of(partial(step, count)) * 2 * 3 <= seconds:
        count = min(batch, 2 * count)
    step(count)
    started = time.perf_counter()
    times: list[float] = []
    while not times or time.perf_counter() - started + times[-1] < seconds:
        times.append(seconds_of(partial(step, count)))
    return median(times) / count


def _pretrain(bench: _Bench, method: str) -> float:
    registered = load_method(method, bench.protocol)
    if not registered.method.pretrains:
        return 0.0
    settings = bench.protocol.pretrain
    recipe = Recipe(
        prepared=bench.prepared,
        settings=settings,
        augmentation=bench.protocol.views_of(bench.dataset, bench.protocol.augmentation),
        hardware=bench.protocol.hardware,
        device=bench.device,
        seed=0,
    )

    def step(images: int) -> None:
        run.recipe = replace(recipe, settings=settings.model_copy(update={"batch_size": images}))
        run.end_to_end(1)

    run = TimedRun(registered.method, registered.settings, bench.protocol.encoder, recipe)
    return _per_image(step, settings.batch_size, bench.seconds)


def _train(bench: _Bench) -> Iterator[tuple[str, float]]:
    """A small and a full batch tell what a step costs beside its images."""
    protocol, prepared, device = bench.protocol, bench.prepared, bench.device
    settings, classes = protocol.finetune, len(prepared.card.classes)
    model = Classifier(new_encoder(protocol.encoder, prepared.images.shape[-1], 0), classes)
    on_device(model, device)
    rows = prepared.indices("train")
    labels = torch.from_numpy(prepared.labels()[rows]).to(device)
    loss_of = loss_function(prepared.card.task, labels, classes, settings.class_weights)
    images, views = TrainingImages(prepared.images, rows, device), protocol.finetune_augmentation
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
    of_few = few * _per_image(step, few, bench.seconds / 2)
    of_full = full * _per_image(step, full, bench.seconds / 2)
    image = max(0.0, (of_full - of_few) / (full - few))
    yield f"train {bench.dataset}", image
    yield f"train_step {bench.dataset}", max(0.0, of_few - few * image)


def _frozen(bench: _Bench) -> Iterator[tuple[str, float]]:
    protocol, prepared = bench.protocol, bench.prepared
    encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], 0)
    on_device(encoder, bench.device)
    rows = prepared.indices("train")[:MOST_IMAGES]

    def extract(count: int) -> list[np.ndarray]:
        return pooled_features(encoder, prepared, rows[:count], bench.device)

    yield f"forward {bench.dataset}", _per_image(extract, len(rows), bench.seconds)
    features, labels = extract(len(rows)), prepared.labels()[rows]
    task, classes = prepared.card.task, len(prepared.card.classes)
    settings = protocol.linear
    last = partial(fit, features[-1], labels, task, classes, settings.l2, settings.class_weights)
    yield f"fit_last {bench.dataset}", seconds_of(last) / len(rows)
    settings = protocol.probe
    every = [
        seconds_of(partial(fit, block, labels, task, classes, settings.l2, settings.class_weights))
        for block in features
    ]
    yield f"fit_all {bench.dataset}", sum(every) / len(rows)
    test = max(4, min(protocol.reuse.samples, len(prepared.indices("test"))))
    yield f"compare {bench.dataset}", _compare(features, test, protocol.reuse.permutations)


def _compare(features: list[np.ndarray], samples: int, permutations: int) -> float:
    """Seconds of one label fraction's CKA: four blocks, two kernels, with the null."""
    count, few = min(samples, MOST_COMPARED, len(features[0])), min(permutations, MOST_PERMUTATIONS)
    noise = np.random.default_rng(0)
    took = 0.0
    for block in features:
        before, after = block[:count], block[:count] + noise.normal(size=block[:count].shape)
        for kernel in ("linear", "rbf"):
            kind = cast(Any, kernel)
            took += seconds_of(partial(permutation_null, before, after, few, noise, kernel=kind))
    return took * permutations / few * (samples / count) ** 2
