"""Stage ``inputs``: what each stage, method and data set depends on, code and settings, in small files.

DVC compares the files by content, so an edit or a changed value reruns exactly what uses it. It could watch
sources and parameters itself, but it writes all of them into dvc.lock again for every stage: a dependency on
one file instead makes a run of 65 stages cost DVC 13 seconds instead of 29.
"""

import shutil
from typing import Any

from bench.cells import CELL_STAGES
from bench.code import method_fingerprint, stage_fingerprint
from bench.protocol import Protocol
from bench.registry import check_state
from bench.results import INPUTS, write_json

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
    values = protocol.model_dump(mode="json")
    shutil.rmtree(INPUTS, ignore_errors=True)
    for stage in ("data", *CELL_STAGES, "report"):
        settings: dict[str, Any] = {section: values[section] for section in SECTIONS[stage]}
        if stage == "report":
            settings["checks"] = {method: check_state(method, protocol).state for method in protocol.methods}
        if stage == "finetune":
            settings["stored_features"] = protocol.reuse.samples
        _write(f"stage-{stage}", stage_fingerprint(stage), settings)
    for method in protocol.methods:
        _write(f"method-{method}", method_fingerprint(method, protocol), values["methods"][method])
    for dataset in protocol.datasets:
        _write(f"dataset-{dataset}", {}, values["datasets"][dataset])


def _write(name: str, code: dict[str, str], settings: dict[str, Any]) -> None:
    write_json(INPUTS / f"{name}.json", {"code": code, "settings": settings})
