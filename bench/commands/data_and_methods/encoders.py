"""Verbs on encoders: enter one from elsewhere, start every method from a file, write one for others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.methods.encoders.initialisations import NewStart

WeightsPath = Annotated[
    Path, typer.Argument(help="Weights: safetensors, or a state dict of torch.", show_default=False)
]
RowName = Annotated[str, typer.Option("--name", help="Name in params.yaml.", show_default=False)]


def add_encoder(
    file: WeightsPath,
    name: RowName,
    dataset: Annotated[
        str | None,
        typer.Option(help="The only data set that the file is for; without it, for all of them."),
    ] = None,
) -> None:
    """Enter an encoder that was pretrained elsewhere as a row; it is evaluated like every other.

    Its weights must be of the architecture in params.yaml. Run the command once more with the same name for a
    file of another data set.
    """
    from bench.machine.lock import alone
    from bench.methods.encoders.initialisations import add_encoder

    with alone("bench add-encoder"):
        _print_start(add_encoder(file, name, dataset))
    where = f" on {dataset}" if dataset else ""
    typer.echo(f"{name} is in params.yaml{where}; the pages mark it as pretrained elsewhere.")
    typer.echo("Run it with: dvc repro")


def add_initialisation(
    file: WeightsPath,
    name: RowName,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A row to repeat from these weights; may be repeated. Without it, all that pretrain.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Repeat methods from other initial weights: moco-imagenet beside moco, from the same settings.

    The weights themselves become a row too, a reference without any pretraining here.
    """
    from bench.machine.lock import alone
    from bench.methods.encoders.initialisations import add_initialisation

    with alone("bench add-initialisation"):
        added = add_initialisation(file, name, method or [])
    _print_start(added)
    typer.echo(f"New in params.yaml: {', '.join(added.rows)}")
    for row, datasets in added.left_out.items():
        typer.echo(
            f"{row}: the hyper-parameters that datasets.{', '.join(datasets)} sets for its like are not "
            "repeated; enter them by hand if it should have them."
        )
    typer.echo("Run them with: dvc repro")


def add_reference(
    name: Annotated[str, typer.Argument(help="supervised or imagenet.", show_default=False)],
    file: Annotated[
        Path | None, typer.Argument(help="Weights of imagenet: safetensors, or a state dict of torch.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A hyper-parameter that differs from its default; may be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Enter a reference as a row: supervised (all labels, from scratch) or imagenet (a file as it is).

    References are drawn beside the other rows, and are out of ranks and of corrections for multiplicity.
    """
    from bench.machine.lock import alone
    from bench.methods.encoders.references import add_reference

    with alone("bench add-reference"):
        for loaded in add_reference(name, file, assignments or []):
            typer.echo(loaded.words)
    typer.echo(f"{name} is in params.yaml, as a reference.")
    typer.echo("Run it with: dvc repro")


def export_encoder(
    dataset: Annotated[str, typer.Argument(help="Data set it was pretrained on.", show_default=False)],
    method: Annotated[str, typer.Argument(help="Name of a method in params.yaml.", show_default=False)],
    seed: Annotated[int | None, typer.Option(help="Of the run; the first by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the two files.")] = Path("encoders"),
) -> None:
    """Write a pretrained encoder for torchvision and timm: safetensors, and a model card as JSON."""
    from bench.methods.encoders.exported import export_encoder
    from bench.protocol.protocol import read_protocol

    exported = export_encoder(dataset, method, seed, out, read_protocol())
    typer.echo(f"weights: {exported.weights}\nmodel card: {exported.card}")
    if exported.loaded_by:
        typer.echo(f"The card has the lines that load it with {' and with '.join(exported.loaded_by)}.")
    else:
        typer.echo("Neither torchvision nor timm builds an encoder of this width; the card says so.")


def _print_start(added: "NewStart") -> None:
    for loaded in added.loaded:
        typer.echo(loaded.words)
