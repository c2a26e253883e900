"""From a source to the prepared form: read, check, split, count, write."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from imssl.datasets.checks import check_no_split_is_empty, check_patients, check_samples, complaint
from imssl.datasets.images import Fit, to_square
from imssl.datasets.prepared import (
    TEXT_COLUMNS,
    Card,
    SplitCounts,
    discard_images,
    publish,
    writing_images,
)
from imssl.datasets.skipped import by_reason, skipped_table
from imssl.datasets.source import SPLITS, BadImage, RawSample, Source
from imssl.datasets.splits import assign_splits, draw_validation, joined_groups

# Keeps normalisation finite where a channel is constant.
SMALLEST_STD = 1 / 255
NO_PATIENTS = (
    "The source publishes no patient ids: each image counts as a patient of its own, so intervals may be "
    "too narrow, and images of one patient may be in two splits."
)


def prepare(
    source: Source,
    *,
    name: str,
    size: int,
    channels: Literal[1, 3],
    split_seed: int,
    on_bad_image: Literal["error", "skip"],
    folder: Path,
    fit: Fit = "pad",
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> Card:
    """Bring a source into the prepared form.

    The files depend only on the source and the settings: samples are sorted by id, and neither the number of
    threads nor the time changes a byte. Memory is bounded, whatever the number of images.

    Args:
        source: as an adapter lists it.
        name: id of the data set in the protocol.
        size: side of the square images, in pixels.
        channels: 1 for grey, 3 for colour.
        split_seed: of the patient-level split, where the source has no official one.
        on_bad_image: whether unusable images stop the preparation or are left out. Unusable are corrupt or
            missing files, duplicate ids, and images whose pixels equal those of an earlier sample.
        folder: of the prepared data set; it is made if missing.
        fit: how images that are not square become square; see `imssl.datasets.images.to_square`.
        on_progress: called with the number of images read so far and the number of all images.
        threads: that read images; by default one per core, at most 8.

    Returns:
        The card as written.

    Raises:
        UserError: unusable images (with ``error``), a patient in two splits, an empty split, a label out of
            range, or an id that occurs twice.
    """
    samples = sorted(source.samples, key=lambda sample: sample.id)
    check_samples(samples, source, name)
    check_patients(samples, name)
    image_shape = (size, size, channels)
    reading = _Reading(image_shape, bad=list(source.bad))
    try:
        to_image = partial(to_square, size=size, channels=channels, fit=fit)
        read_all = _read_all(source, samples, to_image, threads or min(8, os.cpu_count() or 1))
        with writing_images(folder, image_shape) as append, closing(read_all) as results:
            for done, (sample, result) in enumerate(results, start=1):
                if isinstance(result, BadImage):
                    reading.bad.append((result.name, result.reason))
                elif reading.is_new(sample, result):
                    append(result.image)
                if on_progress:
                    on_progress(done, len(samples))
        if reading.bad and on_bad_image == "error":
            raise complaint(name, reading.bad)
        usable = with_splits(reading.usable, source, split_seed)
        check_patients(usable, name)
        check_no_split_is_empty(usable, name)
        card = _card(source, name, usable, split_seed, reading)
        return publish(folder, _table(usable, source), card, skipped_table(reading.bad, source.unused))
    except BaseException:
        discard_images(folder)
        raise


@dataclass(frozen=True)
class _Image:
    """One image as it is written, and what is needed later when it is no longer in memory.

    Attributes:
        image: (H, W, C) uint8.
        pixels: SHA-256 of the pixels as the source gave them.
        sums: (2, C) int64, sums of values and of squares: exact, so their order does not matter.
    """

    image: np.ndarray
    pixels: str
    sums: np.ndarray


@dataclass
class _Reading:
    """What has been read so far.

    Attributes:
        image_shape: of every image.
        bad: (name, reason) of what cannot be used.
        usable: samples that can be used.
        pixels: their ids by the SHA-256 of their pixels.
        sums: (2, C) int64 of each, in the order of ``usable``.
    """

    image_shape: tuple[int, int, int]
    bad: list[tuple[str, str]]
    usable: list[RawSample] = field(default_factory=list)
    pixels: dict[str, str] = field(default_factory=dict)
    sums: list[np.ndarray] = field(default_factory=list)

    def is_new(self, sample: RawSample, image: _Image) -> bool:
        """Note an image as usable, or as bad if its pixels are those of an earlier one."""
        first = self.pixels.setdefault(image.pixels, sample.id)
        if first != sample.id:
            self.bad.append((sample.id, f"has the same pixels as an earlier image: {first}"))
            return False
        self.usable.append(sample)
        self.sums.append(image.sums)
        return True


def _read_all(
    source: Source, samples: Sequence[RawSample], to_image: Callable[[np.ndarray], np.ndarray], threads: int
) -> Generator[tuple[RawSample, _Image | BadImage], None, None]:
    """Read images in parallel and hand them over in order, with few of them in memory at a time."""
    waiting: deque[tuple[RawSample, Future[_Image | BadImage]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for sample in samples:
            waiting.append((sample, pool.submit(_read, source, sample, to_image)))
            if len(waiting) >= 4 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(
    source: Source, sample: RawSample, to_image: Callable[[np.ndarray], np.ndarray]
) -> _Image | BadImage:
    try:
        pixels = source.read(sample)
    except BadImage as bad:
        return bad
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    image = to_image(pixels)
    values = image.reshape(-1, image.shape[2]).T.astype(np.uint16, order="C")  # 255 squared fits as well
    sums = np.stack([values.sum(axis=1, dtype=np.int64), (values * values).sum(axis=1, dtype=np.int64)])
    return _Image(image, digest.hexdigest(), sums)


def with_splits(samples: list[RawSample], source: Source, seed: int) -> list[RawSample]:
    """Samples with a split each: the official one where there is one, otherwise one drawn by patient.

    Args:
        samples: of the source that can be used.
        source: for its official split, its task, and what stays together.
        seed: of the draw.

    Raises:
        UserError: there are fewer patients, or groups of what stays together, than splits.
    """
    official = {sample.split for sample in source.samples}
    if not samples or "val" in official:
        return samples
    together = f"groups of {source.split_by} and patient" if source.split_by else "patients"
    if official == {""}:
        groups, labels = _kept_together(samples), _labels(samples, source)
        drawn = assign_splits(groups, labels, source.task, seed, unit=together)
        return [replace(sample, split=str(split)) for sample, split in zip(samples, drawn, strict=True)]
    training = [sample for sample in samples if sample.split == "train"]
    groups, labels = _kept_together(training), _labels(training, source)
    drawn = draw_validation(groups, labels, source.task, seed, unit=together)
    split_of = {sample.id: str(split) for sample, split in zip(training, drawn, strict=True)}
    return [replace(sample, split=split_of.get(sample.id, sample.split)) for sample in samples]


def _split_origin(source: Source, seed: int) -> str:
    official = {sample.split for sample in source.samples}
    if "val" in official:
        return source.split_origin
    unit = f"patient and {source.split_by}" if source.split_by else "patient"
    drawn = f"drawn by {unit}, stratified by label, seed {seed}"
    if official == {""}:
        return f"No official split: 70% training, 10% validation, 20% test, {drawn}."
    return f"{source.split_origin} Validation: 1/8 of the official training patients, {drawn}."


def _kept_together(samples: Sequence[RawSample]) -> list[str]:
    # The prefix keeps the ids of images without a patient distinct from the ids of patients.
    patients = [sample.patient or f"image {sample.id}" for sample in samples]
    return joined_groups(patients, [sample.kept_with for sample in samples])


def _labels(samples: Sequence[RawSample], source: Source) -> np.ndarray:
    labels = np.array([sample.labels for sample in samples], dtype=np.int64)
    return labels if source.task == "multilabel" else labels[:, 0]


def _table(samples: Sequence[RawSample], source: Source) -> pd.DataFrame:
    text = pd.DataFrame(
        [
            (s.id, s.patient, s.split, *(s.attributes.get(name, "") for name in source.attributes))
            for s in samples
        ],
        columns=[*TEXT_COLUMNS, *source.attributes],
    )
    columns = list(source.classes) if source.task == "multilabel" else ["label"]
    return pd.concat([text, pd.DataFrame([s.labels for s in samples], columns=columns)], axis=1)


def _card(source: Source, name: str, samples: list[RawSample], split_seed: int, reading: _Reading) -> Card:
    has_patients = all(sample.patient for sample in samples)
    training = np.array([sample.split == "train" for sample in samples])
    image_shape = reading.image_shape
    mean, std = _moments(np.stack(reading.sums)[training], image_shape[0] * image_shape[1])
    # One checksum over the pixels of all images as read, so that the card proves which images were used.
    lines = sorted(f"{id} {pixels}\n" for pixels, id in reading.pixels.items())
    pixels = hashlib.sha256("".join(lines).encode()).hexdigest()
    return Card(
        name=name,
        synthetic=source.synthetic,
        task=source.task,
        classes=list(source.classes),
        primary_metric=source.primary_metric,
        source=source.origin,
        description=source.description,
        url=source.url,
        licence=source.licence,
        citation=source.citation,
        image_shape=image_shape,
        has_patients=has_patients,
        patients_note="" if has_patients else NO_PATIENTS,
        split_origin=_split_origin(source, split_seed),
        attributes=list(source.attributes),
        warnings=list(source.warnings),
        counts={split: _counts(samples, split, source, has_patients) for split in SPLITS},
        skipped=by_reason(reading.bad),
        unused=by_reason(source.unused),
        channel_mean=mean,
        channel_std=std,
        inputs={**source.inputs, "pixels of all images": pixels},
        checksums={},
    )


def _counts(all_samples: Sequence[RawSample], split: str, source: Source, has_patients: bool) -> SplitCounts:
    samples = [sample for sample in all_samples if sample.split == split]
    labels = _labels(samples, source)
    if source.task == "multilabel":
        per_class = labels.sum(axis=0)
    else:
        per_class = np.bincount(labels, minlength=len(source.classes))
    return SplitCounts(
        samples=len(samples),
        patients=len({sample.patient for sample in samples}) if has_patients else None,
        per_class=dict(zip(source.classes, per_class.tolist(), strict=True)),
    )


def _moments(sums: np.ndarray, pixels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel in [0, 1], from (N, 2, C) exact sums."""
    total, squares = sums.sum(axis=0) / (len(sums) * pixels)
    std = np.sqrt(np.maximum(squares - total**2, 0)) / 255
    return (total / 255).tolist(), np.maximum(std, SMALLEST_STD).tolist()
