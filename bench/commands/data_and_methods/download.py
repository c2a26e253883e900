"""``bench download``: the only command that fetches images; what and where to is said before it begins."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imssl.errors import UserError

if TYPE_CHECKING:
    from imssl.settings.sources import AnyDataset


@dataclass(frozen=True)
class Download:
    """What is fetched for a data set.

    Attributes:
        what: title and address.
        place: file or folder that it becomes.
        size: in bytes, roughly; None where the server does not say.
        start: begins the download, and returns when it is complete.
    """

    what: str
    place: Path
    size: int | None
    start: Callable[[], None]


def download(
    names: Annotated[list[str], typer.Argument(help="Data sets of params.yaml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be downloaded.")] = False,
) -> None:
    """Download data sets of params.yaml to the paths that it names.

    Size and place are said first. NIH ChestX-ray14, IDC and EyePACS come through Kaggle's own client, which
    has to be installed and to know your account; MedMNIST comes from its publisher.
    """
    from bench.protocol.nearest_name import refuse_unknown
    from bench.protocol.protocol import read_protocol

    datasets = read_protocol().datasets
    for name in names:
        refuse_unknown("data set", name, datasets)
    for name in names:
        planned = download_of(name, datasets[name])
        if planned.place.exists():
            typer.echo(f"{name}: {planned.place} is there already.")
            continue
        size = "of a size that is not known" if planned.size is None else f"about {_shown(planned.size)}"
        typer.echo(f"{name}: {planned.what}, {size}, to {planned.place}")
        _check_room(planned)
        if not dry_run:
            planned.start()
            typer.echo(f"{name}: done.")


def download_of(name: str, settings: "AnyDataset") -> Download:
    """Where the files of a data set come from and go to.

    Raises:
        UserError: its source publishes nothing to download.
    """
    # Imported here, as the command line imports this module for its help.
    from imssl.datasets import kaggle, medmnist
    from imssl.datasets.files import located
    from imssl.settings.datasets import (
        EyepacsSettings,
        IdcSettings,
        KermanySettings,
        MedmnistSettings,
        NihSettings,
    )

    pages = {
        NihSettings: kaggle.NIH,
        IdcSettings: kaggle.IDC,
        EyepacsSettings: kaggle.EYEPACS,
        KermanySettings: kaggle.KERMANY,
    }
    if isinstance(settings, NihSettings | IdcSettings | EyepacsSettings | KermanySettings):
        page, path = pages[type(settings)], located(settings.path)
        size = round(page.gigabytes * 1e9)
        return Download(f"{page.title} ({page.url})", path, size, lambda: kaggle.fetch(page, path))
    if isinstance(settings, MedmnistSettings):
        published = medmnist.published_file(settings.flag, settings.resolution, located(settings.path))
        size_or_none = medmnist.size_of(published)
        return Download(
            f"MedMNIST ({published.url})", published.file, size_or_none, lambda: medmnist.download(published)
        )
    raise UserError(
        f"{name}: the source {settings.source} has nothing to download. "
        "Only nih, idc, eyepacs, kermany and medmnist are published as files."
    )


def _check_room(planned: Download) -> None:
    folder = next(parent for parent in planned.place.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if planned.size is not None and planned.size > free:
        raise UserError(
            f"{folder} has {_shown(free)} left, too little for it. Free some space, or change its path."
        )


def _shown(size: int) -> str:
    """A number of bytes as people read it: ``45 GB``, ``3.3 GB``, ``120 kB``."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_each:
            return f"{size / bytes_each:.3g} {unit}"
    return f"{size} bytes"
