"""Kermany's chest X-rays: 5,856 of children, normal or with bacterial or viral pneumonia.

Kermany et al. 2018. The owners publish a folder for normal images and one for pneumonia, and say in a file's
name which pneumonia it is. Random features separate normal from pneumonia, so the three classes are the
task.
"""

import re
from pathlib import Path, PurePosixPath

from imssl.datasets import kaggle
from imssl.datasets.files import (
    AS_PUBLISHED,
    Files,
    Reading,
    is_image,
    layout_error,
    leftovers,
    one_each,
    open_files,
)
from imssl.datasets.images import reader
from imssl.datasets.source import RawSample, Source

CLASSES = ("normal", "bacterial", "viral")
IMAGE = re.compile(r"(?:.*/)?(?P<split>train|val|test)/(?P<folder>NORMAL|PNEUMONIA)/(?P<file>[^/]+)")
# A number means another patient in each of the three series.
NAME = re.compile(
    r"(?P<patient>(?P<series>NORMAL2-IM-|IM-|person)\d+)(?:_(?P<germ>bacteria|virus)(?:_\d+)+|(?:-\d+)+)"
)
LABELS = {("NORMAL", None): 0, ("PNEUMONIA", "bacteria"): 1, ("PNEUMONIA", "virus"): 2}
LAYOUT = "chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg"


def source(path: Path, reading: Reading = AS_PUBLISHED) -> Source:
    """The X-rays, with three classes, and without the owners' split.

    That split is not by patient: 170 numbers of patients occur in its training and in its test images. As
    one number may be two people with different germs, or one person twice, all images with a number (of one
    series) count as one patient's, and the split is drawn by these.

    Args:
        path: folder or zip with `LAYOUT`. Kaggle's archive holds everything a second time, one folder
            further down; that copy is not used, but a copy with other pixels is a fault.
        reading: how the files are read.

    Raises:
        NotThere: the path does not exist.
        UserError: the layout is not the expected one.
    """
    if not path.exists():
        raise kaggle.not_there(kaggle.KERMANY, path)
    files = open_files(path, reading.follow_links)
    copies = _copies_by_image(files)
    if not copies:
        raise layout_error(files, LAYOUT)
    copy_names = {copy: name for name, names in copies.items() for copy in names}
    bad, unused = leftovers(files, copies.keys() | copy_names.keys())
    unused += [(copy, f"is a copy: of {name}") for copy, name in copy_names.items()]
    images = one_each(sorted(copies), bad)
    samples = []
    for id, name in images.items():
        match = NAME.fullmatch(id)
        label = LABELS.get((PurePosixPath(name).parent.name, match["germ"])) if match else None
        if match is None or label is None:
            bad.append((name, "has a name that says no patient, or another class than its folder"))
        else:
            samples.append(RawSample(id, match["patient"], "", (label,)))
    return Source(
        origin="Kermany chest X-rays",
        task="multiclass",
        classes=CLASSES,
        description="Chest X-rays of children of one to five years: normal, or with bacterial or viral "
        "pneumonia. A patient is known by the number in a file's name, within its series.",
        citation="Kermany et al. Identifying medical diagnoses and treatable diseases by image-based deep "
        "learning. Cell 2018.",
        licence="CC BY 4.0",
        url="https://data.mendeley.com/datasets/rscbjbr9sj",
        samples=samples,
        read=reader(files, images, reading.window, {id: copies[name] for id, name in images.items()}),
        bad=bad,
        unused=unused,
        inputs=files.checksums(),
    )


def _copies_by_image(files: Files) -> dict[str, list[str]]:
    """The images of the data set, each with the names of its copies; the one nearest the root counts."""
    same: dict[tuple[str, str, str], list[str]] = {}
    for name in sorted(filter(is_image, files.names), key=lambda name: (name.count("/"), name)):
        match = IMAGE.fullmatch(name)
        if match:
            same.setdefault((match["split"], match["folder"], match["file"]), []).append(name)
    return {first: copies for first, *copies in same.values()}
