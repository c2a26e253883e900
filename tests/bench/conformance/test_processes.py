"""The row `several processes`: what passes without having heard of them, and what it notices."""

import json
from pathlib import Path

import pytest

import bench
from bench.conformance.loading import load_class, load_settings, place_of
from bench.conformance.method_source import read_source
from bench.conformance.rules.processes import alike_on_two_processes
from bench.conformance.surroundings.watch import Watch
from bench.conformance.trial import Scale, Trial
from bench.protocol.registry import EXAMPLES
from tests.bench.conformance.method_files import method

ROW = "several processes"
SHARES = "from imssl.distributed import gather, processes, share\n"
# Puts parts together, and forgets to sum their gradients over the processes.
OWN_GATHER = """
class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part):
        return gather(part)

    @staticmethod
    def backward(ctx, gradient):
        return share(gradient)
"""

PASSES = {
    "that has not heard of them": method(),
    # A projector that treats each image by itself may be shared out.
    "gather": method(
        head=SHARES,
        result='{"term": gather(self.head(share(self.encoder(batch.views[0]).embedding))).square().mean()}',
    ),
    "maps of a block": method(
        result='{"term": loss + self.encoder(batch.views[0]).block(2).square().mean()}'
    ),
}
FAILS = {
    "a part of the loss": (
        method(head=SHARES, result='{"term": share(first).square().mean()}'),
        "the loss of step 1 is",
    ),
    "batch norm on a part": (
        method(
            head=SHARES,
            init="self.norm = nn.BatchNorm1d(16)",
            result='{"term": (gather(self.norm(share(first))) - second).abs().mean()}',
        ),
        "the loss of step 1 is",
    ),
    "a gradient of its own making": (
        method(
            head=SHARES + OWN_GATHER,
            losses="embedding = self.encoder(batch.views[0]).embedding",
            result='{"term": Gather.apply(self.head(share(embedding))).square().mean()}',
        ),
        "the encoder's gradient on 2 processes is off by 50% of its norm",
    ),
    "its own way by rank": (
        method(head=SHARES, result='{"term": loss * (1 + processes().rank)}'),
        "the loss of step ",
    ),
}


@pytest.mark.parametrize("kind", PASSES)
def test_a_method_is_the_same_on_two_processes(copy, kind):
    status, out, _ = copy.bench("check-method", copy.write("mine.py", PASSES[kind]), rules=[ROW])
    assert (status, out.count("pass ")) == (0, 1), out


@pytest.mark.parametrize("kind", FAILS)
def test_a_method_that_is_another_on_two_processes_fails(copy, kind):
    content, words = FAILS[kind]
    status, out, _ = copy.bench("check-method", copy.write("mine.py", content), "--json", rules=[ROW])
    (check,) = json.loads(out)["checks"]
    assert (status, check["name"], check["status"]) == (1, ROW, "fail")
    assert words in check["found"]


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES)
def test_the_methods_of_the_suite_pass(copy, file):
    status, out, _ = copy.bench("check-method", f"imssl/methods/{file}", rules=[ROW])
    assert (status, out.count("pass ")) == (0, 1), out


def test_rounding_on_many_large_images_is_no_difference():
    """As tried where a method refuses less: rounding moves the gradient of SimCLR by 2.4% of its norm."""
    source = read_source(Path(bench.__file__).parents[1] / "imssl" / "methods" / "simclr.py")
    method = load_class(source)
    settings, watch = load_settings(method, "simclr", {}), Watch(place_of(source))
    trial = Trial(source, method, settings, watch, {}, run_scale=Scale(50_000, 64, 256))
    assert alike_on_two_processes(trial) == "the same losses and gradient on 1 and 2 processes"
