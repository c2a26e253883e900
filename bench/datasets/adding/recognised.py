"""Published data sets, recognised by the names of their files."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from imssl.datasets import eyepacs, idc, kermany, nih
from imssl.datasets.files import is_image

# What each source is called.
PUBLISHED = {
    "nih": "NIH ChestX-ray14",
    "idc": "IDC breast histopathology",
    "eyepacs": "EyePACS",
    "kermany": "Kermany's chest X-rays",
    "medmnist": "MedMNIST",
}
# What the owners call a patch: folders called 0 and 1 below others are nothing special.
IDC_PATCH = re.compile(r"[^/]+_class[01]\.png")
# Share of the images that have to fit a layout: a few may lie astray, and are told as unusable later.
MOSTLY = 0.9


def published_source(names: Sequence[str]) -> str:
    """The source whose layout files have; empty where it is that of none.

    Args:
        names: of the files of a folder or zip.
    """
    base_names = {PurePosixPath(name).name for name in names}
    if base_names.intersection(nih.TABLES):
        return "nih"
    if eyepacs.TABLE in base_names:
        return "eyepacs"
    images = [name for name in names if is_image(name)]
    for source, is_its in (("kermany", _is_kermanys), ("idc", _is_of_idc)):
        if images and sum(map(is_its, images)) >= MOSTLY * len(images):
            return source
    return ""


def _is_kermanys(name: str) -> bool:
    match = kermany.IMAGE.fullmatch(name)
    return match is not None and kermany.NAME.fullmatch(PurePosixPath(match["file"]).stem) is not None


def _is_of_idc(name: str) -> bool:
    match = idc.IMAGE.fullmatch(name)
    return match is not None and IDC_PATCH.fullmatch(match["file"]) is not None


def hint_of(names: Sequence[str]) -> str:
    """What to say of files in the layout of a published data set; empty where they are not."""
    source = published_source(names)
    if not source:
        return ""
    return (
        f"This looks like {PUBLISHED[source]}, whose classes, patients and splits are known: "
        f"--source {source} reads it by these."
    )
