"""Names of methods: the id in params.yaml, the file in imssl/methods, and which of them are free."""

import re
from pathlib import Path

from bench.conformance.method_source import shadowed_module
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.params_file import ID_PATTERN, PARAMS
from bench.protocol.protocol import read_protocol
from bench.protocol.registry import (
    BUILT_IN,
    EXAMPLES,
    METHODS_FOLDER,
    ROWS_OF_THE_SUITE,
    file_name_of,
    place_of_method,
    shown,
)
from imssl.errors import UserError


def id_of(file_name: str) -> str:
    """The id of a method whose file has this name: ``my-method`` for ``my_method.py``."""
    return file_name.removesuffix(".py").replace("_", "-")


def source_path(given: Path) -> Path:
    """The file that a user means by a path, or by the name of a method that comes with the suite.

    Raises:
        UserError: it is a reference of the suite, or the row of an encoder from elsewhere; these are entered
            in another way. Or it is nearly the name of a method of the suite, and no file.
    """
    of_the_suite = METHODS_FOLDER / file_name_of(str(given))
    by_name = re.fullmatch(ID_PATTERN, str(given)) and not given.exists() and of_the_suite.is_file()
    path = of_the_suite if by_name else given
    meant = did_you_mean(str(given), map(id_of, (*BUILT_IN, *EXAMPLES)))
    if meant and not path.suffix and not path.exists():
        raise UserError(f"{given}: there is no such file, and the suite has no method of this name.{meant}")
    if path.name in ROWS_OF_THE_SUITE and (by_name or path.absolute().parent == METHODS_FOLDER):
        command = "add-encoder" if path.name == "pretrained_elsewhere.py" else "add-reference"
        raise UserError(
            f"{given}: the suite's own, which keeps no method's contract and is not checked by it; see: "
            f"bench {command} --help"
        )
    return path


def check_name(name: str) -> None:
    """Check that a name can be the id of a method.

    Raises:
        UserError: it cannot.
    """
    if not re.fullmatch(ID_PATTERN, name) or len(name) > 40:
        raise UserError(
            f"the name {name!r}: use at most 40 lower-case letters, digits and single hyphens, a letter "
            "first, such as simclr-t01."
        )
    shadowed = shadowed_module(file_name_of(name))
    if shadowed:
        raise UserError(
            f"the name {name!r}: its file {file_name_of(name)} would hide {shadowed}. Choose another, "
            f"such as my-{name}."
        )


def check_free(name: str) -> None:
    """Check that a new method can have this id.

    Raises:
        UserError: it cannot be an id, or another method has it.
    """
    check_name(name)
    file = place_of_method(file_name_of(name))
    listed = PARAMS.exists() and name in read_protocol().methods
    if listed or file.exists():
        place = "params.yaml" if listed else shown(file)
        raise UserError(f"{name} is already a method, in {place}; choose another name, such as {name}-2.")
