"""Rules on what a method is made of: its import, hyper-parameters, imports of others, and __init__."""

from typing import Any

from pydantic import ValidationError

from bench.cells.fingerprints import reached_modules
from bench.conformance.loading import as_row, described, load_settings
from bench.conformance.rule import Rule, Unmet
from bench.conformance.surroundings.guard import module_name
from bench.conformance.surroundings.state import changed_names, surroundings
from bench.conformance.trial import Trial
from bench.protocol.registry import place_of_method
from imssl.errors import UserError


def leaves_the_suite_alone(trial: Trial) -> str:
    """Everything around the method is as it was before its file was loaded."""
    changed = changed_names(trial.before, surroundings(module_name(trial.source.path.name)))
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
    reached = reached_modules(trial.source.content, place_of_method(trial.source.path.name))
    forbidden = [
        name for name in reached if name.startswith("imssl.datasets") or name.split(".")[0] == "bench"
    ]
    if forbidden:
        raise Unmet(f"the file imports {', '.join(forbidden[:3])}, or something that does")
    return "nothing that reads data sets is imported"


def can_be_built(trial: Trial) -> str:
    """The method accepts the run's number of images, image size and batch, or larger ones."""
    scale = trial.scale
    sizes = f"{scale.images:,} images of {scale.size} px, {scale.batch_size} in a step"
    return f"for {sizes}" if scale == trial.run_scale else f"refused at the run's size; accepted for {sizes}"


RULES = (
    Rule(
        "import",
        "leaves imssl, torch's settings and the environment as they were",
        "define classes and functions only; put work into __init__ and losses",
        leaves_the_suite_alone,
        needs="file",
    ),
    Rule(
        "parameters",
        "typed fields with valid defaults",
        "a subclass of MethodSettings with fields such as temperature: float = Field(default=0.1, gt=0)",
        has_typed_parameters,
        needs="file",
    ),
    Rule(
        "no labels",
        "imports nothing that reads data sets",
        "a method gets its images in the Batch, and nothing else",
        cannot_reach_labels,
        needs="file",
    ),
    Rule(
        "construction",
        "__init__ builds the method for grey and colour images",
        "raise UserError where the settings do not fit the training set, and nothing else",
        can_be_built,
        needs="method",
    ),
)
