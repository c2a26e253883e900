"""What is read of a run beside its test predictions."""

import numpy as np
from sklearn.metrics import roc_auc_score

from bench.cells.files import CELL_FILE, VALIDATION_FILE, cell_path, write_table
from bench.cells.predictions import predictions_table
from bench.cells.records import read_record, write_record
from bench.cells.store import file_checksums
from bench.protocol.cell import Cell
from bench.summary.read import read_results
from imssl.settings.labels import LabelSet
from tests.bench.small_run import CHEST, card, labels_of, samples_of, small_protocol, write_run


def write_validation(cell: Cell, probabilities: np.ndarray) -> None:
    """Predictions on validation images of a finished cell, and its record sealed again."""
    folder = cell_path(cell)
    table = predictions_table(samples_of(cell.dataset), card(cell.dataset), probabilities)
    write_table(folder / VALIDATION_FILE, table)
    record = read_record(folder)
    files = {name: digest for name, digest in file_checksums(folder).items() if name != CELL_FILE}
    write_record(folder, record.model_copy(update={"files": files}))


def test_the_references_alone_are_measured_on_validation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    protocol = small_protocol()
    write_run(protocol)
    reference, other = (Cell("frozen", CHEST, method, 0, LabelSet(1.0)) for method in ("random-init", "moco"))
    probabilities = np.round(np.random.default_rng(7).dirichlet(np.ones(3), size=40), 6)
    for cell in (reference, other):
        write_validation(cell, probabilities)
    labels = labels_of(CHEST)
    shown = [c for c in range(3) if np.ptp(labels[:, c])]
    aurocs = [roc_auc_score(labels[:, c], probabilities[:, c]) for c in shown]
    validation = read_results(protocol).validation
    assert set(validation) == {reference}
    assert np.isclose(validation[reference], np.mean(aurocs))
