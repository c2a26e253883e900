"""Makes heard what Python's audit hooks do not hear: files that C++ and Rust open, and looks at labels.

Functions that open a file by its name without Python raise an audit event first. The suite's modules, and
those of the data sets, raise one when an attribute is taken from them: a method has no business there, by
whatever way it found them. So do the parts of pyarrow that read and write files, of which there are too many,
under too many names, to list each.
"""

import contextlib
import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from imssl.datasets.prepared import Prepared

FILE_EVENT = "imssl.open"
FILES_EVENT = "imssl.files"
LABELS_EVENT = "imssl.labels"

OF_IMAGES = {"read_file": False, "write_file": True, "read_image": False, "decode_image": False,
             "write_jpeg": True, "write_png": True}  # fmt: skip
# Functions that are given a path and read or write there, by owner; True for those that write.
SILENT: dict[str, dict[str, bool]] = {
    "torch": {"from_file": False, "save": True, "load": False},
    "torch.serialization": {"save": True, "load": False},
    "torch.UntypedStorage": {"from_file": False},
    "torch.jit": {"save": True, "load": False},
    "torch.jit._serialization": {"save": True, "load": False},
    "torch._C": {"PyTorchFileReader": False, "PyTorchFileWriter": True, "import_ir_module": False,
                 "_load_for_lite_interpreter": False},
    "safetensors._safetensors_rust": {"safe_open": False, "serialize_file": True},
    "safetensors": {"safe_open": False, "serialize_file": True},
    "safetensors.torch": {"save_file": True, "load_file": False, "safe_open": False, "serialize_file": True},
    "safetensors.numpy": {"save_file": True, "load_file": False, "safe_open": False, "serialize_file": True},
    "torchvision.io": OF_IMAGES,
    "torchvision.io.image": OF_IMAGES,
}  # fmt: skip
# What of torch calls these itself, and is heard by its own functions above.
HEARD_ALREADY = {"torch.serialization", "torch.jit._serialization", "torch.jit.mobile"}
MAY_BE_BASE = 1 << 10  # Py_TPFLAGS_BASETYPE
# Methods of tensors and storages that make a file in /dev/shm.
SHARING = {"torch.Tensor": ("share_memory_",), "torch.UntypedStorage": ("share_memory_",)}

# Of pyarrow: the modules that are about files, and what else there reaches them.
FILES_LIBRARY = "pyarrow"
FILE_MODULES = re.compile(r"pyarrow\.(csv|json|parquet|feather|orc|fs|dataset|ipc|_.*)(\..*)?")
FILE_NAMES = {
    "OSFile", "MemoryMappedFile", "memory_map", "create_memory_map", "input_stream", "output_stream",
    "CompressedInputStream", "CompressedOutputStream", "NativeFile",
}  # fmt: skip
LABELS = ("imssl.datasets", "imssl.monitor", "bench")
# What importing and looking through modules takes, also without meaning any of them.
HARMLESS = {
    "__class__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__",
    "__warningregistry__",
}  # fmt: skip


class _Overheard(ModuleType):
    """A module that says when something is taken from it."""

    def __getattribute__(self, name: str) -> Any:
        if name not in HARMLESS:
            sys.audit(LABELS_EVENT, f"{ModuleType.__getattribute__(self, '__name__')}.{name}")
        return super().__getattribute__(name)


class _OfFiles(ModuleType):
    """A module of pyarrow, which says when something is taken from it that reaches files."""

    def __getattribute__(self, name: str) -> Any:
        own_name = ModuleType.__getattribute__(self, "__name__")
        if name in FILE_NAMES or (not name.startswith("__") and FILE_MODULES.fullmatch(own_name)):
            sys.audit(FILES_EVENT, f"{own_name}.{name}")
        return super().__getattribute__(name)


class _Announced:
    """A finder that says which of the suite's modules is about to be loaded, and finds pyarrow's alone.

    Args:
        on_load: called with a module of pyarrow that has been loaded.
    """

    def __init__(self, on_load: Callable[[ModuleType], None]) -> None:
        self.on_load = on_load

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _is_kept_apart(name):
            sys.audit(LABELS_EVENT, name)
        if name.partition(".")[0] != FILES_LIBRARY:
            return None
        specification = PathFinder.find_spec(name, path, target)
        if specification is not None and specification.loader is not None:
            specification.loader = _TellingLoader(specification.loader, self.on_load)
        return specification


class _TellingLoader(Loader):
    """A loader that says when it has loaded a module, and is otherwise the one that it is given."""

    def __init__(self, loader: Any, on_load: Callable[[ModuleType], None]) -> None:
        self.loader, self.on_load = loader, on_load

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.on_load(module)


def _announced_attribute(prepared: Prepared, name: str) -> Any:
    """A prepared data set holds the labels; objects that a method is given may lead to it."""
    sys.audit(LABELS_EVENT, f"{name} of a data set")
    return object.__getattribute__(prepared, name)


@contextmanager
def overheard() -> Iterator[None]:
    """Inside the block, the functions and modules of this file raise audit events."""
    replaced: list[tuple[Any, str, Any]] = []
    classes: list[ModuleType] = []

    def listen_to(module: ModuleType) -> None:
        if type(module) is ModuleType:
            classes.append(module)
            module.__class__ = _Overheard if _is_kept_apart(module.__name__) else _OfFiles

    finder = _Announced(on_load=listen_to)
    try:
        for owner, name, heard in _heard_functions():
            replaced.append((owner, name, vars(owner)[name]))
            setattr(owner, name, heard)
        for name, module in list(sys.modules.items()):
            if _is_kept_apart(name) or name.partition(".")[0] == FILES_LIBRARY:
                listen_to(module)
        sys.meta_path.insert(0, finder)
        Prepared.__getattribute__ = _announced_attribute  # type: ignore[method-assign, assignment]
        yield
    finally:
        with contextlib.suppress(AttributeError):  # an error came before it was set
            del Prepared.__getattribute__
        sys.meta_path.remove(finder)
        for module in classes:
            module.__class__ = ModuleType
        for owner, name, function in reversed(replaced):
            setattr(owner, name, function)


def _is_kept_apart(name: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in LABELS)


@functools.cache  # the same objects each time, so that surroundings that were noted earlier are unchanged
def _heard_functions() -> tuple[tuple[Any, str, Any], ...]:
    heard: list[tuple[Any, str, Any]] = []
    for place, functions in SILENT.items():
        owner = _owner(place)
        for name, writes in functions.items():
            if owner is not None and name in vars(owner):
                function = _heard(getattr(owner, name), writes)
                heard.append((owner, name, staticmethod(function) if isinstance(owner, type) else function))
    for place, names in SHARING.items():
        owner = _owner(place)
        heard += [(owner, name, _shared(getattr(owner, name))) for name in names if owner is not None]
    return tuple(heard)


def _owner(place: str) -> Any:
    """A module or class by its name; None where this version of a library has none."""
    module, _, last = place.rpartition(".")
    if last[:1].isupper():
        return getattr(importlib.import_module(module), last, None)
    try:
        return importlib.import_module(place)
    except ImportError:
        return None


def _heard(function: Any, writes: bool) -> Any:
    def announce(*arguments: Any, **keywords: Any) -> None:
        caller = sys._getframe(2).f_globals.get("__name__")
        for value in (*arguments, *keywords.values()):
            if isinstance(value, str | os.PathLike) and caller not in HEARD_ALREADY:
                sys.audit(FILE_EVENT, value, "w" if writes else "r", 0)
                break

    if inspect.isclass(function) and function.__flags__ & MAY_BE_BASE:  # isinstance() must go on working

        class Announced(function):
            def __init__(self, *arguments: Any, **keywords: Any) -> None:
                announce(*arguments, **keywords)
                super().__init__(*arguments, **keywords)

        Announced.__name__, Announced.__qualname__ = function.__name__, function.__qualname__
        return Announced

    @functools.wraps(function)
    def announced(*arguments: Any, **keywords: Any) -> Any:
        announce(*arguments, **keywords)
        return function(*arguments, **keywords)

    return announced


def _shared(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def announced(self: Any, *arguments: Any, **keywords: Any) -> Any:
        sys.audit(FILE_EVENT, "/dev/shm", "w", 0)
        return method(self, *arguments, **keywords)

    return announced
