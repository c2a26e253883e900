"""The references that the suite owns, entered as rows: all labels from scratch, and weights as they are."""

from pathlib import Path
from typing import Any

from bench.conformance.loading import as_row, load_settings
from bench.methods.assignments import parse_assignments
from bench.methods.encoders.initialisations import checked_weights
from bench.methods.encoders.params_initialisations import with_initialisation
from bench.methods.params_rows import as_written, params, with_row, write_params
from bench.protocol.protocol import INITIALISATION_KEY, Protocol
from imssl.encoders.weights import LoadedWeights
from imssl.errors import UserError
from imssl.method import Method
from imssl.methods.imagenet import Imagenet
from imssl.methods.supervised import Supervised

SUPERVISED, IMAGENET = "supervised", "imagenet"
REFERENCES: dict[str, type[Method]] = {SUPERVISED: Supervised, IMAGENET: Imagenet}


def add_reference(name: str, file: Path | None, assignments: list[str]) -> list[LoadedWeights]:
    """Enter ``supervised``, or ``imagenet`` with a file of weights, as a row.

    Args:
        name: of the reference.
        file: with the weights of ``imagenet``; None where ``encoder.weights`` or an initialisation of this
            name has them.
        assignments: ``key=value`` for hyper-parameters that differ from their defaults.

    Returns:
        How the file is read into the encoder, once for grey and once for colour images as needed.

    Raises:
        UserError: there is no such reference, it is a row already, or file and name do not go together; then
            nothing is changed.
    """
    if name not in REFERENCES:
        raise UserError(
            f"{name} is no reference that can be entered; there are: {', '.join(REFERENCES)}. "
            "random-init and random-init-filled are rows of every profile."
        )
    text, protocol = params()
    if name in protocol.methods:
        raise UserError(f"{name} is already a row of params.yaml.")
    settings = as_row(load_settings(REFERENCES[name], name, parse_assignments(assignments)))
    if name == SUPERVISED and file is not None:
        raise UserError(f"{SUPERVISED} starts from scratch, so it takes no file; leave {file} away.")
    edited, row, loaded = _weights_as_they_are(text, protocol, file) if name == IMAGENET else (text, {}, [])
    write_params(with_row(edited, name, row | settings))
    return loaded


def _weights_as_they_are(
    text: str, protocol: Protocol, file: Path | None
) -> tuple[str, dict[str, Any], list[LoadedWeights]]:
    """The text with the file entered, what the row says of it, and how it is read."""
    is_known = IMAGENET in protocol.initialisations
    if file is not None:
        if is_known:
            raise UserError(
                f"{IMAGENET} is already an initialisation of params.yaml. Without a file, its row takes "
                f"that: bench add-reference {IMAGENET}"
            )
        loaded = checked_weights(file, protocol, list(protocol.datasets))
        entered = with_initialisation(text, IMAGENET, as_written(file))
        return entered, {INITIALISATION_KEY: IMAGENET}, loaded
    if is_known:
        return text, {INITIALISATION_KEY: IMAGENET}, []
    if protocol.encoder.weights is None:
        raise UserError(
            f"{IMAGENET} needs weights, and none are ever downloaded: bench add-reference {IMAGENET} FILE"
        )
    return text, {}, []
