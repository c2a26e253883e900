"""Cells are named on the command line as they lie on disk, and completed as paths are."""

import pytest

from bench.commands.terminal.console import complete_cell
from bench.protocol.cell import all_cells, cell_named
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError


def test_every_cell_has_a_name_that_leads_back_to_it(project):
    protocol = read_protocol()
    names = {cell.name: cell for cell in all_cells(protocol)}
    assert len(names) == len(list(all_cells(protocol)))
    assert all(cell_named(name, protocol) == cell for name, cell in names.items())
    assert {"finetune/chest/moco/seed-0/fraction-0.5", "pretrain/fundus/random-init/seed-0"} <= set(names)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "“” is no stage"),
        ("report/chest/moco/seed-0", "“report” is no stage with cells"),
        ("finetune/ches/moco/seed-0", "Did you mean chest?"),
        ("finetune/chest/mocco/seed-0", "Did you mean moco?"),
        ("finetune/chest/moco", "“” is none of finetune; there are: seed-0/fraction-0.5, seed-0/fraction-1"),
        ("finetune/chest/moco/seed-0/fraction-0.4", "Did you mean seed-0/fraction-0.5?"),
        ("pretrain/chest/moco/seed-0/fraction-0.5", "“seed-0/fraction-0.5” is none of pretrain"),
        ("pretrain/chest/moco/seed-0/x/y/z", "“seed-0/x/y/z” is none of pretrain"),
    ],
)
def test_a_wrong_name_says_which_part_is_wrong(project, name, words):
    with pytest.raises(UserError) as refused:
        cell_named(name, read_protocol())
    assert words in str(refused.value)
    assert "A cell is named stage/dataset/method/seed-N" in str(refused.value)


def test_names_are_completed_part_by_part(project):
    assert complete_cell("f") == ["finetune/", "frozen/"]
    assert complete_cell("finetune/chest/moco-") == [
        f"finetune/chest/moco-barlow/seed-0/fraction-{share}" for share in ("0.5", "1")
    ]
    assert complete_cell("pretrain/fundus/r") == ["pretrain/fundus/random-init/seed-0"]
    assert complete_cell("nothing") == []
