"""The charts of training curves, and of the output distributions behind a KS value."""

from collections.abc import Sequence
from dataclasses import replace

import altair as alt

from bench.report.encodings import Record, figure, method_encoding, usual_size
from bench.report.layout import Figure, listed, number, percent
from bench.report.outputs import Outputs
from bench.report.summary import Summary, quantities
from bench.report.tables import thinned

CURVE_POINTS = 120
FEW = 60
PANEL = 150
PANEL_POINTS = 25
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
    for method, points in sorted(curves.items(), key=lambda item: methods.index(item[0])):
        drawn = {**points, final: points[0]} if list(points) == [0] else points
        for epoch in thinned(sorted(drawn), CURVE_POINTS):
            words = f"{method}, epoch {epoch}: {number(drawn[epoch])}"
            records.append({"method": method, "epoch": epoch, "mean": round(drawn[epoch], 5), "says": words})
        ends.append(f"{method} {number(drawn[max(drawn)])}")
    encoding = method_encoding(summary)
    base = alt.Chart()
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6, tickMinStep=1, grid=False))
    y = alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=False))
    layers = [base.mark_line(strokeWidth=2).encode(x=x, y=y, color=encoding["color"])]
    if len(records) <= FEW:
        layers.append(
            base.mark_point(filled=True, size=45, opacity=1).encode(
                x=x, y=y, **encoding, description="says:N"
            )
        )
    words = f"{dataset}, {axis} by epoch of pretraining. At the last epoch: {listed(ends)}."
    name = f"{quantity.replace('_', '-')}-{dataset}"
    return figure(
        summary, name, f"{dataset}: {axis}", words, methods, records, usual_size(alt.layer(*layers))
    )


def method_curves(summary: Summary, method: str, baseline: str) -> Figure | None:
    """Loss and kNN score of a method and the baseline by epoch, a panel per data set and quantity."""
    shown = [method] if method == baseline else [baseline, method]
    records: list[Record] = []
    order = []
    for dataset in summary.protocol.datasets:
        for quantity, _, axis in quantities(summary, dataset):
            panel, curves = f"{dataset}: {axis}", summary.curve(dataset, quantity)
            order.append(panel)
            for name in shown:
                points = curves.get(name, {})
                records += [
                    {"method": name, "panel": panel, "epoch": epoch, "mean": round(points[epoch], 5)}
                    for epoch in thinned(sorted(points), PANEL_POINTS)
                ]
    if not records:
        return None
    chart = (
        alt.Chart()
        .mark_line(strokeWidth=2, point={"size": 25, "filled": True, "opacity": 1})
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=4, tickMinStep=1, grid=False)),
            y=alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            **method_encoding(summary),
        )
        .properties(width=1.5 * PANEL, height=PANEL)
        .facet(facet=alt.Facet("panel:N", title=None, sort=order), data=RECORDS, columns=4, spacing=24)
        .resolve_scale(x="independent", y="independent")
    )
    panels = listed(order)
    words = f"Pretraining of {listed(shown)}, by epoch: {panels}. The data sets' pages have the numbers."
    drawing = figure(summary, f"curves-{method}", "Loss and kNN score by epoch", words, shown, records, chart)
    return replace(drawing, note="")


def outputs_chart(
    summary: Summary, dataset: str, outputs: Sequence[Outputs], methods: Sequence[str]
) -> Figure | None:
    """Empirical distributions of a class's probability with few and with all labels, a panel per method."""
    if not outputs:
        return None
    few = f"{percent(outputs[0].fraction)} of the labels"
    names = [few, "all labels"]
    records: list[Record] = []
    for own in outputs:
        # A panel's heading holds the value that its curves are behind.
        panel = f"{own.method}, KS {number(own.distance)}"
        for labels, steps in zip(names, (own.few, own.every), strict=True):
            records += [
                {"method": own.method, "panel": panel, "labels": labels, "p": p, "share": share}
                for p, share in steps
            ]
        records.append(
            {
                "method": own.method,
                "panel": panel,
                "labels": "gap",
                "p": own.at,
                "low": own.low,
                "high": own.high,
            }
        )
    order = [f"{own.method}, KS {number(own.distance)}" for own in outputs]
    base = alt.Chart()
    x = alt.X(
        "p:Q", title="predicted probability", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3)
    )
    y = alt.Y("share:Q", title="share of test images", axis=alt.Axis(tickCount=3, format="%"))
    dash = alt.StrokeDash("labels:N", scale=alt.Scale(domain=names, range=[[4, 3], [1, 0]]), legend=None)
    colour = method_encoding(summary)["color"]
    lines = base.transform_filter("datum.labels != 'gap'").mark_line(
        strokeWidth=1.5, interpolate="step-after"
    )
    gaps = base.transform_filter("datum.labels == 'gap'").mark_rule(strokeWidth=2, color="#6b7280")
    chart = (
        alt.layer(
            lines.encode(x=x, y=y, strokeDash=dash, color=colour),
            gaps.encode(x=x, y=alt.Y("low:Q", title="share of test images"), y2="high:Q"),
        )
        .properties(width=PANEL, height=PANEL * 0.75)
        .facet(facet=alt.Facet("panel:N", title=None, sort=order), data=RECORDS, columns=2, spacing=18)
    )
    first = outputs[0]
    title = f"{dataset}: “{first.class_name}”, seed {first.seed}"
    values = listed([f"{own.method} {number(own.distance)}" for own in outputs])
    words = (
        f"Distribution of the predicted probability of {first.class_name} on {dataset}, dashed with {few}, "
        f"solid with all. Largest gap between the two, the KS distance: {values}."
    )
    return figure(summary, f"outputs-{dataset}", title, words, methods, records, chart)
