"""What DVC itself costs: this project's dvc.yaml, its commands replaced by ones that only touch files.

python -m bench.perf.groups.dvc_overhead --methods 10 --datasets 3
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from ruamel.yaml import YAML

from bench.protocol.params_file import PARAMS
from imssl.errors import UserError


def main(
    methods: Annotated[int, typer.Option(help="Methods in params.yaml.")] = 10,
    datasets: Annotated[int, typer.Option(help="Data sets in params.yaml.")] = 3,
) -> None:
    """Time a full and a no-op ``dvc repro`` of the pipeline with trivial stage commands."""
    if not Path("dvc.yaml").is_file():
        raise UserError("run this in the project's folder")
    with tempfile.TemporaryDirectory() as folder:
        stages = trivial_project(Path(folder), methods, datasets)
        full, no_op = (repro_seconds(folder) for _ in range(2))
    print(
        f"{methods} methods x {datasets} data sets, {stages} stages: full {full:.1f} s, no-op {no_op:.1f} s"
    )


def trivial_project(folder: Path, methods: int, datasets: int) -> int:
    """Write this project's pipeline with trivial commands into a folder, and return its number of stages."""
    yaml = YAML()
    pipeline = yaml.load(Path("dvc.yaml").read_text(encoding="utf-8"))
    params = yaml.load(PARAMS.read_text(encoding="utf-8"))
    params["methods"] = {f"m{i}": {} for i in range(methods)}
    params["datasets"] = {f"d{i}": {} for i in range(datasets)}
    # Seeds and label fractions are cells inside a stage: their number does not change DVC's work.
    for name, stage in pipeline["stages"].items():
        outputs = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
        paths = [next(iter(out)) if isinstance(out, dict) else out for out in outputs]
        touched = [path if Path(path).suffix else f"{path}/file" for path in paths]
        if name == "inputs":
            names = (
                [f"stage-{stage}" for stage in pipeline["stages"]]
                + [f"method-{m}" for m in params["methods"]]
                + [f"dataset-{d}" for d in params["datasets"]]
            )
            touched = [f"results/inputs/{name}.json" for name in names]
        for dependency in stage.get("deps", []):
            if dependency.startswith(("bench", "imssl")):
                source = folder / dependency if Path(dependency).suffix else folder / dependency / "file"
                source.parent.mkdir(parents=True, exist_ok=True)
                source.touch()
        stage["cmd"] = [f"mkdir -p $(dirname {path}) && touch {path}" for path in touched]
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(pipeline, file)
    with (folder / PARAMS).open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    per_pair = sum("method" in stage.get("matrix", {}) for stage in pipeline["stages"].values())
    return 2 + datasets + per_pair * datasets * methods


def repro_seconds(folder: str) -> float:
    """Seconds of one ``dvc repro`` in a folder."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=folder, check=True)
    return time.monotonic() - started


if __name__ == "__main__":
    typer.run(main)
