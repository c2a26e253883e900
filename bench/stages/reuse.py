"""Stage ``reuse``: CKA between the features of the same test images before and after fine-tuning."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.cells.cell import Cell
from bench.cells.files import FEATURES_FILE, METRICS_FILE, read_features, write_json
from bench.cells.keys import Keys
from bench.forecast.progress import OnProgress
from bench.protocol.protocol import Protocol
from bench.stages.run_cells import run_cells, upstream_folder
from imssl.cka import KERNELS, Kernel, permutation_null
from imssl.errors import Diverged
from imssl.seeds import numpy_generator
from imssl.settings.analyses import ReuseSettings

BLOCKS = 4


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Compare every seed's encoders before and after, on every fraction, block by block."""
    keys = Keys(protocol)

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        rows = []
        total = len(protocol.label_fractions) * BLOCKS * len(KERNELS)
        for fraction in protocol.label_fractions:
            file = upstream_folder("finetune", cell, keys, fraction) / FEATURES_FILE
            stored = read_features(file, BLOCKS)
            for block in range(1, BLOCKS + 1):
                for kernel in KERNELS:
                    similarity = _similarity(stored, block, kernel, protocol.reuse, cell.seed)
                    rows.append({"fraction": fraction, "block": block, "kernel": kernel, **similarity})
                    on_progress(len(rows), total)
        write_json(folder / METRICS_FILE, rows)
        return "CPU"

    run_cells("reuse", dataset, method, protocol, compute)


def _similarity(
    stored: Mapping[str, np.ndarray], block: int, kernel: Kernel, settings: ReuseSettings, seed: int
) -> dict[str, Any]:
    try:
        result = permutation_null(
            stored[f"before_{block}"],
            stored[f"after_{block}"],
            settings.permutations,
            numpy_generator(seed, "permutations", block),
            kernel=kernel,
            bandwidth=settings.bandwidth,
        )
    except ValueError as error:  # features that do not vary, or too few test images
        raise Diverged(f"block {block}: {error}") from None
    return asdict(result)
