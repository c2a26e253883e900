"""In the real pretraining a method that reaches beyond it fails its cell, with one message."""

import ast
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import bench
from bench.conformance.surroundings.guard import ReachedBeyond, guarded
from bench.conformance.surroundings.overheard import overheard
from bench.conformance.surroundings.state import changed_names, random_states, surroundings
from imssl.errors import UserError
from tests.bench.conformance.method_files import method

MINE = "imssl.methods.mine"
WAITS = "if batch.step == 3:\n            "

# What is added to a sound file, and words of the reason for which its cell fails.
REACHES = {
    "a function of torch when imported": (
        {"head": "torch.nn.functional.normalize = torch.nn.functional.relu\n"},
        ["during its import", "changed torch.nn.functional.normalize"],
    ),
    "a backend of torch when imported": (
        {"head": "torch.backends.mkldnn.enabled = False\n"},
        ["during its import", "torch.backends.mkldnn.enabled"],
    ),
    "a stage of the suite when imported": (
        {
            "head": "import sys\nvars(sys.modules.get("
            "'bench.stages.pretrain', sys)).update(write_json=print)\n"
        },
        ["during its import", "bench.stages.pretrain"],
    ),
    "a function of the suite after some steps": (
        {"losses": f"{WAITS}__import__('imssl.features').features.__dict__['model_input'] = abs"},
        ["during training", "changed imssl.features.model_input"],
    ),
    "a kernel of torch when imported": (
        {
            "head": "import torch.library\nLIBRARY = torch.library.Library('aten', 'IMPL')\n"
            "LIBRARY.impl('hardshrink', lambda x, *_: x, 'CPU')\n"
        },
        ["during its import", "changed torch.library kernels"],
    ),
    "a mode of torch that is left active": (
        {
            "head": "class Mode(torch.overrides.TorchFunctionMode):\n"
            "    def __torch_function__(self, function, types, args=(), kwargs=None):\n"
            "        return function(*args, **(kwargs or {}))\n",
            "losses": f"{WAITS}Mode().__enter__()",
        },
        ["during training", "changed torch function modes"],
    ),
    "a file": (
        {"losses": f"{WAITS}open('/tmp/of-mine', 'w')"},
        ["during training", "file: writes /tmp/of-mine"],
    ),
    "a file, and hides it": (
        {"losses": f"{WAITS}import contextlib\n            with contextlib.suppress(OSError): open('data')"},
        ["during training", "file: reads data"],
    ),
    "a process": ({"losses": f"{WAITS}__import__('os').system('true')"}, ["process: os.system true"]),
    "labels": (
        {"losses": f"{WAITS}__import__('sys').modules['imssl.datasets.prepared'].read_prepared"},
        ["labels or the suite: imssl.datasets.prepared.read_prepared"],
    ),
    "the global generator": ({"losses": f"{WAITS}torch.manual_seed(0)"}, ["the global generator of torch"]),
}


@pytest.fixture
def pretrained(copy):
    """Pretrain a method file in the copy's run of one tiny data set; the record of its cell."""
    for name in ("data", ".bench", "results"):  # a verb of another test may have left its lock
        shutil.rmtree(copy.folder / name, ignore_errors=True)

    def run(content: str) -> dict[str, object]:
        (copy.folder / "imssl" / "methods" / "mine.py").write_text(content)
        params = (copy.folder / "params.yaml").read_text()
        (copy.folder / "params.yaml").write_text(params.replace("methods:\n", "methods:\n  mine: {}\n", 1))
        assert copy.bench("data", "chest", stage=True)[0] == 0
        status, _out, err = copy.bench("pretrain", "chest", "mine", stage=True)
        assert status == 0, err
        return json.loads((copy.folder / "results/chest/pretrain/mine/seed-0/cell.json").read_text())

    yield run
    for name in ("data", ".bench", "results"):
        shutil.rmtree(copy.folder / name, ignore_errors=True)


@pytest.mark.parametrize("kind", REACHES)
def test_a_cell_fails_whose_method_reaches_for(pretrained, kind):
    parts, words = REACHES[kind]
    record = pretrained(method(**parts))
    assert record["status"] == "failed"
    assert "imssl/methods/mine.py reached beyond its own pretraining" in record["reason"]
    assert [word for word in words if word not in record["reason"]] == [], record["reason"]


def test_a_sound_method_is_pretrained_under_the_guard(pretrained):
    assert pretrained(method())["status"] == "done"


@pytest.fixture
def forgetful(monkeypatch):
    """What a method does in these tests is not held against another one's."""
    monkeypatch.setattr("bench.conformance.surroundings.guard._reached_beyond", {})


def test_a_second_run_in_one_process_fails_as_the_first(forgetful, monkeypatch):
    """Otherwise the changes of one seed's pretraining would be the next one's normal state."""
    import imssl.losses

    file, other = Path("imssl/methods/mine.py"), Path("imssl/methods/other.py")
    with pytest.raises(ReachedBeyond, match=r"its import: changed imssl\.losses\.info_nce"), guarded(file):
        monkeypatch.setattr(imssl.losses, "info_nce", abs)
    with pytest.raises(ReachedBeyond, match=r"mine\.py .* changed imssl\.losses\.info_nce"), guarded(file):
        pass
    with guarded(other):
        pass


def test_the_guard_leaves_everything_as_it_was():
    arguments = list(sys.argv)
    before, random_before = surroundings(MINE), random_states()
    with guarded(Path("imssl/methods/mine.py")):
        assert sys.argv == ["pretrain"]
    assert sys.argv == arguments
    assert changed_names(before, surroundings(MINE)) == []
    assert random_states() == random_before


def test_labels_are_guarded_whatever_leads_to_them(chest, forgetful):
    """An object that a method is given, such as a pass over the training images, may hold the data set."""
    reaching = "def reach(given):\n    return given.prepared.labels()\n"
    variables = {}
    exec(compile(reaching, "imssl/methods/mine.py", "exec"), variables)
    given = SimpleNamespace(prepared=chest)

    def reach_under_guard():
        with guarded(Path("imssl/methods/mine.py")):
            assert chest.labels() is not None  # the suite's own use
            variables["reach"](given)

    with pytest.raises(ReachedBeyond, match="labels or the suite: labels of a data set"):
        reach_under_guard()
    assert variables["reach"](given) is not None


def test_the_same_functions_are_heard_each_time():
    with overheard():
        first = surroundings(MINE)
    with overheard():
        assert changed_names(first, surroundings(MINE)) == []


# Where a method's file is imported: its own pretraining, and processes that end after what they were asked.
IMPORTERS = {
    "bench/stages/pretrain.py",  # a row's own pretraining, under the guard
    "bench/cells/method_facts.py",  # in a child that answers and ends
    "bench/tuning/tune.py",  # in_own_process
    "bench/perf/calibration.py",  # in a worker that measures and ends
}


def test_nothing_else_imports_a_methods_file():
    root = Path(bench.__file__).parents[1]
    importers = {
        path.relative_to(root).as_posix()
        for path in (root / "bench").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "load_method"
    }
    assert importers == IMPORTERS


@pytest.mark.parametrize("ask", ["facts", "keys", "tuning", "listing"])
def test_this_process_asks_about_a_row_and_imports_nothing(ask, project, monkeypatch):
    from bench.cells.keys import Keys
    from bench.cells.method_facts import method_facts
    from bench.methods.listing import listed_methods
    from bench.protocol.protocol import read_protocol
    from bench.tuning.tune import tune_method

    protocol = read_protocol()
    for name in [name for name in sys.modules if name.startswith("imssl.methods.")]:
        monkeypatch.delitem(sys.modules, name)
    if ask == "facts":
        method_facts(protocol)
    elif ask == "keys":
        Keys(protocol)
    elif ask == "listing":
        listed_methods(protocol)
    else:
        with pytest.raises(UserError):  # no data set is prepared
            tune_method("moco", 1, 0, print)
    assert not [name for name in sys.modules if name.startswith("imssl.methods.")]
