"""The charts of training curves, and of the output distributions behind a KS value."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from bench.report.charts.encodings import (
    Record,
    drawn_styles,
    figure,
    in_colours,
    method_encoding,
    written,
    written_at_usual_size,
)
from bench.report.charts.vega import FAINT
from bench.report.layout import Figure, listed, number, percent
from bench.report.output_distributions import Outputs
from bench.report.tables.per_dataset import thinned
from bench.summary.summary import Summary

CURVE_POINTS = 120
FEW = 60
# Worked out where it is shown: as text in every record it would be most of the page.
SAYS = "datum.method + ', epoch ' + datum.epoch + ': ' + format(datum.mean, '.3f')"
PANEL, PANELS = 150, 2
# A facet asks for data of its own; the figure puts the records there.
RECORDS = alt.Data(name="records")


def curve_chart(
    summary: Summary, dataset: str, quantity: str, axis: str, methods: Sequence[str]
) -> Figure | None:
    """A quantity of pretraining by epoch; a method that does not pretrain stays where it starts."""
    curves = {name: points for name, points in summary.curve(dataset, quantity).items() if name in methods}
    if not curves:
        return None
    final, records, ends = max(max(points) for points in curves.values()), list[Record](), []
    drawn_points = 0
    for method, points in sorted(curves.items(), key=lambda item: methods.index(item[0])):
        drawn = {**points, final: points[0]} if list(points) == [0] else points
        epochs = thinned(sorted(drawn), CURVE_POINTS)
        drawn_points += len(epochs)
        means = [round(drawn[epoch], 5) for epoch in epochs]
        records.append({"method": method, "epoch": epochs, "mean": means})
        ends.append(f"{method} {number(means[-1])}")
    chart = in_colours(_curves(axis, drawn_points <= FEW), drawn_styles(summary, records))
    words = f"{dataset}, {axis} by epoch of pretraining. At the last epoch: {listed(ends)}."
    name = f"{quantity.replace('_', '-')}-{dataset}"
    return figure(summary, name, f"{dataset}: {axis}", words, methods, records, chart)


@cache
def _curves(axis: str, is_marked: bool) -> dict[str, Any]:
    """Lines by epoch; with a mark at every epoch, or one that is only found by pointing at it."""
    encoding = method_encoding(())
    base = alt.Chart()
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6, tickMinStep=1, grid=False))
    y = alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=False))
    chart = alt.layer(
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=encoding["color"]),
        base.mark_point(filled=True, size=45, opacity=int(is_marked)).encode(
            x=x, y=y, **encoding, tooltip="says:N"
        ),
    )
    return written_at_usual_size(chart.transform_flatten(["epoch", "mean"]).transform_calculate(says=SAYS))


def outputs_chart(
    summary: Summary, dataset: str, outputs: Sequence[Outputs], methods: Sequence[str]
) -> Figure | None:
    """Empirical distributions of a class's probability with few and with all labels, a panel per method."""
    if not outputs:
        return None
    few = f"{percent(outputs[0].fraction)} of the labels"
    names = [few, "all labels"]
    records: list[Record] = []
    for output in outputs:
        # A panel's heading holds the value that its curves are behind.
        panel = f"{output.method}, KS {number(output.distance)}"
        for labels, steps in zip(names, (output.few, output.every), strict=True):
            p, share = zip(*steps, strict=True)
            records.append(
                {"method": output.method, "panel": panel, "labels": labels, "p": p, "share": share}
            )
        gap = {"low": output.low, "high": output.high, "p": [output.at], "share": [None]}
        records.append({"method": output.method, "panel": panel, "labels": "gap", **gap})
    order = tuple(dict.fromkeys(record["panel"] for record in records))
    base = alt.Chart()
    x = alt.X(
        "p:Q", title="predicted probability", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3)
    )
    y = alt.Y(
        "share:Q",
        title="share of test images",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(tickCount=3, format="%"),
    )
    dash = alt.StrokeDash("labels:N", scale=alt.Scale(domain=names, range=[[4, 3], [1, 0]]), legend=None)
    colour = method_encoding(drawn_styles(summary, records))["color"]
    lines = base.transform_filter("datum.labels != 'gap'").mark_line(
        strokeWidth=1.5, interpolate="step-after"
    )
    gaps = base.transform_filter("datum.labels == 'gap'").mark_rule(strokeWidth=2, color=FAINT)
    chart = (
        alt.layer(
            lines.encode(x=x, y=y, strokeDash=dash, color=colour),
            gaps.encode(x=x, y=alt.Y("low:Q", title="share of test images"), y2="high:Q"),
        )
        .properties(width=PANEL, height=PANEL * 0.75)
        .facet(facet=alt.Facet("panel:N", title=None, sort=order), data=RECORDS, columns=PANELS, spacing=18)
        .transform_flatten(["p", "share"])
    )
    first = outputs[0]
    title = f"{dataset}: “{first.class_name}”, seed {first.seed}"
    values = listed([f"{output.method} {number(output.distance)}" for output in outputs])
    words = (
        f"Distribution of the predicted probability of {first.class_name} on {dataset}, dashed with {few}, "
        f"solid with all. Largest gap between the two, the KS distance: {values}."
    )
    rows = -(-len(outputs) // PANELS)
    size = (PANELS * PANEL + 111, rows * round(PANEL * 0.75 + 42) + 31)
    return figure(summary, f"outputs-{dataset}", title, words, methods, records, written(chart), size)
