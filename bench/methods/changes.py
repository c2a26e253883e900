"""Methods entered into params.yaml, replaced and taken out: everything, or nothing at all."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bench.cells.files import data_folder
from bench.conformance.check import CheckReport
from bench.conformance.child import DatasetOfRun, Request
from bench.conformance.parent import check_method
from bench.conformance.source import MethodSource, read_source
from bench.methods.checked import record_file, record_of
from bench.methods.file_changes import Changes, change_files
from bench.methods.params_rows import with_row, without_row
from bench.protocol.params_file import ID_PATTERN, PARAMS
from bench.protocol.protocol import Protocol, protocol_of, read_protocol, values
from bench.protocol.registry import BUILT_IN, EXAMPLES, FILE_KEY, METHODS_FOLDER, method_file
from imssl.datasets.prepared import read_card
from imssl.errors import UserError


@dataclass(frozen=True)
class Addition:
    """A method that is to be entered.

    Attributes:
        name: its id.
        source: its file.
        given: hyper-parameters that differ from their defaults.
    """

    name: str
    source: MethodSource
    given: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Name of the file in imssl/methods."""
        return self.source.path.name


def addition(path: Path, name: str | None, assignments: list[str]) -> Addition:
    """What ``bench add-method`` is asked for, checked as far as that goes without running the file.

    Raises:
        UserError: the file, the name or an assignment cannot be right, or is taken.
    """
    source = read_source(path)
    wanted = Addition(name or id_of(path.name), source, assigned(assignments))
    refuse_name(wanted.name)
    _refuse_taken(wanted, read_protocol())
    return wanted


def id_of(file_name: str) -> str:
    """The id that a method file's name stands for: ``my_method.py`` is ``my-method``."""
    return file_name.removesuffix(".py").replace("_", "-")


def file_of(name: str) -> str:
    """The file that an id stands for, the other way round."""
    return name.replace("-", "_") + ".py"


def assigned(assignments: list[str]) -> dict[str, Any]:
    """Hyper-parameters of ``--set key=value``; values are read as in params.yaml.

    Raises:
        UserError: not of that form, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--set {assignment}: give key=value, for example --set temperature=0.1")
        if key in found:
            raise UserError(f"--set {assignment}: {key} is set twice")
        try:
            # As params.yaml is read: a date, for example, stays text.
            found[key] = json.loads(json.dumps(YAML(typ="safe").load(value), default=str))
        except YAMLError:
            raise UserError(f"--set {assignment}: {value!r} is not a value as in params.yaml") from None
    return found


def check_addition(wanted: Addition, checks: bool) -> CheckReport:
    """Try the rules on the file, and its settings on the data sets of params.yaml.

    Args:
        wanted: what is to be entered.
        checks: False to load the file and its settings only.

    Raises:
        UserError: the file cannot be loaded, or refuses its settings.
    """
    request = request_for(wanted.source, {wanted.name: wanted.given}, read_protocol())
    return check_method(wanted.source, replace(request, checks=checks))


def request_for(source: MethodSource, rows: dict[str, dict[str, Any]], protocol: Protocol) -> Request:
    """Checks of a file for rows of params.yaml, with its encoder, on its data sets that are prepared."""
    return Request(
        path=str(source.path),
        rows=rows,
        datasets=tuple(_prepared(protocol)),
        encoder=values(protocol.encoder),
        batch_size=protocol.pretrain.batch_size,
        epochs=protocol.pretrain.epochs,
    )


def add(wanted: Addition, report: CheckReport) -> None:
    """Enter a method whose checks were passed or left out: its file, the record, and params.yaml.

    Raises:
        UserError: a name was taken meanwhile, or params.yaml would not be right; nothing is changed.
    """
    text = PARAMS.read_bytes().decode("utf-8")
    protocol = protocol_of(text)
    _refuse_taken(wanted, protocol)
    row = {FILE_KEY: wanted.file_name} if wanted.file_name != file_of(wanted.name) else {}
    edited = with_row(text, wanted.name, row | report.settings[wanted.name])
    protocol_of(edited)
    changes: Changes = {METHODS_FOLDER / wanted.file_name: wanted.source.content}
    if report.checks and wanted.file_name not in BUILT_IN:
        changes[record_file(wanted.file_name)] = _record(report, wanted.file_name)
    changes[PARAMS] = edited.encode()
    change_files(changes)


def remove(name: str, delete_file: bool) -> list[Path]:
    """Take a method out of params.yaml, and on request its file and record; the files that were deleted.

    Raises:
        UserError: there is no such method, or it is protected.
    """
    protocol = read_protocol()
    text = PARAMS.read_bytes().decode("utf-8")
    _refuse_unknown(name, protocol)
    if file_of(name) in BUILT_IN:
        raise UserError(f"{name} is built in and cannot be removed; the paper's comparison is about it.")
    if name == protocol.report.baseline:
        raise UserError(f"{name} is report.baseline in params.yaml; make another method the baseline first.")
    deleted = _files_of(name, protocol) if delete_file else []
    edited = without_row(text, name)
    protocol_of(edited)
    # First the row, then the file: a row without a file would be worse than a file without a row.
    changes: Changes = {PARAMS: edited.encode()}
    for file in deleted:
        changes[file] = None
    change_files(changes)
    return deleted


def _files_of(name: str, protocol: Protocol) -> list[Path]:
    """The method file and the record that go with a row.

    Raises:
        UserError: the file is not this row's alone.
    """
    file = method_file(name, protocol)
    others = [other for other in protocol.methods if other != name and method_file(other, protocol) == file]
    if others:
        raise UserError(f"imssl/methods/{file.name} is also the file of {', '.join(others)}; it stays.")
    if file.name in (*BUILT_IN, *EXAMPLES):
        raise UserError(f"imssl/methods/{file.name} is part of the suite; remove {name} without its file.")
    return [path for path in (file, record_file(file.name)) if path.exists()]


@dataclass(frozen=True)
class Update:
    """A method whose file is to be replaced.

    Attributes:
        file: in imssl/methods.
        source: the new content.
        rows: hyper-parameters as written, of every row that uses the file.
    """

    file: Path
    source: MethodSource
    rows: dict[str, dict[str, Any]]


def update_of(name: str, path: Path) -> Update:
    """What ``bench update-method`` is asked for.

    Raises:
        UserError: there is no such method, it is built in, or the file cannot be right.
    """
    source, protocol = read_source(path), read_protocol()
    _refuse_unknown(name, protocol)
    file = method_file(name, protocol)
    if file.name in BUILT_IN:
        raise UserError(
            f"imssl/methods/{file.name} is built in; its tests stand in tests/imssl/methods. To compare a "
            f"variant, enter it beside {name}: bench add-method {path}"
        )
    rows = {
        row: {key: value for key, value in settings.items() if key != FILE_KEY}
        for row, settings in protocol.methods.items()
        if method_file(row, protocol) == file
    }
    return Update(file, source, rows)


def check_update(wanted: Update) -> CheckReport:
    """As :func:`check_addition`, for every row that uses the file."""
    return check_method(wanted.source, request_for(wanted.source, wanted.rows, read_protocol()))


def update(wanted: Update, report: CheckReport) -> None:
    """Replace a method's file by one that has passed, and write the record.

    Raises:
        UserError: params.yaml has changed meanwhile; nothing is changed.
    """
    protocol = read_protocol()
    for row in wanted.rows:
        if row not in protocol.methods or method_file(row, protocol) != wanted.file:
            raise UserError(f"params.yaml has changed while {row} was checked; try again.")
    changes: Changes = {wanted.file: wanted.source.content}
    changes[record_file(wanted.file.name)] = _record(report, wanted.file.name)
    change_files(changes)


def _record(report: CheckReport, file_name: str) -> bytes:
    return (record_of(report, file_name).model_dump_json(indent=1) + "\n").encode()


def _refuse_unknown(name: str, protocol: Protocol) -> None:
    if name not in protocol.methods:
        raise UserError(f"{name!r} is not in params.yaml; there are: {', '.join(protocol.methods)}")


def refuse_name(name: str) -> None:
    """Refuse what cannot be the id of a method.

    Raises:
        UserError: it cannot.
    """
    if not re.fullmatch(ID_PATTERN, name) or len(name) > 40:
        raise UserError(
            f"the name {name!r}: use at most 40 lower-case letters, digits and single hyphens, a letter "
            "first, such as simclr-t01."
        )


def _refuse_taken(wanted: Addition, protocol: Protocol) -> None:
    name, file_name = wanted.name, wanted.file_name
    if name in protocol.methods:
        raise UserError(
            f"{name} is already a method of params.yaml. Give this one another name (--name {name}-2), or "
            f"replace its file: bench update-method {name} {wanted.source.path}"
        )
    existing = METHODS_FOLDER / file_name
    same = existing.exists() and existing.read_bytes() == wanted.source.content
    for file, is_other in ((file_name, not same), (file_of(name), file_of(name) != file_name)):
        if file in BUILT_IN and is_other:
            raise UserError(f"{id_of(file)} is the name of a built-in method; choose another.")
    if existing.exists() and not same:
        raise UserError(
            f"imssl/methods/{file_name} exists and holds another method. Rename {wanted.source.path}, or "
            f"replace that file: bench update-method {id_of(file_name)} {wanted.source.path}"
        )


def _prepared(protocol: Protocol) -> list[DatasetOfRun]:
    """The data sets of which it is known how many training images they have."""
    found = []
    for name, settings in protocol.datasets.items():
        try:
            images = read_card(data_folder(name)).counts["train"].samples
        except UserError:
            continue
        found.append(DatasetOfRun(name, images, settings.channels, settings.size))
    return found
