"""What ``bench report`` prints: two methods against each other, and the schema of results.json."""

import json

import pandas as pd
import typer
from rich.table import Table

from bench.analysis.differences import paired_differences
from bench.analysis.document import ResultsDocument
from bench.commands.terminal.console import console
from bench.protocol.label_columns import labels_in
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol, read_protocol
from bench.report.layout import EVALUATION_NAMES, METRIC_NAMES, number, percent, signed, span
from bench.report.material.label_counts import labels_drawn
from bench.report.material.wording import CORRECTED, CORRECTION, difference_note, p_figure
from bench.summary.read import read_results
from bench.summary.summary import summarise
from bench.summary.tidy import has_results
from imssl.errors import UserError


def print_comparison(method: str, baseline: str) -> None:
    """Print the paired comparison of two methods of params.yaml, with the results that are there.

    Raises:
        UserError: an id is not among the methods, or both are the same.
    """
    protocol = read_protocol()
    check_ids(protocol, method, baseline)
    results = read_results(protocol)
    if not has_results(results.table):
        raise UserError("--compare: there are no results to compare yet. Run: dvc repro")
    summary = summarise(protocol, results)
    settings = protocol.report.model_copy(update={"baseline": baseline})
    differences = paired_differences(summary.columns.values(), [method], settings)
    differences["drawn"] = [
        labels_drawn(summary, row["dataset"], row["evaluation"], labels_in(row))
        for row in differences.to_dict("records")
    ]
    out = console()
    for evaluation, rows in differences.groupby("evaluation", sort=False):
        out.print(comparison_table(rows, EVALUATION_NAMES[str(evaluation)], protocol.report.level))
    out.print(explanation(protocol, method, baseline))


def print_schema() -> None:
    """Print the JSON schema of reports/results.json."""
    typer.echo(json.dumps(ResultsDocument.model_json_schema(), indent=1))


def check_ids(protocol: Protocol, method: str, baseline: str) -> None:
    """Refuse ids that cannot be compared.

    Raises:
        UserError: an id is not among the methods, or both are the same.
    """
    for name in (method, baseline):
        if name not in protocol.methods:
            raise UserError(
                f"--compare: there is no method {name} in params.yaml. "
                f"The methods are: {', '.join(protocol.methods)}.{did_you_mean(name, protocol.methods)}"
            )
    if method == baseline:
        raise UserError(f"--compare: {method} is compared with itself. Name two methods.")


def comparison_table(rows: pd.DataFrame, title: str, level: float) -> Table:
    """Differences of one evaluation, a row per data set and label set or block.

    Args:
        rows: as DifferenceRow; ``drawn`` says how many labels there were.
        title: of the table.
        level: of the intervals.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    by_labels = bool(rows["block"].isna().all())
    for name in ("data set", *(("labels", "drawn") if by_labels else ("block",)), "metric"):
        table.add_column(name)
    for name in ("difference", f"{percent(level)} interval", "p", CORRECTED):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        labels = labels_in(row)
        place = f"{row['block']}" if labels is None else labels.name
        drawn = (row["drawn"],) if by_labels else ()
        names = (row["dataset"], place, *drawn, METRIC_NAMES.get(row["metric"], ""))
        if row["reason"]:
            table.add_row(*names, "missing", "–", "–", "–", style="dim")
        else:
            figures = (signed(row["effect"]), span(row["low"], row["high"]))
            style = "bold" if row["distinguishable"] else None
            table.add_row(*names, *figures, _p(row["p"]), _p(row["p_corrected"]), style=style)
    holes = rows[rows["reason"] != ""]
    table.caption = "\n".join(dict.fromkeys(holes["dataset"] + ": " + holes["reason"]))
    table.caption_justify = "left"
    return table


def explanation(protocol: Protocol, method: str, baseline: str) -> str:
    """How the tables are read."""
    seeds, settings = len(protocol.seeds), protocol.report
    note = difference_note(method, baseline, seeds, settings)
    if seeds < settings.least_seeds:
        return note
    return f"{note} Bold: p below {number(1 - settings.level, 2)} when {CORRECTION}."


def _p(value: float) -> str:
    return "–" if pd.isna(value) else p_figure(value)
