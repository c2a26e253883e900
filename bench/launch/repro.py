"""``bench repro``: runs ``dvc repro``, whose stages then use this interpreter and its commands."""

import os
import subprocess
import sys
from pathlib import Path

from bench.cells.files import REPORTS
from bench.launch.warm_start import start_early
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError


def run_dvc_repro(arguments: list[str]) -> int:
    """Check params.yaml, run ``dvc repro``, and print where the leaderboard is.

    Args:
        arguments: passed on to ``dvc repro``.

    Returns:
        The exit status of ``dvc repro``.

    Raises:
        UserError: params.yaml is not valid, or the current folder is not a project's.
    """
    protocol = read_protocol()
    if not Path("dvc.yaml").is_file():
        raise UserError("there is no dvc.yaml here. Run this in the project's folder.")
    if not Path("dvc.lock").is_file():  # a first run certainly has stages to run; a later one may have none
        start_early()
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": folder + os.pathsep + os.environ.get("PATH", "")}
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *arguments], env=environment, check=False
    ).returncode
    status = status if status >= 0 else 128 - status  # as a shell reports an end by a signal
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
