"""Verbs that say how far a number can be trusted: verify, audit-data, trap."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.audit import Audit

# Names that a table lists before it says how many more there are.
LISTED = 6


def audit_data(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Data sets; by default all of params.yaml.")
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(
            help="Of the pixels of two images that count as near-identical; by default what is unusual "
            "for two images of the data set, at most 0.995.",
            min=0.5,
            max=1,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Look through the prepared data: what each split holds, and what is in two splits.

    Finds patients with images in several splits, and images that are copies of one another but for
    brightness, contrast or compression. Exit status 1 if either crosses from one split to another.
    """
    from bench.audit import audit
    from bench.protocol import read_protocol
    from bench.results import data_folder
    from imssl.datasets.prepared import read_prepared

    known = list(read_protocol().datasets)
    unknown = [name for name in datasets or [] if name not in known]
    if unknown:
        raise UserError(f"data set {unknown[0]} is not in params.yaml; there are: {', '.join(known)}")
    audits = [audit(name, read_prepared(data_folder(name)), correlation) for name in datasets or known]
    if as_json:
        import json

        typer.echo(json.dumps([asdict(one) for one in audits], indent=1))
    else:
        for one in audits:
            _print_audit(one)
    raise typer.Exit(1 if any(one.leaks for one in audits) else 0)


def _print_audit(audit: "Audit") -> None:
    console = Console()
    height, width, channels = audit.image_shape
    left_out = f"; {audit.skipped} of the source left out" if audit.skipped else ""
    console.print(f"\n[bold]{audit.dataset}[/]: {height} x {width} pixels, {channels} channels{left_out}")
    table = Table("split", "images", "patients", "images with each class", box=None, pad_edge=False)
    for content in audit.contents:
        classes = ", ".join(
            f"{escape(name)} {count} ({count / max(content.images, 1):.0%})"
            for name, count in content.per_class.items()
        )
        patients = "not known" if content.patients is None else str(content.patients)
        table.add_row(content.split, str(content.images), patients, classes)
    console.print(table)
    for split, name in audit.unrepresented:
        console.print(f"no image of class {escape(name)} in {split}")
    if audit.findings:
        table = Table("found", "where", "images", "", box=None, pad_edge=False)
        for finding in audit.findings[:LISTED]:
            names = ", ".join(
                f"{id} ({split})"
                for id, split in list(zip(finding.ids, finding.splits, strict=True))[:LISTED]
            )
            more = f" and {len(finding.ids) - LISTED} more" if len(finding.ids) > LISTED else ""
            where = "[red]several splits[/]" if finding.leaks else f"{finding.splits[0]} only"
            differ = "; labels differ" if finding.labels_differ else ""
            table.add_row(finding.kind, where, escape(names) + more, escape(finding.detail) + differ)
        console.print(table)
    rest = len(audit.findings) - LISTED
    if rest > 0:
        console.print(f"and {rest} more findings; --json lists all")
    verdict = (
        f"[red]{len(audit.leaks)} cross from one split to another[/]"
        if audit.leaks
        else "nothing crosses from one split to another"
    )
    console.print(f"{len(audit.findings)} findings; {verdict}")
