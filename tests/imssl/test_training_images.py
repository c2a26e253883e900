"""Batches of training images, held or read from disk."""

import numpy as np
import pytest
import torch

from imssl.training_images import TrainingImages

CPU = torch.device("cpu")


@pytest.mark.parametrize("room", [0, 2**30])
def test_batches_are_the_rows_asked_for(monkeypatch, tmp_path, room):
    monkeypatch.setattr("imssl.training_images.HELD_IN_MEMORY", room)
    monkeypatch.setattr("imssl.training_images.PART", 4)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5, 3, 2), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    rows = np.array([1, 2, 3, 5, 8, 13, 14, 17, 18, 19])
    images = TrainingImages(np.load(tmp_path / "images.npy", mmap_mode="r"), rows, CPU)
    assert len(images) == 10
    taken = images.take(torch.tensor([9, 0, 4, 4, 7]))
    assert taken.dtype == torch.uint8
    np.testing.assert_array_equal(taken.numpy(), pixels[[19, 1, 8, 8, 17]].transpose(0, 3, 1, 2))


def test_a_gpu_holds_what_a_quarter_of_its_free_memory_has_room_for(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * 600, 10**9))
    monkeypatch.setattr(torch, "empty", lambda shape, **_: asked.append(shape) or torch.zeros(shape))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    for count in (100, 101):  # of 6 bytes each
        TrainingImages(np.zeros((101, 2, 3, 1), np.uint8), np.arange(count), torch.device("cuda"))
    assert asked == [(100, 1, 2, 3)]
