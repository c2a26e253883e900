"""A contact sheet of a prepared data set: images with their labels, and two augmented views of each."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cells.files import data_folder, is_prepared
from bench.datasets.pictures import VIEWS, augmented_views, label_words, png
from bench.protocol.protocol import Protocol
from imssl.datasets.prepared import Prepared, read_prepared
from imssl.durable import write_bytes, write_text
from imssl.errors import UserError

# Pixels between two images of the PNG, and the least side at which an image is shown.
GAP = 4
LEAST_SIDE = 96


@dataclass(frozen=True)
class Shown:
    """An image on the sheet.

    Attributes:
        title: id, patient, split and labels.
        pictures: the image and its views, (H, W, C) uint8 each.
    """

    title: str
    pictures: list[np.ndarray]


def preview(name: str, protocol: Protocol, images: int, seed: int, folder: Path) -> list[Path]:
    """Write a contact sheet as PNG and HTML.

    Every class of the training set is shown, as far as the number of images goes.

    Args:
        name: id of the data set.
        protocol: with its augmentation.
        images: how many are shown.
        seed: of their choice and of the views.
        folder: into which the files are written.

    Returns:
        The files: ``NAME.png``, without text, and ``NAME.html``, which needs nothing else.

    Raises:
        UserError: the data set is not prepared.
    """
    if not is_prepared(name):
        raise UserError(f"the images of {name} are not prepared yet. Run: dvc repro data@{name}")
    prepared = read_prepared(data_folder(name))
    labels = prepared.labels()
    rows = _chosen(prepared, labels, images, seed)
    # Imported here: only this command of the folder needs torch.
    import torch

    draw = torch.Generator().manual_seed(seed)
    views = augmented_views(prepared.images[rows], protocol.augmentation_of(name), draw)
    shown = [
        Shown(_title(prepared, row, labels[row]), [prepared.images[row], *(view[n] for view in views)])
        for n, row in enumerate(rows)
    ]
    sheet, page = folder / f"{name}.png", folder / f"{name}.html"
    write_bytes(sheet, png(_grid([picture for entry in shown for picture in entry.pictures], 1 + VIEWS))[0])
    write_text(page, _page(name, prepared, shown))
    return [sheet, page]


def _chosen(prepared: Prepared, all_labels: np.ndarray, images: int, seed: int) -> np.ndarray:
    """Rows of training images, the classes in turn, (n,) int64."""
    rows = np.random.default_rng(seed).permutation(prepared.indices("train"))
    labels = all_labels[rows]
    marks = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(prepared.card.classes))
    # The n-th image of every class comes before the n+1-th of any; an image may have several classes.
    turn = np.where(marks, np.cumsum(marks, axis=0), len(rows) + 1).min(axis=1)
    return rows[np.argsort(turn, kind="stable")[:images]]


def _title(prepared: Prepared, row: int, labels: np.ndarray) -> str:
    card, sample = prepared.card, prepared.samples.iloc[row]
    facts = [f"{name} {sample[name]}" for name in card.attributes if sample[name]]
    patient = [f"patient {sample['patient']}"] if sample["patient"] else []
    return "; ".join([label_words(card, labels), str(sample["id"]), *patient, *facts])


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) at a side that can be looked at; whole multiples, so that every pixel stays what it is."""
    factor = max(1, -(-LEAST_SIDE // picture.shape[0]))
    return np.repeat(np.repeat(np.broadcast_to(picture, (*picture.shape[:2], 3)), factor, 0), factor, 1)


def _grid(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures side by side, row by row, on white: (H, W, 3) uint8."""
    large = [_enlarged(picture) for picture in pictures]
    side = large[0].shape[0] + GAP
    sheet = np.full((-(-len(large) // columns) * side, columns * side, 3), 255, dtype=np.uint8)
    for n, picture in enumerate(large):
        top, left = n // columns * side, n % columns * side
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _page(name: str, prepared: Prepared, shown: list[Shown]) -> str:
    card = prepared.card
    figures = "\n".join(
        f"<figure>{_pictures(entry)}<figcaption>{html.escape(entry.title)}</figcaption></figure>"
        for entry in shown
    )
    warnings = "".join(f"<p><strong>{html.escape(warning)}</strong></p>" for warning in card.warnings)
    height, width, channels = card.image_shape
    about = f"{card.description} {height} x {width} pixels, {channels} channels; classes: " + ", ".join(
        card.classes
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 2rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.5rem; }}
figure {{ margin: 0; }} figcaption {{ overflow-wrap: anywhere; }}
img {{ width: 32%; image-rendering: pixelated; }}
</style></head><body>
<h1>{html.escape(name)}</h1><p>{html.escape(about)}</p>{warnings}
<p>Each image as prepared, then two views of it as pretraining sees them.</p>
<main>
{figures}
</main></body></html>
"""


def _pictures(entry: Shown) -> str:
    kinds = ["as prepared", *(f"view {n}" for n in range(1, VIEWS + 1))]
    return "".join(
        f'<img alt="{kind}" src="data:image/png;base64,'
        f'{base64.b64encode(png(_enlarged(picture))[0]).decode()}">'
        for kind, picture in zip(kinds, entry.pictures, strict=True)
    )
