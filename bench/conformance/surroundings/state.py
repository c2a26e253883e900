"""What a method must leave alone: the code of the suite and of torch, their settings, the environment."""

import builtins
import contextlib
import functools
import inspect
import math
import os
import random
import sys
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
import torch.backends
import torch.library

SUITE = ("imssl", "bench")
# Of the libraries, what computes a number here: their functions and classes are compared, not their caches.
LIBRARIES = (
    "torch.nn", "torch.optim", "torch.autograd", "torch.functional", "torch.linalg", "torch.fft",
    "torch.serialization", "torchvision.models.resnet", "safetensors", "sklearn.metrics",
)  # fmt: skip
LIBRARY_MODULES = (builtins, math, random, np, np.linalg, np.random, torch)
# Hooks that torch calls for every module are kept in dictionaries of these names.
HOOKS_OF_ALL_MODULES = "_global_"
# Python, abc and pydantic keep caches in a class under these names.
CACHES = ("_abc", "__pydantic", "__annot", "__dict", "__weakref", "__signature", "__firstlineno")
# Namespaces of the operations that the suite computes with.
OPERATIONS = ("aten/", "prims/", "torchvision/")
# What torch.backends lets one set, by module: attributes that are functions or fixed are not here.
BACKENDS = {
    "cudnn": ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32"),
    "cuda.matmul": ("allow_tf32", "allow_fp16_reduced_precision_reduction",
                    "allow_bf16_reduced_precision_reduction"),
    "mkldnn": ("enabled", "deterministic", "allow_tf32"),
    "mkl": ("verbose",),
    "nnpack": ("enabled",),
}  # fmt: skip


@functools.cache
def settle_optimisers() -> None:
    """Make one of each of torch's optimisers: with its first instance a class replaces its own ``step``."""
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    for optimiser in vars(torch.optim).values():
        if inspect.isclass(optimiser) and issubclass(optimiser, torch.optim.Optimizer):
            with contextlib.suppress(
                TypeError, ValueError
            ):  # the abstract one, and those with other arguments
                optimiser([weight])  # type: ignore[call-arg]


def surroundings(method_module: str) -> dict[str, object]:
    """All that a method must leave as it is, by name; compare two of these with :func:`changed_names`.

    Args:
        method_module: dotted name of the method's own module, which may do as it likes.

    Returns:
        Identities of modules, functions, classes and their members; values of settings.
    """
    settle_optimisers()
    state: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if name == method_module or not isinstance(module, ModuleType):
            continue
        if name.split(".")[0] in SUITE:
            state[f"module {name}"] = id(module)
            state |= _of_suite(name, module)
        elif name.startswith(LIBRARIES):
            state[f"module {name}"] = id(module)
            state |= _of_library(name, module)
    for library in LIBRARY_MODULES:
        state |= _of_library(library.__name__, library)
    state |= _members("torch.Tensor", torch.Tensor)
    state |= {f"os.environ {key}": value for key, value in os.environ.items()}
    with torch._C.DisableTorchFunction():  # a mode that a method has left active may do anything
        settings = _torch_settings()
    return state | settings | {"recursion limit": sys.getrecursionlimit()}


def changed_names(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Names of what is no longer as it was, in the words of a message.

    What a library adds when it is first used is no change: a module, an attribute of torch, a variable of the
    environment. What is added to the suite's own modules and classes is one.
    """
    missing = object()
    modules = {name.rpartition(".")[0] for name in before if name.startswith(SUITE)}
    return [
        name.removeprefix("module ")
        for name in sorted(before.keys() | after.keys())
        if before.get(name, missing) != after.get(name, missing)
        and (name in before or name.rpartition(".")[0] in modules)
    ]


def random_states() -> dict[str, Any]:
    """The states of the global generators of torch, NumPy and random."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 (the global one is what is meant)
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": (state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]),
        "random": repr(random.getstate()),
    }


def _of_suite(name: str, module: ModuleType) -> dict[str, object]:
    state: dict[str, object] = {}
    for key, value in list(ModuleType.__getattribute__(module, "__dict__").items()):
        if not key.startswith("__") and not inspect.ismodule(value):
            state |= _identity(f"{name}.{key}", value)
            if inspect.isclass(value) and value.__module__ == name:
                state |= _members(f"{name}.{key}", value)
    return state


def _of_library(name: str, module: ModuleType) -> dict[str, object]:
    state: dict[str, object] = {}
    for key, value in list(vars(module).items()):
        if key.startswith(HOOKS_OF_ALL_MODULES) and isinstance(value, dict):
            state[f"{name}.{key}"] = len(value)
        elif not key.startswith("__") and callable(value):
            state |= _identity(f"{name}.{key}", value)
            if inspect.isclass(value) and value.__module__ == name and name.startswith("torch."):
                state |= _members(f"{name}.{key}", value)
    return state


def _members(name: str, owner: type) -> dict[str, object]:
    state: dict[str, object] = {}
    for key, value in list(vars(owner).items()):
        if not key.startswith(CACHES) and key != "_backward_cls":
            state |= _identity(f"{name}.{key}", value)
    return state


def _identity(name: str, value: object) -> dict[str, object]:
    """A function counts as changed where its code is; its name and its place may be as they were."""
    if isinstance(value, FunctionType):
        return {name: (id(value), id(value.__code__), id(value.__defaults__), id(value.__kwdefaults__))}
    return {name: id(value)}


def _torch_settings() -> dict[str, object]:
    state: dict[str, object] = {
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch threads": torch.get_num_threads(),
        "torch grad mode": torch.is_grad_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "torch anomaly detection": torch.is_anomaly_enabled(),
        "torch autocast": torch.is_autocast_enabled("cpu"),
        # Modes that are entered and left again are a method's own affair.
        "torch function modes": torch._C._len_torch_function_stack(),
        "torch dispatch modes": torch._C._len_torch_dispatch_stack(),
        "torch.library kernels": _kernels(),
    }
    for module, names in BACKENDS.items():
        backend: Any = torch.backends
        for part in module.split("."):
            backend = getattr(backend, part, None)
        state |= {f"torch.backends.{module}.{name}": getattr(backend, name, None) for name in names}
    return state


def _kernels() -> list[str]:
    """Kernels that Python code has registered for the operations of torch; libraries bring their own ones."""
    return sorted(key for key in torch.library._impls if key.startswith(OPERATIONS))
