"""The methods that params.yaml names: for each its file, the class in it, and its typed hyper-parameters."""

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import ValidationError

import imssl
from bench.protocol.params_file import PARAMS, explain, line_of, read_params
from bench.protocol.protocol import Protocol
from imssl.errors import UserError

if TYPE_CHECKING:
    from imssl.method import Method, MethodSettings

METHODS_FOLDER = Path(imssl.__file__).parent / "methods"

# The key beside the hyper-parameters that names a method's file, where the file is not named after the id.
FILE_KEY = "file"

# The methods of the paper's comparison, and further methods that show what the contract allows.
BUILT_IN = ("random_init.py", "random_init_filled.py", "moco.py", "moco_mse.py", "moco_barlow.py")
EXAMPLES = ("simclr.py", "byol.py", "simsiam.py", "vicreg.py", "masked_reconstruction.py")


@dataclass(frozen=True)
class RegisteredMethod:
    """One method of the protocol.

    Attributes:
        id: its name in params.yaml and on the leaderboard.
        file: the file that defines it.
        method: its class.
        settings: its hyper-parameters, defaults included.
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


def load_method(method: str, protocol: Protocol) -> RegisteredMethod:
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
    return RegisteredMethod(method, file, method_class, settings)


def only_method(module: ModuleType, file: Path) -> "type[Method]":
    """The only method that a module defines.

    Raises:
        UserError: it defines none, or more than one.
    """
    from imssl.method import Method

    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        names = ", ".join(value.__name__ for value in classes) or "none"
        raise UserError(
            f"{file}: a method file must define exactly one subclass of imssl.method.Method; found: {names}."
        )
    return classes[0]
