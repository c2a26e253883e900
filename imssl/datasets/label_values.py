"""What the label cells of a table, or the folders of images, mean as classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imssl.datasets.source import BadImage
from imssl.datasets.text import unknown_value

# What a column of 0 and 1 may hold; other spellings are given by label_values.
TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "n": 0, "y": 1}
# A whole number that a spreadsheet or pandas has written as a fraction.
WHOLE = re.compile(r"(-?\d+)\.0+")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class LabelReader:
    """How the label cells of one image are read.

    Attributes:
        multilabel: whether an image can have any number of classes.
        classes: names, in the order of the labels.
        meaning: what other values stand for: a class, or 0 or 1 where each class has a column.
        separator: between several labels in one cell.
        no_finding: the cell that stands for none of the classes.
    """

    multilabel: bool
    classes: Sequence[str]
    meaning: Mapping[str, str]
    separator: str | None = None
    no_finding: str | None = None

    def labels(self, cells: Sequence[str], name: str) -> tuple[int, ...]:
        """The labels of an image: 0 or 1 for each class (multilabel), otherwise one class index.

        Args:
            cells: one, or one for each class.
            name: of the image, for the error.

        Raises:
            BadImage: a cell is empty or has an unknown value, or not exactly one class is marked.
        """
        if len(cells) > 1:
            return self._of_columns(cells, name)
        if self.separator is None:
            return (self._class_index(cells[0], name),)
        return self._of_list(cells[0], name)

    def _of_columns(self, cells: Sequence[str], name: str) -> tuple[int, ...]:
        marks = tuple(
            self._mark(cell, column, name) for cell, column in zip(cells, self.classes, strict=True)
        )
        if self.multilabel:
            return marks
        if sum(marks) != 1:
            raise BadImage(name, f"{sum(marks)} classes are marked instead of one")
        return (marks.index(1),)

    def _mark(self, cell: str, column: str, name: str) -> int:
        value = self.meaning.get(cell, cell)
        mark = TRUTH.get(plain(value).lower())
        if mark is None:
            if not value:
                raise BadImage(name, f"column {column} is empty")
            raise BadImage(name, unknown_value(f"value in column {column}:", value, ["0", "1"]))
        return mark

    def _of_list(self, cell: str, name: str) -> tuple[int, ...]:
        if cell == self.no_finding:
            return (0,) * len(self.classes)
        values = [value.strip() for value in cell.split(self.separator)]
        if self.no_finding in values:
            raise BadImage(name, f"{self.no_finding!r} stands beside other labels")
        present = {self._class_index(value, name) for value in values if value or len(values) == 1}
        return tuple(int(index in present) for index in range(len(self.classes)))

    def _class_index(self, cell: str, name: str) -> int:
        index = self.index_of(cell)
        if index is not None:
            return index
        if not cell:
            raise BadImage(name, "has no label")
        raise BadImage(name, unknown_value("label", cell, self.classes))

    def index_of(self, value: str) -> int | None:
        """Index of the class that a value means; None if it means none."""
        for spelling in (value, plain(value)):
            meant = self.meaning.get(spelling, spelling)
            if meant in self.classes:
                return self.classes.index(meant)
        return None


def plain(value: str) -> str:
    """A value without the ``.0`` that some programs add to whole numbers."""
    match = WHOLE.fullmatch(value)
    return match[1] if match else value


def split_of(value: str, name: str) -> str:
    """``train``, ``val`` or ``test`` for what a table or folder calls them.

    Raises:
        BadImage: the value is none of these.
    """
    split = SPLIT_NAMES.get(value.lower())
    if split is None:
        raise BadImage(
            name, unknown_value("split", value, ["train", "val", "test"]) if value else "has no split"
        )
    return split
