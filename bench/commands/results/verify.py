"""``bench verify``: checks a finished run, and computes cells again."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.commands.results.rerun import print_rerun
from bench.commands.terminal.console import console
from imssl.errors import UserError

if TYPE_CHECKING:
    from bench.trust.verify.check import Check, Disagreement
    from bench.trust.verify.rerun import Rerun

# A table lists at most so many disagreements, then says how many more there are.
MOST_DISAGREEMENTS = 40


def verify(
    rerun: Annotated[
        int,
        typer.Option(help="Also compute this many cells, drawn at random, again and compare them.", min=0),
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Draw the cells for --rerun by this seed, to repeat an earlier draw; by default nobody can "
            "know them before.",
            min=0,
            show_default=False,
        ),
    ] = None,
    strict_versions: Annotated[
        bool,
        typer.Option(
            "--strict-versions",
            help="Fail where cells were made with several versions of a library.",
        ),
    ] = False,
    study: Annotated[
        str | None,
        typer.Option(help="Check a published study instead: its statistics from its stored predictions."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check a finished run: every checksum, and every number against the stored predictions.

    Metrics are recomputed from their definitions, not with the code that computed them first. A cell that is
    computed again must be equal bit for bit; on another machine or device, or with other package versions,
    it may differ by no more than two seeds do. Exit status 1 if anything disagrees.

    Raises:
        UserError: a seed without cells to draw, or --study beside an option that is about cells of a run.
    """
    if study is not None:
        if rerun or seed is not None or strict_versions:
            raise UserError(
                "--study recomputes what is stored and runs nothing: leave --rerun, --seed and "
                "--strict-versions out"
            )
        raise typer.Exit(_verify_study(study, as_json))
    if seed is not None and not rerun:
        raise UserError("--seed draws the cells for --rerun. Run: bench verify --rerun 1 --seed " + str(seed))
    import secrets

    from bench.cells.store.last_checks import digest_of_results, keep, records_at
    from bench.commands.terminal.progress import progress_of
    from bench.machine.lock import alone
    from bench.protocol.cell import all_cells
    from bench.protocol.protocol import read_protocol
    from bench.trust.verify.all_checks import cells_with_results, run_checks
    from bench.trust.verify.check import disagreements
    from bench.trust.verify.rerun import rerun_cells

    drawn_by = secrets.randbits(32) if seed is None else seed
    protocol = read_protocol()
    # Before the lock, which is the first file that a command writes: one that is refused leaves nothing.
    cells = cells_with_results(protocol)
    with alone("bench verify"), progress_of("verify") as on_progress:
        verified = run_checks(protocol, cells, strict_versions, on_progress)
        reruns = rerun_cells(protocol, rerun, drawn_by, on_progress) if rerun else []
    wrong = list(disagreements(verified.checks))
    agreed = not wrong and all(result.agrees for result in reruns)
    content = {
        "agreed": agreed,
        "checks": [asdict(check) for check in verified.checks],
        "numbers": verified.numbers,
        "seconds": round(verified.seconds, 1),
        "seed": drawn_by if rerun else None,
        "reruns": [{**asdict(r), "equal": r.equal, "agrees": r.agrees} for r in reruns],
    }
    about = digest_of_results(records_at(all_cells(protocol)))
    keep("verify", _verdict(agreed, reruns), content, fine=agreed, about=about)
    if as_json:
        import json

        typer.echo(json.dumps(content, indent=1))
    else:
        print_checks(verified.checks, wrong)
        if verified.numbers:
            rate = verified.numbers / max(verified.seconds, 1e-9)
            typer.echo(
                f"{verified.numbers:,} numbers recomputed and the report made again in "
                f"{verified.seconds:.1f} s: {rate:,.0f} numbers a second"
            )
        if reruns:
            for result in reruns:
                print_rerun(result)
            typer.echo(f"the same draw again: bench verify --rerun {rerun} --seed {drawn_by}")
        typer.echo(_verdict(agreed, reruns))
    raise typer.Exit(0 if agreed else 1)


def _verify_study(name: str, as_json: bool) -> int:
    """Check a published study; the exit status."""
    from bench.commands.terminal.progress import progress_of
    from bench.studies.verify import verify_study
    from bench.trust.verify.check import disagreements

    with progress_of("verify") as on_progress:
        checks = verify_study(name, on_progress)
    wrong = list(disagreements(checks))
    if as_json:
        import json

        content = {"agreed": not wrong, "study": name, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(content, indent=1))
    else:
        print_checks(checks, wrong)
        typer.echo(_verdict(not wrong, []))
    return 1 if wrong else 0


def _verdict(agreed: bool, reruns: "list[Rerun]") -> str:
    if not agreed:
        return "not everything agrees"
    differing = sum(not result.equal for result in reruns)
    if differing:
        cells = "1 cell" if differing == 1 else f"{differing} cells"
        return (
            f"{cells} computed again elsewhere came out otherwise, by no more than two seeds differ; "
            "the rest agrees"
        )
    return "everything agrees"


def print_checks(checks: "list[Check]", wrong: "list[tuple[str, Disagreement]]") -> None:
    """Print what checks compared, and their disagreements with the names of the checks."""
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
