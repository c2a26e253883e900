"""What the checks find: one thing wrong in each file, and a file that is sound."""

import json
import re

import pytest

from bench.protocol.registry import EXAMPLES, METHODS_FOLDER
from tests.bench.conformance.method_files import HEAD, method

# File name: content, words of the message. None of these can be loaded.
NOT_LOADED = {
    "syntax": ("mine.py", HEAD + "def broken(:\n", ["mine.py, line 7", "not Python"]),
    "raises": ("mine.py", HEAD + "raise KeyError('oh')\n", ["mine.py, line 7", "KeyError", "oh"]),
    "needs another package": ("mine.py", "import no_such_package\n", ["mine.py, line 1", "no_such_package"]),
    "ends the program": ("mine.py", "import sys\nsys.exit(0)\n", ["mine.py, line 2", "ends the program"]),
    "kills the process": (
        "mine.py",
        "import os\nos._exit(0)\n",
        ["mine.py: loading the file ended the process"],
    ),
    "loops for ever": (
        "mine.py",
        "while True:\n    pass\n",
        ["loading the file did not end within 1 seconds"],
    ),
    "eats memory": (
        "mine.py",
        "import time\nx = b'x' * 2**30\ntime.sleep(60)\n",
        ["loading the file took more than 1,200 MiB"],
    ),
    "a module of Python": (
        "queue.py",
        method(),
        ["queue.py", "hides the module queue of the standard library"],
    ),
    "an installed package": (
        "torch.py",
        method(),
        ["torch.py", "hides the installed package torch", "my_torch"],
    ),
    "a package of the suite": ("bench.py", method(), ["the project's own package bench"]),
    "takes what reads labels": (
        "mine.py",
        method(head="from imssl.datasets.prepared import read_prepared\n"),
        [
            "mine.py, line 7",
            "labels or the suite: imssl.datasets.prepared.read_prepared",
            "A method computes",
        ],
    ),
    "no class": ("mine.py", HEAD, ["exactly one subclass", "found: none"]),
    "two classes": ("mine.py", method() + "class Other(Mine): pass\n", ["found: Mine, Other"]),
    "a class from elsewhere": ("mine.py", "from imssl.methods.moco import Moco\n", ["found: none"]),
    "not UTF-8": ("mine.py", "# one\n# r\xe9sum\xe9\n".encode("latin-1"), ["mine.py, line 2", "not UTF-8"]),
    "a null byte": ("mine.py", b"x = 1\n\0", ["mine.py"]),
    "huge": ("mine.py", b"#" * (256 * 1024 + 1), ["262,145 bytes", "at most 262,144"]),
    "nested too deep": ("mine.py", "(" * 5000 + ")" * 5000, ["mine.py"]),
    "HTML in the name": ("<b>mine.py", method(), ["<b>mine.py", "lower-case letters"]),
    "upper case": ("Mine.py", method(), ["Mine.py", "lower-case letters"]),
    "not a .py": ("mine.txt", method(), ["mine.txt", "ends in .py"]),
    "dictionary as settings": (
        "mine.py",
        method(more="settings_class = dict"),
        ["Mine.settings_class is", "MethodSettings"],
    ),
    "a parameter called file": (
        "mine.py",
        method(head="class S(MethodSettings):\n    file: str = 'x'\n", more="settings_class = S"),
        ["cannot be called file", "rename it"],
    ),
    "a required parameter": (
        "mine.py",
        method(head="class S(MethodSettings):\n    width: int\n", more="settings_class = S"),
        ["width is missing", "There are: width: int"],
    ),
}


@pytest.mark.parametrize("kind", NOT_LOADED)
def test_a_file_that_cannot_be_loaded_is_refused_and_nothing_changes(copy, kind):
    name, content, words = NOT_LOADED[kind]
    before = copy.state()
    limits = {"bench.conformance.parent.LOAD_SECONDS": 1.0, "bench.conformance.parent.MEMORY_MIB": 1200}
    if kind != "loops for ever":
        del limits["bench.conformance.parent.LOAD_SECONDS"]
    status, out, err = copy.bench("add-method", copy.write(name, content), values=limits, rules=["import"])
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert [word for word in words if word not in err] == [], err
    assert copy.state() == before


# Content, the check that fails, words of what it found.
FAILS = {
    "NaN loss": (method(result='{"term": loss * float("nan")}'), "losses", "term is nan"),
    "infinite gradient": (
        method(result='{"term": loss + ((first - first.detach()).abs() ** 0.5).sum() * 0}'),
        "losses",
        "gradient of",
    ),
    "a loss per image": (method(result='{"term": first.sum(1)}'), "losses", "term is (2,) torch.float32"),
    "a number": (method(result='{"term": 1.0}'), "losses", "term is float"),
    "a bare tensor": (method(result="loss"), "losses", "losses() gives Tensor"),
    "no term": (method(result="{}"), "losses", "no term"),
    "HTML in a term": (method(result='{"<b>x</b>": loss}'), "losses", "<b>x</b>"),
    "a taken term": (method(result='{"learning_rate": loss}'), "losses", "learning_rate"),
    "no gradient": (method(result='{"term": loss.detach()}'), "losses", "no term has a gradient"),
    "raises": (method(losses="batch.labels"), "losses", "mine.py, line 15: AttributeError"),
    "colour only": (method(losses="batch.images[:, 2]"), "losses", "IndexError"),
    "detached encoder": (
        method(result='{"term": self.head(self.encoder(batch.images).embedding.detach()).square().mean()}'),
        "gradient",
        "no gradient in the stem",
    ),
    "first block only": (
        method(result='{"term": self.encoder(batch.images).pooled(1).square().mean()}'),
        "gradient",
        "no gradient in block 2",
    ),
    "encoder not optimised": (
        method(
            more="def optimizer(self, optimisation):\n"
            "        return torch.optim.SGD(self.head.parameters(), lr=0.1)"
        ),
        "gradient",
        "the optimiser does not move it",
    ),
    "optimiser uphill": (
        method(
            more="def optimizer(self, optimisation):\n"
            "        return torch.optim.SGD(self.parameters(), lr=0.01, maximize=True)"
        ),
        "learning",
        "at first",
    ),
    "seeds torch": (method(losses="torch.manual_seed(0)"), "global random state", "a step draws"),
    "draws from NumPy": (
        method(init="import numpy; numpy.random.rand()"),
        "global random state",
        "__init__ draws from or seeds the global generator of numpy",
    ),
    "draws from random": (method(losses="import random; random.random()"), "global random state", "random"),
    "dropout": (method(losses="nn.functional.dropout(batch.images)"), "global random state", "torch"),
    "another seed each time": (
        method(result='{"term": loss + 0.1 * (first * torch.rand(first.shape)).mean()}'),
        "same seed",
        "differs between two runs",
    ),
    "state in an attribute": (
        method(
            init="self.count = 0.0",
            result='{"term": loss * (1 + self.count)}',
            more="def after_step(self, batch):\n        self.count += 1.0",
        ),
        "resume",
        "differs from a run that was not stopped",
    ),
    "reads labels by a detour": (method(head="import imssl.monitor\n"), "no labels", "imssl.datasets"),
    "imports the suite": (
        method(losses="import importlib; importlib.import_module('bench.cells.files')"),
        "no labels",
        "bench.cells.files",
    ),
    "changes the batch": (method(losses="batch.views[0].mul_(0.5)"), "batch unchanged", "view 0"),
    "loses images": (
        method(
            more="def augmented(self, images, augmentation, generator):\n        return images.float()[1:],"
        ),
        "views",
        "a view is (1, 1, 16, 16)",
    ),
    "swaps the encoder": (
        method(init="import copy; self.encoder = copy.deepcopy(encoder)"),
        "encoder",
        "another object after __init__",
    ),
    "changes initial weights": (
        method(init="encoder.conv1.weight.data.mul_(2)"),
        "encoder",
        "changes the encoder's initial weights",
    ),
    "hooks the encoder": (
        method(init="encoder.layer1.register_forward_hook(lambda *_: None)"),
        "encoder",
        "layer1 carries a hook",
    ),
    "widens the encoder": (
        method(init="encoder.layer4.append(nn.Identity())"),
        "encoder",
        "other layers after __init__",
    ),
    "another forward": (
        method(init="encoder.relu.forward = torch.tanh"),
        "encoder",
        "relu carries a hook or another forward",
    ),
    "counts in evaluation": (
        method(init="encoder.bn1.forward = lambda x: (encoder.bn1.bias.data.add_(1), x)[1]"),
        "evaluation",
        "changed a weight",
    ),
    "replaces a function of the suite": (
        method(head="import imssl.losses\nimssl.losses.info_nce = abs\n"),
        "import",
        "imssl.losses.info_nce",
    ),
    "sets a default of torch": (
        method(head="torch.set_default_dtype(torch.float64)\n"),
        "import",
        "torch default dtype",
    ),
    "free-form settings": (
        method(head="class S(MethodSettings):\n    cfg: dict = {}\n", more="settings_class = S"),
        "parameters",
        "cfg is",
    ),
    "a refused default": (
        method(
            head="from pydantic import Field\n"
            "class S(MethodSettings):\n    width: int = Field(default=0, ge=1)\n",
            more="settings_class = S",
        ),
        "parameters",
        "width is 0",
    ),
    "overflows in bfloat16": (
        method(losses="assert not torch.is_autocast_enabled('cpu')"),
        "bfloat16",
        "AssertionError",
    ),
    "writes a file": (method(losses="open('/tmp/mine.txt', 'w')"), "losses", "file: writes /tmp/mine.txt"),
    "reads a file": (
        method(init="open('/etc/hostname')"),
        "construction",
        "file: reads /etc/hostname",
    ),
    "starts a process": (method(losses="import os; os.system('true')"), "losses", "process: os.system"),
    "opens a connection": (
        method(losses="import socket; socket.create_connection(('127.0.0.1', 9))"),
        "losses",
        "network: socket.",
    ),
}


@pytest.mark.parametrize("kind", FAILS)
def test_a_method_that_is_not_fair_is_refused_and_nothing_changes(copy, kind):
    content, check, words = FAILS[kind]
    before = copy.state()
    status, out, err = copy.bench("add-method", copy.write("mine.py", content), rules=[check])
    assert (status, err) == (1, "Nothing has changed.\n")
    row = next(line for line in out.splitlines() if line.startswith("fail"))
    assert re.match(rf"fail +{check} ", row)
    assert words in " ".join(out.split())  # however the table is folded
    assert "→ " in out  # a hint
    assert copy.state() == before


@pytest.mark.parametrize(
    "losses", ["open('x', 'w')", "__import__('socket').socket()", "__import__('os').system('true')"]
)
def test_what_a_method_hides_from_the_loss_is_still_reported(copy, losses):
    hidden = f"try:\n            {losses}\n        except OSError:\n            pass"
    file = copy.write("mine.py", method(losses=hidden))
    status, out, _ = copy.bench("check-method", file, rules=["losses", "files, network, processes"])
    assert status == 1
    assert re.search(r"^pass +losses ", out, re.MULTILINE)
    assert re.search(r"^fail +files, network, processes .*(file|network|process): ", out, re.MULTILINE)


NOISY = """
import os, stat
for descriptor in range(3, 40):
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"noise\\n")
    except OSError:
        pass
"""


def test_a_file_that_writes_to_the_checks_own_channel_is_refused(copy):
    status, _, err = copy.bench("check-method", copy.write("mine.py", NOISY + method()), rules=["import"])
    assert status == 2
    assert "file descriptor that is not its own" in err


def test_a_program_can_read_why_a_file_was_not_loaded(copy):
    status, out, err = copy.bench("check-method", copy.write("mine.py", "x = (\n"), "--json")
    assert status == 2
    assert err.startswith("error: ")
    assert json.loads(out) == {"passed": False, "error": err.removeprefix("error: ").rstrip("\n")}


def test_a_check_that_never_ends_is_ended(copy):
    file = copy.write("mine.py", method(losses="while True: pass"))
    values = {"bench.conformance.parent.RULE_SECONDS": 1.0}
    status, out, err = copy.bench("check-method", file, values=values, rules=["losses"])
    assert (status, out) == (2, "")
    assert "the check “losses” did not end within 1 seconds" in err


def test_the_encoder_and_memory_are_those_of_the_run(copy):
    """A method that leaves out the second view holds about half of what moco's query needs."""
    half = (
        method(result='{"term": self.encoder(batch.views[0]).embedding.square().mean()}')
        .replace("first, second = (self.head(self.encoder(view).embedding) for view in batch.views)", "")
        .replace("loss = barlow_twins(first, second, 1.0, 0.005)", "")
    )
    report = json.loads(
        copy.bench("check-method", copy.write("mine.py", half), "--json", rules=["memory"])[1]
    )
    both = json.loads(
        copy.bench("check-method", copy.write("mine.py", method()), "--json", rules=["memory"])[1]
    )
    assert report["memory_ratio"] < 0.75 * both["memory_ratio"]


@pytest.mark.parametrize("file", [name for name in EXAMPLES if (METHODS_FOLDER / name).exists()])
def test_every_example_passes(copy, file):
    # Learning, resuming and equal seeds are in tests/imssl/methods.
    rules = ["parameters", "no labels", "losses", "gradient", "encoder"]
    status, out, _ = copy.bench("check-method", f"imssl/methods/{file}", rules=rules)
    assert (status, out.count("pass ")) == (0, len(rules)), out


def test_what_does_not_pretrain_is_checked_as_far_as_it_goes(copy):
    status, out, _ = copy.bench("check-method", "imssl/methods/random_init.py", "--json")
    assert status == 0
    statuses = {check["name"]: check["status"] for check in json.loads(out)["checks"]}
    assert {statuses[name] for name in ("losses", "gradient", "learning", "one update", "speed")} == {"skip"}
    assert {statuses[name] for name in ("import", "encoder", "features", "evaluation")} == {"pass"}
