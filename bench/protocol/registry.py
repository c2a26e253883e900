"""The methods that params.yaml names: for each its file, the class in it, and its typed hyper-parameters."""

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import imssl.methods
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.params_file import PARAMS, KeyPath, explain, line_of, read_params
from bench.protocol.protocol import FILE_KEY, OPTIMISATION_KEY, Protocol, hyperparameters, values
from bench.protocol.source_files.places import is_checkout, own_methods
from imssl.errors import UserError
from imssl.settings.pretraining import Optimisation, PretrainSettings

if TYPE_CHECKING:
    from imssl.method import Method, MethodSettings

# Of the suite's own method files; a project may have others, see bench.protocol.source_files.places.
METHODS_FOLDER = Path(imssl.__file__).parent / "methods"

# The methods of the paper's comparison, and further methods that show what the contract allows.
BUILT_IN = ("random_init.py", "random_init_filled.py", "moco.py", "moco_mse.py", "moco_barlow.py")
# Rows that evaluate what somebody else has trained, and the reference that has all labels.
ROWS_OF_THE_SUITE = ("imagenet.py", "pretrained_elsewhere.py", "supervised.py")
# What users can neither replace nor remove.
OF_THE_SUITE = (*BUILT_IN, *ROWS_OF_THE_SUITE)
EXAMPLES = (
    "simclr.py",
    "byol.py",
    "simsiam.py",
    "vicreg.py",
    "masked_reconstruction.py",
    "medaug.py",
    "nnclr.py",
    "dino.py",
    "vicregl.py",
)


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


def file_name_of(method: str) -> str:
    """The file name of a method with this id: ``my_method.py`` for ``my-method``."""
    return method.replace("-", "_") + ".py"


def method_file(method: str, protocol: Protocol) -> Path:
    """The file of a method: named after its id (``moco-mse`` is moco_mse.py) or after its key ``file``.

    Raises:
        UserError: there is no such file, or one in either folder.
    """
    name = protocol.methods[method].get(FILE_KEY, file_name_of(method))
    folders = dict.fromkeys((METHODS_FOLDER, own_methods()))
    available = sorted(path.name for folder in folders for path in folder.glob("[!_]*.py"))
    if name not in available:
        raise UserError(
            f"{line_of(('methods', method, FILE_KEY))}: methods.{method}: there is no file "
            f"{_shown_folder(added_methods())}/{name}. There are: {', '.join(available)}."
            f"{did_you_mean(str(name), available)} "
            f"Name the method after one of them, or give it the key {FILE_KEY}."
        )
    holding = [folder / name for folder in folders if (folder / name).is_file()]
    if len(holding) > 1:
        raise UserError(
            f"methods/{name} has the name of a method of the suite, which would be taken in its place. "
            f"Rename the file and its row in {PARAMS}."
        )
    find_own_methods()
    return holding[0]


def added_methods() -> Path:
    """The folder that an added method's file goes to: the project's, or in a checkout that of the suite."""
    return METHODS_FOLDER if is_checkout() and not own_methods().is_dir() else own_methods()


def place_of_method(file_name: str) -> Path:
    """Where a method file of this name lies, or would be put."""
    of_suite = METHODS_FOLDER / file_name
    return of_suite if of_suite.is_file() else added_methods() / file_name


def shown(file: Path) -> str:
    """A method file as messages name it: methods/mine.py, or imssl/methods/moco.py of the suite."""
    return f"{_shown_folder(file.parent)}/{file.name}"


def _shown_folder(folder: Path) -> str:
    return "methods" if folder == own_methods() != METHODS_FOLDER else "imssl/methods"


def find_own_methods() -> None:
    """Let the project's own method files be imported as modules of imssl.methods, after the suite's."""
    # In the place of another project's, where this process has worked in one: of two files of one name the
    # earlier project's would be taken. The first place is where the package itself was found.
    of_project = [str(own_methods())] if own_methods().is_dir() else []
    imssl.methods.__path__ = list(dict.fromkeys((imssl.methods.__path__[0], *of_project)))


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
    if method_class.reads_labels and not method_class.is_reference:
        raise UserError(
            f"{shown(file)}: {method_class.__name__} reads labels, so it can only be a "
            "reference, out of ranks and comparisons: set is_reference = True, or leave reads_labels away."
        )
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
