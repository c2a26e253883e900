"""What is measured for information, beside what passes or fails: weights, memory, output, seconds a step."""

import gc
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.conformance.rule import Rule
from bench.conformance.trial import Scale, Situation, Trial, take_steps, trial_batch
from imssl.device import autocast
from imssl.methods.moco import Moco, MocoSettings
from imssl.pretrain import Training

REFERENCE = "moco"
TIMED_STEPS = 6
TIMED_IMAGES = 32


def weights_are_counted(trial: Trial) -> str:
    """How many weights the optimiser holds, by part of the method."""
    training = trial.training(_timed(trial))
    held = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
    parts: dict[str, int] = {}
    for name, weight in training.method.named_parameters():
        if id(weight) in held:
            part = name.partition(".")[0]
            parts[part] = parts.get(part, 0) + weight.numel()
    return ", ".join(f"{part} {count:,}" for part, count in parts.items()) or "none"


def growth_is_measured(trial: Trial) -> str:
    """What is kept from step to step, after 2 and after 6 steps: it should not grow."""
    situation = trial.situation()
    training = trial.training(situation)
    sizes = []
    for steps in (2, 6):
        take_steps(training, situation, steps)
        sizes.append(_kept_bytes())
    return f"{sizes[0] / 2**20:.1f} MiB after 2 steps, {sizes[1] / 2**20:.1f} MiB after 6"


def output_is_counted(trial: Trial) -> str:
    """Lines that the method printed while it was loaded and checked."""
    sys.stdout.flush()
    sys.stderr.flush()
    return f"{trial.printed_lines()} lines"


def speed_is_measured(trial: Trial) -> str:
    """CPU seconds of a step, also relative to the reference, the steps of the two alternating."""
    situation = _timed(trial)
    trainings = (_reference(trial), trial.training(situation))
    seconds: tuple[list[float], list[float]] = ([], [])
    for step in range(situation.steps):
        for training, times in zip(trainings, seconds, strict=True):
            started = time.process_time()
            training.take_step(trial_batch(training.method, situation, step), "float32")
            times.append(time.process_time() - started)
    # The first steps allocate memory; the median is robust to whatever else the machine does.
    reference, its = (statistics.median(times[2:]) for times in seconds)
    trial.ratios["speed"] = round(its / reference, 2)
    times_it = f"{its / reference:.2f} times those of {REFERENCE}"
    return f"{its:.3f} CPU seconds a step of {situation.in_words}, {times_it}"


def memory_is_measured(trial: Trial) -> str:
    """Bytes of weights, optimiser state and what the backward pass needs, relative to the reference."""
    situation = _timed(trial)
    ratio = _bytes_held(trial.training(situation), situation) / _bytes_held(_reference(trial), situation)
    trial.ratios["memory"] = round(ratio, 2)
    return f"{ratio:.2f} times the memory of a step of {REFERENCE}"


def _reference(trial: Trial) -> Training:
    settings = MocoSettings(queue=min(MocoSettings().queue, trial.scale.images))
    return replace(trial, method=Moco, settings=settings).training(_timed(trial))


def _timed(trial: Trial) -> Situation:
    scale = Scale(trial.scale.images, trial.scale.size, TIMED_IMAGES)
    return replace(trial.situation(steps=TIMED_STEPS), scale=scale, encoder=trial.timed_encoder)


def _kept_bytes() -> int:
    """Bytes of all tensors that live on in the process between two steps, whatever holds them."""
    gc.collect()
    storages: dict[int, int] = {}
    for value in gc.get_objects():
        # By its type: asking some objects for their class would make them load what they stand for.
        if issubclass(type(value), Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values())


def _bytes_held(training: Training, situation: Situation) -> int:
    take_steps(training, situation, 1)  # the optimiser allocates its state in the first step
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    method = training.method
    batch = trial_batch(method, situation, 1)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        autocast(batch.images.device, "float32"),
    ):
        terms = method.losses(batch)
    for tensor in (*method.parameters(), *method.buffers(), *_tensors(training.optimizer.state)):
        note(tensor)
    del terms
    return sum(held.values())


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in _tensors(value)]
    return []


RULES = (
    Rule("trained weights", "by part", "", weights_are_counted, informs=True),
    Rule("memory kept", "after 2 and after 6 steps", "", growth_is_measured, informs=True),
    Rule("speed", "CPU seconds of a step", "", speed_is_measured, informs=True),
    Rule("memory", "of a step", "", memory_is_measured, informs=True),
    Rule("output", "lines printed", "", output_is_counted, needs="file", informs=True),
)
