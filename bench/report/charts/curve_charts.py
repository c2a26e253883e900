"""The charts of training curves, and of the output distributions behind a KS value."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from bench.report.charts.encodings import (
    Record,
    drawn_of,
    drawn_styles,
    figure,
    in_colours,
    method_encoding,
    written,
    written_at_usual_size,
)
from bench.report.charts.vega import FAINT
from bench.report.layout import Figure, listed, number
from bench.report.material.label_counts import words_with_counts
from bench.report.material.output_distributions import Outputs
from bench.report.material.thinning import thinned
from bench.summary.summary import Summary

CURVE_POINTS = 120
# Of methods that are drawn when they are ticked: with fifty of them the page would be twice as long.
OTHER_CURVE_POINTS = 40
FEW = 60
# Worked out where it is shown: as text in every record it would be most of the page.
SAYS = "datum.method + ', epoch ' + datum.epoch + ': ' + format(datum.mean, '.3f')"
PANEL, PANELS = 150, 2
# A facet asks for data of its own; the figure puts the records there.
RECORDS = alt.Data(name="records")


def curve_chart(
    summary: Summary,
    dataset: str,
    quantity: str,
    axis: str,
    methods: Sequence[str],
    others: Sequence[str] = (),
) -> Figure | None:
    """A quantity of pretraining by epoch; a method that does not pretrain stays where it starts."""
    order = (*methods, *others)
    curves = {name: points for name, points in summary.curve(dataset, quantity).items() if name in order}
    if not set(curves) & set(methods):
        return None
    final, records, ends = max(max(points) for points in curves.values()), list[Record](), []
    drawn_points = 0
    for method, points in sorted(curves.items(), key=lambda item: order.index(item[0])):
        drawn = {**points, final: points[0]} if list(points) == [0] else points
        epochs = thinned(sorted(drawn), CURVE_POINTS if method in methods else OTHER_CURVE_POINTS)
        means = [round(drawn[epoch], 5) for epoch in epochs]
        records.append({"method": method, "epoch": epochs, "mean": means})
        if method in methods:
            drawn_points += len(epochs)
            ends.append(f"{method} {number(means[-1])}")
    chart = in_colours(_curves(axis, drawn_points <= FEW), drawn_styles(summary, drawn_of(records, methods)))
    words = f"{dataset}, {axis} by epoch of pretraining. At the last epoch: {listed(ends)}."
    name = f"{quantity.replace('_', '-')}-{dataset}"
    return figure(
        summary,
        name,
        f"{dataset}: {axis}",
        words,
        methods,
        records,
        chart,
        dataset,
        # What does not pretrain has no loss, and lacks nothing.
        is_due=(lambda facts: facts.pretrains) if quantity == "loss" else None,
    )


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
    summary: Summary,
    dataset: str,
    outputs: Sequence[Outputs],
    methods: Sequence[str],
    others: Sequence[str] = (),
) -> Figure | None:
    """Empirical distributions of a class's probability with few and with all labels, a panel per method."""
    drawn_outputs = [output for output in outputs if output.method in methods]
    if not drawn_outputs:
        return None
    few = words_with_counts(summary, [dataset], outputs[0].labels)
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
    colour = method_encoding(drawn_styles(summary, drawn_of(records, methods)))["color"]
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
    first = drawn_outputs[0]
    title = f"{dataset}: “{first.class_name}”, seed {first.seed}"
    values = listed([f"{output.method} {number(output.distance)}" for output in drawn_outputs])
    words = (
        f"Distribution of the predicted probability of {first.class_name} on {dataset}, dashed with {few}, "
        f"solid with all. Largest gap between the two, the KS distance: {values}."
    )
    rows = -(-len(drawn_outputs) // PANELS)
    size = (PANELS * PANEL + 111, rows * round(PANEL * 0.75 + 42) + 31)
    return figure(
        summary,
        f"outputs-{dataset}",
        title,
        words,
        methods,
        records,
        written(chart),
        dataset,
        size,
        first.labels,
    )
