"""Stage ``reuse``: CKA between the features of the same test images before and after fine-tuning."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.cells import Cell
from bench.progress import OnProgress
from bench.protocol import Protocol
from bench.results import FEATURES_FILE, METRICS_FILE, write_json
from bench.run_cells import run_cells, upstream_folder
from imssl.cka import permutation_null
from imssl.seeds import numpy_generator

KERNELS = ("linear", "rbf")
BLOCKS = 4


def run(dataset: str, method: str, protocol: Protocol) -> None:
    """Compare every seed's encoders before and after, on every fraction, block by block."""

    def compute(cell: Cell, key: str, folder: Path, on_progress: OnProgress) -> str:
        rows = []
        total = len(protocol.label_fractions) * BLOCKS * len(KERNELS)
        for fraction in protocol.label_fractions:
            with np.load(upstream_folder("finetune", cell, fraction) / FEATURES_FILE, allow_pickle=False) as stored:
                for block in range(1, BLOCKS + 1):
                    for kernel in KERNELS:
                        result = permutation_null(
                            stored[f"before_{block}"],
                            stored[f"after_{block}"],
                            protocol.reuse.permutations,
                            numpy_generator(cell.seed, "permutations", block),
                            kernel=kernel,
                            bandwidth=protocol.reuse.bandwidth,
                        )
                        rows.append({"fraction": fraction, "block": block, "kernel": kernel, **asdict(result)})
                        on_progress(len(rows), total)
        write_json(folder / METRICS_FILE, rows)
        return "CPU"

    run_cells("reuse", dataset, method, protocol, compute)
