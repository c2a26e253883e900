"""``bench repro``: DVC with this interpreter's own commands on the path."""

import os
import subprocess
import sys
from pathlib import Path

from bench.cells.files import REPORTS
from bench.launch.warm_start import start_early
from bench.protocol.protocol import read_protocol
from imssl.errors import UserError


def run_dvc_repro(arguments: list[str]) -> int:
    """Check params.yaml, run ``dvc repro`` and print where the leaderboard is.

    Raises:
        UserError: params.yaml or the folder is not one that can be run.
    """
    protocol = read_protocol()
    if not Path("dvc.yaml").is_file():
        raise UserError("there is no dvc.yaml here. Run this in the project's folder.")
    if not Path("dvc.lock").is_file():  # a first run, which has stages to run; another one may have none
        start_early()
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": folder + os.pathsep + os.environ.get("PATH", "")}
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *arguments], env=environment, check=False
    ).returncode
    status = status if status >= 0 else 128 - status  # as a shell says that a signal ended it
    leaderboard = REPORTS / "leaderboard.html"
    if status == 0 and leaderboard.is_file():
        synthetic = all(dataset.source == "phantom" for dataset in protocol.datasets.values())
        print(f"leaderboard: {leaderboard.resolve()}")
        if synthetic:
            print(
                "(profile demo: synthetic images; it shows that the suite works and says nothing of medicine)"
            )
    return status
