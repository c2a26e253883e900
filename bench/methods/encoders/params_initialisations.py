"""Enters files into ``initialisations:`` of params.yaml, or takes them out, and leaves all else as it is."""

from collections.abc import Mapping

from ruamel.yaml import YAML

from bench.methods.params_rows import comment_on, confirmed, lines_of, newline_of

SECTION = "initialisations"
# One file for all data sets, or one each, by initialisation.
Files = Mapping[str, str | Mapping[str, str]]


def with_initialisation(text: str, name: str, files: str | dict[str, str]) -> str:
    """The text with an initialisation added, or replaced by one with more files.

    Args:
        text: of params.yaml, whose section is there.
        name: of the initialisation.
        files: one for all data sets, or one each.

    Raises:
        UserError: the section is written in a way that cannot be edited here.
    """
    content, lines = YAML().load(text), text.splitlines(keepends=True)
    section, first = content[SECTION], content.lc.data[SECTION][0]
    entries = {**(section or {}), name: files}
    if not section or section.fa.flow_style():
        edited = _written_anew(lines, first, entries)
    else:
        start = section.lc.data[name][0] if name in section else _end(lines, first)
        end = _entry_end(lines, start) if name in section else start
        edited = [*lines[:start], _entry(name, files, newline_of(lines[0])), *lines[end:]]
    return confirmed("".join(edited), entries, SECTION)


def without_initialisation(text: str, name: str) -> str:
    """The text without an initialisation, which is there.

    Raises:
        UserError: the section is written in a way that cannot be edited here.
    """
    content, lines = YAML().load(text), text.splitlines(keepends=True)
    section, first = content[SECTION], content.lc.data[SECTION][0]
    others = {key: value for key, value in section.items() if key != name}
    if section.fa.flow_style():
        edited = _written_anew(lines, first, others)
    else:
        start = section.lc.data[name][0]
        heading = _heading(lines[first], others)
        edited = [*lines[:first], heading, *lines[first + 1 : start], *lines[_entry_end(lines, start) :]]
    return confirmed("".join(edited), others, SECTION)


def _written_anew(lines: list[str], first: int, entries: Files) -> list[str]:
    """The lines of params.yaml with the section that begins at one of them in block style."""
    newline = newline_of(lines[first])
    written = [_entry(name, files, newline) for name, files in entries.items()]
    return [*lines[:first], _heading(lines[first], entries), *written, *lines[_end(lines, first) :]]


def _heading(line: str, entries: Files) -> str:
    return f"{SECTION}:{'' if entries else ' {}'}{comment_on(line)}{newline_of(line)}"


def _entry(name: str, files: str | Mapping[str, str], newline: str) -> str:
    content = lines_of({name: files if isinstance(files, str) else dict(files)}, indent=2)
    return "".join(line + newline for line in content.splitlines())


def _end(lines: list[str], first: int) -> int:
    """Index of the line after the section that begins at a line."""
    end = first + 1
    while end < len(lines) and lines[end].startswith((" ", "\t")):
        end += 1
    return end


def _entry_end(lines: list[str], start: int) -> int:
    """Index of the line after the entry that begins at a line: the first that is indented no deeper."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and len(lines[end]) - len(lines[end].lstrip()) > indent and lines[end].strip():
        end += 1
    return end
