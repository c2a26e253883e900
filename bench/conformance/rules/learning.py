"""Rules on how a method trains: gradients, a falling loss, repeatability, resuming."""

import os
import random
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from bench.conformance.global_state import random_states
from bench.conformance.rule import Rule, Unmet
from bench.conformance.trial import Situation, Trial, take_steps, trial_batch
from imssl.checkpoint import load_checkpoint, save_checkpoint
from imssl.method import Method
from imssl.pretrain import Training
from imssl.settings.encoder import BLOCKS

# For training on the same 32 images over and over.
FITTED = Situation(batch_size=32, steps=20)
# The share of its first value by which a loss must fall; rounding stays far below that.
LEAST_FALL = 0.01


def reaches_every_block(trial: Trial) -> str:
    """The stem and every block get a gradient, and the optimiser moves them."""
    situation = Situation()
    training = trial.training(situation)
    encoder = training.method.encoder
    before = {name: weight.detach().clone() for name, weight in encoder.named_parameters()}
    for step in range(2):  # a warm-up may begin with a learning rate of zero
        training.take_step(trial_batch(training.method, situation, step), "float32")
    parts = {"the stem": "conv1."} | {f"block {i}": f"layer{i}." for i in range(1, BLOCKS + 1)}
    for part, prefix in parts.items():
        weights = {name: w for name, w in encoder.named_parameters() if name.startswith(prefix)}
        if not any(weight.grad is not None and bool(weight.grad.any()) for weight in weights.values()):
            raise Unmet(f"no gradient in {part}")
        if all(torch.equal(weight, before[name]) for name, weight in weights.items()):
            raise Unmet(f"{part} has a gradient, but the optimiser does not move it")
    return "gradient in the stem and blocks 1 to 4, and the optimiser moves them"


def learns(trial: Trial) -> str:
    """The loss of one fixed batch falls when the method is trained on it.

    Only gradient steps are taken: with momentum updates and a queue, the loss of a sound contrastive method
    rises at first, while the queue fills with real negatives.
    """
    training = trial.training(FITTED)
    method = training.method
    optimizer = training.optimizer
    losses: list[float] = []
    for step in range(FITTED.steps):
        batch = trial_batch(method, FITTED)
        progress = step / FITTED.steps
        for group, rate in zip(optimizer.param_groups, training.learning_rates, strict=True):
            group["lr"] = rate * method.learning_rate_factor(training.optimisation, progress, group)
        loss = torch.stack([term.float() for term in method.losses(batch).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    first, last = losses[0], statistics.median(losses[-5:])
    course = f"{first:.4g} at first, {last:.4g} after {FITTED.steps} steps"
    if not last < first - LEAST_FALL * abs(first):
        raise Unmet(course)
    return course


def repeats(trial: Trial) -> str:
    """Two runs of one seed end with the same bits, whatever states the global generators are in."""
    situation = Situation()
    states = []
    for run in range(2):
        _stir_global_generators(run)
        training = trial.training(situation)
        take_steps(training, situation, situation.steps)
        states.append(_state_bytes(training.method))
    different = [name for name in states[0] if states[0][name] != states[1].get(name)]
    if different:
        raise Unmet(f"{different[0]} differs between two runs of the same seed")
    return f"the same bits after {situation.steps} steps"


def leaves_global_generators(trial: Trial) -> str:
    """The global generators of torch, NumPy and random are neither drawn from nor seeded."""
    situation = Situation()
    before = random_states()
    training = trial.training(situation)
    at_start = random_states()
    take_steps(training, situation, 3)
    after = random_states()
    for name in before:
        if at_start[name] != before[name]:
            raise Unmet(f"__init__ draws from or seeds the global generator of {name}")
        if after[name] != before[name]:
            raise Unmet(f"a step draws from or seeds the global generator of {name}")
    return "untouched"


def resumes(trial: Trial) -> str:
    """A run that is stopped in the middle, saved, loaded and continued equals one that is not stopped."""
    situation = Situation()
    uninterrupted = trial.training(situation)
    take_steps(uninterrupted, situation, situation.steps)
    stopped = trial.training(situation)
    take_steps(stopped, situation, situation.steps // 2 + 1)  # in the middle of an epoch
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        save_checkpoint(file, stopped.state(), run="trial")
        resumed = trial.training(situation)
        resumed.restore(load_checkpoint(file, run="trial"), situation.device)
    take_steps(resumed, situation, situation.steps)
    expected, state = _state_bytes(uninterrupted.method), _state_bytes(resumed.method)
    different = [name for name in expected if expected[name] != state.get(name)]
    if different:
        raise Unmet(f"{different[0]} differs from a run that was not stopped")
    if _logged(uninterrupted) != _logged(resumed):
        raise Unmet("the losses differ from those of a run that was not stopped")
    return "the same bits as without a stop"


def _logged(training: Training) -> dict[str, float]:
    return {name: float(total) for name, total in training.epoch_sums.items()}


def _state_bytes(method: Method) -> dict[str, object]:
    return {
        name: state.detach().double().cpu().numpy().tobytes()
        if isinstance(state, torch.Tensor)
        else repr(state)
        for name, state in method.state_dict().items()
    }


def _stir_global_generators(run: int) -> None:
    draw = int.from_bytes(os.urandom(4)) + run
    torch.default_generator.manual_seed(draw)
    key = np.random.default_rng(draw).integers(2**32, size=624, dtype=np.uint32)
    np.random.set_state(("MT19937", key, 624, 0, 0.0))  # noqa: NPY002 (the global one is what is meant)
    random.setstate(random.Random(draw).getstate())


RULES = (
    Rule(
        "gradient",
        "reaches the stem and every block of the encoder",
        "let losses() call self.encoder with gradient, and leave its weights in the optimiser",
        reaches_every_block,
    ),
    Rule(
        "learning",
        "the loss falls on 32 images",
        "check the sign and scale of each term, and the learning rate if the method has its own optimiser",
        learns,
    ),
    Rule(
        "same seed",
        "two runs end with the same bits",
        "draw with batch.generator; use no clock, no order of a set, and no dropout (it draws globally)",
        repeats,
    ),
    Rule(
        "global random state",
        "neither drawn from nor seeded",
        "draw with batch.generator, or in __init__ with torch's default generator only",
        leaves_global_generators,
    ),
    Rule(
        "resume",
        "a stopped and continued run ends with the same bits",
        "keep what must survive in parameters, buffers or get_extra_state / set_extra_state",
        resumes,
    ),
)
