"""How many labels a model may use."""

from dataclasses import dataclass
from typing import Literal

# Of a set of labels: as large a share of the validation images as of the training images, or all of them.
ValidationLabels = Literal["same share", "all"]


@dataclass(frozen=True)
class LabelSet:
    """How many labels a model may use: a share of the training images, or some images of each class.

    Exactly one of the two is given. Sets sort by kind, k-shot first, and by size: the last of a list with all
    labels in it is that one.

    Attributes:
        fraction: share of the labelled training images, in (0, 1].
        per_class: k of k-shot: training images with each class, at least 1.
    """

    fraction: float | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.per_class is None):
            raise ValueError(f"a label set is a fraction or a number per class, not {self!r}")

    def __lt__(self, other: "LabelSet") -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[float, float]:
        return (self.fraction or 0, self.per_class or 0)

    @property
    def id(self) -> str:
        """Its name in files and addresses: ``0.01``, ``5-per-class``."""
        return f"{self.per_class}-per-class" if self.fraction is None else f"{self.fraction:g}"

    @property
    def name(self) -> str:
        """What tables and charts call it: ``1%``, ``5 per class``."""
        return f"{self.per_class} per class" if self.fraction is None else f"{100 * self.fraction:g}%"

    @property
    def words(self) -> str:
        """What a sentence calls it: ``1% of the labels``, ``5 labels per class``, ``1 label per class``."""
        if self.fraction is not None:
            return f"{self.name} of the labels"
        return f"{self.per_class} label{'' if self.per_class == 1 else 's'} per class"

    @property
    def folder(self) -> str:
        """Its part of a folder's name: ``fraction-0.01``, ``per-class-5``."""
        return f"per-class-{self.per_class}" if self.fraction is None else f"fraction-{self.fraction:g}"

    @property
    def is_everything(self) -> bool:
        """Whether no label is left out."""
        return self.fraction == 1


EVERYTHING = LabelSet(fraction=1.0)
