"""Method files that do more than usual and are fair: none of it may be called cheating."""

import json

import pytest

from tests.bench.conformance.method_files import HEAD, method

ACCUMULATION = """
class Accumulating(torch.optim.SGD):
    \"\"\"Updates after every second gradient; the count is in the state that is saved.\"\"\"

    @property
    def is_between(self):
        return self.param_groups[0].setdefault("gradients", 0) % 2 == 1

    def zero_grad(self, set_to_none=True):
        if not self.is_between:
            super().zero_grad(set_to_none)

    def step(self, closure=None):
        between = self.is_between
        self.param_groups[0]["gradients"] += 1
        if between:
            super().step(closure)
"""
TWO_OPTIMISERS = """
class Both(torch.optim.Optimizer):
    def __init__(self, *parts):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def zero_grad(self, set_to_none=True):
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def state_dict(self):
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state):
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
"""
SAM = """
from imssl.distributed import processes, summed

class SAM(torch.optim.SGD):
    \"\"\"Foret et al. 2021: the gradient is taken where the loss is worst nearby.\"\"\"

    @torch.no_grad()
    def step(self, closure=None):
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        before = [weight.clone() for weight in weights]
        norm = torch.stack([weight.grad.norm() for weight in weights]).norm()
        for weight in weights:
            weight.add_(0.05 * weight.grad / (norm + 1e-12))
        with torch.enable_grad():
            self.zero_grad()
            sum(self.method.losses(self.method.latest).values()).backward()
        for weight, value in zip(weights, before):
            weight.copy_(value)
            weight.grad = summed(weight.grad) / processes().number
        super().step()
"""
CLASSIC_SAM = """
class SAM(torch.optim.Optimizer):
    \"\"\"As it is often written: the step demands a closure, and the update is another optimiser's.\"\"\"

    def __init__(self, weights, lr):
        super().__init__(weights, {"lr": lr, "rho": 0.05})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def step(self, closure):
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        before = [weight.clone() for weight in weights]
        norm = torch.stack([weight.grad.norm() for weight in weights]).norm()
        for weight in weights:
            weight.add_(0.05 * weight.grad / (norm + 1e-12))
        self.zero_grad()
        with torch.enable_grad():
            closure()
        for weight, value in zip(weights, before):
            weight.copy_(value)
        self.base.step()

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.base.param_groups = self.param_groups
"""
MODES = """
import torch.library

@torch.library.custom_op("mine::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x

class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))
"""
MEMORY_BANK = (
    HEAD
    + """
import torch.nn.functional as F

class Bank(Method):
    def __init__(self, encoder, settings, training_set):
        super().__init__(encoder, settings, training_set)
        self.head = linear_head(encoder.width, 16)
        bank = torch.randn(training_set.images, 16)
        self.register_buffer("bank", F.normalize(bank, dim=1))

    def losses(self, batch):
        keys = F.normalize(self.head(self.encoder(batch.views[0]).embedding).float(), dim=1)
        self.keys = keys.detach()
        logits = keys @ self.bank.T / 0.1
        return {"instance": F.cross_entropy(logits, batch.index)}

    def after_step(self, batch):
        self.bank[batch.index] = F.normalize(0.5 * self.bank[batch.index] + 0.5 * self.keys, dim=1)
"""
)
MULTI_CROP = """def augmented(self, images, augmentation, generator):
        views = super().augmented(images, augmentation, generator)
        half = images.shape[-1] // 2
        return (*views, *(view[:, :, :half, :half] for view in views))"""
USES_ALL = """first_of_all, second_of_all, *small = batch.views
        extra = sum(self.head(self.encoder(view).embedding).square().mean() for view in small)
        batch = __import__("dataclasses").replace(batch, views=(first_of_all, second_of_all))"""

HONEST = {
    "gradient accumulation": method(
        head=ACCUMULATION,
        more="def optimizer(self, optimisation):\n"
        "        return Accumulating(self.parameters(), lr=0.05, momentum=0.9)",
    ),
    "two optimisers": method(
        head=TWO_OPTIMISERS,
        more="def optimizer(self, optimisation):\n"
        "        return Both(torch.optim.SGD(self.encoder.parameters(), lr=0.05),\n"
        "                    torch.optim.AdamW(self.head.parameters(), lr=0.001))",
    ),
    "activation checkpointing": method(
        head="from torch.utils.checkpoint import checkpoint\n",
        losses="extra = checkpoint(self.head, self.encoder(batch.images).embedding, use_reentrant=False)",
        result='{"loss_term": loss + 0.01 * extra.square().mean()}',
    ),
    "sharpness-aware minimisation": method(
        head=SAM,
        losses='self.__dict__["latest"] = batch',
        more="def optimizer(self, optimisation):\n"
        "        optimizer = SAM([w for w in self.parameters() if w.requires_grad], lr=0.05)\n"
        '        optimizer.__dict__["method"] = self\n'
        "        return optimizer",
    ),
    "modes of torch that are left again, an operation of its own": method(
        head=MODES,
        losses='with Mode(), torch.autocast("cpu", enabled=False), torch.device("cpu"):\n'
        "            extra = doubled(torch.ones(2)).sum()",
        result='{"loss_term": loss + 0 * extra}',
    ),
    "sharpness-aware minimisation whose step demands a closure": method(
        head=CLASSIC_SAM,
        more="def optimizer(self, optimisation):\n"
        "        return SAM([w for w in self.parameters() if w.requires_grad], lr=0.05)",
    ),
    "L-BFGS, one direction a step": method(
        more="def optimizer(self, optimisation):\n"
        "        for weight in self.parameters():  # whose gradients it reads by view(-1)\n"
        "            weight.register_post_accumulate_grad_hook(in_plain_order)\n"
        "        return torch.optim.LBFGS(self.parameters(), lr=0.05, max_iter=1)",
        head="def in_plain_order(weight):\n    weight.grad = weight.grad.contiguous()\n",
    ),
    "memory bank": MEMORY_BANK,
    "multi-crop": method(
        losses=USES_ALL, result='{"loss_term": loss, "small": 0.01 * extra}', more=MULTI_CROP
    ),
    "looks for a GPU, imports metrics and tables": method(
        head="import collections, logging, warnings\nimport sklearn.metrics\nimport scipy.stats\n"
        "import pandas, pyarrow\nTABLE = pandas.Series(['a', 'b']), pyarrow.array([1, 2])\n"
        "Pair = collections.namedtuple('Pair', 'first second')\n",
        init="self.on_gpu = torch.cuda.is_available(); warnings.warn('a warning'); logging.warning('one')",
    ),
}


@pytest.mark.slow  # each of them goes through all checks
@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_file_passes(copy, kind):
    status, out, err = copy.bench("check-method", copy.write("mine.py", HONEST[kind]), "--json")
    failed = [(row["name"], row["found"]) for row in json.loads(out)["checks"] if row["status"] == "fail"]
    assert (failed, status, err) == ([], 0, "")


def test_information_is_given_beside_pass_and_fail(copy):
    """Of the sound file: its two parts, what it keeps, what it prints, and what a step costs."""
    file = copy.write("mine.py", method(init='print("built")'))
    rules = ["construction", "trained weights", "memory kept", "speed", "output"]
    status, out, _ = copy.bench("check-method", file, "--json", rules=rules)
    found = {row["name"]: row["found"] for row in json.loads(out)["checks"] if row["status"] == "info"}
    assert status == 0
    # The last block of the encoder of tests/bench/tiny.yaml is 64 wide, and the head has no bias.
    assert "encoder " in found["trained weights"]
    assert "head 1,0" in found["trained weights"]
    assert "after 2 steps" in found["memory kept"]
    assert int(found["output"].split()[0]) >= 2
    assert "CPU seconds a step" in found["speed"]
    assert "times those of moco" in found["speed"]


GROWS = "self.__dict__.setdefault('kept', []).append(torch.zeros(2**20))"


def test_memory_that_grows_from_step_to_step_is_shown(copy):
    file = copy.write("mine.py", method(losses=GROWS))
    _, out, _ = copy.bench("check-method", file, "--json", rules=["memory kept"])
    two, six = (float(word) for word in json.loads(out)["checks"][0]["found"].split() if "." in word)
    assert six - two == pytest.approx(4 * 4, abs=0.5)  # 4 steps of 4 MiB
