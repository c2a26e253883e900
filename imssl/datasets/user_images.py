"""What the sources of a user's images share: which files are images, and what names and DICOM headers say."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from imssl.datasets import dicom
from imssl.datasets.files import Files, Reading, Window, is_image, leftovers, located, open_files
from imssl.datasets.images import decode
from imssl.datasets.label_values import LabelReader
from imssl.datasets.source import BadImage, RawSample, Source
from imssl.errors import UserError
from imssl.settings.user_datasets import PATIENT_GROUP, ColumnSettings, UserDatasetSettings

# How many threads read DICOM headers.
THREADS = 8
NOT_STATED = "not stated"


@dataclass(frozen=True)
class UserImages:
    """The images below a path, before they are decoded.

    Attributes:
        files: folder or zip.
        names: of the images, sorted.
        headers: what DICOM images say of themselves, by name.
        bad: (name, reason) of files that should be images and cannot be used.
        unused: (name, reason) of files that are no images.
    """

    files: Files
    names: list[str]
    headers: Mapping[str, dicom.Header]
    bad: list[tuple[str, str]]
    unused: list[tuple[str, str]]


def user_images(path: Path, reading: Reading, keywords: Sequence[str] = ()) -> UserImages:
    """The images below a path; see :func:`images_in`.

    Args:
        path: folder or zip.
        reading: how its files are read.
        keywords: of DICOM, whose values become attributes.

    Raises:
        UserError: the path is neither, or a keyword is unknown or identifies a person.
    """
    return images_in(open_files(path, reading.follow_links), keywords)


def images_in(files: Files, keywords: Sequence[str] = ()) -> UserImages:
    """List the images among some files, and read the headers of those that are DICOM.

    An image is what has the suffix of one, or, with no such suffix, begins as DICOM does: scanners often
    export files without one.

    Args:
        files: of a folder or zip.
        keywords: of DICOM, whose values become attributes.

    Raises:
        UserError: a keyword is unknown or identifies a person.
    """
    dicom.check_keywords(keywords)
    names = [name for name in files.names if is_image(name)]
    suspected = [name for name in files.names if _may_be_dicom(name)]
    headers: dict[str, dicom.Header] = {}
    broken: list[tuple[str, str]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        read = pool.map(lambda name: _header(files, name, keywords), suspected)
        for name, header in zip(suspected, read, strict=True):
            if isinstance(header, dicom.Header):
                headers[name] = header
            elif name.lower().endswith(dicom.SUFFIXES):
                broken.append((name, header.reason))
            # Without a suffix of DICOM it need not be meant as an image, and counts as unused.
    names = sorted([*names, *headers])
    bad, unused = leftovers(files, {*names, *(name for name, _ in broken)})
    return UserImages(files, names, headers, bad + broken, unused)


def _may_be_dicom(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return not is_image(name) and (not suffix or suffix in dicom.SUFFIXES or suffix[1:].isdigit())


def _header(files: Files, name: str, keywords: Sequence[str]) -> dicom.Header | BadImage:
    try:
        return dicom.read_header(files.read(name), name, keywords)
    except BadImage as bad:
        return bad


def image_reader(content_of: Callable[[str], bytes], window: Window) -> Callable[[RawSample], np.ndarray]:
    """A function that reads the pixels of a sample, of a DICOM image or of any other.

    Args:
        content_of: content of an image by its name, which is the id of its sample.
        window: of greys; None for what the image says, or its full range.
    """

    def read(sample: RawSample) -> np.ndarray:
        content = content_of(sample.id)
        decoder = dicom.decode if dicom.is_dicom(content) else decode
        return decoder(content, sample.id, window)

    return read


@dataclass(frozen=True)
class Identity:
    """Finds out whose an image is, and what else is known of it.

    Attributes:
        pattern: searched for in the names; None if names say nothing.
        names: of the attributes.
        split_by: the attribute that stays together in a drawn split; empty if only the patient does.
    """

    pattern: re.Pattern[str] | None
    names: Sequence[str]
    split_by: str

    def of(
        self, name: str, header: dicom.Header | None, row: Mapping[str, str], patient_column: str | None
    ) -> tuple[str, dict[str, str], str]:
        """Patient, attributes, and what is kept together with the patient.

        An attribute is taken from the row, otherwise from the name, otherwise from the DICOM header; the
        patient from the column, otherwise from the name, otherwise from PatientID.

        Args:
            name: of the image.
            header: of a DICOM image.
            row: cells of the image's row by column; empty if there is no table.
            patient_column: in the row.

        Raises:
            BadImage: the pattern does not match the name, or the row has no patient.
        """
        groups: Mapping[str, str | None] = {}
        if self.pattern is not None:
            match = self.pattern.search(name)
            if match is None or not match[PATIENT_GROUP]:
                raise BadImage(name, "its name does not match patient_pattern")
            groups = match.groupdict()
        if patient_column is not None:
            patient = row[patient_column]
            if not patient:
                raise BadImage(name, f"its row has no {patient_column}")
        else:
            patient = groups.get(PATIENT_GROUP) or (header.patient if header else "")
        sources = (row, groups, header.attributes if header else {})
        attributes = {
            attribute: next((source[attribute] or "" for source in sources if attribute in source), "")
            for attribute in self.names
        }
        return patient, attributes, attributes.get(self.split_by, "")


def identity(settings: UserDatasetSettings) -> Identity:
    """How the settings say that patients and attributes are found."""
    return Identity(
        pattern=re.compile(settings.patient_pattern) if settings.patient_pattern else None,
        names=settings.attributes,
        split_by="" if settings.split_by == PATIENT_GROUP else settings.split_by,
    )


def dicom_keywords(settings: UserDatasetSettings, columns: Sequence[str] = ()) -> list[str]:
    """The attributes that neither a column nor a group of the pattern gives, so that DICOM has to."""
    groups = re.compile(settings.patient_pattern).groupindex if settings.patient_pattern else {}
    return [name for name in settings.attributes if name not in columns and name not in groups]


def label_reader(settings: UserDatasetSettings) -> LabelReader:
    """How the settings say that labels are written."""
    return LabelReader(
        multilabel=settings.task == "multilabel",
        classes=settings.classes,
        meaning=settings.label_values,
        separator=settings.separator if isinstance(settings, ColumnSettings) else None,
        no_finding=settings.no_finding if isinstance(settings, ColumnSettings) else None,
    )


def user_source(
    settings: UserDatasetSettings,
    samples: Sequence[RawSample],
    read: Callable[[RawSample], np.ndarray],
    *,
    split_origin: str,
    bad: Sequence[tuple[str, str]],
    unused: Sequence[tuple[str, str]] = (),
    inputs: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> Source:
    """The source that the settings describe.

    Args:
        settings: of the data set.
        samples: with the split that the files state.
        read: pixels of a sample.
        split_origin: a sentence on where that split comes from.
        bad: (name, reason) of what cannot be used.
        unused: (name, reason) of what is no part of the data set.
        inputs: SHA-256 of tables and archives, by name.
        warnings: a sentence each.

    Raises:
        UserError: the source has a split for validation, but none for testing.
    """
    present = {sample.split for sample in samples}
    if settings.splits == "drawn" or present == {""}:
        samples = [replace(sample, split="") for sample in samples]
        split_origin = ""
    elif "train" not in present or "test" not in present:
        raise UserError(
            f"{settings.path} has images for {' and '.join(sorted(present - {''}))} only, and a data set "
            "needs train and test. Set splits: drawn to have all three drawn."
        )
    return Source(
        origin=settings.title or located(settings.path).stem,
        task=settings.task,
        classes=settings.classes,
        description=settings.description or f"Images of {located(settings.path).name}.",
        citation=settings.citation or NOT_STATED,
        licence=settings.licence or NOT_STATED,
        url=settings.url,
        samples=samples,
        read=read,
        split_origin=split_origin,
        bad=bad,
        unused=unused,
        inputs=inputs,
        attributes=settings.attributes,
        split_by="" if settings.split_by == PATIENT_GROUP else settings.split_by,
        warnings=warnings,
    )


def dicom_warnings(headers: Mapping[str, dicom.Header], window: Window) -> list[str]:
    """What to look at before DICOM images are used: a sentence each on burned-in text and on windows.

    Args:
        headers: of the DICOM images, by name.
        window: that is given for all of them.
    """
    warnings = []
    marked = [name for name, header in headers.items() if header.burned_in == "YES"]
    if marked:
        warnings.append(
            f"Text is burned into the pixels of {len(marked)} of {len(headers)} DICOM images, as they say "
            f"themselves (BurnedInAnnotation), and may name the patient: {_first(marked)}. Look at them "
            "before you publish images: bench preview."
        )
    without = [name for name, header in headers.items() if header.lacks_window]
    if without and window is None:
        warnings.append(
            f"No window is stated by {len(without)} of {len(headers)} DICOM images: {_first(without)}. Each "
            "of them is shown by the range of its own values, so equal greys need not mean the same. The key "
            "window, or --window LOW HIGH, gives all of them one."
        )
    return warnings


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
