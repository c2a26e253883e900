"""What a row of ``datasets`` should say of a user's images; what is not clear is asked for."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.datasets.adding.looking import Appearance
from bench.datasets.adding.recognised import MOSTLY
from bench.datasets.adding.tables import LabelTable
from imssl.datasets.label_values import SPLIT_NAMES, TRUTH, plain
from imssl.datasets.user_images import UserImages
from imssl.errors import UserError

MOST_CLASSES = 100
# Of greys that are stored in 16 bits.
DEPTHS = (8, 10, 12, 14, 16)
SIDES = (224, 128, 64, 32, 16, 8)
# The words that a column's name has without its signs and capitals.
LABELS = (
    *("label", "labels", "class", "dx", "diagnosis", "target", "finding", "findings", "findinglabels"),
    *("grade", "category"),
)
PATIENTS = ("patientid", "patient", "subjectid", "subject", "personid", "participantid", "lesionid", "caseid")
SPLITS = ("split", "subset", "partition", "set", "fold")
ATTRIBUTES = (
    *("sex", "gender", "patientsex", "patientgender", "age", "patientage", "view", "viewposition", "site"),
    *("hospital", "centre", "center", "laterality", "eye", "scanner"),
)
NEGATIVE = ("0", "no", "normal", "negative", "benign", "healthy", "false", "none", "absent", "control")
NO_FINDING = ("no finding", "no findings", "none", "normal", "")


@dataclass(frozen=True)
class Options:
    """What the user has said; empty or None where not. The names are those of the keys in params.yaml."""

    task: str | None = None
    classes: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    separator: str | None = None
    no_finding: str | None = None
    label_values: tuple[tuple[str, str], ...] = ()
    path_column: str | None = None
    image_column: str | None = None
    patient_column: str | None = None
    patient_pattern: str | None = None
    split_column: str | None = None
    splits: str | None = None
    split_by: str | None = None
    attributes: tuple[str, ...] = ()


def folder_settings(images: UserImages, options: Options) -> dict[str, Any]:
    """Keys of the source ``folder``.

    Raises:
        UserError: the folders do not say what the classes are.
    """
    classes = list(options.classes) or ordered(_class_folders(images), options.task)
    return {
        "source": "folder",
        "task": options.task or task_of(classes),
        "classes": classes,
        **_common(options, options.attributes),
    }


def _class_folders(images: UserImages) -> list[str]:
    """Names of the folders that stand for classes: the level with the fewest names of its own."""
    folders = [name.split("/")[:-1] for name in images.names]
    depth = max(map(len, folders))
    levels = [Counter(path[level] for path in folders if len(path) > level) for level in range(depth)]
    # A few images may lie astray; they are told as unusable later.
    levels = [level for level in levels if level.total() >= MOSTLY * len(folders)]
    levels = [level for level in levels if not all(name.lower() in SPLIT_NAMES for name in level)]
    several = [level for level in levels if 2 <= len(level) <= MOST_CLASSES]
    if not several:
        shown = ", ".join(sorted({"/".join(path) or "(none)" for path in folders})[:6])
        raise UserError(
            f"{images.files.path}: what the classes are is not clear. No level of folders above the images "
            f"has 2 to {MOST_CLASSES} names; the folders are: {shown}. Put the images of each class into a "
            "folder of its own, give a table (--table FILE --label-column NAME), or name the folders: "
            "--classes A,B"
        )
    smallest = min(several, key=len)
    rivals = [level for level in several if len(level) == len(smallest)]
    if len(rivals) > 1:
        listed = " or ".join(", ".join(sorted(level)) for level in rivals)
        raise UserError(f"{images.files.path}: which folders are the classes? {listed}: give --classes A,B")
    return sorted(smallest)


def column_settings(
    rows: LabelTable, options: Options, path: str, is_sequence: bool = False
) -> dict[str, Any]:
    """Keys of the sources with a row for each image, but ``source`` and what names the images.

    Args:
        rows: the table.
        options: what the user has said.
        path: as the user has given it, for the command that an error proposes.
        is_sequence: whether the label column holds lists, joined by ``|``.

    Raises:
        UserError: the table does not say which column holds the labels.
    """
    table, names = rows.rows, list(map(str, rows.rows.columns))
    for column in (*options.label_columns, options.patient_column, options.split_column):
        if column and column not in names:
            raise UserError(f"{rows.name} has no column {column}; it has {', '.join(names)}.")
    labels = list(options.label_columns) or _label_columns(rows, options, path)
    keys: dict[str, Any] = {}
    task: str | None
    if len(labels) > 1:
        marked = table[labels].apply(
            lambda column: column.map(lambda cell: TRUTH.get(plain(cell).lower(), 0))
        )
        one_each = bool((marked.sum(axis=1) == 1).all())
        classes = list(options.classes) or labels
        task = options.task or ("multiclass" if one_each else "multilabel")
    else:
        separator = options.separator or ("|" if is_sequence else _separator(table[labels[0]], options.task))
        values = _values(table[labels[0]], separator)
        task, classes = options.task, list(options.classes)
        if separator:
            no_finding = options.no_finding if options.no_finding is not None else _no_finding(values)
            keys["separator"] = separator
            if no_finding is not None:
                keys["no_finding"] = no_finding
            values = [value for value in values if value != no_finding]
            task = task or "multilabel"
        meant = dict(options.label_values)
        values = [value for value in dict.fromkeys(meant.get(value, value) for value in values) if value]
        classes = classes or ordered(values, task)
        task = task or task_of(classes)
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"{rows.name}: column {', '.join(labels)} has {len(classes)} different values, which are no "
            "classes. Name another with --label-column, or the classes with --classes A,B"
        )
    patient = options.patient_column or ("" if options.patient_pattern else _named(names, PATIENTS))
    split = options.split_column or _split_column(rows)
    keys = {"task": task, "classes": classes, "label_columns": labels, **keys}
    if patient:
        keys["patient_column"] = patient
    if split:
        keys["split_column"] = split
    taken = {*labels, patient, split}
    noticed = [name for name in names if _key(name) in ATTRIBUTES and name not in taken]
    return keys | _common(options, options.attributes or tuple(noticed))


def _common(options: Options, attributes: Sequence[str]) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "label_values": dict(options.label_values),
        "patient_pattern": options.patient_pattern,
        "attributes": list(attributes),
        "splits": options.splits,
        "split_by": options.split_by,
    }
    if options.split_by not in (None, "patient", *attributes):
        keys["attributes"] = [*attributes, options.split_by]
    return {key: value for key, value in keys.items() if value}


def _label_columns(rows: LabelTable, options: Options, path: str) -> list[str]:
    """The column with the label, or those of 0 and 1 for each class where nothing else can be a label."""
    names = list(map(str, rows.rows.columns))
    candidates = [name for name in names if _key(name) in LABELS]
    if len(candidates) == 1:
        return candidates
    said = {rows.path_column, options.path_column, options.patient_column, options.split_column}
    said |= {*options.attributes, options.split_by, _named(names, PATIENTS), _split_column(rows)}
    rest = [name for name in names if name not in said and _key(name) not in ATTRIBUTES]
    marks = [name for name in rest if all(plain(cell).lower() in TRUTH for cell in rows.rows[name])]
    if marks == rest and len(marks) > 1:
        return marks
    command = ""
    if len(marks) > 1:
        each = [part for name in marks for part in ("--label-column", name)]
        command = (
            "\nThose of 0 and 1, if they are the classes (with your other options): "
            f"{shlex.join(['bench', 'add-dataset', path, *each])}"
        )
    listed = "\n".join(
        f"  {name}: {rows.rows[name].nunique()} values, such as {', '.join(rows.rows[name].unique()[:3])}"
        for name in map(str, rows.rows.columns)
        if name != rows.path_column
    )
    raise UserError(
        f"{rows.name}: which column holds the labels is not clear. Name it with --label-column, once for "
        f"each column if every class has one. The columns:\n{listed}{command}"
    )


def _separator(cells: Iterable[str], task: str | None) -> str | None:
    """What separates several labels in a cell; None if every cell is one label."""
    unique = set(cells)
    for separator in ("|", ";", ","):
        if not any(separator in cell for cell in unique):
            continue
        parts = {part.strip() for cell in unique for part in cell.split(separator)}
        # Labels occur on their own as well; a comma inside a label makes parts that do not.
        if task == "multilabel" or len(parts & unique) * 2 > len(parts):
            return separator
    return None


def _values(cells: Iterable[str], separator: str | None) -> list[str]:
    unique = sorted(set(cells))
    parts = (
        unique if separator is None else [part.strip() for cell in unique for part in cell.split(separator)]
    )
    return list(dict.fromkeys(plain(part) for part in parts))


def _no_finding(values: Sequence[str]) -> str | None:
    return next((value for value in values if value.lower().replace("_", " ") in NO_FINDING), None)


def _split_column(rows: LabelTable) -> str:
    name = _named(list(map(str, rows.rows.columns)), SPLITS)
    return name if name and all(cell.lower() in SPLIT_NAMES for cell in rows.rows[name]) else ""


def _named(names: Sequence[str], wanted: Sequence[str]) -> str:
    by_key = {_key(name): name for name in reversed(names)}
    return next((by_key[key] for key in wanted if key in by_key), "")


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def ordered(values: Sequence[str], task: str | None) -> list[str]:
    """Classes in order: numbers by size; of two, the one that denies first; otherwise by the alphabet."""
    if all(re.fullmatch(r"-?\d+", value) for value in values):
        return sorted(values, key=int)
    return sorted(values, key=lambda value: (len(values) == 2 and value.lower() not in NEGATIVE, value))


def task_of(classes: Sequence[str]) -> str:
    """The task that classes suggest: whole numbers from 0 or 1 upwards without a gap are grades."""
    if len(classes) == 2:
        return "binary"
    numbers = [int(name) for name in classes if re.fullmatch(r"\d+", name)]
    is_graded = len(numbers) == len(classes) <= 11 and numbers[0] in (0, 1)
    return (
        "ordinal"
        if is_graded and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        else "multiclass"
    )


def image_settings(look: Appearance, size: int | None, channels: int | None) -> dict[str, Any]:
    """Size and channels of the prepared images: no larger than the images are, and at most 128 pixels.

    Greys of 16 bits get one window for all images, of the bit depth that the largest of them needs.
    """
    fitting = next((side for side in SIDES if side <= min(128, max(look.shorter_side, 8))), 8)
    keys: dict[str, Any] = {"size": size or fitting, "channels": channels or (1 if look.grey else 3)}
    if look.largest_grey is not None:
        largest = look.largest_grey
        keys["window"] = [0, next(2**depth - 1 for depth in DEPTHS if largest < 2**depth)]
    return keys
