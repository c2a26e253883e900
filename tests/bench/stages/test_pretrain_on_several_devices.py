"""A real pretraining cell under torchrun on two CPU processes, beside the same cell in one."""

import json
import sys

import numpy as np
import pytest

from bench.cells.files import HISTORY_FILE, cell_path, read_table
from bench.cells.keys import Keys
from bench.cells.records import read_record
from bench.launch.run_cells import run_cells
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError

CELL = Cell("pretrain", "chest", "moco", 0)


@pytest.fixture
def history(prepared_project, edited):
    """The training curve of the cell with some devices, and its key."""
    # So slow that rounding in another order does not grow into a difference to see.
    edited("learning_rate: 0.03\n    momentum", "learning_rate: 0.0001\n    momentum")

    def go(lines=""):
        protocol = edited("  threads: 1\n", f"  threads: 1\n{lines}") if lines else read_protocol()
        run_cells("pretrain", "chest", ["moco"], protocol)
        return read_table(cell_path(CELL) / HISTORY_FILE), Keys(protocol).key(CELL)

    return go


@pytest.mark.slow
def test_two_devices_give_the_curve_of_one_under_another_key(history, prepared_project):
    alone, key = history()
    costs = read_record(cell_path(CELL)).provenance.costs
    together, their_key = history("  devices: 2\n")
    costs_together = read_record(cell_path(CELL)).provenance.costs
    assert costs_together.keys() == costs.keys() >= {"seconds", "images_per_second"}
    assert costs_together["seconds"] > 0
    assert key != their_key
    assert list(together.columns) == list(alone.columns)
    for name in ("loss", "contrastive", "learning_rate", "spread_4"):
        np.testing.assert_allclose(together[name], alone[name], 1e-4, err_msg=name)
    record = json.loads((cell_path(CELL) / "cell.json").read_text())
    assert record["status"] == "done"
    assert not list((prepared_project / ".bench").rglob("request.json"))  # gone with the checkpoint


@pytest.mark.slow
def test_what_the_processes_refuse_is_one_message(history, monkeypatch):
    """Here a launcher that starts fewer processes than the protocol asks for."""
    launcher = (
        f"{sys.executable} -m torch.distributed.run --standalone --local-addr=localhost --nproc-per-node=1"
    )
    monkeypatch.setenv("IMSSL_BENCH_TORCHRUN", launcher)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with pytest.raises(UserError, match=r"starts 1 processes, but hardware\.devices is 2"):
        history("  devices: 2\n")


def test_a_batch_that_cannot_be_dealt_out_is_refused_before_anything_runs(history):
    with pytest.raises(UserError, match=r"line \d+.*pretrain\.batch_size.* make it a multiple of 3"):
        history("  devices: 3\n")
