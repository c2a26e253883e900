"""The schedule of the learning rate against tables and torch's own."""

import math

import pytest
import torch

from imssl.optimisation import learning_rate_factor
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
