"""How many labels a model may use."""

from dataclasses import dataclass
from typing import Literal

# Of a set of labels: as large a share of the validation images as of the training images, or all of them.
ValidationLabels = Literal["same share", "all"]


@dataclass(frozen=True)
class LabelSet:
    """How many labels a model may use: a share of the training images, or some images of each class.

    Exactly one of the two is given.

    Attributes:
        fraction: share of the labelled training images, in (0, 1].
        per_class: k of k-shot: training images with each class, at least 1.
    """

    fraction: float | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.per_class is None):
            raise ValueError(f"a label set is a fraction or a number per class, not {self}")

    @property
    def name(self) -> str:
        """What tables and charts call it: ``1%``, ``5 per class``."""
        return f"{self.per_class} per class" if self.fraction is None else f"{100 * self.fraction:g}%"

    @property
    def folder(self) -> str:
        """Its part of a folder's name: ``fraction-0.01``, ``per-class-5``."""
        return f"per-class-{self.per_class}" if self.fraction is None else f"fraction-{self.fraction:g}"

    @property
    def is_everything(self) -> bool:
        """Whether no label is left out."""
        return self.fraction == 1
