"""An interval of CKA over patients, by the jackknife."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from imssl.cka import Array, Kernel, centred_features, cka, gram


@dataclass(frozen=True)
class PatientInterval:
    """How far CKA could be from what other patients would have shown.

    Attributes:
        estimate: CKA without the bias that alike images of one patient bring in.
        low: lower end.
        high: upper end.
        standard_error: of CKA, over patients.
        patients: number of patients.
        left_out: (P,) CKA without each patient in turn, in the order of their sorted ids: what an interval of
            a difference or a mean of CKAs of the same patients is made from.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    patients: int
    left_out: Array = field(compare=False, repr=False)


def patient_interval(
    x: ArrayLike,
    y: ArrayLike,
    patients: ArrayLike,
    kernel: Kernel = "linear",
    bandwidth: float = 1.0,
    level: float = 0.95,
) -> PatientInterval:
    """Interval of debiased CKA over patients, whose images are not independent, by the jackknife.

    CKA is computed again without each patient in turn (Quenouille 1956, Tukey 1958); a bootstrap would put
    copies of an image beside it, which are alike whatever the features are. Pairs of images of one patient
    are more alike than others too and raise CKA; the jackknife takes out most of that, and the interval lies
    around the value that is left. It is that of Student's t with one degree of freedom less than there are
    patients, on Fisher's scale atanh(CKA), on which a value near 1 has room to one side only.

    Both Gram matrices, (N, N) float64, are computed once; a patient is then taken out by sums, O(N^2) for all
    of them. The RBF kernel keeps the bandwidth of all images.

    Args:
        x: (N, D1) features, rows in the same order as those of y.
        y: (N, D2) features.
        patients: (N,) patient of each row.
        kernel: as for `cka`.
        bandwidth: as for `cka`.
        level: nominal coverage, in (0, 1).

    Raises:
        ValueError: as for `cka`, fewer than three patients, or CKA undefined without one of them.
    """
    a, b = centred_features("x", x), centred_features("y", y)
    _, patient_of, sizes = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if not len(a) == len(b) == len(patient_of):
        rows = f"{len(a)}, {len(b)} and {len(patient_of)}"
        raise ValueError(f"x, y and patients must be of the same images, got {rows} rows")
    if len(sizes) < 3 or len(a) - sizes.max() < 4:
        raise ValueError(f"too few patients: {len(sizes)}, one of them with {sizes.max()} of {len(a)} images")
    by_patient = np.argsort(patient_of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    k, l = (gram(features[by_patient], kernel, bandwidth) for features in (a, b))  # noqa: E741
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(l, 0.0)
    left_out = _hsic_without_each(k, l, starts) / np.sqrt(
        _hsic_without_each(k, k, starts) * _hsic_without_each(l, l, starts)
    )
    if not np.isfinite(left_out).all():
        raise ValueError("CKA is undefined without one of the patients: the other features do not vary")
    count = len(sizes)
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    centre = count * cka(a, b, kernel, True, bandwidth) - (count - 1) * float(left_out.mean())
    low, high = _on_fishers_scale(centre, error, count, level)
    return PatientInterval(centre, low, high, error, count, left_out)


def _hsic_without_each(k: Array, l: Array, starts: NDArray[np.int64]) -> Array:  # noqa: E741
    """n(n-3) times the unbiased HSIC of eq. 5 of Song et al. (2012) without each patient in turn, (P,).

    Args:
        k: (N, N), rows sorted by patient, zero diagonal.
        l: (N, N) likewise.
        starts: (P,) first row of each patient.
    """

    def within(by_row: Array) -> Array:
        """(N, P) sums over each patient's columns -> (P,) those of its own rows."""
        return np.diagonal(np.add.reduceat(by_row, starts, axis=0))

    def sums_of_rows(gram: Array) -> Array:
        """(N, P): the sum of each row without each patient's columns."""
        return gram.sum(axis=1)[:, None] - np.add.reduceat(gram, starts, axis=1)

    n = len(k) - np.diff(np.append(starts, len(k)))
    product = k * l
    by_row = np.add.reduceat(product, starts, axis=1)
    traces = product.sum() - 2 * by_row.sum(axis=0) + within(by_row)
    k_rows, l_rows = sums_of_rows(k), sums_of_rows(l)
    products = k_rows * l_rows
    rows_without, k_without, l_without = (
        values.sum(axis=0) - within(values) for values in (products, k_rows, l_rows)
    )
    hsic: Array = traces + k_without * l_without / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows_without
    return hsic


def _on_fishers_scale(value: float, error: float, patients: int, level: float) -> tuple[float, float]:
    """The interval tanh(atanh(CKA) +- t * error / (1 - CKA^2)); plain where CKA is 1 or above."""
    reach = float(stats.t.ppf((1 + level) / 2, patients - 1)) * error
    if reach == 0 or abs(value) >= 1:
        return value - reach, value + reach
    centre, half = np.arctanh(value), reach / (1 - value**2)
    return float(np.tanh(centre - half)), float(np.tanh(centre + half))
