"""The charts: Vega-Lite, made by Altair from the summaries behind the tables, drawn by the browser."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from bench.report.layout import METRIC_NAMES, Figure, listed, method_styles, number, percent
from bench.report.summary import Measurement, Summary
from bench.report.tables import EVALUATION_NAMES, KERNEL_NAMES, thinned
from imssl.encoder import BLOCKS

HEIGHT = 260
CURVE_POINTS = 200
# Methods at the same fraction stand a little apart, so that their intervals can be told from one another.
SPREAD = 1.06

# How Vega draws what the page's style sheet does not reach.
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "axis": {
        "labelColor": "#4b5563",
        "titleColor": "#4b5563",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "#e5e7eb",
        "domainColor": "#9ca3af",
        "tickColor": "#9ca3af",
    },
    "view": {"stroke": None},
}

Record = dict[str, Any]


def label_efficiency(summary: Summary, dataset: str) -> list[Figure]:
    """Primary metric against the share of labels, one chart for each way to use the encoder."""
    by_evaluation = {name: _efficiency_records(summary, dataset, name) for name in EVALUATION_NAMES}
    scale = _common_scale([record for records in by_evaluation.values() for record in records])
    return [
        _efficiency(summary, dataset, evaluation, records, scale)
        for evaluation, records in by_evaluation.items()
        if records
    ]


def probing_profile(summary: Summary, dataset: str) -> Figure | None:
    """Primary metric of the linear probes against the block."""
    metric = summary.primary(dataset)
    records = [
        record
        for method in summary.protocol.methods
        for block in range(1, BLOCKS + 1)
        if (record := _record(summary, Measurement(dataset, method, "probe", None, block, "", metric)))
    ]
    if not records:
        return None
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    shift = alt.XOffset("method:N", sort=list(summary.protocol.methods))
    chart = _with_intervals(summary, records, x, METRIC_NAMES[metric], _common_scale(records), shift)
    title = f"{METRIC_NAMES[metric]} by block"
    return _figure(summary, f"probe-{dataset}", title, dataset, records, chart, "block", "block {}")


def cka_charts(summary: Summary, dataset: str, kernel: str) -> list[Figure]:
    """CKA by block, one chart for each label fraction."""
    figures = []
    for fraction in summary.protocol.label_fractions:
        records = [
            {"method": method, "block": block, "mean": round(mean, 5), "null": round(null, 5)}
            for method in summary.protocol.methods
            for block in range(1, BLOCKS + 1)
            if (mean := _cka(summary, dataset, method, fraction, block, kernel)) is not None
            and (null := _cka(summary, dataset, method, fraction, block, f"{kernel}_null_95")) is not None
        ]
        if records:
            title = f"CKA, {KERNEL_NAMES[kernel]}, {percent(fraction)} of the labels"
            name = f"cka-{kernel}-{dataset}-{fraction:g}".replace(".", "_")
            chart = _cka_chart(summary, records)
            figures.append(_figure(summary, name, title, dataset, records, chart, "block", "block {}"))
    return figures


def curve_chart(summary: Summary, dataset: str, quantity: str, title: str, axis: str) -> Figure | None:
    """A quantity of pretraining by epoch; a method that does not pretrain stays where it starts."""
    curves = summary.curve(dataset, quantity)
    if not curves:
        return None
    final, records = max(max(points) for points in curves.values()), []
    for method in summary.protocol.methods:
        points = dict(curves.get(method, {}))
        if list(points) == [0]:
            points[final] = points[0]
        records += [
            {"method": method, "epoch": epoch, "mean": round(points[epoch], 5)}
            for epoch in thinned(sorted(points), CURVE_POINTS)
        ]
    chart = (
        alt.Chart(alt.Data(values=records))
        .mark_line(strokeWidth=2, point={"size": 40} if len(records) <= 60 else False)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6, tickMinStep=1, grid=False)),
            y=alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=False)),
            **_method_encoding(summary, shape=len(records) <= 60),
            tooltip=_tooltip("epoch:Q", axis),
        )
    )
    name = f"{quantity.replace('_', '-')}-{dataset}"
    return _figure(summary, name, title, dataset, records, chart, "epoch", "epoch {}")


def _efficiency_records(summary: Summary, dataset: str, evaluation: str) -> list[Record]:
    metric, methods = summary.primary(dataset), list(summary.protocol.methods)
    records = []
    for place, method in enumerate(methods):
        shift = SPREAD ** (place - (len(methods) - 1) / 2)
        for fraction in summary.protocol.label_fractions:
            name = Measurement(dataset, method, evaluation, fraction, None, "", metric)
            record = _record(summary, name)
            if record:
                records.append(record | {"share": percent(fraction), "at": round(fraction * shift, 6)})
    return records


def _efficiency(
    summary: Summary, dataset: str, evaluation: str, records: list[Record], scale: alt.Scale
) -> Figure:
    fractions = summary.protocol.label_fractions
    x = alt.X(
        "at:Q",
        title="share of labels (log scale)",
        scale=alt.Scale(type="log", domain=[fractions[0] / 1.35, 1.35], nice=False),
        axis=alt.Axis(values=list(fractions), format="~%", grid=False, labelOverlap=True),
    )
    chart = _with_intervals(summary, records, x, METRIC_NAMES[summary.primary(dataset)], scale)
    title, name = EVALUATION_NAMES[evaluation], f"{evaluation}-{dataset}"
    return _figure(summary, name, title, dataset, records, chart, "share", "{} of the labels")


def _common_scale(records: list[Record]) -> alt.Scale:
    """One scale for charts that stand side by side."""
    ends = [record[end] for record in records for end in ("low", "mean", "high") if end in record]
    return alt.Scale(zero=False, domain=[min(ends), max(ends)], nice=True) if ends else alt.Scale(zero=False)


def _record(summary: Summary, measurement: Measurement) -> Record | None:
    mean, interval = summary.mean(measurement), summary.intervals.get(measurement)
    if mean is None:
        return None
    record: Record = {"method": measurement.method, "mean": round(mean, 5)}
    if measurement.block is not None:
        record["block"] = measurement.block
    if interval is not None and interval.low is not None and interval.high is not None:
        record |= {"low": round(interval.low, 5), "high": round(interval.high, 5)}
    return record


def _cka(summary: Summary, dataset: str, method: str, fraction: float, block: int, name: str) -> float | None:
    return summary.mean(Measurement(dataset, method, "reuse", fraction, block, "", f"cka_{name}"))


def _with_intervals(
    summary: Summary,
    records: list[Record],
    x: alt.X,
    metric: str,
    scale: alt.Scale,
    shift: alt.XOffset | None = None,
) -> alt.LayerChart | alt.FacetChart:
    base = alt.Chart(alt.Data(values=records))
    place = {"x": x} if shift is None else {"x": x, "xOffset": shift}
    y = alt.Y("mean:Q", title=metric, scale=scale)
    encoding = _method_encoding(summary)
    position = "share:N" if "share" in records[0] else "block:O"
    ends = [alt.Tooltip(f"{end}:Q", format=".3f") for end in ("low", "high")]
    tooltip = [*_tooltip(position, metric), *ends]
    colour = {"color": encoding["color"]}
    return alt.layer(
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(**place, y=y, **colour),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
            **place, y=alt.Y("low:Q", title=metric, scale=scale), y2="high:Q", **colour
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(**place, y=y, **encoding, tooltip=tooltip),
    )


def _cka_chart(summary: Summary, records: list[Record]) -> alt.LayerChart | alt.FacetChart:
    base = alt.Chart(alt.Data(values=records))
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    lowest = min(0.0, *(record["mean"] for record in records))
    y = alt.Y("mean:Q", title="CKA", scale=alt.Scale(domain=[lowest, 1]))
    encoding = _method_encoding(summary)
    tooltip = [*_tooltip("block:O", "CKA"), alt.Tooltip("null:Q", title="null (95%)", format=".3f")]
    return alt.layer(
        base.mark_tick(color="#6b7280", thickness=2, width=26).encode(
            x=x, y=alt.Y("max(null):Q", title="CKA")
        ),
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(x=x, y=y, color=encoding["color"]),
        base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, **encoding, tooltip=tooltip),
    )


def _method_encoding(summary: Summary, shape: bool = True) -> dict[str, Any]:
    """Colour and shape of the methods; the page has one key for all charts, so these have none."""
    styles = method_styles(list(summary.protocol.methods)).values()
    names = [style.name for style in styles]
    colours = alt.Scale(domain=names, range=[style.colour for style in styles])
    encoding: dict[str, Any] = {"color": alt.Color("method:N", scale=colours, legend=None)}
    if shape:
        shapes = alt.Scale(domain=names, range=[style.shape for style in styles])
        encoding["shape"] = alt.Shape("method:N", scale=shapes, legend=None)
    return encoding


def _tooltip(position: str, title: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("method:N"), alt.Tooltip(position), alt.Tooltip("mean:Q", title=title, format=".3f")]


def _figure(
    summary: Summary,
    name: str,
    title: str,
    dataset: str,
    records: Sequence[Record],
    chart: Any,
    axis: str,
    place: str,
) -> Figure:
    last = records[-1][axis] if axis == "share" else max(record[axis] for record in records)
    at_last = [f"{record['method']} {number(record['mean'])}" for record in records if record[axis] == last]
    words = f"{title}, {dataset}. At {place.format(last)}: {listed(at_last)}. All numbers are in the tables."
    spec = chart.properties(width="container", height=HEIGHT, description=words).to_dict()
    # The page brings one configuration for all charts.
    spec.pop("config", None)
    absent = [method for method in summary.protocol.methods if method not in {r["method"] for r in records}]
    note = f"Not drawn, for want of values from every seed: {listed(absent)}." if absent else ""
    return Figure(name, title, words, spec, note)
