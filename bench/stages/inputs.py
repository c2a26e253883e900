"""Stage ``inputs``: what each stage depends on, code and settings, in one small file per stage and data set.

DVC compares the files by content, so an edit or a changed value reruns exactly what uses it. It could watch
sources and parameters itself, but it writes all of them into dvc.lock again for every stage, which more than
doubles what it costs.
"""

import json
import shutil
from typing import Any

from bench.cells.files import INPUTS, STORE, read_json, write_json
from bench.cells.fingerprints import method_fingerprint, stage_fingerprint
from bench.cells.keys import Keys
from bench.cells.method_facts import facts_of
from bench.forecast.outlook import note_run
from bench.methods.checked import check_state
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import STAGES, StageSpec
from imssl.errors import UserError


def run(protocol: Protocol) -> None:
    """Write the files, and note how much lies ahead."""
    STORE.mkdir(exist_ok=True)  # a run begins: from here on, what was found out is kept
    contents = {f"method-{method}": _method_inputs(method, protocol) for method in protocol.methods}
    for stage, spec in STAGES.items():
        if stage == "inputs":
            continue
        for dataset in protocol.datasets if spec.runs != "once" else [""]:
            contents[_name(stage, dataset)] = _stage_inputs(stage, dataset, protocol)
    shutil.rmtree(INPUTS, ignore_errors=True)
    for name, content in contents.items():
        write_json(INPUTS / f"{name}.json", content)
    note_run(Keys(protocol))


def check_unchanged(stage: str, dataset: str, method: str, protocol: Protocol) -> None:
    """Refuse to run a stage under other code or settings than those that DVC is about to note for it.

    DVC notes the files of this stage as what a result depends on. If params.yaml or a source changes while
    ``dvc repro`` is at work, a later stage would compute under the new ones and be noted under the old.

    Args:
        stage: its name.
        dataset: its data set; empty where it has none.
        method: its method; empty where it has none.
        protocol: as params.yaml says now.

    Raises:
        UserError: a file of this stage or its method holds something else.
    """
    expected = {_name(stage, dataset): _stage_inputs(stage, dataset, protocol)}
    if method and stage == "pretrain":
        expected[f"method-{method}"] = _method_inputs(method, protocol)
    for name, content in expected.items():
        file = INPUTS / f"{name}.json"
        written = read_json(file) if file.is_file() else content
        for part, origin in (("settings", "params.yaml"), ("code", "the suite's code")):
            if written.get(part) != json.loads(json.dumps(content[part])):
                raise UserError(
                    f"{origin} has changed since this run began ({file} holds another state), and results "
                    "must not be mixed. Run: dvc repro"
                )


def _name(stage: str, dataset: str) -> str:
    return f"{stage}-{dataset}" if dataset else stage


def _stage_inputs(stage: str, dataset: str, protocol: Protocol) -> dict[str, Any]:
    spec = STAGES[stage]
    if stage == "report":
        settings = _report_settings(protocol)
    else:
        settings = {**spec.settings(protocol, dataset), **_extent(spec, protocol)}
    return {"code": stage_fingerprint(stage), "settings": settings}


def _extent(spec: StageSpec, protocol: Protocol) -> dict[str, Any]:
    """Which cells a stage has; how each is computed is not in here."""
    extent: dict[str, Any] = {}
    if spec.has_cells:
        extent["seeds"] = protocol.seeds
        if spec.per_fraction or any(STAGES[stage].per_fraction for stage in spec.builds_on):
            extent["label_fractions"] = protocol.label_fractions
        if spec.runs == "dataset":
            extent["methods"] = list(protocol.methods)
    return extent


def _report_settings(protocol: Protocol) -> dict[str, Any]:
    written = protocol.model_dump(mode="json", include={"label_fractions", "profile", "report", "seeds"})
    return written | {"checks": {method: check_state(method, protocol).state for method in protocol.methods}}


def _method_inputs(method: str, protocol: Protocol) -> dict[str, Any]:
    facts = facts_of(method, protocol)
    return {
        "code": method_fingerprint(method, protocol),
        "settings": {
            "settings": facts.settings,
            "on_datasets": facts.on_datasets,
            "optimisation": facts.optimisation,
            "pretrains": facts.pretrains,
        },
    }
