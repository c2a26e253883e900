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

from bench.cells.files import write_arrays
from bench.cells.records import read_record, write_record
from bench.cli import main
from bench.commands.results.verify import _verdict
from bench.launch.run_stage import run_stage
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
from bench.report.leaderboard import write_reports
from bench.trust.compared_files import FileComparison, compared_file
from bench.trust.scratch_cells import compute_cells
from bench.trust.verify import recomputed, rerun
from bench.trust.verify.check import Check
from bench.trust.verify.checksums import check_lock
from tests.bench.stage_calls import stage_calls
from tests.project_copy import tiny_without

METHODS = ("random-init", "moco")


@pytest.fixture(scope="module")
def finished(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two methods and two seeds on one data set; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("finished")
    text = tiny_without("fundus", "moco-barlow")
    (folder / "params.yaml").write_text(text.replace("seeds: [0]", "seeds: [0, 1]"))
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

    def run(
        folder: Path, arguments: list[str], on_line: Callable[[str], None]
    ) -> subprocess.CompletedProcess[str]:
        with contextlib.chdir(folder):
            status = compute_cells(
                arguments[2:], lambda title, done, total: on_line(json.dumps([title, done, total]))
            )
            return subprocess.CompletedProcess(arguments, status, "", "")

    monkeypatch.setattr("bench.trust.verify.rerun.run_python", run)
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
    assert (status, wrong(content)) == (0, [])
    assert err.splitlines() == ["verify: checksums", "verify: numbers and report"]
    assert content["numbers"] == sum(
        check["compared"] for check in content["checks"] if check["name"] == "numbers of reports/results.csv"
    )
    compared = {check["name"]: check["compared"] for check in content["checks"]}
    assert compared["data files against their card"] == 2
    table = pd.read_csv("reports/results.csv")
    measured = {
        "seconds",
        "peak_memory_mib",
        "images_per_second",
        "batch_norm_filled",
        "images_seen",
        "trained_parameters",
        "l2",
        "converged",
        "validation_metric",
    }
    assert compared["numbers of reports/results.csv"] == (~table["metric"].isin(measured)).sum() > 400
    assert compared["numbers of the cells' left_out.npz"] == 96
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


def test_a_finished_run_agrees_in_a_checkout_whose_documentation_its_pages_link(
    verify, in_process, monkeypatch
):
    Path("docs").mkdir()
    Path("docs/index.md").touch()
    here = Path.cwd()
    monkeypatch.setattr("bench.report.answer.run_facts.is_checkout", lambda: Path.cwd() == here)
    write_reports(read_protocol())
    assert "../docs/index.md" in Path("reports/leaderboard.html").read_text(encoding="utf-8")
    status, content, _ = verify()
    assert (status, wrong(content)) == (0, [])


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
    left_out = cka.with_name("left_out.npz")
    with np.load(left_out) as stored:
        arrays = {name: stored[name] for name in stored.files}
    patient = arrays["patients"][2]
    arrays["0.5"][1, 2] += 1e-5
    write_arrays(left_out, arrays)
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
    assert ("numbers of the cells' left_out.npz", f"{left_out} 0.5 block 2 without {patient}") in wrong(
        content
    )
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


def test_a_folder_has_the_checksum_that_dvc_gives_it(tmp_path, monkeypatch):
    """Also where the name of one row begins with that of another: '-' and '.' come before '/' as text."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs import LocalFileSystem

    folder = tmp_path / "results"
    for row in ("moco", "moco-x", "moco.y", "moco/seed-0", "moco/seed-0-x", "a", "é"):
        (folder / row).mkdir(parents=True)
        (folder / row / "metrics.json").write_text(row)
    system = LocalFileSystem()
    cache = HashFileDB(system, str(tmp_path / "cache"))
    written_by_dvc = build(cache, str(folder), system, "md5")[2].hash_info.value
    (tmp_path / "dvc.lock").write_text(
        f"stages:\n  a:\n    outs:\n    - path: results\n      md5: {written_by_dvc}\n"
    )
    monkeypatch.chdir(tmp_path)
    check = check_lock()
    assert (check.compared, check.disagreements) == (1, [])
    (folder / "moco-x" / "metrics.json").write_text("another")
    assert [one.where for one in check_lock().disagreements] == ["results"]


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


@pytest.mark.slow
def test_a_cell_computed_again_is_equal_bit_for_bit(verify):
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    status, content, err = verify("--rerun", "1", "--seed", "5")
    assert (status, content["seed"]) == (0, 5)
    assert "verify: computing again: " in err
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
        (one,) = rerun.rerun_cells(protocol, 1, 0, lambda *_: None)
    found = {file.name: file for file in one.files}
    assert not found["predictions_block_2.csv"].equal
    assert found["predictions_block_2.csv"].difference == pytest.approx(1e-6, rel=0.01)
    assert found["predictions_block_2.csv"].between_seeds > 1e-4
    assert found["predictions_block_1.csv"].equal
    assert one.agrees == (machine == "another one")
    assert bool(one.elsewhere) == (machine == "another one")


def test_the_draw_is_no_bodys_to_foresee(verify, quick, monkeypatch):
    """Without a seed two draws differ, the seed is told, and with it the draw is the same again."""
    drawn: list[int] = []
    monkeypatch.setattr(rerun, "rerun_cells", lambda protocol, count, seed, _: drawn.append(seed) or [])
    seeds = [verify("--rerun", "1")[1]["seed"] for _ in range(2)]
    assert verify("--rerun", "1", "--seed", str(seeds[0]))[1]["seed"] == seeds[0]
    assert drawn == [seeds[0], seeds[1], seeds[0]]
    assert seeds[0] != seeds[1]
    status, _, err = verify("--seed", "3")
    assert status == 2
    assert "--rerun" in err


@pytest.mark.parametrize(("moved", "agrees"), [(0.01, True), (0.3, False)])
def test_a_rerun_elsewhere_may_differ_as_two_seeds_do_and_no_more(tmp_path, moved, agrees):
    """A score that moves by more than a seed moves it fails, however far a count of steps may go."""
    folders = {}
    for name, auroc, step in (("stored", 0.7, 24), ("again", 0.7 + moved, 30), ("seed", 0.75, 48)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        rows = [{"metric": "auroc", "value": auroc}, {"metric": "best_step", "value": step}]
        (folders[name] / "metrics.json").write_text(json.dumps(rows))
    compared = compared_file(
        "metrics.json", folders["stored"] / "metrics.json", folders["again"] / "metrics.json", folders["seed"]
    )
    assert not compared.equal
    assert (compared.difference, compared.between_seeds) == (6, 24)
    assert rerun.Rerun("cell", [compared], ["a GPU, now a CPU"]).agrees == agrees
    assert not rerun.Rerun("cell", [compared]).agrees  # here every bit must agree


def test_without_a_second_seed_nothing_says_how_much_may_differ(tmp_path):
    for name, value in (("stored", 0.5), ("again", 0.6)):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"metric": "auroc", "value": value}]))
    compared = compared_file("metrics.json", tmp_path / "stored.json", tmp_path / "again.json", None)
    assert not rerun.Rerun("cell", [compared], ["another processor"]).agrees


@pytest.mark.parametrize("elsewhere", [[], ["torch 2.11, now torch 2.12"]])
def test_the_last_line_never_says_that_everything_agrees_where_something_differed(elsewhere):
    file = FileComparison("metrics.json", False, 0.1, 0.2, True)
    result = rerun.Rerun("cell", [file], elsewhere)
    assert _verdict(result.agrees, [result]) != "everything agrees"
    assert _verdict(result.agrees, [result]).startswith("1 cell" if elsewhere else "not everything")
    equal = rerun.Rerun("cell", [FileComparison("metrics.json", True, 0.0, 0.2, True)], elsewhere)
    assert _verdict(True, [equal]) == "everything agrees"


def test_mixed_versions_are_noted_and_refused_on_demand(verify, quick):
    record = read_record(Path(CELL))
    packages = record.provenance.packages | {"torch": "1.0"}
    origin = record.provenance.model_copy(update={"packages": packages})
    write_record(Path(CELL), record.model_copy(update={"provenance": origin}))
    write_reports(read_protocol())
    status, content, _ = verify()
    assert status == 0
    (note,) = [n for c in content["checks"] for n in c["notes"] if "mix versions" in n]
    assert "torch: 1.0 (1 cells)" in note
    status, content, _ = verify("--strict-versions")
    assert status == 1
    assert wrong(content) == [("versions of the libraries", "versions of torch")]


def test_scores_know_undefined_classes():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    values = recomputed.scores(
        "multilabel", labels, np.array([[0.9, 0.1], [0.2, 0.2], [0.1, 0.3]]), ["a", "b"]
    )
    assert values["b", "auroc"] is None
    assert values["", "macro_auroc"] == values["a", "auroc"] == 0.5
    assert values["", "accuracy"] == pytest.approx(5 / 6)
    assert torch.get_num_threads() == 1


@pytest.fixture
def rerun_verb(finished, tmp_path, monkeypatch, capsys, in_process) -> Callable[..., tuple[int, str, str]]:
    """Run `bench rerun` in a copy of the run: exit status, what it printed, and what went to stderr."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "rerun", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


NAME = "finetune/chest/moco/seed-0/fraction-0.5"


def test_a_named_cell_is_computed_again_and_nothing_else(rerun_verb):
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    status, out, err = rerun_verb(NAME, "--json")
    content = json.loads(out)
    assert (status, content["equal"], content["elsewhere"], content["computed_for_it"]) == (0, True, [], [])
    record = read_record(Path(CELL))
    assert record is not None
    assert {file["name"] for file in content["files"]} == set(record.files)
    assert err.splitlines() == ["rerun: computing again: finetune chest moco seed 0 0.5"]
    after = {
        file: file.read_bytes() for file in Path().rglob("*") if file.is_file() and ".bench" not in file.parts
    }
    assert after == before


def test_what_a_cell_builds_on_is_computed_first_where_it_is_kept_nowhere(rerun_verb):
    shutil.rmtree("results/chest/pretrain/moco/seed-0")
    status, out, _ = rerun_verb(NAME)
    assert status == 0
    assert "kept nowhere, so computed first: pretrain chest moco seed 0" in out
    assert out.splitlines()[-1] == f"{NAME} came out equal, bit for bit"


def test_a_cell_that_differs_says_by_how_much_and_exits_with_1(rerun_verb):
    Path(".bench").mkdir()  # where what was found is kept, once a run has begun
    metrics = json.loads(Path(CELL, "metrics.json").read_text())
    (auroc,) = (row for row in metrics if row["metric"] == "macro_auroc")
    auroc["value"] += 1e-6
    Path(CELL, "metrics.json").write_text(json.dumps(metrics))
    reseal(Path(CELL))
    status, out, _ = rerun_verb(NAME)
    assert status == 1
    (line,) = (line for line in out.splitlines() if line.startswith("metrics.json"))
    assert line.split()[1:3] == ["differs", "1e-06"]
    assert "not a bit should" in out.splitlines()[-1]
    record = read_record(Path(CELL))
    assert record is not None
    origin = record.provenance.model_copy(update={"python": "3.0"})
    write_record(Path(CELL), record.model_copy(update={"provenance": origin}))
    status, out, _ = rerun_verb(NAME)
    assert status == 1  # it differs, though by no more than it may
    assert "by no more than two seeds do" in out.splitlines()[-1]
    kept = json.loads(Path(".bench/checks/rerun.json").read_text())
    assert kept["fine"] is True
    assert kept["found"]["elsewhere"] == [f"Python 3.0, now Python {sys.version.split()[0]}"]


def test_a_cell_that_cannot_be_compared_is_refused(rerun_verb):
    status, _, err = rerun_verb("finetun/chest/moco/seed-0/fraction-0.5")
    assert status == 2
    assert "Did you mean finetune?" in err
    assert not Path(".bench").exists()  # a refused command leaves nothing
    edit("params.yaml", "finetune:\n  epochs: 1", "finetune:\n  epochs: 2")
    status, _, err = rerun_verb(NAME)
    assert status == 2
    assert "was computed by other code, settings or data" in err
    shutil.rmtree(CELL)
    status, _, err = rerun_verb(NAME)
    assert status == 2
    assert "has no results yet" in err
    assert "bench repro finetune@chest-moco" in err
