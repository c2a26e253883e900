"""The loop: reproducible, resumable at any step, and open about what went wrong."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import imssl.pretrain
from imssl.augment import augment
from imssl.batch_norm import SplitBatchNorm2d
from imssl.checkpoint import load_checkpoint
from imssl.encoder import new_encoder
from imssl.errors import Diverged, Stopped, UserError
from imssl.features import fingerprint
from imssl.method import Batch
from imssl.methods.moco import Moco
from imssl.methods.moco_barlow import MocoBarlow
from imssl.methods.moco_mse import MocoMse
from imssl.methods.random_init import RandomInit
from imssl.methods.random_init_filled import RandomInitFilled
from imssl.monitor import Monitor
from imssl.pretrain import pretrain
from imssl.settings.augmentation import Augmentation
from imssl.torch_seeds import torch_generator

METHODS = [Moco, MocoMse, MocoBarlow]


class Interrupted(Exception):
    """Stands for a kill."""


def small(method):
    """Settings that fit the tiny data set."""
    settings = {} if not method.pretrains else {"queue": 40, "dimension": 16, "hidden": 32}
    return settings | ({"projection": 24} if method is MocoBarlow else {})


@pytest.fixture
def run(pretrain_tiny):
    """Pretrain a new tiny encoder; returns what comes back and the state at the end."""

    def go(recipe, method=Moco, **arguments):
        return pretrain_tiny(recipe, method, small(method), **arguments)

    return go


@pytest.mark.parametrize(
    ("method", "precision", "interruptions"),
    [
        (Moco, "float32", [1, 7, 12]),
        (MocoMse, "float32", [6, 10]),
        (MocoBarlow, "float32", [2, 11]),
        (MocoBarlow, "bfloat16", [5]),
    ],
)
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    recipe, assert_resumes, method, precision, interruptions
):
    assert_resumes(recipe(precision=precision), method, small(method), interruptions)


def test_a_run_resumes_where_an_epoch_is_one_step(run, recipe, killed, assert_equal, histology, monkeypatch):
    """A small data set in one batch must not lose its whole run either."""
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
    settings = recipe(epochs=4, batch_size=len(histology.indices("train")))
    _, expected = run(settings)
    _, actual, taken = killed(settings, Moco, small(Moco), [3])
    assert_equal(actual.state(), expected.state())
    assert taken == [1, 2, 3, 3, 4]


def test_so_many_steps_are_taken_also_where_they_end_within_a_pass(run, recipe, histology):
    steps_per_epoch = len(histology.indices("train")) // 24
    pretrained, training = run(recipe(steps=2 * steps_per_epoch + 1))
    assert training.step == training.steps == 2 * steps_per_epoch + 1
    assert pretrained.images_seen == 24 * training.steps
    assert [row["epoch"] for row in pretrained.history] == [1, 2, 3]
    assert ["knn_macro_auroc" in row for row in pretrained.history] == [False, True, True]


def test_steps_that_fill_their_passes_are_the_same_run_as_epochs(run, recipe, histology, assert_equal):
    steps_per_epoch = len(histology.indices("train")) // 24
    first, again = run(recipe(epochs=2), name="epochs"), run(recipe(steps=2 * steps_per_epoch), name="steps")
    assert_equal(first[1].state(), again[1].state())
    assert_equal(first[0].history, again[0].history)


def test_a_run_of_steps_that_ends_within_a_pass_resumes(recipe, assert_resumes):
    assert_resumes(recipe(steps=14), Moco, small(Moco), [3, 13, 14])


def test_the_same_seed_gives_the_same_run_and_another_does_not(run, recipe, assert_equal):
    first, again, other = (run(recipe(epochs=1, seed=seed), name=str(i)) for i, seed in enumerate((5, 5, 6)))
    assert_equal(first[1].state(), again[1].state())
    assert fingerprint(first[0].encoder) != fingerprint(other[0].encoder)


def test_a_torn_checkpoint_falls_back_to_the_one_before(run, recipe, assert_equal, tmp_path, monkeypatch):
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
    settings = recipe()
    _, expected = run(settings)

    def stop(done, _steps):
        if done == 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(settings, on_progress=stop, name="torn")
    file = tmp_path / "torn.checkpoint"
    newest = load_checkpoint(file, "run")["step"]
    file.write_bytes(file.read_bytes()[:-7])
    assert load_checkpoint(file, "run")["step"] < newest
    _, actual = run(settings, name="torn")
    assert_equal(actual.state(), expected.state())


def test_a_run_that_is_asked_to_stop_saves_the_step_that_it_has_taken(
    run, recipe, histology, assert_equal, tmp_path
):
    """Within an epoch and at the end of one, without waiting for the time of the next checkpoint."""
    settings = recipe(epochs=2)
    _, expected = run(settings)
    steps_per_epoch = len(histology.indices("train")) // settings.settings.batch_size
    taken = []
    for last in (2, steps_per_epoch):

        def stop(done, _steps, last=last):
            taken.append(done)
            if done == last:
                raise Stopped

        with pytest.raises(Stopped):
            run(settings, on_progress=stop, name="stopped")
        assert load_checkpoint(tmp_path / "stopped.checkpoint", "run")["step"] == last
    _, actual = run(settings, on_progress=lambda done, _steps: taken.append(done), name="stopped")
    assert_equal(actual.state(), expected.state())
    assert taken == list(range(1, expected.steps + 1))  # none is taken twice


def test_the_checkpoint_of_another_run_is_refused(run, recipe, monkeypatch):
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", 0.0)
    run(recipe(epochs=1))
    with pytest.raises(UserError, match="another run"):
        run(recipe(epochs=1), identity="other")


@pytest.mark.parametrize("method", METHODS)
def test_the_history_has_every_column(run, recipe, histology, method):
    pretrained, training = run(recipe(), method)
    extra = {Moco: None, MocoMse: "mse", MocoBarlow: "barlow"}[method]
    terms = ["contrastive"] + ([f"{extra}_{i}" for i in range(1, 5)] if extra else [])
    every_epoch = {"epoch", "loss", "top1", "learning_rate", "images_per_second", *terms}
    watched = {"knn_macro_auroc", *(f"spread_{i}" for i in range(1, 5))}
    rows = pretrained.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [set(row) for row in rows] == [every_epoch, every_epoch | watched, every_epoch | watched]
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row[term] for term in terms), rel=1e-5)
        assert 0 <= row["top1"] <= 1
        assert row["images_per_second"] > 0
        assert all(type(value) in (int, float) for value in row.values())
    assert 0 <= rows[-1]["knn_macro_auroc"] <= 1
    assert all(rows[-1][f"spread_{i}"] > 0 for i in range(1, 5))
    last = (training.steps - 1) / training.steps  # the rate of the last step, by the formula
    cosine = (1 + np.cos(np.pi * (last - 0.1) / 0.9)) / 2
    assert rows[-1]["learning_rate"] == pytest.approx(0.05 * cosine)
    steps_per_epoch = len(histology.indices("train")) // 24
    assert training.steps == 3 * steps_per_epoch
    assert pretrained.images_seen == 3 * steps_per_epoch * 24
    assert pretrained.trained_parameters == sum(
        weight.numel() for name, weight in training.method.named_parameters() if not name.startswith("key_")
    )
    assert not pretrained.encoder.training
    assert pretrained.seconds > 0
    assert pretrained.peak_memory_mib > 0


def test_the_history_is_the_mean_over_the_steps(run, recipe):
    losses = []

    def record(method):
        original = method.losses

        def losses_of(batch):
            terms = original(batch)
            losses.append(terms["contrastive"].item())
            return terms

        method.losses = losses_of

    pretrained, training = run(recipe(epochs=2), wrap=record)
    half = training.steps // 2
    for row, part in zip(pretrained.history, (losses[:half], losses[half:]), strict=True):
        assert row["contrastive"] == pytest.approx(np.mean(part), rel=1e-6)


def record_batches(batches):
    """Wraps a method so that it keeps what it was given."""

    def wrap(method):
        original = method.losses

        def losses(batch: Batch):
            batches.append((batch.views, batch.images, batch.step, batch.progress))
            return original(batch)

        method.losses = losses

    return wrap


def test_every_method_sees_the_same_views(run, recipe, assert_equal):
    seen = {method: [] for method in METHODS}
    for method in METHODS:
        run(recipe(epochs=1), method, name=method.__name__, wrap=record_batches(seen[method]))
    assert len(seen[Moco]) >= 4
    assert_equal([list(views) for views, *_ in seen[MocoMse]], [list(views) for views, *_ in seen[Moco]])
    assert_equal([list(views) for views, *_ in seen[MocoBarlow]], [list(views) for views, *_ in seen[Moco]])


def test_batches_are_the_training_images_in_a_seeded_order(run, recipe, histology):
    batches = []
    run(recipe(epochs=2, seed=3), wrap=record_batches(batches))
    train = histology.indices("train")
    per_epoch = len(train) // 24
    mean, std = np.array(histology.card.channel_mean), np.array(histology.card.channel_std)
    orders = [torch.randperm(len(train), generator=torch_generator(3, "order", e)).numpy() for e in (0, 1)]
    for step, (views, images, number, progress) in enumerate(batches):
        epoch, place = divmod(step, per_epoch)
        raw = histology.images[train[orders[epoch][place * 24 : place * 24 + 24]]]
        expected = ((raw / 255 - mean) / std).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
        generator = torch_generator(3, "step", step)
        pixels = torch.from_numpy(raw.transpose(0, 3, 1, 2).copy())
        for view in views:
            one = augment(pixels, Augmentation(), generator).double().numpy()
            np.testing.assert_allclose(
                view.numpy(), (one - mean[:, None, None]) / std[:, None, None], atol=1e-5
            )
        assert (number, progress) == (step, step / len(batches))


def test_global_generators_are_left_alone(run, recipe):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    run(recipe(epochs=1), MocoBarlow)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert (before[2][1] == after[2][1]).all()
    assert before[2][2:] == after[2][2:]


def test_the_labels_are_seen_by_the_monitor_only(run, recipe, histology, monkeypatch):
    """Other labels, other kNN scores, the same weights."""
    first, _ = run(recipe(epochs=1), name="first")
    flipped = 1 - histology.labels()
    monkeypatch.setattr(type(histology), "labels", lambda _self: flipped)
    other, _ = run(recipe(epochs=1), name="other")
    assert fingerprint(other.encoder) == fingerprint(first.encoder)


def broken_at(step):
    """A loss that is not a number from one step on."""

    def wrap(method):
        original = method.losses

        def losses(batch):
            terms = original(batch)
            factor = float("nan") if batch.step >= step else 1.0
            return {**terms, "contrastive": terms["contrastive"] * factor}

        method.losses = losses

    return wrap


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 60.0])
def test_a_loss_that_is_not_finite_is_named(run, recipe, tmp_path, monkeypatch, checkpoint_seconds):
    monkeypatch.setattr(imssl.pretrain, "CHECKPOINT_SECONDS", checkpoint_seconds)
    with pytest.raises(Diverged, match=r"contrastive.* is not finite after step \d+ of 12"):
        run(recipe(), wrap=broken_at(2))
    kept = load_checkpoint(tmp_path / "cell.checkpoint", "run")
    assert kept is None or all(t.isfinite().all() for t in kept["method"].values())


def test_weights_that_break_in_the_last_step_are_named_too(run, recipe):
    """The loss of the last step is finite, the step itself blows up: the monitor meets the damage first."""

    def wrap(method):
        original = method.after_step

        def after_step(batch):
            original(batch)
            if batch.step == 3:
                with torch.no_grad():
                    method.encoder.conv1.weight.mul_(float("inf"))

        method.after_step = after_step

    with pytest.raises(Diverged):
        run(recipe(epochs=1), wrap=wrap)


def test_a_batch_larger_than_the_data_is_refused(run, recipe, histology):
    count = len(histology.indices("train"))
    with pytest.raises(UserError, match=rf"batch_size = {count + 1}, but histology has only {count} tr"):
        run(recipe(batch_size=count + 1))


def test_a_queue_larger_than_the_data_is_refused_before_training(tiny, recipe, histology, tmp_path):
    count = len(histology.indices("train"))

    def build(encoder, training_set):
        return Moco(encoder, Moco.settings_class(queue=4096), training_set)

    with pytest.raises(UserError, match=f"queue = 4096 keys, but there are only {count} training images"):
        pretrain(new_encoder(tiny, 3, 0), build, recipe(), tmp_path / "x", "run", lambda *_: None)


def test_random_init_leaves_the_encoder_as_it_was(run, recipe, tiny, tmp_path):
    pretrained, training = run(recipe(seed=4), RandomInit)
    expected = new_encoder(tiny, 3, seed=4)
    assert fingerprint(pretrained.encoder) == fingerprint(expected)
    assert training is None
    assert [row["epoch"] for row in pretrained.history] == [0]
    assert {"knn_macro_auroc", "spread_1", "spread_4"} < set(pretrained.history[0])
    assert (pretrained.images_seen, pretrained.trained_parameters) == (0, 0)
    assert not pretrained.batch_norm_filled
    assert not pretrained.encoder.training
    assert not list(tmp_path.glob("cell*"))


def test_filled_random_init_has_the_initial_weights_and_the_statistics_of_the_images(run, recipe, tiny):
    pretrained, training = run(recipe(seed=4), RandomInitFilled)
    initial = new_encoder(tiny, 3, seed=4).state_dict()
    for name, tensor in pretrained.encoder.state_dict().items():
        assert torch.equal(tensor, initial[name]) == ("running" not in name), name
    assert training is None
    assert pretrained.batch_norm_filled
    assert (pretrained.images_seen, pretrained.trained_parameters) == (0, 0)
    assert pretrained.seconds > 0
    # The kNN score is that of the filled encoder, so it is not the initial one's.
    assert pretrained.history[0] != run(recipe(seed=4), RandomInit)[0].history[0]


def test_batch_norm_is_filled_once_after_pretraining_as_the_protocol_says(run, recipe, histology):
    """From the training images as they are, and with the same weights either way."""
    filling = recipe(epochs=1)
    keeping = replace(filling, settings=filling.settings.model_copy(update={"fill_batch_norm": False}))
    filled, _ = run(filling, name="filled")
    kept, _ = run(keeping, name="kept")
    assert (filled.batch_norm_filled, kept.batch_norm_filled) == (True, False)
    before, after = kept.encoder.state_dict(), filled.encoder.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if "running" in name
    }
    images = histology.images[histology.indices("train")].transpose(0, 3, 1, 2).astype(np.float32) / 255
    card = histology.card
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (card.channel_mean, card.channel_std))
    with torch.no_grad():
        stem = filled.encoder.conv1(torch.from_numpy(((images - mean) / std).astype(np.float32)))
    maps = stem.double().numpy()
    np.testing.assert_allclose(after["bn1.running_mean"], maps.mean(axis=(0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(after["bn1.running_var"], maps.var(axis=(0, 2, 3)), rtol=1e-4)


def test_a_reference_decides_itself_whether_batch_norm_is_filled(run, recipe):
    """The protocol's switch is for what pretrains; the two untrained rows differ by just this."""
    given = recipe()
    keeping = replace(given, settings=given.settings.model_copy(update={"fill_batch_norm": False}))
    assert run(keeping, RandomInitFilled)[0].batch_norm_filled
    assert not run(given, RandomInit)[0].batch_norm_filled


def test_a_batch_tells_which_training_images_it_holds(run, recipe, histology):
    seen, pictures = [], {}

    def wrap(method):
        original = method.losses

        def losses(batch):
            seen.append(batch.index)
            for index, image in zip(batch.index.tolist(), batch.images, strict=True):
                assert torch.equal(pictures.setdefault(index, image), image)
            return original(batch)

        method.losses = losses

    run(recipe(epochs=3), wrap=wrap)
    count = len(histology.indices("train"))
    index = torch.stack(seen)
    assert index.dtype == torch.int64
    per_epoch = count // 24
    for epoch in index.split(per_epoch):
        assert len(set(epoch.flatten().tolist())) == per_epoch * 24
    assert set(index.flatten().tolist()) <= set(range(count))
    mean, std = (np.array(v) for v in (histology.card.channel_mean, histology.card.channel_std))
    for index, image in pictures.items():
        original = histology.images[histology.indices("train")[index]]
        np.testing.assert_allclose(image.permute(1, 2, 0), (original / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize("method", [Moco, RandomInit])
def test_split_batch_norm_ends_with_pretraining(run, recipe, method):
    """What a method has set up in the encoder for itself must not follow it into fine-tuning."""
    pretrained, _ = run(recipe(epochs=1), method)
    norms = [module for module in pretrained.encoder.modules() if isinstance(module, SplitBatchNorm2d)]
    assert {module.splits for module in norms} == {1}


def test_images_read_from_disk_train_alike(run, recipe, monkeypatch):
    held, _ = run(recipe(epochs=1), name="held")
    monkeypatch.setattr("imssl.training_images.HELD_IN_MEMORY", 0)
    mapped, _ = run(recipe(epochs=1), name="mapped")
    assert fingerprint(mapped.encoder) == fingerprint(held.encoder)


def test_a_value_that_is_logged_now_and_then_is_averaged_over_its_own_steps(run, recipe):
    """``Method.log`` promises the mean of what was noted in the epoch."""

    def wrap(method):
        original = method.losses

        def losses(batch):
            terms = original(batch)
            if batch.step % 4 == 1:
                method.log("now_and_then", torch.tensor(float(batch.step)))
            return terms

        method.losses = losses

    pretrained, training = run(recipe(epochs=2), wrap=wrap)
    assert training.steps == 8
    assert [row["now_and_then"] for row in pretrained.history] == [1.0, 5.0]


def test_the_monitor_takes_some_images_of_many_patients(histology, monkeypatch):
    monkeypatch.setattr("imssl.monitor.LARGEST_BANK", 20)
    monkeypatch.setattr("imssl.monitor.MOST_QUERIES", 4)
    monitor, again, other = (Monitor(histology, torch.device("cpu"), seed) for seed in (0, 0, 1))
    patients = histology.patients()
    for rows, split, count in ((monitor.bank, "train", 20), (monitor.queries, "val", 4)):
        assert len(rows) == len(set(patients[rows])) == count
        assert set(rows) <= set(histology.indices(split))
    assert monitor.bank.tolist() == again.bank.tolist() != other.bank.tolist()
