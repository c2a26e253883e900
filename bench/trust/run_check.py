"""What a run would die of, seen before it begins: paths, data folders, batches, queues, the device."""

import os
from collections.abc import Iterator

from bench.cells.files import data_folder, is_prepared
from bench.cells.method_facts import MethodFacts, method_facts
from bench.machine.gpus import offered_gpus
from bench.machine.torchrun import COMMAND
from bench.protocol.params_file import line_of
from bench.protocol.protocol import Protocol
from imssl.datasets.files import located
from imssl.datasets.prepared import read_card
from imssl.device_kind import device_kind, device_problem
from imssl.errors import UserError

# Sources whose images `bench download` can fetch.
FETCHED = ("eyepacs", "idc", "medmnist", "nih")


def mistakes(protocol: Protocol) -> list[str]:
    """What is wrong, where, and how to mend it; empty where nothing is.

    Raises:
        UserError: a method's file or hyper-parameters are not right.
    """
    facts = method_facts(protocol)
    problems = list(_of_device(protocol))
    for dataset in protocol.datasets:
        problems += _of_paths(dataset, protocol)
        problems += _of_sizes(dataset, protocol, facts)
    return problems


def unprepared(protocol: Protocol) -> list[str]:
    """Data sets whose number of images is not known yet, so that nothing can be compared with it."""
    return [dataset for dataset in protocol.datasets if not is_prepared(dataset)]


def _of_device(protocol: Protocol) -> Iterator[str]:
    problem = device_problem(protocol.hardware)
    if problem is not None:
        yield f"{line_of(('hardware', 'device'))}: {problem}"
    elif device_kind(protocol.hardware) == "cuda":
        yield from _of_several_gpus(protocol)


def _of_several_gpus(protocol: Protocol) -> Iterator[str]:
    wanted, offered = protocol.hardware.devices, len(offered_gpus())
    if wanted > offered and COMMAND not in os.environ:
        yield (
            f"{line_of(('hardware', 'devices'))}: hardware.devices is {wanted}, but there are {offered} GPUs "
            f"here. Set it to that or less, or have the processes started on several nodes ({COMMAND})."
        )


def _of_paths(dataset: str, protocol: Protocol) -> Iterator[str]:
    """Data that are prepared already need their source no more."""
    if is_prepared(dataset):
        return
    settings = protocol.datasets[dataset]
    for key in ("path", "split_file"):
        written = getattr(settings, key, None)
        if written is None:
            continue
        where, path = line_of(("datasets", dataset, key)), located(written)
        fetch = f", or run: bench download {dataset}" if settings.source in FETCHED and key == "path" else ""
        if not path.exists():
            yield (
                f"{where}: datasets.{dataset}.{key} is {written}, but {path} does not exist. Correct it"
                f"{fetch}."
            )
        elif path.is_dir() and not any(path.iterdir()):
            yield (
                f"{where}: datasets.{dataset}.{key} is {written}, an empty folder. Put the data there, or "
                f"name the folder that holds them{fetch}."
            )
        elif path.is_file() and path.stat().st_size == 0:
            yield f"{where}: datasets.{dataset}.{key} is {written}, an empty file. Fetch it again."


def _of_sizes(dataset: str, protocol: Protocol, facts: dict[str, MethodFacts]) -> Iterator[str]:
    """Batch and queues against the training images, once they are prepared."""
    try:
        images = read_card(data_folder(dataset)).counts["train"].samples
    except UserError:
        return
    batch_size = protocol.pretrain_of(dataset).batch_size
    # A method that is not trained never sees a batch.
    training = [method for method in protocol.methods if facts[method].pretrains]
    if training and batch_size > images:
        yield (
            f"{line_of(('pretrain', 'batch_size'))}: pretrain.batch_size is {batch_size}, but {dataset} has "
            f"only {images} training images. Set it to {images} or less."
        )
    for method in training:
        settings = facts[method].settings_on(dataset)
        if "queue" not in settings or "queue_limit" not in settings:
            continue
        longest = int(settings["queue_limit"] * images)
        if settings["queue"] > longest:
            yield (
                f"{line_of(('methods', method, 'queue'))}: methods.{method}.queue is {settings['queue']}, "
                f"but {dataset} has only {images} training images. Set it to {longest} or less, or for this "
                f"data set alone under datasets.{dataset}.methods.{method}.queue."
            )
