"""Run one DVC stage in this process, ``run_stage(["pretrain", "phantom-chest"])``, or lay out many."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from itertools import groupby
from typing import cast

from threadpoolctl import threadpool_limits

from bench.cells import store
from bench.cells.files import INPUTS, REPORTS, data_folder
from bench.cells.fingerprints import IMSSL, stage_fingerprint
from bench.cells.keys import Keys
from bench.launch.lay_out import lay_out, outputs_of, owner_of, refuse_braces, refuse_links
from bench.launch.run_cells import run_cells
from bench.machine.failures import exit_status
from bench.machine.lock import shared
from bench.protocol.cell import Cell, all_cells
from bench.protocol.nearest_name import refuse_unknown
from bench.protocol.params_file import PARAMS
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.source_files.at_start import saved_since_start, sources_at_start
from bench.protocol.stage_specs import STAGES, Stage
from bench.stages.inputs import check_unchanged
from imssl.errors import UserError


def run_stage(arguments: list[str]) -> int:
    """Run a stage and return the exit status: 0, or as :func:`bench.machine.failures.exit_status` says."""
    return exit_status(partial(_run, arguments), "dvc repro")


def lay_out_stages(stages: list[str]) -> int:
    """Lay out all cells of some stages, as each stage would; what cannot be laid out is left to DVC.

    For a first run: DVC alone starts a process for each of dozens of stages and writes dvc.lock anew after
    each, which took a fifth of the demo's time.

    Args:
        stages: names of stages with cells, such as ``pretrain``.

    Returns:
        0, or 1 where a cell is missing, or code or settings were saved in the meantime.
    """

    def work() -> int:
        with shared("bench run"):
            protocol = read_protocol()
            keys = Keys(protocol)
            cells = [cell for cell in all_cells(protocol) if cell.stage in stages]
            if not all(store.finished(cell, keys.key(cell)) for cell in cells):
                return 1
            try:
                for _, of_stage in groupby(cells, key=lambda cell: cell.dvc_stage):
                    _lay_out_unchanged(list(of_stage), keys)
            except UserError:  # DVC runs the stages, and says what is the matter
                return 1
        return 0

    return exit_status(work, "bench run")


def _lay_out_unchanged(cells: Sequence[Cell], keys: Keys) -> None:
    first = cells[0]
    check_unchanged(first.stage, first.dataset, owner_of(first), keys.protocol)
    refuse_links(outputs_of(cells))
    lay_out(cells, keys)


def _run(arguments: list[str]) -> int:
    name, values = _checked(arguments)
    store.check_place()
    with shared(f"stage {' '.join(arguments)}"):
        protocol = read_protocol()
        ids = dict(zip(STAGES[name].arguments, values, strict=True))
        _check_ids(ids, protocol)
        dataset, method = ids.get("dataset", ""), ids.get("method", "")
        if name != "inputs":
            check_unchanged(name, dataset, method, protocol)
        if STAGES[name].has_cells:
            methods = [method] if method else list(protocol.methods)
            run_cells(cast(Stage, name), dataset, methods, protocol)
        else:
            _run_whole(name, values, protocol)
    return 0


def _run_whole(name: str, values: list[str], protocol: Protocol) -> None:
    """Run a stage without cells, and refuse its output where code or settings were saved in the meantime.

    DVC notes a stage's dependencies after it has run. What was saved while it ran would be noted as what the
    output was made from, and the output held for up to date.
    """
    refuse_braces()
    refuse_links([{"inputs": INPUTS, "report": REPORTS}.get(name) or data_folder(values[0])])
    stage = import_module(f"bench.stages.{name}")
    with threadpool_limits(1, user_api="blas"):  # as for cells, see bench.launch.compute
        stage.run(*values, protocol)
    if name == "data":  # may take hours, so that only what decides it counts
        saved = saved_since_start(IMSSL.parent / file for file in stage_fingerprint(name))
        check_unchanged(name, values[0], "", read_protocol())
    else:
        saved = saved_since_start(sources_at_start())
    if saved or (name != "data" and read_protocol() != protocol):
        what = saved[0] if saved else PARAMS
        raise UserError(f"{what} was saved while the stage {name} ran. Run: dvc repro")


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
        refuse_unknown(kind, value, known)
