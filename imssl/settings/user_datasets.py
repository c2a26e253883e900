"""Settings of the sources that read a user's own images."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from imssl.settings.datasets import DatasetSettings, FilePath

UserTask = Literal["multilabel", "binary", "multiclass", "ordinal"]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _grade_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Grades may be written as numbers: classes: [0, 1, 2].
ClassName = Annotated[Name, BeforeValidator(_grade_as_text)]

# Columns that every samples.csv has.
RESERVED_COLUMNS = {"id", "patient", "split", "label"}
PATIENT_GROUP = "patient"


class UserDatasetSettings(DatasetSettings):
    """What the sources share that read data of your own.

    Attributes:
        path: folder or zip with the images.
        task: kind of the labels.
        classes: values of the labels as they are written, in the order of the classes: for two classes the
            negative one first, for grades the lowest first.
        label_values: the class that is meant by another value, for example ``{virus: pneumonia}``; where
            there is a column for each class, 0 or 1 by what is written, for example ``{"-1": "1"}``.
        patient_pattern: regular expression with a group ``(?P<patient>...)``, searched for in each image's
            path below ``path``. Its other named groups can be attributes.
        attributes: what else is known of an image and may define subgroups: columns of the table, named
            groups of ``patient_pattern``, or keywords of DICOM such as ``PatientSex``.
        splits: ``official`` uses the train, val and test of the source where it has them; ``drawn`` draws
            them, whatever the source has.
        split_by: what stays together in a drawn split: ``patient``, or one of the attributes and the patient.
        title: what the data set is called in the report; by default the name of its folder.
        description: a sentence or two.
        citation: of the paper to cite.
        licence: terms of use.
        url: where the data set is published.
    """

    path: FilePath
    task: UserTask
    classes: Annotated[list[ClassName], Field(min_length=2)]
    label_values: dict[str, str] = Field(default={})
    patient_pattern: str | None = None
    attributes: list[Name] = Field(default=[])
    splits: Literal["official", "drawn"] = "official"
    split_by: Name = PATIENT_GROUP
    title: str = ""
    description: str = ""
    citation: str = ""
    licence: str = ""
    url: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "UserDatasetSettings":
        # Each message begins with the key to mend.
        _check_names("classes", self.classes, set() if self.task != "multilabel" else RESERVED_COLUMNS)
        taken = RESERVED_COLUMNS | (set(self.classes) if self.task == "multilabel" else set())
        _check_names("attributes", self.attributes, taken)
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError(f"classes has {len(self.classes)} values; a binary task has two")
        if self.patient_pattern is not None:
            _check_pattern(self.patient_pattern)
        if self.split_by not in (PATIENT_GROUP, *self.attributes):
            raise ValueError(
                f"split_by is {self.split_by}; it must be patient, or one of attributes: "
                f"{', '.join(self.attributes) or 'there are none'}"
            )
        return self


class FolderSettings(UserDatasetSettings):
    """Images of your own in one folder a class, with or without folders train, val and test above them."""

    source: Literal["folder"]
    task: Literal["binary", "multiclass", "ordinal"]


class ColumnSettings(UserDatasetSettings):
    """What the sources share that have a row for each image.

    Attributes:
        label_columns: one column with the label, or a column of 0 and 1 for each class, in the order of
            ``classes``.
        separator: between several labels in the one column.
        no_finding: value of the one column that stands for none of the classes.
        patient_column: column with the id of the patient.
        split_column: column with train, val or test.
    """

    label_columns: Annotated[list[Name], Field(min_length=1)]
    separator: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    no_finding: str | None = None
    patient_column: Name | None = None
    split_column: Name | None = None

    @model_validator(mode="after")
    def _columns_fit_the_classes(self) -> "ColumnSettings":
        if len(self.label_columns) > 1 and len(self.label_columns) != len(self.classes):
            raise ValueError(
                f"label_columns has {len(self.label_columns)} columns for {len(self.classes)} classes; give "
                "one column a class, in the same order"
            )
        if len(self.label_columns) == 1 and (self.task == "multilabel") != (self.separator is not None):
            raise ValueError(
                "separator is needed for a multilabel task with one column, and only for that; for example "
                'separator: "|"'
            )
        if len(self.label_columns) > 1 and (self.separator is not None or self.no_finding is not None):
            raise ValueError("label_columns has several columns; remove separator and no_finding")
        if self.no_finding is not None and self.task != "multilabel":
            raise ValueError("no_finding stands for none of the classes, which only a multilabel task has")
        if self.patient_column is not None and self.patient_pattern is not None:
            raise ValueError("patient_pattern and patient_column both say who the patient is; keep one")
        return self


class TableSettings(ColumnSettings):
    """Images of your own and a table with a row for each.

    Attributes:
        table: CSV, TSV, Parquet or Excel file: its name below ``path``, or its path.
        sheet: of an Excel file; by default the first.
        path_column: column with the file of each image: its path below ``path``, its name, or its name
            without the suffix.
    """

    source: Literal["table"]
    table: FilePath
    sheet: Name | None = None
    path_column: Name


class HuggingFaceSettings(ColumnSettings):
    """A data set on disk in a layout of Hugging Face: ``imagefolder``, Parquet, or ``save_to_disk``.

    Attributes:
        image_column: feature that holds the images.
    """

    source: Literal["huggingface"]
    image_column: Name = "image"


def _check_names(key: str, names: list[str], taken: set[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key} has {name!r} twice; give each once")
        if name in taken:
            raise ValueError(
                f"{key} has {name!r}, which is the name of another column of samples.csv; rename it"
            )


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"patient_pattern {pattern!r} is not a regular expression: {error}") from None
    if PATIENT_GROUP not in groups:
        raise ValueError(
            f"patient_pattern {pattern!r} has no group called patient; write (?P<patient>...) around what "
            "identifies the patient"
        )
