"""MedMNIST v2 and its larger sizes (Yang et al. 2023): any of its two-dimensional sets."""

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

import numpy as np

from imssl.datasets.source import SPLITS, NotThere, RawSample, Source
from imssl.durable import raise_if_full
from imssl.errors import UserError
from imssl.regular_file import checksum
from imssl.task import Task

Resolution = Literal[28, 64, 128, 224]

TASKS: dict[str, Task] = {
    "multi-label, binary-class": "multilabel",
    "binary-class": "binary",
    "multi-class": "multiclass",
    "ordinal-regression": "ordinal",
}


def source(flag: str, resolution: Resolution, folder: Path) -> Source:
    """A set of MedMNIST, with its official split. It has no patient ids.

    Args:
        flag: MedMNIST's name of the set, for example ``retinamnist``.
        resolution: side of the published images.
        folder: that holds the npz file.

    Raises:
        NotThere: the folder has no such file.
        UserError: there is no such two-dimensional set, or its file is not the published one.
    """
    info = _info(flag)
    published = published_file(flag, resolution, folder)
    file = published.file
    if not file.is_file():
        raise NotThere(f"{file} does not exist. Correct the path, or {_by_hand(published)}")
    _check_md5(published)
    images = _Images(file)
    samples = [sample for split in SPLITS for sample in _samples(split, images.labels[split])]
    return Source(
        origin=f"MedMNIST v2 {info['python_class']}, {resolution}x{resolution}",
        task=TASKS[info["task"]],
        classes=[info["label"][key] for key in sorted(info["label"], key=int)],
        description=info["description"],
        citation="Yang et al. MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical "
        "image classification. Scientific Data 2023.",
        licence=info["license"],
        url="https://medmnist.com",
        samples=samples,
        read=images.read,
        split_origin="MedMNIST's official split.",
        inputs={file.name: checksum(file)},
    )


class _Images:
    """Labels and pixels of an npz file.

    The images are unpacked to a temporary folder and memory-mapped from there, as the larger sets do not fit
    into memory; the folder is deleted together with the object.
    """

    def __init__(self, file: Path) -> None:
        self._unpacked = tempfile.TemporaryDirectory(prefix="medmnist-")
        self.labels: dict[str, np.ndarray] = {}
        self._images: dict[str, np.ndarray] = {}
        try:
            self._open(file)
        except OSError as error:
            raise_if_full(error, Path(self._unpacked.name).parent)
            raise UserError(f"{file} cannot be read ({error.strerror or error}).") from None
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{file} does not hold what MedMNIST publishes: {error.args[0] if error.args else error}.\n"
                "Delete it and download it again."
            ) from None

    def _open(self, file: Path) -> None:
        with np.load(file, allow_pickle=False) as arrays:
            for split in SPLITS:
                self.labels[split] = arrays[f"{split}_labels"]
        with zipfile.ZipFile(file) as archive:
            for split in SPLITS:
                member = archive.extract(f"{split}_images.npy", self._unpacked.name)
                self._images[split] = np.load(member, mmap_mode="r", allow_pickle=False)
        for split in SPLITS:
            images, labels = self._images[split], self.labels[split]
            if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
                raise ValueError(f"{split}_images are {images.shape} {images.dtype}")
            if labels.dtype.kind not in "iu" or labels.ndim != 2 or len(labels) != len(images):
                raise ValueError(f"{split}_labels are {labels.shape} {labels.dtype} for {len(images)} images")

    def read(self, sample: RawSample) -> np.ndarray:
        """Pixels of a sample, (H, W) or (H, W, 3) uint8."""
        split, row = sample.id.split("-")
        return np.array(self._images[split][int(row)])


def _samples(split: str, labels: np.ndarray) -> list[RawSample]:
    rows = labels.reshape(len(labels), -1).astype(int).tolist()
    return [RawSample(f"{split}-{row:06d}", "", split, tuple(values)) for row, values in enumerate(rows)]


def _info(flag: str) -> dict[str, Any]:
    # Imported late, because the package imports torch and torchvision.
    from medmnist import INFO

    flat = {name: info for name, info in INFO.items() if not name.endswith("3d")}
    if flag not in flat:
        raise UserError(f"MedMNIST has no two-dimensional set {flag!r}. It has {', '.join(sorted(flat))}.")
    return flat[flag]


@dataclass(frozen=True)
class PublishedFile:
    """A file that MedMNIST publishes.

    Attributes:
        url: where.
        md5: its MD5, in hexadecimal digits.
        file: where it belongs on this machine.
    """

    url: str
    md5: str
    file: Path


def published_file(flag: str, resolution: Resolution, folder: Path) -> PublishedFile:
    """The file of a set.

    Raises:
        UserError: there is no such two-dimensional set.
    """
    info = _info(flag)
    suffix = "" if resolution == 28 else f"_{resolution}"
    return PublishedFile(info[f"url{suffix}"], info[f"MD5{suffix}"], folder / file_name(flag, resolution))


def file_name(flag: str, resolution: Resolution) -> str:
    """MedMNIST's name of the file of a set, for example ``retinamnist_64.npz``."""
    return f"{flag}.npz" if resolution == 28 else f"{flag}_{resolution}.npz"


def size_of(published: PublishedFile) -> int | None:
    """Size in bytes that the server states; None where it does not, or cannot be reached."""
    try:
        with urlopen(Request(published.url, method="HEAD"), timeout=20) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError, HTTPException):
        return None


def download(published: PublishedFile) -> None:
    """Download a file to its place, under a temporary name until it is whole.

    Raises:
        UserError: the download failed, or is not the published file.
    """
    from torchvision.datasets.utils import download_url

    file = published.file
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as work:
            download_url(published.url, work, filename=file.name, md5=published.md5)
            (Path(work) / file.name).replace(file)
    except (OSError, RuntimeError) as error:
        raise_if_full(error, file.parent)
        raise UserError(f"The download of {file} failed ({error}).\nInstead, {_by_hand(published)}") from None


def _by_hand(published: PublishedFile) -> str:
    return f"download {published.url}\nand put it at {published.file} (MD5 {published.md5})."


def _check_md5(published: PublishedFile) -> None:
    with published.file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "md5").hexdigest()
    if actual != published.md5:
        raise UserError(
            f"{published.file} is not the file that MedMNIST published: its MD5 is {actual}, expected "
            f"{published.md5}.\nDelete it and download it again from {published.url}"
        )
