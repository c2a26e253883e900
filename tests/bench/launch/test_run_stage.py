import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.cells.files import read_json
from bench.cells.records import read_record
from bench.launch.run_cells import run_cells
from bench.launch.run_stage import run_stage
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.protocol.stage_specs import STAGES
from imssl.errors import Diverged
from tests.bench.stage_calls import stage_calls

METHODS = ("random-init", "moco", "moco-barlow")


@pytest.fixture
def run(prepared_project, capsys):
    """Run a stage and return its status and what it printed, on both streams."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        status = run_stage(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage: python -m bench.stage STAGE"),
        (["nothing"], "usage: python -m bench.stage STAGE"),
        (["pretrain", "chest"], "pretrain <dataset> <method>"),
        (["data", "lungs"], "dataset lungs is not in params.yaml; there are: chest, fundus"),
        (
            ["finetune", "chest", "simclr"],
            "method simclr is not in params.yaml; there are: random-init, moco",
        ),
        (["probe", "chest"], "Run: dvc repro"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(run, arguments, words):
    status, out, err = run(*arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err + out


def test_the_longest_cells_are_begun_first(prepared_project, edited, monkeypatch):
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    edited("seeds: [0]", "seeds: [0, 1]")
    begun: list[Cell] = []

    monkeypatch.setattr("bench.stages.finetune.compute", lambda job: begun.append(job.cell))
    run_cells("finetune", "chest", ["moco"], read_protocol())
    assert len(begun) == 2 * len(read_protocol().label_fractions)
    # All labels before few, for both seeds, as whole networks are trained on each of them.
    label_sets = [cell.labels for cell in begun]
    assert label_sets == sorted(label_sets, reverse=True)


def test_every_stage_has_a_module():
    folder = Path(bench.__file__).parent / "stages"
    assert {path.stem for path in folder.glob("[!_]*.py")} == set(STAGES)


def test_the_stages_compute_once_and_reuse_what_is_finished(run, edited):
    for arguments in stage_calls("chest", read_protocol()):
        status, out, err = run(*arguments)
        assert (status, err) == (0, "")
        assert "reused" not in out
        assert f"{arguments[0]} chest {arguments[-1] if len(arguments) == 3 else 'moco'} seed 0" in out
    results = {file: file.read_bytes() for file in Path("results").rglob("*") if file.is_file()}
    for arguments in stage_calls("chest", read_protocol()):
        status, out, _ = run(*arguments)
        assert status == 0
        assert all("reused" in line for line in out.splitlines())
    assert {file: file.read_bytes() for file in Path("results").rglob("*") if file.is_file()} == results
    # DVC deletes a stage's output before it runs it; the store brings the same bytes back.
    shutil.rmtree("results/chest/finetune/moco")
    run("finetune", "chest", "moco")
    assert {file: file.read_bytes() for file in Path("results").rglob("*") if file.is_file()} == results
    # Another seed is another cell, beside the first.
    edited("seeds: [0]", "seeds: [1, 0]")
    _, out, _ = run("pretrain", "chest", "moco")
    assert sorted(("seed 0" in line, "reused" in line) for line in out.splitlines()) == [
        (False, False),
        (True, True),
    ]
    # And a seed that is taken away leaves nothing behind.
    edited("seeds: [1, 0]", "seeds: [1]")
    run("pretrain", "chest", "moco")
    assert [path.name for path in Path("results/chest/pretrain/moco").iterdir()] == ["seed-1"]


def test_what_the_stages_leave_is_whole_and_consistent(run):
    for arguments in stage_calls("fundus", read_protocol()):
        assert run(*arguments)[0] == 0
    records = [read_record(file.parent) for file in Path("results").rglob("cell.json")]
    assert len(records) == len(METHODS) * (4 + 3 * 2)
    assert {record.status for record in records} == {"done"}
    assert len(list(Path(".bench/work").iterdir())) == 0
    assert not list(Path().rglob("*.partial"))
    ks = read_json(Path("results/fundus/ks/random-init/seed-0/metrics.json"))
    assert {row["fraction"] for row in ks} == {0.5}
    # Of the encoder as initialised CKA would show what became of its batch norm.
    assert read_json(Path("results/fundus/reuse/random-init/seed-0/metrics.json")) == []
    reuse = read_json(Path("results/fundus/reuse/moco/seed-0/metrics.json"))
    assert len([row for row in reuse if row["metric"] in ("cka_linear", "cka_rbf")]) == 2 * 4 * 2
    half, full = (Path(f"results/fundus/finetune/random-init/seed-0/fraction-{f}") for f in ("0.5", "1"))
    subset, everything = ((folder / "subset.csv").read_text().split() for folder in (half, full))
    assert set(subset) < set(everything)
    splits = [{line.rpartition(",")[2] for line in lines[1:]} for lines in (subset, everything)]
    assert splits == [{"train", "val"}] * 2
    with np.load(full / "features.npz", allow_pickle=False) as features:
        assert sorted(features) == sorted(
            ["ids", "patients", *(f"{when}_{i}" for when in ("before", "after") for i in range(1, 5))]
        )


def test_a_diverged_cell_fails_alone_and_takes_what_builds_on_it(run, edited, monkeypatch):
    edited("seeds: [0]", "seeds: [0, 1]")
    import bench.stages.pretrain as stage

    real = stage.pretrain

    def diverge_for_seed_0(encoder, build, recipe, *rest):
        if recipe.seed == 0:
            raise Diverged("loss is not finite after step 3 of 4")
        return real(encoder, build, recipe, *rest)

    monkeypatch.setattr(stage, "pretrain", diverge_for_seed_0)
    for arguments in stage_calls("chest", read_protocol()):
        status, out, _ = run(*arguments)
        assert status == 0
        failed = [line for line in out.splitlines() if "FAILED" in line]
        assert all("seed 0" in line and "loss is not finite" in line for line in failed)
        methods = 1 if len(arguments) == 3 else len(METHODS)
        assert len(failed) == methods * (2 if STAGES[arguments[0]].per_label_set else 1)
    record = read_record(Path("results/chest/ks/moco/seed-0"))
    assert record.status == "failed"
    assert record.files == {}
    # A failure is as final as a result: the same cell would fail again.
    assert "reused" in run("pretrain", "chest", "moco")[1]


def test_ctrl_c_keeps_finished_cells(run, edited, monkeypatch):
    edited("seeds: [0]", "seeds: [0, 1]")
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "1")
    import bench.stages.pretrain as stage

    real = stage.pretrain

    def stop_at_seed_1(encoder, build, recipe, *rest):
        if recipe.seed == 1:
            raise KeyboardInterrupt
        return real(encoder, build, recipe, *rest)

    monkeypatch.setattr(stage, "pretrain", stop_at_seed_1)
    status, _, err = run("pretrain", "chest", "moco")
    assert status == 130
    assert err == "stopped; finished cells are kept, dvc repro continues from them\n"
    assert list(Path(".bench/work").iterdir()) == []


def test_equal_seeds_give_equal_bytes(run):
    encoders = []
    for _ in range(2):
        shutil.rmtree(".bench", ignore_errors=True)
        torch.manual_seed(len(encoders))  # the global state must not matter
        assert run("pretrain", "chest", "moco")[0] == 0
        encoders.append(Path("results/chest/pretrain/moco/seed-0/encoder.safetensors").read_bytes())
    assert encoders[0] == encoders[1]


def test_a_cell_of_other_weights_than_the_protocol_is_refused(run):
    assert run("pretrain", "chest", "moco")[0] == 0
    for folder in (Path("results/chest/pretrain/moco/seed-0"), *Path(".bench/cells/pretrain").iterdir()):
        file = folder / "encoder.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
    status, _, err = run("finetune", "chest", "moco")
    assert status == 2
    assert "encoder.safetensors is not as it was when pretrain chest moco seed 0 was finished" in err


def test_what_a_cell_builds_on_is_read_from_the_store(run):
    """So cells can be computed before DVC has laid out anything, whatever has become of the results."""
    assert run("pretrain", "chest", "moco")[0] == 0
    shutil.rmtree("results")
    assert run("finetune", "chest", "moco")[0] == 0


def test_the_cell_of_the_store_knows_the_command_that_computes_it(run):
    run("pretrain", "chest", "random-init")
    record = read_record(Path("results/chest/pretrain/random-init/seed-0"))
    assert record.provenance.command == "dvc repro pretrain@chest-random-init"
    assert Cell(record.stage, record.dataset, record.method, record.seed).folder == "seed-0"


def test_a_stage_of_all_methods_computes_what_is_new_and_drops_who_has_left(run, edited):
    for arguments in stage_calls("chest", read_protocol())[: 2 * len(METHODS)]:
        assert run(*arguments)[0] == 0
    assert run("ks", "chest")[0] == 0
    edited("  moco-barlow:", "  moco-new: {file: moco.py, queue: 32}\n  moco-barlow:")
    for stage in ("pretrain", "finetune"):
        assert run(stage, "chest", "moco-new")[0] == 0
    lines = run("ks", "chest")[1].splitlines()
    assert {line.split()[2]: "reused" in line for line in lines} == {
        **dict.fromkeys(METHODS, True),
        "moco-new": False,
    }
    edited("  moco-new: {file: moco.py, queue: 32}\n", "")
    assert run("ks", "chest")[0] == 0
    assert {path.name for path in Path("results/chest/ks").iterdir()} == set(METHODS)
