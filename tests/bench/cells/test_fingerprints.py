import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cells import fingerprints
from bench.cells.fingerprints import method_fingerprint, stage_fingerprint
from bench.protocol import registry
from bench.protocol.protocol import Protocol
from bench.protocol.source_files import at_start
from bench.protocol.stage_specs import CELL_STAGES
from tests.project_copy import ROOT, copy_packages

METHODS = ("random-init", "moco", "moco-mse", "moco-barlow")
STAGES = ("data", *CELL_STAGES, "report")
TRAINING = {"imssl/pretrain.py", "imssl/finetune.py", "imssl/method.py", "imssl/probe.py", "imssl/augment.py"}


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A copy of the source that may be edited; the fingerprints are taken of it."""
    copy_packages(tmp_path)
    (tmp_path / ".bench").mkdir()  # a run has begun, so what is found out is kept
    monkeypatch.setattr(at_start, "PACKAGES", (tmp_path / "imssl", tmp_path / "bench"))
    monkeypatch.setattr(fingerprints, "IMSSL", tmp_path / "imssl")
    monkeypatch.setattr(fingerprints, "STAGES", tmp_path / "bench" / "stages")
    monkeypatch.setattr(registry, "METHODS_FOLDER", tmp_path / "imssl" / "methods")
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


def forget() -> None:
    """Look at the source anew, as the next process would; what is known of unchanged files is known still."""
    for remembered in (
        at_start.sources_at_start,
        fingerprints._fingerprint,
        fingerprints._files_of,
        fingerprints._contents,
        fingerprints._source,
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


MOCO_AND_ITS_CHILDREN = {"method-moco", "method-moco-mse", "method-moco-barlow"}
# What is judged by scores of its predictions.
JUDGED = {"stage-finetune", "stage-frozen", "stage-knn", "stage-probe"}
RUN_WHEN_IMPORTED = "\nassert True\n"
EDITS = {
    "imssl/methods/moco_barlow.py": {"method-moco-barlow"},
    "imssl/methods/moco.py": MOCO_AND_ITS_CHILDREN,
    "imssl/methods/random_init.py": {"method-random-init"},
    "imssl/queue.py": MOCO_AND_ITS_CHILDREN,
    "imssl/finetune.py": {"stage-finetune"},
    "imssl/cka.py": {"stage-reuse"},
    "imssl/ks.py": {"stage-ks"},
    "imssl/metrics.py": JUDGED,
    "imssl/curves.py": JUDGED,
    "imssl/knn.py": {"stage-knn"},
    "imssl/pretrain.py": {"stage-pretrain"},
    "imssl/monitor.py": {"stage-pretrain"},
    "imssl/datasets/phantom.py": {"stage-data"},
    "imssl/datasets/medmnist.py": {"stage-data"},
    "bench/stages/ks.py": {"stage-ks"},
    "bench/report/page.py": set(),  # dvc.yaml names the report's own files
    "bench/launch/warm_server.py": set(),
    "bench/cells/predictions.py": set(),
    "bench/cli.py": set(),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_the_fingerprints_of_what_uses_it_and_no_other(copied, protocol, name):
    assert changed_by({name: RUN_WHEN_IMPORTED}, copied, protocol) == EDITS[name]


def test_comments_docstrings_and_layout_rerun_nothing(copied, protocol):
    """The same edits to every source file at once."""
    before = all_fingerprints(protocol)
    for file in [*(copied / "imssl").rglob("*.py"), *(copied / "bench").rglob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body[0] = ast.Expr(ast.Constant("Another docstring."))
        # Written anew, so every comment is gone and every line is laid out otherwise.
        file.write_text(f"# A comment.\n\n{ast.unparse(ast.fix_missing_locations(tree))}\n\n\n")
    assert all_fingerprints(protocol) == before


REPLACED = {
    # A function that a stage uses, by way of others.
    ("imssl/metrics.py", "def mean_of_defined(", "1 + 1"): JUDGED,
    ("imssl/knn.py", "def knn_probabilities(", "1 + 1"): {"stage-knn"},
    ("imssl/device.py", "def select_device(", "1 + 1"): {"stage-pretrain", *JUDGED},
    ("imssl/device.py", "def hardware_name(", "1 + 1"): set(),  # written beside the numbers
    ("imssl/datasets/prepared.py", "def read_prepared(", "1 + 1"): {
        "stage-pretrain",
        "stage-data",
        "stage-reuse",
        "stage-ks",
        *JUDGED,
    },
    ("bench/cells/scores.py", "def score_rows(", "1 + 1"): JUDGED,
    ("bench/cells/scores.py", "def labels_used(", "1 + 1"): JUDGED - {"stage-probe"},
    ("imssl/losses.py", "def info_nce(", "1 + 1"): None,
    ("imssl/losses.py", "def barlow_twins(", "1 + 1"): {"method-moco-barlow"},
}


@pytest.mark.parametrize("edit", REPLACED, ids=lambda edit: f"{edit[0]} {edit[1][:-1]}")
def test_only_what_reaches_a_function_depends_on_it(copied, protocol, edit):
    name, head, statement = edit
    before = all_fingerprints(protocol)
    lines = (copied / name).read_text(encoding="utf-8").splitlines(keepends=True)
    tree = ast.parse("".join(lines))
    (function,) = (
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and lines[node.lineno - 1].startswith(head)
    )
    lines.insert(function.end_lineno or 0, f"    {statement}\n")
    (copied / name).write_text("".join(lines), encoding="utf-8")
    after = all_fingerprints(protocol)
    changed = {fingerprint for fingerprint in before if before[fingerprint] != after[fingerprint]}
    assert changed == (MOCO_AND_ITS_CHILDREN if REPLACED[edit] is None else REPLACED[edit])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = f'{y}a'", "x = f'{y!r}a'"),
        ("x = a + b", "x = b + a"),
        ("x = (a, b)", "x = [a, b]"),
        ("from torch import sin as f\nx = f", "from torch import cos as f\nx = f"),
        ("def f(a, /): return a", "def f(a): return a"),
        ("def f():\n    return 1", "def f():\n    1\n    return"),
        ("class A:\n    x: int = 1", "class A:\n    x: float = 1"),
        ("@staticmethod\ndef f(): return 1", "def f(): return 1"),
        ("async def f(): return 1", "def f(): return 1"),
    ],
)
def test_code_that_does_something_else_has_another_fingerprint(copied, protocol, first, second):
    file = copied / "imssl" / "methods" / "moco.py"
    start = file.read_text(encoding="utf-8")
    digests = set()
    for text in (first, second):
        file.write_text(f"{start}\n{text}\n", encoding="utf-8")
        digests.add(fingerprints.digest(method_fingerprint_now("moco", protocol)))
    assert len(digests) == 2


def test_an_import_by_a_computed_attribute_takes_the_whole_module(copied, protocol):
    text = "\nfrom imssl import calibration\nbrier = getattr(calibration, 'brier' + '_score')\n"
    changed_by({"imssl/methods/moco.py": text}, copied, protocol)
    file = copied / "imssl" / "calibration.py"
    before = all_fingerprints(protocol)
    file.write_text(file.read_text(encoding="utf-8").replace("def brier_score(", "def brier_score(*, x=1,"))
    after = all_fingerprints(protocol)
    assert before["method-moco"] != after["method-moco"]


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
    changed = changed_by({"imssl/extra.py": RUN_WHEN_IMPORTED}, copied, protocol)
    # A function of moco.py that nothing calls is no part of the methods that build on it.
    assert changed == ({"method-moco"} if "late" in statement else MOCO_AND_ITS_CHILDREN)


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
    parse = fingerprints.parsed
    monkeypatch.setattr(
        fingerprints, "parsed", lambda content, file: parsed.append(file) or parse(content, file)
    )
    assert all_fingerprints(protocol) == before
    assert parsed == []
    edited = copied / "imssl" / "queue.py"
    edited.write_text(edited.read_text() + "\nfrom imssl import extra\n")
    (copied / "imssl" / "extra.py").write_text(RUN_WHEN_IMPORTED)
    assert "imssl/extra.py" in method_fingerprint_now("moco", protocol)
    assert parsed == [str(edited), str(copied / "imssl" / "extra.py")]


def method_fingerprint_now(method: str, protocol: Protocol) -> dict[str, str]:
    forget()
    return method_fingerprint(method, protocol)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"form": 1, "sources": {"x": [1]}}', "\0"])
def test_a_damaged_note_of_sources_is_no_harm(copied, protocol, content):
    before = all_fingerprints(protocol)
    fingerprints.KNOWN_SOURCES.write_text(content)
    fingerprints._known_sources.cache_clear()
    assert all_fingerprints(protocol) == before
    assert len(fingerprints.KNOWN_SOURCES.read_text()) > 1000


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


@pytest.mark.slow
def test_all_that_a_stage_imports_is_in_its_fingerprint(protocol):
    # One process imports the heavy libraries and forks a child per stage.
    program = """
import importlib, json, os, sys
import torch, torchvision, pandas, sklearn.metrics
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
        "imssl/device_kind.py",
        "imssl/errors.py",
        "imssl/durable.py",
        "imssl/methods/__init__.py",
        "imssl/datasets/__init__.py",
        "imssl/datasets/prepared.py",
        "imssl/datasets/skipped.py",
        "imssl/datasets/source.py",
        "imssl/operating_system.py",
        "imssl/paths.py",
        "imssl/regular_file.py",
        "imssl/spreadsheet.py",
        "imssl/task.py",
    }
    for name, module in names.items():
        entry = (
            fingerprints.STAGES / f"{name}.py"
            if name in STAGES
            else fingerprints.IMSSL / "methods" / f"{name.replace('-', '_')}.py"
        )
        reached = fingerprints.reached_modules(entry.read_bytes(), entry)
        followed = {f"{module.replace('.', '/')}" for module in reached}
        followed.add(entry.relative_to(ROOT).with_suffix("").as_posix())  # itself
        rest = {file.removesuffix(".py").removesuffix("/__init__") for file in found[module] - plumbing}
        assert rest <= followed, name


def test_what_a_stage_imports_from_the_suite_is_not_in_its_fingerprint(copied, protocol):
    """A module of the suite that moves leaves every finished cell as it is."""
    imports = "from bench.cells import elsewhere\nfrom bench.cells.files import (\n    STORE,\n)\n"
    assert changed_by({"bench/stages/ks.py": imports}, copied, protocol) == set()
    code = "\nfrom imssl import ks\nassert ks\n"
    assert changed_by({"bench/stages/ks.py": code}, copied, protocol) == {"stage-ks"}
