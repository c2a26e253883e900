"""Pretraining end to end, against its own compute limit and against lightly's MoCo v2."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import METHODS, QUEUE, TimedRun, Workload, recipe_for, workloads_for
from bench.perf.timing import Effort, PerfRow, interleaved, per_second, seconds_of, times_faster
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware

GROUP = "pretraining"
END_TO_END, COMPUTE_LIMIT, LIGHTLY = "end to end", "compute limit", "lightly"
# About how long one method is measured on one workload, and for how many rounds at least.
SECONDS_PER_METHOD, FEWEST_ROUNDS = 60.0, 3


def measure(
    effort: Effort, hardware: Hardware, device: torch.device, folder: Path, against: str | None
) -> Iterator[PerfRow]:
    """Images per second of every method on every workload.

    Args:
        effort: how much to measure.
        hardware: threads and precision.
        device: where to train.
        folder: for the images.
        against: ``lightly``, or None to leave it out.
    """
    for workload in workloads_for(device)[: effort.workloads]:
        prepared = phantom_set("histology", 40, workload.size, folder)
        recipe = recipe_for(workload, prepared, hardware, device)
        encoder = EncoderSettings.model_validate({"name": workload.encoder, "stem": "imagenet"})
        step = seconds_of_a_step(TimedRun(*METHODS["moco"], encoder, recipe), effort.longest_step)
        if step is None:
            note = f"left out: a step takes more than {effort.longest_step:.3g} s here"
            yield PerfRow(GROUP, workload.title, "images/s", None, note=note)
            continue
        steps = max(1, round(effort.seconds / step))
        for name in METHODS:
            timed = TimedRun(*METHODS[name], encoder, recipe)
            calls: dict[str, Callable[[], object]] = {
                END_TO_END: partial(timed.end_to_end, steps),
                COMPUTE_LIMIT: partial(timed.compute_only, steps),
            }
            if against == LIGHTLY and name == "moco":
                from bench.perf.groups.lightly_moco import LightlyRun

                theirs = LightlyRun(workload, prepared, hardware, device, steps, QUEUE)
                calls[LIGHTLY] = theirs.epoch
            rounds = int(SECONDS_PER_METHOD / (len(calls) * steps * step))
            rounds = min(effort.rounds, max(FEWEST_ROUNDS, rounds))
            seconds = interleaved(calls, rounds)
            target = target_against_lightly(workload, device)
            yield from _rows(f"{name}, {workload.title}", seconds, steps * workload.batch, target)


def seconds_of_a_step(timed: TimedRun, longest: float) -> float | None:
    """Seconds of a step; None if that is more than ``longest``, which a few images show if it is far more."""
    batch = timed.recipe.settings.batch_size
    few = max(2, batch // 8)
    timed.few_images(few)
    if seconds_of(partial(timed.few_images, few)) * batch / few > 2 * longest:
        return None
    timed.compute_only(1)
    seconds = seconds_of(partial(timed.compute_only, 1))
    return seconds if seconds <= longest else None


def target_against_lightly(workload: Workload, device: torch.device) -> float | None:
    """How many times faster than lightly's MoCo v2 the suite aims to be; None if it has no target."""
    if device.type == "cuda":
        return 3.0 if workload.size == 64 else None
    return 1.4 if workload.size == 32 else None


def _rows(name: str, seconds: dict[str, list[float]], images: int, target: float | None) -> Iterator[PerfRow]:
    limit = times_faster(seconds, END_TO_END, COMPUTE_LIMIT)
    ours = per_second(seconds[END_TO_END], images)
    yield PerfRow(GROUP, name, "images/s", ours, against="compute limit", ratio=limit, at_least=0.9)
    if LIGHTLY in seconds:
        faster = times_faster(seconds, END_TO_END, LIGHTLY)
        yield PerfRow(GROUP, name, "images/s", ours, against="lightly MoCo v2", ratio=faster, at_least=target)
