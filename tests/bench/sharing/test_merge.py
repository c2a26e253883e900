import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cells import store
from bench.cells.files import cell_path
from bench.cells.keys import Keys
from bench.cells.records import read_record, write_record
from bench.cli import main
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
from bench.sharing.differences import different_values
from bench.sharing.merge import merge
from bench.sharing.other_checkout import other_checkout
from imssl.errors import UserError


def without_moco(results: Path) -> None:
    for folder in [*results.glob("chest/*/moco"), *results.glob("chest/provenance/*/moco")]:
        shutil.rmtree(folder)


def test_two_halves_become_a_whole(checkout, copy_of_run):
    other = copy_of_run("other")
    without_moco(checkout / "results")
    merged = merge(other, read_protocol())
    assert {cell.method for cell in merged.brought_in} == {"moco"}
    assert (len(merged.brought_in), merged.had, merged.refused) == (10, 10, {})
    keys = Keys(read_protocol())
    for cell in all_cells(read_protocol()):
        assert store.finished(cell, keys.key(cell)) is not None


def test_a_cell_of_the_store_is_hashed_once(checkout, copy_of_run, monkeypatch):
    other, hashed, checksums = copy_of_run("other"), [], store.file_checksums

    def noted(folder):
        hashed.append(folder)
        return checksums(folder)

    first = merge(other, read_protocol())
    monkeypatch.setattr(store, "file_checksums", noted)
    again = merge(other, read_protocol())
    assert len(hashed) == len(set(hashed)) == again.had == 20
    assert (again.hardware, again.versions) == (first.hardware, first.versions)


def test_other_settings_are_refused_and_named(checkout, copy_of_run):
    other = copy_of_run("other")
    file = checkout / "params.yaml"
    file.write_text(file.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    merged = merge(other, read_protocol())
    (reason,) = merged.refused
    assert "finetune.learning_rate: 0.002 here, 0.001 there" in reason
    assert {cell.stage for cell in merged.refused[reason]} == {"finetune", "reuse", "ks"}


def test_a_damaged_cell_is_refused(checkout, copy_of_run):
    other = copy_of_run("other")
    without_moco(checkout / "results")
    file = other / "results/chest/pretrain/moco/seed-0/history.csv"
    file.write_text(file.read_text() + "\n")
    merged = merge(other, read_protocol())
    assert [
        cell.stage for cell in merged.refused["files that are not as they were when the cell was finished"]
    ] == ["pretrain"]
    assert len(merged.brought_in) == 9


def test_methods_that_are_not_in_params_yaml_are_counted(checkout, copy_of_run):
    other = copy_of_run("other")
    file = checkout / "params.yaml"
    text = file.read_text().replace("baseline: moco", "baseline: random-init")
    file.write_text(text[: text.index("  moco:")] + text[text.index("encoder:") :])
    assert merge(other, read_protocol()).elsewhere == {"method moco": 10}


def test_mixed_hardware_and_versions_are_shown(checkout, copy_of_run, monkeypatch, capsys):
    other = copy_of_run("other")
    without_moco(checkout / "results")
    for folder in (other / "results").glob("chest/pretrain/moco/seed-0"):
        record = read_record(folder)
        packages = record.provenance.packages | {"torch": "1.0"}
        origin = record.provenance.model_copy(
            update={"device": "a GPU of Ben, 1 thread", "packages": packages}
        )
        write_record(folder, record.model_copy(update={"provenance": origin}))
    monkeypatch.setattr(sys, "argv", ["bench", "merge", str(other)])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    assert not ended.value.code
    assert "brought in 10 finished cells" in out
    assert "mixed hardware" in out
    assert "1 cells of encoders on a GPU of Ben" in out
    assert "mixed versions of torch: 1.0 (1 cells)" in out


def test_what_differs_is_named_by_its_path():
    ours, theirs = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}}
    assert list(different_values(ours, theirs)) == [("a.c", 2, 5), ("d", 3, None)]


@pytest.mark.parametrize("where", ["no-such-branch", "--upload-pack=touch x", "ext::sh -c touch% x"])
def test_what_cannot_be_fetched_is_one_message(checkout, where):
    with pytest.raises(UserError), other_checkout(where):
        pass
    assert not Path("x").exists()


def test_the_checkout_itself_and_a_folder_without_results_are_refused(checkout, tmp_path):
    for where, words in ((".", "is this checkout"), (str(tmp_path), "holds no results")):
        with pytest.raises(UserError, match=words), other_checkout(where):
            pass


@pytest.mark.slow
def test_a_branch_whose_results_are_in_dvcs_cache(checkout):
    """By git and DVC themselves, in a project whose only output is one cell."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    dvc = [sys.executable, "-m", "dvc"]
    Path(".gitignore").write_text("/results\n/data\n/.bench\n")
    cell = "results/chest/pretrain/moco/seed-0"
    Path("dvc.yaml").write_text(f"stages:\n  a:\n    cmd: 'true'\n    outs: [{cell}]\n")
    for command in (
        ["git", "init", "--quiet"], [*dvc, "init", "--quiet"], [*dvc, "commit", "--quiet", "--force"],
        ["git", "add", "--all"], [*git, "commit", "--quiet", "--message", "results"],
        ["git", "branch", "anna"],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    for where in ("anna", f"{Path.cwd()}@anna", f"file://{Path.cwd()}"):
        with other_checkout(where) as folder:
            assert (folder / cell / "cell.json").read_bytes() == Path(cell, "cell.json").read_bytes()
        assert not folder.exists()
    with pytest.raises(UserError, match="no commit or branch ben"), other_checkout(f"{Path.cwd()}@ben"):
        pass


@pytest.mark.slow
def test_cells_of_a_shared_store_are_found_by_another_checkout(checkout, copy_of_run, tmp_path):
    """In processes of their own, as the store is named by the environment."""
    other = copy_of_run("other")
    shutil.rmtree(other / "results")
    script = (
        "from bench.cells.keys import Keys; from bench.cells.store.adopting import adopt\n"
        "from bench.cells import store; from bench.protocol.cell import all_cells\n"
        "from bench.protocol.protocol import read_protocol\n"
        "keys = Keys(read_protocol()); cells = list(all_cells(keys.protocol))\n"
        "adopted = len(adopt(cells, keys))\n"
        "print(adopted, sum(store.finished(cell, keys.key(cell)) is not None for cell in cells))"
    )
    environment = {"IMSSL_BENCH_STORE": str(tmp_path / "store")}
    told = []
    for folder in (checkout, other):
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, env=os.environ | environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told.append(ended.stdout.split())
    assert told == [["20", "20"], ["0", "20"]]
    assert not list(checkout.glob(".bench/cells/*"))
    assert cell_path(next(all_cells(read_protocol()))).is_dir()
