"""Stage ``inputs``: what each stage, method and data set depends on, code and settings, in small files.

DVC compares the files by content, so an edit or a changed value reruns exactly what uses it. It could watch
sources and parameters itself, but it writes all of them into dvc.lock again for every stage: a dependency on
one file instead makes a run of 65 stages cost DVC 13 seconds instead of 29.
"""

import json
import shutil
from collections.abc import Sequence
from typing import Any

from bench.cells.cell import CELL_STAGES
from bench.cells.files import INPUTS, read_json, write_json
from bench.cells.fingerprints import method_fingerprint, stage_fingerprint
from bench.methods.checked import check_state
from bench.protocol.protocol import Protocol
from imssl.errors import UserError

# The sections of params.yaml that a stage reads itself. What an earlier stage reads reaches it through that
# stage's output, which names its key.
SECTIONS: dict[str, tuple[str, ...]] = {
    "data": (),
    "pretrain": ("augmentation", "encoder", "hardware", "pretrain", "seeds"),
    "finetune": ("finetune", "finetune_augmentation", "label_fractions", "linear"),
    "probe": ("probe",),
    "reuse": ("reuse",),
    "ks": (),
    "report": ("label_fractions", "profile", "report", "seeds"),
}


def run(protocol: Protocol) -> None:
    """Write one file per stage, method and data set."""
    shutil.rmtree(INPUTS, ignore_errors=True)
    settings = _settings(protocol)
    for stage in ("data", *CELL_STAGES, "report"):
        _write(f"stage-{stage}", stage_fingerprint(stage), settings)
    for method in protocol.methods:
        _write(f"method-{method}", method_fingerprint(method, protocol), settings)
    for dataset in protocol.datasets:
        _write(f"dataset-{dataset}", {}, settings)


def check_unchanged(stage: str, ids: Sequence[str], protocol: Protocol) -> None:
    """Refuse to run a stage under other settings than those that DVC is about to note for it.

    DVC notes the files of this stage as what a result depends on. If params.yaml changes while ``dvc repro``
    is at work, a later stage would compute under the new settings and be noted under the old ones.

    Args:
        stage: its name.
        ids: of the data set and method, as far as the stage has them.
        protocol: as params.yaml says now.

    Raises:
        UserError: a file of this stage, its data set or its method holds other settings.
    """
    settings = _settings(protocol)
    kinds = ("dataset", "method")[: len(ids)]
    for name in (f"stage-{stage}", *(f"{kind}-{id}" for kind, id in zip(kinds, ids, strict=True))):
        file = INPUTS / f"{name}.json"
        if file.is_file() and read_json(file).get("settings") != json.loads(json.dumps(settings[name])):
            raise UserError(
                f"params.yaml has changed since this run began ({file} holds other settings), and results "
                "must not be mixed. Run: dvc repro"
            )


def _settings(protocol: Protocol) -> dict[str, dict[str, Any]]:
    """The settings that go into each file, by its name."""
    values = protocol.model_dump(mode="json")
    settings: dict[str, dict[str, Any]] = {
        f"stage-{stage}": {section: values[section] for section in sections}
        for stage, sections in SECTIONS.items()
    }
    settings["stage-finetune"]["stored_features"] = protocol.reuse.samples
    settings["stage-report"]["checks"] = {
        method: check_state(method, protocol).state for method in protocol.methods
    }
    settings |= {f"method-{method}": values["methods"][method] for method in protocol.methods}
    return settings | {f"dataset-{dataset}": values["datasets"][dataset] for dataset in protocol.datasets}


def _write(name: str, code: dict[str, str], settings: dict[str, dict[str, Any]]) -> None:
    write_json(INPUTS / f"{name}.json", {"code": code, "settings": settings[name]})
