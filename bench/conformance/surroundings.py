"""What a method file must leave as it is: the suite's code, torch's settings, the environment."""

import inspect
import os
import random
import sys
from typing import Any

import numpy as np
import torch

# Loading itself makes this one, see bench.conformance.loading.
LOADED = "imssl.methods.__checked__"


def surroundings() -> dict[str, object]:
    """Identities of everything in imssl's modules and classes, and torch's settings, by name."""
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "imssl" and name != LOADED:
            for key, value in vars(module).items():
                if key.startswith("__") or inspect.ismodule(value):
                    continue
                found[f"{name}.{key}"] = id(value)
                if inspect.isclass(value) and value.__module__ == name:
                    found |= _members(f"{name}.{key}", value)
    for owner in (torch.nn.Module, torch.Tensor, torch.optim.SGD):
        found |= _members(f"torch {owner.__name__}", owner)
    found |= {f"os.environ {key}": value for key, value in os.environ.items()}
    return found | {
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch threads": torch.get_num_threads(),
        "torch grad mode": torch.is_grad_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "torch anomaly detection": torch.is_anomaly_enabled(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "recursion limit": sys.getrecursionlimit(),
    }


def changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Names of what is no longer as it was; modules that were imported since are no change."""
    missing = object()
    modules = {name.rpartition(".")[0] for name in before}
    return [
        name
        for name in sorted(before.keys() | after.keys())
        if before.get(name, missing) != after.get(name, missing)
        and (name in before or name.rpartition(".")[0] in modules)
    ]


def random_states() -> dict[str, Any]:
    """The state of every global generator."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 (the global one is what is meant)
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": (state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]),
        "random": repr(random.getstate()),
    }


def _members(name: str, owner: type) -> dict[str, object]:
    # Python, abc and pydantic keep caches in a class under these names.
    caches = ("_abc", "__pydantic", "__annot", "__dict", "__weakref", "__signature")
    return {f"{name}.{key}": id(value) for key, value in vars(owner).items() if not key.startswith(caches)}
