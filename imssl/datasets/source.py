"""What an adapter returns: the samples of a data set as its owners publish them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from imssl.errors import UserError
from imssl.task import Task

PrimaryMetric = Literal["macro_auroc", "auroc", "qwk"]

SPLITS = ("train", "val", "test")
PRIMARY_METRICS: Mapping[Task, PrimaryMetric] = {
    "multilabel": "macro_auroc",
    "multiclass": "macro_auroc",
    "binary": "auroc",
    "ordinal": "qwk",
}


class BadImage(Exception):
    """An image that cannot be used.

    Attributes:
        name: of the file or sample.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class NotThere(UserError):
    """Nothing lies where the files of a data set should."""


@dataclass(frozen=True, slots=True)
class RawSample:
    """One image of a source, before it is read.

    Attributes:
        id: unique in the source.
        patient: id of the patient; empty where the source has none.
        split: ``train``, ``val`` or ``test``; empty where the source has no official split.
        labels: 0 or 1 for each class for a multilabel task; otherwise one class index.
        attributes: what else is known of the image, by name, for example sex, age or view; empty text where
            the source does not say.
        kept_with: what stays in one part of a drawn split besides the patient, for example a site; empty if
            nothing does.
    """

    id: str
    patient: str
    split: str
    labels: tuple[int, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    kept_with: str = ""


@dataclass(frozen=True)
class Source:
    """A data set as its owners publish it.

    If the samples have the splits ``train`` and ``test`` only, validation is drawn from ``train``; if they
    have none, all three are drawn.

    Attributes:
        origin: what the data set is called by its owners.
        task: kind of the labels.
        classes: names, in the order of the labels.
        description: a sentence or two.
        citation: of the paper that the owners ask to cite.
        licence: terms of use.
        url: where the data set is published.
        samples: in any order.
        read: pixels of a sample, (H, W) or (H, W, 3) uint8; called from several threads. Raises BadImage.
        split_origin: a sentence on where the official split comes from; empty where there is none.
        synthetic: whether the images are procedural.
        bad: (name, reason) of what belongs to the data set and cannot be used. Of a reason such as
            ``duplicate id: a.png has the same name``, the part before the colon is counted.
        unused: (name, reason) of what lies in the source and is no part of the data set.
        inputs: SHA-256 of the tables, lists and archives that were read, by name.
        attributes: names of the attributes that every sample has, in the order of their columns.
        split_by: name of what ``kept_with`` holds; empty if nothing.
        warnings: what a person should look at before the images are used, a sentence each.
    """

    origin: str
    task: Task
    classes: Sequence[str]
    description: str
    citation: str
    licence: str
    url: str
    samples: Sequence[RawSample]
    read: Callable[[RawSample], np.ndarray]
    split_origin: str = ""
    synthetic: bool = False
    bad: Sequence[tuple[str, str]] = ()
    unused: Sequence[tuple[str, str]] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    attributes: Sequence[str] = ()
    split_by: str = ""
    warnings: Sequence[str] = ()

    @property
    def primary_metric(self) -> PrimaryMetric:
        """The metric by which the task is judged."""
        return PRIMARY_METRICS[self.task]
