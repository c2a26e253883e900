"""Adds, updates and removes methods: each change concerns several files, and is made whole or not at all."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cells.files import data_folder
from bench.conformance.child import DatasetShape, Request
from bench.conformance.method_source import MethodSource, read_source
from bench.conformance.parent import check_in_child
from bench.conformance.rule import CheckReport
from bench.methods.assignments import parse_assignments
from bench.methods.checked import record_file, record_of
from bench.methods.encoders.params_initialisations import without_initialisation
from bench.methods.file_changes import FileChanges, change_files
from bench.methods.names import check_name, id_of, source_path
from bench.methods.params_rows import params, with_row, without_row
from bench.protocol.nearest_name import refuse_unknown
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import (
    FILE_KEY,
    INITIALISATION_KEY,
    Protocol,
    hyperparameters,
    protocol_of,
    read_protocol,
    values,
)
from bench.protocol.registry import (
    BUILT_IN,
    EXAMPLES,
    OF_THE_SUITE,
    file_name_of,
    method_file,
    place_of_method,
    shown,
)
from imssl.datasets.prepared import read_card
from imssl.errors import UserError


@dataclass(frozen=True)
class Addition:
    """A method that is to be added.

    Attributes:
        name: its id.
        source: its file.
        given: the hyper-parameters that the user sets; the others keep their defaults.
    """

    name: str
    source: MethodSource
    given: dict[str, Any]

    @property
    def file_name(self) -> str:
        """The name that the file gets in imssl/methods."""
        return self.source.path.name


def addition(path: Path, name: str | None, assignments: list[str]) -> Addition:
    """What ``bench add-method`` is to add, checked as far as possible without running the file.

    Args:
        path: of the method file, or the name of one that comes with the suite.
        name: id of the method; None to name it after the file.
        assignments: ``key=value`` for hyper-parameters that differ from their defaults.

    Raises:
        UserError: the file, the name or an assignment is not valid, or the name is taken.
    """
    source = read_source(source_path(path))
    new = Addition(name or id_of(path.name), source, parse_assignments(assignments))
    check_name(new.name)
    _refuse_taken(new, read_protocol())
    return new


def check_addition(new: Addition, checks: bool) -> CheckReport:
    """Check the file against the rules, and its settings with the data sets of params.yaml.

    Args:
        new: what is to be added.
        checks: False to load the file and its settings only.

    Raises:
        UserError: the file cannot be loaded, or refuses its settings.
    """
    request = request_for(new.source, {new.name: new.given}, read_protocol())
    return check_in_child(new.source, replace(request, checks=checks))


def check_alone(path: Path, assignments: list[str]) -> CheckReport:
    """Check a file without adding it, at the sizes of params.yaml where there is one here.

    Args:
        path: of the method file, or the name of one that comes with the suite.
        assignments: ``key=value`` for hyper-parameters that differ from their defaults.

    Raises:
        UserError: the file cannot be loaded, or an assignment or params.yaml is not right.
    """
    path = source_path(path)
    source = read_source(path)
    rows = {id_of(path.name): parse_assignments(assignments)}
    if not PARAMS.exists():
        return check_in_child(source, Request(path=str(path), rows=rows))
    request = request_for(source, rows, read_protocol())
    return check_in_child(source, replace(request, must_fit=False))


def request_for(source: MethodSource, rows: dict[str, dict[str, Any]], protocol: Protocol) -> Request:
    """The request to check a file with the hyper-parameters of these rows, in the run of params.yaml."""
    return Request(
        path=str(source.path),
        rows=rows,
        datasets=tuple(_dataset_shapes(protocol)),
        encoder=values(protocol.encoder),
        batch_size=protocol.pretrain.batch_size,
    )


def add(new: Addition, report: CheckReport) -> None:
    """Add a method that has passed its checks, or whose checks were left out.

    Its file goes to the project's methods, or to imssl/methods in a checkout of the suite; beside it go the
    record of the checks, and its row to params.yaml.

    Raises:
        UserError: the name has been taken in the meantime, or params.yaml would not be valid; then nothing is
            changed.
    """
    text, protocol = params()
    _refuse_taken(new, protocol)
    row = {FILE_KEY: new.file_name} if new.file_name != file_name_of(new.name) else {}
    edited = with_row(text, new.name, row | report.settings[new.name])
    protocol_of(edited)
    changes: FileChanges = {place_of_method(new.file_name): new.source.content}
    if report.checks and new.file_name not in BUILT_IN:
        changes[record_file(new.file_name)] = _record(report, new.file_name)
    changes[PARAMS] = edited.encode()
    change_files(changes)


def remove(name: str, delete_file: bool) -> tuple[list[Path], str | None]:
    """Remove a method from params.yaml.

    Args:
        name: id of the method.
        delete_file: whether to delete its file and the record of its checks as well.

    Returns:
        The files that were deleted; and the initialisation that went too, as no other row names it.

    Raises:
        UserError: there is no such method, or it must stay: it is built in, or the baseline of the report.
    """
    text, protocol = params()
    refuse_unknown("method", name, protocol.methods)
    if file_name_of(name) in BUILT_IN:
        raise UserError(f"{name} is built in and cannot be removed: it is part of the paper's comparison.")
    if name == protocol.report.baseline:
        raise UserError(f"{name} is report.baseline in params.yaml; make another method the baseline first.")
    deleted = _files_of(name, protocol) if delete_file else []
    edited = without_row(text, name)
    start = protocol.methods[name].get(INITIALISATION_KEY)
    others = [row.get(INITIALISATION_KEY) for other, row in protocol.methods.items() if other != name]
    unneeded = start if start in protocol.initialisations and start not in others else None
    if unneeded is not None:
        edited = without_initialisation(edited, unneeded)
    protocol_of(edited)
    # First the row, then the file: a row without a file would be worse than a file without a row.
    changes: FileChanges = {PARAMS: edited.encode()}
    for file in deleted:
        changes[file] = None
    change_files(changes)
    return deleted, unneeded


def _files_of(name: str, protocol: Protocol) -> list[Path]:
    """A method's file, and the record of its checks if there is one.

    Raises:
        UserError: the file is not this method's alone.
    """
    file = method_file(name, protocol)
    sharing = [row for row in protocol.methods if row != name and method_file(row, protocol) == file]
    if sharing:
        raise UserError(
            f"{shown(file)} is also the file of {', '.join(sharing)}, so it cannot be deleted; "
            f"remove {name} without --delete-file."
        )
    if file.name in (*OF_THE_SUITE, *EXAMPLES):
        raise UserError(
            f"{shown(file)} is part of the suite, so it cannot be deleted; "
            f"remove {name} without --delete-file."
        )
    return [path for path in (file, record_file(file.name)) if path.exists()]


@dataclass(frozen=True)
class Update:
    """A method file that is to be replaced.

    Attributes:
        file: the present file in imssl/methods.
        source: the new one.
        rows: hyper-parameters, as written in params.yaml, of every row that uses the file.
    """

    file: Path
    source: MethodSource
    rows: dict[str, dict[str, Any]]


def update_of(name: str, path: Path) -> Update:
    """What ``bench update-method`` is to replace.

    Raises:
        UserError: there is no such method, it is built in, or the new file is not valid.
    """
    source, protocol = read_source(path), read_protocol()
    refuse_unknown("method", name, protocol.methods)
    file = method_file(name, protocol)
    if file.name in OF_THE_SUITE:
        raise UserError(
            f"{shown(file)} is built in and has its own tests, in tests/imssl/methods. To "
            f"compare a variant, add it beside {name}: bench add-method {path}"
        )
    rows = {
        row: hyperparameters(settings)
        for row, settings in protocol.methods.items()
        if method_file(row, protocol) == file
    }
    return Update(file, source, rows)


def check_update(replacement: Update) -> CheckReport:
    """Check the new file as :func:`check_addition` does, for every row that uses the file."""
    return check_in_child(
        replacement.source, request_for(replacement.source, replacement.rows, read_protocol())
    )


def update(replacement: Update, report: CheckReport) -> None:
    """Replace a method's file by one that has passed its checks, and write the record of the checks.

    Raises:
        UserError: params.yaml has changed in the meantime; then nothing is changed.
    """
    protocol = read_protocol()
    for row in replacement.rows:
        if row not in protocol.methods or method_file(row, protocol) != replacement.file:
            raise UserError(f"params.yaml has changed while {row} was checked; run the command again.")
    changes: FileChanges = {replacement.file: replacement.source.content}
    changes[record_file(replacement.file.name)] = _record(report, replacement.file.name)
    change_files(changes)


def _record(report: CheckReport, file_name: str) -> bytes:
    return (record_of(report, file_name).model_dump_json(indent=1) + "\n").encode()


def _refuse_taken(new: Addition, protocol: Protocol) -> None:
    name, file_name = new.name, new.file_name
    if name in protocol.methods:
        raise UserError(
            f"{name} is already a method of params.yaml. Give this one another name (--name {name}-2), or "
            f"replace its file: bench update-method {name} {new.source.path}"
        )
    existing = place_of_method(file_name)
    same = existing.exists() and existing.read_bytes() == new.source.content
    # The id of a built-in method stands for its own file, and so does the file's name.
    for file, differs in ((file_name, not same), (file_name_of(name), file_name_of(name) != file_name)):
        if file in OF_THE_SUITE and differs:
            raise UserError(f"{id_of(file)} is the name of a built-in method; choose another.")
    if existing.exists() and not same:
        raise UserError(
            f"{shown(existing)} exists and holds another method. Rename {new.source.path}, or "
            f"replace that file: bench update-method {id_of(file_name)} {new.source.path}"
        )


def _dataset_shapes(protocol: Protocol) -> list[DatasetShape]:
    """The data sets of params.yaml; before one is prepared, its number of training images is not known."""
    shapes = []
    for name, settings in protocol.datasets.items():
        try:
            images = read_card(data_folder(name)).counts["train"].samples
        except UserError:
            images = None
        steps = None if images is None else protocol.pretrain_of(name).steps_on(images)
        shapes.append(
            DatasetShape(name, images, settings.channels, settings.size, steps, dict(settings.methods))
        )
    return shapes
