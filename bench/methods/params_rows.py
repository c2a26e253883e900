"""Adds, changes and removes rows of ``methods:`` in the text of params.yaml, leaving all else as it is."""

import io
import re
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


def with_values(text: str, row: str, changes: dict[str, Any]) -> str:
    """The text with some values of a method replaced or entered; comments stay, those on their lines too.

    Args:
        text: of params.yaml.
        row: id of the method, which is there.
        changes: values by key.

    Raises:
        UserError: the section is not written one method a line, or the row not one key a line.
    """
    content, lines = _parsed(text)
    section = content[SECTION]
    settings = dict(section[row] or {}) | changes
    first, end = section.lc.data[row][0], _end(content, lines, row)
    if not section[row] or section[row].fa.flow_style():
        # The row stands on a line, which becomes several.
        written = _as_yaml(row, settings, section.lc.data[row][1]).splitlines()
        written[0] += _comment(lines[first])
        replaced = [line + _newline(lines[first]) for line in written]
    else:
        replaced = _with_lines(lines[first:end], section[row], first, changes)
    edited = "".join(lines[:first] + replaced + lines[end:])
    return _confirmed(edited, {**section, row: settings})


def _with_lines(lines: list[str], row: CommentedMap, first: int, changes: dict[str, Any]) -> list[str]:
    """Lines of a row of one key a line, with changed values; ``first`` is the number of the first of them."""
    edited = list(lines)
    indent = min(place[1] for place in row.lc.data.values())
    for key, value in changes.items():
        line = _lines_of({key: _on_one_line(value)}, indent)
        if key in row:
            number = row.lc.data[key][0] - first
            edited[number] = line + _comment(lines[number]) + _newline(lines[number])
        else:
            edited[-1] = edited[-1].rstrip("\r\n") + _newline(lines[0])
            edited.append(line + _newline(lines[0]))
    return edited


def _comment(line: str) -> str:
    comment = re.search(r"\s+#.*", line)
    return comment[0].rstrip() if comment else ""


def _newline(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n"


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
    return _lines_of({row: {name: _on_one_line(value) for name, value in settings.items()}}, indent)


def _lines_of(content: dict[str, Any], indent: int) -> str:
    yaml = YAML()
    yaml.width = 2**16
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump(content, out)
    return "\n".join(" " * indent + line for line in out.getvalue().splitlines())


def _on_one_line(value: Any) -> Any:
    if not isinstance(value, list | dict):
        return value
    collection = CommentedSeq(value) if isinstance(value, list) else CommentedMap(value)
    collection.fa.set_flow_style()
    return collection


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
