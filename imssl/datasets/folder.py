"""Images of one's own in one folder a class, with or without folders train, val and test."""

from imssl.datasets.files import Reading, layout_error, located
from imssl.datasets.label_values import SPLIT_NAMES, LabelReader
from imssl.datasets.source import BadImage, RawSample, Source
from imssl.datasets.user_images import (
    dicom_keywords,
    dicom_warnings,
    identity,
    image_reader,
    label_reader,
    user_images,
    user_source,
)
from imssl.settings.user_datasets import FolderSettings

LAYOUT = "[train, val or test/]<class>/<image>, with the classes {classes}"


def source(settings: FolderSettings, reading: Reading) -> Source:
    """The images below a path; the class of each is that of the folder it lies in, however deep.

    The id of an image is its path below the data set's.

    Raises:
        UserError: no folder has the name of a class, or the settings do not fit the files.
    """
    images = user_images(located(settings.path), reading, dicom_keywords(settings))
    labels, who = label_reader(settings), identity(settings)
    samples, bad = [], list(images.bad)
    for name in images.names:
        header = images.headers.get(name)
        try:
            label, split = _class_and_split(name, labels)
            patient, attributes, kept_with = who.of(name, header, {}, None)
        except BadImage as reason:
            bad.append((name, reason.reason))
        else:
            samples.append(RawSample(name, patient, split, (label,), attributes, kept_with))
    if not samples:
        raise layout_error(images.files, LAYOUT.format(classes=", ".join(settings.classes)))
    return user_source(
        settings,
        samples,
        image_reader(images.files.read, reading.window),
        split_origin="The folders train, val and test in which the images lie.",
        bad=bad,
        unused=images.unused,
        inputs=images.files.checksums(),
        warnings=dicom_warnings(images.headers, reading.window),
    )


def _class_and_split(name: str, labels: LabelReader) -> tuple[int, str]:
    """Index of the class, and the split (empty if there is none), of an image by the folders it lies in."""
    folders = name.split("/")[:-1]
    classes, splits = set(), set()
    for folder in folders:
        index = labels.index_of(folder)
        if index is not None:
            classes.add(index)
        elif folder.lower() in SPLIT_NAMES:
            splits.add(SPLIT_NAMES[folder.lower()])
    if len(classes) != 1 or len(splits) > 1:
        where = "/".join(folders) or "no folder"
        number = "no class" if not classes else "two classes" if len(classes) > 1 else "two splits"
        raise BadImage(name, f"lies in folders of {number}: {where}")
    return classes.pop(), splits.pop() if splits else ""
