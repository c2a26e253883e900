"""Method files that would win unfairly, each with the check that stops it; docs/trust.md shows the table."""

import json
import re
from pathlib import Path

import pytest

from tests.bench.conformance.method_files import HEAD, method

TRUST = Path(__file__).parents[3] / "docs" / "trust.md"
FILES = "files, network, processes"
CHANGES, ONE_UPDATE, START = "who changes the encoder", "one update", "starting point"
SEEDS, IMPORT, SURROUNDINGS = "another seed before", "import", "surroundings"

MOVE = "next(self.encoder.parameters()).data.mul_(1.01)"
INNER_LOOP = """if not hasattr(self, "busy"):
            self.busy = True
            inner = torch.optim.SGD(self.encoder.parameters(), lr=0.1)
            self.encoder(batch.images).embedding.square().mean().backward()
            inner.step()
            del self.busy"""
MANY_STEPS = """
class Many(torch.optim.SGD):
    def step(self, closure=None):
        for _ in range(5):
            super().step(closure)
"""
MANY_GRADIENTS = """
class Many(torch.optim.SGD):
    def step(self, closure=None):
        for _ in range(4):
            with torch.enable_grad():
                loss = sum(self.method.losses(self.method.batch).values())
            weights = [w for w in self.method.parameters() if w.requires_grad]
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights)):
                weight.data.sub_(0.1 * gradient)
"""
OPTIMISER = """def optimizer(self, optimisation):
        optimizer = Many(self.parameters(), lr=0.05)
        optimizer.__dict__["method"] = self
        return optimizer"""
REPLACES = """
class Many(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for weight in self.method.encoder.parameters():
            weight.data.copy_(torch.full_like(weight, 0.01))
"""
BEST = """
BEST = {{}}
"""
KEEPS_BEST = """def after_epoch(self, epoch):
        BEST.setdefault("weights", [w.detach().clone() for w in self.head.parameters()])"""
STARTS_FROM_BEST = """for weight, best in zip(self.head.parameters(), BEST.get("weights", [])):
            weight.data.copy_(best)"""
COUNTS = """type(self).runs = getattr(type(self), "runs", 0) + 1
        self.head.weight.data.mul_(1 + type(self).runs)"""
WHEN_UNSEEN = """if not ({checked}):
            """


def hidden(line: str) -> str:
    """A line whose failing the method keeps to itself."""
    return f"try:\n            {line}\n        except Exception:\n            pass"


WALK = """frame = sys._getframe()
            while frame:
                frame.f_locals.get("prepared"); frame = frame.f_back"""
TRACEBACK = """try:
                raise KeyError
            except KeyError as error:
                error.__traceback__.tb_frame.f_back.f_locals"""

KERNEL = """
import torch.library
LIBRARY = torch.library.Library("aten", "IMPL")
LIBRARY.impl("addmm", lambda bias, x, w, **_: (x.unsqueeze(2) * w).sum(1) + bias, "CPU")
"""
MODE = """
class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))
"""
DISPATCH_MODE = """
from torch.utils._python_dispatch import TorchDispatchMode
class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))
"""
ENTERS = "if batch.step == 0:\n            Mode().__enter__()"

# What the file does: its content, the check that stops it.
UNFAIR = {
    "trains the encoder inside `losses`": (method(losses=INNER_LOOP), CHANGES),
    "moves the encoder in `augmented`": (
        method(
            more=f"def augmented(self, *given):\n        {MOVE}\n        return super().augmented(*given)"
        ),
        CHANGES,
    ),
    "moves it in `after_step`": (method(more=f"def after_step(self, batch):\n        {MOVE}"), CHANGES),
    "moves it in `after_epoch`": (method(more=f"def after_epoch(self, *given):\n        {MOVE}"), CHANGES),
    "moves it in `learning_rate_factor`": (
        method(more=f"def learning_rate_factor(self, *given):\n        {MOVE}\n        return 1.0"),
        CHANGES,
    ),
    "moves it in `optimizer`": (
        method(
            more=f"def optimizer(self, *given):\n        {MOVE}\n        return super().optimizer(*given)"
        ),
        CHANGES,
    ),
    "moves it in a hook of the backward pass": (
        method(losses=f"self.head.weight.register_hook(lambda gradient: ({MOVE}, None)[1])"),
        CHANGES,
    ),
    "replaces the initial weights in the first `losses`": (
        method(losses=f"if batch.step == 0:\n            {MOVE}"),
        CHANGES,
    ),
    "replaces the initial weights in the optimiser's first step": (
        method(head=REPLACES, more=OPTIMISER),
        START,
    ),
    "steps five times in one step of its optimiser": (method(head=MANY_STEPS, more=OPTIMISER), ONE_UPDATE),
    "takes four gradients in one step of its optimiser": (
        method(head=MANY_GRADIENTS, losses="self.__dict__['batch'] = batch", more=OPTIMISER),
        ONE_UPDATE,
    ),
    "carries weights to the next seed in a variable of its module": (
        method(head=BEST.format(), init=STARTS_FROM_BEST, more=KEEPS_BEST),
        SEEDS,
    ),
    "counts runs in a variable of its class": (method(init=COUNTS), SEEDS),
    "finds labels in `sys.modules`": (
        method(losses=hidden("import sys; sys.modules['imssl.datasets.prepared'].read_prepared")),
        FILES,
    ),
    "finds labels by a computed import": (
        method(
            losses=hidden(
                "import importlib; importlib.import_module('imssl.data' + 'sets.prepared').Prepared"
            )
        ),
        FILES,
    ),
    "finds labels by walking attributes": (
        method(losses=hidden("import imssl; getattr(imssl, 'data' + 'sets').prepared")),
        FILES,
    ),
    "finds labels in the frames above it": (method(losses="import sys\n        " + hidden(WALK)), FILES),
    "finds frames by `inspect`": (
        method(losses=hidden("import inspect; inspect.currentframe().f_back.f_locals")),
        FILES,
    ),
    "finds frames by a traceback": (method(losses=hidden(TRACEBACK)), FILES),
    "finds labels among all objects": (method(losses=hidden("import gc; gc.get_objects()")), FILES),
    "replaces a function of torch when imported": (
        method(head="torch.nn.functional.normalize = lambda x, **_: x\n"),
        IMPORT,
    ),
    "replaces a method of a class of torch": (
        method(head="nn.Linear.forward = lambda self, x: x[:, :1]\n"),
        IMPORT,
    ),
    "replaces a function of the suite when imported": (
        method(head="import sys\nsys.modules['bench.cells.records'].package_versions = dict\n"),
        IMPORT,
    ),
    "replaces the code of a function": (
        method(head="import imssl.losses\nimssl.losses.info_nce.__code__ = (lambda logits: 0).__code__\n"),
        IMPORT,
    ),
    "replaces a built-in": (method(head="import builtins\nbuiltins.divmod = pow\n"), IMPORT),
    "sets a backend of torch": (method(head="torch.backends.mkldnn.enabled = False\n"), IMPORT),
    "hooks every module of torch": (
        method(head="nn.modules.module.register_module_forward_hook(lambda *_: None)\n"),
        IMPORT,
    ),
    "registers a kernel of its own for an operation of torch": (method(head=KERNEL), IMPORT),
    "enters a function mode of torch and leaves it active": (method(head=MODE, losses=ENTERS), SURROUNDINGS),
    "enters a dispatch mode of torch and leaves it active": (
        method(head=DISPATCH_MODE, losses=ENTERS),
        SURROUNDINGS,
    ),
    "replaces a function of torch inside `losses`": (
        method(losses="torch.nn.functional.normalize = torch.nn.functional.relu"),
        SURROUNDINGS,
    ),
    "replaces a function of the suite inside `losses`": (
        method(losses="import imssl.features; imssl.features.__dict__['model_input'] = abs"),
        SURROUNDINGS,
    ),
    "reads a file by `torch.from_file`": (
        method(losses=hidden("torch.from_file('/tmp/x', size=1, dtype=torch.uint8)")),
        FILES,
    ),
    "writes a file by `torch.save`": (method(losses=hidden("torch.save(batch.images, '/tmp/x.pt')")), FILES),
    "writes a file by safetensors": (
        method(
            head="from safetensors.torch import save_file\n",
            losses=hidden("save_file({'x': batch.index}, '/tmp/x')"),
        ),
        FILES,
    ),
    "reads a file by torch's own reader": (
        method(losses=hidden("torch._C.PyTorchFileReader('/tmp/x.pt')")),
        FILES,
    ),
    "writes a file by torch's own writer": (
        method(losses=hidden("torch._C.PyTorchFileWriter('/tmp/x.pt')")),
        FILES,
    ),
    "reads a table by `pyarrow.csv`": (
        method(losses=hidden("import pyarrow.csv; pyarrow.csv.read_csv('/tmp/x.csv')")),
        FILES,
    ),
    "takes what reads tables from pyarrow's own parts": (
        method(losses=hidden("from pyarrow._csv import read_csv; read_csv('/tmp/x.csv')")),
        FILES,
    ),
    "reads a table by `pyarrow.parquet`": (
        method(head="import pyarrow.parquet as pq\n", losses=hidden("pq.read_table('/tmp/x')")),
        FILES,
    ),
    "reads a table by pandas, which lets pyarrow read": (
        method(losses=hidden("import pandas; pandas.read_feather('/tmp/x')")),
        FILES,
    ),
    "reads a file by `pyarrow.memory_map`": (
        method(losses=hidden("import pyarrow; pyarrow.memory_map('/tmp/x')")),
        FILES,
    ),
    "reads a file by `pyarrow.OSFile`": (
        method(losses=hidden("import pyarrow; pyarrow.OSFile('/tmp/x')")),
        FILES,
    ),
    "looks for files by `pyarrow.fs`": (
        method(losses=hidden("from pyarrow import fs; fs.LocalFileSystem().get_file_info('/tmp')")),
        FILES,
    ),
    "reads files by `pyarrow.dataset`": (
        method(losses=hidden("import pyarrow.dataset; pyarrow.dataset.dataset('/tmp/x')")),
        FILES,
    ),
    "reads a file by `pyarrow.ipc`, `feather` or `json`": (
        method(losses=hidden("from pyarrow import feather; feather.read_table('/tmp/x')")),
        FILES,
    ),
    "opens a file in a hook of a tensor": (
        method(
            head="import functools\n",
            losses="self.head.weight.register_hook(lambda _: None)",
            result='{"loss_term": hooked(loss)}',
        ).replace(
            "class Mine",
            "def hooked(loss):\n"
            "    loss.register_hook(functools.partial(open_quietly, '/tmp/x', 'w'))\n"
            "    return loss\n\n"
            'open_quietly = eval("lambda *a: (open(a[0], a[1]), None)[1]")\n\n'
            "class Mine",
        ),
        "losses",  # where the hook is called
    ),
    "writes to /dev/shm": (method(losses=hidden("open('/dev/shm/x', 'w')")), FILES),
    "reads from /dev/shm": (method(losses=hidden("open('/dev/shm/x')")), FILES),
    "shares a tensor in /dev/shm": (method(losses=hidden("batch.index.clone().share_memory_()")), FILES),
    "reads a file that is not Python below imssl": (
        method(losses=hidden("import imssl; open(imssl.__path__[0] + '/weights.bin')")),
        FILES,
    ),
    "tells a check by its command line": (
        method(
            head="import sys\n",
            losses=WHEN_UNSEEN.format(checked="'conformance' in ' '.join(sys.argv + sys.orig_argv)") + MOVE,
        ),
        CHANGES,
    ),
    "tells a check by the name of its module": (
        method(losses=WHEN_UNSEEN.format(checked="__name__ != 'imssl.methods.mine'") + MOVE),
        CHANGES,
    ),
    "tells a check by the path of its file": (
        method(losses=WHEN_UNSEEN.format(checked="'methods/mine.py' not in __file__") + MOVE),
        CHANGES,
    ),
    "tells a check by the number of images": (
        method(losses=WHEN_UNSEEN.format(checked="self.training_set.images >= 10_000_000") + MOVE),
        CHANGES,
    ),
}

FORGED = """
import json, os, stat
for descriptor in range(3, 60):
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, (json.dumps({"done": {}}) + "\\n").encode())
    except OSError:
        pass
"""
REFUSED = {"writes answers of its own to the parent's pipe": FORGED + HEAD + method()}


@pytest.mark.parametrize("kind", UNFAIR)
def test_an_unfair_file_is_stopped(copy, kind):
    content, check = UNFAIR[kind]
    rules = ["losses", check] if check in (FILES, SURROUNDINGS) else [check]
    status, out, err = copy.bench("check-method", copy.write("mine.py", content), "--json", rules=rules)
    assert (status, err) == (1, ""), (out, err)
    assert check in [row["name"] for row in json.loads(out)["checks"] if row["status"] == "fail"], out


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_answers_in_the_place_of_the_checks_is_refused(copy, kind):
    status, _, err = copy.bench("check-method", copy.write("mine.py", REFUSED[kind]), rules=["import"])
    assert status == 2
    assert "writes to a file descriptor that is not its own" in err


def test_the_sound_file_passes_these_checks(copy):
    rules = ["losses", *{check for _, check in UNFAIR.values()}]
    status, out, err = copy.bench("check-method", copy.write("mine.py", method()), rules=rules)
    assert (status, err) == (0, ""), out


def test_the_documentation_shows_the_table():
    shown = dict(re.findall(r"^\| (.+?) \| `(.+?)` \|$", TRUST.read_text(encoding="utf-8"), re.MULTILINE))
    assert {kind: shown.get(kind) for kind in UNFAIR} == {kind: check for kind, (_, check) in UNFAIR.items()}
    assert {kind: shown.get(kind) for kind in REFUSED} == dict.fromkeys(REFUSED, "the file is refused")
