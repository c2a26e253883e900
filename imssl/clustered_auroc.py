"""AUROC with a standard error that knows that images of one patient are alike (Obuchowski, 1997)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClusteredAuroc:
    """An AUROC over test images that come in patients.

    Attributes:
        value: mean over the runs.
        standard_error: of that mean over patients; None where fewer than two patients have the class, or
            fewer than two have images without it.
    """

    value: float
    standard_error: float | None


def clustered_auroc(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], patients: NDArray[np.str_]
) -> ClusteredAuroc | None:
    """Mean AUROC of several runs on the same images, with its standard error over patients.

    The runs share their images, so it is the placement values of each image that are averaged over them.
    With one image to each patient and one run this is the estimate of DeLong et al. (1988).

    Source: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997).

    Args:
        positive: (N,) whether the image belongs to the class.
        scores: (R, N) of each run.
        patients: (N,) ids.

    Returns:
        None where no image, or every one, belongs to the class.
    """
    if positive.all() or not positive.any():
        return None
    placements = np.mean([_placements(positive, run) for run in scores], axis=0)
    auroc = float(placements[positive].mean())
    names, patient = np.unique(patients, return_inverse=True)
    # Of each patient: how far the placements of the images with and without the class are from the AUROC.
    of_class, of_rest = (
        np.bincount(patient, weights=np.where(is_in, placements - auroc, 0.0), minlength=names.size).astype(
            np.float64
        )
        for is_in in (positive, ~positive)
    )
    with_class, with_rest = np.unique(patient[positive]).size, np.unique(patient[~positive]).size
    if min(with_class, with_rest) < 2:
        return ClusteredAuroc(auroc, None)
    images, rest = int(positive.sum()), int((~positive).sum())
    variance = (
        _spread(of_class, of_class, with_class) / images**2
        + _spread(of_rest, of_rest, with_rest) / rest**2
        + 2 * _spread(of_class, of_rest, names.size) / (images * rest)
    )
    return ClusteredAuroc(auroc, float(np.sqrt(max(variance, 0.0))))


def _placements(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of each image, the share of the other side that it is ordered rightly with; ties count half."""
    placements = np.empty(scores.size)
    for is_in in (positive, ~positive):
        others = np.sort(scores[~is_in])
        below = np.searchsorted(others, scores[is_in], side="left")
        up_to = np.searchsorted(others, scores[is_in], side="right")
        placements[is_in] = (below + up_to) / (2 * others.size)
    placements[~positive] = 1 - placements[~positive]
    return placements


def _spread(first: NDArray[np.float64], second: NDArray[np.float64], patients: int) -> float:
    return patients / (patients - 1) * float(first @ second)
