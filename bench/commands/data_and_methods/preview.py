"""``bench preview``: shows prepared images as a method sees them."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.data_and_methods.datasets import DatasetName


def preview(
    name: DatasetName,
    images: Annotated[int, typer.Option(min=1, max=1000, help="How many images are shown.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of their choice and of the views.")] = 0,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a contact sheet of a prepared data set: images with labels, and two views of each."""
    from bench.cells.files import STORE
    from bench.datasets.preview import preview as write_preview
    from bench.protocol.nearest_name import refuse_unknown
    from bench.protocol.protocol import read_protocol

    protocol = read_protocol()
    refuse_unknown("data set", name, protocol.datasets)
    files = write_preview(name, protocol, images, seed, Path(STORE) / "preview")
    for file in files:
        typer.echo(f"wrote {file}")
    if open_it:
        typer.launch(str(files[-1]))
