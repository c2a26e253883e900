"""Rules on what a method computes from a batch: its views, the terms of its loss, what it logs."""

import re

import torch
from torch import Tensor

from bench.conformance.rule import NOT_FINITE, NotApplicable, Rule, Unmet
from bench.conformance.trial import OPTIMISATION, Situation, Trial, take_steps, trial_batch
from imssl.method import Batch, Losses

TERM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# Columns of the training curves that the suite itself writes.
TAKEN = re.compile(r"epoch|loss|learning_rate|images_per_second|knn_macro_auroc|spread_\d+")
OPTIMISER_MEMBERS = ("param_groups", "zero_grad", "step", "state_dict", "load_state_dict", "state")
NAMES = (
    "letters, digits and _, a letter first, at most 40; epoch, loss, learning_rate, images_per_second, "
    "knn_macro_auroc and spread_1 to spread_4 are taken"
)

RENAME = "rename it where losses() returns it, or in log()"


def makes_views(trial: Trial) -> str:
    """A view has as many images as were given, all finite, and the same ones for the same generator."""
    first: tuple[Tensor, ...] = ()
    for situation in _situations(trial)[0]:
        method, _ = trial.build(situation)
        first, second = (trial_batch(method, situation).views for _ in range(2))
        for view in first:
            expected = (situation.scale.batch_size, situation.channels)
            if view.shape[:2] != expected or view.dtype != torch.float32:
                raise Unmet(f"a view is {tuple(view.shape)} {view.dtype} for {situation.in_words}")
            if not torch.isfinite(view).all():
                raise Unmet("a view holds NaN or infinity")
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise Unmet("the same generator gives other views")
    return f"{len(first)} of each image"


def gives_losses(trial: Trial) -> str:
    """The losses are finite scalars by name, with a gradient, in every situation."""
    if not trial.method.pretrains:
        raise NotApplicable("the method does not pretrain (pretrains is False)")
    terms: Losses = {}
    situations, refused = _situations(trial)
    for situation in situations:
        method, _ = trial.build(situation)
        terms = method.losses(trial_batch(method, situation))
        _check_terms(terms, method.logged, situation)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        total.backward()
        broken = [name for name, weight in method.named_parameters() if not _finite(weight.grad)]
        if broken:
            raise Unmet(f"the gradient of {broken[0]} is not finite for {situation.in_words}")
    return ", ".join(terms) + (f"; refused at {refused}" if refused else "")


def _situations(trial: Trial) -> tuple[list[Situation], str]:
    """Small batches that the method accepts, the run's where it accepts none, and the refusals in words."""
    tried = list(trial.small_batches())
    accepted = [situation for situation, refusal in tried if not refusal]
    refused = [(situation.in_words, refusal) for situation, refusal in tried if refusal]
    words = f"{', '.join(size for size, _ in refused)}: {refused[0][1]}" if refused else ""
    return accepted or [trial.situation(channels) for channels in (1, 3)], words


def leaves_the_batch_alone(trial: Trial) -> str:
    """Views and images stay bit for bit as they were."""
    situation = trial.situation()
    method, _ = trial.build(situation)
    batch = trial_batch(method, situation)
    before = [tensor.clone() for tensor in (*batch.views, batch.images)]
    method.losses(batch)
    _compare(batch, before, "losses()")
    method.after_step(batch)
    _compare(batch, before, "after_step()")
    return "views and images unchanged"


def _compare(batch: Batch, before: list[Tensor], where: str) -> None:
    for n, (now, then) in enumerate(zip((*batch.views, batch.images), before, strict=True)):
        if not torch.equal(now, then):
            name = f"view {n}" if n < len(batch.views) else "images"
            raise Unmet(f"{where} changed the batch's {name}")


def _check_terms(terms: object, logged: dict[str, Tensor], situation: Situation) -> None:
    if not isinstance(terms, dict) or not terms:
        raise Unmet(f"losses() gives {type(terms).__name__ if not isinstance(terms, dict) else 'no term'}")
    for name in (*terms, *logged):
        if not isinstance(name, str) or not TERM_NAME.fullmatch(name) or TAKEN.fullmatch(name):
            raise Unmet(f"{name!r} cannot be the name of a term: {NAMES}", RENAME)
    for name, term in {**terms, **logged}.items():
        if not isinstance(term, Tensor) or term.ndim or not term.is_floating_point():
            shown = f"{tuple(term.shape)} {term.dtype}" if isinstance(term, Tensor) else type(term).__name__
            raise Unmet(f"{name} is {shown}")
        if not torch.isfinite(term):
            raise Unmet(f"{name} is {term.item()} for {situation.in_words}")
    if not any(term.requires_grad for term in terms.values()):
        raise Unmet("no term has a gradient")


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def finite_steps(trial: Trial) -> str:
    """No term of the loss is NaN or infinite in the steps of a trial."""
    situation = trial.situation()
    take_steps(trial.training(situation), situation, situation.steps)
    return f"in {situation.steps} steps"


def brings_an_optimiser(trial: Trial) -> str:
    """The optimiser is one, and its learning rates are numbers of at least 0 all through the run."""
    situation = trial.situation()
    method, _ = trial.build(situation)
    optimizer = method.optimizer(OPTIMISATION)
    if not isinstance(optimizer, torch.optim.Optimizer):
        missing = [name for name in OPTIMISER_MEMBERS if not hasattr(optimizer, name)]
        if missing:
            raise Unmet(f"optimizer() gives {type(optimizer).__name__}, which has no {missing[0]}")
    for group in optimizer.param_groups:
        for share in range(20):
            progress = share / 20
            factor = method.learning_rate_factor(OPTIMISATION, progress, group)
            if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
                raise Unmet(f"learning_rate_factor gives {_shown(factor)} at progress {progress:g}")
        if not 0 <= group["lr"] < float("inf"):
            raise Unmet(f"a group's learning rate is {_shown(group['lr'])}")
    return f"{type(optimizer).__name__}, {len(optimizer.param_groups)} groups"


RULES = (
    Rule(
        "views",
        "float32 (B, C, H, W), finite, drawn from the generator",
        "draw with the generator that augmented() is given, and keep every image",
        makes_views,
        needs="method",
    ),
    Rule(
        "losses",
        "finite scalars with gradient, by name; grey and colour, batches of 2 and 5",
        "losses(batch) returns {'name': scalar tensor}; guard divisions, logarithms and batch statistics",
        gives_losses,
        needs="method",
    ),
    Rule(
        "optimiser",
        "a torch.optim.Optimizer; learning rates are numbers of at least 0",
        "optimizer(optimisation) returns a torch.optim.Optimizer, or an object with its members; "
        "learning_rate_factor returns a float >= 0",
        brings_an_optimiser,
        needs="method",
    ),
    Rule(
        "batch unchanged",
        "views and images stay as they are",
        "work on a clone: no in-place operation (add_, [...] =) on the batch",
        leaves_the_batch_alone,
    ),
    Rule(
        "finite steps",
        "no NaN and no infinity in the first steps",
        NOT_FINITE,
        finite_steps,
    ),
)
