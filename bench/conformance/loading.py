"""Loads the class and the settings of a method file that is not in imssl/methods (yet); in the child only."""

import json
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from bench.conformance.advice import IN_GENERAL, advice, missing_module_advice
from bench.conformance.method_source import MethodSource
from bench.conformance.surroundings.guard import module_name
from bench.protocol.params_file import problems
from bench.protocol.protocol import FILE_KEY, ROW_KEYS, values
from bench.protocol.registry import find_own_methods, only_method, place_of_method
from imssl.errors import UserError
from imssl.method import Method, MethodSettings


def load_class(source: MethodSource) -> type[Method]:
    """Run the file as if it were imported from imssl/methods, and return the method it defines.

    Nothing in its module tells it that it is being checked: name, path and specification are those of a run.

    Raises:
        UserError: it fails, or does not define exactly one method; the message names the line.
    """
    name, place = module_name(source.path.name), place_of(source)
    specification = spec_from_file_location(name, place)
    assert specification is not None
    module = module_from_spec(specification)
    find_own_methods()  # it may build on another file of the project
    # Dataclasses and pydantic look a class's module up by its name.
    sys.modules[name] = module
    try:
        exec(compile(source.text, place, "exec", dont_inherit=True), module.__dict__)
    except ModuleNotFoundError as error:
        help_with_it = missing_module_advice(error, source.path.parent)
        raise UserError(f"{at_fault(error, source)}.{help_with_it}") from None
    except (Exception, SystemExit) as error:
        hint = advice(error)
        help_with_it = "" if hint == IN_GENERAL else f" {hint[0].upper()}{hint[1:]}."
        raise UserError(f"{at_fault(error, source)}.{help_with_it}") from None
    return only_method(module, source.path)


def place_of(source: MethodSource) -> str:
    """Where the file lies, or would lie, in a run: the name under which its code is compiled."""
    return str(place_of_method(source.path.name))


def at_fault(error: BaseException, source: MethodSource) -> str:
    """``mine.py, line 12: ValueError: its message``, the last line of the file in the traceback."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == place_of(source)
    ]
    where = f"{source.path}, line {frames[-1].lineno}" if frames else str(source.path)
    message = " ".join(str(error).split())[:500].rstrip(".")
    if isinstance(error, UserError):
        return f"{where}: {message}"
    kind = "ends the program" if isinstance(error, SystemExit) else type(error).__name__
    return f"{where}: {kind}{': ' if message else ''}{message}"


def load_settings(method: type[Method], row: str, given: dict[str, Any]) -> MethodSettings:
    """The hyper-parameters of one row, defaults included.

    Raises:
        UserError: a key or value is not allowed; the message lists the hyper-parameters that there are.
    """
    settings_class = getattr(method, "settings_class", None)
    if not (isinstance(settings_class, type) and issubclass(settings_class, MethodSettings)):
        raise UserError(
            f"{method.__name__}.settings_class is {settings_class!r}; it must be a subclass of "
            "imssl.method.MethodSettings."
        )
    try:
        return settings_class.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        lines = "\n".join(
            f"  {'.'.join(map(str, key_path)) or row} {message}."
            for key_path, message in problems(error, given)
        )
        raise UserError(
            f"hyper-parameters of {row}:\n{lines}\nThere are: {described(settings_class)}."
        ) from None


def described(settings_class: type[MethodSettings]) -> str:
    """The fields of a settings class with types and defaults: ``temperature: float = 0.1, ...``."""
    fields = []
    for name, field in settings_class.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        kind = " or ".join(map(repr, choices)) or getattr(field.annotation, "__name__", str(field.annotation))
        default = "" if field.is_required() else f" = {field.default!r}"
        fields.append(f"{name}: {kind}{default}")
    return ", ".join(fields) or "none"


def as_row(settings: MethodSettings) -> dict[str, Any]:
    """Settings as a row of params.yaml holds them.

    Raises:
        UserError: one is called as a key of the row that is no hyper-parameter.
    """
    for key in ROW_KEYS:
        if key in type(settings).model_fields:
            raise UserError(
                f"a hyper-parameter cannot be called {key}, which in params.yaml names the method's "
                f"{'file' if key == FILE_KEY else 'own values of the optimiser'}; rename it."
            )
    return values(settings)
