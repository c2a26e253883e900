"""Forked processes: what they compute one after another, and how they leave."""

import os
import signal
import time

from bench.cells.keys import Keys
from bench.cells.store.running import running_cell
from bench.launch.engines.fill import Outcome
from bench.launch.engines.local import LocalEngine
from bench.launch.fill_store import wanted_cells
from bench.protocol.cell import Cell
from bench.protocol.protocol import read_protocol
from tests.bench.launch.filling import filled


class Recorded(LocalEngine):
    """It remembers which process each cell was given to, and kills a process that waits, if it is told to."""

    def __init__(self, keys, processes, killing=False):
        super().__init__(keys, processes)
        self.given, self.killing = {}, killing

    def submit(self, cell):
        if self.killing and self._idle:
            for process, _ in self._idle.values():
                os.kill(process.pid, signal.SIGKILL)
                process.join()
        super().submit(cell)
        for process, busy in self._busy.values():
            self.given.setdefault(busy, process.pid)


def filled_by(engine) -> Outcome:
    try:
        return filled(engine)[0]
    finally:
        engine.close()


def test_a_process_that_has_pretrained_computes_nothing_else_and_others_keep_to_a_data_set(prepared_project):
    engine = Recorded(Keys(read_protocol()), 2)
    assert not filled_by(engine).failed
    cells_of: dict[int, list[Cell]] = {}
    for cell, process in engine.given.items():
        cells_of.setdefault(process, []).append(cell)
    for cells in cells_of.values():
        assert len({cell.dataset for cell in cells}) == 1
        assert len(cells) == 1 or all(cell.stage != "pretrain" for cell in cells)
    others = sum(cell.stage != "pretrain" for cell in engine.given)
    assert sum(cells[0].stage != "pretrain" for cells in cells_of.values()) < others / 2


def test_a_process_that_is_killed_while_it_waits_is_replaced(prepared_project):
    outcome = filled_by(Recorded(Keys(read_protocol()), 2, killing=True))
    assert not outcome.failed
    assert not outcome.skipped


def test_a_process_that_is_asked_to_leave_need_not_be_killed(prepared_project, edited):
    edited("  epochs: 2\n  batch_size: 16", "  epochs: 4000\n  batch_size: 16")
    keys, cell = Keys(read_protocol()), Cell("pretrain", "chest", "moco", 0)
    engine = LocalEngine(keys, 1)
    engine.submit(cell)
    ((process, _),) = engine._busy.values()
    while (note := running_cell(keys.key(cell))) is None or note.steps[0] == 0:
        time.sleep(0.05)
    engine.close()
    assert process.exitcode == 0  # -9 where it was killed


def test_processes_that_wait_leave_before_cells_of_another_gpu(prepared_project):
    protocol = read_protocol()
    engine = LocalEngine(Keys(protocol), 1)
    filled(engine, wanted_cells(protocol, ("finetune/chest/moco",)))
    ((process, _),) = engine._idle.values()
    engine.dismiss_idle()
    process.join(60)
    assert process.exitcode == 0
    assert engine.room == 1
