"""Rules on how a method trains: gradients, a falling loss, repeatability, resuming."""

import math
import os
import random
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.conformance.rule import NotFinite, Rule, Unmet
from bench.conformance.surroundings.state import random_states
from bench.conformance.trial import Situation, Trial, take_steps, trial_batch
from imssl.checkpoint import load_checkpoint, save_checkpoint
from imssl.method import Batch, Method
from imssl.optimisation import update
from imssl.pretrain import Training
from imssl.settings.encoder import BLOCKS

# For training on the same 32 images over and over.
FITTED_IMAGES, FITTED_STEPS = 32, 20
# The share of its first value by which a loss must fall; rounding stays far below that.
LEAST_FALL = 0.01
# Past the first epoch of a trial, so that what it leaves behind has been used.
REPEATED_STEPS = 4

STORABLE = "convert it in get_extra_state(): torch.tensor(...), float(), int() or .tolist()"


def reaches_every_block(trial: Trial) -> str:
    """The stem and every block get a gradient, and the optimiser moves them."""
    situation = trial.situation()
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
    situation = _fitted(trial)
    training = trial.training(situation)
    method = training.method
    optimizer = training.optimizer
    losses: list[float] = []
    for step in range(FITTED_STEPS):
        batch = trial_batch(method, situation)
        progress = step / FITTED_STEPS
        for group, rate in zip(optimizer.param_groups, training.learning_rates, strict=True):
            group["lr"] = rate * method.learning_rate_factor(training.optimisation, progress, group)
        loss_and_gradient = partial(_loss_and_gradient, method, optimizer, batch)
        losses.append(float(loss_and_gradient().detach()))
        if not math.isfinite(losses[-1]):
            kind = "NaN" if math.isnan(losses[-1]) else "infinity"
            raise NotFinite(f"{kind} at step {step + 1} of {FITTED_STEPS} with one batch")
        update(optimizer, loss_and_gradient)
    first, last = losses[0], statistics.median(losses[-5:])
    course = f"{first:.4g} at first, {last:.4g} after {FITTED_STEPS} steps"
    if not last < first - LEAST_FALL * abs(first):
        raise Unmet(course)
    return course


def _loss_and_gradient(method: Method, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    loss = torch.stack([term.float() for term in method.losses(batch).values()]).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return loss


def repeats(trial: Trial) -> str:
    """Two runs of one seed end with the same bits, whatever states the global generators are in."""
    situation = trial.situation(steps=REPEATED_STEPS)
    states = []
    for run in range(2):
        _stir_global_generators(run)
        states.append(_trained_bytes(trial, situation))
    different = _different(*states)
    if different:
        raise Unmet(f"{different} differs between two runs of the same seed")
    return f"the same bits after {situation.steps} steps"


def forgets_other_seeds(trial: Trial) -> str:
    """A run after one of another seed, in the same process, equals one with the file freshly imported."""
    situation = trial.situation(steps=REPEATED_STEPS)
    fresh = trial.imported_anew()
    alone = _trained_bytes(fresh, situation)
    fresh = trial.imported_anew()
    _trained_bytes(fresh, trial.situation(steps=REPEATED_STEPS, seed=1))
    different = _different(alone, _trained_bytes(fresh, situation))
    if different:
        raise Unmet(f"{different} differs after another seed was run in the same process")
    return "a seed that is run after another ends with the same bits as alone"


def leaves_global_generators(trial: Trial) -> str:
    """The global generators of torch, NumPy and random are neither drawn from nor seeded."""
    situation = trial.situation()
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
    situation = trial.situation()
    uninterrupted = trial.training(situation)
    take_steps(uninterrupted, situation, situation.steps)
    stopped = trial.training(situation)
    take_steps(stopped, situation, situation.steps // 2 + 1)  # in the middle of an epoch
    _check_extra_state(stopped.method)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        save_checkpoint(file, stopped.state(), run="trial")
        resumed = trial.training(situation)
        resumed.restore(load_checkpoint(file, run="trial"), situation.device)
    take_steps(resumed, situation, situation.steps)
    different = _different(_state_bytes(uninterrupted.method), _state_bytes(resumed.method))
    if different:
        raise Unmet(f"{different} differs from a run that was not stopped")
    if _logged(uninterrupted) != _logged(resumed):
        raise Unmet("the losses differ from those of a run that was not stopped")
    return "the same bits as without a stop"


def _fitted(trial: Trial) -> Situation:
    return trial.situation(batch_size=max(FITTED_IMAGES, trial.scale.batch_size), steps=FITTED_STEPS)


def _check_extra_state(method: Method) -> None:
    """Only what a checkpoint can hold stands in get_extra_state."""
    for name, value in method.state_dict().items():
        place = _unstorable(value, f"get_extra_state() of {name.rpartition('.')[0] or type(method).__name__}")
        if place:
            raise Unmet(
                f"{place}; tensors, numbers, text, None, and lists and dictionaries of these may stand there",
                STORABLE,
            )


def _unstorable(value: object, place: str) -> str:
    """Where in a state something stands that a checkpoint cannot hold; empty if nowhere."""
    if isinstance(value, dict):
        inner = [_unstorable(each, f"{place}[{key!r}]") for key, each in value.items()]
    elif isinstance(value, list | tuple):
        inner = [_unstorable(each, f"{place}[{i}]") for i, each in enumerate(value)]
    else:
        kind = type(value)
        storable = isinstance(value, torch.Tensor) or kind in (int, float, bool, str, type(None))
        return "" if storable else f"{place} is {kind.__module__}.{kind.__name__}"
    return next((fault for fault in inner if fault), "")


def _trained_bytes(trial: Trial, situation: Situation) -> dict[str, object]:
    training = trial.training(situation)
    take_steps(training, situation, situation.steps)
    return _state_bytes(training.method)


def _different(expected: dict[str, object], state: dict[str, object]) -> str:
    """The first name whose bytes differ; empty if none does."""
    return next((name for name in expected if expected[name] != state.get(name)), "")


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
        "another seed before",
        "a run does not depend on what ran before it in the process",
        "keep nothing in variables of the module or the class: what a run needs is in the method",
        forgets_other_seeds,
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
