import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.cells import store
from bench.cells.files import CELL_FILE, PROVENANCE_FILE
from bench.cells.records import provenance, read_record
from bench.protocol.cell import Cell
from imssl.errors import UserError
from imssl.settings.labels import LabelSet

CELL = Cell("pretrain", "chest", "moco", 0)
KEY = "ab" * 32


def folders_at_work() -> list[Path]:
    return sorted(path for path in Path(".bench/work").iterdir() if path.is_dir())


@pytest.fixture
def kept(project: Path) -> Path:
    """The folder of a finished cell with two files."""
    with store.writing(CELL, KEY) as folder:
        (folder / "metrics.json").write_text('{"x": 1}\n')
        (folder / "part").mkdir()
        (folder / "part" / "weights.bin").write_bytes(b"\0\1\2")
        store.keep(folder, CELL, KEY, provenance(datetime.now(UTC), 1.5, "CPU", "dvc repro"))
    return store.cell_folder(CELL, KEY)


def test_a_finished_cell_is_found_with_its_record(kept):
    record = store.finished(CELL, KEY)
    assert record is not None
    assert (record.key, record.stage, record.dataset, record.method, record.seed) == (
        KEY,
        "pretrain",
        "chest",
        "moco",
        0,
    )
    assert (record.status, record.reason, record.provenance.seconds) == ("done", None, 1.5)
    assert sorted(record.files) == ["metrics.json", "part/weights.bin"]
    assert list(Path(".bench/work").iterdir()) == []
    assert not (kept / CELL_FILE).with_suffix(".json.partial").exists()


DAMAGES = {
    "another byte": lambda folder: (folder / "part" / "weights.bin").write_bytes(b"\0\1\3"),
    "torn": lambda folder: os.truncate(folder / "metrics.json", 3),
    "a file gone": lambda folder: (folder / "metrics.json").unlink(),
    "a file more": lambda folder: (folder / "more.txt").write_text("x"),
    "a torn record": lambda folder: os.truncate(folder / CELL_FILE, 40),
    "no record": lambda folder: (folder / CELL_FILE).unlink(),
    "an empty record": lambda folder: os.truncate(folder / CELL_FILE, 0),
    "a record that is not text": lambda folder: (folder / CELL_FILE).write_bytes(b"\xff\xfe"),
    "the record of another cell": lambda folder: (folder / CELL_FILE).write_text(
        (folder / CELL_FILE).read_text().replace(KEY, "cd" * 32)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cell_is_not_used_again_and_can_be_replaced(kept, damage):
    DAMAGES[damage](kept)
    assert store.finished(CELL, KEY) is None
    with store.writing(CELL, KEY) as folder:
        (folder / "metrics.json").write_text("{}\n")
        store.keep(folder, CELL, KEY, provenance(datetime.now(UTC), 1.0, "CPU", "dvc repro"))
    record = store.finished(CELL, KEY)
    assert record is not None
    assert list(record.files) == ["metrics.json"]
    assert sorted(file.name for file in kept.iterdir()) == [CELL_FILE, "metrics.json", PROVENANCE_FILE]


def test_a_record_says_labels_per_class_for_k_shot_alone(project):
    """Of any other cell it is the record of before, to the byte, and its checksum holds."""
    origin = provenance(datetime.now(UTC), 1.5, "CPU", "dvc repro")
    for labels, shown in ((LabelSet(0.5), False), (LabelSet(per_class=5), True)):
        cell = Cell("knn", "chest", "moco", 0, labels)
        with store.writing(cell, KEY) as folder:
            store.keep(folder, cell, KEY, origin)
        record = store.finished(cell, KEY)
        assert (record.fraction, record.labels_per_class) == (labels.fraction, labels.per_class)
        text = (store.cell_folder(cell, KEY) / CELL_FILE).read_text()
        assert ("labels_per_class" in text) == shown


def test_a_failed_cell_is_kept_with_its_reason(project):
    with store.writing(CELL, KEY) as folder:
        store.keep(
            folder, CELL, KEY, provenance(datetime.now(UTC), 1.0, "CPU", "dvc repro"), "loss is not finite"
        )
    record = store.finished(CELL, KEY)
    assert record is not None
    assert (record.status, record.reason, record.files) == ("failed", "loss is not finite", {})


def test_a_copy_shares_nothing_with_the_store(kept):
    target = Path("results/chest/pretrain/moco/seed-0")
    store.copy_out(CELL, KEY)
    for file in (path for path in target.rglob("*") if path.is_file()):
        original = kept / file.relative_to(target)
        assert not file.is_symlink()
        assert file.stat().st_ino != original.stat().st_ino
        assert file.stat().st_nlink == original.stat().st_nlink == 1
        assert file.read_bytes() == original.read_bytes()
    (target / "metrics.json").write_text("edited")
    (target / "part" / "weights.bin").unlink()
    assert store.finished(CELL, KEY) is not None
    assert read_record(target) == read_record(kept)


def test_an_error_while_writing_leaves_nothing(project):
    def fail() -> None:
        with store.writing(CELL, KEY) as folder:
            (folder / "metrics.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.finished(CELL, KEY) is None
    assert list(Path(".bench/work").iterdir()) == []
    assert not Path(".bench/cells").exists()


@pytest.mark.parametrize("moment", ["before the record", "before the rename"])
def test_a_kill_leaves_no_half_cell(project, moment):
    program = f"""
import os, signal
from datetime import UTC, datetime
from pathlib import Path
from bench.cells import store
from bench.protocol.cell import Cell
from bench.cells.records import provenance

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if {moment!r} == "before the record":
    store.write_record = kill
else:
    Path.rename = kill
cell, key = Cell("pretrain", "chest", "moco", 0), {KEY!r}
with store.writing(cell, key) as folder:
    (folder / "metrics.json").write_text("{{}}")
    store.keep(folder, cell, key, provenance(datetime.now(UTC), 1.0, "CPU", "dvc repro"))
"""
    root = Path(store.__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(root)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(folders_at_work()) == 1
    assert not store.cell_folder(CELL, KEY).exists()
    assert store.finished(CELL, KEY) is None


def test_the_next_cell_clears_what_a_killed_process_left(project):
    program = f"""
import os, signal
from bench.cells import store
from bench.protocol.cell import Cell
with store.writing(Cell("pretrain", "chest", "moco", 0), {KEY!r}) as folder:
    (folder / "metrics.json").write_text("{{}}")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(store.__file__).parents[3]
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    (left,) = folders_at_work()
    with store.writing(CELL, KEY) as first, store.writing(CELL, KEY) as second:
        assert not left.exists()
        assert folders_at_work() == sorted([first, second])  # those at work stay


def test_two_processes_may_finish_the_same_cell(project):
    program = f"""
import sys
from datetime import UTC, datetime
from bench.cells import store
from bench.protocol.cell import Cell
from bench.cells.records import provenance
origin = provenance(datetime.now(UTC), 1.0, "CPU", "dvc repro")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    with store.writing(Cell("pretrain", "chest", "moco", 0), {KEY!r}) as folder:
        (folder / "metrics.json").write_text("{{}}")
        store.keep(folder, Cell("pretrain", "chest", "moco", 0), {KEY!r}, origin)
"""
    root = Path(store.__file__).parents[3]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate() == ("", "")
        assert process.returncode == 0
    assert store.finished(CELL, KEY) is not None
    assert list(Path(".bench/work").iterdir()) == []


def test_an_edited_record_is_noticed(kept):
    file = kept / CELL_FILE
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="changed after it was written"):
        read_record(kept)
    assert store.finished(CELL, KEY) is None


def test_a_pipe_among_the_unfinished_cells_is_not_waited_for(project):
    Path(".bench/work").mkdir(parents=True)
    os.mkfifo(".bench/work/pipe")
    with store.writing(CELL, KEY) as folder:
        assert folder.is_dir()
    assert [path.name for path in Path(".bench/work").iterdir()] == ["pipe"]


def test_a_shared_store_must_be_the_same_folder_for_every_checkout(tmp_path, monkeypatch):
    store.check_place()
    monkeypatch.setattr(store, "SHARED_STORE", tmp_path / "new" / "store")
    store.check_place()
    assert (tmp_path / "new" / "store").is_dir()
    monkeypatch.setattr(store, "SHARED_STORE", Path("store"))
    with pytest.raises(UserError, match="Give an absolute path"):
        store.check_place()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(store, "SHARED_STORE", tmp_path / "file" / "store")
    with pytest.raises(UserError, match="is no folder to write in"):
        store.check_place()
