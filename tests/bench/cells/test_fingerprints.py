import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import imssl
from bench.cells import fingerprints
from bench.cells.fingerprints import method_fingerprint, stage_fingerprint
from bench.protocol import registry
from bench.protocol.protocol import Protocol
from bench.protocol.stage_specs import CELL_STAGES

ROOT = Path(imssl.__file__).parents[1]
METHODS = ("random-init", "moco", "moco-mse", "moco-barlow")
STAGES = ("data", *CELL_STAGES, "report")
TRAINING = {"imssl/pretrain.py", "imssl/finetune.py", "imssl/method.py", "imssl/probe.py", "imssl/augment.py"}


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A copy of the source that may be edited; the fingerprints are taken of it."""
    for package in ("imssl", "bench"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".bench").mkdir()  # a run has begun, so what is found out is kept
    monkeypatch.setattr(fingerprints, "IMSSL", tmp_path / "imssl")
    monkeypatch.setattr(fingerprints, "STAGES", tmp_path / "bench" / "stages")
    monkeypatch.setattr(registry, "METHODS_FOLDER", tmp_path / "imssl" / "methods")
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Look at the source anew, as the next process would."""
    for remembered in (
        fingerprints._fingerprint,
        fingerprints._imported_files,
        fingerprints._sources,
        fingerprints._known_imports,
    ):
        remembered.cache_clear()


@pytest.fixture
def protocol(edited) -> Protocol:
    return edited("  random-init: {}\n", "  random-init: {}\n  moco-mse: {}\n")


def all_fingerprints(protocol: Protocol) -> dict[str, str]:
    forget()
    stages = {f"stage-{stage}": fingerprints.digest(stage_fingerprint(stage)) for stage in STAGES}
    return stages | {f"method-{m}": fingerprints.digest(method_fingerprint(m, protocol)) for m in METHODS}


def changed_by(edits: dict[str, str], copied: Path, protocol: Protocol) -> set[str]:
    before = all_fingerprints(protocol)
    for name, text in edits.items():
        with (copied / name).open("a", encoding="utf-8") as file:
            file.write(text)
    after = all_fingerprints(protocol)
    return {name for name in before if before[name] != after[name]}


EDITS = {
    "imssl/methods/moco_barlow.py": {"method-moco-barlow"},
    "imssl/methods/moco.py": {"method-moco", "method-moco-mse", "method-moco-barlow"},
    "imssl/methods/random_init.py": {"method-random-init"},
    "imssl/queue.py": {"method-moco", "method-moco-mse", "method-moco-barlow"},
    "imssl/finetune.py": {"stage-finetune"},
    "imssl/cka.py": {"stage-reuse"},
    "imssl/ks.py": {"stage-ks"},
    "imssl/pretrain.py": {"stage-pretrain"},
    "imssl/datasets/phantom.py": {"stage-data"},
    "imssl/datasets/medmnist.py": {"stage-data"},
    "bench/stages/ks.py": {"stage-ks"},
    "bench/statistics.py": set(),  # dvc.yaml names the report's own files
    "bench/warm_server.py": set(),
    "bench/warm_start.py": set(),
    "bench/cli.py": set(),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_the_fingerprints_of_what_uses_it_and_no_other(copied, protocol, name):
    assert changed_by({name: "\n# edited\n"}, copied, protocol) == EDITS[name]


@pytest.mark.parametrize(
    "statement",
    [
        "import imssl.extra",
        "from imssl import extra",
        "from imssl.extra import x",
        "from .. import extra",
        "from ..extra import x",
        "def late():\n    from imssl.extra import x",
        "import imssl.deep.module",
    ],
)
def test_every_form_of_import_is_followed(copied, protocol, statement):
    (copied / "imssl" / "extra.py").write_text("x = 1\n")
    (copied / "imssl" / "deep").mkdir()
    (copied / "imssl" / "deep" / "__init__.py").write_text("from imssl import extra\n")
    (copied / "imssl" / "deep" / "module.py").write_text("")
    changed_by({"imssl/methods/moco.py": f"\n{statement}\n"}, copied, protocol)
    changed = changed_by({"imssl/extra.py": "y = 2\n"}, copied, protocol)
    assert changed == {"method-moco", "method-moco-mse", "method-moco-barlow"}


def test_a_fingerprint_does_not_depend_on_where_the_source_lies(copied, protocol):
    for stage in STAGES:
        assert all(not Path(name).is_absolute() for name in stage_fingerprint(stage))
    here = all_fingerprints(protocol)
    elsewhere = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json; from bench.cells.fingerprints import *\n"
            f"print(json.dumps({{'stage-' + s: digest(stage_fingerprint(s)) for s in {STAGES!r}}}))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(elsewhere) == {name: sha for name, sha in here.items() if name.startswith("stage-")}


def test_files_that_have_not_changed_are_not_parsed_again(copied, protocol, monkeypatch):
    before = all_fingerprints(protocol)
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(
        fingerprints.ast, "parse", lambda content, file: parsed.append(file) or parse(content, file)
    )
    assert all_fingerprints(protocol) == before
    assert parsed == []
    edited = copied / "imssl" / "queue.py"
    edited.write_text(edited.read_text() + "\nfrom imssl import extra\n")
    (copied / "imssl" / "extra.py").write_text("")
    assert "imssl/extra.py" in method_fingerprint_now("moco", protocol)
    assert parsed == [str(edited), str(copied / "imssl" / "extra.py")]


def method_fingerprint_now(method: str, protocol: Protocol) -> dict[str, str]:
    forget()
    return method_fingerprint(method, protocol)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"x": [[1]]}', "\0"])
def test_a_damaged_note_of_imports_is_no_harm(copied, protocol, content):
    before = all_fingerprints(protocol)
    fingerprints.KNOWN_IMPORTS.write_text(content)
    assert all_fingerprints(protocol) == before
    assert len(fingerprints.KNOWN_IMPORTS.read_text()) > 1000


def test_a_method_that_cannot_be_parsed_stops_no_other(copied, protocol):
    (copied / "imssl" / "methods" / "moco_mse.py").write_text("class (")
    assert "imssl/methods/moco.py" in method_fingerprint_now("moco", protocol)
    with pytest.raises(SyntaxError):
        method_fingerprint_now("moco-mse", protocol)


def test_fine_tuning_does_not_depend_on_any_method():
    fingerprint = stage_fingerprint("finetune")
    assert "imssl/finetune.py" in fingerprint
    assert [name for name in fingerprint if name.startswith("imssl/methods/")] == []


@pytest.mark.parametrize("stage", ["data", "reuse", "ks"])
def test_stages_that_train_nothing_do_not_depend_on_training(stage):
    assert TRAINING.isdisjoint(stage_fingerprint(stage))


def test_all_that_a_stage_imports_is_in_its_fingerprint(protocol):
    # One process imports the heavy libraries and forks a child per stage.
    program = """
import importlib, json, os, sys
import torch, torchvision, pandas, sklearn.metrics, dvclive
from pathlib import Path
def loaded(module):
    read, write = os.pipe()
    if os.fork() == 0:
        importlib.import_module(module)
        found = [m.__file__ for n, m in list(sys.modules.items()) if n.partition(".")[0] == "imssl"]
        os.write(write, json.dumps([Path(f).relative_to(Path.cwd()).as_posix() for f in found]).encode())
        os._exit(0)
    os.close(write)
    with open(read) as stream:
        return json.load(stream)
print(json.dumps({module: loaded(module) for module in sys.argv[1:]}))
"""
    names = {stage: f"bench.stages.{stage}" for stage in STAGES}
    names |= {m: f"imssl.methods.{m.replace('-', '_')}" for m in METHODS}
    ended = subprocess.run(
        [sys.executable, "-c", program, "bench.launch.run_cells", *names.values()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {module: set(files) for module, files in json.loads(ended.stdout).items()}
    # The suite reads params.yaml and data cards for every stage; their values are in the keys.
    plumbing = found["bench.launch.run_cells"]
    assert {name for name in plumbing if "/settings/" not in name} <= {
        "imssl/__init__.py",
        "imssl/errors.py",
        "imssl/durable.py",
        "imssl/datasets/__init__.py",
        "imssl/datasets/prepared.py",
        "imssl/datasets/source.py",
    }
    for name, module in names.items():
        taken = stage_fingerprint(name) if name in STAGES else method_fingerprint(name, protocol)
        assert found[module] - set(taken) - plumbing == set(), name


def test_what_a_stage_imports_from_the_suite_is_not_in_its_fingerprint(copied, protocol):
    """A module of the suite that moves leaves every finished cell as it is."""
    imports = "from bench.cells import elsewhere\nfrom bench.cells.files import (\n    STORE,\n)\n"
    assert changed_by({"bench/stages/ks.py": imports}, copied, protocol) == set()
    assert changed_by({"bench/stages/ks.py": "\nfrom imssl import ks\n"}, copied, protocol) == {"stage-ks"}
