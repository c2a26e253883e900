"""The tables of results: methods as rows, always in the protocol's order."""

from collections.abc import Sequence
from dataclasses import replace

from bench.report.layout import (
    METRIC_NAMES,
    Column,
    Entry,
    Row,
    Table,
    interval_note,
    method_styles,
    number,
    percent,
)
from bench.report.summary import Measurement, Summary
from imssl.encoder import BLOCKS

EPOCHS_SHOWN = 8
KERNEL_NAMES = {"linear": "linear kernel", "rbf": "RBF kernel"}
EVALUATION_NAMES = {
    "finetune": "Fine-tuning of all weights",
    "frozen": "Linear classifier on the frozen encoder",
}
COST_COLUMNS = (
    ("images_seen", "images seen", 0),
    ("trained_parameters", "trained parameters", 0),
    ("seconds", "pretraining", 1),
    ("images_per_second", "images/s", 0),
    ("peak_memory_mib", "peak memory", 0),
)
COST_UNITS = {"seconds": "seconds", "peak_memory_mib": "MiB"}


def main_tables(summary: Summary, dataset: str) -> list[Table]:
    """Primary metric by label fraction, with intervals and the best of each column, for both evaluations."""
    first, *others = [_main_table(summary, dataset, evaluation) for evaluation in EVALUATION_NAMES]
    # One explanation is enough where all tables are read alike.
    shared = [replace(table, note="") if table.note == first.note else table for table in others]
    return [first, *shared]


def _main_table(summary: Summary, dataset: str, evaluation: str) -> Table:
    metric = summary.primary(dataset)
    measurements = {
        method: [
            Measurement(dataset, method, evaluation, fraction, None, "", metric)
            for fraction in summary.protocol.label_fractions
        ]
        for method in summary.protocol.methods
    }
    return Table(
        title=f"{EVALUATION_NAMES[evaluation]}: {METRIC_NAMES[metric]} by share of labels",
        corner="Method",
        columns=_fraction_columns(summary, dataset, evaluation),
        rows=_method_rows(summary, measurements, mark_best=True),
        note=_interval_note(summary, measurements),
    )


def secondary_tables(summary: Summary, dataset: str) -> list[Table]:
    """The other metrics, for both ways to use the encoder."""
    metrics = _secondary_metrics(summary, dataset)
    return [
        Table(
            title=EVALUATION_NAMES[evaluation],
            corner="Method",
            columns=_fraction_columns(summary, dataset, evaluation),
            rows=tuple(
                row
                for metric in metrics
                for row in _method_rows(
                    summary,
                    {
                        method: [
                            Measurement(dataset, method, evaluation, fraction, None, "", metric)
                            for fraction in summary.protocol.label_fractions
                        ]
                        for method in summary.protocol.methods
                    },
                    group=METRIC_NAMES[metric],
                )
            ),
            note=_seed_note(summary),
        )
        for evaluation in EVALUATION_NAMES
    ]


def probe_table(summary: Summary, dataset: str) -> Table:
    """Primary metric of a linear classifier on each block."""
    metric = summary.primary(dataset)
    measurements = {
        method: [
            Measurement(dataset, method, "probe", None, block, "", metric) for block in range(1, BLOCKS + 1)
        ]
        for method in summary.protocol.methods
    }
    return Table(
        title=f"Linear probes: {METRIC_NAMES[metric]} by block, with all labels",
        corner="Method",
        columns=tuple(Column(f"Block {block}") for block in range(1, BLOCKS + 1)),
        rows=_method_rows(summary, measurements, mark_best=True),
        note=_interval_note(summary, measurements),
    )


def cka_table(summary: Summary, dataset: str, kernel: str) -> Table:
    """CKA before and after fine-tuning by block and label fraction, beside its permutation null."""
    fractions = summary.protocol.label_fractions
    rows = []
    for block in range(1, BLOCKS + 1):
        for method, style in method_styles(list(summary.protocol.methods)).items():
            entries = []
            for fraction in fractions:
                name = Measurement(dataset, method, "reuse", fraction, block, "", f"cka_{kernel}")
                entry = summary.entry(name)
                null = summary.mean(name._replace(metric=f"cka_{kernel}_null_95"))
                if not entry.hole and null is not None:
                    entry = Entry(entry.text, (*entry.small, f"null {number(null)}"))
                entries.append(entry)
            rows.append(Row(method, tuple(entries), style, f"Block {block}"))
    return Table(
        title=f"CKA before and after fine-tuning, {KERNEL_NAMES[kernel]}, debiased",
        corner="Method",
        columns=tuple(Column(percent(fraction), "of the labels") for fraction in fractions),
        rows=tuple(rows),
        note=f"{_seed_note(summary)} “null” is the 95th percentile of CKA after the images of one side are "
        f"permuted, {summary.protocol.reuse.permutations:,} times: what unrelated features would reach.",
    )


def ks_table(summary: Summary, dataset: str) -> Table:
    """KS distance of the outputs to those at all labels, averaged over the classes."""
    return _ks_table(summary, dataset, "KS distance to the outputs at 100% of the labels", {"": ""})


def ks_class_table(summary: Summary, dataset: str) -> Table | None:
    """The same for each class; None for a binary task, where one class stands for both."""
    card = summary.results.cards.get(dataset)
    if card is None or card.task == "binary":
        return None
    return _ks_table(summary, dataset, "KS distance by class", {name: name for name in card.classes})


def _ks_table(summary: Summary, dataset: str, title: str, groups: dict[str, str]) -> Table:
    fractions = summary.protocol.label_fractions[:-1]
    rows: list[Row] = []
    for class_name, group in groups.items():
        measurements = {
            method: [
                Measurement(dataset, method, "ks", fraction, None, class_name, "ks") for fraction in fractions
            ]
            for method in summary.protocol.methods
        }
        rows += _method_rows(summary, measurements, group=group)
    return Table(
        title=title,
        corner="Method",
        columns=tuple(Column(percent(fraction), "of the labels") for fraction in fractions),
        rows=tuple(rows) if fractions else (),
        note=_seed_note(summary) + " 0: the probabilities are distributed alike; 1: they do not overlap.",
    )


def curve_table(summary: Summary, dataset: str, quantity: str, title: str) -> Table:
    """A quantity of pretraining at a few epochs."""
    points = summary.curve(dataset, quantity)
    epochs = thinned(sorted({epoch for own in points.values() for epoch in own}), EPOCHS_SHOWN)
    rows = [
        Row(method, tuple(_curve_entry(summary, dataset, method, quantity, epoch) for epoch in epochs), style)
        for method, style in method_styles(list(summary.protocol.methods)).items()
    ]
    return Table(
        title=title,
        corner="Method",
        columns=tuple(Column(f"Epoch {epoch}" if epoch else "Start") for epoch in epochs),
        rows=tuple(rows) if epochs else (),
        note="Mean over the seeds. Every epoch of every seed is in "
        f"results/{dataset}/<method>/pretrain/seed-<seed>/history.csv.",
    )


def cost_table(summary: Summary, dataset: str) -> Table:
    """What pretraining costs."""
    speeds = summary.curve(dataset, "images_per_second")
    rows = []
    for method, style in method_styles(list(summary.protocol.methods)).items():
        entries = []
        for name, _, digits in COST_COLUMNS:
            if name == "images_per_second":
                last = max(speeds.get(method, {0: 0.0}))
                entries.append(_curve_entry(summary, dataset, method, name, last, digits))
            else:
                measurement = Measurement(dataset, method, "pretrain", None, None, "", name)
                entries.append(summary.entry(measurement, digits=digits))
        rows.append(Row(method, tuple(entries), style))
    return Table(
        title="Cost of pretraining",
        corner="Method",
        columns=tuple(Column(label, COST_UNITS.get(name, "")) for name, label, _ in COST_COLUMNS),
        rows=tuple(rows),
        note="Per seed. Peak memory is that of the GPU, or of the whole process on a CPU.",
    )


def _curve_entry(
    summary: Summary, dataset: str, method: str, quantity: str, epoch: int, digits: int = 3
) -> Entry:
    mean = summary.curve(dataset, quantity).get(method, {}).get(epoch)
    measurement = Measurement(dataset, method, "pretrain", None, None, "", quantity)
    if mean is None and not summary.is_complete(measurement):
        return summary.hole(measurement)
    return Entry(number(mean, digits))


def _interval_note(summary: Summary, measurements: dict[str, list[Measurement]]) -> str:
    """What the intervals of a table cover, and whether some resamples had to be left out."""
    found = [
        summary.intervals[name] for row in measurements.values() for name in row if name in summary.intervals
    ]
    note = interval_note(found[0] if found else None, len(summary.protocol.seeds))
    undefined = max((interval.undefined for interval in found), default=0)
    if undefined:
        note += f" In up to {undefined:,} resamples the metric is undefined; they are left out."
    return note


def _method_rows(
    summary: Summary,
    measurements: dict[str, list[Measurement]],
    mark_best: bool = False,
    group: str = "",
) -> tuple[Row, ...]:
    styles = method_styles(list(summary.protocol.methods))
    # The best among the methods that have a mean is marked only where there is something to compare.
    several = len(measurements) > 1
    return tuple(
        Row(method, tuple(summary.entry(m, mark_best and several) for m in row), styles[method], group)
        for method, row in measurements.items()
    )


def _fraction_columns(summary: Summary, dataset: str, evaluation: str) -> tuple[Column, ...]:
    return tuple(
        Column(percent(fraction), _labelled_images(summary, dataset, evaluation, fraction))
        for fraction in summary.protocol.label_fractions
    )


def _labelled_images(summary: Summary, dataset: str, evaluation: str, fraction: float) -> str:
    counts = set()
    for method in summary.protocol.methods:
        name = Measurement(dataset, method, evaluation, fraction, None, "", "labelled_images")
        row = summary.measured.get(name)
        if row is not None and summary.mean(name) is not None:
            counts |= {int(row["lowest"]), int(row["highest"])}
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low:,} images" if low == high else f"{low:,} to {high:,} images"


def _secondary_metrics(summary: Summary, dataset: str) -> list[str]:
    card = summary.results.cards.get(dataset)
    names = ["macro_auroc", "macro_f1", "accuracy", "balanced_accuracy"]
    if card and card.task == "ordinal":
        names.append("qwk")
    if card and card.task == "binary":
        names.remove("macro_auroc")
    return [name for name in names if name != summary.primary(dataset)]


def _seed_note(summary: Summary) -> str:
    seeds = len(summary.protocol.seeds)
    return f"Mean over {seeds} seeds; below it the lowest and the highest seed." if seeds > 1 else "One seed."


def thinned(epochs: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the epochs, evenly spread, with the first and the last."""
    if len(epochs) <= count:
        return list(epochs)
    return [epochs[round(i * (len(epochs) - 1) / (count - 1))] for i in range(count)]
