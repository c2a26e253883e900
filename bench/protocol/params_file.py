"""params.yaml as a file: read with its line numbers, so that messages can name the line to mend."""

import io
import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bench.protocol.nearest_name import did_you_mean
from imssl.errors import UserError
from imssl.regular_file import read_regular

PARAMS = Path("params.yaml")
PROFILES = Path(__file__).parent / "profiles"

# Ids become folder names, stage names and anchors of the report; a letter first, so that YAML reads text.
ID_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"

# Far above any real protocol: a few lines of YAML aliases can expand to thousands of millions of values.
MOST_VALUES = 100_000
DEEPEST = 20
# The parser's time grows with the square of the depth: 5,000 levels take it minutes. So the text is looked at
# first, and generously, as brackets and hyphens may also stand in comments and quotes.
MOST_BRACKETS = 200

# The keys, and indices of lists, that lead to a value.
KeyPath = tuple[str | int, ...]


def read_params(path: Path = PARAMS) -> CommentedMap:
    """params.yaml as written, comments included.

    Raises:
        UserError: the file is missing or is not a YAML mapping.
    """
    return parse_params(params_text(path), path)


def params_text(path: Path = PARAMS) -> str:
    """The text of params.yaml.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        return read_regular(path).decode()
    except FileNotFoundError:
        raise UserError(
            f"{path} not found. Run this in the project's folder, or write it with: bench profile use demo"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def parse_params(text: str, path: Path = PARAMS) -> CommentedMap:
    """The text of params.yaml, comments included.

    Args:
        text: content of the file.
        path: the file's name, for messages.

    Raises:
        UserError: it is not a YAML mapping.
    """
    if _nesting(text) > MOST_BRACKETS:
        raise _too_deep(str(path))
    try:
        content = YAML().load(text)
    except MarkedYAMLError as error:
        where = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else str(path)
        raise UserError(f"{where}: not YAML: {error.problem}.") from None
    except RecursionError:
        raise _too_deep(str(path)) from None
    # ruamel.yaml raises NotImplementedError for comments in places that it cannot keep.
    except (YAMLError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, CommentedMap):
        actual = {type(None): "nothing", CommentedSeq: "a list"}.get(type(content), "a single value")
        raise UserError(f"{path} must hold sections such as datasets: and methods:, but holds {actual}.")
    _check_values(content, str(path), depth=0, seen=itertools.count())
    return content


def as_dvc_writes(text: str) -> str:
    """The text in the form in which DVC writes it, so that ``dvc exp run -S`` changes one line and no other.

    DVC reads and writes by ruamel.yaml and puts plain lists into the place of all lists, which ruamel writes
    an entry a line. Comments stay; a blank line below a list does not, and is left out at once.

    Args:
        text: of params.yaml; YAML, which the caller has checked.
    """
    yaml = YAML()
    yaml.default_flow_style = False
    for _ in range(2):  # what ruamel keeps with a list that it has read is gone the second time
        content = yaml.load(text)
        _make_lists_plain(content)
        stream = io.StringIO()
        yaml.dump(content, stream)
        text = stream.getvalue()
    return text


def _make_lists_plain(content: CommentedMap) -> None:
    for key, value in content.items():
        if isinstance(value, CommentedMap):
            _make_lists_plain(value)
        elif isinstance(value, CommentedSeq):
            content[key] = list(value)


def explain(error: ValidationError, content: dict[str, Any], file: str, prefix: KeyPath = ()) -> str:
    """One line for every value that was refused: file, line number, key, value, and what is allowed.

    Args:
        error: from validating params.yaml, or a part of it.
        content: the whole of params.yaml, as :func:`read_params` returns it.
        file: name of the file, for messages.
        prefix: keys that lead to the validated part.
    """
    lines = []
    for key_path, message in problems(error, content, prefix):
        line, key = _line(content, key_path), ".".join(str(part) for part in key_path)
        where = f"{file}, line {line}" if line else file
        lines.append(f"{where}: {key + ' ' if key else ''}{message}.")
    return "\n".join(lines)


def problems(
    error: ValidationError, content: dict[str, Any], prefix: KeyPath = ()
) -> list[tuple[KeyPath, str]]:
    """The keys that lead to each refused value, and what is wrong with it."""
    return [_key_path_and_message(problem, content, prefix) for problem in error.errors()]


def line_of(key_path: KeyPath) -> str:
    """``params.yaml, line 7`` for a key of params.yaml; only the file's name where the line is not known."""
    line = _line(read_params(), key_path) if PARAMS.exists() else None
    return f"{PARAMS}, line {line}" if line else str(PARAMS)


def _key_path_and_message(problem: ErrorDetails, content: Any, prefix: KeyPath) -> tuple[KeyPath, str]:
    kind = problem["type"]
    key_path = _key_path(content, prefix, problem["loc"], ends_in_key=kind == "missing")
    message, given, context = problem["msg"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        hint = did_you_mean(str(key_path[-1]), _known_keys()).rstrip("?").lstrip()
        hint = f" ({hint[0].lower()}{hint[1:]}?)" if hint else ""
        return key_path, f"is not a known key here; remove it or mend its spelling{hint}"
    if kind == "missing":
        return key_path, "is missing"
    if kind == "union_tag_not_found":
        return (*key_path, "source"), "is missing"
    if kind == "value_error":
        # A model's validator does not know the line; its message begins with the key to mend.
        message = message.removeprefix("Value error, ")
        key, _, rest = message.partition(" ")
        named_path = (*key_path, *key.split("."))
        return (named_path, rest) if _exists(content, named_path) else (key_path, message)
    if kind == "union_tag_invalid":
        key_path, given = (*key_path, "source"), context["tag"]
        message = f"input should be one of {context['expected_tags']}"
    elif kind == "string_pattern_mismatch" and context["pattern"] == ID_PATTERN:
        message = "use lower-case letters, digits and single hyphens, a letter first"
    shown = "a mapping" if isinstance(given, dict) else json.dumps(given, default=str)[:80]
    message = message.replace("an object", "a mapping").replace("array", "list")
    return key_path, f"is {shown}; {message[0].lower()}{message[1:]}"


@cache
def _known_keys() -> list[str]:
    """Every key that a profile holds, whatever it is in."""
    keys: dict[str, None] = {}
    waiting: list[Any] = [YAML().load(file) for file in sorted(PROFILES.glob("*.yaml"))]
    while waiting:
        content = waiting.pop()
        if isinstance(content, dict):
            keys |= dict.fromkeys(str(key) for key in content)
            waiting += content.values()
    return list(keys)


def _key_path(content: Any, prefix: KeyPath, location: KeyPath, ends_in_key: bool) -> KeyPath:
    # Pydantic puts the chosen member of a union ("phantom") and "[key]" into the location; neither is a key.
    # Of the keys that are, only a missing one, the last, is not in the content. Where there is no content to
    # compare with, all are believed.
    key_path = prefix
    for n, part in enumerate(location, start=1):
        missing_key = ends_in_key and n == len(location)
        if missing_key or not content or _exists(content, (*key_path, part)):
            key_path = (*key_path, part)
    return key_path


def _exists(content: Any, key_path: KeyPath) -> bool:
    for part in key_path:
        if isinstance(content, list):
            content = dict(enumerate(content))
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def _line(content: Any, key_path: KeyPath) -> int | None:
    line = None
    for part in key_path:
        if not _exists(content, (part,)):
            break
        # A key that came in by a merge (<<) has no line of its own here.
        if part in (content.lc.data or {}):
            line = content.lc.data[part][0] + 1
        content = content[part]
    return line


def _nesting(text: str) -> int:
    """At least as many levels as a YAML text has: open brackets, and blocks and list items by indentation."""
    deepest = brackets = 0
    blocks: list[int] = []
    for line in text.splitlines():
        body = line.lstrip(" ")
        if not body or body.startswith("#"):
            continue
        while blocks and blocks[-1] >= len(line) - len(body):
            blocks.pop()
        for item in re.finditer(r"[-?:] +", body):
            if item.start() and body[: item.start()].strip(" -?:"):
                break
            blocks.append(len(line) - len(body) + item.start())
        blocks.append(len(line) - len(body.lstrip("-?: ")))
        for character in body:
            brackets = max(0, brackets + (character in "[{") - (character in "]}"))
            deepest = max(deepest, brackets + len(blocks))
    return deepest


def _check_values(content: CommentedMap | CommentedSeq, file: str, depth: int, seen: Iterator[int]) -> None:
    """Refuse what JSON cannot hold (keys that are not text, dates, tags), and aliases that never end."""
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
    return UserError(
        f"{file} is nested more than {DEEPEST} levels deep, or an alias contains itself; write it out flat."
    )
