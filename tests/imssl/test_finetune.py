"""Fine-tuning: what is chosen, what is restored, what is predicted."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

import imssl.finetune
from imssl.augment import augment
from imssl.checkpoint import CheckpointFile
from imssl.classifier import Classifier, loss_function, to_probabilities
from imssl.datasets.label_sets import LabelledRows
from imssl.device import autocast
from imssl.encoder import new_encoder
from imssl.errors import Diverged, Stopped, UserError
from imssl.features import fingerprint, model_input
from imssl.finetune import FinetuneRecipe, finetune
from imssl.metrics import metric_value
from imssl.settings.augmentation import Augmentation
from imssl.settings.finetuning import FinetuneSettings
from imssl.settings.hardware import Hardware
from imssl.torch_seeds import initialising, torch_generator

CPU = torch.device("cpu")


def settings(**changes):
    values = {"epochs": 2, "min_steps": 6, "batch_size": 16, "learning_rate": 3e-3, "weight_decay": 0.0}
    values |= {"schedule": "cosine", "class_weights": "balanced", "evaluations": 3}
    return FinetuneSettings(**(values | changes))


def recipe_of(prepared, rows=None, validation=None, seed=0, augmentation=None, **changes):
    return FinetuneRecipe(
        prepared=prepared,
        labelled=LabelledRows(
            prepared.indices("train") if rows is None else rows,
            prepared.indices("val") if validation is None else validation,
        ),
        settings=settings(**changes),
        augmentation=augmentation or Augmentation(),
        hardware=Hardware(device="cpu", threads=1, precision="float32"),
        device=CPU,
        seed=seed,
    )


def tune(encoder, prepared, rows=None, on_progress=lambda done, steps: None, checkpoint=None, **changes):
    return finetune(encoder, recipe_of(prepared, rows, **changes), on_progress, checkpoint)


def scripted(monkeypatch, values):
    """Validation metrics as given, one per evaluation; returns the probabilities that they were asked for."""
    asked = []

    def metric(_metric, _task, _labels, probabilities):
        asked.append(probabilities)
        return values[len(asked) - 1]

    monkeypatch.setattr(imssl.finetune, "metric_value", metric)
    return asked


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_evaluation_is_restored_not_the_last(encoder, histology, monkeypatch, best):
    values = [0.5, 0.5, 0.5]
    values[best] = 0.9
    asked = scripted(monkeypatch, values)
    tuned = tune(encoder, histology, min_steps=12, epochs=1)
    assert len(asked) == 3
    assert tuned.best_step == tuned.history[best]["step"] == (best + 1) * 4
    assert np.array_equal(tuned.validation_probabilities, asked[best])
    same = [np.array_equal(tuned.validation_probabilities, probabilities) for probabilities in asked]
    assert same == [i == best for i in range(3)]


def test_of_equal_metrics_the_lowest_loss_is_taken(encoder, histology, monkeypatch):
    for values in ([0.7] * 3, [None] * 3):
        asked = scripted(monkeypatch, values)
        tuned = tune(encoder, histology)
        lowest = int(np.argmin([row["validation_loss"] for row in tuned.history]))
        assert tuned.best_step == tuned.history[lowest]["step"]
        assert np.array_equal(tuned.validation_probabilities, asked[lowest])


def test_a_metric_that_is_undefined_loses_to_any_value(encoder, histology, monkeypatch):
    scripted(monkeypatch, [None, -0.9, None])
    tuned = tune(encoder, histology)
    assert tuned.best_step == tuned.history[1]["step"]


@pytest.mark.parametrize("kind", ["chest", "histology", "fundus"])
def test_history_and_choice_agree_with_the_predictions(phantom, tiny, kind):
    prepared = phantom(kind)
    tuned = tune(new_encoder(tiny, prepared.images.shape[-1], 0), prepared, evaluations=4, min_steps=8)
    card, labels = prepared.card, prepared.labels()[prepared.indices("val")]
    metrics = [row["validation_metric"] for row in tuned.history]
    chosen = [row for row in tuned.history if row["step"] == tuned.best_step]
    assert len(chosen) == 1
    assert chosen[0]["validation_metric"] == max(metrics)
    again = metric_value(card.primary_metric, card.task, labels, tuned.validation_probabilities)
    assert again == chosen[0]["validation_metric"]
    assert set(tuned.history[0]) == {"step", "epoch", "training_loss", "validation_loss", "validation_metric"}
    for split, probabilities in (
        ("val", tuned.validation_probabilities),
        ("test", tuned.test_probabilities),
    ):
        assert probabilities.shape == (len(prepared.indices(split)), len(card.classes))
        assert probabilities.dtype == np.float64
        assert ((probabilities > 0) & (probabilities < 1)).all()
        if card.task != "multilabel":
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_every_test_sample_is_predicted_in_order(encoder, histology, monkeypatch):
    """More than one pass of 256 and a rest, the test rows scattered over the data set."""
    models = []

    class Watched(Classifier):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            models.append(self)

    monkeypatch.setattr(imssl.finetune, "Classifier", Watched)
    others = np.flatnonzero(histology.samples["split"] != "test")
    rows = np.concatenate([others, np.resize(histology.indices("test"), 300)])
    rows = np.random.default_rng(0).permutation(rows)
    samples = histology.samples.iloc[rows].reset_index(drop=True)
    wide = replace(histology, samples=samples, images=histology.images[rows])
    tuned = tune(encoder, wide, epochs=1, min_steps=1, evaluations=2)
    assert tuned.test_probabilities.shape == (300, 2)
    assert tuned.encoder is models[0].encoder
    mean, std = np.array(wide.card.channel_mean), np.array(wide.card.channel_std)
    images = ((wide.images[wide.indices("test")] / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = torch.cat([models[0].eval()(part) for part in torch.from_numpy(images).float().split(50)])
    expected = softmax(logits.double().numpy(), axis=1)
    np.testing.assert_allclose(tuned.test_probabilities, expected, atol=1e-5)


def test_the_given_encoder_is_not_changed(encoder, histology):
    before = fingerprint(encoder)
    tuned = tune(encoder, histology)
    assert fingerprint(encoder) == before
    assert encoder.training
    assert fingerprint(tuned.encoder) != before
    assert not tuned.encoder.training


def test_a_seed_repeats_and_the_global_generators_are_left_alone(encoder, histology):
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = tune(encoder, histology, seed=3)
    torch.manual_seed(99)
    changed = torch.get_rng_state()
    again, other = (tune(encoder, histology, seed=seed) for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), changed)
    torch.set_rng_state(state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()  # noqa: NPY002
    assert first.history == again.history
    assert np.array_equal(first.test_probabilities, again.test_probabilities)
    assert fingerprint(first.encoder) == fingerprint(again.encoder)
    assert not np.array_equal(first.test_probabilities, other.test_probabilities)


@pytest.mark.parametrize("count", [1, 2, 17])
def test_a_lone_image_in_the_last_batch_is_used(encoder, histology, count):
    """17 images in batches of 16: the second batch is one image, whose last maps are 1x1."""
    seen = []
    rows = histology.indices("train")[:count]
    tuned = tune(encoder, histology, rows, on_progress=lambda done, steps: seen.append((done, steps)))
    assert seen == [(i, 6) for i in range(1, 7)]
    assert np.isfinite(tuned.test_probabilities).all()
    assert all(np.isfinite(row["training_loss"]) for row in tuned.history)


@pytest.mark.parametrize(("count", "kept"), [(17, True), (18, True), (19, False)])
def test_one_or_two_images_are_normalised_by_the_running_statistics(encoder, histology, count, kept):
    """By their own, two images whose last maps are 1x1 become +1 and -1, whatever they show."""
    tracked = []

    def watch(done, steps):
        tracked.append(int(model[0].encoder.bn1.num_batches_tracked))

    model = []
    original = imssl.finetune.on_device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            imssl.finetune,
            "on_device",
            lambda module, device: model.append(module) or original(module, device),
        )
        rows = histology.indices("train")[:count]
        tune(encoder, histology, rows, epochs=2, min_steps=1, evaluations=1, on_progress=watch)
    assert tracked == ([1, 1, 2, 2] if kept else [1, 2, 3, 4])


def test_only_the_labelled_validation_images_choose(encoder, histology):
    """Labels of the other validation images change nothing, and all of them are predicted."""
    validation = histology.indices("val")
    labelled, others = validation[:6], validation[6:]
    samples = histology.samples.copy()
    samples.loc[others, "label"] = 1 - samples.loc[others, "label"]
    first, other = (
        tune(encoder, p, validation=labelled) for p in (histology, replace(histology, samples=samples))
    )
    assert first.history == other.history
    assert np.array_equal(first.test_probabilities, other.test_probabilities)
    assert len(first.validation_probabilities) == len(validation)
    labels = histology.labels()[labelled]
    expected = roc_auc_score(labels, first.validation_probabilities[:6, 1])
    assert max(row["validation_metric"] for row in first.history) == pytest.approx(expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_equals_a_plain_loop_bit_for_bit(encoder, histology, precision):
    """Everything in one place, as one would write it on a page: the parts must add up to exactly this."""
    recipe = recipe_of(histology, seed=5)
    recipe = replace(recipe, hardware=Hardware(device="cpu", threads=1, precision=precision))
    tuned = finetune(encoder, recipe, lambda done, steps: None)
    with initialising(5, "classifier"):
        model = Classifier(copy.deepcopy(encoder), 2)
    model = model.to(memory_format=torch.channels_last)
    rows, settings = recipe.labelled.training, recipe.settings
    labels = torch.from_numpy(histology.labels()[rows])
    weights = len(labels) / (2 * torch.bincount(labels).float())
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, foreach=True)
    per_epoch = -(-len(rows) // 16)
    steps, states, metrics = 2 * per_epoch, {}, {}
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(rows), generator=torch_generator(5, "finetune order", epoch))
        chosen = order[16 * position : 16 * (position + 1)]
        images = torch.from_numpy(histology.images[rows[chosen.numpy()]].transpose(0, 3, 1, 2).copy())
        views = augment(images, recipe.augmentation, torch_generator(5, "finetune step", step))
        model.train(len(chosen) > 2)
        optimizer.param_groups[0]["lr"] = (
            settings.learning_rate * (1 + float(np.cos(np.pi * step / steps))) / 2
        )
        with autocast(CPU, precision):
            loss = cross_entropy(model(model_input(views, histology)).float(), labels[chosen], weight=weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step + 1 in [round(steps * i / 3) for i in (1, 2, 3)]:
            states[step + 1] = copy.deepcopy(model.state_dict())
            metrics[step + 1] = [row["validation_metric"] for row in tuned.history][len(metrics)]
    best = max(states, key=lambda step: metrics[step])
    assert tuned.best_step == best
    for name, tensor in tuned.encoder.state_dict().items():
        assert torch.equal(tensor, states[best][f"encoder.{name}"]), name


@pytest.mark.parametrize(
    ("count", "epochs", "min_steps", "evaluations", "steps", "evaluated"),
    [
        (33, 4, 1, 2, 12, [6, 12]),  # epochs decide: 3 steps each
        (5, 2, 10, 4, 10, [2, 5, 8, 10]),  # at least so many steps
        (5, 1, 3, 10, 3, [1, 2, 3]),  # more evaluations than steps
    ],
)
def test_steps_and_evaluations(encoder, histology, count, epochs, min_steps, evaluations, steps, evaluated):
    rows = histology.indices("train")[:count]
    changes = {"epochs": epochs, "min_steps": min_steps, "evaluations": evaluations}
    done = []
    tuned = tune(encoder, histology, rows, on_progress=lambda *progress: done.append(progress), **changes)
    assert done[-1] == (steps, steps)
    assert [row["step"] for row in tuned.history] == evaluated
    per_epoch = -(-count // 16)
    assert [row["epoch"] for row in tuned.history] == [step / per_epoch for step in evaluated]


def test_labels_of_other_rows_are_not_used(encoder, histology):
    """Neither training labels outside the subset nor test labels."""
    rows = histology.indices("train")[:20]
    others = np.setdiff1d(np.arange(len(histology.samples)), np.concatenate([rows, histology.indices("val")]))
    samples = histology.samples.copy()
    samples.loc[others, "label"] = 1 - samples.loc[others, "label"]
    first, other = (tune(encoder, p, rows) for p in (histology, replace(histology, samples=samples)))
    assert np.array_equal(first.test_probabilities, other.test_probabilities)


def test_it_learns(tiny, histology):
    """Labels that a glance can tell: the brighter half of the images."""
    brightness = histology.images.mean(axis=(1, 2, 3))
    samples = histology.samples.copy()
    samples["label"] = (brightness > np.median(brightness)).astype(int)
    easy = replace(histology, samples=samples)
    still = Augmentation(jitter_probability=0, grey_probability=0, blur_probability=0, crop_scale=(1, 1))
    tuned = tune(new_encoder(tiny, 3, 0), easy, augmentation=still, min_steps=40, evaluations=4)
    assert roc_auc_score(easy.labels()[easy.indices("test")], tuned.test_probabilities[:, 1]) > 0.9
    assert tuned.history[-1]["training_loss"] < tuned.history[0]["training_loss"]


def test_balanced_class_weights_equal_scikit_learn():
    draw = np.random.default_rng(0)
    labels = draw.choice(4, p=[0.6, 0.2, 0.15, 0.05], size=200)
    logits = draw.normal(size=(200, 4))
    weights = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    for kind, weight in (("balanced", weights[labels]), ("none", None)):
        loss = loss_function("multiclass", torch.from_numpy(labels), 4, kind)
        expected = log_loss(labels, softmax(logits, axis=1), sample_weight=weight)
        assert loss(torch.from_numpy(logits).float(), torch.from_numpy(labels)).item() == pytest.approx(
            expected, rel=1e-5
        )


def test_balanced_positives_equal_scikit_learn():
    draw = np.random.default_rng(0)
    labels, logits = (draw.random((200, 3)) < [0.5, 0.2, 0.03]).astype(np.uint8), draw.normal(size=(200, 3))
    expected = []
    for column in range(3):
        y, p = labels[:, column], expit(logits[:, column])
        negative, positive = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)
        expected.append(-(positive / negative * y * np.log(p) + (1 - y) * np.log(1 - p)))
    tensors = torch.from_numpy(logits).float(), torch.from_numpy(labels)
    balanced = loss_function("multilabel", tensors[1], 3, "balanced")(*tensors)
    assert balanced.item() == pytest.approx(np.mean(expected), rel=1e-5)
    plain = loss_function("multilabel", tensors[1], 3, "none")(*tensors)
    assert plain.item() == pytest.approx(log_loss(labels.ravel(), expit(logits).ravel()), rel=1e-5)


def test_class_weights_are_finite_where_a_class_is_missing():
    none_of_two = torch.tensor([0, 0, 1, 1, 1])
    loss = loss_function("ordinal", none_of_two, 3, "balanced")
    assert loss(torch.zeros(1, 3), torch.tensor([2])).isfinite()
    always_and_never = torch.tensor([[1, 0], [1, 0]], dtype=torch.uint8)
    loss = loss_function("multilabel", always_and_never, 2, "balanced")
    assert loss(torch.zeros(2, 2), always_and_never).isfinite()


def test_probabilities_equal_scipy():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 20
    wide = logits.double().numpy()
    np.testing.assert_allclose(to_probabilities(logits, "multilabel"), expit(wide), rtol=1e-12)
    np.testing.assert_allclose(to_probabilities(logits, "multiclass"), softmax(wide, axis=1), rtol=1e-12)


def poisoned(monkeypatch, from_step):
    """From a step on the optimiser leaves weights that are not numbers; the losses up to it are finite."""
    steps = 0
    original = torch.optim.Adam.step

    def step(self, *arguments, **options):
        nonlocal steps
        result = original(self, *arguments, **options)
        steps += 1
        if steps == from_step:
            with torch.no_grad():
                self.param_groups[0]["params"][-1].fill_(float("nan"))
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", step)


@pytest.mark.parametrize("step", [1, 2])
def test_weights_that_break_are_a_diverged_run(encoder, histology, monkeypatch, step):
    """In the first step of an evaluation period, and in its last: then only the validation pass can tell."""
    poisoned(monkeypatch, step)
    with pytest.raises(Diverged):
        tune(encoder, histology, epochs=1, min_steps=6, batch_size=64, evaluations=3)


def test_the_mode_of_the_given_encoder_does_not_matter(encoder, histology):
    training, evaluating = encoder, copy.deepcopy(encoder).eval()
    one, other = (tune(e, histology, epochs=1, min_steps=2, evaluations=1) for e in (training, evaluating))
    assert np.array_equal(one.test_probabilities, other.test_probabilities)
    assert not evaluating.training


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(("interruptions", "torn"), [([1], False), ([3, 7], True), ([4, 5, 11], False)])
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    encoder, histology, tmp_path, monkeypatch, interruptions, torn
):
    monkeypatch.setattr(imssl.finetune, "CHECKPOINT_SECONDS", 0.0)
    file = CheckpointFile(tmp_path / "cell.checkpoint", "run")
    whole = tune(encoder, histology, min_steps=12, epochs=1)
    taken = []

    def stop(done, steps):
        taken.append(done)
        if done == waiting[0]:
            del waiting[0]
            raise Interrupted

    waiting = [*interruptions, None]
    while waiting[0] is not None:
        with pytest.raises(Interrupted):
            tune(encoder, histology, min_steps=12, epochs=1, checkpoint=file, on_progress=stop)
        if torn and file.path.exists():
            file.path.write_bytes(file.path.read_bytes()[:-1])
    again = tune(encoder, histology, min_steps=12, epochs=1, checkpoint=file, on_progress=stop)
    assert set(taken) == set(range(1, 13))
    # A step that was not noted yet is taken again, and where the checkpoint is torn, the one before it too.
    assert len(taken) <= 12 + (1 + torn) * len(interruptions)
    assert again.history == whole.history
    assert again.best_step == whole.best_step
    assert fingerprint(again.encoder) == fingerprint(whole.encoder)
    assert np.array_equal(again.test_probabilities, whole.test_probabilities)
    assert np.array_equal(again.validation_probabilities, whole.validation_probabilities)
    with pytest.raises(UserError, match="another run"):
        tune(encoder, histology, checkpoint=CheckpointFile(file.path, "other"))


def test_a_run_that_is_asked_to_stop_saves_the_step_that_it_has_taken(encoder, histology, tmp_path):
    file, taken = CheckpointFile(tmp_path / "stopped.checkpoint", "run"), []

    def stop(done, _steps):
        taken.append(done)
        if done == 5:
            raise Stopped

    whole = tune(encoder, histology, min_steps=12, epochs=1)
    with pytest.raises(Stopped):
        tune(encoder, histology, min_steps=12, epochs=1, checkpoint=file, on_progress=stop)
    again = tune(encoder, histology, min_steps=12, epochs=1, checkpoint=file, on_progress=stop)
    assert taken == list(range(1, taken[-1] + 1))
    assert np.array_equal(again.test_probabilities, whole.test_probabilities)
