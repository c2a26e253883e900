"""The tables of one data set's analyses: some methods as rows, and the numbers of the charts beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.report.entries import cka_patient_interval, entry_of, hole_of, seed_note, styles_of
from bench.report.layout import (
    EVALUATION_NAMES,
    KERNEL_NAMES,
    METRIC_NAMES,
    Column,
    Entry,
    Row,
    Table,
    number,
    percent,
    span,
)
from bench.report.material.label_counts import NOTE as LABELS_NOTE
from bench.report.material.label_counts import labels_drawn, words_with_counts
from bench.report.material.output_distributions import READ_AT, Outputs
from bench.report.material.reliability_diagrams import GAP_NOTE
from bench.report.material.thinning import thinned
from bench.report.material.worked_seconds import pretraining_cost
from bench.summary.summary import Measurement, Summary
from imssl.calibration import BINS, Reliability
from imssl.settings.encoder import BLOCKS
from imssl.settings.labels import LabelSet

EPOCHS_SHOWN = 8
COST_COLUMNS = (
    ("images_seen", "images seen", 0),
    ("trained_parameters", "trained parameters", 0),
    ("seconds", "by the clock", 1),
    ("images_per_second", "images/s", 0),
    ("peak_memory_mib", "peak memory", 0),
)
MORE_IS_BETTER = frozenset({"images_seen", "images_per_second"})
COST_UNITS = {"seconds": "seconds", "peak_memory_mib": "MiB"}


def cka_table(summary: Summary, dataset: str, kernel: str, methods: Sequence[str]) -> Table:
    """CKA before and after fine-tuning by block and label set, beside its permutation null."""
    label_sets = summary.protocol.label_sets
    rows = []
    for block in range(1, BLOCKS + 1):
        for method in methods:
            entries = []
            for labels in label_sets:
                name = Measurement(dataset, method, "reuse", labels, block, "", f"cka_{kernel}")
                entry = entry_of(summary, name)
                null = summary.mean(name._replace(metric=f"cka_{kernel}_null_95"))
                if not entry.hole and null is not None:
                    patients = cka_patient_interval(summary, name)
                    interval = [f"patients {span(*patients)}"] if patients else []
                    entry = Entry(entry.text, (*entry.small, *interval, f"null {number(null)}"))
                entries.append(entry)
            rows.append(Row(method, tuple(entries), styles_of(summary)[method], f"Block {block}"))
    return Table(
        id=f"t-cka-{kernel}-{dataset}",
        title=f"{dataset}: CKA before and after fine-tuning, {KERNEL_NAMES[kernel]}, debiased",
        corner="Method",
        columns=tuple(_of_labels(summary, labels, dataset) for labels in label_sets),
        rows=tuple(rows),
        evaluation="reuse",
        note=f"{seed_note(summary)} “patients” is the 95% interval over the test patients (jackknife), its "
        "ends averaged over the seeds; it takes out what pairs of images of one patient add, and so need not "
        "lie around the value. “null” is the 95th percentile of CKA after the images of one side are "
        f"permuted, {summary.protocol.reuse.permutations:,} times: what unrelated features would reach. "
        f"{LABELS_NOTE}",
    )


def ks_table(summary: Summary, dataset: str, methods: Sequence[str]) -> Table:
    """KS distance of the outputs to those at all labels, averaged over the classes, then for each class."""
    card, label_sets = summary.results.cards.get(dataset), summary.protocol.label_sets[:-1]
    # In a binary task one class stands for both, and is their mean.
    names = card.classes if card is not None and card.task != "binary" else []
    rows: list[Row] = []
    for class_name, group in {"": "All classes", **{name: f"Class {name}" for name in names}}.items():
        measurements = {
            method: [
                Measurement(dataset, method, "ks", labels, None, class_name, "ks") for labels in label_sets
            ]
            for method in methods
        }
        rows += _method_rows(summary, measurements, group if names else "")
    return Table(
        id=f"t-ks-{dataset}",
        title=f"{dataset}: KS distance to the outputs at 100% of the labels",
        corner="Method",
        columns=tuple(
            replace(_of_labels(summary, labels, dataset), lower_is_better=True) for labels in label_sets
        ),
        rows=tuple(rows) if label_sets else (),
        evaluation="ks",
        note=f"{seed_note(summary)} 0: the probabilities are distributed alike; 1: they do not overlap. "
        f"{LABELS_NOTE}",
    )


def outputs_table(summary: Summary, dataset: str, outputs: Sequence[Outputs]) -> Table:
    """The output distributions behind a KS distance, read off at a few probabilities."""
    rows, few, title = [], "few", f"{dataset}: output distributions"
    for output in outputs:
        few = words_with_counts(summary, [dataset], output.labels)
        title = f"{dataset}: output distributions of “{output.class_name}”, seed {output.seed}"
        entries = [
            Entry(percent(round(a, 3)), (f"with all {percent(round(b, 3))}",)) for a, b in output.read_off
        ]
        gap = Entry(number(output.distance), (f"at p = {number(output.at)}",))
        rows.append(Row(output.method, (*entries, gap), styles_of(summary)[output.method]))
    return Table(
        id=f"t-outputs-{dataset}",
        title=title,
        corner="Method",
        columns=(*(Column(f"p ≤ {p:g}") for p in READ_AT), Column("largest gap", lower_is_better=True)),
        rows=tuple(rows),
        note=f"Share of the test images whose predicted probability is at most p: with {few}, "
        "below it with all. The largest gap between the two is the KS distance.",
    )


def reliability_table(
    summary: Summary, dataset: str, evaluation: str, diagrams: Mapping[str, Reliability]
) -> Table:
    """The reliability diagrams bin by bin: what came true, below it what was predicted."""
    most = max((len(diagram.samples) for diagram in diagrams.values()), default=0)
    rows = []
    for method, diagram in diagrams.items():
        entries = [
            Entry(number(frequency), (f"predicted {number(confidence)}", f"of {samples:,}"))
            for confidence, frequency, samples in zip(
                diagram.confidence, diagram.frequency, diagram.samples, strict=True
            )
        ]
        none = Entry("–", hole=True, title="equal probabilities share a bin, so that there are fewer bins")
        entries += [none] * (most - len(entries))
        gap = Entry(number(diagram.calibration_error))
        rows.append(Row(method, (gap, *entries), styles_of(summary)[method]))
    bins = (Column(f"bin {place}") for place in range(1, most + 1))
    return Table(
        id=f"t-reliability-{evaluation}-{dataset}",
        title=f"{dataset}: reliability with all labels, {EVALUATION_NAMES[evaluation]}",
        corner="Method",
        columns=(Column("mean gap", lower_is_better=True), *bins),
        rows=tuple(rows),
        note=f"At most {BINS} bins of equal mass from the lowest probability to the highest. In each the "
        "share that came true, the mean predicted probability, and how many predictions are in it; "
        f"predictions of all seeds are pooled. The mean gap is weighted by these numbers; {GAP_NOTE}",
    )


def probe_table(summary: Summary, dataset: str, methods: Sequence[str]) -> Table:
    """Primary metric of a linear classifier on each block."""
    metric, blocks = summary.primary(dataset), range(1, BLOCKS + 1)
    measurements = {
        method: [Measurement(dataset, method, "probe", None, block, "", metric) for block in blocks]
        for method in methods
    }
    return Table(
        id=f"t-probe-{dataset}",
        title=f"{dataset}: {METRIC_NAMES[metric]} by block",
        corner="Method",
        columns=tuple(Column(f"block {block}", dataset=dataset, place=f"block-{block}") for block in blocks),
        rows=_method_rows(summary, measurements),
        evaluation="probe",
        note=seed_note(summary),
    )


def _of_labels(summary: Summary, labels: LabelSet, dataset: str) -> Column:
    drawn = labels_drawn(summary, dataset, "finetune", labels) or "of the labels"
    return Column(labels.name, drawn, dataset=dataset, labels=labels.id, place=labels.id)


def curve_table(summary: Summary, dataset: str, quantity: str, title: str, methods: Sequence[str]) -> Table:
    """A quantity of pretraining at a few epochs."""
    points = summary.curve(dataset, quantity)
    epochs = thinned(sorted({epoch for means in points.values() for epoch in means}), EPOCHS_SHOWN)
    rows = [
        Row(
            method,
            tuple(_curve_entry(summary, dataset, method, quantity, epoch) for epoch in epochs),
            styles_of(summary)[method],
        )
        for method in methods
    ]
    return Table(
        id=f"t-{quantity.replace('_', '-')}-{dataset}",
        title=f"{dataset}: {title}",
        corner="Method",
        columns=tuple(Column(f"Epoch {epoch}" if epoch else "Start") for epoch in epochs),
        rows=tuple(rows) if epochs else (),
        note="Mean over the seeds. Every epoch of every seed is in "
        f"results/{dataset}/pretrain/<method>/seed-<seed>/history.csv.",
    )


def cost_table(summary: Summary, dataset: str, methods: Sequence[str]) -> Table:
    """What pretraining costs."""
    rows = []
    for method in methods:
        cost = pretraining_cost(summary, dataset, method)
        unknown = Entry("not recorded", hole=True)
        entries = [Entry(number(cost.seconds, 1), (f"of the {cost.by}",)) if cost else unknown]
        for name, _, digits in COST_COLUMNS:
            measurement = Measurement(dataset, method, "pretrain", None, None, "", name)
            entries.append(entry_of(summary, measurement, digits))
        rows.append(Row(method, tuple(entries), styles_of(summary)[method]))
    return Table(
        id=f"t-cost-{dataset}",
        title=f"{dataset}: cost of pretraining",
        corner="Method",
        columns=(
            Column("work", "CPU or GPU seconds", dataset=dataset, lower_is_better=True),
            *(
                Column(
                    label,
                    COST_UNITS.get(name, ""),
                    dataset=dataset,
                    place=name,
                    lower_is_better=name not in MORE_IS_BETTER,
                )
                for name, label, _ in COST_COLUMNS
            ),
        ),
        rows=tuple(rows),
        evaluation="pretrain",
        note="Per seed. Work is what processors did for the whole cell, or the time that it held the GPU; "
        "to seconds by the clock adds what ran beside it. Peak memory is that of the GPU, or of the whole "
        "process on a CPU.",
    )


def _curve_entry(
    summary: Summary, dataset: str, method: str, quantity: str, epoch: int, digits: int = 3
) -> Entry:
    mean = summary.curve(dataset, quantity).get(method, {}).get(epoch)
    measurement = Measurement(dataset, method, "pretrain", None, None, "", quantity)
    if mean is None and not summary.is_complete(measurement):
        return hole_of(summary, measurement)
    return Entry(number(mean, digits))


def _method_rows(
    summary: Summary,
    measurements: dict[str, list[Measurement]],
    group: str = "",
) -> tuple[Row, ...]:
    return tuple(
        Row(method, tuple(entry_of(summary, m) for m in row), styles_of(summary)[method], group)
        for method, row in measurements.items()
    )
