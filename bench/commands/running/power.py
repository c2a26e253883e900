"""``bench plan --power``: which differences a run can show, before anybody has seen one."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from bench.analysis.differences import DifferenceRow, paired_differences
from bench.analysis.document import read_document
from bench.analysis.power import ColumnPower, MeasuredDifference, plan_power
from bench.analysis.row_models import records
from bench.cells.method_facts import reference_methods
from bench.commands.terminal.console import console
from bench.protocol.label_columns import labels_in
from bench.protocol.protocol import Protocol, read_protocol
from bench.report.layout import EVALUATION_NAMES, number
from bench.report.material.label_counts import labels_drawn
from bench.report.material.wording import CORRECTION
from bench.summary.draws import places
from bench.summary.over_seeds import too_few_seeds
from bench.summary.read import Results, read_results
from bench.summary.summary import Summary, summarise
from imssl.errors import UserError


def print_power(effect: float, pilot: Path | None, as_json: bool) -> None:
    """Print what every column of the leaderboard can show with the protocol's seeds.

    Args:
        effect: a difference that is wanted to be found.
        pilot: results.json of another run, whose scatter is taken; None: the finished cells of this one.
        as_json: print JSON instead of a table.

    Raises:
        UserError: nothing says how much seeds differ.
    """
    protocol = read_protocol()
    results = read_results(protocol)
    summary = None
    if pilot:
        differences = _of_pilot(pilot)
    else:
        summary = summarise(protocol, results)
        differences = _of_finished_cells(summary)
    planned = plan_power(
        differences,
        seeds=len(protocol.seeds),
        patients=_test_patients(results),
        effect=effect,
        level=protocol.report.level,
        tests=_tests(protocol),
        least_seeds=protocol.report.least_seeds,
    )
    if not planned:
        raise UserError(
            f"{pilot or 'results/'} has no difference to the baseline from two seeds or more, so nothing "
            "says how much seeds differ. Run two seeds of a small part first, or name a pilot: "
            "bench plan --power --pilot <results.json>"
        )
    if as_json:
        columns = [asdict(column) for column in planned]
        content = {"effect": effect, "level": protocol.report.level, "columns": columns}
        typer.echo(json.dumps(content, indent=1))
        return
    console().print(power_table(planned, effect, summary, len(protocol.seeds)))
    console().print(_explanation(protocol, planned[0].seeds, effect))


def power_table(planned: list[ColumnPower], effect: float, summary: Summary | None, seeds: int) -> Table:
    """A row per column of the leaderboard.

    Args:
        planned: of each column.
        effect: a difference that is wanted to be found.
        summary: of the finished cells, which say how many labels were drawn; None where there are none.
        seeds: of the protocol.
    """
    shown = planned[0].seeds
    could_find = "could find" if shown == seeds else f"could find, {shown} seeds"
    table = Table(box=None, pad_edge=False)
    for name in ("data set", "evaluation", "labels or block"):
        table.add_column(name)
    for name in ("SD over seeds", "error, patients", "patients", could_find, f"seeds for {number(effect)}"):
        table.add_column(name, justify="right")
    for column in planned:
        labels = labels_in(asdict(column))
        place = f"block {column.block}" if labels is None else labels.name
        if summary and (drawn := labels_drawn(summary, column.dataset, column.evaluation, labels)):
            place += f" ({drawn})"
        table.add_row(
            column.dataset,
            EVALUATION_NAMES[column.evaluation],
            place,
            number(column.seed_deviation),
            number(column.patient_error),
            f"{column.patients:,}",
            "none" if column.detectable is None else number(column.detectable),
            "no number" if column.seeds_needed is None else f"{column.seeds_needed:,}",
        )
    return table


def _explanation(protocol: Protocol, shown: int, effect: float) -> str:
    seeds, least_seeds = len(protocol.seeds), protocol.report.least_seeds
    few = ""
    if seeds < least_seeds:
        few = f" {too_few_seeds(seeds, least_seeds)} So the table says what {shown} would find."
    return (
        f"“Could find”: the smallest difference to {protocol.report.baseline} that is marked with {shown} "
        "seeds with 80% probability (“none”: a metric cannot differ so much); the last column: seeds that "
        f"find {number(effect)} as often (“no number”: the test patients alone leave it open). Differences "
        "are marked whose p is below "
        f"{number(1 - protocol.report.level, 2)} when {CORRECTION}.{few}"
    )


def _of_pilot(file: Path) -> list[MeasuredDifference]:
    return list(read_document(file).differences)


def _of_finished_cells(summary: Summary) -> list[MeasuredDifference]:
    protocol = summary.protocol
    table = paired_differences(summary.columns.values(), list(protocol.methods), protocol.report)
    return [DifferenceRow.model_validate(row) for row in records(table)]


def _tests(protocol: Protocol) -> dict[str, int]:
    """How many differences the table of each evaluation tests."""
    tested = set(protocol.methods) - {*reference_methods(protocol), protocol.report.baseline}
    columns = Counter(
        place.evaluation for dataset in protocol.datasets for place in places(protocol, dataset)
    )
    return {evaluation: max(count * len(tested), 1) for evaluation, count in columns.items()}


def _test_patients(results: Results) -> dict[str, int]:
    counts = {name: card.counts["test"] for name, card in results.cards.items()}
    return {
        name: count.samples if count.patients is None else count.patients for name, count in counts.items()
    }
