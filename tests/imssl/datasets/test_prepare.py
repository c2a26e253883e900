import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from imssl.datasets.images import to_square
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import read_prepared
from imssl.datasets.source import BadImage, RawSample
from imssl.errors import UserError

SPLITS = {"train": 12, "val": 4, "test": 6}


def run(source, folder, **settings):
    defaults = {"name": "noise", "size": 8, "channels": 3, "split_seed": 0, "on_bad_image": "error"}
    return prepare(source, folder=folder, **(defaults | settings))


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_samples(source, change):
    return replace(source, samples=[change(sample) for sample in source.samples])


@pytest.mark.parametrize("task", ["multilabel", "binary", "multiclass", "ordinal"])
def test_what_goes_in_comes_out(tmp_path, make_source, task):
    source = make_source(SPLITS, task)
    card = run(source, tmp_path)
    prepared = read_prepared(tmp_path)
    by_id = {sample.id: sample for sample in source.samples}
    assert prepared.card == card
    assert list(prepared.samples["id"]) == sorted(by_id)
    for row, id in enumerate(prepared.samples["id"]):
        sample = by_id[id]
        np.testing.assert_array_equal(prepared.images[row], to_square(source.read(sample), 8, 3))
        assert tuple(np.atleast_1d(prepared.labels()[row])) == sample.labels
        assert prepared.patients()[row] == sample.patient
        assert row in prepared.indices(sample.split)
    assert prepared.labels().dtype == (np.uint8 if task == "multilabel" else np.int64)
    assert not prepared.images.flags.writeable


def test_the_card_counts(tmp_path, make_source):
    source = make_source(SPLITS, "multilabel", inputs={"table.csv": "abc"}, split_origin="Made up.")
    card = run(source, tmp_path)
    for split, count in SPLITS.items():
        assert card.counts[split].samples == count
        assert card.counts[split].patients == count // 2
        expected = np.sum([s.labels for s in source.samples if s.split == split], axis=0)
        assert list(card.counts[split].per_class.values()) == expected.tolist()
    assert card.inputs["table.csv"] == "abc"
    assert card.split_origin == "Made up."
    assert card.primary_metric == "macro_auroc"
    assert card.has_patients
    assert card.patients_note == ""


def test_mean_and_deviation_are_of_the_training_images(tmp_path, make_source):
    card = run(make_source(SPLITS), tmp_path)
    prepared = read_prepared(tmp_path)
    training = prepared.images[prepared.indices("train")] / 255
    np.testing.assert_allclose(card.channel_mean, training.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(card.channel_std, training.std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_can_still_be_normalised(tmp_path, make_source):
    source = make_source(SPLITS)
    no_blue = replace(source, read=lambda sample: source.read(sample) * np.array([1, 1, 0], dtype=np.uint8))
    card = run(no_blue, tmp_path)
    assert card.channel_mean[2] == 0
    assert card.channel_std[2] == pytest.approx(1 / 255)


def test_the_bytes_do_not_depend_on_threads_order_or_repetition(tmp_path, make_source):
    source = make_source({"": 40})
    run(source, tmp_path / "a", threads=1)
    expected = files_of(tmp_path / "a")
    assert set(expected) == {"images.npy", "samples.csv", "card.json"}
    for name, threads in {"a": 3, "b": 7}.items():
        run(replace(source, samples=source.samples[::-1]), tmp_path / name, threads=threads)
        assert files_of(tmp_path / name) == expected


def test_images_are_read_a_few_at_a_time(tmp_path, make_source):
    source = make_source({"train": 200, "val": 10, "test": 10})
    started, written = Counter(), Counter()

    def read(sample):
        started["images"] += 1
        assert started["images"] - written["images"] <= 12
        return source.read(sample)

    def on_progress(done, total):
        assert total == 220
        written["images"] = done

    run(replace(source, read=read), tmp_path, threads=2, on_progress=on_progress)
    assert written["images"] == 220


def failing(source, *ids):
    def read(sample):
        if sample.id in ids:
            raise BadImage(f"{sample.id}.png", "the file is empty")
        return source.read(sample)

    return replace(source, read=read)


def test_bad_images_are_all_named_and_nothing_is_written(tmp_path, make_source):
    source = failing(
        make_source(SPLITS, bad=[("row 7", "it has a row, but no image file")]), "val-001", "test-002"
    )
    with pytest.raises(UserError) as raised:
        run(source, tmp_path)
    message = str(raised.value)
    for part in (
        "noise: 3 images or rows",
        "row 7: it has a row, but no image file",
        "val-001.png: the file is empty",
        "test-002.png: the file is empty",
        "on_bad_image: skip",
    ):
        assert part in message
    assert files_of(tmp_path) == {}


def test_at_most_twenty_bad_images_are_named(tmp_path, make_source):
    source = make_source(SPLITS, bad=[(f"file {i}", f"is empty {i}") for i in range(25)])
    with pytest.raises(UserError, match="and 5 more") as raised:
        run(source, tmp_path)
    assert str(raised.value).count("is empty") == 20


def test_many_images_with_the_same_fault_are_one_line(tmp_path, make_source):
    bad = [(f"file {i}", f"duplicate id: {i} has the same name") for i in range(2000)]
    with pytest.raises(UserError, match="2,000 times: duplicate id: file 0, file 1, ") as raised:
        run(make_source(SPLITS, bad=bad), tmp_path)
    assert len(str(raised.value).splitlines()) == 3


def test_bad_images_can_be_left_out(tmp_path, make_source):
    whole = make_source(SPLITS)
    source = failing(replace(whole, bad=[("row 7", "no file")]), "val-001", "test-002")
    card = run(source, tmp_path / "skipped", on_bad_image="skip")
    assert [(entry.reason, entry.count, entry.first) for entry in card.skipped] == [
        ("the file is empty", 2, ["test-002.png", "val-001.png"]),
        ("no file", 1, ["row 7"]),
    ]
    assert (tmp_path / "skipped" / "skipped.csv").read_text().splitlines() == [
        "file,reason,status",
        "row 7,no file,skipped",
        "test-002.png,the file is empty,skipped",
        "val-001.png,the file is empty,skipped",
    ]
    assert card.counts["val"].samples == 3
    # Otherwise the files are those of a source that never had these images.
    rest = replace(whole, samples=[s for s in whole.samples if s.id not in ("val-001", "test-002")])
    run(rest, tmp_path / "rest")
    for name in ("images.npy", "samples.csv"):
        assert files_of(tmp_path / "skipped")[name] == files_of(tmp_path / "rest")[name]


def test_equal_pixels_are_found(tmp_path, make_source):
    source = make_source(SPLITS)
    twin = next(sample for sample in source.samples if sample.id == "train-000")
    twins = replace(source, read=lambda s: source.read(twin if s.id == "val-000" else s))
    with pytest.raises(UserError, match="val-000: has the same pixels as an earlier image: train-000"):
        run(twins, tmp_path)
    card = run(twins, tmp_path, on_bad_image="skip")
    assert card.counts["val"].samples == 3


def test_a_patient_in_two_splits_is_named(tmp_path, make_source):
    source = with_samples(make_source(SPLITS), lambda s: replace(s, patient=s.patient.removeprefix("val-")))
    crossing = with_samples(source, lambda s: replace(s, patient="p0") if s.id == "test-000" else s)
    with pytest.raises(UserError, match="more than one split: p0"):
        run(crossing, tmp_path)


def test_images_without_patients_are_units_of_their_own(tmp_path, make_source):
    card = run(make_source(SPLITS, patients=False), tmp_path)
    prepared = read_prepared(tmp_path)
    assert not card.has_patients
    assert "no patient ids" in card.patients_note
    assert card.counts["train"].patients is None
    assert list(prepared.patients()) == list(prepared.samples["id"])
    assert set(prepared.samples["patient"]) == {""}


def test_a_split_is_drawn_by_patient_where_there_is_none(tmp_path, make_source):
    card = run(make_source({"": 60}), tmp_path, split_seed=5)
    prepared = read_prepared(tmp_path)
    assert prepared.samples.groupby("patient")["split"].nunique().max() == 1
    assert [card.counts[split].patients for split in ("train", "val", "test")] == [21, 3, 6]
    assert "seed 5" in card.split_origin
    other = run(make_source({"": 60}), tmp_path / "other", split_seed=6)
    assert other.checksums["images.npy"] == card.checksums["images.npy"]
    assert other.checksums["samples.csv"] != card.checksums["samples.csv"]


def test_validation_is_drawn_where_only_that_is_missing(tmp_path, make_source):
    card = run(make_source({"train": 32, "test": 10}, split_origin="Two lists."), tmp_path)
    prepared = read_prepared(tmp_path)
    assert set(prepared.samples["id"][prepared.indices("test")]) == {f"test-{i:03d}" for i in range(10)}
    assert card.counts["val"].patients == 2
    assert card.split_origin.startswith("Two lists. Validation: 1/8 of the official training patients")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no images"),
        ([RawSample("a", "p", "train", (0,))] * 2, "more than once: a"),
        ([RawSample("a", "p", "train", (2,))], "labels outside 0 to 1 .*: a"),
        ([RawSample("a", "p", "train", (0, 1))], "labels outside"),
        ([RawSample("a", "p", "train", ())], "labels outside"),
        ([RawSample("a", "p", "dev", (0,))], "other than train, val, test: a"),
        ([RawSample("a", "p", "train", (0,)), RawSample("b", "q", "", (0,))], "without one: b"),
        ([RawSample("a", "p", "train", (0,)), RawSample("b", "q", "val", (0,))], "in the split test"),
    ],
)
def test_unusable_sources_are_refused(tmp_path, make_source, samples, message):
    with pytest.raises(UserError, match=message):
        run(make_source({}, samples=samples), tmp_path)
    assert files_of(tmp_path) == {}


def test_a_split_that_loses_all_its_images_is_refused(tmp_path, make_source):
    source = failing(make_source({"train": 4, "val": 1, "test": 2}), "val-000")
    with pytest.raises(UserError, match="no usable images in the split val"):
        run(source, tmp_path, on_bad_image="skip")


def test_an_interrupted_preparation_leaves_the_old_data_set_alone(tmp_path, make_source):
    run(make_source(SPLITS), tmp_path)
    before = files_of(tmp_path)

    def stop(done, total):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_source(SPLITS), tmp_path, size=16, on_progress=stop)
    assert files_of(tmp_path) == before


def test_an_error_in_the_adapter_is_not_swallowed(tmp_path, make_source):
    def read(sample):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(make_source(SPLITS, read=read), tmp_path)
    assert files_of(tmp_path) == {}


def test_the_card_is_plain_json_without_times(tmp_path, make_source):
    run(make_source(SPLITS), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["schema_version"] == 2
    assert not [key for key in card if "time" in key or "date" in key]
