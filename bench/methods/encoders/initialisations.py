"""Rows that start from weights in a file: encoders from elsewhere, and every method from another start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cells.method_facts import method_facts
from bench.methods.encoders.loading import load_or_advise
from bench.methods.encoders.params_initialisations import with_initialisation
from bench.methods.names import check_name, id_of
from bench.methods.params_rows import as_written, params, with_row, write_params
from bench.protocol.protocol import FILE_KEY, INITIALISATION_KEY, RANDOM, Protocol
from bench.protocol.registry import OF_THE_SUITE, different_settings, file_name_of, method_file
from imssl.encoder import build_encoder
from imssl.encoders.weights import LoadedWeights
from imssl.errors import UserError
from imssl.paths import expanded

ENCODER_FILE, REFERENCE_FILE = "pretrained_elsewhere.py", "imagenet.py"


@dataclass(frozen=True)
class NewStart:
    """What a command has entered into params.yaml.

    Attributes:
        loaded: how the file is read into the encoder, once for grey and once for colour images as needed.
        rows: of params.yaml that are new.
        left_out: data sets whose own hyper-parameters the new rows do not have, by new row.
    """

    loaded: list[LoadedWeights]
    rows: list[str]
    left_out: dict[str, list[str]]


def add_encoder(file: Path, name: str, dataset: str | None) -> NewStart:
    """Enter an encoder that was pretrained elsewhere as a row, for all data sets or for one.

    Args:
        file: with its weights.
        name: of the row; where it is one already, a file for one more data set is added to it.
        dataset: for which alone the file is; None for all.

    Raises:
        UserError: the file does not hold the encoder of params.yaml, or the name is taken; then nothing is
            changed.
    """
    check_name(name)
    text, protocol = params()
    if dataset is not None and dataset not in protocol.datasets:
        raise UserError(f"--dataset {dataset}: the data sets are: {', '.join(protocol.datasets)}")
    rows = [] if _takes_another_file(name, dataset, protocol) else [name]
    loaded = checked_weights(file, protocol, [dataset] if dataset else list(protocol.datasets))
    known = protocol.initialisations.get(name, {})
    of_each = known if isinstance(known, dict) else {}
    edited = with_initialisation(
        text, name, of_each | {dataset: as_written(file)} if dataset else as_written(file)
    )
    for row in rows:
        edited = with_row(edited, row, _row(row, ENCODER_FILE, name))
    write_params(edited)
    return NewStart(loaded, rows, {})


def add_initialisation(file: Path, name: str, methods: list[str]) -> NewStart:
    """Enter a start, and beside each method a row that begins from it: ``moco-imagenet`` beside ``moco``.

    The start itself becomes a row too, a reference: what it is worth without any pretraining here.

    Args:
        file: with the weights.
        name: of the start, such as ``imagenet``.
        methods: rows to repeat; all that pretrain from the common start where none are given.

    Raises:
        UserError: as :func:`add_encoder`.
    """
    check_name(name)
    text, protocol = params()
    if name in protocol.initialisations or name == RANDOM:
        raise UserError(f"{name} is already an initialisation of params.yaml; choose another name.")
    unknown = [method for method in methods if method not in protocol.methods]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: no such row; there are: {', '.join(protocol.methods)}")
    repeated = methods or _rows_from_the_common_start(protocol)
    new = {f"{method}-{name}": _repeated(method, name, protocol) for method in repeated}
    new[name] = _row(name, REFERENCE_FILE, name)
    for row in new:
        check_name(row)
        if row in protocol.methods:
            raise UserError(f"{row} is already a row of params.yaml; choose another name than {name}.")
    loaded = checked_weights(file, protocol, list(protocol.datasets))
    edited = with_initialisation(text, name, as_written(file))
    for row, settings in new.items():
        edited = with_row(edited, row, settings)
    write_params(edited)
    left_out = {f"{method}-{name}": list(different_settings(method, protocol)) for method in repeated}
    return NewStart(loaded, list(new), {row: datasets for row, datasets in left_out.items() if datasets})


def _takes_another_file(name: str, dataset: str | None, protocol: Protocol) -> bool:
    """Whether a row is there to which a file for one more data set can be added.

    Raises:
        UserError: the name is taken.
    """
    files = protocol.initialisations.get(name)
    if name not in protocol.methods:
        if files is not None:
            raise UserError(f"{name} is already an initialisation of params.yaml; choose another name.")
        if id_of(ENCODER_FILE) != name and file_name_of(name) in OF_THE_SUITE:
            raise UserError(f"{name} is the name of a method of the suite; choose another.")
        return False
    is_encoder = method_file(name, protocol).name == ENCODER_FILE
    if is_encoder and dataset is not None and isinstance(files, dict) and dataset not in files:
        return True
    taken = f"for {dataset} too" if dataset and is_encoder else "already"
    raise UserError(f"{name} is {taken} a row of params.yaml; choose another name (--name {name}-2).")


def _rows_from_the_common_start(protocol: Protocol) -> list[str]:
    facts = method_facts(protocol)
    return [
        method
        for method, row in protocol.methods.items()
        if facts[method].pretrains and not facts[method].is_reference and INITIALISATION_KEY not in row
    ]


def _repeated(method: str, name: str, protocol: Protocol) -> dict[str, Any]:
    written = {key: value for key, value in protocol.methods[method].items() if key != INITIALISATION_KEY}
    return {FILE_KEY: method_file(method, protocol).name, INITIALISATION_KEY: name} | written


def _row(row: str, file: str, name: str) -> dict[str, Any]:
    return {**({} if file_name_of(row) == file else {FILE_KEY: file}), INITIALISATION_KEY: name}


def checked_weights(file: Path, protocol: Protocol, datasets: list[str]) -> list[LoadedWeights]:
    """How a file is read into the encoder of these data sets, once for each number of channels.

    Raises:
        UserError: it cannot be.
    """
    channels = sorted({protocol.datasets[dataset].channels for dataset in datasets})
    settings, path = protocol.encoder, expanded(str(file))
    return [load_or_advise(build_encoder(settings, count), settings, count, path) for count in channels]
