"""Some of many images, for what is too costly for all: drawn by a seed and spread over the patients.

The first n rows would do for neither: samples are sorted by id and so by patient, and the first 1,000 patches
of a set of whole slides are two patients.
"""

import numpy as np

from imssl.datasets.prepared import Prepared
from imssl.seeds import numpy_generator


def draw_rows(prepared: Prepared, rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Some of a data set's rows, every patient once before any patient twice.

    Args:
        prepared: data set; a sample without a patient id counts as a patient of its own.
        rows: (n,) rows to draw from.
        count: rows wanted.
        generator: decides; the same state gives every method the same rows.

    Returns:
        Ascending int64 rows, min(count, n) of them.
    """
    if count >= len(rows):
        return np.sort(rows)
    return rows[spread_over_patients(prepared.patients()[rows], count, generator)]


def compared_rows(prepared: Prepared, count: int) -> np.ndarray:
    """The test images on which encoders are compared: the same for every method and seed of a run.

    Returns:
        Ascending int64 rows, as :func:`draw_rows`.
    """
    generator = numpy_generator(0, "compared images", prepared.card.name)
    return draw_rows(prepared, prepared.indices("test"), count, generator)


def spread_over_patients(patients: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of samples, drawn in rounds in which every patient who still has samples gives one.

    In the last round it is chance which patients give one, and in each, which of its samples a patient gives.

    Args:
        patients: (N,) patient of each sample.
        count: samples wanted.
        generator: decides.

    Returns:
        Ascending int64 positions, min(count, N) of them; a larger count adds to those of a smaller one.
    """
    shuffled = generator.permutation(len(patients))
    _, patient_of, sizes = np.unique(patients[shuffled], return_inverse=True, return_counts=True)
    by_patient = np.argsort(patient_of, kind="stable")
    turn = np.empty(len(patients), dtype=np.int64)
    turn[by_patient] = np.arange(len(patients)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # An order of their own: who has more samples comes earlier among the shuffled samples.
    order_of = generator.permutation(len(sizes))
    return np.sort(shuffled[np.lexsort((order_of[patient_of], turn))[:count]])
