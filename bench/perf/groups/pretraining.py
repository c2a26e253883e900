"""Pretraining, end to end, against its compute limit and against lightly's MoCo v2."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from bench.perf.measure import Effort, Figure, interleaved, per_second, seconds_of, times_faster
from bench.perf.phantoms import phantom_set
from bench.perf.timed_run import METHODS, QUEUE, Setting, TimedRun, recipe_for, settings_for
from imssl.settings.encoder import EncoderSettings
from imssl.settings.hardware import Hardware

GROUP = "pretraining"
END_TO_END, COMPUTE_LIMIT, LIGHTLY = "end to end", "compute limit", "lightly"
# A method's measurements in a setting end after about so long, with at least this many rounds.
SECONDS_PER_METHOD, FEWEST_ROUNDS = 60.0, 3


def measure(
    effort: Effort, hardware: Hardware, device: torch.device, folder: Path, against: str | None
) -> Iterator[Figure]:
    """Images per second of every method in every setting.

    Args:
        effort: how long to measure.
        hardware: threads and precision.
        device: where to train.
        folder: for the images.
        against: ``lightly``, or None to leave it out.
    """
    for setting in settings_for(device)[: effort.settings]:
        prepared = phantom_set("histology", 40, setting.size, folder)
        recipe = recipe_for(setting, prepared, hardware, device)
        encoder = EncoderSettings.model_validate({"name": setting.encoder, "stem": "imagenet"})
        step = seconds_of_a_step(TimedRun(*METHODS["moco"], encoder, recipe), effort.longest_step)
        if step is None:
            note = f"left out: a step takes more than {effort.longest_step:.3g} s here"
            yield Figure(GROUP, setting.title, "images/s", None, note=note)
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

                theirs = LightlyRun(setting, prepared, hardware, device, steps, QUEUE)
                calls[LIGHTLY] = theirs.epoch
            rounds = int(SECONDS_PER_METHOD / (len(calls) * steps * step))
            rounds = min(effort.rounds, max(FEWEST_ROUNDS, rounds))
            seconds = interleaved(calls, rounds)
            target = faster_than_lightly(setting, device)
            yield from _rows(f"{name}, {setting.title}", seconds, steps * setting.batch, target)


def seconds_of_a_step(timed: "TimedRun", longest: float) -> float | None:
    """Seconds of a step; None if it is longer than that, judged by a few images where it is far longer."""
    batch = timed.recipe.settings.batch_size
    few = max(2, batch // 8)
    timed.few_images(few)
    if seconds_of(partial(timed.few_images, few)) * batch / few > 2 * longest:
        return None
    timed.compute_only(1)
    seconds = seconds_of(partial(timed.compute_only, 1))
    return seconds if seconds <= longest else None


def faster_than_lightly(setting: Setting, device: torch.device) -> float | None:
    """How many times faster than lightly's MoCo v2 the suite aims to be; None where it has set no target."""
    if device.type == "cuda":
        return 3.0 if setting.size == 64 else None
    return 1.4 if setting.size == 32 else None


def _rows(
    name: str, seconds: dict[str, list[float]], images: int, than_lightly: float | None
) -> Iterator[Figure]:
    limit = times_faster(seconds, END_TO_END, COMPUTE_LIMIT)
    ours = per_second(seconds[END_TO_END], images)
    yield Figure(GROUP, name, "images/s", ours, against="compute limit", ratio=limit, at_least=0.9)
    if LIGHTLY in seconds:
        faster = times_faster(seconds, END_TO_END, LIGHTLY)
        yield Figure(
            GROUP, name, "images/s", ours, against="lightly MoCo v2", ratio=faster, at_least=than_lightly
        )
