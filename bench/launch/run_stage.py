"""Run one DVC stage in this process: ``run_stage(["pretrain", "phantom-chest", "moco"])``."""

import sys
from importlib import import_module
from typing import cast

from threadpoolctl import threadpool_limits

from bench.launch.run_cells import run_cells
from bench.machine.failures import machine_failure
from bench.machine.lock import shared
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import STAGES, Stage
from bench.stages.inputs import check_unchanged
from imssl.errors import UserError


def run_stage(arguments: list[str]) -> int:
    """Run a stage and return the exit status: 0, or 2 after a message about what the user can mend."""
    try:
        name, values = _checked(arguments)
        with shared(f"stage {' '.join(arguments)}"):
            protocol = read_protocol()
            ids = dict(zip(STAGES[name].arguments, values, strict=True))
            _check_ids(ids, protocol)
            dataset, method = ids.get("dataset", ""), ids.get("method", "")
            if name != "inputs":
                check_unchanged(name, dataset, method, protocol)
            stage = import_module(f"bench.stages.{name}")
            # NumPy's and SciPy's BLAS on one thread: their products here are small, so threads slow them
            # down, and the order of a sum does not depend on the machine. A BLAS that is loaded later would
            # keep its threads, so the stage is imported before. torch takes its threads from the protocol.
            with threadpool_limits(1, user_api="blas"):
                if STAGES[name].has_cells:
                    methods = [method] if method else list(protocol.methods)
                    run_cells(cast(Stage, name), dataset, methods, protocol)
                else:
                    stage.run(*values, protocol)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished cells are kept, dvc repro continues from them", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        message = machine_failure(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        return 2
    return 0


def _checked(arguments: list[str]) -> tuple[str, list[str]]:
    name, *values = arguments or [""]
    if name not in STAGES or len(values) != len(STAGES[name].arguments):
        usages = (
            " ".join((stage, *(f"<{argument}>" for argument in spec.arguments)))
            for stage, spec in STAGES.items()
        )
        raise UserError(f"usage: python -m bench.stage STAGE, where STAGE is one of: {'; '.join(usages)}")
    return name, values


def _check_ids(ids: dict[str, str], protocol: Protocol) -> None:
    for kind, value in ids.items():
        known = protocol.datasets if kind == "dataset" else protocol.methods
        if value not in known:
            raise UserError(f"{kind} {value} is not in params.yaml; there are: {', '.join(known)}")
