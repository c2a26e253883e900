"""Rules on what a method uses of the machine: files and processes, precisions, the GPU, time, memory."""

import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.conformance.rule import NotApplicable, Rule, Unmet
from bench.conformance.trial import Situation, Trial, take_steps, trial_batch
from imssl.device import autocast
from imssl.methods.moco import Moco, MocoSettings
from imssl.pretrain import Training

REFERENCE = "moco"
TIMED = Situation(batch_size=32, steps=8)


def does_nothing_but_arithmetic(trial: Trial) -> str:
    """Nothing else was noted while the file was loaded and every other rule was checked."""
    if trial.watch.seen:
        raise Unmet("; ".join(trial.watch.seen[:4]))
    return "none seen"


def runs_in_bfloat16(trial: Trial) -> str:
    """Losses and gradients stay finite under bfloat16 autocast."""
    return _steps_under(trial, Situation(), "bfloat16")


def runs_on_the_gpu(trial: Trial) -> str:
    """Losses and gradients stay finite on the GPU, for two steps in each precision."""
    if not torch.cuda.is_available():
        raise NotApplicable("torch finds no GPU here")
    situation = Situation(device=torch.device("cuda"))
    for precision in ("float32", "bfloat16"):
        _steps_under(trial, situation, precision)
    return f"finite on {torch.cuda.get_device_name()}"


def speed_is_measured(trial: Trial) -> str:
    """Seconds of a step relative to the reference, the steps of the two alternating."""
    situation = _timed(trial)
    trainings = (_reference(trial), trial.training(situation))
    seconds: tuple[list[float], list[float]] = ([], [])
    for step in range(situation.steps):
        for training, times in zip(trainings, seconds, strict=True):
            started = time.perf_counter()
            training.take_step(trial_batch(training.method, situation, step), "float32")
            times.append(time.perf_counter() - started)
    # The first steps allocate memory; the median is robust to whatever else the machine does.
    ratio = statistics.median(seconds[1][2:]) / statistics.median(seconds[0][2:])
    trial.ratios["speed"] = round(ratio, 2)
    return f"{ratio:.2f} times the seconds of a step of {REFERENCE}"


def memory_is_measured(trial: Trial) -> str:
    """Bytes of weights, optimiser state and what the backward pass needs, relative to the reference."""
    situation = _timed(trial)
    ratio = _bytes_held(trial.training(situation), situation) / _bytes_held(_reference(trial), situation)
    trial.ratios["memory"] = round(ratio, 2)
    return f"{ratio:.2f} times the memory of a step of {REFERENCE}"


def _steps_under(trial: Trial, situation: Situation, precision: str) -> str:
    training = trial.training(situation)
    for step in range(2):
        batch = trial_batch(training.method, situation, step)
        training.take_step(batch, precision)
        broken = [name for name, total in training.epoch_sums.items() if not torch.isfinite(total)]
        gradients = [weight.grad for weight in training.method.parameters() if weight.grad is not None]
        if broken or not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise Unmet(f"{broken[0] if broken else 'a gradient'} is not finite in {precision}")
    return "losses and gradients finite"


def _reference(trial: Trial) -> Training:
    return replace(trial, method=Moco, settings=MocoSettings()).training(_timed(trial))


def _timed(trial: Trial) -> Situation:
    return replace(TIMED, encoder=trial.timed_encoder)


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
    Rule(
        "bfloat16",
        "finite under bfloat16 autocast",
        "compute sums, logarithms and norms of the loss in float32: tensor.float()",
        runs_in_bfloat16,
    ),
    Rule(
        "GPU",
        "two steps on the GPU, finite",
        "create tensors on batch.images.device; draw on the CPU, then move what was drawn",
        runs_on_the_gpu,
    ),
    Rule("speed", "measured, for information", "", speed_is_measured),
    Rule("memory", "measured, for information", "", memory_is_measured),
    Rule(
        "files, network, processes",
        "none while it is loaded, built and trained",
        "a method computes with the tensors it is given",
        does_nothing_but_arithmetic,
        trains=False,
    ),
)
