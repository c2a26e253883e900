"""The suite's numbers by other means: scikit-learn, and formulas written out as they are defined.

Nothing here calls the code that made the numbers (imssl.metrics, imssl.cka, imssl.ks), so that a mistake
there cannot confirm itself.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from imssl.datasets.source import Task

# (class or "", name of the metric): value, None where it is undefined.
Values = dict[tuple[str, str], float | None]


def scores(task: Task, labels: NDArray, probabilities: NDArray, classes: Sequence[str]) -> Values:
    """Every test metric by scikit-learn, under the names of reports/results.csv.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C).
        classes: C names.
    """
    with warnings.catch_warnings():
        # scikit-learn warns of classes that are predicted and never occur; they count as they should.
        warnings.simplefilter("ignore")
        indicators = labels if task == "multilabel" else np.eye(len(classes), dtype=int)[labels]
        if task == "multilabel":
            values = _multilabel(labels, (probabilities >= 0.5).astype(int))
        else:
            values = _single_label(labels, probabilities.argmax(axis=1))
        if task == "ordinal":
            guess = probabilities.argmax(axis=1)
            constant = len(np.unique(np.concatenate([labels, guess]))) == 1
            kappa = cohen_kappa_score(labels, guess, labels=range(len(classes)), weights="quadratic")
            values["", "qwk"] = None if constant else float(kappa)
        shown = [1] if task == "binary" else range(len(classes))
        per_class = {classes[c]: _auroc(indicators[:, c], probabilities[:, c]) for c in shown}
        precision = {classes[c]: _precision(indicators[:, c], probabilities[:, c]) for c in shown}
    for metric, by_class in (("auroc", per_class), ("average_precision", precision)):
        values["", metric if task == "binary" else f"macro_{metric}"] = _mean(list(by_class.values()))
        values |= {(label, metric): value for label, value in by_class.items()}
    values |= {(classes[c], "prevalence"): float(indicators[:, c].mean()) for c in shown}
    return values | _calibration(task, labels, probabilities, indicators)


def ks_distances(a: NDArray, b: NDArray, task: Task, classes: Sequence[str]) -> Values:
    """Largest gap between the empirical distribution functions of two models' probabilities, by class.

    Args:
        a: (N, C) probabilities.
        b: (N, C) probabilities.
        task: kind of task; of a binary one, the positive class only.
        classes: C names.
    """
    shown = [1] if task == "binary" else range(len(classes))
    distances: Values = {}
    for c in shown:
        steps = np.concatenate([a[:, c], b[:, c]])
        below_a = (a[:, c][None, :] <= steps[:, None]).mean(axis=1)
        below_b = (b[:, c][None, :] <= steps[:, None]).mean(axis=1)
        distances[classes[c], "ks"] = float(np.abs(below_a - below_b).max())
    return {("", "ks"): _mean(list(distances.values()))} | distances


def cka_values(
    before: NDArray, after: NDArray, kernel: str, bandwidth: float, orders: Sequence[NDArray]
) -> Values:
    """Debiased CKA and its permutation null, from unbiased HSIC (Song et al. 2012, eq. 5) as it stands.

    Args:
        before: (N, D1) features.
        after: (N, D2) features of the same images.
        kernel: ``linear`` or ``rbf``.
        bandwidth: of the RBF kernel, in multiples of the median distance.
        orders: permutations of the N rows.
    """
    k, l = (_hollow_gram(x.astype(np.float64), kernel, bandwidth) for x in (before, after))  # noqa: E741
    scale = np.sqrt(_hsic(k, k) * _hsic(l, l))
    observed = _hsic(k, l) / scale
    null = np.array([_hsic(k, l[np.ix_(order, order)]) / scale for order in orders])
    return {
        ("", f"cka_{kernel}"): float(observed),
        ("", f"cka_{kernel}_null_mean"): float(null.mean()),
        ("", f"cka_{kernel}_null_95"): float(np.percentile(null, 95)),
        ("", f"cka_{kernel}_p_value"): float((1 + np.sum(null >= observed)) / (1 + len(null))),
    }


def cka_interval_values(
    before: NDArray, after: NDArray, patients: NDArray, kernel: str, bandwidth: float
) -> Values:
    """The jackknife interval of CKA over patients: unbiased HSIC of the rows that are left, as it stands.

    Where `imssl.cka_interval` takes a patient's share out of the sums over all rows, here the sums are over
    the rows of the others, told by 0 and 1.

    Args:
        before: (N, D1) features.
        after: (N, D2) features of the same images.
        patients: (N,) patient of each.
        kernel: ``linear`` or ``rbf``.
        bandwidth: of the RBF kernel, in multiples of the median distance of all images.
    """
    names = [("", f"cka_{kernel}_{end}") for end in ("low", "high", "standard_error")]
    kept = (patients[:, None] != np.unique(patients)).astype(float)
    count = kept.shape[1]
    if count < 3 or kept.sum(axis=0).min() < 4:
        return dict.fromkeys(names, None)
    k, l = (_hollow_gram(x.astype(np.float64), kernel, bandwidth) for x in (before, after))  # noqa: E741
    with np.errstate(invalid="ignore", divide="ignore"):
        without = _hsic_of(k, l, kept) / np.sqrt(_hsic_of(k, k, kept) * _hsic_of(l, l, kept))
    if not np.isfinite(without).all():
        return dict.fromkeys(names, None)
    whole = _hsic(k, l) / np.sqrt(_hsic(k, k) * _hsic(l, l))
    pseudo_values = count * whole - (count - 1) * without
    centre, error = float(pseudo_values.mean()), float(pseudo_values.std(ddof=1) / np.sqrt(count))
    reach = float(stats.t.isf(0.025, count - 1)) * error
    if reach > 0 and abs(centre) < 1:
        # Fisher's z, whose slope at r is 1 / (1 - r^2).
        z = np.log((1 + centre) / (1 - centre)) / 2 + np.array([-1, 1]) * reach / (1 - centre**2)
        low, high = 1 - 2 / (np.exp(2 * z) + 1)
    else:
        low, high = centre - reach, centre + reach
    return dict(zip(names, (float(low), float(high), error), strict=True))


def _multilabel(labels: NDArray, guess: NDArray) -> Values:
    columns = range(labels.shape[1])
    f1 = [
        float(f1_score(labels[:, c], guess[:, c])) if labels[:, c].any() or guess[:, c].any() else None
        for c in columns
    ]
    balanced = [
        float(balanced_accuracy_score(labels[:, c], guess[:, c])) if np.ptp(labels[:, c]) else None
        for c in columns
    ]
    return {
        ("", "accuracy"): float(np.mean([accuracy_score(labels[:, c], guess[:, c]) for c in columns])),
        ("", "macro_f1"): _mean(f1),
        ("", "balanced_accuracy"): _mean(balanced),
    }


def _single_label(labels: NDArray, guess: NDArray) -> Values:
    occurring = np.unique(np.concatenate([labels, guess]))
    return {
        ("", "accuracy"): float(accuracy_score(labels, guess)),
        ("", "macro_f1"): float(f1_score(labels, guess, average="macro", labels=occurring)),
        ("", "balanced_accuracy"): float(balanced_accuracy_score(labels, guess)),
    }


def _precision(positive: NDArray, score: NDArray) -> float | None:
    return float(average_precision_score(positive, score)) if np.ptp(positive) else None


def _calibration(task: Task, labels: NDArray, probabilities: NDArray, indicators: NDArray) -> Values:
    """Brier score, expected calibration error in 15 bins of equal mass, and a binary task's sensitivity."""
    squares = (probabilities - indicators) ** 2
    values: Values = {}
    if task == "binary":
        false_alarms, hits, _ = roc_curve(labels, probabilities[:, 1], drop_intermediate=False)
        reached = hits[false_alarms <= 0.1 + 1e-9].max() if np.ptp(labels) else None
        values["", "sensitivity_at_90_specificity"] = None if reached is None else float(reached)
        brier, pairs = squares[:, 1].mean(), [(probabilities[:, 1], labels == 1)]
    elif task == "multilabel":
        brier = squares.mean()
        pairs = [(probabilities[:, c], labels[:, c] == 1) for c in range(labels.shape[1])]
    else:
        brier = squares.sum(axis=1).mean()
        pairs = [(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)]
    values["", "brier_score"] = float(brier)
    values["", "calibration_error"] = float(np.mean([_gap(*pair) for pair in pairs]))
    return values


def _gap(predicted: NDArray, came_true: NDArray) -> float:
    edges = np.percentile(predicted, [100 * i / 15 for i in range(1, 15)])
    bins = [tuple(probability > edges) for probability in predicted]
    gap = 0.0
    for name in set(bins):
        here = np.array([other == name for other in bins])
        gap += abs(predicted[here].sum() - came_true[here].sum()) / len(predicted)
    return gap


def _auroc(positive: NDArray, score: NDArray) -> float | None:
    return float(roc_auc_score(positive, score)) if np.ptp(positive) else None


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _hollow_gram(x: NDArray[np.float64], kernel: str, bandwidth: float) -> NDArray[np.float64]:
    """The Gram matrix with zeros on its diagonal."""
    gram = _gram(x, kernel, bandwidth)
    np.fill_diagonal(gram, 0.0)
    return gram


def _gram(x: NDArray[np.float64], kernel: str, bandwidth: float) -> NDArray[np.float64]:
    if kernel == "linear":
        centred = x - x.mean(axis=0)
        return np.asarray(centred @ centred.T)
    squares = pdist(x, "sqeuclidean")
    # The median is of the squares; where two pairs share the middle, the square of the median is another.
    return np.asarray(np.exp(-squareform(squares) / (2 * bandwidth**2 * np.median(squares))))


def _hsic(k: NDArray[np.float64], l: NDArray[np.float64]) -> float:  # noqa: E741
    """Unbiased HSIC: tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1, diagonals zero, over n(n-3)."""
    n = len(k)
    trace = np.vdot(k, l)
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * (k.sum(axis=0) @ l.sum(axis=0))
    return float((trace + sums - crossed) / (n * (n - 3)))


def _hsic_of(k: NDArray[np.float64], l: NDArray[np.float64], kept: NDArray[np.float64]) -> NDArray:  # noqa: E741
    """`_hsic` of some of the rows: kept (N, P) is 1 for those of the p-th value, 0 for the others; (P,)."""
    n = kept.sum(axis=0)
    k_rows, l_rows = k @ kept, l @ kept
    trace = (kept * ((k * l) @ kept)).sum(axis=0)
    sums = (kept * k_rows).sum(axis=0) * (kept * l_rows).sum(axis=0) / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * (kept * k_rows * l_rows).sum(axis=0)
    return np.asarray((trace + sums - crossed) / (n * (n - 3)))
