"""Checkpoints: whole, of this run, or not at all."""

import pytest
import torch

import imssl.checkpoint
from imssl.checkpoint import load_checkpoint, save_checkpoint
from imssl.errors import UserError


def state(step):
    weights = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(step))
    return {
        "weights": weights.contiguous(memory_format=torch.channels_last),
        "step": step,
        "history": [{"epoch": 1, "loss": 0.25, "knn": None}],
        "optimizer": {"state": {0: {"momentum_buffer": weights.double()}}, "param_groups": [{"lr": 0.1}]},
    }


def assert_is(loaded, step):
    expected = state(step)
    assert torch.equal(loaded.pop("weights"), expected.pop("weights"))
    buffers = [part.pop("optimizer")["state"][0]["momentum_buffer"] for part in (loaded, expected)]
    assert torch.equal(*buffers)
    assert loaded == expected


def test_a_state_comes_back(tmp_path):
    file = tmp_path / "new" / "cell.checkpoint"
    assert load_checkpoint(file, "run") is None
    save_checkpoint(file, state(1), "run")
    assert_is(load_checkpoint(file, "run"), 1)
    save_checkpoint(file, state(2), "run")
    assert_is(load_checkpoint(file, "run"), 2)
    assert sorted(path.name for path in file.parent.iterdir()) == ["cell.checkpoint", "cell.previous"]


@pytest.mark.parametrize("kept", [0, 10, 32, 33, 1000, -1])
def test_a_torn_file_falls_back_to_the_one_before(tmp_path, kept):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, state(1), "run")
    save_checkpoint(file, state(2), "run")
    file.write_bytes(file.read_bytes()[:kept])
    assert_is(load_checkpoint(file, "run"), 1)


def test_a_flipped_bit_is_noticed(tmp_path):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, state(1), "run")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert load_checkpoint(file, "run") is None


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch, renames):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, state(1), "run")
    done = 0
    replace = type(file).replace

    def killed(self, target):
        nonlocal done
        if done == renames:
            raise KeyboardInterrupt
        done += 1
        return replace(self, target)

    monkeypatch.setattr(type(file), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(file, state(2), "run")
    monkeypatch.undo()
    assert_is(load_checkpoint(file, "run"), 1)
    save_checkpoint(file, state(3), "run")
    assert_is(load_checkpoint(file, "run"), 3)


def test_another_run_is_refused(tmp_path):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, state(1), "run")
    with pytest.raises(UserError, match=r"cell\.checkpoint.*another run"):
        load_checkpoint(file, "other")


def test_nothing_is_unpickled_into_objects(tmp_path):
    file = tmp_path / "cell.checkpoint"
    save_checkpoint(file, {"object": imssl.checkpoint.UserError("x")}, "run")
    with pytest.raises(UserError, match="not a checkpoint as this version writes it"):
        load_checkpoint(file, "run")
