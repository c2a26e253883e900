import json

import pytest

from bench.cells import store
from bench.cells.keys import Keys
from bench.forecast import estimate as estimate_file
from bench.forecast.estimate import RunEstimate
from bench.forecast.outlook import OUTLOOK_FILE, Outlook, note_dataset, note_run, read_outlook
from bench.protocol.cell import all_cells
from bench.protocol.protocol import read_protocol
from tests.bench.forecast.test_estimate import keep


def test_what_is_left_is_expected_at_the_rate_of_its_like():
    outlook = Outlook(
        expected={"pretrain@a-m": 10.0, "pretrain@b-m": 20.0, "ks@a": 1.0},
        took={"pretrain@a-m": 30.0},
    )
    assert outlook.rate("pretrain") == outlook.rate("ks") == 3.0  # nothing is known of ks but the machine
    assert outlook.seconds_left(besides="") == 3 * 20 + 3 * 1
    assert outlook.seconds_left(besides="ks@a") == 3 * 20
    assert outlook.seconds_done(besides="") == 30
    assert outlook.seconds_done(besides="pretrain@a-m") == 0


def test_the_run_is_noted_once_and_finished_stages_with_what_they_took(prepared_project):
    protocol = read_protocol()
    for cell in all_cells(protocol):
        if cell.dvc_stage == "ks@chest":
            keep(cell, protocol, 7.0)
    keys = Keys(protocol)
    note_run(keys)
    outlook = read_outlook()
    assert outlook.took == {"ks@chest": 7.0 * len(protocol.methods)}
    expected = RunEstimate(keys)
    assert outlook.expected.keys() == {cell.dvc_stage for cell in all_cells(protocol)}
    assert sum(outlook.expected.values()) == pytest.approx(
        sum(map(expected.expected_seconds, all_cells(protocol)))
    )


def test_a_data_set_that_has_been_prepared_is_no_longer_a_guess(project, prepared_data):
    keys = Keys(read_protocol())
    note_run(keys)
    guessed = read_outlook().expected
    (project / "data").symlink_to(prepared_data)
    note_dataset(keys, "chest")
    known = read_outlook().expected
    changed = {name for name in known if known[name] != guessed[name]}
    assert changed
    assert all(name.partition("@")[2].startswith("chest") for name in changed)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"other": 1}', '{"expected": 3'])
def test_a_damaged_note_is_no_harm(project, content):
    OUTLOOK_FILE.parent.mkdir()
    OUTLOOK_FILE.write_text(content)
    assert read_outlook() == Outlook()


def test_a_stage_reads_the_records_of_its_own_cells_only(prepared_project, monkeypatch):
    """The work of a progress bar must not grow with the square of the run."""
    keys = Keys(read_protocol())
    note_run(keys)
    read = []
    real = estimate_file.read_record
    monkeypatch.setattr(estimate_file, "read_record", lambda folder: read.append(folder) or real(folder))
    cells = [cell for cell in all_cells(keys.protocol) if cell.dvc_stage == "ks@chest"]
    RunEstimate(keys, cells, rate=read_outlook().rate("ks"))
    assert read == [store.cell_folder(cell, keys.key(cell)) for cell in cells]
    assert json.loads(OUTLOOK_FILE.read_text()).keys() == {"expected", "took"}
