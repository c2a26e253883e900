"""The charts of what was measured: by share of labels, by block, by class, and against cost."""

import json
from collections.abc import Sequence

import altair as alt

from bench.report.charts.encodings import (
    Record,
    at_last,
    drawn_styles,
    figure,
    fitting_scale,
    lines_with_intervals,
    measured_record,
    method_encoding,
    written_at_usual_size,
)
from bench.report.charts.vega import FAINT
from bench.report.entries import cka_patient_interval
from bench.report.layout import (
    EVALUATION_NAMES,
    EVALUATION_REMARKS,
    KERNEL_NAMES,
    METRIC_NAMES,
    Figure,
    number,
    percent,
    span,
)
from bench.report.tables.label_counts import labels_drawn
from bench.summary.summary import Measurement, Summary
from imssl.settings.encoder import BLOCKS

# Methods at the same fraction stand a little apart, so that their intervals can be told from one another.
SPREAD = 1.06


def label_efficiency(
    summary: Summary, dataset: str, evaluation: str, methods: Sequence[str]
) -> Figure | None:
    """Primary metric against the share of labels."""
    metric, fractions = summary.primary(dataset), summary.protocol.label_fractions
    records: list[Record] = []
    drawn = {share: labels_drawn(summary, dataset, evaluation, share) for share in fractions}
    for place, method in enumerate(methods):
        shift = SPREAD ** (place - (len(methods) - 1) / 2)
        for fraction in fractions:
            name = Measurement(dataset, method, evaluation, fraction, None, "", metric)
            share = percent(fraction)
            labels = f"{share} of the labels" + (f" ({drawn[fraction]})" if drawn[fraction] else "")
            if record := measured_record(summary, name, labels):
                records.append(record | {"share": share, "at": round(fraction * shift, 6)})
    if not records:
        return None
    x = alt.X(
        "at:Q",
        title="share of labels (log), training + validation images"
        if any(drawn.values())
        else "share of labels (log)",
        scale=alt.Scale(type="log", domain=[fractions[0] / 1.35, 1.35], nice=False),
        axis=alt.Axis(values=list(fractions), labelExpr=_two_lines(drawn), grid=False, labelOverlap=True),
    )
    title = f"{dataset}: {METRIC_NAMES[metric]}"
    words = f"{EVALUATION_NAMES[evaluation]}, {title} by share of labels. "
    # The page of a data set has them side by side.
    title += EVALUATION_REMARKS.get(evaluation, "")
    words += at_last(records, "share", "{} of the labels")
    chart = lines_with_intervals(summary, records, x, METRIC_NAMES[metric])
    return figure(
        summary, f"{evaluation}-{dataset}", title, words, methods, records, written_at_usual_size(chart)
    )


def _two_lines(drawn: dict[float, str]) -> str:
    """Vega expression of an axis' labels: the share, and below it the images drawn for it."""
    # "12 + 2 images, 1.5% drawn" is too wide for a tick; the whole is said when a mark is pointed at.
    counts = {f"{share:g}": words.partition(" images")[0] for share, words in drawn.items()}
    return f"[format(datum.value, '~%'), ({json.dumps(counts)})[datum.value]]"


def probing_profile(summary: Summary, dataset: str, methods: Sequence[str]) -> Figure | None:
    """Primary metric of the linear probes against the block."""
    metric = summary.primary(dataset)
    records: list[Record] = []
    for method in methods:
        for block in range(1, BLOCKS + 1):
            name = Measurement(dataset, method, "probe", None, block, "", metric)
            if record := measured_record(summary, name, f"block {block}"):
                records.append(record | {"block": block})
    if not records:
        return None
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    shift = alt.XOffset("method:N", sort=list(methods))
    chart = lines_with_intervals(summary, records, x, METRIC_NAMES[metric], shift)
    title = f"{dataset}: {METRIC_NAMES[metric]}"
    words = f"Linear probes, {title} by block. {at_last(records, 'block', 'block {}')}"
    return figure(summary, f"probe-{dataset}", title, words, methods, records, written_at_usual_size(chart))


def cka_chart(
    summary: Summary, dataset: str, kernel: str, fraction: float, methods: Sequence[str]
) -> Figure | None:
    """CKA before and after fine-tuning by block with its interval, and the highest null of each block."""
    records: list[Record] = []
    for method in methods:
        for block in range(1, BLOCKS + 1):
            name = Measurement(dataset, method, "reuse", fraction, block, "", f"cka_{kernel}")
            null = summary.mean(name._replace(metric=f"cka_{kernel}_null_95"))
            record = measured_record(summary, name, f"block {block}")
            if record and null is not None:
                words = record["says"]
                if patients := cka_patient_interval(summary, name):
                    record |= {"low": round(patients[0], 5), "high": round(patients[1], 5)}
                    words += f", patients {span(*patients)}"
                words += f", null {number(null)}"
                records.append(record | {"block": block, "null": round(null, 5), "says": words})
    if not records:
        return None
    base = alt.Chart()
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    shift = alt.XOffset("method:N", sort=list(methods))
    lowest = min(0.0, *(record.get(end, 0.0) for record in records for end in ("mean", "low")))
    y = alt.Y("mean:Q", title="CKA", scale=alt.Scale(domain=[lowest, 1]))
    encoding = method_encoding(drawn_styles(summary, records))
    chart = alt.layer(
        base.mark_tick(color=FAINT, thickness=2, width=26).encode(x=x, y=alt.Y("max(null):Q", title="CKA")),
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(x=x, xOffset=shift, y=y, color=encoding["color"]),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
            x=x, xOffset=shift, y=alt.Y("low:Q", title="CKA"), y2="high:Q", color=encoding["color"]
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, xOffset=shift, y=y, **encoding, tooltip="says:N"
        ),
    )
    title = f"{dataset}: {KERNEL_NAMES[kernel]}, {percent(fraction)} labels"
    words = f"CKA before and after fine-tuning, {title}. {at_last(records, 'block', 'block {}')}"
    place = f"cka-{kernel}-{dataset}-{fraction:g}".replace(".", "_")
    return figure(summary, place, title, words, methods, records, written_at_usual_size(chart))


def ks_chart(summary: Summary, dataset: str, fraction: float, methods: Sequence[str]) -> Figure | None:
    """KS distance of the outputs to those at all labels, by class; by method where one class is tested."""
    card = summary.results.cards.get(dataset)
    if card is None:
        return None
    classes = card.classes[1:] if card.task == "binary" else card.classes
    records: list[Record] = []
    for method in methods:
        for class_name in classes:
            name = Measurement(dataset, method, "ks", fraction, None, class_name, "ks")
            if record := measured_record(summary, name, class_name):
                records.append(record | {"class": class_name})
    if not records:
        return None
    axis = alt.Axis(labelAngle=-35, labelLimit=110) if len(classes) > 1 else alt.Axis(labelAngle=0)
    chart = (
        alt.Chart()
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x=alt.X("class:N", title=None, sort=list(classes), axis=axis),
            xOffset=alt.XOffset("method:N", sort=list(methods)),
            y=alt.Y("mean:Q", title="KS distance", scale=alt.Scale(zero=True)),
            tooltip="says:N",
            **method_encoding(drawn_styles(summary, records)),
        )
    )
    title = f"{dataset}: {percent(fraction)} of the labels"
    words = f"KS distance by class, {title}. {at_last(records, 'class', 'class {}')}"
    return figure(summary, f"ks-{dataset}", title, words, methods, records, written_at_usual_size(chart))


def cost_chart(summary: Summary, dataset: str, methods: Sequence[str]) -> Figure | None:
    """Primary metric at the smallest share of labels against the seconds of pretraining."""
    metric, fraction = summary.primary(dataset), summary.protocol.label_fractions[0]
    records: list[Record] = []
    for method in methods:
        seconds = summary.mean(Measurement(dataset, method, "pretrain", None, None, "", "seconds"))
        name = Measurement(dataset, method, "finetune", fraction, None, "", metric)
        if seconds is not None and (record := measured_record(summary, name, f"{number(seconds, 1)} s")):
            records.append(record | {"seconds": round(seconds, 3)})
    if not records:
        return None
    base = alt.Chart()
    x = alt.X("seconds:Q", title="seconds of pretraining, one seed", axis=alt.Axis(tickCount=6, grid=False))
    y = alt.Y("mean:Q", title=METRIC_NAMES[metric], scale=fitting_scale(records))
    encoding = method_encoding(drawn_styles(summary, records))
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
            x=x, y=alt.Y("low:Q", title=METRIC_NAMES[metric]), y2="high:Q", color=encoding["color"]
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, **encoding, tooltip="says:N"),
    )
    title = f"{dataset}: {METRIC_NAMES[metric]} at {percent(fraction)} of the labels"
    points = ". ".join(record["says"] for record in records)
    words = f"{title} against seconds of pretraining. {points}."
    return figure(summary, f"cost-{dataset}", title, words, methods, records, written_at_usual_size(chart))
