"""What a cell of pretraining starts from is what its key says."""

from pathlib import Path

import pytest
import torch

from bench.cells.job import Job
from bench.cells.keys import Keys
from bench.protocol.cell import Cell
from bench.stages.pretrain import compute
from imssl.encoder import new_encoder
from imssl.errors import UserError


def test_weights_that_are_replaced_during_a_run_are_not_kept_under_the_key_of_the_old_ones(
    prepared_project, edited
):
    protocol = edited("  stem: small\n", "  stem: small\n  weights: w.pt\n")

    def write(seed):
        torch.save(new_encoder(protocol.encoder, 1, seed).state_dict(), "w.pt")

    def job(keys):
        folder = Path(f"cell-{len(list(Path().glob('cell-*')))}")
        folder.mkdir()
        return Job(Cell("pretrain", "chest", "moco", 0), keys, folder, lambda done, total: None)

    write(seed=3)
    keys = Keys(protocol)
    keys.key(Cell("pretrain", "chest", "moco", 0))
    write(seed=4)
    late = job(keys)
    with pytest.raises(UserError, match=r"w.pt has changed since this run began. Run: dvc repro"):
        compute(late)
    assert list(late.folder.iterdir()) == []
    compute(job(Keys(protocol)))  # a run that begins now has the key of the new ones
