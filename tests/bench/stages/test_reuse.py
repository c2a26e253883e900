"""What a cell of the stage `reuse` keeps beside its numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.cells.files import (
    FEATURES_FILE,
    LEFT_OUT_FILE,
    METRICS_FILE,
    left_out_arrays,
    read_json,
    write_arrays,
)
from bench.protocol.cell import Cell
from bench.stages import reuse
from imssl.cka import cka
from imssl.errors import UserError
from imssl.settings.labels import LabelSet
from tests.bench.made_up_results import protocol_of

PATIENTS = np.array([f"p{i // 3}" for i in range(30)])
LABELS = [LabelSet(0.01), LabelSet(1.0)]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """One cell on made-up features, a folder for each label set."""
    generator, protocol = np.random.default_rng(0), protocol_of()
    for labels in LABELS:
        features = {}
        for block in range(1, 5):
            before = generator.normal(size=(30, 6))
            features[f"before_{block}"] = before
            features[f"after_{block}"] = before + generator.normal(size=(30, 6))
        write_arrays(tmp_path / labels.id / FEATURES_FILE, features | {"patients": PATIENTS})
    facts = SimpleNamespace(has_reuse=True)
    monkeypatch.setattr(reuse, "facts_of", lambda *_: facts)
    (tmp_path / "cell").mkdir()
    return SimpleNamespace(
        cell=Cell("reuse", "one", "moco", 0),
        protocol=protocol,
        folder=tmp_path / "cell",
        built_on=lambda stage, labels: tmp_path / labels.id,
        on_progress=lambda done, total: None,
        facts=facts,
    )


def test_cka_without_each_patient_is_kept(job, tmp_path):
    reuse.compute(job)
    file = job.folder / LEFT_OUT_FILE
    kept = left_out_arrays(file, file.read_bytes())
    names = np.unique(PATIENTS)
    assert kept["patients"].tolist() == names.tolist()
    for labels in LABELS:
        stored = np.load(tmp_path / labels.id / FEATURES_FILE, allow_pickle=False)
        for block in range(1, 5):
            without = [
                cka(stored[f"before_{block}"][kept_rows], stored[f"after_{block}"][kept_rows])
                for kept_rows in names[:, None] != PATIENTS
            ]
            np.testing.assert_allclose(kept[labels.id][block - 1], without, rtol=1e-8)
    errors = [
        row for row in read_json(job.folder / METRICS_FILE) if row["metric"] == "cka_linear_standard_error"
    ]
    left_out = kept["1"][0]
    of_first = next(row for row in errors if (row["fraction"], row["block"]) == (1.0, 1))
    assert of_first["value"] == pytest.approx(np.sqrt(0.9 * ((left_out - left_out.mean()) ** 2).sum()))


def test_an_encoder_as_initialised_has_none(job):
    job.facts.has_reuse = False
    reuse.compute(job)
    assert not (job.folder / LEFT_OUT_FILE).exists()


def test_another_file_in_its_place_is_a_message(tmp_path):
    write_arrays(tmp_path / "a.npz", {"patients": PATIENTS, "1": np.zeros((4, 3))})
    for content in ((tmp_path / "a.npz").read_bytes(), b"", b"PK"):
        with pytest.raises(UserError, match="dvc repro"):
            left_out_arrays(tmp_path / "a.npz", content)
