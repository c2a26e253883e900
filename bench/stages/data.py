"""Stage ``data``: one source, whatever its layout, becomes the prepared form."""

import time
from dataclasses import replace

from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.datasets.manifest import CARD_KEY, keep, manifest_of
from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import note_dataset, read_outlook
from bench.forecast.progress import RunProgress
from bench.protocol.protocol import Protocol
from imssl.datasets.prepare import prepare
from imssl.datasets.skipped import SKIPPED_FILE, total
from imssl.datasets.source import NotThere, Source
from imssl.datasets.sources import open_source
from imssl.errors import UserError
from imssl.settings.sources import AnyDataset


def run(dataset: str, protocol: Protocol) -> None:
    """Prepare one data set."""
    settings = protocol.datasets[dataset]
    started = time.monotonic()
    keys = Keys(protocol)
    progress = RunProgress(RunEstimate(keys, []), read_outlook(), f"data@{dataset}")
    manifest = manifest_of(settings)
    source = _opened(dataset, settings)
    if manifest is not None:
        keep(manifest)
        source = replace(source, inputs={**source.inputs, CARD_KEY: manifest.sha256})
    with progress.shown():
        card = prepare(
            source,
            name=dataset,
            size=settings.size,
            channels=settings.channels,
            split_seed=settings.split_seed,
            on_bad_image=settings.on_bad_image,
            fit=settings.fit,
            folder=data_folder(dataset),
            on_progress=progress.items,
        )
    note_dataset(keys, dataset)
    counts = ", ".join(f"{split} {count.samples}" for split, count in card.counts.items())
    left_out = f", {total(card.skipped):,} left out" if card.skipped else ""
    if card.unused:
        left_out += f", {total(card.unused):,} files beside the data set"
    if left_out:
        left_out += f" (listed in {data_folder(dataset) / SKIPPED_FILE})"
    for warning in card.warnings:
        print(f"data {dataset}: {warning}", flush=True)
    print(f"data {dataset}: {counts}{left_out} ({time.monotonic() - started:.1f} s)", flush=True)


def _opened(dataset: str, settings: AnyDataset) -> Source:
    try:
        return open_source(settings)
    except NotThere as error:
        raise UserError(f"{error}\nOr have it downloaded with: bench download {dataset}") from None
