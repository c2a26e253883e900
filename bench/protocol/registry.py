"""The methods that params.yaml names: for each its file, the class in it, and its typed hyper-parameters."""

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import imssl
from bench.protocol.params_file import PARAMS, KeyPath, explain, line_of, read_params
from bench.protocol.protocol import FILE_KEY, OPTIMISATION_KEY, Protocol, hyperparameters, values
from imssl.errors import UserError
from imssl.settings.pretraining import Optimisation, PretrainSettings

if TYPE_CHECKING:
    from imssl.method import Method, MethodSettings

METHODS_FOLDER = Path(imssl.__file__).parent / "methods"

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
        optimisation: the protocol's, with what is different for this method.
    """

    id: str
    file: Path
    method: "type[Method]"
    settings: "MethodSettings"
    optimisation: Optimisation

    def pretrain_on(self, dataset: str, protocol: Protocol) -> PretrainSettings:
        """How the method is pretrained on a data set: like every method, but for its own optimiser values."""
        return protocol.pretrain_of(dataset).model_copy(update={"optimisation": self.optimisation})


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


def load_method(method: str, protocol: Protocol, dataset: str | None = None) -> RegisteredMethod:
    """Import a method's file and check its hyper-parameters.

    Args:
        method: its id.
        protocol: with the method in it.
        dataset: whose hyper-parameters are wanted; None for those that all data sets share.

    Raises:
        UserError: no such file, not exactly one method in it, or a hyper-parameter that is not allowed.
    """
    file = method_file(method, protocol)
    module = importlib.import_module(f"imssl.methods.{file.stem}")
    method_class = only_method(module, file)
    settings = _checked(method_class, protocol.written_settings(method), ("methods", method))
    if dataset is not None and method in protocol.datasets[dataset].methods:
        place = ("datasets", dataset, "methods", method)
        settings = _checked(method_class, protocol.written_settings(method, dataset), place)
    return RegisteredMethod(method, file, method_class, settings, _optimisation(method, protocol))


def _checked(method_class: "type[Method]", written: dict[str, Any], place: KeyPath) -> "MethodSettings":
    try:
        given = json.dumps(hyperparameters(written))
        return method_class.settings_class.model_validate_json(given, strict=True)
    except ValidationError as error:
        content = read_params() if PARAMS.exists() else {}
        raise UserError(explain(error, content, str(PARAMS), prefix=place)) from None


def _optimisation(method: str, protocol: Protocol) -> Optimisation:
    """The optimiser's values for one method.

    Raises:
        UserError: one that is written in its row is not allowed.
    """
    common, place = protocol.pretrain.optimisation, ("methods", method, OPTIMISATION_KEY)
    different = protocol.methods[method].get(OPTIMISATION_KEY, {})
    if not isinstance(different, dict):
        raise UserError(f"{line_of(place)}: {'.'.join(place)} must hold values such as learning_rate: 0.03.")
    try:
        return Optimisation.model_validate_json(json.dumps(values(common) | different), strict=True)
    except ValidationError as error:
        content = read_params() if PARAMS.exists() else {}
        raise UserError(explain(error, content, str(PARAMS), prefix=place)) from None


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


def different_settings(method: str, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """What is written for a method on single data sets, by data set; those without anything are left out."""
    written = {dataset: settings.methods.get(method) for dataset, settings in protocol.datasets.items()}
    return {dataset: different for dataset, different in written.items() if different}
