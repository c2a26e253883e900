import hashlib
import json
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cells.files import cell_path
from bench.cells.records import read_record, write_record
from bench.cli import app, main
from bench.protocol.protocol import read_protocol
from bench.sharing.pack import submit
from bench.sharing.review import review, unpacked
from bench.sharing.submission import Submission
from bench.sharing.trial_run import check_conformance, compare_again, rerun, scratch_suite
from bench.trust.verify.check import Check
from imssl.errors import UserError


@pytest.fixture
def archive(checkout, tmp_path) -> Path:
    return submit("moco", read_protocol(), tmp_path, with_encoders=False)[0]


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def repacked(archive: Path, files: dict[str, bytes]) -> Path:
    """The archive with other content, and submission.json made to fit, as by one who covers it up."""
    submission = json.loads(files["submission.json"])
    others = {name: content for name, content in files.items() if name != "submission.json"}
    submission["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("submission.json", json.dumps(submission))
        for name, content in others.items():
            packed.writestr(name, content)
    return archive


def wrong(archive: Path) -> dict[str, list[str]]:
    """What disagrees, by check."""
    with unpacked(archive, read_protocol()) as submission:
        checks = review(submission)
    assert sum(check.compared for check in checks) > 10
    return {check.name: [d.where for d in check.disagreements] for check in checks if check.disagreements}


def resealed(archive: Path, name: str, old: str, new: str, tmp_path: Path) -> Path:
    """A file of a cell is edited, and every checksum above it made to fit."""
    files = contents(archive)
    text = files[name].decode()
    assert old in text
    folder = tmp_path / "cells" / Path(name).parent
    for other, content in files.items():
        if other.startswith("results/"):
            (tmp_path / "cells" / other).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cells" / other).write_bytes(content)
    (tmp_path / "cells" / name).write_text(text.replace(old, new, 1))
    record = read_record(folder)
    sha = hashlib.sha256((tmp_path / "cells" / name).read_bytes()).hexdigest()
    write_record(folder, record.model_copy(update={"files": record.files | {Path(name).name: sha}}))
    for other in files:
        if other.startswith("results/"):
            files[other] = (tmp_path / "cells" / other).read_bytes()
    return repacked(archive, files)


def test_a_method_is_packed_small_and_whole_and_passes_the_review(archive, tmp_path):
    files = contents(archive)
    submission = Submission.model_validate_json(files["submission.json"])
    assert (submission.method, submission.method_file, submission.cells) == ("moco", "moco.py", 10)
    assert sum(name.endswith("/cell.json") for name in files) == 10
    assert sum(name.endswith("/provenance.json") for name in files) == 10
    large = (".safetensors", "/features.npz")
    assert not [name for name in files if name.endswith(large) or "random-init" in name]
    assert archive.stat().st_size < 200_000
    assert wrong(archive) == {}
    text = (tmp_path / "moco-submission.md").read_text()
    assert "| chest | macro_auroc |" in text
    assert "10 cells" in text


def test_the_same_results_are_the_same_archive(archive, checkout, tmp_path):
    again, _ = submit("moco", read_protocol(), tmp_path / "again", with_encoders=False)
    assert again.read_bytes() == archive.read_bytes()


def test_encoders_come_along_when_asked_for(checkout, tmp_path):
    archive, _ = submit("moco", read_protocol(), tmp_path, with_encoders=True)
    names = list(contents(archive))
    assert sum(name.endswith("encoder.safetensors") for name in names) == 1
    assert sum(name.endswith("features.npz") for name in names) == 2
    assert wrong(archive) == {}


def test_an_incomplete_method_is_not_packed(checkout, tmp_path):
    file = Path("results/chest/knn/moco/seed-0/fraction-0.5/metrics.json")
    file.write_text(file.read_text() + " ")
    with pytest.raises(UserError, match="moco is not complete: knn chest moco seed 0"):
        submit("moco", read_protocol(), tmp_path, with_encoders=False)
    assert not list(tmp_path.glob("*.zip"))


def test_a_changed_file_is_found_by_its_checksum(archive):
    files = contents(archive)
    files["method.py"] += b"\n"
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    with pytest.raises(UserError, match=r"method\.py is not as submission\.json says"):
        wrong(archive)


def test_a_better_score_than_the_predictions_give_is_found(archive, tmp_path):
    name = "results/chest/knn/moco/seed-0/fraction-1/metrics.json"
    rows = json.loads(contents(archive)[name])
    (value,) = [row["value"] for row in rows if row["metric"] == "macro_auroc"]
    disagreeing = wrong(resealed(archive, name, f"{value}", "0.9876", tmp_path))
    assert disagreeing == {"scores against the predictions": ["chest moco seed 0 knn 1 macro_auroc"]}


def test_predictions_of_other_samples_are_found(archive, tmp_path):
    name = "results/chest/knn/moco/seed-0/fraction-1/predictions.csv"
    first = contents(archive)[name].decode().splitlines()[1].split(",")[0]
    disagreeing = wrong(resealed(archive, name, f"\n{first},", "\nelsewhere,", tmp_path))
    assert disagreeing == {
        "samples of the predictions against the data": [f"{name}: rows of other samples or labels"]
    }


def test_a_missing_cell_and_other_settings_are_named(archive):
    files = contents(archive)
    kept = {name: content for name, content in files.items() if "/ks/" not in name}
    submission = json.loads(kept["submission.json"])
    submission["protocol"]["finetune"]["learning_rate"] = 0.5
    kept["submission.json"] = json.dumps(submission).encode()
    disagreeing = wrong(repacked(archive, kept))
    assert disagreeing["settings against params.yaml"] == ["finetune.learning_rate"]
    assert disagreeing["files of the cells against cell.json"] == ["results/chest/ks/moco/seed-0"]


def test_files_made_to_break_a_reader_are_findings(archive, tmp_path):
    name = "results/chest/finetune/moco/seed-0/fraction-1/metrics.json"
    text = contents(archive)[name].decode()
    disagreeing = wrong(resealed(archive, name, text, "[" * 100_000, tmp_path))
    assert list(disagreeing) == ["scores against the predictions"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"schema_version": 9}'])
def test_a_submission_json_of_another_kind_is_refused(archive, content):
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("submission.json", content)
    with pytest.raises(UserError, match="is not what this version reads"):
        wrong(archive)


def test_no_code_is_run_until_somebody_says_so(archive, tmp_path, monkeypatch, capsys):
    files = contents(archive)
    trace = tmp_path / "run"
    files["method.py"] = f"open({str(trace)!r}, 'w')\n".encode()
    repacked(archive, files)
    monkeypatch.setattr(sys, "argv", ["bench", "review", str(archive)])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    assert not ended.value.code, out
    assert "Nothing of it was run" in out
    assert not trace.exists()


def compared(submission, stage) -> Check:
    """A submitted cell beside the one that it was packed from."""
    (cell, *_) = [cell for cell in submission.cells if cell.stage == stage]
    check = Check("again")
    compare_again(check, submission, cell, cell_path(cell).absolute())
    return check


def test_a_damaged_cell_is_a_finding_and_the_others_are_still_compared(archive):
    with unpacked(archive, read_protocol()) as submission:
        (cell, *_) = [cell for cell in submission.cells if cell.stage == "pretrain"]
        (submission.folder / cell_path(cell) / "cell.json").write_text("{")
        damaged, whole = compared(submission, "pretrain"), compared(submission, "knn")
    assert [found.where for found in damaged.disagreements] == [cell.title]
    assert "cell.json" in damaged.disagreements[0].found
    assert (whole.compared > 0, whole.disagreements, whole.notes) == (True, [], [])


@pytest.mark.parametrize(
    ("device", "is_elsewhere"),
    [("{here}, 99 threads", False), ("a processor of \x1b[31mAnna, 2 threads", True)],
)
def test_where_a_cell_was_made_is_told_without_its_threads(archive, device, is_elsewhere):
    """Also of what is not computed on the device: that of its encoder says which processor it was."""
    with unpacked(archive, read_protocol()) as submission:
        (cell, *_) = [cell for cell in submission.cells if cell.stage == "pretrain"]
        folder = submission.folder / cell_path(cell)
        record = read_record(folder)
        text = device.format(here=record.provenance.hardware)
        origin = record.provenance.model_copy(update={"device": text})
        write_record(folder, record.model_copy(update={"provenance": origin}))
        for stage in ("pretrain", "ks"):
            check = compared(submission, stage)
            assert [("Anna, now" in note, "\x1b" in note) for note in check.notes] == [
                (True, False)
            ] * is_elsewhere
            assert check.disagreements == []


@pytest.mark.slow
def test_code_that_a_person_trusts_is_checked_and_cells_are_computed_again(archive):
    with unpacked(archive, read_protocol()) as submission:
        suite = scratch_suite(submission)
        checks = [check_conformance(suite), rerun(suite, 2, seed=1)]
    assert [check.disagreements for check in checks] == [[], []]
    assert checks[1].compared > 4


@pytest.mark.slow
def test_made_up_predictions_are_found_by_computing_again(archive, tmp_path):
    name = "results/chest/pretrain/moco/seed-0/history.csv"
    last = contents(archive)[name].decode().splitlines()[-1]
    resealed(archive, name, last, last.replace("2,", "3,", 1), tmp_path)
    with unpacked(archive, read_protocol()) as submission:
        check = rerun(scratch_suite(submission), 10, seed=0)
    assert [d.where for d in check.disagreements] == ["pretrain chest moco seed 0: history.csv"]


@pytest.mark.slow
def test_the_commands_of_the_docs_pack_and_review(checkout):
    """As docs/sharing.md gives them, for a method of this run."""
    archive = "submissions/moco-submission.zip"
    for command in (
        ["submit", "moco", "--out", "submissions"],
        ["review", archive],
        ["review", archive, "--run-code", "--rerun", "3"],
    ):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 0, ended.output
