"""Reads params.yaml to edit it: rows of ``methods:`` and ``datasets:`` come and go, and all else stays."""

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from bench.methods.file_changes import change_files
from bench.protocol.params_file import PARAMS, params_text
from bench.protocol.protocol import Protocol, protocol_of
from imssl.datasets.files import located
from imssl.errors import UserError

METHODS = "methods"
DATASETS = "datasets"
ROWS = {METHODS: "method", DATASETS: "data set"}


def params() -> tuple[str, Protocol]:
    """The text of params.yaml, and what it says.

    Raises:
        UserError: it is not there, cannot be read, or is not valid.
    """
    text = params_text()
    return text, protocol_of(text)


def write_params(edited: str) -> None:
    """Write params.yaml whole or not at all.

    Raises:
        UserError: it would not be valid; it is as it was.
    """
    protocol_of(edited)
    change_files({PARAMS: edited.encode()})


def as_written(file: Path) -> str:
    """A path that means the same wherever the command was run: of the project's folder, or absolute."""
    absolute = located(str(file))
    here = Path.cwd()
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix()


def with_row(text: str, row: str, settings: dict[str, Any], section: str = METHODS) -> str:
    """The text with a method or data set added after the others.

    Args:
        text: of params.yaml.
        row: id of the method or data set, which has no row yet.
        settings: keys and values of its row.
        section: that it belongs to.

    Raises:
        UserError: the section is not in the form in which the profiles write it, one row below another.
    """
    content, lines = _parsed(text, section)
    rows = content[section]
    last = list(rows)[-1]
    end = _end(content, lines, last, section)
    indent = rows.lc.data[last][1]
    newline = "\r\n" if lines[end - 1].endswith("\r\n") else "\n"
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += newline
    added = [line + newline for line in _as_yaml(row, settings, indent).splitlines()]
    return confirmed("".join(lines[:end] + added + lines[end:]), {**rows, row: settings}, section)


def without_row(text: str, row: str, section: str = METHODS) -> str:
    """The text without the row of a method or data set; comments above and below the row stay.

    Raises:
        UserError: the section is not in the form in which the profiles write it, one row below another.
    """
    content, lines = _parsed(text, section)
    rows = content[section]
    first = rows.lc.data[row][0]
    remaining = lines[:first] + lines[_end(content, lines, row, section) :]
    kept = {name: value for name, value in rows.items() if name != row}
    return confirmed("".join(remaining), kept, section)


def with_values(text: str, row: str, changes: dict[str, Any]) -> str:
    """The text with some values of a method replaced or entered; comments stay, those on their lines too.

    Args:
        text: of params.yaml.
        row: id of the method, which is there.
        changes: values by key.

    Raises:
        UserError: the section is not written one method a line, or the row not one key a line.
    """
    content, lines = _parsed(text, METHODS)
    rows = content[METHODS]
    settings = dict(rows[row] or {}) | changes
    first, end = rows.lc.data[row][0], _end(content, lines, row, METHODS)
    if not rows[row] or rows[row].fa.flow_style():
        # The row stands on a line, which becomes several.
        written = _as_yaml(row, settings, rows.lc.data[row][1]).splitlines()
        written[0] += comment_on(lines[first])
        replaced = [line + newline_of(lines[first]) for line in written]
    else:
        replaced = _with_lines(lines[first:end], rows[row], first, changes)
    edited = "".join(lines[:first] + replaced + lines[end:])
    return confirmed(edited, {**rows, row: settings}, METHODS)


def _with_lines(lines: list[str], row: CommentedMap, first: int, changes: dict[str, Any]) -> list[str]:
    """Lines of a row of one key after another, with changed values; ``first`` is the number of the first."""
    edited = list(lines)
    indent = min(place[1] for place in row.lc.data.values())
    written = {key: lines_of({key: _on_one_line(value)}, indent) for key, value in changes.items()}
    for key in [key for key in changes if key not in row]:
        edited[-1] = edited[-1].rstrip("\r\n") + newline_of(lines[0])
        edited.append(written[key] + newline_of(lines[0]))
    starts = {key: row.lc.data[key][0] - first for key in row}
    # From the last to the first, so that the numbers of the others stay right.
    for key in sorted(changes.keys() & row.keys(), key=lambda key: -starts[key]):
        start = starts[key]
        is_block = isinstance(row[key], CommentedMap | CommentedSeq) and not row[key].fa.flow_style()
        following = min((other for other in starts.values() if other > start), default=len(lines))
        end = following if is_block else start + 1
        edited[start:end] = [written[key] + comment_on(lines[start]) + newline_of(lines[0])]
    return edited


def comment_on(line: str) -> str:
    """The comment at the end of a line with the space before it; empty where there is none."""
    comment = re.search(r"\s+#.*", line)
    return comment[0].rstrip() if comment else ""


def newline_of(line: str) -> str:
    """How a line ends."""
    return "\r\n" if line.endswith("\r\n") else "\n"


def _parsed(text: str, section: str) -> tuple[CommentedMap, list[str]]:
    content = YAML().load(text)
    rows = content[section]
    starts = [rows.lc.data[name][0] for name in rows if name in (rows.lc.data or {})]
    if rows.fa.flow_style() or len(set(starts)) < len(rows):
        raise UserError(
            f"params.yaml: {section}: is not written with one {ROWS[section]} below another, each from a "
            "line of its own, as the profiles write it; bring it into that form, or edit it by hand."
        )
    return content, text.splitlines(keepends=True)


def _end(content: CommentedMap, lines: list[str], row: str, section: str) -> int:
    """Index of the line after the last line of a row."""
    rows = content[section]
    first, indent = rows.lc.data[row][:2]
    starts = [rows.lc.data[name][0] for name in rows]
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
    return lines_of({row: {name: _on_one_line(value) for name, value in settings.items()}}, indent)


def lines_of(content: dict[str, Any], indent: int) -> str:
    """A mapping as YAML, one key below another, indented by so many spaces and without a last newline."""
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


def confirmed(text: str, expected: dict[str, Any], section: str) -> str:
    """The text, if reading it gives the expected entries of a section.

    Raises:
        UserError: it does not.
    """
    rows = {name: value if isinstance(value, str) else dict(value or {}) for name, value in expected.items()}
    try:
        read = YAML(typ="safe").load(text)[section] or {}
        rows_read = {name: value or {} for name, value in read.items()}
    except YAMLError:
        rows_read = {}
    if rows_read != rows:
        raise UserError(
            f"params.yaml: {section}: is written in a way that cannot be edited here (anchors, or several "
            "documents?); edit it by hand."
        )
    return text
