import json

import numpy as np
import pytest

from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import (
    discard_images,
    read_card,
    read_prepared,
    read_without_images,
    writing_images,
)
from imssl.errors import UserError


@pytest.fixture
def folder(tmp_path, make_source):
    prepare(
        make_source({"train": 6, "val": 2, "test": 2}, "multilabel"),
        name="noise",
        size=8,
        channels=1,
        split_seed=0,
        on_bad_image="error",
        folder=tmp_path,
    )
    return tmp_path


def test_a_missing_data_set_says_so(tmp_path):
    for read in (read_card, read_prepared):
        with pytest.raises(UserError, match="no prepared data set"):
            read(tmp_path / "nothing")


def test_images_are_an_ordinary_npy_file(folder):
    with (folder / "images.npy").open("rb") as stream:
        images = np.load(stream, allow_pickle=False)
    np.testing.assert_array_equal(images, read_prepared(folder).images)
    assert images.shape == (10, 8, 8, 1)


def test_what_looks_at_no_image_needs_none(folder):
    whole = read_prepared(folder)
    (folder / "images.npy").unlink()
    without = read_without_images(folder)
    assert without.samples.equals(whole.samples)
    assert (without.card, without.images.shape) == (whole.card, (0, 8, 8, 1))
    (folder / "samples.csv").write_text("id\n")
    with pytest.raises(UserError, match=r"samples.csv is damaged"):
        read_without_images(folder)


def damage_card(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "card.json").write_text("{"),
        lambda folder: (folder / "card.json").write_bytes(b"\xff"),
        lambda folder: damage_card(folder, schema_version=1),
        lambda folder: damage_card(folder, extra=1),
        lambda folder: damage_card(folder, image_shape=[16, 16, 1]),
        lambda folder: (folder / "samples.csv").unlink(),
        lambda folder: (folder / "samples.csv").write_text("id\n1\n"),
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "images.npy").write_bytes(b"not an array"),
        lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1]),
        lambda folder: np.save(folder / "images.npy", np.zeros((10, 8, 8, 1))),
        lambda folder: np.save(folder / "images.npy", np.array([object()]), allow_pickle=True),
    ],
)
def test_damage_is_reported_with_the_mend(folder, damage):
    damage(folder)
    with pytest.raises(UserError, match=r"(?s)damaged or of another version.*Prepare the data set again"):
        read_prepared(folder)


def test_ids_stay_text(tmp_path, make_source):
    from imssl.datasets.source import RawSample

    ids = ["007", "1e5", "NA", "null", "x,y", 'quote"d', "ünï"]
    samples = [
        RawSample(id, patient, split, (0,))
        for id, patient, split in zip(ids, ids[::-1], ["train"] * 4 + ["val"] * 2 + ["test"], strict=True)
    ]
    prepare(
        make_source({}, samples=samples),
        name="noise",
        size=8,
        channels=1,
        split_seed=0,
        on_bad_image="error",
        folder=tmp_path,
    )
    prepared = read_prepared(tmp_path)
    assert list(prepared.samples["id"]) == sorted(ids)
    assert dict(prepared.samples[["id", "patient"]].to_numpy()) == dict(zip(ids, ids[::-1], strict=True))


def test_appended_images_must_have_the_shape(tmp_path):
    with pytest.raises(ValueError, match="instead of"), writing_images(tmp_path, (4, 4, 1)) as append:
        append(np.zeros((4, 5, 1), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_images_can_be_discarded(tmp_path):
    with writing_images(tmp_path, (4, 4, 1)) as append:
        append(np.zeros((4, 4, 1), dtype=np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == ["images.npy.partial"]
    discard_images(tmp_path)
    discard_images(tmp_path)
    assert list(tmp_path.iterdir()) == []
