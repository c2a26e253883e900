"""Rules on what a method is made of: its import, hyper-parameters, views and losses."""

import re
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.cells.fingerprints import reached_modules
from bench.conformance.global_state import changed_names, global_state
from bench.conformance.loading import as_row, described, load_settings
from bench.conformance.rule import NotApplicable, Rule, Unmet
from bench.conformance.trial import SIZE, Situation, Trial, trial_batch
from bench.protocol.registry import METHODS_FOLDER
from imssl.errors import UserError
from imssl.method import Batch, Losses

# Every method must work on grey and colour images, and on the smallest batches.
SITUATIONS = tuple(Situation(channels=channels, batch_size=size) for channels in (1, 3) for size in (2, 5))
TERM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# Columns of the training curves that the suite itself writes.
TAKEN = re.compile(r"epoch|loss|learning_rate|images_per_second|knn_macro_auroc|spread_\d+")


def leaves_the_suite_alone(trial: Trial) -> str:
    """Importing the file changes nothing outside it."""
    changed = changed_names(trial.before, global_state())
    if changed:
        raise Unmet(f"changed: {', '.join(changed[:5])}")
    return "nothing changed"


def has_typed_parameters(trial: Trial) -> str:
    """Hyper-parameters are typed, have valid defaults, and survive a round trip through params.yaml."""
    settings_class = type(trial.settings)
    for name, setting in settings_class.model_fields.items():
        if setting.annotation is Any or "dict" in str(setting.annotation).lower():
            raise Unmet(f"{name} is {setting.annotation}, which allows anything")
        if setting.is_required():
            raise Unmet(f"{name} has no default")
    config = settings_class.model_config
    if config.get("extra") != "forbid" or not config.get("frozen"):
        raise Unmet("the class accepts unknown keys or changes of its values")
    try:
        read_back = load_settings(trial.method, "default", as_row(settings_class()))
    except (UserError, ValidationError) as error:
        raise Unmet(f"the defaults are refused: {error}") from None
    if read_back != settings_class():
        raise Unmet("the defaults are not the same after they were written and read")
    return described(settings_class)


def cannot_reach_labels(trial: Trial) -> str:
    """Nothing that the file imports, directly or by way of other modules, reads data sets."""
    reached = reached_modules(trial.source.content, METHODS_FOLDER / trial.source.path.name)
    forbidden = [
        name for name in reached if name.startswith("imssl.datasets") or name.split(".")[0] == "bench"
    ]
    if forbidden:
        raise Unmet(f"the file imports {', '.join(forbidden[:3])}, or something that does")
    return "nothing that reads data sets is imported"


def makes_views(trial: Trial) -> str:
    """A view has as many images as were given, all finite, and the same ones for the same generator."""
    for situation in SITUATIONS:
        method, _ = trial.build(situation)
        first, second = (trial_batch(method, situation).views for _ in range(2))
        for view in first:
            if view.shape[:2] != (situation.batch_size, situation.channels) or view.dtype != torch.float32:
                raise Unmet(f"a view is {tuple(view.shape)} {view.dtype} for {_in_words(situation)}")
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
    for situation in SITUATIONS:
        method, _ = trial.build(situation)
        terms = method.losses(trial_batch(method, situation))
        _check_terms(terms, method.logged, situation)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        total.backward()
        broken = [name for name, weight in method.named_parameters() if not _finite(weight.grad)]
        if broken:
            raise Unmet(f"the gradient of {broken[0]} is not finite for {_in_words(situation)}")
    return ", ".join(terms)


def leaves_the_batch_alone(trial: Trial) -> str:
    """Views and images stay bit for bit as they were."""
    situation = Situation()
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
            raise Unmet(f"{name!r} cannot be a column of the training curves")
    for name, term in {**terms, **logged}.items():
        if not isinstance(term, Tensor) or term.ndim or not term.is_floating_point():
            shown = f"{tuple(term.shape)} {term.dtype}" if isinstance(term, Tensor) else type(term).__name__
            raise Unmet(f"{name} is {shown}")
        if not torch.isfinite(term):
            raise Unmet(f"{name} is {term.item()} for {_in_words(situation)}")
    if not any(term.requires_grad for term in terms.values()):
        raise Unmet("no term has a gradient")


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())


def _in_words(situation: Situation) -> str:
    kind = "grey" if situation.channels == 1 else "colour"
    return f"{situation.batch_size} {kind} images of {SIZE} px"


RULES = (
    Rule(
        "import",
        "leaves imssl, torch's settings and the environment as they were",
        "define classes and functions only; put work into __init__ and losses",
        leaves_the_suite_alone,
        trains=False,
    ),
    Rule(
        "parameters",
        "typed fields with valid defaults",
        "a subclass of MethodSettings with fields such as temperature: float = Field(default=0.1, gt=0)",
        has_typed_parameters,
        trains=False,
    ),
    Rule(
        "no labels",
        "imports nothing that reads data sets",
        "a method gets its images in the Batch, and nothing else",
        cannot_reach_labels,
        trains=False,
    ),
    Rule(
        "views",
        "float32 (B, C, H, W), finite, drawn from the generator",
        "draw with the generator that augmented() is given, and keep every image",
        makes_views,
        trains=False,
    ),
    Rule(
        "losses",
        "finite scalars with gradient, by name; grey and colour, batches of 2 and 5",
        "losses(batch) returns {'name': scalar tensor}; guard divisions, logarithms and batch statistics",
        gives_losses,
        trains=False,
    ),
    Rule(
        "batch unchanged",
        "views and images stay as they are",
        "work on a clone: no in-place operation (add_, [...] =) on the batch",
        leaves_the_batch_alone,
    ),
)
