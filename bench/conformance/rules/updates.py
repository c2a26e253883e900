"""Rules on who changes the encoder: the optimiser alone, by one update a step, in proportion to its rate.

Otherwise a method could train the encoder for longer than the others, or start from weights of its own.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from bench.conformance.rule import Rule, Unmet
from bench.conformance.trial import OPTIMISATION, Trial, take_steps, trial_batch
from imssl.pretrain import Training

# What the training loop calls between one update and the next, where a method has it.
CALLED = (
    "augmented",
    "partners",
    "losses",
    "before_step",
    "after_step",
    "after_epoch",
    "learning_rate_factor",
)
# One gradient, and a second one for an update that looks ahead, such as SAM's (Foret et al. 2021).
MOST_GRADIENTS = 2
# The share of a weight's norm that may be lost to rounding where an update of rate 0 is made and taken back.
ROUNDING = 1e-4


def changes_only_in_updates(trial: Trial) -> str:
    """Parameters of the encoder are the same before and after everything but the optimiser's step."""
    situation = trial.situation()
    method, encoder = trial.build(situation)
    ledger = _Ledger(dict(encoder.named_parameters()))
    method.optimizer(OPTIMISATION)
    ledger.expect("optimizer()")
    training = trial.training(situation)
    ledger = _Ledger(dict(training.method.encoder.named_parameters()))
    _observe(training, ledger)
    take_steps(training, situation, situation.steps)
    ledger.expect("a step, after its last call")
    return "by the optimiser alone"


def updates_once_a_step(trial: Trial) -> str:
    """No parameter of the encoder is updated twice in a step, and no step takes many gradients."""
    situation = trial.situation()
    training = trial.training(situation)
    weights = dict(training.method.encoder.named_parameters())
    names = {id(weight): name for name, weight in weights.items()}
    first = next(iter(weights.values()))
    gradients = Counter[str]()
    handle = first.register_hook(lambda _: gradients.update(["taken"]))
    most_updates = most_gradients = 0
    with _all_optimisers_counted() as updates:
        for step in range(situation.steps):
            updates.clear()
            gradients.clear()
            training.take_step(trial_batch(training.method, situation, step), "float32")
            most_updates = max([most_updates, *(n for key, n in updates.items() if key in names)])
            most_gradients = max(most_gradients, gradients["taken"])
    handle.remove()
    if most_updates > 1:
        raise Unmet(f"the encoder is updated {most_updates} times in one step")
    if most_gradients > MOST_GRADIENTS:
        raise Unmet(f"{most_gradients} gradients of the encoder are taken in one step")
    return f"{most_updates} update and {most_gradients} gradient a step"


def follows_the_learning_rate(trial: Trial) -> str:
    """With a learning rate of zero the first step leaves the encoder where it was."""
    situation = trial.situation()
    training = trial.training(situation)
    training.learning_rates = [0.0] * len(training.learning_rates)
    weights = dict(training.method.encoder.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    training.take_step(trial_batch(training.method, situation), "float32")
    moved = [name for name, weight in weights.items() if not _nearly(weight, before[name])]
    if moved:
        raise Unmet(f"a first step with a learning rate of 0 changes {moved[0]}")
    return "a learning rate of 0 changes nothing"


def _nearly(weight: Tensor, before: Tensor) -> bool:
    return float((weight.detach() - before).norm()) <= ROUNDING * float(before.norm()) + 1e-12


class _Ledger:
    """Values of parameters, compared with what they were at the last entry."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self.updating = False
        self.note()

    def note(self) -> None:
        """Take the values as they are now for right."""
        self.values = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def expect(self, when: str) -> None:
        """Raise Unmet where a parameter is not as it was noted."""
        for name, weight in self.weights.items():
            if not _same(weight.detach(), self.values[name]):
                raise Unmet(f"{name} of the encoder changes during {when}")


def _same(value: Tensor, before: Tensor) -> bool:
    """NaN is equal to NaN here: it is another check that a weight is finite."""
    return bool(torch.isclose(value, before, rtol=0.0, atol=0.0, equal_nan=True).all())


def _observe(training: Training, ledger: _Ledger) -> None:
    """Compare the encoder before and after each call of the loop, and let the optimiser's step change it."""
    method = training.method
    for name in CALLED:
        function = getattr(method, name, None)
        if function is not None:
            object.__setattr__(method, name, _compared(function, f"{name}()", ledger))
    step = training.optimizer.step

    @functools.wraps(step)  # the loop looks at whether it demands a closure
    def update(*arguments: Any, **keywords: Any) -> Any:
        ledger.expect("the backward pass")
        ledger.updating = True  # an update may call losses() again where it looks ahead
        result = step(*arguments, **keywords)
        ledger.updating = False
        ledger.note()
        return result

    training.optimizer.step = update  # type: ignore[method-assign]


def _compared(function: Callable[..., Any], name: str, ledger: _Ledger) -> Callable[..., Any]:
    @functools.wraps(function)  # the loop looks at the arguments that a hook takes
    def called(*arguments: Any, **keywords: Any) -> Any:
        if ledger.updating:
            return function(*arguments, **keywords)
        ledger.expect(f"what comes before {name}")
        result = function(*arguments, **keywords)
        ledger.expect(name)
        return result

    return called


@contextmanager
def _all_optimisers_counted() -> Iterator[Counter[int]]:
    """Updates by identity of the parameter, also by optimisers inside of others."""
    updates, open_steps = Counter[int](), list[bool]()

    def begins(*_: object) -> None:
        if open_steps:
            open_steps[-1] = True  # the outer one passes its update on
        open_steps.append(False)

    def ends(optimizer: Optimizer, *_: object) -> None:
        if not open_steps.pop():
            updates.update(
                id(weight)
                for group in optimizer.param_groups
                for weight in group["params"]
                if weight.grad is not None
            )

    handles = (register_optimizer_step_pre_hook(begins), register_optimizer_step_post_hook(ends))
    try:
        yield updates
    finally:
        for handle in handles:
            handle.remove()


RULES = (
    Rule(
        "who changes the encoder",
        "its parameters change in the optimiser's step only",
        "change the encoder's weights nowhere but by gradients; a momentum copy is a network of its own",
        changes_only_in_updates,
    ),
    Rule(
        "one update",
        "one update of the encoder a step; fewer where gradients are accumulated",
        "every method trains for as many steps as the others: let one step of the optimiser be one update",
        updates_once_a_step,
    ),
    Rule(
        "starting point",
        "the weights that every method starts from",
        "an update is proportional to the learning rate of its group; load no weights",
        follows_the_learning_rate,
    ),
)
