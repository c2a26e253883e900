"""Phantom data sets: repeatable, plausible, neither trivial nor hopeless."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imssl.datasets.phantom import PHANTOMS, source
from imssl.datasets.prepare import prepare

KINDS = tuple(PHANTOMS)


def write(kind, folder, **changes):
    arguments = {"patients": 12, "size": 16, "seed": 0} | changes
    channels = 1 if kind == "chest" else 3
    return prepare(
        source(kind, **arguments),
        name=kind,
        size=16,
        channels=channels,
        split_seed=0,
        on_bad_image="error",
        folder=folder,
        threads=2,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_bytes(tmp_path, kind):
    for name in ("first", "again"):
        write(kind, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["card.json", "images.npy", "samples.csv"]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    other = write(kind, tmp_path / "other", seed=1)
    assert other.checksums != write(kind, tmp_path / "first").checksums


@pytest.mark.parametrize("kind", KINDS)
def test_more_patients_leave_the_first_ones_as_they_were(kind):
    few, many = source(kind, 10, 16, 0), source(kind, 14, 16, 0)
    assert list(many.samples[: len(few.samples)]) == list(few.samples)
    sample = few.samples[-1]
    assert np.array_equal(few.read(sample), many.read(sample))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_in_order_and_labels_in_range(kind):
    made = source(kind, patients=300, size=16, seed=0)
    patients, images = np.unique([sample.patient for sample in made.samples], return_counts=True)
    assert len(patients) == 300
    assert set(images) == {2, 3, 4, 5, 6}
    assert len({sample.id for sample in made.samples}) == len(made.samples)
    labels = np.array([sample.labels for sample in made.samples])
    if made.task == "multilabel":
        assert labels.shape[1] == len(made.classes)
        assert set(np.unique(labels)) == {0, 1}
        shares = labels.mean(axis=0)
    else:
        assert labels.shape[1] == 1
        shares = np.bincount(labels[:, 0], minlength=len(made.classes)) / len(labels)
        assert len(shares) == len(made.classes)
    assert (shares > 0.05).all()  # every class occurs
    assert (shares < 0.95).all()


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_patient_share_the_disease(kind):
    """Otherwise resampling by patient would be for nothing: more variance between patients than within."""
    made = source(kind, patients=300, size=16, seed=0)
    severity = np.array([np.mean(sample.labels) for sample in made.samples])
    patients = np.array([sample.patient for sample in made.samples])
    groups = [severity[patients == patient] for patient in np.unique(patients)]
    assert stats.f_oneway(*groups).pvalue < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_says_that_it_is_synthetic(tmp_path, kind):
    card = write(kind, tmp_path)
    assert card.synthetic
    assert "SYNTHETIC" in card.description
    assert card.has_patients
    assert not card.skipped


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_varied_and_not_saturated(phantom, kind):
    images = phantom(kind).images
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    assert images.std(axis=(1, 2, 3)).min() > 3
    assert ((images == 255).mean(axis=(1, 2, 3)) < 0.7).all()


def test_raw_pixels_of_radiographs_are_far_from_enough():
    """A linear classifier on 8x8 pixels is well below 1: there is something to learn."""
    made = source("chest", patients=150, size=16, seed=0)
    images = np.stack([made.read(sample) for sample in made.samples]).astype(float)
    small = images.reshape(len(images), 8, 2, 8, 2).mean(axis=(2, 4)).reshape(len(images), -1)
    labels = np.array([sample.labels for sample in made.samples])
    patients = np.array([int(sample.patient) for sample in made.samples])
    train, test = patients < 100, patients >= 100
    aurocs = []
    for target in labels.T:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        model.fit(small[train], target[train])
        aurocs.append(roc_auc_score(target[test], model.predict_proba(small[test])[:, 1]))
    assert np.mean(aurocs) < 0.95


@pytest.mark.parametrize("kind", ["histology", "fundus"])
def test_hue_carries_the_label_and_exposure_hides_it(kind):
    """The mean colour tells the classes apart and brightness does not, by more than which images differ."""
    made = source(kind, patients=150, size=16, seed=0)
    colours = np.stack([made.read(sample).astype(float).mean(axis=(0, 1)) for sample in made.samples])
    target = [sample.labels[0] > (len(made.classes) - 1) / 2 for sample in made.samples]
    brightness = colours.sum(axis=1)
    assert roc_auc_score(target, -colours[:, 0] / brightness) > 0.9
    assert abs(roc_auc_score(target, brightness) - 0.5) < 0.15
    assert brightness.std() / brightness.mean() > 0.15
