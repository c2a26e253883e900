"""Wrong results, data and checkpoints: one message from what builds on them, a hole in the report."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from bench.cells.files import CELL_FILE
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.cells.store import checkpoint_file, file_checksums
from bench.launch.run_stage import run_stage
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.protocol.stage_specs import STAGES
from bench.summary.read import read_results
from imssl.checkpoint import save_checkpoint
from imssl.settings.labels import LabelSet

PRETRAINED = Path("results/chest/pretrain/moco/seed-0")
FINETUNED = Path("results/chest/finetune/moco/seed-0/fraction-1")
PREDICTIONS = FINETUNED / "predictions.csv"
CELLS = {
    PRETRAINED: Cell("pretrain", "chest", "moco", 0),
    FINETUNED: Cell("finetune", "chest", "moco", 0, LabelSet(1.0)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_text) -> Path:
    """A project in which two stages are finished; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "params.yaml").write_text(tiny_text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (("data", "chest"), ("pretrain", "chest", "moco"), ("finetune", "chest", "moco")):
            assert run_stage(list(stage)) == 0
    return folder


@pytest.fixture(scope="module")
def tiny_text() -> str:
    """The tiny protocol with one method, so that nothing is missing where all methods are looked at."""
    content = YAML(typ="safe").load(Path(__file__).parents[1] / "tiny.yaml")
    content["methods"] = {"moco": content["methods"]["moco"]}
    written = io.StringIO()
    YAML().dump(content, written)
    return written.getvalue()


@pytest.fixture
def copy(finished, tmp_path, monkeypatch) -> Path:
    """As after `dvc pull` in a clone: the store is empty, so what a cell builds on is read from results/."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree(".bench/cells")
    return tmp_path / "copy"


def files() -> dict[str, bytes]:
    """Every file but those of the store, which a stage may add to."""
    found = (path for top in ("data", "results") for path in Path(top).rglob("*"))
    return {path.as_posix(): path.read_bytes() for path in found if path.is_file()}


def assert_refused(capsys, stage: str, *words: str) -> None:
    before = files()
    capsys.readouterr()
    assert run_stage(arguments(stage)) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert [word for word in words if word not in message] == []
    assert "Traceback" not in message
    assert files() == before
    assert not list(Path(".bench/cells").glob(f"{stage}/*"))


def arguments(stage: str) -> list[str]:
    return [stage, "chest", *(["moco"] if STAGES[stage].runs == "method" else [])]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def link(file: Path) -> None:
    elsewhere = Path("elsewhere")
    shutil.move(file, elsewhere)
    elsewhere.write_text("id,patient\n")
    file.symlink_to(elsewhere.absolute())


RECORD, ENCODER = FINETUNED / CELL_FILE, PRETRAINED / "encoder.safetensors"
# name: (the cell, what happens to its files, the stage that builds on it, words of the message)
DAMAGES = {
    "no record": (FINETUNED, lambda: RECORD.unlink(), "ks", ["no finished cell", "dvc repro"]),
    "an empty record": (FINETUNED, lambda: RECORD.write_text(""), "ks", [CELL_FILE]),
    "a torn record": (FINETUNED, lambda: truncate(RECORD), "ks", [CELL_FILE]),
    "a list for a record": (FINETUNED, lambda: RECORD.write_text("[]"), "ks", [CELL_FILE]),
    "a record of bytes": (FINETUNED, lambda: RECORD.write_bytes(b"\xff\xfe\0"), "ks", [CELL_FILE]),
    "a record with another key": (
        FINETUNED,
        lambda: edit(RECORD, '"key": "', '"key": "0'),
        "ks",
        ["dvc repro"],
    ),
    "a record of schema 4": (
        FINETUNED,
        lambda: edit(RECORD, '"schema_version": 3', '"schema_version": 4'),
        "ks",
        [CELL_FILE, "schema"],
    ),
    "a record with a word more": (
        FINETUNED,
        lambda: edit(RECORD, '"key"', '"note": "x", "key"'),
        "ks",
        [CELL_FILE, "note"],
    ),
    "a record of NaN": (FINETUNED, lambda: edit(RECORD, '"seed": 0', '"seed": NaN'), "ks", [CELL_FILE]),
    "a record of another cell": (
        FINETUNED,
        lambda: shutil.copy(PRETRAINED / CELL_FILE, RECORD),
        "ks",
        ["another cell"],
    ),
    "a digit of a prediction": (
        FINETUNED,
        lambda: edit(PREDICTIONS, "0.4", "0.5"),
        "ks",
        ["predictions.csv"],
    ),
    "a sample less": (
        FINETUNED,
        lambda: PREDICTIONS.write_text("".join(PREDICTIONS.read_text().splitlines(True)[:-1])),
        "ks",
        ["predictions.csv", "not as it was"],
    ),
    "NaN for a prediction": (
        FINETUNED,
        lambda: edit(PREDICTIONS, ",0.", ",NaN0."),
        "ks",
        ["predictions.csv"],
    ),
    "no predictions": (FINETUNED, lambda: PREDICTIONS.unlink(), "ks", ["predictions.csv", "missing"]),
    "a link for predictions": (FINETUNED, lambda: link(PREDICTIONS), "ks", ["predictions.csv"]),
    "a foreign file": (
        FINETUNED,
        lambda: (FINETUNED / "model.pkl").write_bytes(b"\x80\x04."),
        "ks",
        ["model.pkl", "does not belong"],
    ),
    "torn features": (FINETUNED, lambda: truncate(FINETUNED / "features.npz"), "reuse", ["features.npz"]),
    "a bit of an encoder": (PRETRAINED, lambda: flip(ENCODER), "probe", ["encoder.safetensors"]),
    "half an encoder": (PRETRAINED, lambda: truncate(ENCODER), "probe", ["encoder.safetensors"]),
    "a pickled encoder": (
        PRETRAINED,
        lambda: torch.save({"x": torch.zeros(1)}, ENCODER),
        "probe",
        ["encoder.safetensors"],
    ),
    "no encoder": (PRETRAINED, lambda: ENCODER.unlink(), "probe", ["encoder.safetensors", "missing"]),
    "no pretraining": (PRETRAINED, lambda: shutil.rmtree(PRETRAINED), "probe", ["no finished cell"]),
}


# Files that the report does not open; `bench verify` looks at them.
NOT_OPENED = {name for name in DAMAGES if "encoder" in name} | {"torn features", "a foreign file"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_stops_what_builds_on_it_and_is_a_hole_in_the_report(copy, capsys, damage):
    cell, do, stage, words = DAMAGES[damage]
    assert read_results(read_protocol()).states[CELLS[cell]].status == "done"
    do()
    assert_refused(capsys, stage, *words)
    if damage not in NOT_OPENED:
        state = read_results(read_protocol()).states[CELLS[cell]]
        assert state.status in ("damaged", "missing", "stale")
        assert state.reason


def test_a_cell_that_is_intact_in_the_store_is_read_from_there(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree(FINETUNED)
    assert run_stage(arguments("ks")) == 0


@pytest.mark.parametrize("damage", ["a torn record", "a foreign file"])
def test_what_the_message_advises_mends_it(copy, capsys, damage):
    cell, do, stage, _ = DAMAGES[damage]
    do()
    assert run_stage(arguments(stage)) == 2
    assert f"Delete {cell}" in capsys.readouterr().err
    shutil.rmtree(cell)
    for again in ("finetune", stage):  # as `dvc repro` does after it
        assert run_stage(arguments(again)) == 0


def reseal(folder: Path) -> None:
    """Make the record agree with files that were changed, as a careful forger would."""
    content = json.loads((folder / CELL_FILE).read_text())
    content["files"] = file_checksums(folder)
    content.pop("checksum", None)
    (folder / CELL_FILE).write_text(json.dumps(content))


def with_pickle(file: Path) -> None:
    np.savez(file, **{name: np.array([object()], dtype=object) for name in ("before_1", "after_1")})


FORGERIES = {
    "NaN": (lambda: edit(PREDICTIONS, ",0.", ",NaN,0."), "ks", ["predictions.csv"]),
    "a text": (lambda: edit(PREDICTIONS, ",0.", ",often,0."), "ks", ["predictions.csv"]),
    "more than certain": (lambda: edit(PREDICTIONS, ",0.", ",7."), "ks", ["predictions.csv", "from 0 to 1"]),
    "a column less": (
        lambda: edit(PREDICTIONS, "probability_", "probably_"),
        "ks",
        ["predictions.csv", "lacks the columns"],
    ),
    "a sample twice": (
        lambda: PREDICTIONS.write_text(PREDICTIONS.read_text() + PREDICTIONS.read_text().splitlines()[-1]),
        "ks",
        ["predictions.csv", "twice"],
    ),
    "a sample less": (
        lambda: PREDICTIONS.write_text("".join(PREDICTIONS.read_text().splitlines(True)[:-1])),
        "ks",
        ["not of the same samples"],
    ),
    "an empty table": (lambda: PREDICTIONS.write_text(""), "ks", ["predictions.csv"]),
    "pickled features": (lambda: with_pickle(FINETUNED / "features.npz"), "reuse", ["features.npz"]),
    "features that are no archive": (
        lambda: (FINETUNED / "features.npz").write_bytes(b"x"),
        "reuse",
        ["features.npz"],
    ),
    "features of another kind": (
        lambda: np.savez(FINETUNED / "features.npz", x=np.zeros(3)),
        "reuse",
        ["features.npz"],
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_cell_is_refused_where_its_content_cannot_be_right(copy, capsys, forgery):
    do, stage, words = FORGERIES[forgery]
    do()
    reseal(FINETUNED)
    assert_refused(capsys, stage, *words)


DATA = Path("data/chest")
BAD_DATA = {
    "no card": (lambda: (DATA / "card.json").unlink(), ["data/chest"]),
    "a torn card": (lambda: truncate(DATA / "card.json"), ["card.json"]),
    "a card with a word more": (
        lambda: edit(DATA / "card.json", '"name"', '"note": 1, "name"'),
        ["card.json"],
    ),
    "a card of NaN": (lambda: (DATA / "card.json").write_text("NaN"), ["card.json"]),
    "a card of bytes": (lambda: (DATA / "card.json").write_bytes(b"\xff"), ["card.json"]),
    "no images": (lambda: (DATA / "images.npy").unlink(), ["images.npy"]),
    "half of the images": (lambda: truncate(DATA / "images.npy"), ["images.npy", "checksum"]),
    "a bit of an image": (lambda: flip(DATA / "images.npy"), ["images.npy", "checksum"]),
    "pickled images": (
        lambda: np.save(DATA / "images.npy", np.array([object()], dtype=object)),
        ["images.npy", "checksum"],
    ),
    "no samples": (lambda: (DATA / "samples.csv").unlink(), ["samples.csv"]),
    "a patient in another split": (
        lambda: edit(DATA / "samples.csv", ",train,", ",test,"),
        ["samples.csv", "checksum"],
    ),
}


@pytest.mark.parametrize("damage", BAD_DATA)
def test_a_damaged_data_set_is_not_trained_on(copy, capsys, damage):
    do, words = BAD_DATA[damage]
    shutil.rmtree("results")
    shutil.rmtree(".bench")
    do()
    assert_refused(capsys, "pretrain", *words, "repare")


def test_a_stage_alone_does_not_mix_settings(copy, capsys):
    """`dvc repro --single-item` after a change must not keep new results of old encoders."""
    edit(Path("params.yaml"), "pretrain:\n  epochs: 2", "pretrain:\n  epochs: 3")
    assert_refused(capsys, "probe", "computed under other settings", "dvc repro")


CHANGES = {
    "parameters": ("pretrain:\n  epochs: 2", "pretrain:\n  epochs: 3"),
    "data": ("    patients: 30\n    seed: 1\n", "    patients: 30\n    seed: 9\n"),
    "method": ("  moco:\n    hidden: 16", "  moco:\n    hidden: 8"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_of_other_parameters_or_data_is_not_found_and_if_put_there_refused(copy, capsys, change):
    cell = CELLS[PRETRAINED]
    before = Keys(read_protocol()).key(cell)
    save_checkpoint(checkpoint_file(before), {"step": 1}, before)
    edit(Path("params.yaml"), *CHANGES[change])
    if change == "data":
        assert run_stage(["data", "chest"]) == 0
    after = Keys(read_protocol()).key(cell)
    assert before != after
    assert not checkpoint_file(after).exists()
    shutil.copytree(checkpoint_file(before).parent, checkpoint_file(after).parent)
    capsys.readouterr()
    assert run_stage(["pretrain", "chest", "moco"]) == 2
    message = capsys.readouterr().err
    assert "checkpoint.pt" in message
    assert "other code, parameters or data" in message
    # Garbage there is no checkpoint; the run starts from the beginning.
    checkpoint_file(after).write_bytes(b"garbage" * 10)
    assert run_stage(["pretrain", "chest", "moco"]) == 0
    assert not checkpoint_file(after).parent.exists()


def test_the_run_of_other_code_is_another_run(copy, monkeypatch):
    """A checkpoint lies under the cell's key, and the key holds the code."""
    import bench.cells.keys

    cell = CELLS[PRETRAINED]
    before = Keys(read_protocol()).key(cell)
    real = bench.cells.keys.stage_fingerprint
    monkeypatch.setattr(
        bench.cells.keys, "stage_fingerprint", lambda stage: real(stage) | {"imssl/losses.py": "0"}
    )
    assert Keys(read_protocol()).key(cell) != before
    assert read_record(PRETRAINED).key == before
