"""Published data sets among a user's files, read as their owners publish them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.adding.looking import Appearance, evenly_spread, is_coloured
from bench.datasets.adding.proposal import MOST_COMPARED, THREADS, Seen, copies_among
from bench.datasets.adding.recognised import PUBLISHED
from bench.methods.params_rows import as_written
from bench.protocol.nearest_name import did_you_mean
from imssl.datasets import medmnist
from imssl.datasets.files import located
from imssl.datasets.source import BadImage, RawSample, Source
from imssl.errors import UserError

MEDMNIST_FILE = re.compile(r"(?P<flag>[a-z0-9]+)(?:_(?P<resolution>64|128|224))?\.npz")
# Tissue and a retina may be turned upside down, a chest may not.
UPSIDE_DOWN = ("idc", "eyepacs")
GRADINGS = {"binary": "binary", "ordinal": "five"}
# What may be said of each, besides what may be said of every data set.
OF_FILES = ("window", "follow_links")
HEEDED = {
    "nih": OF_FILES,
    "idc": ("table", *OF_FILES),
    "eyepacs": ("task", *OF_FILES),
    "kermany": OF_FILES,
    "medmnist": (),
}


def is_medmnist(path: Path) -> bool:
    """Whether a path is that of a file of MedMNIST, or of another that only it could be."""
    return path.suffix == ".npz"


def published_row(source: str, path: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that read a published data set.

    Args:
        source: of `PUBLISHED`.
        path: of the folder, the zip, or MedMNIST's file.
        said: options of the command by name; empty or None where nothing was said. Labels, patients and
            splits are the owners'; but EyePACS has two tasks, and a table may say how IDC is split.

    Returns:
        Keys of params.yaml; of those of the images only what the source decides.

    Raises:
        UserError: there is no such source, or something was said that it does not heed.
    """
    if source not in PUBLISHED:
        raise UserError(
            f"--source {source}: there are {', '.join(PUBLISHED)}.{did_you_mean(source, PUBLISHED)} Leave it "
            "out for images of your own."
        )
    heeded = HEEDED[source]
    _refuse_unheeded(source, [name for name, value in said.items() if value and name not in heeded])
    if source == "medmnist":
        return _medmnist_row(path)
    row: dict[str, Any] = {"source": source, "path": as_written(path)}
    if source == "idc" and said["table"]:
        row["split_file"] = as_written(located(said["table"]))
    if source == "eyepacs":
        row["grading"] = _grading(said["task"])
    return row | {"vertical_flip": source in UPSIDE_DOWN}


def _refuse_unheeded(source: str, names: Sequence[str]) -> None:
    # What may be given several times is kept under a plural.
    singular = {"label_columns": "label-column", "label_values": "label-value"}
    options = [f"--{singular.get(name, name.replace('_', '-'))}" for name in names]
    if options:
        raise UserError(
            f"{PUBLISHED[source]} is read as its owners publish it; leave out {', '.join(options)}."
        )


def _grading(task: str | None) -> str:
    if task not in GRADINGS:
        raise UserError(
            f"{PUBLISHED['eyepacs']} has two tasks: referable retinopathy (--task binary), or the five "
            "grades (--task ordinal)."
        )
    return GRADINGS[task]


def _medmnist_row(file: Path) -> dict[str, Any]:
    match = MEDMNIST_FILE.fullmatch(file.name)
    if match is None or not file.is_file():
        raise UserError(
            f"{file} is no file of MedMNIST. Give the file itself, under the name it is published by, such "
            "as retinamnist.npz or retinamnist_64.npz; images of your own are read from folders and tables."
        )
    flag: str = match["flag"]
    resolution: Any = int(match["resolution"] or 28)
    try:
        medmnist.published_file(flag, resolution, file.parent)
    except UserError as error:
        raise UserError(f"{file}: {error} Images of your own are read from folders and tables.") from None
    return {
        "source": "medmnist",
        "flag": flag,
        "resolution": resolution,
        "path": as_written(file.parent),
        "size": resolution,
    }


def looked_through(source: Source, on_seen: Callable[[Seen], None] | None) -> tuple[Source, Seen]:
    """Look at the images of a published data set, as it is read, and report what was seen.

    Args:
        source: as its adapter lists it.
        on_seen: called with what was seen.

    Returns:
        The source, without the images that cannot be decoded, which are among its bad ones then; and what was
        seen of the others. Copies are samples with the pixels of an earlier one.
    """
    samples = sorted(source.samples, key=lambda sample: sample.id)
    is_compared = len(samples) <= MOST_COMPARED
    with ThreadPoolExecutor(THREADS) as pool:
        chosen = samples if is_compared else evenly_spread(samples)
        glances = list(pool.map(partial(_glance, source), chosen))
    sizes, modes = Counter[tuple[int, int]](), Counter[str]()
    digests: dict[str, bytes] = {}
    bad: dict[str, tuple[str, str]] = {}
    for sample, glance in zip(chosen, glances, strict=True):
        if isinstance(glance, BadImage):
            bad[sample.id] = glance.name, glance.reason
            continue
        size, mode, digests[sample.id] = glance
        sizes[size] += 1
        modes[mode] += 1
    look = Appearance(sizes.total(), sizes.most_common(), dict(modes), set(modes) == {"grey"}, None, [])
    seen = Seen(len(samples), look, copies_among(digests.items()) if is_compared else None)
    if on_seen is not None:
        on_seen(seen)
    readable = [sample for sample in samples if sample.id not in bad]
    return replace(source, samples=readable, bad=[*source.bad, *bad.values()]), seen


def _glance(source: Source, sample: RawSample) -> tuple[tuple[int, int], str, bytes] | BadImage:
    """Width and height, mode, and a checksum of the pixels of an image."""
    try:
        pixels = source.read(sample)
    except BadImage as bad:
        return bad
    digest = sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).digest()
    return (pixels.shape[1], pixels.shape[0]), "colour" if is_coloured(pixels) else "grey", digest
