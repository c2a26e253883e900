"""What DVC shows: tables for ``dvc plots show`` and the page around them, rows for ``dvc metrics show``."""

import shutil

import pandas as pd

from bench.cells.files import REPORTS, write_json, write_table
from bench.report.charts.vega import chart_script
from bench.report.layout import BY_LABEL_SET, EVALUATION_NAMES
from bench.report.material.label_counts import drawn_labels
from bench.summary.draws import Comparison
from bench.summary.summary import Summary
from imssl.durable import write_text
from imssl.settings.encoder import BLOCKS
from imssl.settings.labels import LabelSet

PLOTS = REPORTS / "plots"
# The template of `plots.html_template` in .dvc/config: DVC's own loads Vega from a network.
PLOTS_PAGE = REPORTS / "plots.html"
METRICS = REPORTS / "metrics.json"
# DVC prints a row for each file with metrics, and a column for each value in it.
METRIC_ROWS = REPORTS / "metrics"
# Of a label set: where it stands, what was asked for, what was drawn.
LABELS = ("fraction", "labels", "drawn")


def write_plot_tables(summary: Summary) -> None:
    """Write the tables that dvc.yaml draws; a mean that lacks a seed is not in them."""
    for name, table in plot_tables(summary).items():
        write_table(PLOTS / f"{name}.csv", table)


def write_plots_page() -> None:
    """Write the page in which DVC puts its charts, with the script that draws them inside."""
    script = chart_script().replace("</script", "<\\/script")
    write_text(
        PLOTS_PAGE,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{refresh_tag}\n'
        f"<title>Plots of DVC</title>\n<script>{script}</script>\n</head>\n"
        "<body>\n{plot_divs}\n</body>\n</html>\n",
    )


def write_short_metrics(summary: Summary) -> None:
    """Write means of the primary metrics, and the few of them by which rows compare in files of their own."""
    short = short_metrics(summary)
    write_json(METRICS, short)
    shares = summary.protocol.label_shares
    ends = list(dict.fromkeys(labels.id for labels in (shares[0], shares[-1])))
    places = [f"{evaluation} {labels}" for evaluation in BY_LABEL_SET for labels in ends]
    places.append(f"probe block {BLOCKS}")
    shutil.rmtree(METRIC_ROWS, ignore_errors=True)
    METRIC_ROWS.mkdir(parents=True)
    for dataset, methods in short.items():
        for method, means in methods.items():
            row = {place: means[place] for place in places if place in means}
            write_json(METRIC_ROWS / dataset / f"{method}.json", row)


def short_metrics(summary: Summary) -> dict[str, dict[str, dict[str, float]]]:
    """Means of the primary metrics by data set, method and ``knn 5-per-class``, ``probe block 4``, ..."""
    short: dict[str, dict[str, dict[str, float]]] = {}
    for name in summary.measured:
        mean = summary.mean(name)
        wanted = name.evaluation in EVALUATION_NAMES and name.class_name == ""
        if wanted and mean is not None and name.metric == summary.primary(name.dataset):
            place = f"block {name.block}" if name.labels is None else name.labels.id
            place = f"{name.evaluation} {place}"
            short.setdefault(name.dataset, {}).setdefault(name.method, {})[place] = round(mean, 6)
    return short


def plot_tables(summary: Summary) -> dict[str, pd.DataFrame]:
    """Primary metric by share of the labels, by block, and the pretraining loss by epoch.

    A label set of so many labels per class stands at the share of the training images that was drawn for it;
    beside the share stand what was asked for and the labels that were drawn, for training + validation.
    """
    rows: dict[str, list[dict[str, object]]] = {evaluation: [] for evaluation in EVALUATION_NAMES}
    for place, column in summary.columns.items():
        for method, values in zip(column.methods, column.values, strict=True):
            named = {"dataset": place.dataset, "method": method}
            point = {"block": place.block} if place.labels is None else _labels(summary, place, place.labels)
            rows[place.evaluation].append(named | point | {"metric": values.mean()})
    curves = summary.curves
    loss = curves[curves["quantity"] == "loss"].rename(columns={"mean": "loss"})
    return {
        "label_efficiency": _table(rows["finetune"], *LABELS, "metric"),
        "label_efficiency_frozen": _table(rows["frozen"], *LABELS, "metric"),
        "label_efficiency_knn": _table(rows["knn"], *LABELS, "metric"),
        "probing_profile": _table(rows["probe"], "block", "metric"),
        "pretraining_loss": loss[["dataset", "method", "epoch", "loss"]].reset_index(drop=True),
    }


def _labels(summary: Summary, place: Comparison, labels: LabelSet) -> dict[str, object]:
    drawn = drawn_labels(summary, place.dataset, place.evaluation, labels)
    share = labels.fraction if labels.fraction is not None else drawn and drawn.middle_share
    return {"fraction": share, "labels": labels.name, "drawn": drawn.counts if drawn else ""}


def _table(rows: list[dict[str, object]], *columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", "method", *columns])
