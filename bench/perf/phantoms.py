"""Phantom data sets for the benchmarks."""

from pathlib import Path

from imssl.datasets.phantom import Kind, source
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import Prepared, read_prepared


def phantom_set(kind: Kind, patients: int, size: int, folder: Path) -> Prepared:
    """A prepared phantom data set; it is made if it is not there yet.

    Args:
        kind: what the images resemble; chest is grey, the others are in colour.
        patients: number of patients, with about four images each.
        size: side of the images, in pixels.
        folder: where data sets are kept, each in a folder of its own.
    """
    target = folder / f"{kind}-{patients}-{size}"
    if not target.exists():
        prepare(
            source(kind, patients, size, seed=0),
            name=target.name,
            size=size,
            channels=1 if kind == "chest" else 3,
            split_seed=0,
            on_bad_image="error",
            folder=target,
        )
    return read_prepared(target)
