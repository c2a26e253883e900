"""`bench verify` on a real run of the tiny protocol: it passes, and every kind of damage is named."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cells.records import read_record, write_record
from bench.cli import main
from bench.launch.run_stage import run_stage
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
from bench.report.leaderboard import write_reports
from bench.trust.verify import recomputed, rerun
from bench.trust.verify.check import Check
from tests.bench.stage_calls import stage_calls

METHODS = ("random-init", "moco")


@pytest.fixture(scope="module")
def finished(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two methods and two seeds on one data set; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("finished")
    text = (Path(__file__).parents[1] / "tiny.yaml").read_text()
    text = text.replace("seeds: [0]", "seeds: [0, 1]")
    text = text[: text.index("  fundus:")] + text[text.index("methods:") :]
    text = text[: text.index("  moco-barlow:")] + text[text.index("encoder:") :]
    (folder / "params.yaml").write_text(text)
    shutil.copytree(prepared_data / "chest", folder / "data" / "chest")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("IMSSL_BENCH_WORKERS", "1")
        for arguments in stage_calls("chest", read_protocol()):
            assert run_stage(arguments) == 0
        write_reports(read_protocol())
    shutil.rmtree(folder / ".bench")  # verify needs what DVC keeps, and nothing else
    return folder


@pytest.fixture
def verify(finished, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, dict, str]]:
    """Run `bench verify --json` in a copy of the run: exit status, content, and what went to stderr."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")

    def run(*arguments: str) -> tuple[int, dict, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "verify", "--json", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(captured.out or "{}"), captured.err

    return run


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leave out making the report again, which starts another Python."""
    monkeypatch.setattr("bench.trust.verify.all_checks.check_reports", lambda: Check("nothing"))


@pytest.fixture
def in_process(monkeypatch) -> None:
    """Run what starts another Python in this one: importing torch again is most of its time."""

    def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        with contextlib.chdir(folder):
            if arguments[:2] == ["-m", "bench.stage"]:
                return subprocess.CompletedProcess(arguments, run_stage(arguments[2:]), "", "")
            write_reports(read_protocol())
            return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr("bench.trust.verify.rerun.run_python", run)
    monkeypatch.setattr("bench.trust.verify.reports.run_python", run)
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")


def wrong(content: dict) -> list[tuple[str, str]]:
    """(check, where) of all disagreements."""
    return [(check["name"], one["where"]) for check in content["checks"] for one in check["disagreements"]]


def reseal(folder: Path) -> None:
    """Give a cell new checksums, as somebody who covers up an edit would."""
    record = read_record(folder)
    assert record is not None
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in record.files}
    write_record(folder, record.model_copy(update={"files": files}))


def test_a_finished_run_agrees_in_every_number(verify, in_process):
    status, content, err = verify()
    assert (status, err, wrong(content)) == (0, "", [])
    compared = {check["name"]: check["compared"] for check in content["checks"]}
    assert compared["data files against their card"] == 2
    table = pd.read_csv("reports/results.csv")
    measured = {
        "seconds",
        "peak_memory_mib",
        "batch_norm_filled",
        "images_seen",
        "trained_parameters",
        "l2",
        "converged",
        "validation_metric",
    }
    assert compared["numbers of reports/results.csv"] == (~table["metric"].isin(measured)).sum() > 400
    assert compared["numbers of reports/metrics.json"] == 2 * (3 * 2 + 4)
    assert compared["files of the report, made again"] >= 3


def edit(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new, 1))


def turn_a_bit(file: str) -> None:
    content = bytearray(Path(file).read_bytes())
    content[len(content) // 2] ^= 1
    Path(file).write_bytes(content)


CELL = "results/chest/finetune/moco/seed-0/fraction-0.5"


@pytest.mark.parametrize(
    ("file", "check"),
    [
        ("data/chest/images.npy", "data files against their card"),
        ("data/chest/samples.csv", "data files against their card"),
        (f"{CELL}/predictions.csv", "files of the cells against cell.json"),
        (f"{CELL}/features.npz", "files of the cells against cell.json"),
        ("results/chest/pretrain/moco/seed-1/encoder.safetensors", "files of the cells against cell.json"),
        (f"{CELL}/cell.json", "files of the cells against cell.json"),
    ],
)
def test_one_bit_turned_anywhere_is_named(verify, quick, file, check):
    turn_a_bit(file)
    status, content, _ = verify()
    assert status == 1
    assert (check, file) in wrong(content)


def test_an_edited_leaderboard_is_named(verify, in_process):
    turn_a_bit("reports/leaderboard.html")
    status, content, _ = verify()
    assert status == 1
    assert wrong(content) == [("files of the report, made again", "reports/leaderboard.html")]


def test_a_file_more_and_a_file_less_are_named(verify, quick):
    Path(CELL, "more.txt").write_text("x")
    Path(CELL, "subset.csv").unlink()
    status, content, _ = verify()
    assert status == 1
    assert {where for _, where in wrong(content)} == {f"{CELL}/more.txt", f"{CELL}/subset.csv"}


def test_numbers_that_do_not_follow_from_the_predictions_are_named(verify, quick):
    """Somebody edits a metric, the checksums and the report: only recomputing tells."""
    metrics = json.loads(Path(CELL, "metrics.json").read_text())
    (auroc,) = (row for row in metrics if row["metric"] == "macro_auroc")
    auroc["value"] += 0.01
    Path(CELL, "metrics.json").write_text(json.dumps(metrics))
    ks = Path("results/chest/ks/moco/seed-1/metrics.json")
    rows = json.loads(ks.read_text())
    rows[0]["value"] *= 0.5
    ks.write_text(json.dumps(rows))
    cka = Path("results/chest/reuse/moco/seed-0/metrics.json")
    rows = json.loads(cka.read_text())
    for metric in ("cka_linear", "cka_rbf_high"):
        next(row for row in rows if row["metric"] == metric)["value"] += 1e-5
    cka.write_text(json.dumps(rows))
    for folder in (Path(CELL), ks.parent, cka.parent):
        reseal(folder)
    write_reports(read_protocol())
    status, content, _ = verify()
    assert status == 1
    table = "numbers of reports/results.csv"
    assert {where for name, where in wrong(content) if name == table} == {
        "chest moco seed 0 reuse 0.5 block 1 cka_linear",
        "chest moco seed 0 reuse 0.5 block 1 cka_rbf_high",
        "chest moco seed 0 finetune 0.5 macro_auroc",
        "chest moco seed 1 ks 0.5 ks",
    }
    assert ("numbers of reports/metrics.json", "chest moco finetune 0.5") in wrong(content)


def test_samples_and_subsets_that_do_not_fit_the_data_are_named(verify, quick):
    lines = Path(CELL, "predictions.csv").read_text().splitlines(keepends=True)
    Path(CELL, "predictions.csv").write_text("".join(lines[:-1]))  # a dropped test image
    subset = Path(CELL, "subset.csv").read_text().splitlines()
    test_id = lines[1].split(",")[0]
    Path(CELL, "subset.csv").write_text(
        "\n".join([*subset[:1], *subset[2:], subset[2], f"{test_id},train"]) + "\n"
    )
    reseal(Path(CELL))
    status, content, _ = verify()
    assert status == 1
    found = {where.partition(": ")[2] or where for _, where in wrong(content)}
    assert {
        "rows",
        "images that occur twice",
        "images outside training",
        "images unlike other methods'",
        "images that the next larger subset lacks",
    } <= found


def test_results_of_other_settings_are_named(verify, quick):
    edit("params.yaml", "finetune:\n  epochs: 1", "finetune:\n  epochs: 2")
    status, content, _ = verify()
    assert status == 1
    assert all(where.startswith("key in results/chest/") for _, where in wrong(content))
    assert {Path(where).parts[2] for _, where in wrong(content)} == {"finetune", "reuse", "ks"}


def test_dvc_lock_is_checked_against_the_disk(verify, quick):
    def md5(content: bytes) -> str:
        return hashlib.md5(content).hexdigest()

    names = sorted(file.name for file in Path(CELL).iterdir())
    listing = [{"md5": md5(Path(CELL, name).read_bytes()), "relpath": name} for name in names]
    folder_md5 = md5(json.dumps(listing).encode()) + ".dir"
    Path("dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n"
        f"    - path: {CELL}\n      md5: {folder_md5}\n"
        f"    - path: reports/results.csv\n      md5: {md5(Path('reports/results.csv').read_bytes())}\n"
    )
    assert verify()[0] == 0
    edit("reports/results.csv", "done", "dune")
    edit("dvc.lock", folder_md5, "0" * 32 + ".dir")
    status, content, _ = verify()
    assert status == 1
    assert {("outputs against dvc.lock", CELL), ("outputs against dvc.lock", "reports/results.csv")} <= set(
        wrong(content)
    )


def test_a_partial_run_is_checked_as_far_as_it_goes(verify, quick):
    shutil.rmtree("results/chest/ks/moco")
    write_reports(read_protocol())
    status, content, _ = verify()
    assert (status, wrong(content)) == (0, [])
    assert "2 of 40 cells have no results yet" in json.dumps(content)


def test_without_results_there_is_nothing_to_verify(verify):
    shutil.rmtree("results")
    status, _, err = verify()
    assert status == 2
    assert "no results to verify" in err


def test_a_cell_computed_again_is_equal_bit_for_bit(verify):
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    status, content, err = verify("--rerun", "1", "--seed", "5")
    assert (status, err) == (0, "")
    assert len(content["reruns"]) == 1
    for one in content["reruns"]:
        assert one["elsewhere"] == []
        assert all(file["equal"] and file["difference"] == 0 for file in one["files"])
    # Two seeds are told apart, so equal is not simply what the comparison always says.
    assert any((file["between_seeds"] or 0) > 1e-3 for one in content["reruns"] for file in one["files"])
    after = {
        file: file.read_bytes() for file in Path().rglob("*") if file.is_file() and ".bench" not in file.parts
    }
    assert after == before


@pytest.mark.parametrize("machine", ["this one", "another one"])
def test_a_cell_that_comes_out_otherwise_fails_here_and_is_measured_elsewhere(verify, in_process, machine):
    """An encoder whose weights were moved a little: its cells cannot come out as they are stored."""
    for seed in (0, 1):
        for method in METHODS:
            folder = Path(f"results/chest/probe/{method}/seed-{seed}")
            file = folder / "predictions_block_2.csv"
            table = pd.read_csv(file, dtype={"id": str, "patient": str})
            table[table.columns[-1]] = (table[table.columns[-1]] + 1e-6).clip(0, 1)
            table.to_csv(file, index=False)
            reseal(folder)
            record = read_record(folder)
            if machine == "another one":
                origin = record.provenance.model_copy(update={"device": "a GPU of somebody"})
                write_record(folder, record.model_copy(update={"provenance": origin}))
    protocol = read_protocol()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerun, "all_cells", lambda p: [c for c in all_cells(p) if c.stage == "probe"])
        (one,) = rerun.rerun_cells(protocol, 1, 0)
    found = {file.name: file for file in one.files}
    assert not found["predictions_block_2.csv"].equal
    assert found["predictions_block_2.csv"].difference == pytest.approx(1e-6, rel=0.01)
    assert found["predictions_block_2.csv"].between_seeds > 1e-4
    assert found["predictions_block_1.csv"].equal
    assert one.agrees == (machine == "another one")
    assert bool(one.elsewhere) == (machine == "another one")


def test_scores_by_scikit_learn_know_undefined_classes():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    values = recomputed.scores(
        "multilabel", labels, np.array([[0.9, 0.1], [0.2, 0.2], [0.1, 0.3]]), ["a", "b"]
    )
    assert values["b", "auroc"] is None
    assert values["", "macro_auroc"] == values["a", "auroc"] == 0.5
    assert values["", "accuracy"] == pytest.approx(5 / 6)
    assert torch.get_num_threads() == 1
