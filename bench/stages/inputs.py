"""Stage ``inputs``: what each stage depends on, code and settings, in one small file per stage and data set.

DVC compares the files by content, so an edit or a changed value reruns exactly what uses it. It could watch
sources and parameters itself, but it writes all of them into dvc.lock again for every stage, which more than
doubles what it costs.
"""

import json
import shutil
from importlib.metadata import version
from typing import Any

from bench.cells.files import INPUTS, STORE, data_folder, read_json, write_json
from bench.cells.fingerprints import method_fingerprint, stage_fingerprint
from bench.cells.keys import Keys
from bench.cells.method_facts import facts_of
from bench.cells.store.adopting import adopt
from bench.datasets.manifest import CARD_KEY, NOTES, raw_summary
from bench.forecast.outlook import note_run
from bench.methods.checked import check_state
from bench.methods.encoders.fitting import check_encoder
from bench.protocol.cell import all_cells
from bench.protocol.params_file import line_of
from bench.protocol.protocol import Protocol
from bench.protocol.source_files.at_start import suite_checksum
from bench.protocol.source_files.places import is_checkout
from bench.protocol.stage_specs import STAGES, StageSpec
from bench.protocol.starting_points import starting_point
from imssl.datasets.prepared import read_card
from imssl.device_kind import device_problem
from imssl.errors import UserError
from imssl.settings.sources import one_file_source


def run(protocol: Protocol) -> None:
    """Write the files, adopt cells that only the results hold, and note how much lies ahead.

    Raises:
        UserError: there is a GPU that torch cannot use, or a file cannot be read.
    """
    problem = device_problem(protocol.hardware)
    if problem is not None:
        raise UserError(f"{line_of(('hardware', 'device'))}: {problem}")
    STORE.mkdir(exist_ok=True)  # a run begins: from here on, what was found out is kept
    check_encoder(protocol)
    contents = input_contents(protocol)
    shutil.rmtree(INPUTS, ignore_errors=True)
    for name, content in contents.items():
        write_json(INPUTS / f"{name}.json", content)
    for dataset in protocol.datasets:
        raw, before = contents[_name("data", dataset)]["raw"], _raw_before(dataset)
        if before is not None and raw != before:
            print(f"raw files of {dataset} have changed: it is prepared again.", flush=True)
        if raw is not None:
            write_json(NOTES / f"{dataset}.json", raw)
    keys = Keys(protocol)
    adopted = adopt(all_cells(protocol), keys)
    if adopted:
        print(f"{len(adopted)} finished cells of results/ are now in the store too", flush=True)
    note_run(keys)


def stale_data(protocol: Protocol) -> list[str]:
    """The data sets whose file is not what params.yaml, the sources and the raw files say now."""
    return [name for name in protocol.datasets if _differs(_name("data", name), _data_inputs(name, protocol))]


def _raw_before(dataset: str) -> dict[str, Any] | None:
    """What was noted of the raw files when this stage ran last. DVC removes its outputs before it runs it.

    In a fresh clone the card says it, which `dvc pull` brings: a colleague without the raw files prepares
    nothing again.
    """
    file = NOTES / f"{dataset}.json"
    if file.is_file():
        return read_json(file)
    try:
        sha256 = read_card(data_folder(dataset)).inputs.get(CARD_KEY)
    except UserError:
        return None
    return None if sha256 is None else {"sha256": sha256}


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
        # A stage that runs without DVC has no such file.
        part = _differs(name, content) if (INPUTS / f"{name}.json").is_file() else None
        if part is not None:
            origin = {"settings": "params.yaml", "code": "the suite's code"}[part]
            raise UserError(
                f"{origin} has changed since this run began ({INPUTS / name}.json holds another state), and "
                "results must not be mixed. Run: dvc repro"
            )


def input_contents(protocol: Protocol) -> dict[str, dict[str, Any]]:
    """What each file holds, by name."""
    contents = {f"method-{method}": _method_inputs(method, protocol) for method in protocol.methods}
    for stage, spec in STAGES.items():
        if stage == "inputs":
            continue
        for dataset in protocol.datasets if spec.runs != "once" else [""]:
            contents[_name(stage, dataset)] = (
                _data_inputs(dataset, protocol)
                if stage == "data"
                else _stage_inputs(stage, dataset, protocol)
            )
    if not is_checkout():
        # In a project that uses an installed suite DVC has no folder of code to watch.
        contents["suite"] = {"version": version("imssl-bench"), "sha256": suite_checksum()}
    return contents


def _differs(name: str, content: dict[str, Any]) -> str | None:
    """Which part of a file is not what it should be, such as settings or code; None where all is."""
    file = INPUTS / f"{name}.json"
    written = read_json(file) if file.is_file() else {}
    for part, value in content.items():
        if written.get(part) != json.loads(json.dumps(value)):
            return part
    return None


def _name(stage: str, dataset: str) -> str:
    return f"{stage}-{dataset}" if dataset else stage


def _stage_inputs(stage: str, dataset: str, protocol: Protocol) -> dict[str, Any]:
    spec = STAGES[stage]
    if stage == "report":
        settings = _report_settings(protocol)
    else:
        settings = {**spec.settings(protocol, dataset), **_extent(spec, protocol)}
    read_by = one_file_source(protocol.datasets[dataset]) if stage == "data" else None
    code = stage_fingerprint(stage, read_by) if read_by else stage_fingerprint(stage)
    return {"code": code, "settings": settings}


def _data_inputs(dataset: str, protocol: Protocol) -> dict[str, Any]:
    raw = raw_summary(protocol.datasets[dataset], _raw_before(dataset))
    return {**_stage_inputs("data", dataset, protocol), "raw": raw}


def _extent(spec: StageSpec, protocol: Protocol) -> dict[str, Any]:
    """Which cells a stage has; how each is computed is not in here."""
    extent: dict[str, Any] = {}
    if spec.has_cells:
        extent["seeds"] = protocol.seeds
        if spec.per_label_set or any(STAGES[stage].per_label_set for stage in spec.builds_on):
            extent["label_sets"] = [labels.id for labels in protocol.label_sets]
        if spec.runs == "dataset":
            extent["methods"] = list(protocol.methods)
    return extent


def _report_settings(protocol: Protocol) -> dict[str, Any]:
    read = {"label_fractions", "labels_per_class", "profile", "report", "seeds"}
    written = protocol.model_dump(mode="json", include=read)
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
            **_starting_points(method, protocol),
        },
    }


def _starting_points(method: str, protocol: Protocol) -> dict[str, Any]:
    """SHA-256 of the weights that a row starts from, by data set; nothing where they are random."""
    from_scratch = facts_of(method, protocol).from_scratch
    starts = {
        dataset: starting_point(method, dataset, protocol, from_scratch) for dataset in protocol.datasets
    }
    files = {dataset: start.sha256 for dataset, start in starts.items() if start is not None}
    return {"starts_from": files} if files else {}
