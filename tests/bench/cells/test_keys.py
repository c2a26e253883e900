import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cells import fingerprints
from bench.cells.keys import Keys
from bench.protocol.cell import Cell, all_cells, cells_of
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import CELL_STAGES
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

ROOT = Path(fingerprints.__file__).parents[2]


def keys_of(protocol: Protocol) -> dict[Cell, str]:
    keys = Keys(protocol)
    return {cell: keys.key(cell) for cell in all_cells(protocol)}


def changed(before: dict[Cell, str], after: dict[Cell, str]) -> set[str]:
    """Stages of the cells whose key is another, of those that both protocols have."""
    return {cell.stage for cell in before.keys() & after.keys() if before[cell] != after[cell]}


@pytest.fixture
def before(prepared_project: Path) -> dict[Cell, str]:
    return keys_of(read_protocol())


def test_the_cells_are_one_per_data_set_method_seed_and_fraction(edited):
    protocol = edited("seeds: [0]", "seeds: [0, 7, 3]")
    cells = list(all_cells(protocol))
    assert (
        len(cells) == len(set(cells)) == 2 * 3 * 3 * (4 + 3 * 2)
    )  # four plain stages, three with 2 fractions
    assert [cell.seed for cell in cells_of("ks", "chest", "moco", protocol)] == [0, 7, 3]
    folders = [cell.folder for cell in cells_of("finetune", "chest", "moco", protocol)]
    assert folders[:2] == ["seed-0/fraction-0.5", "seed-0/fraction-1"]
    assert len(set(folders)) == 6


def test_every_cell_has_a_key_of_its_own(before):
    assert len(set(before.values())) == len(before) == 2 * 3 * 10
    assert {len(key) for key in before.values()} == {64}


def test_a_longer_list_of_seeds_or_fractions_leaves_finished_cells(before, edited):
    assert changed(before, keys_of(edited("seeds: [0]", "seeds: [5, 0]"))) == set()
    after = keys_of(edited("label_fractions: [0.5, 1.0]", "label_fractions: [0.25, 0.5, 1.0]"))
    assert changed(before, after) == {"reuse", "ks"}  # they look at all fractions


CHANGES = {
    ("epochs: 2\n", "epochs: 3\n"): set(CELL_STAGES),
    ("learning_rate: 0.03", "learning_rate: 0.031"): set(CELL_STAGES),
    ("width: 8", "width: 16"): set(CELL_STAGES),
    ("threads: 1", "threads: 2"): set(CELL_STAGES),
    ("  vertical_flip: 0.5", "  vertical_flip: 0.4"): set(CELL_STAGES),  # of fundus; see below for chest
    ("finetune:\n  epochs: 1", "finetune:\n  epochs: 2"): {"finetune", "reuse", "ks"},
    ("finetune_augmentation:\n", "finetune_augmentation:\n  hue: 0.2\n"): {"finetune", "reuse", "ks"},
    ("linear:\n  l2: [0.1]", "linear:\n  l2: [0.2]"): {"frozen"},
    ("knn:\n  neighbours: 5", "knn:\n  neighbours: 6"): {"knn"},
    ("probe:\n  l2: [0.1]", "probe:\n  l2: [0.2]"): {"probe"},
    ("permutations: 4", "permutations: 5"): {"reuse"},
    ("samples: 20", "samples: 10"): {"finetune", "reuse", "ks"},  # fine-tuning stores the features
    ("resamples: 100", "resamples: 500"): set(),
    ("baseline: moco", "baseline: random-init"): set(),
    ("level: 0.9", "level: 0.95"): set(),
    ("profile: tiny", "profile: other"): set(),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[1].strip().replace("\n", " "))
def test_a_parameter_changes_the_keys_of_what_it_decides(before, edited, change):
    assert changed(before, keys_of(edited(*change))) == CHANGES[change]


@pytest.mark.parametrize(("gpu", "rerun"), [(False, set()), (True, set(CELL_STAGES))])
def test_auto_is_what_it_is_on_this_machine(before, edited, monkeypatch, tmp_path, gpu, rerun):
    """A GPU rounds otherwise, so the two never share a cell; on a CPU `auto` and `cpu` do."""
    device_file = tmp_path / "nvidia0"
    monkeypatch.setattr("imssl.device_kind.DEVICE_FILES", (device_file,))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # asked only where there is a device file
    if gpu:
        device_file.touch()
    assert changed(before, keys_of(edited("device: cpu", "device: auto"))) == rerun


def test_parameters_of_a_frozen_classifier_concern_nothing_else(before, edited):
    after = keys_of(edited("linear:\n  l2: [0.1]", "linear:\n  l2: [0.2]"))
    assert {cell.stage for cell in before if before[cell] != after[cell]} == {"frozen"}


def test_a_method_changes_its_own_cells(before, edited):
    after = keys_of(edited("  moco:\n    hidden: 16", "  moco:\n    hidden: 17"))
    assert {cell.method for cell in before if before[cell] != after[cell]} == {"moco"}


def test_values_of_the_optimiser_in_a_row_change_the_methods_own_cells(before, edited):
    after = keys_of(edited("  moco:\n", "  moco:\n    optimisation: {learning_rate: 0.1}\n"))
    assert {cell.method for cell in before if before[cell] != after[cell]} == {"moco"}
    again = keys_of(edited("{learning_rate: 0.1}", "{learning_rate: 0.03}"))
    assert again == before


def test_a_default_written_out_changes_nothing(before, edited):
    after = keys_of(edited("  moco:\n", "  moco:\n    queue_limit: 1.0\n"))
    assert before == after


def test_a_data_set_changes_its_own_cells(before, edited):
    after = keys_of(
        edited(
            "horizontal_flip: true\n    vertical_flip: false",
            "horizontal_flip: false\n    vertical_flip: false",
        )
    )
    assert {cell.dataset for cell in before if before[cell] != after[cell]} == {"chest"}
    # A flip that the data set does not allow decides nothing there.
    again = keys_of(edited("  vertical_flip: 0.5", "  vertical_flip: 0.4"))
    assert {cell.dataset for cell in before if again[cell] != after[cell]} == {"fundus"}


CHEST = "    horizontal_flip: true\n    vertical_flip: false\n"
EVERY = {"random-init", "moco", "moco-barlow"}
VALUES_OF_CHEST = {
    "pretrain: {epochs: 3}": (set(CELL_STAGES), EVERY),
    "pretrain: {steps: 4}": (set(CELL_STAGES), EVERY),
    "augmentation: {hue: 0.3}": (set(CELL_STAGES), EVERY),
    "finetune_augmentation: {hue: 0.3}": ({"finetune", "reuse", "ks"}, EVERY),
    "methods: {moco: {queue: 16}}": (set(CELL_STAGES), {"moco"}),
    # As for all data sets already, so nothing changes.
    "pretrain: {epochs: 2}": (set(), set()),
    "augmentation: {hue: 0.1}": (set(), set()),
    "methods: {moco: {queue: 32}}": (set(), set()),
}


@pytest.mark.parametrize("written", VALUES_OF_CHEST)
def test_a_value_of_one_data_set_changes_its_own_cells(before, edited, written):
    after = keys_of(edited(CHEST, f"{CHEST}    {written}\n"))
    moved = [cell for cell in before if before[cell] != after[cell]]
    stages, methods = VALUES_OF_CHEST[written]
    assert {cell.stage for cell in moved} == stages
    assert {cell.method for cell in moved} == methods
    assert {cell.dataset for cell in moved} <= {"chest"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("checksums", {"images.npy": "0" * 64, "samples.csv": "1" * 64}),
        ("primary_metric", "auroc"),
        ("channel_mean", [0.5]),
        ("citation", None),
    ],
)
def test_the_content_of_the_data_set_is_in_the_keys_and_its_prose_is_not(before, project, field, value):
    file = project / "data" / "chest" / "card.json"
    card = json.loads(file.read_text())
    card[field] = value or "another citation"
    file.write_text(json.dumps(card))
    after = keys_of(read_protocol())
    assert {cell.dataset for cell in before if before[cell] != after[cell]} == ({"chest"} if value else set())


@pytest.mark.parametrize("stage", CELL_STAGES)
def test_the_code_of_a_stage_is_in_its_keys_and_in_those_that_build_on_it(before, monkeypatch, stage):
    real = fingerprints.stage_fingerprint
    monkeypatch.setattr(
        "bench.cells.keys.stage_fingerprint", lambda s: real(s) | ({"edited": "1"} if s == stage else {})
    )
    builds_on = {"pretrain": set(CELL_STAGES), "finetune": {"finetune", "reuse", "ks"}}
    assert changed(before, keys_of(read_protocol())) == builds_on.get(stage, {stage})


def test_the_code_of_a_method_is_in_its_keys(before, monkeypatch):
    real = fingerprints.method_fingerprint
    monkeypatch.setattr(
        "bench.cells.keys.method_fingerprint",
        lambda m, p: real(m, p) | ({"edited": "1"} if m == "moco" else {}),
    )
    after = keys_of(read_protocol())
    assert {cell.method for cell in before if before[cell] != after[cell]} == {"moco"}


def test_keys_are_the_same_in_another_process_and_with_the_keys_in_another_order(before, project, tiny):
    head, methods, rest = tiny.partition("methods:\n")
    moco = "    hidden: 16\n    dimension: 8\n    queue: 32\n    temperature: 0.2\n    batch_norm_splits: 1\n"
    lines = moco.splitlines(keepends=True)
    shuffled = head + methods + rest.replace(moco, "".join(reversed(lines)))
    (project / "params.yaml").write_text(shuffled)
    assert shuffled != tiny
    program = (
        "import json; from bench.protocol.cell import *; from bench.cells.keys import *\n"
        "from bench.protocol.protocol import read_protocol\n"
        "p = read_protocol(); k = Keys(p); print(json.dumps(sorted(k.key(c) for c in all_cells(p))))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout) == sorted(before.values())


def test_without_a_prepared_data_set_there_is_no_key(project):
    protocol = read_protocol()
    with pytest.raises(UserError, match="data/chest"):
        Keys(protocol).key(Cell("pretrain", "chest", "moco", 0))


def test_titles_tell_cells_apart():
    assert Cell("pretrain", "chest", "moco", 3).title == "pretrain chest moco seed 3"
    assert Cell("finetune", "chest", "moco", 3, LabelSet(0.06)).title == "finetune chest moco seed 3 0.06"
    assert Cell("knn", "chest", "moco", 3, LabelSet(per_class=5)).title == "knn chest moco seed 3 5-per-class"


def test_label_sets_have_folders_and_keys_of_their_own(prepared_project, edited):
    shares = Keys(read_protocol())
    protocol = edited("labels_per_class: []", "labels_per_class: [1, 5]")
    cells = cells_of("frozen", "chest", "moco", protocol)
    assert [cell.folder for cell in cells] == [
        "seed-0/per-class-1", "seed-0/per-class-5", "seed-0/fraction-0.5", "seed-0/fraction-1",
    ]  # fmt: skip
    keys = Keys(protocol)
    assert len({keys.key(cell) for cell in cells}) == 4
    # Shares keep the keys that they have without k-shot.
    assert [shares.key(cell) for cell in cells[2:]] == [keys.key(cell) for cell in cells[2:]]


def test_two_rows_of_one_file_with_equal_settings_share_no_cell(prepared_project, edited):
    again = "{file: moco.py, hidden: 16, dimension: 8, queue: 32, temperature: 0.2, batch_norm_splits: 1}"
    protocol = edited("  moco:\n", f"  moco-again: {again}\n  moco:\n")
    keys = Keys(protocol)
    pretraining = [Cell("pretrain", "chest", method, 0) for method in ("moco", "moco-again")]
    assert len({keys.key(cell) for cell in pretraining}) == 2
    first, second = (keys._method(cell)["settings"] for cell in pretraining)
    assert first == second
