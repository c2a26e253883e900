"""params.yaml as a file: read with its line numbers, and mistakes in it explained by them."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from imssl.errors import UserError

PARAMS = Path("params.yaml")

# Ids become folder names, stage names and anchors of the report; a letter first, so that YAML reads text.
ID_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"

# No protocol comes near; a few lines of aliases can stand for thousands of millions of values.
MOST_VALUES = 100_000
DEEPEST = 20

Place = tuple[str | int, ...]


def read_params(path: Path = PARAMS) -> CommentedMap:
    """params.yaml as written, comments included.

    Raises:
        UserError: the file is missing or is not a YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} not found. Run this in the project's folder, or write it with: bench profile use demo"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return parse_params(text, path)


def parse_params(text: str, path: Path = PARAMS) -> CommentedMap:
    """The text of params.yaml, comments included.

    Args:
        text: of the file.
        path: its name, for the reader.

    Raises:
        UserError: it is not a YAML mapping.
    """
    try:
        content = YAML().load(text)
    except MarkedYAMLError as error:
        where = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else str(path)
        raise UserError(f"{where}: not YAML: {error.problem}.") from None
    except RecursionError:
        raise _too_deep(str(path)) from None
    except (YAMLError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, CommentedMap):
        found = {type(None): "nothing", CommentedSeq: "a list"}.get(type(content), "a single value")
        raise UserError(f"{path} must hold sections such as datasets: and methods:, but holds {found}.")
    _check_values(content, str(path), depth=0, seen=itertools.count())
    return content


def explain(error: ValidationError, content: dict[str, Any], file: str, prefix: Place = ()) -> str:
    """Every refused value of a validation error on a line: file, line number, key, value, what is allowed.

    Args:
        error: of a part of params.yaml.
        content: the whole of params.yaml, as :func:`read_params` gives it.
        file: its name, for the reader.
        prefix: keys that lead to the part.
    """
    lines = []
    for place, message in problems(error, content, prefix):
        line, key = _line(content, place), ".".join(str(part) for part in place)
        where = f"{file}, line {line}" if line else file
        lines.append(f"{where}: {key + ' ' if key else ''}{message}.")
    return "\n".join(lines)


def problems(error: ValidationError, content: dict[str, Any], prefix: Place = ()) -> list[tuple[Place, str]]:
    """The keys that lead to each refused value, and what is wrong with it."""
    return [_place_and_message(problem, content, prefix) for problem in error.errors()]


def line_of(place: Place) -> str:
    """``params.yaml, line 7`` for a place in params.yaml; without a line where it cannot be told."""
    line = _line(read_params(), place) if PARAMS.exists() else None
    return f"{PARAMS}, line {line}" if line else str(PARAMS)


def _place_and_message(problem: ErrorDetails, content: Any, prefix: Place) -> tuple[Place, str]:
    place, kind = _place(content, prefix, problem["loc"]), problem["type"]
    message, given, context = problem["msg"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return place, "is not a known key here; remove it or mend its spelling"
    if kind == "missing":
        return place, "is missing"
    if kind == "union_tag_not_found":
        return (*place, "source"), "is missing"
    if kind == "value_error":
        # A model's validator knows no line; its message begins with the key to mend.
        message = message.removeprefix("Value error, ")
        named, _, rest = message.partition(" ")
        found = (*place, *named.split("."))
        return (found, rest) if _find(content, found) else (place, message)
    if kind == "union_tag_invalid":
        place, given = (*place, "source"), context["tag"]
        message = f"input should be one of {context['expected_tags']}"
    elif kind == "string_pattern_mismatch" and context["pattern"] == ID_PATTERN:
        message = "use lower-case letters, digits and single hyphens, a letter first"
    shown = "a mapping" if isinstance(given, dict) else json.dumps(given, default=str)[:80]
    message = message.replace("an object", "a mapping").replace("array", "list")
    return place, f"is {shown}; {message[0].lower()}{message[1:]}"


def _place(content: Any, prefix: Place, location: Place) -> Place:
    # Pydantic puts the chosen member of a union ("phantom") and "[key]" into the location; neither is a key.
    place = prefix
    for n, part in enumerate(location, start=1):
        missing_key = n == len(location) and part != "[key]"
        if missing_key or _find(content, (*place, part)):
            place = (*place, part)
    return place


def _find(content: Any, place: Place) -> bool:
    for part in place:
        if isinstance(content, list):
            content = dict(enumerate(content))
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def _line(content: Any, place: Place) -> int | None:
    line = None
    for part in place:
        if not _find(content, (part,)):
            break
        # A key that came in by a merge (<<) has no line of its own here.
        if part in (content.lc.data or {}):
            line = content.lc.data[part][0] + 1
        content = content[part]
    return line


def _check_values(content: CommentedMap | CommentedSeq, file: str, depth: int, seen: Iterator[int]) -> None:
    """Refuse what JSON does not have (keys that are not text, dates, tags), and aliases without end."""
    if depth > DEEPEST:
        raise _too_deep(file)
    for key, value in content.items() if isinstance(content, CommentedMap) else enumerate(content):
        where = f"{file}, line {content.lc.data[key][0] + 1}" if key in (content.lc.data or {}) else file
        if next(seen) > MOST_VALUES:
            raise UserError(f"{where}: more than {MOST_VALUES} values; write out what aliases repeat.")
        if isinstance(content, CommentedMap) and not isinstance(key, str):
            raise UserError(f"{where}: the key {key} is not text; rename it.")
        tag = getattr(getattr(value, "tag", None), "value", None)
        if tag is not None and not str(tag).startswith("tag:yaml.org,2002:"):
            raise UserError(f"{where}: {key} has the tag {tag}, which means nothing here; remove it.")
        if isinstance(value, CommentedMap | CommentedSeq):
            _check_values(value, file, depth + 1, seen)
        elif not isinstance(value, str | int | float | None):
            kind = type(value).__name__
            raise UserError(f"{where}: {key} is read as a {kind}; put it in quotes if it is meant as text.")


def _too_deep(file: str) -> UserError:
    return UserError(f"{file} is nested more than {DEEPEST} deep, or contains itself; write it out flat.")
