"""The suite's numbers by other means: formulas written out as they are defined.

Nothing here calls the code that made the numbers (imssl.metrics, imssl.cka, imssl.ks), so that a mistake
there cannot confirm itself. The tests hold the formulas to scikit-learn, whose own functions check their
arguments for longer than they compute on a test set of some hundred images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from imssl.task import Task

# How near to the edge between two bins of predictions a sample lies on it.
ON_EDGE = 1e-12

# (class or "", name of the metric): value, None where it is undefined.
Values = dict[tuple[str, str], float | None]


def scores(task: Task, labels: NDArray, probabilities: NDArray, classes: Sequence[str]) -> Values:
    """Every test metric, under the names of reports/results.csv.

    Args:
        task: kind of task.
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        probabilities: (N, C).
        classes: C names.
    """
    count = len(classes)
    indicators = labels if task == "multilabel" else np.eye(count, dtype=int)[labels]
    guess = probabilities.argmax(axis=1)
    if task == "multilabel":
        values = _multilabel(labels == 1, probabilities >= 0.5)
    else:
        # How often each class (row) was taken for each other (column).
        confused = np.bincount(labels * count + guess, minlength=count * count).reshape(count, count)
        values = _single_label(confused)
        if task == "ordinal":
            values["", "qwk"] = _quadratic_weighted_kappa(confused)
    shown = [1] if task == "binary" else range(count)
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
    before: NDArray, afters: Sequence[NDArray], kernel: str, bandwidth: float, orders: Sequence[NDArray]
) -> list[Values]:
    """Debiased CKA and its permutation null, from unbiased HSIC (Song et al. 2012, eq. 5) as it stands.

    Args:
        before: (N, D1) features.
        afters: (N, D2) features of the same images, one array for each comparison.
        kernel: ``linear`` or ``rbf``.
        bandwidth: of the RBF kernel, in multiples of the median distance.
        orders: permutations of the N rows.

    Returns:
        The values of each comparison, in the order of `afters`.
    """
    k = _hollow_gram(before.astype(np.float64), kernel, bandwidth)
    others = [_hollow_gram(after.astype(np.float64), kernel, bandwidth) for after in afters]
    scales = np.array([np.sqrt(_hsic(k, k) * _hsic(l, l)) for l in others])  # noqa: E741
    observed = np.array([_hsic(k, l) for l in others]) / scales  # noqa: E741
    # Of sum_ij K_ij L_o(i)o(j), the rows of K are put into the inverse order: once for all comparisons.
    flat, row_sums = np.stack([l.ravel() for l in others]), np.stack([l.sum(axis=0) for l in others])  # noqa: E741
    null = np.empty((len(orders), len(others)))
    for i, order in enumerate(orders):
        inverse = np.argsort(order)
        shuffled = k[np.ix_(inverse, inverse)]
        traces, crossed = flat @ shuffled.ravel(), row_sums @ shuffled.sum(axis=0)
        null[i] = _unbiased(traces, k.sum() * row_sums.sum(axis=1), crossed, len(k)) / scales
    return [
        {
            ("", f"cka_{kernel}"): float(observed[i]),
            ("", f"cka_{kernel}_null_mean"): float(null[:, i].mean()),
            ("", f"cka_{kernel}_null_95"): float(np.percentile(null[:, i], 95)),
            ("", f"cka_{kernel}_p_value"): float((1 + np.sum(null[:, i] >= observed[i])) / (1 + len(orders))),
        }
        for i in range(len(afters))
    ]


def cka_interval_values(
    before: NDArray, after: NDArray, patients: NDArray, kernel: str, bandwidth: float
) -> tuple[Values, NDArray[np.float64]]:
    """The jackknife interval of CKA over patients: unbiased HSIC of the rows that are left, as it stands.

    Where `imssl.cka_interval` takes a patient's share out of the sums over all rows, here the sums are over
    the rows of the others, marked by 0 and 1.

    Args:
        before: (N, D1) features.
        after: (N, D2) features of the same images.
        patients: (N,) patient of each.
        kernel: ``linear`` or ``rbf``.
        bandwidth: of the RBF kernel, in multiples of the median distance of all images.

    Returns:
        The values; and CKA without each patient, (P,) in the order of their ids. None and NaN where there are
        too few patients.
    """
    names = [("", f"cka_{kernel}_{end}") for end in ("low", "high", "standard_error")]
    kept = (patients[:, None] != np.unique(patients)).astype(float)
    count = kept.shape[1]
    undefined: Values = dict.fromkeys(names, None)
    if count < 3 or kept.sum(axis=0).min() < 4:
        return undefined, np.full(count, np.nan)
    k, l = (_hollow_gram(x.astype(np.float64), kernel, bandwidth) for x in (before, after))  # noqa: E741
    with np.errstate(invalid="ignore", divide="ignore"):
        without = _hsic_of(k, l, kept) / np.sqrt(_hsic_of(k, k, kept) * _hsic_of(l, l, kept))
    if not np.isfinite(without).all():
        return undefined, np.full(count, np.nan)
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
    return dict(zip(names, (float(low), float(high), error), strict=True)), without


def _multilabel(positive: NDArray[np.bool_], guess: NDArray[np.bool_]) -> Values:
    """Means over the classes, (N, C) each; a class is left out of a mean that is not defined for it."""
    hits, misses = (positive & guess).sum(axis=0), (positive & ~guess).sum(axis=0)
    false_alarms, rest = (~positive & guess).sum(axis=0), (~positive & ~guess).sum(axis=0)
    occurring, varying = hits + misses + false_alarms > 0, (hits + misses > 0) & (false_alarms + rest > 0)
    f1 = 2 * hits[occurring] / (2 * hits + misses + false_alarms)[occurring]
    sensitivity = hits[varying] / (hits + misses)[varying]
    specificity = rest[varying] / (rest + false_alarms)[varying]
    return {
        ("", "accuracy"): float((positive == guess).mean()),
        ("", "macro_f1"): _mean(f1.tolist()),
        ("", "balanced_accuracy"): _mean(((sensitivity + specificity) / 2).tolist()),
    }


def _single_label(confused: NDArray[np.int_]) -> Values:
    hits, labelled, guessed = np.diag(confused), confused.sum(axis=1), confused.sum(axis=0)
    occurring = labelled + guessed > 0
    return {
        ("", "accuracy"): float(hits.sum() / confused.sum()),
        ("", "macro_f1"): float((2 * hits[occurring] / (labelled + guessed)[occurring]).mean()),
        ("", "balanced_accuracy"): float((hits[labelled > 0] / labelled[labelled > 0]).mean()),
    }


def _quadratic_weighted_kappa(confused: NDArray[np.int_]) -> float | None:
    """One minus the mean squared distance of the grades, over that of independent ones (Cohen 1968)."""
    grades = np.arange(len(confused))
    weights = (grades[:, None] - grades) ** 2
    independent = np.outer(confused.sum(axis=1), confused.sum(axis=0)) / confused.sum()
    by_chance = float((weights * independent).sum())
    return 1 - float((weights * confused).sum()) / by_chance if by_chance else None


def _precision(positive: NDArray, score: NDArray) -> float | None:
    """Mean over the positives of the precision at a threshold on their own score."""
    if not np.ptp(positive):
        return None
    own, everyone = np.sort(score[positive == 1]), np.sort(score)
    positives_above = len(own) - np.searchsorted(own, own, side="left")
    all_above = len(everyone) - np.searchsorted(everyone, own, side="left")
    return float((positives_above / all_above).mean())


def _calibration(task: Task, labels: NDArray, probabilities: NDArray, indicators: NDArray) -> Values:
    """Brier score, expected calibration error in 15 bins of equal mass, and a binary task's sensitivity."""
    squares = (probabilities - indicators) ** 2
    values: Values = {}
    if task == "binary":
        values["", "sensitivity_at_90_specificity"] = _sensitivity(labels, probabilities[:, 1])
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


def _sensitivity(labels: NDArray, score: NDArray) -> float | None:
    """The highest share of positives above a threshold that at most a tenth of the negatives reaches."""
    if not np.ptp(labels):
        return None
    thresholds = np.append(np.unique(score), np.inf)
    positives, negatives = np.sort(score[labels == 1]), np.sort(score[labels == 0])
    hits = 1 - np.searchsorted(positives, thresholds, side="left") / len(positives)
    false_alarms = 1 - np.searchsorted(negatives, thresholds, side="left") / len(negatives)
    return float(hits[false_alarms <= 0.1 + 1e-9].max())


def _gap(predicted: NDArray, came_true: NDArray) -> float:
    """Calibration error of one class, by whole numbers: how many samples lie below each edge.

    The edge of rank (N - 1) i / 15 lies on a sample or between two neighbours, so a sample is above it if it
    is above the lower of them. Only where a sample lies on an edge does rounding in the quantile decide, and
    it is NumPy's that the stored number was made with.
    """
    shares = np.arange(1, 15)
    lower = np.sort(predicted)[(len(predicted) - 1) * shares // 15]
    edges = np.quantile(predicted, shares / 15)
    is_on_edge = np.abs(predicted[:, None] - edges) <= ON_EDGE
    above = np.where(is_on_edge, predicted[:, None] > edges, predicted[:, None] > lower).sum(axis=1)
    excess = np.bincount(above, predicted - came_true, minlength=15)
    return float(np.abs(excess).sum() / len(predicted))


def _auroc(positive: NDArray, score: NDArray) -> float | None:
    """Share of the pairs of a positive and a negative in which the positive scores higher; a tie is half."""
    if not np.ptp(positive):
        return None
    own, negatives = score[positive == 1], np.sort(score[positive == 0])
    lower, not_higher = (np.searchsorted(negatives, own, side=side) for side in ("left", "right"))
    return float((lower + not_higher).mean() / (2 * len(negatives)))


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
    """Unbiased HSIC of two Gram matrices with zeros on their diagonals."""
    return float(
        _unbiased(float(np.vdot(k, l)), float(k.sum() * l.sum()), k.sum(axis=0) @ l.sum(axis=0), len(k))
    )


def _unbiased(
    trace: float | NDArray, sums: float | NDArray, crossed: float | NDArray, n: int
) -> NDArray[np.float64]:
    """tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1, over n(n-3)."""
    return np.asarray((trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * crossed) / (n * (n - 3)))


def _hsic_of(k: NDArray[np.float64], l: NDArray[np.float64], kept: NDArray[np.float64]) -> NDArray:  # noqa: E741
    """`_hsic` of some of the rows: kept (N, P) is 1 for those of the p-th value, 0 for the others; (P,)."""
    n = kept.sum(axis=0)
    k_rows, l_rows = k @ kept, l @ kept
    trace = (kept * ((k * l) @ kept)).sum(axis=0)
    sums = (kept * k_rows).sum(axis=0) * (kept * l_rows).sum(axis=0) / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * (kept * k_rows * l_rows).sum(axis=0)
    return np.asarray((trace + sums - crossed) / (n * (n - 3)))
