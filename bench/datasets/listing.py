"""What ``bench datasets`` lists: source, task, images and state of each data set of params.yaml."""

from dataclasses import dataclass

from bench.cells.files import data_folder
from bench.protocol.protocol import Protocol
from imssl.datasets.prepared import Card, read_card
from imssl.errors import UserError
from imssl.settings.sources import AnyDataset


@dataclass(frozen=True)
class ListedDataset:
    """A row of ``bench datasets``; as JSON, an object with these keys.

    Attributes:
        id: name in params.yaml.
        source: which adapter reads it.
        path: of the raw files; empty for a procedural one.
        size: side of the prepared images, in pixels.
        channels: 1 or 3.
        task: kind of the labels; empty where it is not known before preparing.
        classes: names of the classes; empty likewise.
        images: by split; empty if it is not prepared.
        patients: in all; None if they are not known.
        attributes: what else is known of an image.
        left_out: images and rows that cannot be used.
        warnings: what to look at before using the images.
    """

    id: str
    source: str
    path: str
    size: int
    channels: int
    task: str
    classes: list[str]
    images: dict[str, int]
    patients: int | None
    attributes: list[str]
    left_out: int
    warnings: list[str]


def listed_datasets(protocol: Protocol) -> list[ListedDataset]:
    """Every data set, in the order of params.yaml."""
    return [_listed(name, settings) for name, settings in protocol.datasets.items()]


def _listed(name: str, settings: AnyDataset) -> ListedDataset:
    card = _card(name)
    patients = [count.patients for count in card.counts.values()] if card else []
    return ListedDataset(
        id=name,
        source=settings.source,
        path=getattr(settings, "path", ""),
        size=settings.size,
        channels=settings.channels,
        task=card.task if card else getattr(settings, "task", ""),
        classes=card.classes if card else list(getattr(settings, "classes", [])),
        images={split: count.samples for split, count in card.counts.items()} if card else {},
        patients=sum(count or 0 for count in patients) if card and card.has_patients else None,
        attributes=card.attributes if card else list(getattr(settings, "attributes", [])),
        left_out=sum(entry.count for entry in card.skipped) if card else 0,
        warnings=card.warnings if card else [],
    )


def _card(name: str) -> Card | None:
    try:
        return read_card(data_folder(name))
    except UserError:
        return None  # not prepared yet
