"""Write a project of 10 methods, 10 data sets, 5 seeds and 3 label sets, to plan it on many machines.

    python docs/plan_ten_by_ten.py FOLDER && cd FOLDER && bench plan --machines 64x1gpu

Its data sets are the demo's phantoms in ten sizes, so that cells differ in length as those of real data do.
"""

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

METHODS = (
    "random-init", "random-init-filled", "supervised",
    "moco", "moco-mse", "moco-barlow", "simclr", "byol", "vicreg", "dino",
)  # fmt: skip
PATIENTS = (48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def write_project(folder: Path) -> None:
    """Make the project, and put ten data sets and ten methods in the place of the demo's."""
    subprocess.run([sys.executable, "-m", "bench", "init", folder], check=True)
    yaml, file = YAML(), folder / "params.yaml"
    params = yaml.load(file)
    kinds = list(params["datasets"].values())
    params["datasets"] = {
        f"phantom-{patients}": {**kinds[place % len(kinds)], "patients": patients}
        for place, patients in enumerate(PATIENTS)
    }
    params["methods"] = {name: dict(params["methods"].get(name, {})) for name in METHODS}
    params["seeds"] = list(range(5))
    with file.open("w") as stream:
        yaml.dump(params, stream)


if __name__ == "__main__":
    write_project(Path(sys.argv[1]))
