"""Stage ``reuse``: CKA between the features of the same test images before and after fine-tuning.

Beside its numbers a cell keeps linear CKA without each patient in turn, of which the claims on feature reuse
make intervals of differences between blocks and between methods.
"""

from collections.abc import Mapping

import numpy as np

from bench.cells.files import (
    FEATURES_FILE,
    LEFT_OUT_FILE,
    LEFT_OUT_PATIENTS,
    METRICS_FILE,
    read_features,
    write_arrays,
    write_json,
)
from bench.cells.job import Job
from bench.cells.method_facts import facts_of
from bench.cells.scores import MetricRow
from bench.protocol.label_columns import label_column
from imssl.cka import KERNELS, Kernel, PermutationNull, permutation_null
from imssl.cka_interval import PatientInterval, patient_interval
from imssl.errors import Diverged
from imssl.seeds import numpy_generator
from imssl.settings.analyses import ReuseSettings
from imssl.settings.encoder import BLOCKS


def compute(job: Job) -> None:
    """Compare one seed's encoders before and after, on every label set, block by block.

    Of an encoder whose batch norm is as initialised there is nothing to compare, and no numbers.
    """
    has_reuse = facts_of(job.cell.method, job.protocol).has_reuse
    label_sets, rows = job.protocol.label_sets, list[MetricRow]()
    left_out: dict[str, np.ndarray] = {}
    for done, label_set in enumerate(label_sets):
        finetuned = job.built_on("finetune", label_set)
        if not has_reuse:
            continue
        stored = read_features(finetuned / FEATURES_FILE, BLOCKS)
        left_out[LEFT_OUT_PATIENTS] = np.unique(stored["patients"])
        left_out[label_set.id] = np.full((BLOCKS, left_out[LEFT_OUT_PATIENTS].size), np.nan)
        for block in range(1, BLOCKS + 1):
            for kernel in KERNELS:
                similarity = _similarity(stored, block, kernel, job.protocol.reuse, job.cell.seed)
                interval = _interval(stored, block, kernel, job.protocol.reuse)
                if kernel == "linear" and interval:
                    left_out[label_set.id][block - 1] = interval.left_out
                rows += [
                    {**label_column(label_set), "block": block, **row}
                    for row in _rows(kernel, similarity, interval)
                ]
            job.on_progress(done * BLOCKS + block, len(label_sets) * BLOCKS)
    if left_out:
        write_arrays(job.folder / LEFT_OUT_FILE, left_out)
    write_json(job.folder / METRICS_FILE, rows)


def _rows(kernel: Kernel, similarity: PermutationNull, interval: PatientInterval | None) -> list[MetricRow]:
    return [
        {"metric": f"cka_{kernel}_low", "value": interval and interval.low},
        {"metric": f"cka_{kernel}_high", "value": interval and interval.high},
        {"metric": f"cka_{kernel}_standard_error", "value": interval and interval.standard_error},
        {"metric": f"cka_{kernel}", "value": similarity.observed},
        {"metric": f"cka_{kernel}_null_mean", "value": similarity.mean},
        {"metric": f"cka_{kernel}_null_95", "value": similarity.percentile_95},
        {"metric": f"cka_{kernel}_p_value", "value": similarity.p_value},
    ]


def _similarity(
    stored: Mapping[str, np.ndarray], block: int, kernel: Kernel, settings: ReuseSettings, seed: int
) -> PermutationNull:
    try:
        return permutation_null(
            stored[f"before_{block}"],
            stored[f"after_{block}"],
            settings.permutations,
            numpy_generator(seed, "permutations", block),
            kernel=kernel,
            bandwidth=settings.bandwidth,
        )
    except ValueError as error:  # features that do not vary, or too few test images
        raise Diverged(f"block {block}: {error}") from None


def _interval(
    stored: Mapping[str, np.ndarray], block: int, kernel: Kernel, settings: ReuseSettings
) -> PatientInterval | None:
    """Over patients; None where there are too few of them."""
    before, after = stored[f"before_{block}"], stored[f"after_{block}"]
    try:
        return patient_interval(before, after, stored["patients"], kernel, settings.bandwidth)
    except ValueError:
        return None
