"""Memory of preparing and pretraining on a data set that is too large for memory: its images stay on disk."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.machine.memory import PeakMemory, measured_peak
from bench.perf.timing import PerfRow, quartiles
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.datasets.source import RawSample, Source

# About the size of NIH ChestX-ray14: its 112,120 images take 5.6 GB in grey at 224 pixels.
IMAGES, SIZE, STEPS, BATCH = 112_000, 224, 3, 16
LIMIT_MIB = 2048.0


def measure(folder: Path) -> Iterator[PerfRow]:
    """Peak memory of each part, measured in a process of its own."""
    name = f"{IMAGES:,} grey images, {SIZE} px, {IMAGES * SIZE**2 / 1e9:.1f} GB"
    for what, part in (("preparing", prepare_large), (f"pretraining, {STEPS} steps", pretrain_large)):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            peak = pool.apply(part, (folder,))
        note = f"{peak.resident:,.0f} MiB with the mapped file"
        value = quartiles([peak.anonymous])
        yield PerfRow("memory", f"{what}: {name}", "MiB", value, at_most=LIMIT_MIB, note=note)


def prepare_large(folder: Path, images: int = IMAGES) -> PeakMemory:
    """Prepare a data set of noise, image by image."""
    with measured_peak() as peak:
        prepare(
            noise(images),
            name="large",
            size=SIZE,
            channels=1,
            split_seed=0,
            on_bad_image="error",
            folder=folder / "large",
        )
    return peak


def pretrain_large(folder: Path) -> PeakMemory:
    """Take a few steps of MoCo on the prepared data set, whose images are read from disk batch by batch."""
    from bench.perf.timed_run import METHODS, TimedRun, Workload, recipe_for
    from imssl.device import select_device
    from imssl.settings.encoder import EncoderSettings
    from imssl.settings.hardware import Hardware

    hardware = Hardware(device="cpu", threads=1, precision="float32")
    prepared: Prepared = read_prepared(folder / "large")
    with measured_peak() as peak:
        recipe = recipe_for(Workload("resnet18", SIZE, BATCH), prepared, hardware, select_device(hardware))
        encoder = EncoderSettings(name="resnet18", stem="imagenet")
        TimedRun(*METHODS["moco"], encoder, recipe).end_to_end(STEPS)
    return peak


def noise(images: int) -> Source:
    """A source of distinct images that cost nearly nothing to draw, three of each patient."""
    background = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)

    def read(sample: RawSample) -> np.ndarray:
        image = background.copy()
        image[0, :8] = np.frombuffer(int(sample.id).to_bytes(8), dtype=np.uint8)
        return image

    return Source(
        origin="noise",
        task="binary",
        classes=("even", "odd"),
        description="Noise to measure memory on.",
        citation="",
        licence="",
        url="",
        samples=[RawSample(f"{i:08d}", f"{i // 3:08d}", "", (i % 2,)) for i in range(images)],
        read=read,
        synthetic=True,
    )
