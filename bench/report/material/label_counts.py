"""How many labels stand behind a label set: a small share is filled up to show every class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.layout import percent
from bench.summary.summary import Measurement, Summary
from imssl.settings.labels import LabelSet

NOTE = (
    "Below a label set stand the labels that were drawn, training + validation images; “drawn” is their "
    "share of the training images, where it is not the one asked for."
)


@dataclass(frozen=True)
class DrawnLabels:
    """What was drawn for a label set, over all seeds and methods; each as the lowest and the highest.

    Attributes:
        training: images.
        validation: images; None where none are used.
        share: of all training images.
    """

    training: tuple[float, float]
    validation: tuple[float, float] | None
    share: tuple[float, float] | None

    @property
    def counts(self) -> str:
        """Training and validation images, such as “12 + 2”."""
        return _counted(self.training) + (f" + {_counted(self.validation)}" if self.validation else "")

    @property
    def middle_share(self) -> float | None:
        """The middle of the shares."""
        return None if self.share is None else sum(self.share) / 2


def labels_drawn(summary: Summary, dataset: str, evaluation: str, labels: LabelSet | None) -> str:
    """The labels drawn for a label set, over all seeds and methods, such as “12 + 2 images, 1.5% drawn”.

    Args:
        summary: of the run.
        dataset: id.
        evaluation: whose label sets they are.
        labels: what was asked for; None for an evaluation that takes all.

    Returns:
        Training and validation images; ranges where seeds differ. Empty where no cell has said so yet.
    """
    if labels is None or not (drawn := drawn_labels(summary, dataset, evaluation, labels)):
        return ""
    words = f"{drawn.counts} images"
    asked = None if labels.fraction is None else _rounded(labels.fraction)
    if drawn.share is None or all(_rounded(end) == asked for end in drawn.share):
        return words
    return f"{words}, {'–'.join(dict.fromkeys(percent(_rounded(end)) for end in drawn.share))} drawn"


def drawn_labels(summary: Summary, dataset: str, evaluation: str, labels: LabelSet) -> DrawnLabels | None:
    """What was drawn for a label set; None where no cell has said so yet."""
    training, validation, share = (
        summary.span(Measurement(dataset, "", evaluation, labels, None, "", metric))
        for metric in ("labelled_images", "labelled_validation_images", "labelled_share")
    )
    return DrawnLabels(training, validation, share) if training else None


def drawn_over(
    summary: Summary, datasets: Sequence[str], evaluation: str, labels: LabelSet | None
) -> DrawnLabels | None:
    """The same over several data sets, from the one with the fewest labels to the one with the most."""
    if labels is None:
        return None
    drawn = [
        of_dataset
        for dataset in datasets
        if (of_dataset := drawn_labels(summary, dataset, evaluation, labels))
    ]
    training = _span(part.training for part in drawn)
    validation = _span(part.validation for part in drawn)
    return DrawnLabels(training, validation, _span(part.share for part in drawn)) if training else None


def words_with_counts(summary: Summary, datasets: Sequence[str], labels: LabelSet) -> str:
    """A label set in a sentence with the images that fine-tuning had: “1% of the labels (12 + 2 images)”."""
    return _with_counts(labels.words, summary, datasets, labels)


def name_with_counts(summary: Summary, datasets: Sequence[str], labels: LabelSet) -> str:
    """The same where room is scarce: “1% (12 + 2 images)”."""
    return _with_counts(labels.name, summary, datasets, labels)


def _with_counts(words: str, summary: Summary, datasets: Sequence[str], labels: LabelSet) -> str:
    drawn = drawn_over(summary, datasets, "finetune", labels)
    return f"{words} ({drawn.counts} images)" if drawn else words


def _span(ranges: Iterable[tuple[float, float] | None]) -> tuple[float, float] | None:
    ends = [end for ends in ranges if ends for end in ends]
    return (min(ends), max(ends)) if ends else None


def _counted(ends: tuple[float, float]) -> str:
    low, high = (f"{int(end):,}" for end in ends)
    return low if low == high else f"{low}–{high}"


def _rounded(share: float) -> float:
    """To two figures: a share of whole images is hardly ever the one asked for to the last digit."""
    return float(f"{share:.2g}")
