"""The one prepared form of a data set, and the only code that reads and writes it.

A folder holds ``images.npy``, (N, H, W, C) uint8; ``samples.csv`` with the columns id, patient, split, then
a text column for each attribute, then one 0/1 column per class (multilabel) or one column ``label``; and,
written last, ``card.json``: what the data set is, its counts and its checksums. Where something of the source
was left out, ``skipped.csv`` lists it.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imssl.datasets.skipped import SKIPPED_FILE, Skipped
from imssl.datasets.source import PrimaryMetric
from imssl.durable import give_final_name, sync, write_bytes
from imssl.errors import UserError
from imssl.regular_file import checksum
from imssl.spreadsheet import EXACT_NUMBERS, original_table, safe_table, safe_text
from imssl.task import Task

IMAGES_FILE = "images.npy"
SAMPLES_FILE = "samples.csv"
CARD_FILE = "card.json"
TEXT_COLUMNS = ("id", "patient", "split")


class SplitCounts(BaseModel):
    """How much a split holds.

    Attributes:
        samples: images.
        patients: patients; None where the source has no patient ids.
        per_class: images with each class.
    """

    model_config = ConfigDict(extra="forbid")

    samples: int
    patients: int | None
    per_class: dict[str, int]


class Card(BaseModel):
    """card.json: what a prepared data set is and where it comes from.

    Attributes:
        schema_version: of all three files.
        name: id of the data set in the protocol.
        synthetic: whether the images are procedural.
        task: kind of the labels.
        classes: names, in the order of the labels.
        primary_metric: by which the task is judged.
        source: what the owners call the data set.
        description: a sentence or two.
        url: where it is published.
        licence: terms of use.
        citation: of the paper to cite.
        image_shape: height, width, channels.
        has_patients: whether the source has patient ids.
        patients_note: what the lack of patient ids means for the statistics; empty if there are ids.
        split_origin: a sentence on where the split comes from.
        attributes: names of the columns of samples.csv with what else is known of an image, as text.
        warnings: what a person should look at before the images are used, a sentence each.
        counts: by split.
        skipped: images and rows that were left out because they cannot be used, counted by reason.
        unused: files of the source that are no part of the data set, likewise.
        channel_mean: of the training images scaled to [0, 1], one value per channel.
        channel_std: standard deviation likewise, over all pixels; at least 1/255.
        inputs: SHA-256 of the tables, lists and archives that were read, and of all pixels, by name.
        checksums: SHA-256 of images.npy and samples.csv.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = 2
    name: str
    synthetic: bool
    task: Task
    classes: list[str] = Field(min_length=2)
    primary_metric: PrimaryMetric
    source: str
    description: str
    url: str
    licence: str
    citation: str
    image_shape: tuple[int, int, int]
    has_patients: bool
    patients_note: str
    split_origin: str
    attributes: list[str] = []
    warnings: list[str] = []
    counts: dict[str, SplitCounts]
    skipped: list[Skipped]
    unused: list[Skipped] = []
    channel_mean: list[float]
    channel_std: list[float]
    inputs: dict[str, str]
    checksums: dict[str, str]

    @property
    def label_columns(self) -> list[str]:
        """Label columns of samples.csv."""
        return list(self.classes) if self.task == "multilabel" else ["label"]


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        images: (N, H, W, C) uint8, memory-mapped, read-only.
        samples: (N) rows of samples.csv; ids, patients and splits are strings.
        card: what the data set is.
    """

    images: np.ndarray
    samples: pd.DataFrame
    card: Card

    def indices(self, split: str) -> np.ndarray:
        """Ascending rows of a split, (n,) int64."""
        return np.flatnonzero((self.samples["split"] == split).to_numpy())

    def labels(self) -> np.ndarray:
        """(N, C) uint8 of 0 and 1 for multilabel, (N,) int64 class indices otherwise."""
        values = self.samples[self.card.label_columns].to_numpy()
        return values.astype(np.uint8) if self.card.task == "multilabel" else values[:, 0].astype(np.int64)

    def patients(self) -> np.ndarray:
        """(N,) str, the units of resampling; a sample without a patient id is a unit of its own."""
        patients = self.samples["patient"]
        return patients.where(patients != "", self.samples["id"]).to_numpy(dtype=str)


def read_card(folder: Path) -> Card:
    """Read the card of a prepared data set.

    Raises:
        UserError: there is none, or it is not of this schema.
    """
    file = folder / CARD_FILE
    try:
        return Card.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no prepared data set in {folder}. Prepare it first.") from None
    except ValidationError as error:
        raise _malformed(file, str(error)) from None


def read_samples(folder: Path, card: Card) -> pd.DataFrame:
    """samples.csv of a prepared data set, without a look at its images.

    Raises:
        UserError: it is missing, or not the file that the card describes.
    """
    return _read_samples(folder / SAMPLES_FILE, card)


def read_without_images(folder: Path) -> Prepared:
    """Open a prepared data set for what looks at no image: its images are neither checked nor there.

    Raises:
        UserError: the card or samples.csv is missing, or samples.csv is not the file that the card describes.
    """
    card = read_card(folder)
    return Prepared(np.empty((0, *card.image_shape), np.uint8), read_samples(folder, card), card)


def read_prepared(folder: Path) -> Prepared:
    """Open a prepared data set; its images are mapped, not loaded.

    Raises:
        UserError: it is missing, or its files are not those that the card describes.
    """
    card = read_card(folder)
    samples = _read_samples(folder / SAMPLES_FILE, card)
    images = _map_images(folder / IMAGES_FILE, card)
    expected = (len(samples), *card.image_shape)
    if images.shape != expected or images.dtype != np.uint8:
        actual = f"{images.shape} {images.dtype}"
        raise _malformed(folder / IMAGES_FILE, f"it holds {actual}, the card says {expected} uint8")
    return Prepared(images, samples, card)


def _read_samples(file: Path, card: Card) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise _malformed(file, "it is missing") from None
    if hashlib.sha256(content).hexdigest() != card.checksums.get(SAMPLES_FILE):
        raise _malformed(file, "its checksum is not the one in the card")
    labels = [safe_text(column) for column in card.label_columns]
    texts = [*TEXT_COLUMNS, *(safe_text(column) for column in card.attributes)]
    dtypes = dict.fromkeys(texts, str) | dict.fromkeys(labels, np.int64)
    table = pd.read_csv(io.BytesIO(content), dtype=dtypes, keep_default_na=False, **EXACT_NUMBERS)
    return original_table(table)


def _map_images(file: Path, card: Card) -> np.ndarray:
    try:
        actual = checksum(file)
    except FileNotFoundError:
        raise _malformed(file, "it is missing") from None
    if actual != card.checksums.get(IMAGES_FILE):
        raise _malformed(file, "its checksum is not the one in the card")
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise _malformed(file, str(error)) from None


def _malformed(file: Path, what: str) -> UserError:
    return UserError(f"{file} is damaged or of another version: {what}\nPrepare the data set again.")


@contextmanager
def writing_images(folder: Path, shape: tuple[int, int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Append images one after another, with no more than one in memory.

    The number of images is known only at the end, as unusable ones may be left out. The file keeps its
    temporary name until `publish`; if the block fails, it is removed.

    Args:
        folder: of the data set; it is made if missing.
        shape: height, width, channels of every image.

    Yields:
        A function that appends one (H, W, C) uint8 image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = _partial(folder / IMAGES_FILE)
    count = 0

    def append(image: np.ndarray) -> None:
        nonlocal count
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"image of {image.shape} {image.dtype} instead of {shape} uint8")
        stream.write(np.ascontiguousarray(image).data)
        count += 1

    try:
        with file.open("wb") as stream:
            reserved = _write_header(stream, (0, *shape))
            yield append
            stream.seek(0)
            if _write_header(stream, (count, *shape)) != reserved:
                raise RuntimeError("NumPy's header has outgrown the space reserved for it")
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> int:
    # NumPy leaves room in the header for the first axis to grow, so its length stays the same.
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.tell()


def discard_images(folder: Path) -> None:
    """Remove images that were written but are not to be published."""
    _partial(folder / IMAGES_FILE).unlink(missing_ok=True)


def publish(folder: Path, samples: pd.DataFrame, card: Card, skipped: pd.DataFrame) -> Card:
    """Give the written images their final name, and add the samples and the card.

    Until the new card is there, the folder has no card, so that a half-replaced data set is never read.

    Args:
        folder: in which `writing_images` has finished.
        samples: (N) rows, in the order of the images.
        card: its checksums are filled in here.
        skipped: rows of skipped.csv (`imssl.datasets.skipped.skipped_table`); if there are none, no file is
            written.

    Returns:
        The card as written.
    """
    images_file, samples_file, card_file = (folder / name for name in (IMAGES_FILE, SAMPLES_FILE, CARD_FILE))
    table = _as_csv(samples)
    images_checksum = checksum(_partial(images_file))
    checksums = {IMAGES_FILE: images_checksum, SAMPLES_FILE: hashlib.sha256(table).hexdigest()}
    card = card.model_copy(update={"checksums": checksums})
    _partial(samples_file).write_bytes(table)
    _partial(card_file).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
    card_file.unlink(missing_ok=True)
    skipped_file = folder / SKIPPED_FILE
    if skipped.empty:
        skipped_file.unlink(missing_ok=True)
    else:
        write_bytes(skipped_file, _as_csv(skipped))
    sync(folder)
    for file in (images_file, samples_file, card_file):
        give_final_name(_partial(file), file)
    return card


def _as_csv(table: pd.DataFrame) -> bytes:
    return safe_table(table).to_csv(index=False, lineterminator="\n").encode()


def _partial(file: Path) -> Path:
    return file.with_name(file.name + ".partial")
