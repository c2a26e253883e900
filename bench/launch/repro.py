"""``bench run`` and ``bench repro``: fill the store on an engine, then let DVC lay out what is there."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from ruamel.yaml import YAML

from bench.cells import store
from bench.cells.files import INPUTS, REPORTS, data_folder
from bench.cells.store.held_cells import CHECKOUT_CLAIMS, HeldClaim, Holder, claimed, kept
from bench.launch.dvc_state import (
    another_dvc,
    data_are_current,
    refuse_what_is_no_file,
    set_unreadable_aside,
    unseen_stages,
)
from bench.launch.fill_store import OUTDATED, FillRequest, finished_stages, wanted_cells
from bench.launch.lay_out import outputs_of, refuse_braces, refuse_links
from bench.launch.warm_start import run_warm, start_early
from bench.machine.stop import handling_sigterm
from bench.machine.watched import SIGNALS_FROM, as_shell, say_what_ended
from bench.protocol.cell import all_cells
from bench.protocol.nearest_name import did_you_mean
from bench.protocol.protocol import Protocol, read_protocol
from imssl.errors import UserError

# The sources are read before they are imported, see bench.protocol.source_files.at_start.
CALL_HERE = """
import sys
from importlib import import_module
from bench.protocol.source_files.at_start import sources_at_start
sources_at_start()
module, function, *arguments = sys.argv[1:]
call = getattr(import_module(module), function)
from bench.machine.system import end_with_parent
end_with_parent()
sys.exit(call(arguments))
"""

ONE_RUN = (
    "One bench run computes what several would, side by side: bench run --only 'finetune/*/moco' --only "
    "'knn/*/*' takes as many patterns STAGE/DATASET/METHOD as there are targets."
)

# DVC's own exit statuses, for something that failed and for a command line that it does not understand.
DVC_STATUS = {255: 1, 254: 2}

# After so many edits in the middle of one run it is time to say so.
MOST_STARTS = 5


def run(request: FillRequest, then_repro: bool = True) -> int:
    """Compute every missing cell, then run ``dvc repro``, which has nothing left to compute.

    Args:
        request: which cells, and where.
        then_repro: whether to run ``dvc repro`` at the end.

    Returns:
        The exit status: 0, 1 where a cell could not be computed, or that of ``dvc repro``.

    Raises:
        UserError: params.yaml is not valid, the current folder is not a project's, another run is at work, or
            an output is a link out of the project.
    """
    protocol = _checked_project()
    cells = wanted_cells(protocol, request.only)
    if then_repro:  # hours before DVC would refuse them
        data = [data_folder(dataset) for dataset in protocol.datasets]
        refuse_links([INPUTS, *data, *outputs_of(cells), REPORTS])
    with _alone("bench run") as claim, kept(claim):
        for start in range(MOST_STARTS):
            # After an edit DVC is asked: this process has read the code as it was before.
            status = _fill(protocol, request, start == 0 and data_are_current(protocol))
            if status != OUTDATED:
                break
            print("the code was saved in the meantime: the run begins again with what is there now")
            protocol = _checked_project()
        else:
            raise UserError("the code was saved again and again while the run was at work. Run it again.")
        if status != 0:
            return status
        if not then_repro:
            return 0
        if not request.only:
            return _lay_out_unseen() or _dvc_repro([], protocol)
        targets = finished_stages(protocol, request.only)
        if not targets:
            print("no stage of DVC is complete with these cells; they are in the store")
            return 0
        return _dvc_repro(targets, protocol)


def run_dvc_repro(arguments: list[str]) -> int:
    """Check params.yaml, run ``dvc repro``, and print where the leaderboard is.

    Without arguments the store is filled first, with cells of different stages side by side.

    Args:
        arguments: passed on to ``dvc repro``.

    Returns:
        The exit status of ``dvc repro``.

    Raises:
        UserError: params.yaml is not valid, the current folder is not a project's, or ``dvc repro`` has no
            such option or stage.
    """
    if not arguments:
        return run(FillRequest())
    _refuse_unknown(arguments)
    with _alone("bench repro") as claim, kept(claim):
        protocol = _checked_project()
        # Only this stage sees params.yaml and the sources. A target without what it depends on
        # (--single-item), or a forecast (--dry), would hold the others for up to date.
        status = _brought_up_to_date("inputs")
        if status != 0:
            return status
        return _dvc_repro(arguments, protocol)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    """Refuse before anything is computed what DVC would refuse after it; ``--help`` is answered here."""
    from dvc.cli.parser import get_main_parser  # half a second

    options, unknown = get_main_parser().parse_known_args(["repro", *arguments])
    if unknown:
        raise UserError(f"dvc repro has no option {', '.join(unknown)}. Its options: bench repro --help")
    pipeline = Path("dvc.yaml")
    if not options.targets or options.glob or not pipeline.is_file():
        return
    stages = list(YAML(typ="safe").load(pipeline)["stages"])
    protocol = read_protocol()
    parts = {cell.dvc_stage for cell in all_cells(protocol)} | {f"data@{name}" for name in protocol.datasets}
    for target in options.targets:
        if Path(target).exists() or ":" in target:  # an output, or another file of stages
            continue
        stage = target.partition("@")[0]
        known = {name for name in parts if name.startswith(f"{stage}@")}
        if stage not in stages or (known and "@" in target and target not in known):
            raise UserError(f"there is no stage {target}.{did_you_mean(target, [*sorted(parts), *stages])}")


def _checked_project() -> Protocol:
    store.check_place()
    protocol = read_protocol()
    refuse_what_is_no_file()
    refuse_braces()
    for note in set_unreadable_aside():
        print(note, flush=True)
    if not Path("dvc.lock").is_file():  # a first run certainly has stages to run; a later one may have none
        start_early()
    return protocol


def _fill(protocol: Protocol, request: FillRequest, has_current_data: bool) -> int:
    # All keys are known once the data are prepared; before, cells of other data would count as finished.
    if not has_current_data:
        print("preparing the data sets", flush=True)
        status = _brought_up_to_date(*(f"data@{dataset}" for dataset in protocol.datasets))
        if status != 0:
            return status
    arguments = [json.dumps(asdict(request))]
    status = _call("bench.launch.fill_store", "fill_store", arguments, warm=request.on == "local")
    say_what_ended("the run", status)
    return status


def _brought_up_to_date(*stages: str) -> int:
    """Have DVC run stages without a word of its own; where it fails by itself, say how to hear it."""
    status = _dvc(["repro", "--quiet", *stages])
    if 0 < status <= SIGNALS_FROM:
        command = shlex.join(["dvc", "repro", *stages])
        print(f"Where nothing above says why this ended, DVC does: {command}", file=sys.stderr, flush=True)
    return status


def _lay_out_unseen() -> int:
    """Lay out what DVC has not seen, and have it note that; what fails is left to ``dvc repro``.

    Returns:
        0, or the exit status of a process that a signal has ended: then the run is to end, too.
    """
    stages = unseen_stages()
    if not stages:
        return 0
    print("laying out the results", flush=True)
    status = _call("bench.launch.run_stage", "lay_out_stages", stages)
    if status == 0:
        status = _dvc(["commit", "--quiet", "--force", *stages])
    say_what_ended("laying out the results", status)
    return status if status > SIGNALS_FROM else 0


def _call(module: str, function: str, arguments: list[str], warm: bool = True) -> int:
    """Call a function of the suite in a process that has read the code as it is now; its exit status."""
    status = run_warm(arguments, module, function) if warm else None
    return _call_in_a_process(module, function, arguments) if status is None else status


def _call_in_a_process(module: str, function: str, arguments: Sequence[str]) -> int:
    """Call it in a process that is asked to leave when this one is, and is waited for."""
    process = subprocess.Popen([sys.executable, "-c", CALL_HERE, module, function, *arguments])

    def pass_on(signal_number: int, frame: FrameType | None) -> None:
        process.send_signal(signal_number)

    with handling_sigterm(pass_on):
        try:
            return as_shell(process.wait())
        except KeyboardInterrupt:  # it has received Ctrl-C, too
            return as_shell(process.wait())


def _dvc_repro(arguments: Sequence[str], protocol: Protocol) -> int:
    status = _dvc(["repro", *arguments])
    if status != 0 and (other := another_dvc()):
        print(
            f"{other} is at work in this folder, and DVC lets one run at a time. {ONE_RUN}", file=sys.stderr
        )
    leaderboard = REPORTS / "leaderboard.html"
    if status == 0 and leaderboard.is_file():
        synthetic = all(dataset.source == "phantom" for dataset in protocol.datasets.values())
        print(f"leaderboard: {leaderboard.resolve()}")
        if synthetic:
            print(
                "(The images are synthetic: these results show that the suite works, and say nothing about "
                "medicine.)"
            )
    return status


def _dvc(arguments: Sequence[str]) -> int:
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": folder + os.pathsep + os.environ.get("PATH", "")}
    status = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], env=environment, check=False
    ).returncode
    return DVC_STATUS.get(status, as_shell(status))


def _alone(command: str) -> AbstractContextManager[HeldClaim]:
    # Of the checkout, as what is run fills its results; the store may be that of several.
    return claimed("driver", command, _refuse, CHECKOUT_CLAIMS)


def _refuse(holder: Holder) -> None:
    raise UserError(
        f"{holder} is at work in this folder. Wait until it has ended, or stop it; a second run would only "
        f"get in its way. {ONE_RUN}"
    )
