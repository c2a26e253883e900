"""Which weights the encoder of a row starts from: random ones, or those of a file, identified by its content.

The file of a row is, in this order: that of its ``initialisation``, and ``encoder.weights``. Rows whose name
says that they begin from scratch take the second for none.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.protocol.params_file import KeyPath, line_of
from bench.protocol.protocol import INITIALISATION_KEY, RANDOM, Protocol
from imssl.errors import UserError
from imssl.paths import expanded
from imssl.regular_file import checksum, why_not_regular
from imssl.settings.encoder import EncoderSettings


@dataclass(frozen=True)
class StartingPoint:
    """A file with the weights that an encoder starts from.

    Attributes:
        initialisation: its name in params.yaml; ``encoder.weights`` where it is the protocol's.
        file: of the weights; None where a row has no file for this data set, and so no result.
        sha256: of its content; empty where there is no file.
    """

    initialisation: str
    file: Path | None
    sha256: str


def starting_point(method: str, dataset: str, protocol: Protocol, from_scratch: bool) -> StartingPoint | None:
    """What a row's encoder starts from on a data set; None for random weights.

    Args:
        method: id of the row.
        dataset: id.
        protocol: with both in it.
        from_scratch: whether the row's class takes no notice of ``encoder.weights``.

    Raises:
        UserError: the file is not there, is none or cannot be read, or its path has an unknown part.
    """
    name = protocol.methods[method].get(INITIALISATION_KEY)
    if name == RANDOM:
        return None
    if name is None:
        if from_scratch or protocol.encoder.weights is None:
            return None
        place: KeyPath = ("encoder", "weights")
        return _read("encoder.weights", protocol.encoder.weights, place)
    files = protocol.initialisations[name]
    if isinstance(files, str):
        return _read(name, files, ("initialisations", name))
    if dataset not in files:
        return StartingPoint(name, None, "")
    return _read(name, files[dataset], ("initialisations", name, dataset))


def may_not_fit(protocol: Protocol) -> bool:
    """Whether the encoder has to be looked at before a run: a ResNet with random weights has not."""
    return any(weights_files(protocol)) or not isinstance(protocol.encoder, EncoderSettings)


def weights_files(protocol: Protocol) -> Iterator[str]:
    """Every file with weights that a protocol names, as written there."""
    if protocol.encoder.weights is not None:
        yield protocol.encoder.weights
    for files in protocol.initialisations.values():
        yield from [files] if isinstance(files, str) else files.values()


def _read(name: str, written: str, place: KeyPath) -> StartingPoint:
    key = ".".join(map(str, place))
    try:
        file = expanded(written)
    except UserError as error:
        raise UserError(f"{line_of(place)}: {key} is {error}") from None
    try:
        return StartingPoint(name, file, _sha256(file))
    except OSError as error:
        raise UserError(
            f"{line_of(place)}: {key} is {written}, and {file.absolute()} cannot be read "
            f"({error.strerror or error}). Put the file there, or name another."
        ) from None


def _sha256(file: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read, or is none: a pipe would be waited for without end.
    """
    status = file.stat()
    reason = why_not_regular(status)
    if reason:
        raise OSError(errno.EINVAL, reason)
    return _unless_changed(file.resolve(), status.st_size, status.st_mtime_ns)


@cache
def _unless_changed(file: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, which is read again only when its size or time has changed."""
    return checksum(file)
