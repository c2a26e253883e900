"""A full disk, a read-only folder, too little memory, a killed worker: one message, nothing half-written."""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import imssl.pretrain
from bench.cells.files import CELL_FILE, read_json
from bench.cells.records import read_record
from bench.cells.store import file_checksums
from bench.cli import main
from bench.launch.run_stage import run_stage
from bench.machine.failures import machine_failure
from bench.protocol.protocol import read_protocol
from bench.summary.read import read_results
from tests.bench.stage_calls import stage_calls

ENCODERS = "results/chest/pretrain/moco/seed-*/encoder.safetensors"


@pytest.fixture
def two_seeds(edited) -> None:
    edited("seeds: [0]", "seeds: [0, 1]")


@pytest.fixture
def refused(capsys):
    def run(*stage: str) -> str:
        status = run_stage(list(stage))
        message = capsys.readouterr().err
        assert status == 2, message
        assert message.startswith("error: ")
        assert "Traceback" not in message
        return message

    return run


def digests() -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(Path().glob(ENCODERS))]


def assert_nothing_is_half_written() -> None:
    for cell in [*Path(".bench/cells").glob("*/*"), *Path("results").rglob("seed-*")]:
        if not cell.name.endswith(".partial") and "curves" not in cell.parts:
            record = read_record(cell)
            assert record is not None, cell
            assert record.files == file_checksums(cell)


@pytest.fixture
def mount(tmp_path_factory) -> Iterator[Path]:
    """A small file system of its own; only root may make one."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    os.chdir("/")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as file:
        room = os.statvfs(folder)
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - leave)))
    return filler


def test_a_full_disk_is_one_message_and_the_run_goes_on_when_there_is_room(
    prepared_project, two_seeds, mount, refused, monkeypatch
):
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
    assert run_stage(["pretrain", "chest", "moco"]) == 0
    undisturbed = digests()
    assert len(undisturbed) == 2
    shutil.rmtree("results")
    shutil.rmtree(".bench")
    project = shutil.copytree(prepared_project, mount / "project")
    monkeypatch.chdir(project)
    reached = set()
    # Room for nothing, for a part of a checkpoint, of the encoder, of the copy in results.
    for leave, workers in ((0, "1"), (700, "2"), (2500, "1")):
        filler = fill(mount, leave * 1024)
        monkeypatch.setenv("IMSSL_BENCH_WORKERS", workers)
        message = refused("pretrain", "chest", "moco")
        assert "No space left on device" in message
        assert "dvc repro continues" in message
        assert_nothing_is_half_written()
        reached |= {path.name for path in Path(".bench").rglob("*")}
        filler.unlink()
    assert "checkpoint.pt" in reached
    assert run_stage(["pretrain", "chest", "moco"]) == 0
    assert digests() == undisturbed


def test_a_file_that_may_not_grow_is_a_full_disk(prepared_project, refused):
    """The portable form: a limit on the length of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        message = refused("pretrain", "chest", "moco")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in message
    assert "Free some space" in message
    assert_nothing_is_half_written()
    assert not list(Path(".bench/cells").glob("*/*"))
    assert run_stage(["pretrain", "chest", "moco"]) == 0


def test_a_read_only_folder_is_one_message(prepared_project, mount, refused, monkeypatch, capsys):
    project = shutil.copytree(prepared_project, mount / "project")
    monkeypatch.chdir(project)
    before = file_checksums(project)
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    for stage in (("data", "chest"), ("pretrain", "chest", "moco"), ("inputs",), ("report",)):
        message = refused(*stage)
        assert "Read-only file system" in message
        assert "Make the folder writable" in message
    for arguments in (["profile", "use", "demo", "--force"], ["report"]):
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "Read-only file system" in capsys.readouterr().err
    assert file_checksums(project) == before


def test_a_worker_killed_for_lack_of_memory_is_one_message(prepared_project, two_seeds, refused, monkeypatch):
    import bench.stages.pretrain as stage

    real = stage.pretrain

    def killed_at_seed_1(encoder, build, recipe, *rest):
        if recipe.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(encoder, build, recipe, *rest)

    monkeypatch.setenv("IMSSL_BENCH_WORKERS", "2")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "pretrain", killed_at_seed_1)
        message = refused("pretrain", "chest", "moco")
    assert "its process was killed, perhaps because memory ran out" in message
    assert "IMSSL_BENCH_WORKERS=1" in message
    assert_nothing_is_half_written()
    assert run_stage(["pretrain", "chest", "moco"]) == 0


def test_a_stage_killed_as_a_whole_says_so(monkeypatch, capsys):
    import bench.launch.warm_start
    import bench.machine.system
    import bench.stage

    monkeypatch.setattr(bench.machine.system, "end_with_parent", lambda: None)
    monkeypatch.setattr(bench.launch.warm_start, "run_warm", lambda arguments: 128 + signal.SIGKILL)
    monkeypatch.setenv("IMSSL_BENCH_WARM_START", "1")
    assert bench.stage.main() == 137
    assert "the stage was killed, perhaps because memory ran out" in capsys.readouterr().err


ERRORS = {
    "memory": (MemoryError(), ["not enough memory", "IMSSL_BENCH_WORKERS=1"]),
    "torch's allocator": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        ["not enough memory"],
    ),
    "memory of the GPU": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        ["batch_size"],
    ),
    "the GPU": (RuntimeError("CUDA error: an illegal memory access was encountered\nx"), ["nvidia-smi"]),
    "permission": (PermissionError(13, "Permission denied", "results/x"), ["results/x", "writable"]),
}


@pytest.mark.parametrize(("error", "workers"), [*((error, "2") for error in ERRORS), ("memory", "1")])
def test_what_the_machine_lacks_is_said_in_one_message(
    prepared_project, two_seeds, refused, monkeypatch, error, workers
):
    import bench.stages.pretrain as stage

    raised, words = ERRORS[error]

    def fail(*_):
        raise raised

    monkeypatch.setattr(stage, "pretrain", fail)
    monkeypatch.setenv("IMSSL_BENCH_WORKERS", workers)
    message = refused("pretrain", "chest", "moco")
    assert [word for word in words if word not in message] == []
    assert message.count("dvc repro continues") == 1


def test_a_bug_is_not_taken_for_the_machine(prepared_project, monkeypatch, capfd):
    import bench.stages.pretrain as stage

    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(stage, "pretrain", fail)
    assert run_stage(["pretrain", "chest", "moco"]) != 0
    printed = capfd.readouterr().err
    assert "Traceback" in printed  # where in the code, for who wrote it
    assert "pretrain chest moco seed 0: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in printed
    assert "memory" not in printed
    assert machine_failure(KeyError("x")) is None


def test_a_method_that_really_diverges_is_a_hole_and_the_others_run(prepared_project, edited, capsys):
    edited("    projection: 16\n", "    projection: 16\n    scale: 1.0e+38\n")
    for arguments in stage_calls("chest", read_protocol()):
        assert run_stage(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        failed = {line.split()[2] for line in lines if "FAILED" in line}
        assert failed == ({"moco-barlow"} & {line.split()[2] for line in lines})
    states = read_results(read_protocol()).states
    of = {cell.method: set() for cell in states}
    for cell, state in states.items():
        if cell.dataset == "chest":
            of[cell.method].add(state.status)
            assert state.status != "failed" or "not finite" in state.reason
    assert of == {"moco-barlow": {"failed"}, "random-init": {"done"}, "moco": {"done"}}
    assert not list(Path(".bench/checkpoints").glob("*"))


def eyes(folder: Path, grades: list[int]) -> None:
    """EyePACS of patients with these grades, both eyes alike."""
    draw = np.random.default_rng(0)
    rows = ["image,level"]
    folder.mkdir()
    for patient, grade in enumerate(grades):
        for eye in ("left", "right"):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{patient}_{eye}.png")
            rows.append(f"{patient}_{eye},{grade}")
    (folder / "trainLabels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("grading", "grades"),
    [
        ("five", [0] * 11 + [4]),  # a grade of one patient, three of nobody
        ("binary", [0] * 12),  # one class alone
    ],
)
def test_empty_classes_and_tiny_fractions_have_documented_outcomes(
    project, edited, tmp_path, grading, grades
):
    eyes(tmp_path / "eyes", grades)
    edited("[0.5, 1.0]", "[0.000001, 1.0]")
    edited("  batch_size: 16\n  optim", "  batch_size: 2\n  optim")
    edited("samples: 20", "samples: 4")
    edited("baseline: moco", "baseline: random-init")
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text[: text.index("  moco:")] + text[text.index("encoder:") :])
    edited(
        "source: phantom\n    kind: fundus\n    patients: 30\n    seed: 2",
        f"source: eyepacs\n    path: {tmp_path / 'eyes'}\n    grading: {grading}",
    )
    assert run_stage(["data", "fundus"]) == 0
    for arguments in stage_calls("fundus", read_protocol()):
        assert run_stage(arguments) == 0
    for file in Path("results/fundus").rglob(CELL_FILE):
        record = read_record(file.parent)
        assert record.status == "done" or record.reason
    metrics = read_json(Path("results/fundus/finetune/random-init/seed-0/fraction-1/metrics.json"))
    smallest = read_json(Path("results/fundus/finetune/random-init/seed-0/fraction-1e-06/metrics.json"))
    few, many = (
        {row["metric"]: row["value"] for row in rows if "class" not in row} for rows in (smallest, metrics)
    )
    # The smallest subset still shows every class that there is.
    assert 1 <= few["labelled_images"] <= many["labelled_images"]
    if len(set(grades)) == 1:
        assert many["auroc" if grading == "binary" else "macro_auroc"] is None
