"""Verbs that say how far a number can be trusted: verify, audit-data, trap."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.commands.console import console
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.trust.data_audit import Audit
    from bench.trust.verify.check import Check, Disagreement
    from bench.trust.verify.rerun import Rerun

# A table lists at most so many names, findings or disagreements, then says how many more there are.
LISTED = 6
MOST_DISAGREEMENTS = 40


def audit_data(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Names of data sets; by default all of params.yaml.")
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
    brightness, contrast or compression. Exit status 1 if a patient or a copy is in more than one split.
    """
    from bench.cells.files import data_folder
    from bench.protocol.protocol import read_protocol
    from bench.trust.data_audit import audit
    from imssl.datasets.prepared import read_prepared

    known = list(read_protocol().datasets)
    unknown = [name for name in datasets or [] if name not in known]
    if unknown:
        raise UserError(f"data set {unknown[0]} is not in params.yaml; there are: {', '.join(known)}")
    audits = [audit(name, read_prepared(data_folder(name)), correlation) for name in datasets or known]
    if as_json:
        import json

        typer.echo(json.dumps([asdict(audited) for audited in audits], indent=1))
    else:
        for audited in audits:
            _print_audit(audited)
    raise typer.Exit(1 if any(audited.leaks for audited in audits) else 0)


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
            table.add_row(finding.kind, where, escape(names) + more, escape(finding.detail) + differ)
        out.print(table)
    rest = len(audit.findings) - LISTED
    if rest > 0:
        out.print(f"and {rest} more findings; --json lists all")
    verdict = (
        f"[red]{len(audit.leaks)} cross from one split to another[/]"
        if audit.leaks
        else "nothing crosses from one split to another"
    )
    out.print(f"{len(audit.findings)} findings; {verdict}")


def verify(
    rerun: Annotated[
        int,
        typer.Option(help="Also compute this many cells, drawn at random, again and compare them.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draw of cells for --rerun.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check a finished run: every checksum, and every number against the stored predictions.

    Metrics are recomputed with scikit-learn and plain formulas, not with the code that computed them first. A
    cell that is computed again must be equal bit for bit; on another machine or device, or with other
    package versions, the difference is reported instead, beside that between seeds. Exit status 1 if
    anything disagrees.
    """
    from bench.machine.lock import alone
    from bench.protocol.protocol import read_protocol
    from bench.trust.verify.all_checks import run_checks
    from bench.trust.verify.check import disagreements
    from bench.trust.verify.rerun import rerun_cells

    with alone("bench verify"):
        protocol = read_protocol()
        checks = run_checks(protocol)
        reruns = rerun_cells(protocol, rerun, seed) if rerun else []
    wrong = list(disagreements(checks))
    agreed = not wrong and all(result.agrees for result in reruns)
    if as_json:
        import json

        content = {
            "agreed": agreed,
            "checks": [asdict(check) for check in checks],
            "reruns": [{**asdict(result), "agrees": result.agrees} for result in reruns],
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        _print_checks(checks, wrong)
        if reruns:
            _print_reruns(reruns)
        typer.echo("everything agrees" if agreed else "not everything agrees")
    raise typer.Exit(0 if agreed else 1)


def _print_checks(checks: "list[Check]", wrong: "list[tuple[str, Disagreement]]") -> None:
    out = console()
    table = Table("check", "compared", "disagree", box=None, pad_edge=False)
    for check in checks:
        count = len(check.disagreements)
        table.add_row(check.name, str(check.compared), f"[red]{count}[/]" if count else "0")
    out.print(table)
    for check in checks:
        for note in check.notes:
            out.print(escape(note), highlight=False)
    if wrong:
        table = Table("disagreement", "expected", "found", box=None, pad_edge=False)
        for _, disagreement in wrong[:MOST_DISAGREEMENTS]:
            texts = (disagreement.where, disagreement.expected, disagreement.found)
            table.add_row(*(escape(text) for text in texts))
        out.print(table)
    if len(wrong) > MOST_DISAGREEMENTS:
        out.print(f"and {len(wrong) - MOST_DISAGREEMENTS} more; --json lists all")


def _print_reruns(reruns: "list[Rerun]") -> None:
    out = console()
    for rerun in reruns:
        heading = f"\ncomputed again: [bold]{escape(rerun.title)}[/] in {rerun.seconds:.1f} s"
        out.print(heading, highlight=False)
        table = Table("file", "", "largest difference", "between seeds", box=None, pad_edge=False)
        for file in rerun.files:
            same = "bit for bit" if file.equal else "differs" if rerun.elsewhere else "[red]differs[/]"
            table.add_row(file.name, same, _size(file.difference), _size(file.between_seeds))
        out.print(table)
    for origin in sorted({origin for rerun in reruns for origin in rerun.elsewhere}):
        out.print(f"computed elsewhere at first, so a difference is no failure: {escape(origin)}")


def _size(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:.3g}"


def trap(
    name: Annotated[str | None, typer.Argument(help="Name of the trap; without it, all are listed.")] = None,
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
