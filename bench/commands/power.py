"""``bench plan --power``: which differences a run can show, before anybody has seen one."""

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from bench.analysis.differences import DifferenceRow, paired_differences
from bench.analysis.document import read_document
from bench.analysis.power import ColumnPower, MeasuredDifference, plan_power
from bench.analysis.row_models import records
from bench.cells.method_facts import reference_methods
from bench.commands.console import console
from bench.protocol.protocol import Protocol, read_protocol
from bench.report.layout import EVALUATION_NAMES, number, percent
from bench.summary.draws import draw_comparisons, places
from bench.summary.over_seeds import too_few_seeds
from bench.summary.read import Results, read_results
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
    differences = _of_pilot(pilot) if pilot else _of_finished_cells(protocol, results)
    level = _corrected_level(protocol)
    planned = plan_power(
        differences,
        seeds=max(len(protocol.seeds), 2),
        patients=_test_patients(results),
        effect=effect,
        level=level,
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
        typer.echo(json.dumps({"effect": effect, "level": level, "columns": columns}, indent=1))
        return
    console().print(power_table(planned, effect))
    console().print(_explanation(protocol, level, effect))


def power_table(planned: list[ColumnPower], effect: float) -> Table:
    """A row per column of the leaderboard."""
    table = Table(box=None, pad_edge=False)
    for name in ("data set", "evaluation", "labels or block"):
        table.add_column(name)
    for name in ("SD over seeds", "error, patients", "patients", "could find", f"seeds for {number(effect)}"):
        table.add_column(name, justify="right")
    for column in planned:
        place = f"block {column.block}" if column.fraction is None else percent(column.fraction)
        table.add_row(
            column.dataset,
            EVALUATION_NAMES[column.evaluation],
            place,
            number(column.seed_deviation),
            number(column.patient_error),
            f"{column.patients:,}",
            number(column.detectable),
            "no number" if column.seeds_needed is None else f"{column.seeds_needed:,}",
        )
    return table


def _explanation(protocol: Protocol, level: float, effect: float) -> str:
    seeds, least_seeds = len(protocol.seeds), protocol.report.least_seeds
    few = f" {too_few_seeds(seeds, least_seeds)}" if seeds < least_seeds else ""
    return (
        f"“Could find”: the smallest difference to {protocol.report.baseline} that a test with "
        f"{max(seeds, 2)} seeds finds with 80% probability; the last column: seeds that find "
        f"{number(effect)} as often (“no number”: the test patients alone leave it open). "
        f"Tests at p < {1 - level:.2g}, so that all of an evaluation's table hold at once.{few}"
    )


def _of_pilot(file: Path) -> list[MeasuredDifference]:
    return list(read_document(file).differences)


def _of_finished_cells(protocol: Protocol, results: Results) -> list[MeasuredDifference]:
    columns = draw_comparisons(protocol, results).values()
    table = paired_differences(columns, list(protocol.methods), protocol.report)
    return [DifferenceRow.model_validate(row) for row in records(table)]


def _corrected_level(protocol: Protocol) -> float:
    """The level of the strictest step of Holm's correction over the largest of the evaluations' tables."""
    tested = set(protocol.methods) - {*reference_methods(protocol), protocol.report.baseline}
    columns: dict[str, int] = {}
    for dataset in protocol.datasets:
        for place in places(protocol, dataset):
            columns[place.evaluation] = columns.get(place.evaluation, 0) + 1
    return 1 - (1 - protocol.report.level) / max(max(columns.values()) * len(tested), 1)


def _test_patients(results: Results) -> dict[str, int]:
    counts = {name: card.counts["test"] for name, card in results.cards.items()}
    return {
        name: count.samples if count.patients is None else count.patients for name, count in counts.items()
    }
