"""Every method of the package trains: on few images, in small batches, grey or colour, and after a kill."""

import pytest
import torch

from imssl.batches import BatchSource, batch_of
from imssl.device import on_device
from imssl.features import feature_spread, pooled_features
from imssl.groups import anonymous_codes
from imssl.methods.byol import Byol
from imssl.methods.dino import Dino
from imssl.methods.masked_reconstruction import MaskedReconstruction
from imssl.methods.medaug import Medaug
from imssl.methods.nnclr import Nnclr
from imssl.methods.simclr import Simclr
from imssl.methods.simsiam import Simsiam
from imssl.methods.vicreg import Vicreg
from imssl.methods.vicregl import Vicregl
from imssl.pretrain import Training
from imssl.settings.augmentation import Augmentation
from imssl.settings.pretraining import Optimisation
from imssl.training_images import TrainingImages

CPU = torch.device("cpu")
STEPS = 40
MILD = Augmentation(crop_scale=(0.8, 1.0), jitter_probability=0, grey_probability=0, blur_probability=0)
OPTIMISATION = Optimisation(
    learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.1
)
SETTINGS = {
    Simclr: {"hidden": 32, "dimension": 16},
    Byol: {"hidden": 32, "dimension": 16, "momentum": 0.9},
    Simsiam: {"dimension": 32, "bottleneck": 8},
    Vicreg: {"expansion": 32},
    MaskedReconstruction: {"hidden": 8, "learning_rate": 0.01},
    Medaug: {"hidden": 32, "dimension": 16, "queue": 16, "batch_norm_splits": 1, "momentum": 0.9},
    Nnclr: {"hidden": 32, "dimension": 16, "queue": 32},
    Dino: {"hidden": 32, "bottleneck": 8, "prototypes": 32, "small_views": 2, "momentum": 0.9},
    Vicregl: {"expansion": 32, "local_expansion": 16, "block": 2},
}
# What the loss cannot go below.
LOWEST = {Simsiam: -1.0}
MOMENTUM_COPIES = ("target_", "teacher_", "key_")
every_method = pytest.mark.parametrize("method", SETTINGS, ids=lambda method: method.__name__)


def all_but(*others):
    kept = [method for method in SETTINGS if method not in others]
    return pytest.mark.parametrize("method", kept, ids=lambda method: method.__name__)


@pytest.fixture
def train(phantom, make_method):
    """Train a new method on the same few phantom images in every step; also the loss of each step."""

    def go(method, size=32, steps=STEPS, kind="histology", pixels=16, precision="float32"):
        prepared = phantom(kind, pixels)
        images = TrainingImages(prepared.images, prepared.indices("train")[:size], CPU)
        groups = anonymous_codes(prepared.patients()[images.rows], seed=0)
        channels = prepared.images.shape[-1]
        made = make_method(method, channels=channels, pixels=pixels, groups=groups, **SETTINGS[method])
        training = Training(on_device(made.train(), CPU), OPTIMISATION, steps)
        source = BatchSource(images, prepared, MILD, seed=0, batch_size=size, steps=steps)
        losses = []
        for step in range(steps):
            batch = batch_of(made, source, torch.arange(size), step)
            before = dict(training.epoch_sums)
            training.take_step(batch, precision)
            losses.append(float(training.epoch_sums["loss"] - before.get("loss", 0.0)))
        return training, losses

    return go


# A queue that fills and a teacher whose centre moves raise the loss at first, as MoCo's does.
@all_but(Medaug, Dino)
def test_the_loss_falls_on_32_images_and_no_block_collapses(train, histology, make_method, method):
    training, losses = train(method)
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    lowest = LOWEST.get(method, 0.0)
    assert last - lowest < 0.9 * (first - lowest)
    rows = histology.indices("val")
    untrained = feature_spread(pooled_features(make_method(method).encoder, histology, rows, CPU))
    trained = feature_spread(pooled_features(training.method.encoder, histology, rows, CPU))
    assert all(after > before for before, after in zip(untrained, trained, strict=True))


@every_method
@pytest.mark.parametrize(("kind", "size"), [("histology", 2), ("chest", 5)])
def test_two_colour_or_five_grey_images_are_enough(train, method, kind, size):
    training, losses = train(method, size, steps=3, kind=kind)
    assert training.method.encoder.channels == (1 if kind == "chest" else 3)
    assert torch.tensor(losses).isfinite().all()
    assert all(tensor.isfinite().all() for tensor in training.method.state_dict().values())


# Of projections that are rounded, another may be the nearest neighbour.
@all_but(Nnclr)
def test_bfloat16_gives_nearly_the_same_losses(train, method):
    _, exact = train(method, size=16, steps=3, pixels=24)
    training, rounded = train(method, size=16, steps=3, pixels=24, precision="bfloat16")
    assert rounded[0] == pytest.approx(exact[0], rel=0.02, abs=0.02)
    assert torch.tensor(rounded).isfinite().all()
    assert rounded != exact
    assert {tensor.dtype for tensor in training.method.parameters()} == {torch.float32}


@every_method
def test_a_killed_run_ends_bit_for_bit_as_a_whole_one(recipe, assert_resumes, method):
    _, training = assert_resumes(recipe(), method, SETTINGS[method], [2, 7])
    assert training.method.encoder.channels == 3


@every_method
def test_all_weights_are_trained_but_those_of_momentum_copies(train, method):
    training, _ = train(method, size=4, steps=1)
    trained = [
        weight for name, weight in training.method.named_parameters() if not name.startswith(MOMENTUM_COPIES)
    ]
    assert training.trained_parameters == sum(weight.numel() for weight in trained)
