"""Several processes on the CPU: what they put together, and that every method stays what it is on one."""

import importlib
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import imssl.methods
from imssl.augment import augment
from imssl.batches import BatchSource, batch_of
from imssl.distributed import agreed, averaged, gather, in_micro_batches, processes, refuse_drift, share
from imssl.encoder import new_encoder
from imssl.errors import Stopped, UserError
from imssl.features import fingerprint
from imssl.method import Method
from imssl.methods.moco import Moco
from imssl.methods.simclr import Simclr
from imssl.pretrain import Training, pretrain
from imssl.recipe import Recipe, give_labels
from imssl.settings.augmentation import Augmentation
from imssl.settings.encoder import TimmSettings
from imssl.settings.hardware import Hardware
from imssl.settings.pretraining import Optimisation, PretrainSettings
from imssl.torch_seeds import initialising, torch_generator
from imssl.training_images import TrainingImages
from tests.imssl.together import together

CPU = torch.device("cpu")
OPTIMISATION = Optimisation(
    learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.1
)
BATCH, STEPS, STEPS_PER_EPOCH = 32, 10, 3
SMALL = {
    "hidden": 32, "dimension": 16, "queue": 40, "projection": 24, "expansion": 32, "local_expansion": 16,
    "prototypes": 32, "bottleneck": 8,
}  # fmt: skip


def built_in_methods():
    for module in pkgutil.iter_modules(imssl.methods.__path__):
        content = vars(importlib.import_module(f"imssl.methods.{module.name}"))
        for member in content.values():
            is_class = isinstance(member, type) and issubclass(member, Method)
            if is_class and member.__module__ == f"imssl.methods.{module.name}" and member.pretrains:
                yield module.name, member


# With them come batches that are shuffled, statistics over the batch, and keys that are kept; the others are
# slow only in that they are many.
QUICK = {"moco", "moco_barlow", "vicreg"}


def number_and_method():
    """Two processes with a few methods at once; two and four with all of them where there is time."""
    for number in (2, 4):
        for module, method in built_in_methods():
            marks = () if number == 2 and module in QUICK else pytest.mark.slow
            yield pytest.param(number, method, id=f"{number}-{module}", marks=marks)


def close(actual, expected, tolerance):
    """The largest difference of nested results is within a tolerance, relative where values exceed 1."""
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(
            np.asarray(actual[name], float),
            np.asarray(expected[name], float),
            tolerance,
            tolerance,
            err_msg=name,
        )


def as_arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


@pytest.fixture
def in_double(monkeypatch):
    """Lets a step of training run in double precision, where rounding in another order does not grow to see.

    In float32 two runs that differ in the last bit of a sum are 1e-4 apart after ten steps.
    """

    def take_step(training, batch):
        batch = replace(
            batch, views=tuple(view.double() for view in batch.views), images=batch.images.double()
        )
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            training.take_step(batch, "float32")

    return take_step


@pytest.fixture
def ten_steps(make_method, histology, in_double):
    """Losses, first gradient and last state of ten steps with 32 images, in double precision."""

    def go(method_class, **settings):
        images = TrainingImages(histology.images, histology.indices("train"), CPU)
        known = method_class.settings_class.model_fields
        settings = {name: value for name, value in {**SMALL, **settings}.items() if name in known}
        groups = torch.arange(len(images)) // 2
        method = make_method(method_class, training_images=len(images), groups=groups, **settings)
        with initialising(0, "labels"):
            give_labels(method, histology)
        method.double().train()
        training = Training(method, OPTIMISATION, STEPS)
        source = BatchSource(images, histology, Augmentation(), 0, BATCH, STEPS)
        losses, gradients = [], {}
        for step in range(STEPS):
            order = torch.randperm(
                len(images), generator=torch_generator(0, "order", step // STEPS_PER_EPOCH)
            )
            index = order[step % STEPS_PER_EPOCH * BATCH :][:BATCH]
            before = float(training.epoch_sums.get("loss", 0.0))
            in_double(training, batch_of(method, source, index, step))
            losses.append(float(training.epoch_sums["loss"]) - before)
            if step == 0:
                weights = method.named_parameters()
                gradients = {name: w.grad.clone() for name, w in weights if w.grad is not None}
        state = {name: value for name, value in method.state_dict().items() if torch.is_tensor(value)}
        return losses, as_arrays(gradients), as_arrays(state)

    return go


@pytest.mark.parametrize(("number", "method"), number_and_method())
def test_a_method_is_the_same_on_several_processes(ten_steps, number, method):
    """2 x 16 and 4 x 8 images are 1 x 32: losses, gradients, ten steps of weights, queues, running means."""
    losses, gradients, state = ten_steps(method)
    for rank, (their_losses, their_gradients, their_state) in enumerate(
        together(number, lambda: ten_steps(method))
    ):
        np.testing.assert_allclose(their_losses, losses, 1e-6, 1e-6)
        close(their_gradients, gradients, 1e-9)
        close(their_state, state, 1e-6)
        if rank == 0:
            first = their_state
        assert all(np.array_equal(their_state[name], first[name]) for name in first)


def test_batch_norm_that_keeps_to_a_process_is_batch_norm_in_as_many_parts(ten_steps):
    """The shuffle then reaches across the processes: without it, query and key would share their images."""
    losses, gradients, state = ten_steps(Moco, batch_norm_splits=2)
    apart = together(2, lambda: ten_steps(Moco, batch_norm_splits=1), normalise_apart=True)
    for their_losses, their_gradients, their_state in apart:
        np.testing.assert_allclose(their_losses, losses, 1e-6, 1e-6)
        close(their_gradients, gradients, 1e-9)
        close(their_state, state, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_micro_batches_are_batch_norm_in_parts(ten_steps, number):
    """Also the running statistics, which rest while maps are made again."""

    def in_four():
        with in_micro_batches(4 // number):
            return ten_steps(Moco, batch_norm_splits=1)

    losses, gradients, state = ten_steps(Moco, batch_norm_splits=4)
    results = [in_four()] if number == 1 else together(number, in_four, normalise_apart=True)
    for their_losses, their_gradients, their_state in results:
        np.testing.assert_allclose(their_losses, losses, 1e-6, 1e-6)
        close(their_gradients, gradients, 1e-9)
        # Running averages take the parts in another order, and batches are counted by micro-batches.
        weights = [name for name in state if not name.split(".")[-1].startswith(("running_", "num_batches"))]
        close({name: their_state[name] for name in weights}, {name: state[name] for name in weights}, 1e-6)


def test_micro_batches_change_nothing_without_batch_norm(in_double):
    """Negatives are still those of the whole batch: a loss over the batch is no obstacle."""
    images = torch.randn(16, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradients(number):
        encoder = new_encoder(TimmSettings(name="timm/vit_tiny_patch16_224"), 3, seed=0).double().train()
        with in_micro_batches(number):
            embedding = nn.functional.normalize(encoder(images).embedding, dim=1)
            (embedding @ embedding.T).exp().sum().log().backward()
        return as_arrays({name: w.grad for name, w in encoder.named_parameters() if w.grad is not None})

    close(gradients(4), gradients(1), 1e-10)


def test_without_their_sum_over_processes_gradients_would_be_wrong(ten_steps, monkeypatch):
    """The comparison above notices what it is there for."""
    _, gradients, _ = ten_steps(Simclr)
    monkeypatch.setattr("imssl.distributed._Gather.backward", lambda ctx, gradient: share(gradient))
    ((_, theirs, _), _) = together(2, lambda: ten_steps(Simclr))
    name = "encoder.conv1.weight"
    np.testing.assert_allclose(theirs[name], gradients[name] / 2, 1e-7)


@pytest.mark.parametrize("number", [2, 4])
def test_gather_has_the_gradient_of_the_whole_batch(number):
    """Of L(w) = sum over pairs i, j of (w x_i)(w x_j)^2, whose gradient is 3 w^2 sum(x) sum(x^2)."""
    x = np.random.default_rng(0).normal(size=8)

    def work():
        layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.constant_(layer.weight, 0.7)
        rows = torch.from_numpy(x)[:, None]

        def loss():
            outputs = gather(layer(share(rows)))
            return outputs.sum() * outputs.square().sum()

        averaged_loss = averaged(layer, loss)
        averaged_loss().backward()
        return gather(share(rows)), layer.weight.grad

    for whole, gradient in together(number, work):
        np.testing.assert_array_equal(whole[:, 0], x)
        np.testing.assert_allclose(gradient.item(), 3 * 0.7**2 * x.sum() * (x**2).sum())


def test_one_process_is_left_alone():
    rows = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert gather(rows) is rows
    assert torch.equal(share(rows), rows)
    assert agreed(True, False) == (True, False)
    assert averaged(nn.Identity(), len) is len


def test_all_take_the_first_process_at_its_word():
    assert together(2, lambda: agreed(processes().is_first, not processes().is_first)) == [[True, False]] * 2


def test_rows_that_cannot_be_shared_equally_are_refused():
    def work():
        with pytest.raises(ValueError, match="3 rows cannot be dealt out to 2 processes"):
            share(torch.zeros(3))
        return True

    assert all(together(2, work))


def test_views_indices_and_draws_do_not_depend_on_the_number_of_processes(make_method, histology):
    """No image twice and none left out, the same draws for each, bit for bit."""

    def work():
        images = TrainingImages(histology.images, histology.indices("train"), CPU)
        method = make_method(Simclr, training_images=len(images))
        source = BatchSource(images, histology, Augmentation(), 0, BATCH, STEPS)
        batch = batch_of(method, source, torch.arange(BATCH).flip(0), 0)
        return [*batch.views, batch.images, batch.index, torch.rand(4, generator=batch.generator)]

    alone = [tensor.numpy() for tensor in work()]
    for number in (2, 4):
        for theirs in together(number, work):
            assert all(np.array_equal(a, b) for a, b in zip(theirs, alone, strict=True))


def test_a_batch_of_one_too_many_is_made_by_every_process():
    images = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def work():
        return augment(images, Augmentation(), torch.Generator().manual_seed(1))

    alone = work().numpy()
    assert all(np.array_equal(views, alone) for views in together(2, work))


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "timm/vit_tiny_patch16_224"])
def test_timm_models_share_too(name):
    """Batch norm with an activation in it, and none at all."""

    def work():
        encoder = new_encoder(TimmSettings(name=name), 3, seed=0).double().train()
        images = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def loss():
            features = encoder(images)
            return features.embedding.square().mean() + features.block(2).abs().mean()

        averaged_loss = averaged(encoder, loss)
        result = averaged_loss()
        result.backward()
        weights = encoder.named_parameters()
        return result, as_arrays({key: weight.grad for key, weight in weights if weight.grad is not None})

    loss, gradients = work()
    for their_loss, their_gradients in together(2, work):
        np.testing.assert_allclose(their_loss, loss.item(), 1e-9)
        close(their_gradients, gradients, 1e-9)


@pytest.fixture
def run(tiny, histology, tmp_path):
    """A whole pretraining with a checkpoint after the last step before a stop."""

    def go(batch_size=24, stop_at=None, name="cell"):
        def on_progress(done, steps):
            if done == stop_at:
                raise Stopped

        # So slow that rounding in another order, here in float32, does not grow.
        optimisation = OPTIMISATION.model_copy(update={"learning_rate": 1e-6})
        settings = PretrainSettings(
            steps=8, batch_size=batch_size, optimisation=optimisation, monitor_every=100
        )
        recipe = _recipe(histology, settings)
        encoder = new_encoder(tiny, 3, 0)

        def build(encoder, training_set):
            return Moco(encoder, Moco.settings_class(queue=40, dimension=16, hidden=32), training_set)

        return pretrain(encoder, build, recipe, tmp_path / f"{name}.checkpoint", "run", on_progress)

    return go


def _recipe(prepared, settings):
    hardware = Hardware(device="cpu", threads=1, precision="float32")
    return Recipe(prepared, settings, Augmentation(), hardware, CPU, 0)


def _losses(pretrained):
    return [row["loss"] for row in pretrained.history]


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_any_number_of_processes(run):
    """The first process alone is told to stop, and writes; all of them leave."""

    def stopped():
        with pytest.raises(Stopped):
            run(stop_at=3 if processes().is_first else None)
        return True

    def finished():
        pretrained = run(name="cell")
        return _losses(pretrained), pretrained.images_seen

    whole = run(name="whole")
    assert all(together(2, stopped))
    for losses, images_seen in together(4, finished):
        np.testing.assert_allclose(losses, _losses(whole), 1e-3)
        assert images_seen == whole.images_seen


def test_two_processes_resume_bit_for_bit(run):
    def stopped():
        with pytest.raises(Stopped):
            run(stop_at=3 if processes().is_first else None, name="again")
        return True

    def state(name):
        return lambda: as_arrays(run(name=name).encoder.state_dict())

    whole, _ = together(2, state("whole"))
    assert all(together(2, stopped))
    for again in together(2, state("again")):
        assert all(np.array_equal(again[key], whole[key]) for key in whole)


def test_a_batch_that_cannot_be_dealt_out_is_refused(run):
    def work():
        with pytest.raises(UserError, match=r"batch_size = 25 cannot be dealt out to hardware\.devices = 2"):
            run(batch_size=25)
        return True

    assert all(together(2, work))


def test_processes_that_have_drifted_apart_are_noticed(make_method):
    def work():
        encoder = make_method(Simclr).encoder
        refuse_drift(fingerprint(encoder))
        if not processes().is_first:
            next(encoder.parameters()).data.mul_(1.0001)
        with pytest.raises(RuntimeError, match="different weights"):
            refuse_drift(fingerprint(encoder))
        return True

    assert all(together(2, work))
