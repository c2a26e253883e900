"""The queue of keys against Python's deque and lightly's memory bank."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.models.modules.memory_bank import MemoryBankModule

from imssl.queue import KeyQueue


def new_queue(length, width=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KeyQueue(length, width)


def numbered(start, count, width=3):
    """Keys that tell their place in the stream."""
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].expand(count, width)


def oldest_first(queue):
    pointer = int(queue.pointer)
    return torch.cat([queue.keys[pointer:], queue.keys[:pointer]])


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=8))
def test_the_queue_is_first_in_first_out(length, batches):
    queue = new_queue(length)
    model = deque(queue.keys.tolist(), maxlen=length)
    sent = 0
    for batch in batches:
        keys = numbered(sent, batch)
        queue.enqueue(keys, torch.arange(sent, sent + batch))
        model.extend(keys.tolist())
        sent += batch
        assert oldest_first(queue).tolist() == list(model)
        assert int(queue.pointer) == sent % length


@pytest.mark.parametrize("batch", [4, 5, 40])
def test_keys_of_a_short_or_long_batch_wrap_round(batch):
    queue = new_queue(12)
    for start in range(0, 5 * batch, batch):
        queue.enqueue(numbered(start, batch), torch.arange(start, start + batch))
    assert oldest_first(queue)[:, 0].tolist() == list(range(5 * batch - 12, 5 * batch))


def test_the_queue_equals_the_memory_bank_of_lightly():
    queue, bank = new_queue(12), MemoryBankModule((12, 3), feature_dim_first=False)
    bank.bank.copy_(queue.keys)
    draw = torch.Generator().manual_seed(0)
    for _ in range(8):  # lightly cuts a batch that does not fit, hence 4 keys at a time
        keys = torch.randn(4, 3, generator=draw)
        _, negatives = bank(keys, update=True)
        assert torch.equal(queue.keys, negatives)
        queue.enqueue(keys, torch.arange(4))
    assert torch.equal(queue.keys, bank.bank)


def test_it_starts_with_unit_vectors_and_a_state_dict_restores_it():
    queue = new_queue(50, 16)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(50))
    queue.enqueue(torch.randn(7, 16, generator=torch.Generator().manual_seed(1)), torch.arange(7))
    other = KeyQueue(50, 16)
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.keys, queue.keys)
    assert int(other.pointer) == 7
    assert other.indices.tolist() == [*range(7), *[-1] * 43]
    assert not list(queue.parameters())


def test_keys_in_half_precision_are_stored_in_full():
    queue = new_queue(4)
    queue.enqueue(torch.full((2, 3), 0.5, dtype=torch.bfloat16, requires_grad=True), torch.arange(2))
    assert queue.keys.dtype == torch.float32
    assert not queue.keys.requires_grad
    assert (queue.keys[:2] == 0.5).all()


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=8))
def test_every_key_keeps_the_index_of_its_image(length, batches):
    queue, sent = new_queue(length), 0
    for batch in batches:
        queue.enqueue(numbered(sent, batch), 7 * torch.arange(sent, sent + batch))
        sent += batch
    filled = queue.indices >= 0
    assert int(filled.sum()) == min(length, sent)
    assert (queue.indices[filled] == 7 * queue.keys[filled, 0].long()).all()
