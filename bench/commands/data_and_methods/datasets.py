"""Verbs on data sets: look at images and enter them, list and remove them."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.commands.terminal.console import console
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.datasets.adding.proposal import Proposal, Seen

EXAMPLES = 3
FACT_WIDTH = 14  # of the longest fact, "cannot be used"
DatasetName = Annotated[str, typer.Argument(help="Name of a data set in params.yaml.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def add_dataset(
    path: Annotated[
        str,
        typer.Argument(
            help="Folder or zip with images, a table beside them, or a file of MedMNIST.", show_default=False
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name in params.yaml; by default the folder's.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="nih, idc, eyepacs or kermany: the files are theirs, in their owners' layout."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass, ordinal or multilabel, if not what is suspected.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes in their order, with commas between: normal,ill")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="CSV, TSV, Parquet or Excel file with a row for each image.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of an Excel file; by default the first.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Column that names the image files.")] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column with the images themselves (Hugging Face).")
    ] = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with the label; several times if each class has a column of 0 and 1."),
    ] = None,
    separator: Annotated[str | None, typer.Option(help="Between several labels in one cell.")] = None,
    no_finding: Annotated[
        str | None, typer.Option(help="Value of the label column that stands for none of the classes.")
    ] = None,
    label_value: Annotated[
        list[str] | None,
        typer.Option(metavar="WRITTEN=MEANT", help="Read a label as another, such as virus=pneumonia."),
    ] = None,
    patient_column: Annotated[str | None, typer.Option(help="Column with the id of the patient.")] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression for the file names, such as '(?P<patient>p[0-9]+)_'."),
    ] = None,
    split_column: Annotated[str | None, typer.Option(help="Column with train, val or test.")] = None,
    splits: Annotated[
        str | None, typer.Option(help="official, or drawn: draw them, whatever the data set has.")
    ] = None,
    split_by: Annotated[
        str | None, typer.Option(help="Attribute that a drawn split keeps together, such as site.")
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(help="Columns, named groups or DICOM keywords for subgroups: sex,age"),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the prepared images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for colour.")] = None,
    fit: Annotated[str | None, typer.Option(help="pad, stretch or crop to a square.")] = None,
    window: Annotated[
        tuple[int, int] | None, typer.Option(help="Lowest and highest value of 16-bit greys or DICOM.")
    ] = None,
    horizontal_flip: Annotated[
        bool | None, typer.Option(help="Whether augmentation may mirror left and right.")
    ] = None,
    vertical_flip: Annotated[
        bool | None, typer.Option(help="Whether augmentation may turn upside down.")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of a drawn split.")] = None,
    on_bad_image: Annotated[
        str | None, typer.Option(help="error, or skip: leave out what cannot be used, and list it.")
    ] = None,
    follow_links: Annotated[
        list[str] | None, typer.Option(help="Another folder in which links may end; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and report, but write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at your images, say what was found, and enter them into params.yaml.

    What is clear is not asked; what is not is named with the option that settles it (exit status 2). The row
    is written whole or not at all, and comments stay.
    """
    from bench.datasets.adding.entering import DatasetRequest, enter, propose
    from bench.datasets.adding.suggestion import Options
    from bench.machine.lock import alone

    request = DatasetRequest(
        path=path,
        source=source,
        name=name,
        table=table,
        sheet=sheet,
        options=Options(
            task=task,
            classes=_listed(classes),
            label_columns=tuple(label_column or ()),
            separator=separator,
            no_finding=no_finding,
            label_values=tuple(_pair(written) for written in label_value or ()),
            path_column=path_column,
            image_column=image_column,
            patient_column=patient_column,
            patient_pattern=patient_pattern,
            split_column=split_column,
            splits=splits,
            split_by=split_by,
            attributes=_listed(attributes),
        ),
        images={
            "size": size,
            "channels": channels,
            "fit": fit,
            "window": list(window) if window else None,
            "horizontal_flip": horizontal_flip,
            "vertical_flip": vertical_flip,
            "split_seed": split_seed,
            "on_bad_image": on_bad_image,
        },
        follow_links=tuple(follow_links or ()),
    )
    proposal = None
    try:
        proposal = propose(request, None if as_json else _print_seen)
        if not as_json:
            _print_proposal(proposal)
        if proposal.problem:
            raise UserError(proposal.problem)
        if not dry_run:
            with alone("bench add-dataset"):
                enter(proposal)
    except UserError as error:
        if as_json:
            facts = vars(proposal) if proposal else {}
            print(json.dumps({"written": False, "error": str(error), **facts}, ensure_ascii=False, indent=1))
        raise
    if as_json:
        print(json.dumps({"written": not dry_run, **vars(proposal)}, ensure_ascii=False, indent=1))
        return
    _print_what_runs(proposal, dry_run)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _pair(assignment: str) -> tuple[str, str]:
    written, equals, meant = assignment.partition("=")
    if not equals:
        raise UserError(f"--label-value {assignment}: give WRITTEN=MEANT, for example virus=pneumonia")
    return written, meant


def _print_seen(seen: "Seen") -> None:
    """What lies there: said first, so that whoever has to say more about it knows it."""
    look = seen.look
    sizes = ", ".join(f"{width} x {height} ({count:,})" for (width, height), count in look.sizes[:5])
    more = f", and {len(look.sizes) - 5} other sizes" if len(look.sizes) > 5 else ""
    facts = {
        "images": f"{seen.images:,}",
        "sizes": f"{sizes or 'none'}{more}, of {look.decoded:,} images looked at",
        "modes": ", ".join(f"{mode} ({count:,})" for mode, count in look.modes.items()) or "none",
        "copies": _copies_in_words(seen.copies),
    }
    _print_facts(facts)


def _copies_in_words(copies: dict[str, str] | None) -> str:
    if copies is None:
        return "not looked for: too many files"
    examples = [f"{name} is {original}" for name, original in list(copies.items())[:EXAMPLES]]
    return "; ".join([f"{len(copies):,}", *examples, *(["..."] if len(copies) > EXAMPLES else [])])


def _print_proposal(proposal: "Proposal") -> None:
    row = proposal.row
    # The row of images of one's own says what its labels are; a published data set is known by its source.
    is_own = "task" in row
    way_out = "; see --patient-column, --patient-pattern" if is_own else ""
    patients = f"not known: each image counts as a patient of its own{way_out}"
    unit = "image"
    if proposal.images_per_patient is not None:
        examples = ", ".join(f"{name} → {patient}" for name, patient in proposal.patient_examples.items())
        fewest, most = proposal.images_per_patient
        number = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        patients = f"{proposal.patients:,}, with {number} usable {_plural('image', most)} each ({examples})"
        unit = "patient"
    if row.get("split_by", "patient") != "patient":
        unit += f" and {row['split_by']}"
    drawn = f"none: 70% train, 10% val, 20% test are drawn by {unit}"
    greys = f"; greys from {row['window'][0]} to {row['window'][1]}" if "window" in row else ""
    facts = {
        "source": row["source"] + (f", table {row['table']}" if "table" in row else ""),
        "path": row["path"],
        "usable": f"{proposal.images:,} {_plural('image', proposal.images)}",
        "task": proposal.task + (f"{_by_which_column(row)}; --task says otherwise" if is_own else ""),
        "classes": ", ".join(f"{name} {count:,}" for name, count in proposal.classes.items()),
        "patients": patients,
        "splits": ", ".join(f"{name} {count:,}" for name, count in proposal.splits.items()) or drawn,
        "attributes": ", ".join(proposal.attributes) or "none",
        "prepared as": f"{row['size']} x {row['size']} pixels, {row['channels']} "
        f"{_plural('channel', row['channels'])}{greys}",
    }
    _print_facts(facts)
    for kind, entries in (("cannot be used", proposal.unusable), ("is not used", proposal.unused)):
        for entry in entries:
            _print_facts({kind: _in_words(entry)})
    for warning in proposal.warnings:
        _print_facts({"warning": warning}, style="bold red")


def _print_facts(facts: dict[str, str], style: str = "bold") -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=FACT_WIDTH, no_wrap=True)
    for fact, value in facts.items():
        table.add_row(Text(fact, style=style), Text(value))
    console().print(table)


def _plural(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}s"


def _by_which_column(row: dict[str, Any]) -> str:
    columns = row.get("label_columns", [])
    separated = f" separated by {row['separator']!r}" if "separator" in row else ""
    return f" by column {', '.join(columns)}{separated}" if columns else " by folder"


def _in_words(entry: dict[str, Any]) -> str:
    more = ", ..." if entry["count"] > len(entry["first"]) else ""
    return f"{entry['count']:,}: {entry['reason']}: {', '.join(entry['first'])}{more}"


def _print_what_runs(proposal: "Proposal", dry_run: bool) -> None:
    from bench.protocol.cell import all_cells
    from bench.protocol.protocol import read_protocol

    if dry_run:
        typer.echo(f"Nothing was written (--dry-run). The row would be {proposal.name}:")
        typer.echo("\n".join(f"  {key}: {json.dumps(value)}" for key, value in proposal.row.items()))
        return
    protocol = read_protocol()
    cells = sum(cell.dataset == proposal.name for cell in all_cells(protocol))
    numbers = {
        "method": len(protocol.methods),
        "seed": len(protocol.seeds),
        "label set": len(protocol.label_sets),
    }
    typer.echo(f"{proposal.name} is in params.yaml.")
    typer.echo(
        f"bench repro will prepare it and compute {cells} {_plural('cell', cells)}: "
        + ", ".join(f"{number} {_plural(noun, number)}" for noun, number in numbers.items())
        + ". No finished cell of another data set is computed again."
    )
    typer.echo(
        f"Look first: dvc repro data@{proposal.name} && bench preview {proposal.name} && "
        f"bench audit-data {proposal.name} && bench check"
    )


def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets of params.yaml: source, task, images, patients, and what was left out."""
    from dataclasses import asdict

    from bench.datasets.listing import listed_datasets
    from bench.protocol.protocol import read_protocol

    rows = listed_datasets(read_protocol())
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
        return
    table = Table("data set", "source", "task", "classes", "images", "patients", "pixels", "left out", "path",
                  box=None, pad_edge=False)  # fmt: skip
    for row in rows:
        images = ", ".join(f"{split} {count}" for split, count in row.images.items()) or "not prepared"
        classes = str(len(row.classes)) if row.classes else "–"
        patients = "–" if row.patients is None else str(row.patients)
        pixels = f"{row.size} x {row.size} x {row.channels}"
        texts = (row.id, row.source, row.task or "–", classes, images, patients, pixels, str(row.left_out))
        table.add_row(*(Text(text) for text in (*texts, row.path or "–")))
    console().print(table)


def remove_dataset(name: DatasetName) -> None:
    """Remove a data set from params.yaml; its finished cells are kept, and found again if it comes back."""
    from bench.datasets.adding.entering import remove
    from bench.machine.lock import alone

    with alone("bench remove-dataset"):
        remove(name)
    typer.echo(f"{name} is no longer in params.yaml; its raw files are untouched.")
    typer.echo(f"Its finished cells stay in .bench/; its prepared images stay in data/{name}.")
    typer.echo("Bring the leaderboard up to date with: dvc repro")
