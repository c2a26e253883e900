"""Requirements on a source before it becomes a data set, and the errors that say which are not met."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from imssl.datasets.skipped import Skipped, by_reason, general_reason
from imssl.datasets.source import SPLITS, RawSample, Source
from imssl.datasets.walk import OUTSIDE
from imssl.errors import UserError, printable

# How many names an error lists.
LISTED = 20
# Up to how many images with the same fault have a line each.
NAMED = 5


def check_samples(samples: Sequence[RawSample], source: Source, name: str) -> None:
    """Refuse what no setting can correct: no samples, repeated ids, labels out of range, unknown splits.

    Args:
        samples: of the source.
        source: for its task and classes.
        name: of the data set, for the error.

    Raises:
        UserError: a requirement is not met; the message names the samples.
    """
    if not samples:
        if source.bad:
            raise complaint(name, source.bad)
        raise UserError(f"{name}: the source has no images. Point its path at a folder or zip that has some.")
    repeated = [id for id, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise UserError(f"{name}: ids that occur more than once: {_listed(repeated)}")
    classes = len(source.classes)
    length, largest = (classes, 1) if source.task == "multilabel" else (1, classes - 1)
    wrong = [s.id for s in samples if len(s.labels) != length or min(s.labels) < 0 or max(s.labels) > largest]
    if wrong:
        raise UserError(f"{name}: labels outside 0 to {largest} ({length} per image): {_listed(wrong)}")
    unknown = [s.id for s in samples if s.split not in ("", *SPLITS)]
    if unknown:
        raise UserError(f"{name}: images in a split other than {', '.join(SPLITS)}: {_listed(unknown)}")
    without = [s.id for s in samples if not s.split]
    if 0 < len(without) < len(samples):
        raise UserError(f"{name}: only some images have an official split; without one: {_listed(without)}")


def check_patients(samples: Sequence[RawSample], name: str) -> None:
    """Refuse patients with images in more than one split.

    Raises:
        UserError: there are such patients; the message names them.
    """
    split_of: dict[str, set[str]] = {}
    for sample in samples:
        if sample.patient:
            split_of.setdefault(sample.patient, set()).add(sample.split)
    crossing = [patient for patient, splits in split_of.items() if len(splits) > 1]
    if crossing:
        raise UserError(
            f"{name}: patients with images in more than one split: {_listed(crossing)}\n"
            "Correct the split lists, so that all images of a patient are in the same split."
        )


def check_no_split_is_empty(samples: Sequence[RawSample], name: str) -> None:
    """Refuse a training, validation or test set without images.

    Raises:
        UserError: a split has no images.
    """
    empty = sorted(set(SPLITS) - {sample.split for sample in samples})
    if empty:
        raise UserError(f"{name}: no usable images in the split {', '.join(empty)}.")


def complaint(name: str, bad: Sequence[tuple[str, str]]) -> UserError:
    """The error for images that cannot be used, which counts them by reason and names the first.

    Args:
        name: of the data set.
        bad: (name, reason) of each.
    """
    groups = by_reason(bad)
    members: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for file, reason in bad:
        members[general_reason(reason)].append((file, reason))
    lines = [line for group in groups for line in _of_one_reason(group, members[group.reason])]
    if len(lines) > LISTED:
        lines = [*lines[:LISTED], f"  and {len(lines) - LISTED} more"]
    lines.insert(0, f"{name}: {len(bad):,} images or rows cannot be used:")
    if any(group.reason == OUTSIDE for group in groups):
        lines.append("If links may end there, name that folder in follow_links.")
    lines.append("Repair them, or set on_bad_image: skip to leave them out; skipped.csv then lists them.")
    return UserError("\n".join(lines))


def _of_one_reason(group: Skipped, members: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each of a few, and one line for all of many."""
    if group.count > NAMED:
        return [f"  {group.count:,} times: {group.reason}: {', '.join(map(printable, group.first))}, ..."]
    return [f"  {printable(file)}: {printable(reason)}" for file, reason in members]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(printable, names[:LISTED])) + more
