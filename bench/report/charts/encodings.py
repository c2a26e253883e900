"""What all charts share: scales, colours and shapes of the methods, and the frame with its words."""

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from bench.cells.method_facts import MethodFacts, facts_of
from bench.protocol.protocol import Protocol
from bench.report.entries import styles_of
from bench.report.layout import Figure, MethodStyle, listed, number, span
from bench.summary.summary import Measurement, Summary
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

# Of a whole chart with its axes, in pixels. The page makes it as wide as its column.
WIDTH, HEIGHT = 420, 285
Record = dict[str, Any]


def measured_record(summary: Summary, measurement: Measurement, place: str) -> Record | None:
    """A measurement as a mark: mean, interval and what it says when pointed at; None for a hole."""
    mean, interval = summary.mean(measurement), summary.intervals.get(measurement)
    if mean is None:
        return None
    record: Record = {"method": measurement.method, "mean": round(mean, 5)}
    words = f"{measurement.method}, {place}: {number(mean)}"
    if interval is not None and interval.low is not None and interval.high is not None:
        record |= {"low": round(interval.low, 5), "high": round(interval.high, 5)}
        words += f" [{span(interval.low, interval.high)}]"
    return record | {"says": words}


def drawn_styles(summary: Summary, records: Sequence[Record]) -> tuple[MethodStyle, ...]:
    """Styles of the methods that a chart shows."""
    return tuple(styles_of(summary)[name] for name in dict.fromkeys(record["method"] for record in records))


def method_encoding(styles: Sequence[MethodStyle]) -> dict[str, Any]:
    """Colour and shape of the methods drawn; the page has a key, so the charts have none."""
    names = [style.name for style in styles]
    # The style sheet's names for the colours: it has a value for each in either theme.
    colours = alt.Scale(domain=names, range=[f"var(--c{style.place})" for style in styles])
    shapes = alt.Scale(domain=names, range=[style.shape for style in styles])
    return {
        "color": alt.Color("method:N", scale=colours, legend=None),
        "shape": alt.Shape("method:N", scale=shapes, legend=None),
    }


def in_colours(spec: dict[str, Any], styles: Sequence[MethodStyle]) -> dict[str, Any]:
    """A layered chart of no methods, as the same of some: Altair takes long over each new chart."""
    scales = {
        name: channel.to_dict(validate=False)["scale"] for name, channel in method_encoding(styles).items()
    }
    layers = []
    for layer in spec["layer"]:
        known = {name: value for name, value in layer["encoding"].items() if name in scales}
        styled = {name: {**value, "scale": scales[name]} for name, value in known.items()}
        layers.append({**layer, "encoding": {**layer["encoding"], **styled}})
    return {**spec, "layer": layers}


def lines_with_intervals(
    summary: Summary, records: Sequence[Record], x: alt.X, title: str, shift: alt.XOffset | None = None
) -> alt.LayerChart | alt.FacetChart:
    """Means joined by lines, their intervals as rules."""
    base = alt.Chart()
    place = {"x": x} if shift is None else {"x": x, "xOffset": shift}
    y = alt.Y("mean:Q", title=title, scale=fitting_scale(records))
    encoding = method_encoding(drawn_styles(summary, records))
    colour = {"color": encoding["color"]}
    return alt.layer(
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(**place, y=y, **colour),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(**place, y="low:Q", y2="high:Q", **colour),
        base.mark_point(filled=True, size=70, opacity=1).encode(**place, y=y, **encoding, tooltip="says:N"),
    )


def fitting_scale(records: Sequence[Record]) -> alt.Scale:
    """From the lowest to the highest of what is drawn."""
    ends = [record[end] for record in records for end in ("low", "mean", "high") if end in record]
    return alt.Scale(zero=False, domain=[min(ends), max(ends)], nice=True)


def drawn_of(records: Sequence[Record], methods: Sequence[str]) -> list[Record]:
    """The records of the methods that a chart draws."""
    return [record for record in records if record["method"] in methods]


def figure(
    summary: Summary,
    name: str,
    title: str,
    words: str,
    methods: Sequence[str],
    records: Sequence[Record],
    chart: dict[str, Any],
    dataset: str,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    labels: LabelSet | None = None,
    is_due: Callable[[MethodFacts], bool] | None = None,
) -> Figure:
    """A chart in its frame.

    Args:
        summary: of the run.
        name: id, unique on the page.
        title: of the figure.
        words: the text alternative: what the chart says.
        methods: that it was to show.
        records: of these methods and of others; methods without any are named below it.
        chart: from written.
        dataset: that it is about.
        size: of the drawing in pixels, about.
        labels: that it is about; None: all of them.
        is_due: of which rows it shows anything at all; None: of every one.
    """
    drawn = drawn_of(records, methods)
    spec = chart | {"data": {"values": drawn}}
    found = {record["method"] for record in drawn}
    absent = [name for name in methods if name not in found and _lacks(name, summary.protocol, is_due)]
    notes = [f"Not drawn, for want of values from every seed: {listed(absent)}."] if absent else []
    left_out = len(summary.protocol.methods) - len(methods)
    if left_out:
        notes.append(f"{left_out} other methods are in the tables, and drawn when they are ticked.")
    return Figure(
        name,
        title,
        words,
        spec,
        size,
        " ".join(notes),
        dataset=dataset,
        labels="" if labels is None else labels.id,
        others=tuple(record for record in records if record["method"] not in methods),
    )


def _lacks(method: str, protocol: Protocol, is_due: Callable[[MethodFacts], bool] | None) -> bool:
    """Whether a row without values should have some."""
    try:
        return is_due is None or is_due(facts_of(method, protocol))
    except UserError:  # what is wrong with its file is said where its checks are
        return True


def written(chart: Any) -> dict[str, Any]:
    """Altair's chart as Vega-Lite without data: the figure adds them, Altair would copy them many times."""
    spec = _without_data(chart.to_dict(validate=False))
    # The page says once for all charts how they look, and its script knows which version it is.
    return {key: value for key, value in spec.items() if key not in ("config", "$schema", "datasets")}


def _without_data(spec: dict[str, Any]) -> dict[str, Any]:
    """A chart whose parts, too, name no data of their own, so that all take what the whole is given."""
    return {
        key: [_without_data(part) for part in value]
        if key == "layer"
        else _without_data(value)
        if key == "spec"
        else value
        for key, value in spec.items()
        if key != "data"
    }


def written_at_usual_size(chart: alt.LayerChart | alt.FacetChart | alt.Chart) -> dict[str, Any]:
    """A chart of one panel, so large with all its axes that the page's columns fit it; see written."""
    return written(chart) | {
        "width": WIDTH,
        "height": HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
    }


def at_last(records: Sequence[Record], axis: str, place: str) -> str:
    """What a chart says at the end of its axis."""
    last = records[-1][axis]
    means = [f"{record['method']} {number(record['mean'])}" for record in records if record[axis] == last]
    return f"At {place.format(last)}: {listed(means)}. All numbers are in the tables."
