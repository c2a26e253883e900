import hashlib
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.cells import store
from bench.cells.encoders import load_encoder
from bench.cells.files import (
    LEFT_OUT_FILE,
    METRICS_FILE,
    RESULTS,
    cell_path,
    data_folder,
    left_out_arrays,
    read_json,
)
from bench.cells.keys import Keys
from bench.cells.predictions import read_predictions
from bench.cells.records import read_record
from bench.cli import main
from bench.methods.tuned import CHOSEN, SCORE, TRIAL, UNTRAINED
from bench.protocol.cell import Cell, all_cells
from bench.protocol.protocol import read_protocol
from bench.report.pages.background import tuning_words
from bench.stages.inputs import input_contents
from bench.studies import agreement
from bench.studies.pack import pack, size_of
from bench.studies.paper import write_paper
from bench.studies.reports import report_beside, study_view, write_derived
from bench.studies.restore import restore
from bench.studies.stored.chains import ChainPredictions
from bench.studies.stored.files import INPUTS_FILE, Chain, read_chain, read_packed
from bench.studies.stored.results import read_study_results, study_cards, study_protocol
from bench.studies.stored.rounding import LARGEST_EFFECT
from bench.studies.verify import verify_study
from imssl.datasets.prepared import read_card, read_prepared
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING

MOCO = Chain("chest", "moco", 0)


def digests(study: Path) -> dict[Path, str]:
    files = (study / "chains").rglob("*")
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def edit(old: str, new: str) -> None:
    file = Path("params.yaml")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def disagreements(name: str) -> list[str]:
    checks = verify_study(name, lambda *_: None)
    assert checks[0].compared
    return [f"{d.where}: {d.found}" for check in checks for d in check.disagreements]


def test_what_is_read_back_gives_the_metrics_that_were_computed(here):
    cell = Cell("finetune", "chest", "moco", 0, EVERYTHING)
    card, stored = read_card(data_folder("chest")), read_chain(here, MOCO)
    files = ChainPredictions(here, MOCO, stored, card)
    exact = read_predictions(cell_path(cell) / "predictions.csv", card)
    known = files.of("finetune/1")
    assert (known.ids == exact.ids).all()
    assert (known.patients == exact.patients).all()
    assert (known.labels == exact.labels).all()
    np.testing.assert_allclose(known.probabilities, exact.probabilities, atol=2e-3)
    aurocs = {row["class"]: row["value"] for row in read_json(cell_path(cell) / METRICS_FILE)
              if row["metric"] == "auroc" and row.get("class") and row["value"] is not None}  # fmt: skip
    assert aurocs
    for label, value in aurocs.items():
        c = card.classes.index(label)
        assert roc_auc_score(known.labels[:, c], known.probabilities[:, c]) == pytest.approx(
            value, abs=LARGEST_EFFECT
        )
    assert all(kept.effect < LARGEST_EFFECT for kept in stored.predictions.values())
    assert files.of("finetune/1", "val").probabilities.shape == (
        card.counts["val"].samples,
        len(card.classes),
    )
    assert files.of("probe/block-1", "val") is None


def test_no_path_of_the_machine_is_packed(here, monkeypatch):
    def with_paths(protocol):
        contents = input_contents(protocol)
        contents["data-chest"]["settings"] |= {
            "path": "/home/me/images.zip",
            "files": ["/srv/a.csv", "b.csv"],
        }
        return contents

    monkeypatch.setattr("bench.studies.pack.input_contents", with_paths)
    packed = pack("second", read_protocol(), tell=lambda _: None)
    settings = json.loads(read_packed(packed.study / INPUTS_FILE))["data-chest"]["settings"]
    assert (settings["path"], settings["files"]) == ("images.zip", ["a.csv", "b.csv"])


def test_a_study_verifies_without_data_results_or_store(here):
    for folder in ("data", "results", ".bench"):
        shutil.rmtree(folder, ignore_errors=True)
    assert disagreements("first") == []
    results = read_study_results(here, study_protocol(here))
    assert {state.status for state in results.states.values()} == {"done"}
    assert size_of(here) < 3_000_000
    assert not any(str(Path.cwd()) in file.read_text() for file in here.glob("*.yaml"))


def test_a_changed_metric_and_a_changed_file_are_found(here):
    file = here / "chains/chest/moco/seed-0/chain.json.xz"
    content = json.loads(lzma.decompress(file.read_bytes()))
    (finetuned,) = (
        c for c in content["cells"] if c["record"]["stage"] == "finetune" and c["record"]["fraction"] == 1
    )
    (row,) = (row for row in finetuned["metrics"] if row["metric"] == "macro_auroc")
    row["value"] += 0.001
    file.write_bytes(lzma.compress(json.dumps(content).encode()))
    found = disagreements("first")
    assert any("finetune chest moco seed 0 1 macro_auroc" in line for line in found)
    assert any(line.startswith("line ") for line in found)  # of results.csv
    predictions = here / "chains/chest/random-init/seed-0/test.parquet"
    predictions.write_bytes(predictions.read_bytes() + b"x")
    assert any(
        "random-init" in line and "not the file that was packed" in line for line in disagreements("first")
    )


def test_seeds_are_added_without_touching_what_is_there(here):
    before = digests(here)
    edit("seeds:\n- 0" if "seeds:\n- 0" in Path("params.yaml").read_text() else "seeds: [0]", "seeds: [0, 1]")
    packed = pack("first", read_protocol(), tell=lambda _: None)
    assert (packed.new, packed.had, packed.other_code) == ([], 2, [])
    assert {chain.seed for chain in packed.unfinished} == {1}
    assert digests(here) == before
    assert study_protocol(here).seeds == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (
            "learning_rate: 0.001",
            "learning_rate: 0.002",
            "finetune.learning_rate: 0.002 here, 0.001 in the study",
        ),
        ("    dimension: 8", "    dimension: 16", "methods.moco.dimension: 16 here, 8 in the study"),
    ],
)
def test_other_settings_are_refused(here, old, new, named):
    edit(old, new)
    with pytest.raises(UserError, match=named):
        pack("first", read_protocol(), tell=lambda _: None)


def test_other_data_and_another_version_are_refused(here, monkeypatch):
    card = read_card(data_folder("chest"))
    changed = card.model_copy(update={"checksums": card.checksums | {"samples.csv": "0" * 64}})
    with pytest.raises(UserError, match=r"data/chest/samples\.csv has other content"):
        agreement.refuse_disagreement(here, read_protocol(), {"chest": changed}, seeds_may_differ=False)
    with pytest.raises(UserError, match="data/chest is not prepared here"):
        agreement.refuse_disagreement(here, read_protocol(), {}, seeds_may_differ=False)
    monkeypatch.setattr(agreement, "suite_version", lambda: "99")
    with pytest.raises(UserError, match="suite: version 99 here"):
        agreement.refuse_disagreement(here, read_protocol(), {"chest": card}, seeds_may_differ=False)


def test_finished_chains_are_brought_back_and_say_what_they_lack(here):
    metrics = {cell: (cell_path(cell) / METRICS_FILE).read_bytes() for cell in all_cells(read_protocol())}
    shutil.rmtree(RESULTS)
    protocol, keys = read_protocol(), Keys(read_protocol())
    restored = restore("first", protocol)
    assert (len(restored.chains), restored.cells, restored.had, restored.refused) == (2, 20, 0, {})
    for cell in all_cells(protocol):
        record = store.finished(cell, keys.key(cell))
        assert record.provenance.seconds > 0
        assert (store.cell_folder(cell, record.key) / METRICS_FILE).read_bytes() == metrics[cell]
    folder = store.cell_folder(pretrained := Cell("pretrain", "chest", "moco", 0), keys.key(pretrained))
    assert "encoder.safetensors" in read_json(folder / "restored.json")["computed"]
    with pytest.raises(UserError, match="brought back from a published study, which holds no encoders"):
        load_encoder(folder, protocol, read_prepared(data_folder("chest")))
    assert restore("first", protocol).had == 20
    edit("learning_rate: 0.03", "learning_rate: 0.04")
    (reason,) = restore("first", read_protocol()).refused
    assert "pretrain.optimisation.learning_rate" in reason or "optimisation" in reason


def test_cka_without_each_patient_is_kept_and_older_chains_are_read_without(here):
    cell, keys = Cell("reuse", "chest", "moco", 0), Keys(read_protocol())
    file = cell_path(cell) / LEFT_OUT_FILE
    exact = left_out_arrays(file, file.read_bytes())
    known = read_study_results(here, study_protocol(here)).left_out
    assert set(known) == {cell}  # an encoder as initialised has no feature reuse
    assert known[cell]["patients"].tolist() == exact["patients"].tolist()
    for name in exact.keys() - {"patients"}:
        np.testing.assert_allclose(known[cell][name], exact[name], atol=5.1e-6)
    shutil.rmtree(RESULTS)
    shutil.rmtree(store.cell_folder(cell, keys.key(cell)), ignore_errors=True)
    restore("first", read_protocol())
    restored = store.cell_folder(cell, keys.key(cell)) / LEFT_OUT_FILE
    assert left_out_arrays(restored, restored.read_bytes()).keys() == exact.keys()

    chain = here / "chains/chest/moco/seed-0/chain.json.xz"
    content = json.loads(lzma.decompress(chain.read_bytes()))
    for kept in content["cells"]:
        del kept["left_out"]
    chain.write_bytes(lzma.compress(json.dumps(content).encode()))
    results = read_study_results(here, study_protocol(here))
    assert results.left_out == {}
    assert {state.status for state in results.states.values()} == {"done"}
    write_derived(here)
    assert disagreements("first") == []


def test_own_methods_stand_beside_the_published_ones(here):
    """The study has MoCo alone; random-init is the newcomer."""
    everything = Path("params.yaml").read_text()
    edit("  random-init: {}\n", "")
    pack("without", read_protocol(), tell=lambda _: None)
    Path("params.yaml").write_text(everything)
    beside = report_beside("without", read_protocol())
    assert (beside.own, beside.missing) == (["random-init"], 0)
    assert "random-init" in beside.page.read_text()
    assert (beside.page.parent / "methods" / "random-init.html").is_file()
    with pytest.raises(UserError, match="no method that the study first does not have"):
        report_beside("first", read_protocol())
    edit("epochs: 2", "epochs: 3")
    with pytest.raises(UserError, match=r"(?s)cannot be compared.*pretrain.epochs: 3 here, 2 in the study"):
        report_beside("without", read_protocol())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "restore", "frist"], "there is no study frist in reports/studies; there are: first"),
        (["verify", "--study", "../first"], "is no name of a study"),
        (["verify", "--study", "first", "--rerun", "1"], "leave --rerun"),
        (["report", "--with-study", "none"], "there is no study none"),
    ],
)
def test_mistakes_are_one_message(here, arguments, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_cards_that_are_damaged_are_named(here):
    (here / "cards" / "chest.json").write_text("{}")
    with pytest.raises(UserError, match=r"cards/chest\.json cannot be read"):
        study_cards(here, study_protocol(here))


def test_a_sealed_record_that_was_changed_is_found(here):
    file = here / "chains/chest/moco/seed-0/chain.json.xz"
    content = json.loads(lzma.decompress(file.read_bytes()))
    content["cells"][0]["record"]["seed"] = 5
    file.write_bytes(lzma.compress(json.dumps(content).encode()))
    assert any("was changed" in line for line in disagreements("first"))


def test_records_keep_the_checksums_of_the_encoders(here):
    stored = read_chain(here, MOCO)
    pretrained = next(c for c in stored.cells if c.record["stage"] == "pretrain").cell_record()
    there = read_record(cell_path(Cell("pretrain", "chest", "moco", 0)))
    assert pretrained.files == there.files
    assert pretrained.checksum == there.checksum


def test_the_paper_tells_what_the_study_holds(here):
    """Of one seed and phantoms: no verdicts, but every table."""
    paper = Path("docs/study.md")
    paper.parent.mkdir()
    blocks = ("tuning", "facts", "leaderboard", "references", "verdicts", "figure")
    row = read_protocol().methods["moco"]
    trials = pd.DataFrame(
        {
            TRIAL: [1, 2, 3],
            "temperature": [row["temperature"], 0.7, 0.7],
            "optimisation.learning_rate": [read_protocol().pretrain.optimisation.learning_rate, 0.3, 0.3],
            SCORE: [0.61, 0.72, 0.72],
            UNTRAINED: 0.69,
            CHOSEN: [False, True, False],
        }
    )
    (here / "tuning").mkdir()
    trials.to_csv(here / "tuning/moco.csv", index=False)
    paper.write_text("".join(f"<!-- study: {block} -->\n<!-- end -->\n" for block in blocks))
    write_paper("first")
    text = paper.read_text()
    assert "| chains finished | 2 of 2 |" in text
    assert "| moco | 2 | 0.690 | 0.610 | 0.720 |" in text  # a trial of a second search is counted once
    values = [
        row["value"]
        for row in read_json(cell_path(Cell("finetune", "chest", "moco", 0, EVERYTHING)) / METRICS_FILE)
        if row["metric"] == "macro_auroc"
    ]
    assert f"{values[0]:.3f} [" in text
    assert "minus it" in text
    assert "| all together | mean score |" in text
    assert Path("docs/images/study-labels.svg").read_text().startswith("<svg")
    # The pages too speak of the study's own search, of which this checkout knows nothing.
    assert tuning_words(study_view(here))["moco"] == "3 trials, but its values are not those that were chosen"
