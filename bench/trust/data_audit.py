"""The audit of a prepared data set: what its splits hold, and whether they share patients or images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imssl.datasets.near_duplicates import groups_of, near_duplicates
from imssl.datasets.prepared import Prepared
from imssl.datasets.skipped import total
from imssl.datasets.source import SPLITS


@dataclass(frozen=True)
class SplitContent:
    """How much a split holds.

    Attributes:
        split: its name.
        images: number of images.
        patients: number of patients; None if the source has no patient ids.
        per_class: number of images with each class.
    """

    split: str
    images: int
    patients: int | None
    per_class: dict[str, int]


@dataclass(frozen=True)
class Finding:
    """Images that are not independent of one another.

    Attributes:
        kind: ``patient``: one patient in several splits; ``near-identical``: images that are copies of one
            another but for brightness, contrast or compression.
        ids: of the images.
        splits: of the images, in the order of the ids.
        detail: the patient; or the lowest correlation of the pixels by which the images are linked.
        labels_differ: whether the images have different labels.
    """

    kind: Literal["patient", "near-identical"]
    ids: list[str]
    splits: list[str]
    detail: str
    labels_differ: bool

    @property
    def leaks(self) -> bool:
        """Whether the images are in more than one split."""
        return len(set(self.splits)) > 1


@dataclass(frozen=True)
class Audit:
    """What the audit of one data set found.

    Attributes:
        dataset: its id.
        image_shape: height, width and channels of every prepared image.
        contents: one for each split.
        unrepresented: (split, class) pairs without an image.
        skipped: number of images or rows of the source that were left out.
        findings: leaks first.
    """

    dataset: str
    image_shape: tuple[int, int, int]
    contents: list[SplitContent]
    unrepresented: list[tuple[str, str]]
    skipped: int
    findings: list[Finding]

    @property
    def leaks(self) -> list[Finding]:
        """The findings that concern more than one split."""
        return [finding for finding in self.findings if finding.leaks]


def audit(dataset: str, prepared: Prepared, min_correlation: float | None) -> Audit:
    """Audit a prepared data set.

    Args:
        dataset: its id.
        prepared: the data set.
        min_correlation: correlation of the pixels from which two images count as near-identical; None for
            what is unusual in the data set (`imssl.datasets.near_duplicates.unusual_correlation`).
    """
    contents = [_content(prepared, split) for split in SPLITS]
    findings = [*_crossing_patients(prepared), *_near_identical(prepared, min_correlation)]
    return Audit(
        dataset=dataset,
        image_shape=prepared.card.image_shape,
        contents=contents,
        unrepresented=[
            (content.split, name) for content in contents for name, n in content.per_class.items() if n == 0
        ],
        skipped=total(prepared.card.skipped),
        findings=sorted(findings, key=lambda finding: not finding.leaks),
    )


def _content(prepared: Prepared, split: str) -> SplitContent:
    rows = prepared.indices(split)
    labels, classes = prepared.labels()[rows], prepared.card.classes
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(classes))
    patients = prepared.samples["patient"].iloc[rows]
    return SplitContent(
        split=split,
        images=len(rows),
        patients=int(patients.nunique()) if prepared.card.has_patients else None,
        per_class=dict(zip(classes, counts.tolist(), strict=True)),
    )


def _crossing_patients(prepared: Prepared) -> Iterator[Finding]:
    named = prepared.samples[prepared.samples["patient"] != ""]
    for patient, images in named.groupby("patient", sort=True):
        if images["split"].nunique() > 1:
            yield _finding("patient", prepared, images.index.to_numpy(), str(patient))


def _near_identical(prepared: Prepared, min_correlation: float | None) -> Iterator[Finding]:
    duplicates = near_duplicates(prepared.images, min_correlation=min_correlation)
    for group in groups_of(duplicates.pairs):
        lowest = duplicates.correlations[np.isin(duplicates.pairs[:, 0], group)].min()
        yield _finding("near-identical", prepared, np.array(group), f"correlation {lowest:.4f} or more")


def _finding(
    kind: Literal["patient", "near-identical"], prepared: Prepared, rows: np.ndarray, detail: str
) -> Finding:
    samples = prepared.samples.iloc[rows]
    return Finding(
        kind=kind,
        ids=samples["id"].tolist(),
        splits=samples["split"].tolist(),
        detail=detail,
        labels_differ=len(np.unique(prepared.labels()[rows], axis=0)) > 1,
    )
