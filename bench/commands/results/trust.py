"""Verbs that say how far a number can be trusted: audit-data, trap."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.commands.terminal.console import complete_dataset, complete_trap, console
from imssl.errors import UserError, printable

if TYPE_CHECKING:
    from bench.datasets.manifest import Changes
    from bench.trust.data_audit import Audit

# A table lists at most so many names or findings, then says how many more there are.
LISTED = 6
NO_LEAKS = "nothing crosses from one split to another"


def audit_data(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of data sets; by default all of params.yaml.", autocompletion=complete_dataset
        ),
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(
            help="Correlation of their pixels from which two images count as near-identical; by default what "
            "is unusual for two images of the data set, at most 0.995.",
            min=0.5,
            max=1,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Audit the prepared data: what each split holds, and what is in more than one split.

    Finds patients with images in several splits, and images that are copies of one another but for
    brightness, contrast or compression, and says which raw files have changed since. Exit status 1 if a
    patient or a copy is in more than one split.
    """
    from bench.cells.files import data_folder, is_prepared
    from bench.cells.store.last_checks import digest_of_data, keep
    from bench.datasets.raw_changes import changed_since_prepared
    from bench.protocol.nearest_name import refuse_unknown
    from bench.protocol.protocol import read_protocol
    from bench.trust.data_audit import audit
    from imssl.datasets.prepared import read_prepared

    settings = read_protocol().datasets
    known = list(settings)
    for name in datasets or []:
        refuse_unknown("data set", name, known)
    missing = [name for name in datasets or known if not is_prepared(name)]
    if missing:
        stages = " ".join(f"data@{name}" for name in missing)
        raise UserError(f"the images of {', '.join(missing)} are not prepared yet. Run: dvc repro {stages}")
    audits = [audit(name, read_prepared(data_folder(name)), correlation) for name in datasets or known]
    raw = {
        audited.dataset: changed_since_prepared(audited.dataset, settings[audited.dataset])
        for audited in audits
    }
    content = [{**asdict(a), "raw_files": _as_json(raw[a.dataset])} for a in audits]
    leaks = sum(len(audited.leaks) for audited in audits)
    cards = {audited.dataset: read_prepared(data_folder(audited.dataset)).card for audited in audits}
    verdict = f"{leaks} cross from one split to another" if leaks else NO_LEAKS
    if len(audits) < len(known):
        verdict = f"{', '.join(cards)} only: {verdict}"
    keep("audit-data", verdict, content, fine=not leaks, about=digest_of_data(cards))
    if as_json:
        import json

        typer.echo(json.dumps(content, indent=1))
    else:
        for audited in audits:
            _print_audit(audited)
            _print_raw_changes(raw[audited.dataset])
    raise typer.Exit(1 if leaks else 0)


def _as_json(changes: "Changes | str | None") -> dict[str, list[str]] | str | None:
    return changes if changes is None or isinstance(changes, str) else asdict(changes)


def _print_raw_changes(changes: "Changes | str | None") -> None:
    if changes is None:
        return
    out = console()
    if isinstance(changes, str):
        out.print(escape(changes))
        return
    for kind, names in vars(changes).items():
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            out.print(f"raw files {kind} since it was prepared: {escape(', '.join(names[:LISTED]))}{more}")
    out.print("Prepare it again with: bench repro")


def _print_audit(audit: "Audit") -> None:
    out = console()
    height, width, channels = audit.image_shape
    left_out = f"; {audit.skipped} of the source left out" if audit.skipped else ""
    depth = "1 channel" if channels == 1 else f"{channels} channels"
    out.print(f"\n[bold]{audit.dataset}[/]: {height} x {width} pixels, {depth}{left_out}")
    table = Table("split", "images", "patients", "images with each class", box=None, pad_edge=False)
    for content in audit.contents:
        classes = ", ".join(
            f"{escape(name)} {count} ({count / max(content.images, 1):.0%})"
            for name, count in content.per_class.items()
        )
        patients = "not known" if content.patients is None else str(content.patients)
        table.add_row(content.split, str(content.images), patients, classes)
    out.print(table)
    for split, name in audit.unrepresented:
        out.print(f"no image of class {escape(name)} in {split}")
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
            table.add_row(
                finding.kind,
                where,
                escape(printable(names)) + more,
                escape(printable(finding.detail)) + differ,
            )
        out.print(table)
    rest = len(audit.findings) - LISTED
    if rest > 0:
        out.print(f"and {rest} more findings; --json lists all")
    verdict = f"[red]{len(audit.leaks)} cross from one split to another[/]" if audit.leaks else NO_LEAKS
    out.print(f"{len(audit.findings)} findings; {verdict}")


def trap(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the trap; without it, all are listed.", autocompletion=complete_trap),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most cells to set it on; if not given, all, or 6 where images are encoded anew."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Set a trap known from released code on the finished cells, and show how far it moves the numbers.

    Nothing is trained or written: the honest number and the trapped one come from the same stored files.
    """
    from bench.protocol.protocol import read_protocol
    from bench.trust.traps import TRAPS, cells_for, spring

    out = console()
    if name is None:
        table = Table("bench trap", "what it does", box=None, pad_edge=False)
        for trap_name, trap in TRAPS.items():
            table.add_row(trap_name, trap.mistake)
        out.print(table)
        return
    protocol = read_protocol()
    finished = len(cells_for(name, protocol))
    trapped = spring(name, protocol, cells)
    most = cells or TRAPS[name].most_cells or finished
    if most < finished:
        typer.echo(f"set on {most} of {finished} finished cells; for more: --cells {finished}", err=True)
    if as_json:
        import json

        typer.echo(json.dumps([{**asdict(number), "moved": number.moved} for number in trapped], indent=1))
        return
    table = Table("where", "number", "honest", "trapped", "moved", box=None, pad_edge=False)
    for number in trapped:
        values = (f"{number.honest:.3f}", f"{number.trapped:.3f}", f"{number.moved:+.3f}")
        table.add_row(escape(number.where), escape(number.quantity), *values)
    out.print(table)
    mean = sum(number.moved for number in trapped) / len(trapped)
    largest = max((number.moved for number in trapped), key=abs)
    count = "1 number" if len(trapped) == 1 else f"{len(trapped)} numbers"
    out.print(f"{TRAPS[name].mistake}: moves {count} by {mean:+.3f} on average, at most by {largest:+.3f}")
