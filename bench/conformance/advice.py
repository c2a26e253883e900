"""What to do about an error that a method's own code raises: advice on mistakes that are often made."""

import dataclasses
import traceback
from pathlib import Path

from pydantic import BaseModel

from imssl.errors import UserError
from imssl.method import Batch, Method, TrainingSet

WEIGHTS = {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz", ".h5", ".onnx"}
NO_FILES = "a method computes with the tensors it is given"
NO_WEIGHTS = (
    "a method loads no weights: name the file as encoder.weights in params.yaml, and every row starts from it"
)
SUPER_FIRST = "call super().__init__(encoder, settings, training_set) first in __init__"
NOT_A_TENSOR = 'log takes a scalar tensor: self.log("name", torch.tensor(value)), or a tensor as it is'
ONE_FILE = "A method is one file: put what it needs of {name}.py into it"
CHANNELS_LAST = (
    "images, maps, kernels and their gradients lie channels last in memory: .reshape(...) in the place of "
    ".view(...); for torch.optim.LBFGS, a hook that makes each gradient contiguous"
)
IN_GENERAL = "mend the named line; what needs it is not checked before"


def advice(error: BaseException) -> str:
    """What to do about an error, for the line below it; general advice where nothing better is known."""
    message = str(error)
    if isinstance(error, PermissionError) and "a method may not do this" in message:
        return advice_on_files(message)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    if isinstance(error, UserError) and last and Path(last[0].filename).parent.name == "methods":
        return "raise UserError in __init__ alone, where the settings do not fit the training set"
    if isinstance(error, AttributeError):
        return _advice_on_attribute(error, message)
    if isinstance(error, RuntimeError) and "view size is not compatible" in message:
        return CHANNELS_LAST
    if isinstance(error, TypeError) and "__init__" in message and "argument" in message:
        return SUPER_FIRST.replace("first in __init__", "with these three arguments, and accept no others")
    return IN_GENERAL


def advice_on_files(seen: str) -> str:
    """What to do where a method reaches for a file.

    Args:
        seen: descriptions of :class:`bench.conformance.surroundings.watch.Watch`.
    """
    words = seen.replace(";", " ").split()
    weights = any(Path(word).suffix in WEIGHTS for word in words) or "torch/hub" in seen
    return NO_WEIGHTS if weights else NO_FILES


def missing_module_advice(error: ModuleNotFoundError, folder: Path) -> str:
    """What to do about an import that fails: a file beside the method's is not imported with it."""
    name = (error.name or "").split(".")[-1]
    if name and ((folder / f"{name}.py").is_file() or (folder / name).is_dir()):
        return f" {ONE_FILE.format(name=name)}."
    return ""


def _advice_on_attribute(error: AttributeError, message: str) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    if last and last[0].name == "log" and Path(last[0].filename).name == "method.py":
        return NOT_A_TENSOR
    if "before Module.__init__() call" in message or (
        isinstance(error.obj, Method) and error.name in ("encoder", "settings", "training_set", "logged")
    ):
        return SUPER_FIRST
    if isinstance(error.obj, Batch | TrainingSet):
        labels = " There are no labels in it." if isinstance(error.obj, Batch) else ""
        return f"a {type(error.obj).__name__} has {', '.join(_fields(error.obj))}.{labels}"
    if isinstance(error.obj, BaseModel):
        names = ", ".join(type(error.obj).model_fields) or "no fields"
        return f"{type(error.obj).__name__} has {names}"
    return IN_GENERAL


def _fields(value: Batch | TrainingSet) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]
