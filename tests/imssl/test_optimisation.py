"""The schedule of the learning rate against tables and torch's own; SGD and groups of weights."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from imssl.optimisation import learning_rate_factor, sgd, weight_groups
from imssl.settings.pretraining import Optimisation


def optimisation(schedule="cosine", warmup=0.0):
    return Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule=schedule, warmup=warmup)


@pytest.mark.parametrize(
    ("progress", "factor"), [(0, 1), (0.25, 0.853553390593), (0.5, 0.5), (0.75, 0.146446609407), (1, 0)]
)
def test_cosine_falls_to_zero(progress, factor):
    assert learning_rate_factor(optimisation(), progress) == pytest.approx(factor, abs=1e-9)


def test_cosine_equals_torch():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for step in range(40):
        assert learning_rate_factor(optimisation(), step / 40) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_warm_up_rises_linearly_and_meets_the_schedule(schedule):
    settings = optimisation(schedule, warmup=0.2)
    factors = [learning_rate_factor(settings, progress) for progress in (0.0, 0.05, 0.1, 0.15, 0.2)]
    assert factors == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    rest = 1.0 if schedule == "constant" else (1 + math.cos(math.pi * 0.5)) / 2
    assert learning_rate_factor(settings, 0.6) == pytest.approx(rest)


def test_constant_stays():
    assert {learning_rate_factor(optimisation("constant"), progress / 10) for progress in range(10)} == {1.0}


def test_decay_is_for_kernels_and_matrices_only(encoder):
    module = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(64, 4)})
    module["head"].bias.requires_grad_(False)
    decayed, plain = weight_groups(module, 0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    names = {id(weight): name for name, weight in module.named_parameters()}
    held = [{names[id(weight)] for weight in group["params"]} for group in (decayed, plain)]
    assert held[0] == {
        n for n in names.values() if re.search(r"conv\d\.weight|downsample\.0|head\.weight", n)
    }
    assert held[1] == set(names.values()) - held[0] - {"head.bias"}


def test_sgd_is_what_the_protocol_sets_but_for_what_a_group_sets():
    weight, other = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([2.0]))
    groups = [{"params": [weight]}, {"params": [other], "weight_decay": 0.5, "lr": 0.2}]
    optimizer = sgd(groups, optimisation())
    for _ in range(2):
        weight.grad, other.grad = torch.tensor([1.0]), torch.tensor([1.0])
        optimizer.step()
    for value, rate, decay in ((weight, 0.1, 1e-4), (other, 0.2, 0.5)):
        expected, velocity = 2.0, 0.0
        for _ in range(2):
            velocity = 0.9 * velocity + 1.0 + decay * expected
            expected -= rate * velocity
        assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_equals_the_formula_also_for_a_weight_that_rests_at_first(momentum):
    generator = torch.Generator().manual_seed(0)
    settings = Optimisation(
        learning_rate=0.1, momentum=momentum, weight_decay=0.01, schedule="constant", warmup=0
    )
    weights = [nn.Parameter(torch.randn(3, 4, 2, 2, generator=generator).double()) for _ in range(2)]
    weights[0].data = weights[0].data.to(memory_format=torch.channels_last)
    expected = [weight.detach().numpy().copy() for weight in weights]
    velocity = [np.zeros_like(weight) for weight in expected]
    optimizer = sgd(weights, settings)
    for step in range(4):
        for i, weight in enumerate(weights):
            rests = i == 1 and step < 2
            weight.grad = None if rests else torch.randn(weight.shape, generator=generator).double()
            if weight.grad is not None:
                velocity[i] = momentum * velocity[i] + weight.grad.numpy() + 0.01 * expected[i]
                expected[i] = expected[i] - 0.1 * velocity[i]
        optimizer.step()
    for weight, reference in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), reference, rtol=1e-12)
