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

# Names that a table lists before it says how many more there are.
LISTED = 6
MOST_DISAGREEMENTS = 40


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

        typer.echo(json.dumps([asdict(one) for one in audits], indent=1))
    else:
        for one in audits:
            _print_audit(one)
    raise typer.Exit(1 if any(one.leaks for one in audits) else 0)


def _print_audit(audit: "Audit") -> None:
    out = console()
    height, width, channels = audit.image_shape
    left_out = f"; {audit.skipped} of the source left out" if audit.skipped else ""
    out.print(f"\n[bold]{audit.dataset}[/]: {height} x {width} pixels, {channels} channels{left_out}")
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
        typer.Option(help="Compute this many cells again, drawn at random, and compare bit for bit.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw of cells for --rerun.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check a finished run: every checksum, and every number from the stored predictions.

    Metrics are recomputed by scikit-learn and by plain formulas, not by the code that made them. On another
    machine, device or package version than a cell was made with, --rerun reports the size of the difference
    beside that between seeds. Exit status 1 if anything disagrees.
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
    agreed = not wrong and all(one.agrees for one in reruns)
    if as_json:
        import json

        content = {
            "agreed": agreed,
            "checks": [asdict(check) for check in checks],
            "reruns": [{**asdict(one), "agrees": one.agrees} for one in reruns],
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
        for _, one in wrong[:MOST_DISAGREEMENTS]:
            table.add_row(escape(one.where), escape(one.expected), escape(one.found))
        out.print(table)
    if len(wrong) > MOST_DISAGREEMENTS:
        out.print(f"and {len(wrong) - MOST_DISAGREEMENTS} more; --json lists all")


def _print_reruns(reruns: "list[Rerun]") -> None:
    out = console()
    for one in reruns:
        out.print(f"\ncomputed again: [bold]{escape(one.title)}[/] in {one.seconds:.1f} s", highlight=False)
        table = Table("file", "", "largest difference", "between seeds", box=None, pad_edge=False)
        for file in one.files:
            same = "bit for bit" if file.equal else "differs" if one.elsewhere else "[red]differs[/]"
            table.add_row(file.name, same, _size(file.difference), _size(file.between_seeds))
        out.print(table)
    for place in sorted({place for one in reruns for place in one.elsewhere}):
        out.print(f"made elsewhere, so a difference is reported and is no failure: {escape(place)}")


def _size(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:.3g}"


def trap(
    name: Annotated[str | None, typer.Argument(help="Which one; without it, all are listed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Set a trap known from released code on the finished cells, and show how far the numbers move.

    Nothing is trained and nothing is written: the honest number and the trapped one come from the same files.
    """
    from bench.protocol.protocol import read_protocol
    from bench.trust.traps import TRAPS, spring

    out = console()
    if name is None:
        table = Table("bench trap", "what it does", box=None, pad_edge=False)
        for known, kind in TRAPS.items():
            table.add_row(known, kind.what)
        out.print(table)
        return
    found = spring(name, read_protocol())
    if as_json:
        import json

        typer.echo(json.dumps([{**asdict(one), "moved": one.moved} for one in found], indent=1))
        return
    table = Table("where", "number", "honest", "trapped", "moved", box=None, pad_edge=False)
    for one in found:
        numbers = (f"{one.honest:.3f}", f"{one.trapped:.3f}", f"{one.moved:+.3f}")
        table.add_row(escape(one.where), escape(one.quantity), *numbers)
    out.print(table)
    mean = sum(one.moved for one in found) / len(found)
    largest = max((one.moved for one in found), key=abs)
    out.print(
        f"{TRAPS[name].what}: moves {len(found)} numbers by {mean:+.3f} on average, at most {largest:+.3f}"
    )
