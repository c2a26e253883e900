"""Methods by id: the file, the class in it, and its typed hyper-parameters."""

import contextlib
import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import imssl
from bench.protocol.params_file import PARAMS, explain, line_of, read_params
from bench.protocol.protocol import Protocol, values
from imssl.errors import UserError

if TYPE_CHECKING:
    from imssl.method import Method, MethodSettings

METHODS_FOLDER = Path(imssl.__file__).parent / "methods"

# In params.yaml, beside the hyper-parameters: which file a method is in, where it is not named after its id.
FILE_KEY = "file"

# The rows that the paper's comparison is about, and the files that show what the contract allows.
BUILT_IN = ("random_init.py", "moco.py", "moco_mse.py", "moco_barlow.py")
EXAMPLES = ("simclr.py", "byol.py", "simsiam.py", "vicreg.py", "masked_reconstruction.py")


@dataclass(frozen=True)
class Registered:
    """One method of the protocol.

    Attributes:
        id: its name in params.yaml and on the leaderboard.
        file: the file that defines it.
        method: its class.
        settings: its hyper-parameters, defaults filled in.
    """

    id: str
    file: Path
    method: "type[Method]"
    settings: "MethodSettings"


def method_file(method: str, protocol: Protocol) -> Path:
    """The file of a method: named after its id (``moco-mse`` is moco_mse.py) or after its key ``file``.

    Raises:
        UserError: there is no such file.
    """
    name = protocol.methods[method].get(FILE_KEY, method.replace("-", "_") + ".py")
    available = sorted(path.name for path in METHODS_FOLDER.glob("[!_]*.py"))
    if name not in available:
        raise UserError(
            f"{line_of(('methods', method, FILE_KEY))}: methods.{method}: there is no file "
            f"imssl/methods/{name}. There are: {', '.join(available)}. "
            f"Name the method after one of them, or give it the key {FILE_KEY}."
        )
    return METHODS_FOLDER / name


def load_method(method: str, protocol: Protocol) -> Registered:
    """Import a method's file and check its hyper-parameters.

    Raises:
        UserError: no such file, not exactly one method in it, or a hyper-parameter that is not allowed.
    """
    file = method_file(method, protocol)
    module = importlib.import_module(f"imssl.methods.{file.stem}")
    method_class = only_method(module, file)
    given = {name: value for name, value in protocol.methods[method].items() if name != FILE_KEY}
    try:
        settings = method_class.settings_class.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        content = read_params() if PARAMS.exists() else {}
        raise UserError(explain(error, content, str(PARAMS), prefix=("methods", method))) from None
    return Registered(method, file, method_class, settings)


def reference_methods(protocol: Protocol) -> list[str]:
    """Methods that do not pretrain: drawn as references, and out of ranks and corrected tests.

    A method that cannot be loaded is not among them.
    """
    references = []
    for method in protocol.methods:
        with contextlib.suppress(UserError):
            if not load_method(method, protocol).method.pretrains:
                references.append(method)
    return references


def only_method(module: ModuleType, file: Path) -> "type[Method]":
    """The one method that a module defines.

    Raises:
        UserError: it defines none, or more than one.
    """
    from imssl.method import Method

    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise UserError(
            f"{file}: a method file defines exactly one class on imssl.method.Method; found: {names}."
        )
    return found[0]


def check_methods(protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Hyper-parameters of every method of the protocol, defaults filled in.

    Raises:
        UserError: as :func:`load_method`.
    """
    return {method: values(load_method(method, protocol).settings) for method in protocol.methods}
