"""What `bench clean` calls needed, and what it frees."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.cells import files, store
from bench.cells.files import FEATURES
from bench.cells.keys import Keys
from bench.cells.records import provenance
from bench.cells.store import WORK, cell_folder, checkpoint_file, keep, writing
from bench.cells.store.held_cells import this_process, write_holder
from bench.cli import main
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from bench.trust import storage
from bench.trust.storage import holdings

NOT_NEEDED = "f" * 64


def keep_cell(cell: Cell, key: str) -> Path:
    with writing(cell, key) as folder:
        (folder / "metrics.json").write_text("[]\n")
        keep(folder, cell, key, provenance(datetime.now(UTC), 1.0, "CPU", "dvc repro"))
    return cell_folder(cell, key)


@pytest.fixture
def kept(prepared_project: Path) -> dict[str, Path]:
    """A store with one thing of every kind that is needed, and one that is not."""
    cell, other = Cell("probe", "chest", "moco", 0), Cell("pretrain", "chest", "moco", 0)
    keys = Keys(read_protocol())
    paths = {"cell": keep_cell(cell, keys.key(cell)), "old cell": keep_cell(cell, NOT_NEEDED)}
    for name, key in {"checkpoint": keys.key(other), "old checkpoint": NOT_NEEDED}.items():
        paths[name] = checkpoint_file(key).parent
        paths[name].mkdir(parents=True)
        (paths[name] / "checkpoint.pt").write_bytes(b"x" * 5000)
    for name in ("work", "old work", "old work of nobody"):
        paths[name] = WORK / name.replace(" ", "-")
        paths[name].mkdir(parents=True)
    write_holder(WORK / "work.holder", "a stage at work")
    gone = replace(this_process("a killed stage"), started=1)
    (WORK / "old-work.holder").write_text(json.dumps(asdict(gone)))
    for name in ("features", "old features"):
        paths[name] = FEATURES / name.replace(" ", "-")
        paths[name].parent.mkdir(exist_ok=True)
        paths[name].write_bytes(b"x" * 5000)
    unread = time.time() - 31 * 86_400
    os.utime(paths["old features"], (unread, unread))
    paths["old notes"] = Path(".bench/imports.json")
    paths["old notes"].write_text("{}")
    return paths


def bench_clean(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["bench", "clean", *arguments])
    status = 0
    try:
        main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_only_what_nothing_needs_is_freed(kept, monkeypatch, capsys):
    (work,) = (kind for kind in holdings(read_protocol()) if kind.name == "unfinished folders")
    assert {item.path: item.is_needed for item in work.stored} == {
        kept["work"]: True,
        kept["old work"]: False,
        kept["old work of nobody"]: False,
    }
    status, out, _ = bench_clean(monkeypatch, capsys, "--dry-run")
    assert status == 0
    assert all(path.exists() for path in kept.values())
    assert "finished cells" in out
    status, _, err = bench_clean(monkeypatch, capsys)
    assert (status, "--yes" in err) == (2, True)  # nobody is there to be asked
    assert all(path.exists() for path in kept.values())
    assert bench_clean(monkeypatch, capsys, "--yes")[0] == 0
    assert {name for name, path in kept.items() if not path.exists()} == {
        name for name in kept if name.startswith("old")
    }
    assert not list(Path(".bench").rglob("*.removed"))
    assert [file.name for file in WORK.glob("*.holder")] == ["work.holder"]


def test_young_things_stay_where_an_age_is_asked_for(kept, monkeypatch, capsys):
    month_ago = time.time() - 30 * 86_400
    for path in [kept["old checkpoint"], *kept["old checkpoint"].iterdir()]:
        os.utime(path, (month_ago, month_ago))
    assert bench_clean(monkeypatch, capsys, "--yes", "--older-than", "20")[0] == 0
    assert not kept["old checkpoint"].exists()
    assert kept["old cell"].exists()


def test_cells_of_a_data_set_that_is_not_prepared_are_kept(kept):
    """Without the data nobody can say which keys are the protocol's."""
    Path("data/chest/card.json").unlink()
    kinds = {kind.name: kind for kind in holdings(read_protocol())}
    assert len(kinds["finished cells"].stored) == len(kinds["checkpoints"].stored) == 2
    assert not kinds["finished cells"].to_free(0)
    # Its cell is finished, whatever it is of.
    assert [item.path for item in kinds["checkpoints"].to_free(0)] == [kept["old checkpoint"]]


def test_what_other_checkouts_may_need_is_kept_in_a_shared_store(kept, tmp_path, monkeypatch, capsys):
    """As where IMSSL_BENCH_STORE names the folder, which is read when the suite is imported."""
    shared = tmp_path / "shared"
    Path(".bench").rename(shared)
    for module in (files, storage):
        monkeypatch.setattr(module, "SHARED_STORE", shared)
    monkeypatch.setattr(storage, "FEATURES", shared / "features")
    monkeypatch.setattr(store, "WORK", shared / "work")
    status, out, _ = bench_clean(monkeypatch, capsys, "--yes")
    assert (status, "other checkouts may need them" in " ".join(out.split())) == (0, True)
    left = {name for name, path in kept.items() if (shared / path.relative_to(".bench")).exists()}
    assert left == {*kept} - {"old work", "old work of nobody", "old features"}


@pytest.mark.slow
def test_the_cache_of_dvc_is_cleared_of_what_no_lock_names(prepared_project, monkeypatch, capsys):
    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", "--quiet", *arguments], check=True)

    dvc("init", "--no-scm")
    Path("out").mkdir()
    for content in ("first", "second"):
        Path("out/file.txt").write_text(content)
        dvc("add", "out")
    (cache,) = (kind for kind in holdings(read_protocol()) if kind.name == "cache of DVC")
    assert sorted(item.is_needed for item in cache.stored) == [False, False, True, True]
    assert bench_clean(monkeypatch, capsys, "--yes")[0] == 0
    left = list(Path(".dvc/cache/files/md5").glob("*/*"))
    assert {path.read_text() for path in left if path.suffix != ".dir"} == {"second"}
