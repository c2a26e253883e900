"""What was seen of a user's images, and the row of params.yaml that is proposed for them."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.datasets.adding.looking import Appearance, appearance
from imssl.datasets.checks import check_no_split_is_empty, check_patients, complaint
from imssl.datasets.prepare import with_splits
from imssl.datasets.skipped import Skipped, by_reason
from imssl.datasets.source import SPLITS, BadImage, RawSample, Source
from imssl.errors import UserError

# Of more images than these, copies are not looked for: reading every file may take hours.
MOST_COMPARED = 20_000
THREADS = 4
EXAMPLES = 3


@dataclass(frozen=True)
class Seen:
    """What lies there, whatever the labels turn out to be.

    Attributes:
        images: their number.
        look: sizes and modes.
        copies: files with the same content as an earlier one, which is named with each; None if they were
            not looked for.
    """

    images: int
    look: Appearance
    copies: dict[str, str] | None


@dataclass(frozen=True)
class Proposal:
    """A row of ``datasets`` and what was seen of the images; as JSON, an object with these keys.

    Attributes:
        name: id of the data set.
        row: keys and values for params.yaml.
        task: kind of the labels.
        images: that can be used, as far as they were looked at: neither unreadable nor copies.
        sizes: width, height, and number of images of each size, the most frequent first.
        modes: number of images that are grey, colour or DICOM.
        looked_at: number of images by which sizes and modes were found.
        classes: images with each class.
        patients: their number; None if they are not known.
        patient_examples: patients of some images, from the first name to the last.
        images_per_patient: fewest and most; None if patients are not known.
        splits: images of each official split; empty if there is none.
        attributes: what else is known of each image, such as sex.
        copies: files with the same content as another; None if they were not looked for.
        unusable: images and rows that cannot be used, by reason.
        unused: files that are no part of the data set, by reason.
        warnings: what to look at before using the images.
        problem: why it cannot be entered so, with the option that settles it; empty if it can.
    """

    name: str
    row: dict[str, Any]
    task: str
    images: int
    sizes: list[tuple[int, int, int]]
    modes: dict[str, int]
    looked_at: int
    classes: dict[str, int]
    patients: int | None
    patient_examples: dict[str, str]
    images_per_patient: tuple[int, int] | None
    splits: dict[str, int]
    attributes: list[str]
    copies: int | None
    unusable: list[dict[str, Any]]
    unused: list[dict[str, Any]]
    warnings: list[str]
    problem: str


def seen_of(
    names: Sequence[str], read: Callable[[str], bytes], on_seen: Callable[[Seen], None] | None
) -> Seen:
    """Look at images, and report what was seen.

    Args:
        names: of the images.
        read: content of an image by its name; raises BadImage.
        on_seen: called with what was seen.
    """
    seen = Seen(len(names), appearance(names, read), _copies(names, read))
    if on_seen is not None:
        on_seen(seen)
    return seen


def _copies(names: Sequence[str], read: Callable[[str], bytes]) -> dict[str, str] | None:
    """The files with the content of an earlier one; None if there are too many files to read them all."""
    if len(names) > MOST_COMPARED:
        return None
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda name: _digest(name, read), names)
        return copies_among((name, digest) for name, digest in zip(names, digests, strict=True) if digest)


def copies_among(digests: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The images with the content of an earlier one, which is named with each.

    Args:
        digests: name and checksum of each.
    """
    first: dict[bytes, str] = {}
    originals = [(name, first.setdefault(digest, name)) for name, digest in digests]
    return {name: original for name, original in originals if name != original}


def _digest(name: str, read: Callable[[str], bytes]) -> bytes:
    try:
        return hashlib.sha256(read(name)).digest()
    except BadImage:
        return b""  # reported as unreadable


def proposal_of(
    name: str, row: dict[str, Any], source: Source, seen: Seen, warnings: Sequence[str] = ()
) -> Proposal:
    """The proposal of a row.

    Args:
        name: id of the data set.
        row: keys and values for params.yaml.
        source: as the row has it read.
        seen: of its images.
        warnings: besides those of the source.

    Raises:
        UserError: no image can be used.
    """
    look = seen.look
    unusable = [*source.bad, *look.unreadable]
    samples = _usable(source, seen)
    if not samples:
        raise complaint(name, unusable)
    labels = np.array([sample.labels for sample in samples])
    counts = (
        labels.sum(axis=0)
        if source.task == "multilabel"
        else np.bincount(labels[:, 0], minlength=len(source.classes))
    )
    has_patients = all(sample.patient for sample in samples)
    splits = Counter(sample.split for sample in samples)
    patients = Counter(sample.patient for sample in samples)
    spread = samples[:: max(1, (len(samples) - 1) // (EXAMPLES - 1))][:EXAMPLES]
    classes = dict(zip(source.classes, counts.tolist(), strict=True))
    empty = [label for label, count in classes.items() if not count]
    if empty:
        warnings = [*warnings, _of_empty_classes(empty)]
    return Proposal(
        name=name,
        row=row,
        task=source.task,
        images=len(samples),
        sizes=[(*size, count) for size, count in look.sizes[:5]],
        modes=look.modes,
        looked_at=look.decoded,
        classes=classes,
        patients=len(patients) if has_patients else None,
        patient_examples={sample.id: sample.patient for sample in spread} if has_patients else {},
        images_per_patient=(min(patients.values()), max(patients.values())) if has_patients else None,
        splits={split: splits[split] for split in SPLITS if splits[split]},
        attributes=list(source.attributes),
        copies=None if seen.copies is None else len(seen.copies),
        unusable=_as_json(by_reason(list(dict.fromkeys(unusable)))),
        unused=_as_json(by_reason(source.unused)),
        warnings=[*warnings, *source.warnings],
        problem=_problem(name, row, source, samples, is_faulty=bool(unusable or seen.copies)),
    )


def _usable(source: Source, seen: Seen) -> list[RawSample]:
    """The samples without those that cannot be decoded, and without all but the first of equal ones."""
    unreadable = {name for name, _ in seen.look.unreadable}
    readable = {sample.id: sample for sample in source.samples if sample.id not in unreadable}
    copies = seen.copies or {}
    return [sample for sample in readable.values() if copies.get(sample.id) not in readable]


def _of_empty_classes(empty: Sequence[str]) -> str:
    named = f"the class {empty[0]}" if len(empty) == 1 else f"the classes {', '.join(empty)}"
    return (
        f"No usable image has {named}, which can be neither learned nor measured. See what cannot be used, "
        "and whether a label is spelt in another way (--label-value); or leave it out (--classes)."
    )


def _problem(name: str, row: dict[str, Any], source: Source, usable: list[RawSample], is_faulty: bool) -> str:
    """Why a data set cannot be entered so, or the stage ``data`` would refuse it; empty if it can."""
    try:
        check_patients(source.samples, name)
    except UserError as error:
        return f"{error}\nOr have the split drawn by patient: --splits drawn"
    if is_faulty and row["on_bad_image"] != "skip":
        return (
            f"{name}: some images or rows cannot be used, or are copies, so nothing was written. Mend them, "
            "or leave them out and have them listed: --on-bad-image skip"
        )
    try:
        check_no_split_is_empty(with_splits(usable, source, row["split_seed"]), name)
    except UserError as error:
        way_out = "\nOr draw the split by patient alone, without --split-by." if source.split_by else ""
        return f"{name}: {str(error).removeprefix(f'{name}: ')}{way_out}"
    return ""


def _as_json(skipped: Sequence[Skipped]) -> list[dict[str, Any]]:
    return [entry.model_dump(mode="json") for entry in skipped]
