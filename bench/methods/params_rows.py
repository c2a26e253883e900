"""Adds and removes rows of ``methods:`` in the text of params.yaml, leaving every other byte as it is."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from imssl.errors import UserError

SECTION = "methods"


def with_row(text: str, row: str, settings: dict[str, Any]) -> str:
    """The text with a method added after the others.

    Args:
        text: of params.yaml.
        row: id of the method, which has no row yet.
        settings: keys and values of its row.

    Raises:
        UserError: the section is not in the form in which the profiles write it, one method below another.
    """
    content, lines = _parsed(text)
    section = content[SECTION]
    last = list(section)[-1]
    end = _end(content, lines, last)
    indent = section.lc.data[last][1]
    newline = "\r\n" if lines[end - 1].endswith("\r\n") else "\n"
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += newline
    added = [line + newline for line in _as_yaml(row, settings, indent).splitlines()]
    return _confirmed("".join(lines[:end] + added + lines[end:]), {**section, row: settings})


def without_row(text: str, row: str) -> str:
    """The text without a method's row; comments above and below the row stay.

    Raises:
        UserError: the section is not in the form in which the profiles write it, one method below another.
    """
    content, lines = _parsed(text)
    section = content[SECTION]
    first = section.lc.data[row][0]
    remaining = lines[:first] + lines[_end(content, lines, row) :]
    return _confirmed("".join(remaining), {name: value for name, value in section.items() if name != row})


def _parsed(text: str) -> tuple[CommentedMap, list[str]]:
    content = YAML().load(text)
    section = content[SECTION]
    starts = [section.lc.data[name][0] for name in section if name in (section.lc.data or {})]
    if section.fa.flow_style() or len(set(starts)) < len(section):
        raise UserError(
            f"params.yaml: {SECTION}: is not written with one method below another, each from a line of its "
            "own, as the profiles write it; bring it into that form, or edit it by hand."
        )
    return content, text.splitlines(keepends=True)


def _end(content: CommentedMap, lines: list[str], row: str) -> int:
    """Index of the line after the last line of a row."""
    section = content[SECTION]
    first, indent = section.lc.data[row][:2]
    starts = [section.lc.data[name][0] for name in section]
    starts += [position[0] for position in content.lc.data.values()]
    end = min((start for start in starts if start > first), default=len(lines))
    while end > first + 1 and _is_outside(lines[end - 1], indent):
        end -= 1
    return end


def _is_outside(line: str, indent: int) -> bool:
    """Whether a line is blank, or a comment indented no deeper than the row: neither is part of the row."""
    stripped = line.strip()
    depth = len(line) - len(line.lstrip(" "))
    return not stripped or stripped in ("---", "...") or (stripped.startswith("#") and depth <= indent)


def _as_yaml(row: str, settings: dict[str, Any], indent: int) -> str:
    yaml = YAML()
    yaml.width = 2**16
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump({row: {name: _on_one_line(value) for name, value in settings.items()}}, out)
    return "\n".join(" " * indent + line for line in out.getvalue().splitlines())


def _on_one_line(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence


def _confirmed(text: str, expected: dict[str, Any]) -> str:
    """The text, if reading it gives the expected rows.

    Raises:
        UserError: it does not.
    """
    rows = {name: dict(value) if value else {} for name, value in expected.items()}
    try:
        section = YAML(typ="safe").load(text)[SECTION]
        rows_read = {name: value or {} for name, value in section.items()}
    except YAMLError:
        rows_read = {}
    if rows_read != rows:
        raise UserError(
            f"params.yaml: {SECTION}: is written in a way that cannot be edited here (anchors, or several "
            "documents?); edit it by hand."
        )
    return text
