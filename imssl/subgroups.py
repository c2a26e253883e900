"""Subgroups of samples by what is known of them: by the values of an attribute, or by ranges of a number."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOT_GIVEN = "not given"
# Numbers with more values than this are cut into ranges; fewer are a code, such as 0 and 1.
MOST_NUMBERS = 6
# An age as DICOM writes it (PS3.5, value representation AS): 3 digits, then years, months, weeks or days.
AGE = re.compile(r"(\d{3})([YMWD])")
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class Subgroup:
    """Some of the samples.

    Attributes:
        name: value of the attribute, or its range.
        rows: (n,) ascending int64 rows of the samples.
    """

    name: str
    rows: NDArray[np.int64]


def subgroups_of(attribute: str, values: Sequence[str]) -> list[Subgroup]:
    """Divide samples by an attribute.

    Numbers with more than MOST_NUMBERS different values, and ages as DICOM writes them, are cut at their
    quartiles over the samples (linear interpolation); a value on a quartile belongs to the range below. Equal
    quartiles make fewer ranges. Any other value is a subgroup of its own. Samples without a value come last.

    Args:
        attribute: its name.
        values: (N,) text; blank where it is not known.

    Returns:
        Subgroups that are not empty, numbers ascending, text in alphabetical order.
    """
    texts = np.array([value.strip() for value in values], dtype=object)
    given = np.flatnonzero(texts != "")
    numbers = [_number(text) for text in texts[given]]
    groups: list[Subgroup] = []
    if given.size and None not in numbers:
        groups = _of_numbers(attribute, np.array(numbers, dtype=float), texts, given)
    else:
        groups = [Subgroup(str(text), given[texts[given] == text]) for text in sorted(set(texts[given]))]
    missing = np.flatnonzero(texts == "")
    return groups + ([Subgroup(NOT_GIVEN, missing)] if missing.size else [])


def _of_numbers(
    attribute: str, numbers: NDArray[np.float64], texts: NDArray[np.object_], given: NDArray[np.int64]
) -> list[Subgroup]:
    different = np.unique(numbers)
    if different.size <= MOST_NUMBERS:
        return [Subgroup(str(texts[given[numbers == n][0]]), given[numbers == n]) for n in different]
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    # As many edges as lie below a number: one on an edge belongs below it.
    place = np.searchsorted(edges, numbers, side="left")
    names = [f"{attribute} up to {edges[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    names += [f"{attribute} above {edges[-1]:g}"]
    return [Subgroup(names[i], given[place == i]) for i in np.unique(place)]


def _number(text: str) -> float | None:
    """A number, or an age in years; None for any other text."""
    if age := AGE.fullmatch(text):
        return int(age[1]) * YEARS[age[2]]
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
