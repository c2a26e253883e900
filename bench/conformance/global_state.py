"""Global state that a method file must leave alone: the suite's code, torch's settings, the environment."""

import inspect
import os
import random
import sys
from typing import Any

import numpy as np
import torch

from bench.conformance.loading import PRIVATE_NAME


def global_state() -> dict[str, object]:
    """Identities of all that imssl's modules and classes hold, torch's settings, the environment; by name."""
    state: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        # The method file itself is loaded among imssl's modules, under a name of its own.
        if name.split(".")[0] == "imssl" and name != PRIVATE_NAME:
            for key, value in vars(module).items():
                if key.startswith("__") or inspect.ismodule(value):
                    continue
                state[f"{name}.{key}"] = id(value)
                if inspect.isclass(value) and value.__module__ == name:
                    state |= _members(f"{name}.{key}", value)
    for owner in (torch.nn.Module, torch.Tensor, torch.optim.SGD):
        state |= _members(f"torch {owner.__name__}", owner)
    state |= {f"os.environ {key}": value for key, value in os.environ.items()}
    return state | {
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


def changed_names(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Names of what is no longer as it was; a module that was imported in between is no change."""
    missing = object()
    modules = {name.rpartition(".")[0] for name in before}
    return [
        name
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


def _members(name: str, owner: type) -> dict[str, object]:
    # Python, abc and pydantic keep caches in a class under these names.
    caches = ("_abc", "__pydantic", "__annot", "__dict", "__weakref", "__signature")
    return {f"{name}.{key}": id(value) for key, value in vars(owner).items() if not key.startswith(caches)}
