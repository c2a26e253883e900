import json
import lzma
import shutil
from pathlib import Path

import pytest

from bench.cells.files import METRICS_FILE, cell_path, read_json
from bench.cli import main
from bench.commands.results.rerun import published_verdict
from bench.protocol.cell import Cell
from bench.studies.published_cell import ComparedNumber, PublishedRerun, rerun_published
from imssl.errors import UserError
from imssl.settings.labels import EVERYTHING

FROZEN = Cell("frozen", "chest", "moco", 0, EVERYTHING)


def change(study: Path, number: float | None = None, **provenance) -> None:
    """Let the study say another AUROC of the cell, or that its chain was computed elsewhere."""
    file = study / "chains/chest/moco/seed-0/chain.json.xz"
    content = json.loads(lzma.decompress(file.read_bytes()))
    for cell in content["cells"]:
        cell["provenance"] |= provenance
        if number is not None and (cell["record"]["stage"], cell["record"]["fraction"]) == ("frozen", 1.0):
            cell["record"]["files"]["predictions.csv"] = "0" * 64
            next(row for row in cell["metrics"] if row["metric"] == "macro_auroc")["value"] = number
    file.write_bytes(lzma.compress(json.dumps(content).encode()))


def rerun(monkeypatch, capsys, *more: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["bench", "rerun", FROZEN.name, "--study", "first", *more])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out


@pytest.mark.slow
def test_a_published_cell_comes_out_bit_for_bit_without_results_or_another_params(here, monkeypatch, capsys):
    """Only the data set has to be there, and params.yaml may be another one's."""
    stored = read_json(cell_path(FROZEN) / METRICS_FILE)
    for folder in ("results", ".bench"):
        shutil.rmtree(folder, ignore_errors=True)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("temperature: 0.2", "temperature: 0.9"))
    status, said = rerun(monkeypatch, capsys)
    assert "computed first: pretrain chest moco seed 0" in said
    assert "bit for bit: predictions.csv" in said
    assert said.rstrip().endswith("came out as published, bit for bit")
    assert status == 0
    assert not Path("results").exists()
    again = rerun_published("first", FROZEN.name, lambda *_: None)
    assert {row.name: row.now for row in again.numbers if ", " not in row.name} == {
        row["metric"]: row["value"]
        for row in stored
        if not row.get("class") and "seconds" not in row["metric"]
    }


@pytest.mark.slow
def test_what_is_another_number_is_shown_with_where_it_was_computed(here, monkeypatch, capsys):
    change(here, number=0.25, python="3.99.0")
    status, said = rerun(monkeypatch, capsys, "--json")
    told = json.loads(said)
    (auroc,) = (row for row in told["numbers"] if row["name"] == "macro_auroc")
    assert (status, told["equal"], auroc["published"]) == (1, False, 0.25)
    assert auroc["between_seeds"] is None  # the study has one seed
    assert told["other_files"] == ["predictions.csv"]
    assert any(origin.startswith("Python 3.99.0, now Python ") for origin in told["elsewhere"])


@pytest.mark.parametrize(
    ("now", "elsewhere", "said"),
    [
        (0.55, ["H200, now EPYC"], "none of its 1 numbers by more than the study's seeds do"),
        (0.75, ["H200, now EPYC"], "1 of its 1 numbers by more"),
        (None, ["H200, now EPYC"], "1 of its 1 numbers by more"),
        (0.55, [], "not a bit should"),
    ],
)
def test_how_far_a_number_may_be_off_is_what_seeds_differ_by(now, elsewhere, said):
    numbers = [ComparedNumber("auroc", published=0.5, now=now, between_seeds=0.1)]
    result = PublishedRerun("frozen", [], ["predictions.csv"], numbers, elsewhere, 1.0, [])
    assert said in published_verdict(result)


def test_a_cell_of_numbers_alone_is_judged_by_them():
    """As those of feature reuse, which keep no predictions."""
    same, other = (ComparedNumber("cka", published=0.5, now=now, between_seeds=0.1) for now in (0.5, 0.51))
    assert PublishedRerun("reuse", [], [], [same], [], 1.0, []).equal
    assert not PublishedRerun("reuse", [], [], [same, other], [], 1.0, []).equal
    undefined_then = ComparedNumber("cka", published=None, now=0.5, between_seeds=None)
    assert not PublishedRerun("reuse", [], [], [undefined_then], [], 1.0, []).equal


@pytest.mark.parametrize(
    ("study", "cell", "said"),
    [
        ("second", FROZEN.name, "second"),
        ("first", "frozen/chest/mocco/seed-0/fraction-1", "moco"),
    ],
)
def test_what_there_is_not_is_one_message(here, study, cell, said):
    with pytest.raises(UserError, match=said):
        rerun_published(study, cell, lambda *_: None)


def test_a_chain_that_the_study_does_not_hold_is_said(here):
    shutil.rmtree(here / "chains/chest/moco")
    with pytest.raises(UserError, match="holds no numbers"):
        rerun_published("first", FROZEN.name, lambda *_: None)
