"""Rows of ``methods:`` in the text of params.yaml: entered and taken out, every other byte left as it is."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from imssl.errors import UserError

SECTION = "methods"


def with_row(text: str, row: str, settings: dict[str, Any]) -> str:
    """The text with a method entered after the others.

    Args:
        text: of params.yaml.
        row: id of the method, which is not there yet.
        settings: its keys and values.

    Raises:
        UserError: the section is not written one method a line.
    """
    content, lines = _parsed(text)
    section = content[SECTION]
    last = list(section)[-1]
    place = _end(content, lines, last)
    indent = section.lc.data[last][1]
    newline = "\r\n" if lines[place - 1].endswith("\r\n") else "\n"
    if not lines[place - 1].endswith("\n"):
        lines[place - 1] += newline
    added = [line + newline for line in _written(row, settings, indent).splitlines()]
    return _confirmed("".join(lines[:place] + added + lines[place:]), {**section, row: settings})


def without_row(text: str, row: str) -> str:
    """The text with a method taken out; comments above and below it stay.

    Raises:
        UserError: the section is not written one method a line.
    """
    content, lines = _parsed(text)
    section = content[SECTION]
    first = section.lc.data[row][0]
    kept = lines[:first] + lines[_end(content, lines, row) :]
    return _confirmed("".join(kept), {name: value for name, value in section.items() if name != row})


def _parsed(text: str) -> tuple[CommentedMap, list[str]]:
    content = YAML().load(text)
    section = content[SECTION]
    starts = [section.lc.data[name][0] for name in section if name in (section.lc.data or {})]
    if section.fa.flow_style() or len(set(starts)) < len(section):
        raise UserError(
            f"params.yaml: {SECTION}: is not written one method a line below another, as the profiles write "
            "it; bring it into that form, or edit it by hand."
        )
    return content, text.splitlines(keepends=True)


def _end(content: CommentedMap, lines: list[str], row: str) -> int:
    """Index of the line after a row's last line of content."""
    section = content[SECTION]
    first, indent = section.lc.data[row][:2]
    starts = [section.lc.data[name][0] for name in section] + [place[0] for place in content.lc.data.values()]
    end = min((start for start in starts if start > first), default=len(lines))
    while end > first + 1 and _is_around(lines[end - 1], indent):
        end -= 1
    return end


def _is_around(line: str, indent: int) -> bool:
    """Blank, or a comment that stands no deeper than the row itself, and so belongs to what is around it."""
    stripped = line.strip()
    depth = len(line) - len(line.lstrip(" "))
    return not stripped or stripped in ("---", "...") or (stripped.startswith("#") and depth <= indent)


def _written(row: str, settings: dict[str, Any], indent: int) -> str:
    yaml = YAML()
    yaml.width = 2**16
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump({row: {name: _in_a_line(value) for name, value in settings.items()}}, out)
    return "\n".join(" " * indent + line for line in out.getvalue().splitlines())


def _in_a_line(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence


def _confirmed(text: str, expected: dict[str, Any]) -> str:
    """The text, once it is certain that it reads as meant."""
    wanted = {name: dict(value) if value else {} for name, value in expected.items()}
    try:
        section = YAML(typ="safe").load(text)[SECTION]
        found = {name: value or {} for name, value in section.items()}
    except YAMLError:
        found = {}
    if found != wanted:
        raise UserError(
            f"params.yaml: {SECTION}: is written in a way that cannot be edited here (anchors, or several "
            "documents?); edit it by hand."
        )
    return text
