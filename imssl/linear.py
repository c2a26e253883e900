"""Linear classifiers on frozen features, solved to the optimum along a path of regularisation strengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize, special

from imssl.metrics import check_labels
from imssl.task import Task

ClassWeights = Literal["balanced", "none"]
Array = NDArray[np.float64]

# For a class that never (or always) occurs, the most likely logit is infinite; this finite one replaces it.
CERTAIN_LOGIT = 30.0


@dataclass(frozen=True)
class Linear:
    """A fitted classifier; the standardisation of the features is folded into weight and bias.

    Attributes:
        task: multilabel means sigmoids, any other task a softmax.
        l2: regularisation strength with which it was fitted.
        weight: (C, D).
        bias: (C,).
        converged: False if the solver stopped before it met its tolerance.
    """

    task: Task
    l2: float
    weight: Array
    bias: Array
    converged: bool


@dataclass(frozen=True)
class _Problem:
    """Training data along principal axes, restricted to the classes that can be learnt.

    Attributes:
        axes: (N, K) standardised features along their principal axes.
        variances: (K,) their variances.
        targets: (N, L) 0 or 1.
        weights: (N, L) weights of the samples; equal in all columns where the classes share a softmax.
        softmax: whether the columns share a softmax, or have a sigmoid each.
    """

    axes: Array
    variances: Array
    targets: Array
    weights: Array
    softmax: bool


def fit(
    features: ArrayLike,
    labels: ArrayLike,
    task: Task,
    classes: int,
    strengths: Sequence[float],
    class_weights: ClassWeights = "none",
) -> list[Linear]:
    """One classifier for each regularisation strength.

    Minimises mean loss + l2 / 2 * |W|^2, W the weight on features standardised by training statistics, the
    bias free. The loss is the softmax cross-entropy, or for multilabel the sum over labels of the sigmoid
    cross-entropy. Features that do not vary get weight 0. A class without training samples gets a constant
    logit of -30 (probability below 1e-12); so does a label without positives, and +30 one without negatives.
    If only one class occurs it is predicted with probability 1.

    Args:
        features: (N, D).
        labels: (N, C) of 0 and 1 for multilabel, (N,) class indices otherwise.
        task: kind of task.
        classes: number of classes C.
        strengths: values of l2, each > 0.
        class_weights: "balanced" weighs each class (multilabel: each value of each label) inversely to its
            frequency, the weights averaging 1.

    Returns:
        Classifiers in the order of `strengths`.

    Raises:
        ValueError: an argument is malformed.
    """
    x = _check_features(features)
    shape = (len(x), classes) if task == "multilabel" else (len(x),)
    y = check_labels(task, labels, shape, classes)
    if not strengths or not all(l2 > 0 and np.isfinite(l2) for l2 in strengths):
        raise ValueError(f"strengths: expected finite numbers above 0, got {list(strengths)}")
    if class_weights not in ("balanced", "none"):
        raise ValueError(f"class_weights: balanced or none, got {class_weights!r}")
    mean, scale = x.mean(axis=0), _inverse_deviation(x)
    axes, rotation = _principal_axes((x - mean) * scale)
    targets = y.astype(float) if task == "multilabel" else np.eye(classes)[y]
    learnt = np.flatnonzero(targets.any(axis=0) & (~targets.all(axis=0)))
    constant = np.where(targets.all(axis=0), CERTAIN_LOGIT if task == "multilabel" else 0.0, -CERTAIN_LOGIT)
    problem = _Problem(
        axes=axes,
        variances=np.einsum("nk,nk->k", axes, axes) / len(axes),
        targets=targets[:, learnt],
        weights=_sample_weights(targets[:, learnt], task, class_weights),
        softmax=task != "multilabel",
    )
    fitted: dict[float, Linear] = {}
    solution = _base_rates(problem)
    for l2 in sorted(set(strengths), reverse=True):
        solution, converged = _solve(problem, l2, solution)
        weight, bias = np.zeros((classes, x.shape[1])), constant.copy()
        weight[learnt] = (solution[:, :-1] @ rotation.T) * scale
        bias[learnt] = solution[:, -1] - weight[learnt] @ mean
        fitted[l2] = Linear(task, float(l2), weight, bias, converged)
    return [fitted[l2] for l2 in strengths]


def predict_probabilities(linear: Linear, features: ArrayLike) -> Array:
    """Class probabilities of features.

    Args:
        linear: a fitted classifier.
        features: (N, D).

    Returns:
        (N, C); rows sum to 1 unless the task is multilabel.

    Raises:
        ValueError: the features are malformed.
    """
    x = _check_features(features)
    if x.shape[1] != linear.weight.shape[1]:
        raise ValueError(
            f"features: the classifier expects {linear.weight.shape[1]} columns, got {x.shape[1]}"
        )
    logits = x @ linear.weight.T + linear.bias
    probabilities: Array = (
        special.expit(logits) if linear.task == "multilabel" else special.softmax(logits, axis=1)
    )
    return probabilities


def select(candidates: Sequence[Linear], score: Callable[[Linear], float | None]) -> Linear:
    """The candidate with the highest validation score; among equals, the most strongly regularised one.

    Args:
        candidates: fitted classifiers, at least one.
        score: higher is better; None or NaN (undefined) counts as lowest.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("candidates: expected at least one classifier")

    def rank(linear: Linear) -> tuple[float, float]:
        value = score(linear)
        return (-np.inf if value is None or np.isnan(value) else value, linear.l2)

    return max(candidates, key=rank)


def _check_features(features: ArrayLike) -> Array:
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features: expected shape (N, D), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features: hold NaN or infinite values")
    return x


def _inverse_deviation(x: Array) -> Array:
    """1 / standard deviation of each column; 0 for columns that vary by no more than rounding."""
    deviation = x.std(axis=0)
    varies = deviation > 1e-12 * np.abs(x).max(axis=0)
    inverse: Array = np.zeros_like(deviation)
    np.divide(1.0, deviation, out=inverse, where=varies)
    return inverse


def _principal_axes(standardised: Array) -> tuple[Array, Array]:
    """Features along their principal axes (N, K), and the axes (D, K); K = min(N, D).

    A rotation does not change the penalty, and directions in which no sample varies get weight 0 at the
    optimum. Along these axes the curvature of the loss is nearly diagonal, which `_solve` makes use of.
    """
    if len(standardised) < standardised.shape[1]:
        left, lengths, right = linalg.svd(standardised, full_matrices=False)
        return left * lengths, right.T
    _, rotation = linalg.eigh(standardised.T @ standardised)
    return standardised @ rotation, rotation


def _sample_weights(targets: Array, task: Task, class_weights: ClassWeights) -> Array:
    """(N, L) weights that average 1 over the samples."""
    if class_weights == "none":
        return np.ones_like(targets)
    samples, positives = len(targets), targets.sum(axis=0)
    if task == "multilabel":
        balanced: Array = np.where(
            targets == 1, samples / (2 * positives), samples / (2 * (samples - positives))
        )
        return balanced
    by_sample: Array = targets @ (samples / (targets.shape[1] * positives))
    return np.repeat(by_sample[:, None], targets.shape[1], axis=1)


def _solve(problem: _Problem, l2: float, start: Array) -> tuple[Array, bool]:
    """Optimal weights and bias (L, K + 1) along the principal axes, by L-BFGS from `start`.

    The variables are scaled by the square root of the curvature of the loss at `start`, so that features
    of very unequal variance and classes of very unequal frequency need few iterations.
    """
    if start.size == 0:
        return start, True
    curvature = np.outer(_curvature(problem, start), np.append(problem.variances, 1.0))
    curvature[:, :-1] += l2
    scaling = np.sqrt(curvature)

    def objective(scaled: Array) -> tuple[float, Array]:
        value, gradient = _objective(problem, l2, scaled.reshape(start.shape) / scaling)
        return value, (gradient / scaling).ravel()

    result = optimize.minimize(
        objective,
        (start * scaling).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxfun": 4000, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-7},
    )
    # Near the optimum, rounding can end the line search before the tolerance is met.
    converged = bool(result.success or np.abs(result.jac).max() < 1e-5)
    return result.x.reshape(start.shape) / scaling, converged


def _base_rates(problem: _Problem) -> Array:
    """(L, K + 1): weights of zero, and the best bias for them."""
    rates = (problem.weights * problem.targets).mean(axis=0)
    start = np.zeros((rates.size, problem.axes.shape[1] + 1))
    if problem.softmax and rates.size:
        # The softmax does not depend on a shift; this one makes the biases sum to 0, as the weights do at the
        # optimum.
        start[:, -1] = np.log(rates) - np.log(rates).mean()
    else:
        start[:, -1] = special.logit(rates)
    return start


def _curvature(problem: _Problem, parameters: Array) -> Array:
    """(L,) mean of w p (1 - p), the second derivative of the mean loss by a logit.

    Classes that share a softmax get their average: with unequal scales the solver would stray along the
    direction that moves all logits together, in which the loss is flat.
    """
    logits = _logits(problem, parameters)
    probabilities = special.softmax(logits, axis=1) if problem.softmax else special.expit(logits)
    curvature = (problem.weights * probabilities * (1 - probabilities)).mean(axis=0)
    if problem.softmax:
        curvature = np.full_like(curvature, curvature.mean())
    floored: Array = np.maximum(curvature, 1e-8)
    return floored


def _logits(problem: _Problem, parameters: Array) -> Array:
    logits: Array = problem.axes @ parameters[:, :-1].T
    logits += parameters[:, -1]
    return logits


def _objective(problem: _Problem, l2: float, parameters: Array) -> tuple[float, Array]:
    """Mean loss + l2 / 2 * |W|^2 and its gradient at (L, K + 1) weights and bias."""
    weight, logits = parameters[:, :-1], _logits(problem, parameters)
    if problem.softmax:
        log_probabilities = special.log_softmax(logits, axis=1)
        losses = -log_probabilities * problem.targets
        residual = np.exp(log_probabilities) - problem.targets
    else:
        losses = np.logaddexp(0, logits) - logits * problem.targets
        residual = special.expit(logits) - problem.targets
    residual *= problem.weights / len(logits)
    value = np.vdot(problem.weights, losses) / len(logits) + l2 / 2 * np.vdot(weight, weight)
    gradient = np.column_stack([residual.T @ problem.axes + l2 * weight, residual.sum(axis=0)])
    return float(value), gradient
