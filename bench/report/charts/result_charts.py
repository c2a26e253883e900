"""The charts of what was measured: by share of labels, by block, by class, and against cost."""

import json
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from bench.report.charts.encodings import (
    Record,
    at_last,
    drawn_of,
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
    EVALUATIONS,
    KERNEL_NAMES,
    METRIC_NAMES,
    Figure,
    number,
    span,
)
from bench.report.material.label_counts import DrawnLabels, drawn_labels, labels_drawn, words_with_counts
from bench.report.material.worked_seconds import pretraining_cost
from bench.summary.summary import Measurement, Summary
from imssl.settings.encoder import BLOCKS
from imssl.settings.labels import LabelSet

# Methods at the same label set stand a little apart, so that their intervals do not hide one another.
SPREAD = 1.06


def label_efficiency(
    summary: Summary, dataset: str, evaluation: str, methods: Sequence[str], others: Sequence[str] = ()
) -> Figure | None:
    """Primary metric against the share of labels; so many labels per class stand at the share drawn."""
    metric, records = summary.primary(dataset), list[Record]()
    labelled = {
        labels: drawn_labels(summary, dataset, evaluation, labels) for labels in summary.protocol.label_sets
    }
    at = {labels: share for labels, of_set in labelled.items() if (share := _share(labels, of_set))}
    counted = {labels: labels_drawn(summary, dataset, evaluation, labels) for labels in at}
    for place, method in enumerate((*methods, *others)):
        shift = SPREAD ** (place % len(methods) - (len(methods) - 1) / 2)
        for labels in sorted(at, key=lambda labels: at[labels]):
            name = Measurement(dataset, method, evaluation, labels, None, "", metric)
            words = f"{labels.words} ({counted[labels]})" if counted[labels] else labels.words
            if record := measured_record(summary, name, words):
                records.append(
                    record | {"labels": labels.words, "set": labels.id, "at": round(at[labels] * shift, 6)}
                )
    drawn = drawn_of(records, methods)
    if not drawn:
        return None
    x = alt.X(
        "at:Q",
        title="share of labels (log), training + validation images"
        if any(labelled.values())
        else "share of labels (log)",
        scale=alt.Scale(type="log", domain=[min(at.values()) / 1.35, 1.35], nice=False),
        axis=alt.Axis(
            values=sorted(set(at.values())), labelExpr=_ticks(at, labelled), grid=False, labelOverlap=True
        ),
    )
    title = f"{dataset}: {METRIC_NAMES[metric]}"
    words = f"{EVALUATIONS[evaluation].title}, {title} by share of labels. "
    # The page of a data set has them side by side.
    title += EVALUATIONS[evaluation].remark
    words += at_last(drawn, "labels", "{}")
    chart = lines_with_intervals(summary, drawn, x, METRIC_NAMES[metric])
    return figure(
        summary,
        f"{evaluation}-{dataset}",
        title,
        words,
        methods,
        records,
        written_at_usual_size(chart),
        dataset,
    )


def _share(labels: LabelSet, drawn: DrawnLabels | None) -> float | None:
    """Where a label set stands on the axis; None where that is not known yet."""
    if labels.fraction is not None:
        return labels.fraction
    return round(drawn.middle_share, 6) if drawn and drawn.middle_share else None


def _ticks(at: Mapping[LabelSet, float], drawn: Mapping[LabelSet, DrawnLabels | None]) -> str:
    """Vega expression of an axis' labels: the label set, and below it the images drawn for it."""
    # "12 + 2 images, 1.5% drawn" is too wide for a tick; the whole is said when a mark is pointed at.
    lines: dict[str, list[str]] = {}
    for labels, share in at.items():
        of_set = drawn[labels]
        written = np.format_float_positional(share, trim="-")  # as JavaScript writes it
        same_place = lines.get(written, ["", ""])[0]
        name = f"{same_place}, {labels.name}" if same_place else labels.name
        lines[written] = [name, of_set.counts if of_set else ""]
    return f"({json.dumps(lines)})[datum.value]"


def probing_profile(
    summary: Summary, dataset: str, methods: Sequence[str], others: Sequence[str] = ()
) -> Figure | None:
    """Primary metric of the linear probes against the block."""
    metric = summary.primary(dataset)
    records: list[Record] = []
    for method in (*methods, *others):
        for block in range(1, BLOCKS + 1):
            name = Measurement(dataset, method, "probe", None, block, "", metric)
            if record := measured_record(summary, name, f"block {block}"):
                records.append(record | {"block": block})
    drawn = drawn_of(records, methods)
    if not drawn:
        return None
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    shift = alt.XOffset("method:N", sort=list(methods))
    chart = lines_with_intervals(summary, drawn, x, METRIC_NAMES[metric], shift)
    title = f"{dataset}: {METRIC_NAMES[metric]}"
    words = f"Linear probes, {title} by block. {at_last(drawn, 'block', 'block {}')}"
    return figure(
        summary, f"probe-{dataset}", title, words, methods, records, written_at_usual_size(chart), dataset
    )


def cka_chart(
    summary: Summary,
    dataset: str,
    kernel: str,
    labels: LabelSet,
    methods: Sequence[str],
    others: Sequence[str] = (),
) -> Figure | None:
    """CKA before and after fine-tuning by block with its interval, and the highest null of each block."""
    records: list[Record] = []
    for method in (*methods, *others):
        for block in range(1, BLOCKS + 1):
            name = Measurement(dataset, method, "reuse", labels, block, "", f"cka_{kernel}")
            null = summary.mean(name._replace(metric=f"cka_{kernel}_null_95"))
            record = measured_record(summary, name, f"block {block}")
            if record and null is not None:
                words = record["says"]
                if patients := cka_patient_interval(summary, name):
                    record |= {"low": round(patients[0], 5), "high": round(patients[1], 5)}
                    words += f", patients {span(*patients)}"
                words += f", null {number(null)}"
                records.append(record | {"block": block, "null": round(null, 5), "says": words})
    drawn = drawn_of(records, methods)
    if not drawn:
        return None
    base = alt.Chart()
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    shift = alt.XOffset("method:N", sort=list(methods))
    lowest = min(0.0, *(record.get(end, 0.0) for record in drawn for end in ("mean", "low")))
    y = alt.Y("mean:Q", title="CKA", scale=alt.Scale(domain=[lowest, 1]))
    encoding = method_encoding(drawn_styles(summary, drawn))
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
    title = f"{dataset}: {KERNEL_NAMES[kernel]}, {words_with_counts(summary, [dataset], labels)}"
    words = f"CKA before and after fine-tuning, {title}. {at_last(drawn, 'block', 'block {}')}"
    place = f"cka-{kernel}-{dataset}-{labels.id}".replace(".", "_")
    return figure(
        summary,
        place,
        title,
        words,
        methods,
        records,
        written_at_usual_size(chart),
        dataset,
        labels=labels,
        is_due=lambda facts: facts.has_reuse,
    )


def ks_chart(
    summary: Summary, dataset: str, labels: LabelSet, methods: Sequence[str], others: Sequence[str] = ()
) -> Figure | None:
    """KS distance of the outputs to those at all labels, by class; by method where one class is tested."""
    card = summary.results.cards.get(dataset)
    if card is None:
        return None
    classes = card.classes[1:] if card.task == "binary" else card.classes
    records: list[Record] = []
    for method in (*methods, *others):
        for class_name in classes:
            name = Measurement(dataset, method, "ks", labels, None, class_name, "ks")
            if record := measured_record(summary, name, class_name):
                records.append(record | {"class": class_name})
    drawn = drawn_of(records, methods)
    if not drawn:
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
            **method_encoding(drawn_styles(summary, drawn)),
        )
    )
    title = f"{dataset}: {words_with_counts(summary, [dataset], labels)}"
    words = f"KS distance by class, {title}. {at_last(drawn, 'class', 'class {}')}"
    return figure(
        summary,
        f"ks-{dataset}",
        title,
        words,
        methods,
        records,
        written_at_usual_size(chart),
        dataset,
        labels=labels,
    )


def cost_chart(
    summary: Summary, dataset: str, methods: Sequence[str], others: Sequence[str] = ()
) -> Figure | None:
    """Primary metric at the smallest share of labels against the CPU or GPU seconds of pretraining."""
    metric, labels = summary.primary(dataset), summary.protocol.label_shares[0]
    records: list[Record] = []
    for method in (*methods, *others):
        cost = pretraining_cost(summary, dataset, method)
        name = Measurement(dataset, method, "finetune", labels, None, "", metric)
        if cost is None or cost.seconds is None:
            continue
        if record := measured_record(summary, name, f"{number(cost.seconds, 1)} {cost.by} s"):
            records.append(record | {"seconds": round(cost.seconds, 3), "by": cost.by})
    drawn = drawn_of(records, methods)
    if not drawn:
        return None
    base = alt.Chart()
    axis = f"{' or '.join(sorted({record['by'] for record in drawn}))} seconds of pretraining"
    x = alt.X("seconds:Q", title=f"{axis}, one seed", axis=alt.Axis(tickCount=6, grid=False))
    y = alt.Y("mean:Q", title=METRIC_NAMES[metric], scale=fitting_scale(drawn))
    encoding = method_encoding(drawn_styles(summary, drawn))
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
            x=x, y=alt.Y("low:Q", title=METRIC_NAMES[metric]), y2="high:Q", color=encoding["color"]
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, **encoding, tooltip="says:N"),
    )
    title = f"{dataset}: {METRIC_NAMES[metric]} at {words_with_counts(summary, [dataset], labels)}"
    points = ". ".join(record["says"] for record in drawn)
    words = f"{title} against {axis}. {points}."
    return figure(
        summary,
        f"cost-{dataset}",
        title,
        words,
        methods,
        records,
        written_at_usual_size(chart),
        dataset,
        labels=labels,
    )
