"""How cells are spread over the GPUs of a machine; without one here, their names are made up."""

import os

import pytest
import torch

from bench.machine.gpus import devices_of, is_on_gpu, least_used, offered_gpus, use_only
from bench.protocol.cell import Cell
from imssl.settings.hardware import Hardware
from imssl.settings.labels import LabelSet


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ("0", "1", "2")),
        ("4,6,7", ("4", "6", "7")),
        ("GPU-a, GPU-b", ("GPU-a", "GPU-b")),
    ],
)
def test_all_gpus_are_offered_or_those_that_are_named(monkeypatch, visible, expected):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert offered_gpus() == expected


def test_cells_go_where_the_fewest_are():
    offered, in_use = ("0", "1", "2"), []
    for _ in range(6):
        in_use.append(least_used(offered, in_use, 1))
    assert in_use == [("0",), ("1",), ("2",)] * 2
    in_use.remove(("1",))
    assert least_used(offered, in_use, 1) == ("1",)
    assert least_used(offered, in_use, 2) == ("1", "0")
    assert least_used((), in_use, 1) == ()


def test_a_pretraining_takes_as_many_devices_as_the_protocol_says():
    cpu, gpus = (
        Hardware(device=device, threads=1, precision="float32", devices=4) for device in ("cpu", "cuda")
    )
    pretrain, ks = (Cell(stage, "chest", "moco", 0) for stage in ("pretrain", "ks"))
    finetune = Cell("finetune", "chest", "moco", 0, LabelSet(1.0))
    assert [devices_of(cell, cpu) for cell in (pretrain, finetune, ks)] == [4, 1, 1]
    assert [is_on_gpu(cell, gpus) for cell in (pretrain, finetune, ks)] == [True, True, False]
    assert not any(is_on_gpu(cell, cpu) for cell in (pretrain, finetune, ks))


def test_a_process_is_shown_its_own_gpus_and_without_any_all_stays_as_it_was(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    use_only(())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6"
    use_only(("6",))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
