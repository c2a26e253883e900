"""Stage ``data``: one source, whatever its layout, becomes the prepared form."""

import time
from pathlib import Path

from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import note_dataset, read_outlook
from bench.forecast.progress import RunProgress
from bench.protocol.protocol import Protocol
from imssl.datasets.prepare import prepare
from imssl.datasets.source import Source
from imssl.settings.datasets import (
    EyepacsSettings,
    IdcSettings,
    MedmnistSettings,
    NihSettings,
    PhantomSettings,
)


def run(dataset: str, protocol: Protocol) -> None:
    """Prepare one data set."""
    settings = protocol.datasets[dataset]
    started = time.monotonic()
    keys = Keys(protocol)
    progress = RunProgress(RunEstimate(keys, []), read_outlook(), f"data@{dataset}")
    with progress.shown():
        card = prepare(
            open_source(settings),
            name=dataset,
            size=settings.size,
            channels=settings.channels,
            split_seed=settings.split_seed,
            on_bad_image=settings.on_bad_image,
            folder=data_folder(dataset),
            on_progress=progress.items,
        )
    note_dataset(keys, dataset)
    counts = ", ".join(f"{split} {count.samples}" for split, count in card.counts.items())
    left_out = f", {len(card.skipped)} left out" if card.skipped else ""
    print(f"data {dataset}: {counts}{left_out} ({time.monotonic() - started:.1f} s)", flush=True)


def open_source(
    settings: PhantomSettings | MedmnistSettings | NihSettings | IdcSettings | EyepacsSettings,
) -> Source:
    """The adapter that the settings name, on the files that they name."""
    # Imported here, so that an adapter's own libraries are needed only where it is used.
    if isinstance(settings, PhantomSettings):
        from imssl.datasets import phantom

        return phantom.source(settings.kind, settings.patients, settings.size, settings.seed)
    if isinstance(settings, MedmnistSettings):
        from imssl.datasets import medmnist

        return medmnist.source(settings.flag, settings.resolution, Path(settings.path))
    if isinstance(settings, NihSettings):
        from imssl.datasets import nih

        return nih.source(Path(settings.path))
    if isinstance(settings, IdcSettings):
        from imssl.datasets import idc

        return idc.source(Path(settings.path), Path(settings.split_file) if settings.split_file else None)
    from imssl.datasets import eyepacs

    return eyepacs.source(Path(settings.path), settings.grading)
