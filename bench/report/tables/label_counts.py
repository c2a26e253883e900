"""How many labels stand behind a share of them: a small set is filled up to show every class."""

from bench.report.layout import percent
from bench.summary.summary import Measurement, Summary

NOTE = (
    "Below a share of the labels stand the labels that were drawn, training + validation images; “drawn” is "
    "their share of the training images, where it is not the one asked for."
)


def labels_drawn(summary: Summary, dataset: str, evaluation: str, fraction: float | None) -> str:
    """The labels drawn for a share, over all seeds and methods, such as “12 + 2 images, 1.5% drawn”.

    Args:
        summary: of the run.
        dataset: id.
        evaluation: whose label sets they are.
        fraction: share of the labels that was asked for; None for an evaluation that takes all.

    Returns:
        Training and validation images; ranges where seeds differ. Empty where no cell has said so yet.
    """
    if fraction is None:
        return ""
    training, validation, share = (
        _lowest_and_highest(summary, dataset, evaluation, fraction, metric)
        for metric in ("labelled_images", "labelled_validation_images", "labelled_share")
    )
    if training is None:
        return ""
    counts = _counted(training) + (f" + {_counted(validation)}" if validation else "")
    words = f"{counts} images"
    if share is None or all(_rounded(end) == _rounded(fraction) for end in share):
        return words
    return f"{words}, {'–'.join(dict.fromkeys(percent(_rounded(end)) for end in share))} drawn"


def _lowest_and_highest(
    summary: Summary, dataset: str, evaluation: str, fraction: float, metric: str
) -> tuple[float, float] | None:
    ends: list[float] = []
    for method in summary.protocol.methods:
        name = Measurement(dataset, method, evaluation, fraction, None, "", metric)
        if summary.mean(name) is not None:
            row = summary.measured[name]
            ends += [row["lowest"], row["highest"]]
    return (min(ends), max(ends)) if ends else None


def _counted(ends: tuple[float, float]) -> str:
    low, high = (f"{int(end):,}" for end in ends)
    return low if low == high else f"{low}–{high}"


def _rounded(share: float) -> float:
    """To two figures: a share of whole images is hardly ever the one asked for to the last digit."""
    return float(f"{share:.2g}")
