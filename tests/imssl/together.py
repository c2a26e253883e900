"""Processes that train together on one machine, joined by Gloo."""

import multiprocessing
import tempfile
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from imssl.distributed import joined


def together(number, work, normalise_apart=False):
    """What ``work()`` returns in each of so many forked processes, by rank."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes, children = [], []
        for rank in range(number):
            here, there = context.Pipe(duplex=False)
            arguments = (there, str(Path(folder) / "store"), number, rank, work, normalise_apart)
            child = context.Process(target=_take_part, args=arguments, daemon=True)
            child.start()
            there.close()
            pipes.append(here)
            children.append(child)
        results = [pipe.recv() for pipe in pipes]
        for child in children:
            child.join()
    for result in results:
        if isinstance(result, str):
            raise AssertionError(result)
    return results


def _take_part(pipe, store, number, rank, work, normalise_apart):
    torch.set_num_threads(1)
    try:
        place = dist.FileStore(store, number)
        with joined(torch.device("cpu"), normalise_apart, place, number, rank):
            # As bytes of NumPy arrays and not as tensors, which would be handed over as files in memory.
            pipe.send(_plain(work()))
    except BaseException:
        pipe.send(traceback.format_exc())


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
