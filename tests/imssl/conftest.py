"""Whole pretraining runs on a tiny data set, killed and continued."""

import pytest
import torch

import imssl.pretrain
from imssl.encoder import new_encoder
from imssl.features import fingerprint
from imssl.pretrain import Training, pretrain
from imssl.recipe import Recipe
from imssl.settings.augmentation import Augmentation
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation, PretrainSettings

TIMES = ("images_per_second", "seconds")


class Interrupted(Exception):
    """Stands for a kill."""


def nothing(done, steps):
    """Progress that nobody watches."""


@pytest.fixture
def recipe(phantom):
    def make(epochs=3, batch_size=24, precision="float32", seed=0, kind="histology", steps=None):
        optimisation = Optimisation(
            learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.1
        )
        return Recipe(
            # The weight gradient of a strided convolution on 1x1 maps is garbage in bfloat16 on the CPU
            # (torch 2.15), and 16 pixels come to that in block 4.
            prepared=phantom(kind, 24 if precision == "bfloat16" else 16),
            settings=PretrainSettings(
                epochs=None if steps else epochs,
                steps=steps,
                batch_size=batch_size,
                optimisation=optimisation,
                monitor_every=2,
            ),
            augmentation=Augmentation(),
            hardware=Hardware(device="cpu", threads=1, precision=precision),
            device=torch.device("cpu"),
            seed=seed,
        )

    return make


@pytest.fixture
def pretrain_tiny(tiny, tmp_path, monkeypatch):
    """Pretrain a new tiny encoder; returns what comes back and the state at the end."""
    trainings = []

    class Watched(Training):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            trainings.append(self)

    monkeypatch.setattr(imssl.pretrain, "Training", Watched)

    def go(recipe, method, settings, on_progress=nothing, name="cell", identity="run", wrap=None):
        def build(encoder, training_set):
            built = method(encoder, method.settings_class(**settings), training_set)
            if wrap:
                wrap(built)
            return built

        encoder = new_encoder(tiny, recipe.prepared.images.shape[-1], recipe.seed)
        pretrained = pretrain(encoder, build, recipe, tmp_path / f"{name}.checkpoint", identity, on_progress)
        return pretrained, trainings[-1] if trainings else None

    return go


@pytest.fixture
def assert_equal():
    """Compares nested states bit for bit, times left out."""

    def compare(one, other):
        assert type(one) is type(other)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        elif isinstance(one, dict):
            assert one.keys() == other.keys()
            for key in one:
                if key not in TIMES:
                    compare(one[key], other[key])
        elif isinstance(one, list):
            assert len(one) == len(other)
            for left, right in zip(one, other, strict=True):
                compare(left, right)
        else:
            assert one == other

    return compare


@pytest.fixture
def killed(pretrain_tiny):
    """A run with a kill after each of some steps; also the steps that were taken."""

    def go(recipe, method, settings, interruptions):
        taken = []
        for stop in [*interruptions, None]:

            def watch(done, _steps, stop=stop):
                taken.append(done)
                if done == stop:
                    raise Interrupted

            try:
                return *pretrain_tiny(recipe, method, settings, watch, name="killed"), taken
            except Interrupted:
                continue
        raise AssertionError("the run did not end")

    return go


@pytest.fixture
def assert_resumes(pretrain_tiny, killed, assert_equal, monkeypatch):
    """Checks that a run with kills ends bit for bit as one without; returns the one without."""

    def check(recipe, method, settings, interruptions):
        monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
        whole, expected = pretrain_tiny(recipe, method, settings, name="whole")
        again, actual, taken = killed(recipe, method, settings, interruptions)
        steps = expected.steps
        assert steps >= 12
        assert set(taken) == set(range(1, steps + 1))
        assert len(taken) <= steps + 2 * len(interruptions)  # it did go on from the checkpoints
        assert actual.seconds > 0
        assert_equal(actual.state(), expected.state())
        assert_equal(again.history, whole.history)
        assert fingerprint(again.encoder) == fingerprint(whole.encoder)
        assert again.images_seen == whole.images_seen
        assert again.trained_parameters == whole.trained_parameters
        return whole, expected

    return check
