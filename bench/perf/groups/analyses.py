"""CKA and bootstrap intervals at the sizes of large test sets."""

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from bench.machine.system import peak_resident_mib
from bench.perf.timing import Effort, PerfRow, interleaved, quartiles, seconds_of
from bench.summary.bootstrap import bootstrap
from imssl.cka import cka

CKA_ROWS, CKA_WIDTH = 10_000, 2048
RESAMPLES, LABELS, SAMPLES = 2000, 14, 10_000


def measure(effort: Effort, threads: int) -> Iterator[PerfRow]:
    """Seconds of each, and the memory of a process that does nothing but CKA.

    Args:
        effort: how often to measure.
        threads: for NumPy's BLAS.
    """
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        times, peak = pool.apply(timed_cka, (effort.rounds, threads))
    name = f"linear, {CKA_ROWS:,} samples x {CKA_WIDTH:,} features"
    yield PerfRow("CKA", name, "s", quartiles(times), at_most=5.0)
    yield PerfRow("CKA", f"{name}, whole process", "MiB", quartiles([peak]), at_most=1024.0)
    call: Callable[[], object] = partial(bootstrap_of_auroc, *scored_samples())
    seconds = interleaved({"bootstrap": call}, min(effort.rounds, 3))["bootstrap"]
    name = f"{RESAMPLES:,} resamples, macro AUROC, {LABELS} labels, {SAMPLES:,} samples"
    yield PerfRow("bootstrap", name, "s", quartiles(seconds), at_most=5.0)


def timed_cka(
    rounds: int, threads: int, rows: int = CKA_ROWS, width: int = CKA_WIDTH
) -> tuple[list[float], float]:
    """Seconds of each round, and this process' peak of resident memory in MiB."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, width), dtype=np.float32)
    y = generator.standard_normal((rows, width), dtype=np.float32)
    with threadpool_limits(threads, user_api="blas"):
        times = [seconds_of(partial(cka, x, y)) for _ in range(rounds)]
    return times, peak_resident_mib()


def scored_samples() -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a multilabel test set, (N, L) each."""
    generator = np.random.default_rng(0)
    labels = (generator.random((SAMPLES, LABELS)) < 0.1).astype(np.int64)
    return labels, np.clip(0.3 * labels + 0.7 * generator.random((SAMPLES, LABELS)), 0, 1)


def bootstrap_of_auroc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Macro AUROC on every resample (R,), with every sample a patient of its own."""
    return bootstrap("multilabel", labels, probabilities, np.arange(SAMPLES), "macro_auroc", RESAMPLES, 0)
