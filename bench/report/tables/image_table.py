"""The test images that most methods get wrong: labels, what each method says, and a small picture."""

import numpy as np
from numpy.typing import NDArray

from bench.datasets.pictures import label_words
from bench.report.layout import Column, Entry, Picture, Row, Table, listed, number
from bench.report.material.sample_images import may_be_shown, thumbnails
from bench.report.material.tested_runs import TestedRuns

# A page stays small: so many images at most, and fewer of them where there are many methods.
MOST_IMAGES, MOST_CELLS = 200, 4000
THRESHOLD = 0.5


def image_table(runs: TestedRuns, wanted: bool, shows_images: bool) -> Table:
    """A row for each test image, those that most methods miss first.

    Args:
        runs: of a data set, the methods in the order of the columns.
        wanted: whether pictures are asked for, see report.thumbnails.
        shows_images: whether images may be shown at all.
    """
    dataset = runs.card.name
    means = {method: seeds.mean(axis=0) for method, seeds in runs.probabilities.items()}
    is_missed = np.stack([missed(runs, mean) for mean in means.values()])
    doubt = np.mean([_doubt(runs, mean) for mean in means.values()], axis=0)
    order = np.lexsort((-doubt, -is_missed.sum(axis=0)))
    shown = order[: min(MOST_IMAGES, MOST_CELLS // len(means))]
    allowed = shows_images and may_be_shown(runs.card)
    pictures = thumbnails(dataset, [str(runs.ids[i]) for i in shown]) if wanted and allowed else {}
    return Table(
        id=f"images-{dataset}",
        title="Test images, those that most methods get wrong first",
        corner="Image",
        columns=(
            Column("labels", numeric=False),
            Column("missed by", f"of {len(means)} methods"),
            *(Column(method) for method in means),
        ),
        rows=tuple(_row(runs, means, is_missed[:, i], int(i), pictures) for i in shown),
        note=" ".join(
            [
                _counted(runs, is_missed, len(shown)),
                _read(runs),
                *([f"Left out, for want of a seed: {listed(runs.absent)}."] if runs.absent else []),
                _why_no_pictures(runs, wanted, allowed, bool(pictures)),
            ]
        ).strip(),
    )


def missed(runs: TestedRuns, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which images a method gets wrong, (N,): another class is the likeliest, or any label is wrong.

    Args:
        runs: of the data set.
        probabilities: (N, C) of the method.
    """
    if runs.card.task == "multilabel":
        return np.asarray(((probabilities >= THRESHOLD) != (runs.labels == 1)).any(axis=1))
    return np.asarray(probabilities.argmax(axis=1) != runs.labels)


def _doubt(runs: TestedRuns, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the probabilities are from the truth, (N,): of the true class, or the mean over all labels."""
    if runs.card.task == "multilabel":
        return np.asarray(np.abs(probabilities - runs.labels).mean(axis=1))
    return np.asarray(1 - probabilities[np.arange(len(probabilities)), runs.labels])


def _row(
    runs: TestedRuns,
    means: dict[str, NDArray[np.float64]],
    is_missed: NDArray[np.bool_],
    image: int,
    pictures: dict[str, Picture],
) -> Row:
    sample = str(runs.ids[image])
    entries = (
        Entry(label_words(runs.card, runs.labels[image]), numeric=False),
        Entry("all" if is_missed.all() else f"{is_missed.sum()}"),
        *(_entry(runs, image, mean[image]) for mean in means.values()),
    )
    return Row(sample, entries, picture=pictures.get(sample))


def _entry(runs: TestedRuns, image: int, probabilities: NDArray[np.float64]) -> Entry:
    """What one method says of one image; what it gets wrong stands below."""
    classes = runs.card.classes
    if runs.card.task == "multilabel":
        is_wrong = (probabilities >= THRESHOLD) != (runs.labels[image] == 1)
        named = np.flatnonzero(is_wrong | (runs.labels[image] == 1))
        count = int(is_wrong.sum())
        words = f"{count} wrong" if count else "right"
        return Entry(words, tuple(f"{classes[i]} {number(probabilities[i], 2)}" for i in named))
    truth, guess = int(runs.labels[image]), int(probabilities.argmax())
    likelier: tuple[str, ...] = ()
    if guess != truth:
        likelier = (f"{classes[guess]} {number(probabilities[guess], 2)}",)
    return Entry(number(probabilities[truth], 2), likelier)


def _counted(runs: TestedRuns, is_missed: NDArray[np.bool_], shown: int) -> str:
    total, all_miss = len(runs.ids), int(is_missed.all(axis=0).sum())
    none_miss = int((~is_missed.any(axis=0)).sum())
    words = f"Of {total:,} test images every method misses {all_miss:,}, and none misses {none_miss:,}."
    return words if shown == total else f"{words} The first {shown:,} are shown."


def _read(runs: TestedRuns) -> str:
    means = "Fine-tuned with all labels; probabilities are means over the seeds."
    if runs.card.task == "multilabel":
        return (
            f"{means} An image is missed where any label is on the wrong side of {THRESHOLD}; below stand "
            "the labels that it has, and those that are wrong."
        )
    return f"{means} The number is the probability of the true class; below it stands a likelier one."


def _why_no_pictures(runs: TestedRuns, wanted: bool, allowed: bool, has_pictures: bool) -> str:
    if has_pictures:
        return ""
    if not wanted:
        return "Pictures are shown with report.thumbnails: true in params.yaml."
    if not allowed:
        return f"No pictures: the licence ({runs.card.licence or 'none is named'}) is not known to allow it."
    return "No pictures: the prepared images are not here."
