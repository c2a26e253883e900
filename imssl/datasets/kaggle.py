"""Data sets on Kaggle: downloaded with Kaggle's client; without it, a message says what to download."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imssl.datasets.source import NotThere
from imssl.errors import UserError

SITE = "https://www.kaggle.com"


@dataclass(frozen=True)
class KagglePage:
    """The page of a data set on Kaggle.

    Attributes:
        kind: of page.
        slug: of the data set (``owner/name``) or of the competition.
        title: of the page.
        gigabytes: size of the archive, roughly.
    """

    kind: Literal["datasets", "competitions"]
    slug: str
    title: str
    gigabytes: float

    @property
    def url(self) -> str:
        """Address of the page from which to download."""
        return f"{SITE}/{self.kind}/{self.slug}" + ("/data" if self.kind == "competitions" else "")


NIH = KagglePage("datasets", "nih-chest-xrays/data", "NIH Chest X-rays", 45)
IDC = KagglePage(
    "datasets", "paultimothymooney/breast-histopathology-images", "Breast Histopathology Images", 3.3
)
KERMANY = KagglePage(
    "datasets", "paultimothymooney/chest-xray-pneumonia", "Chest X-Ray Images (Pneumonia)", 2.5
)
EYEPACS = KagglePage("competitions", "diabetic-retinopathy-detection", "Diabetic Retinopathy Detection", 88)


def not_there(page: KagglePage, path: Path) -> NotThere:
    """The error for a path at which there is nothing; it says what belongs there. Nothing is downloaded."""
    return NotThere(f"{path} does not exist. Correct the path, or d" + _by_hand(page, path)[1:])


def fetch(page: KagglePage, path: Path) -> None:
    """Download a page's archive to a path that does not exist yet.

    Kaggle's client finds its credentials itself; nothing here reads them. The download gets its final name
    when it is complete: the archive itself if the path ends with ``.zip``, otherwise a folder that holds it.

    Args:
        page: what to download.
        path: where it belongs.

    Raises:
        UserError: there is no client, or it failed; the message says what to download and where to put it.
    """
    client = shutil.which("kaggle")
    if client is None:
        raise UserError(
            "Kaggle's client, which could download it, is not installed (pip install kaggle).\n"
            + _by_hand(page, path)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    option = "-d" if page.kind == "datasets" else "-c"
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as work:
        arrived = Path(work) / "download"
        arrived.mkdir()
        command = [client, page.kind, "download", option, page.slug, "-p", str(arrived)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        archives = sorted(arrived.glob("*.zip"))
        if ended.returncode != 0 or len(archives) != 1:
            answer = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
            raise UserError(
                f"Kaggle's client could not download {page.slug} to {path}. "
                f"It said: {answer}\n"
                "Its credentials may be missing, or the terms of the page may not have been accepted yet.\n"
                + _by_hand(page, path)
            )
        (archives[0] if path.suffix == ".zip" else arrived).replace(path)


def _by_hand(page: KagglePage, path: Path) -> str:
    return (
        f'Download "{page.title}" (Kaggle, {page.kind} {page.slug}):\n  {page.url}\n'
        f"and put the archive, or a folder with its contents, at {path}"
    )
