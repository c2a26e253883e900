"""MedMNIST v2 and its larger sizes (Yang et al. 2023): any of its two-dimensional sets."""

import hashlib
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imssl.datasets.files import checksum
from imssl.datasets.source import SPLITS, RawSample, Source, Task
from imssl.errors import UserError

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
        folder: that holds the npz file; if it does not, the file is downloaded to it.

    Raises:
        UserError: there is no such two-dimensional set, its file is not the published one, or it can be
            neither found nor downloaded.
    """
    info = _info(flag)
    suffix = "" if resolution == 28 else f"_{resolution}"
    file = folder / f"{flag}{suffix}.npz"
    if not file.is_file():
        _download(info[f"url{suffix}"], info[f"MD5{suffix}"], file)
    _check_md5(file, info[f"MD5{suffix}"], info[f"url{suffix}"])
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
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
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


def _check_md5(file: Path, expected: str, url: str) -> None:
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "md5").hexdigest()
    if actual != expected:
        raise UserError(
            f"{file} is not the file that MedMNIST published: its MD5 is {actual}, expected {expected}.\n"
            f"Delete it and download it again from {url}"
        )


def _download(url: str, md5: str, file: Path) -> None:
    from torchvision.datasets.utils import download_url

    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as work:
            download_url(url, work, filename=file.name, md5=md5)
            (Path(work) / file.name).replace(file)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{file} is not there, and the download failed ({error}).\n"
            f"Download {url}\nand put it at {file} (MD5 {md5})."
        ) from None
