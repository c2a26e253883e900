"""Measurements as entries of a table: the number with its interval, or why there is none."""

from bench.report.layout import METRIC_NAMES, Entry, MethodStyle, method_styles, number, span
from bench.summary.summary import Measurement, Summary


def quantities(summary: Summary, dataset: str) -> list[tuple[str, str, str]]:
    """The loss and the kNN score, whatever metric that score is, where recorded: column, title, axis."""
    scores = [
        (f"knn_{metric}", f"nearest-neighbour {name} on validation images", f"kNN {name}")
        for metric, name in METRIC_NAMES.items()
    ]
    return [names for names in [("loss", "loss", "loss"), *scores] if summary.curve(dataset, names[0])]


def entry_of(summary: Summary, measurement: Measurement, digits: int = 3) -> Entry:
    """A measurement as a cell of a table: mean, interval and spread, or why there is none."""
    mean = summary.mean(measurement)
    if mean is None:
        return hole_of(summary, measurement)
    row, interval, small = summary.measured[measurement], summary.intervals.get(measurement), []
    if interval is not None and interval.low is not None:
        small.append(f"[{span(interval.low, interval.high, digits)}]")
    if row.lowest < row.highest:
        small.append(span(row.lowest, row.highest, digits))
    return Entry(number(mean, digits), tuple(small))


def hole_of(summary: Summary, measurement: Measurement) -> Entry:
    """What stands in the place of a measurement that has no mean, and why."""
    states = summary.states(measurement)
    holes = [(seed, state) for seed, state in states if state.status != "done"]
    row = summary.measured.get(measurement)
    counted = f"{row.found if row else 0} of {len(states)} seeds"
    if not holes:
        title = "the metric is undefined on these test images"
        return Entry("undefined", (counted,), hole=True, title=title)
    title = "; ".join(f"seed {seed} {state.status}: {state.reason}" for seed, state in holes)
    statuses = {state.status for _, state in holes}
    if len(holes) == len(states) and len(statuses) == 1:
        return Entry(statuses.pop(), (counted,), hole=True, title=title)
    lines = [f"seed {seed} {state.status}" for seed, state in holes]
    return Entry(counted, tuple(lines[:3]), hole=True, title=title)


def cka_patient_interval(summary: Summary, measurement: Measurement) -> tuple[float, float] | None:
    """Ends of a CKA's interval over patients, averaged over the seeds; None where a seed has none."""
    ends = [
        summary.mean(measurement._replace(metric=f"{measurement.metric}_{end}")) for end in ("low", "high")
    ]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def seed_note(summary: Summary) -> str:
    """What a mean over the seeds and the range below it are."""
    seeds = len(summary.protocol.seeds)
    return f"Mean over {seeds} seeds; below it the lowest and the highest seed." if seeds > 1 else "One seed."


def styles_of(summary: Summary) -> dict[str, MethodStyle]:
    """How each method looks, by id."""
    return method_styles(tuple(summary.protocol.methods))
