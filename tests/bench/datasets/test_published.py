"""bench add-dataset on published data sets: recognised by their layout, read as their owners publish them."""

import hashlib
import json
from pathlib import Path

import medmnist as package
import numpy as np
import pytest

from bench.protocol.protocol import read_protocol
from bench.stages import data
from imssl.datasets.prepared import read_prepared
from tests.bench.datasets.test_adding import bench, picture, refused, write

FINDINGS = ("Cardiomegaly|Emphysema", "No Finding", "Hernia", "Pleural_Thickening", "No Finding")


def nih_files():
    names = [f"{patient:08}_{follow_up:03}.png" for patient in range(1, 11) for follow_up in range(2)]
    rows = [f"{name},{FINDINGS[place % 5]},{int(name[:8])},058Y" for place, name in enumerate(names)]
    lists = {"train_val_list.txt": names[:14], "test_list.txt": names[14:]}
    return (
        {f"images_001/images/{name}": picture(place, grey=True) for place, name in enumerate(names)}
        | {"Data_Entry_2017.csv": "\n".join(["Image Index,Finding Labels,Patient ID,Patient Age", *rows])}
        | {name: "\n".join(files) for name, files in lists.items()}
    )


def idc_files():
    return {
        f"{patient}/{label}/{patient}_idx5_x{n}_y1_class{label}.png": picture(100 * patient + 10 * n + label)
        for patient in range(1, 11)
        for label in (0, 1)
        for n in range(2)
    }


def kermany_files():
    return {
        f"chest_xray/{split}/{folder}/{name}.jpeg": picture(hash_of(name), grey=True)
        for number in range(10)
        for split, folder, name in (
            ("train", "NORMAL", f"IM-{number:04}-0001"),
            ("train", "PNEUMONIA", f"person{number}_bacteria_1"),
            ("test", "PNEUMONIA", f"person{number}_virus_1"),
        )
    }


def eyepacs_files():
    eyes = [f"{patient}_{side}" for patient in range(10) for side in ("left", "right")]
    rows = [f"{eye},{place % 5}" for place, eye in enumerate(eyes)]
    return {f"train/{eye}.jpeg": picture(place) for place, eye in enumerate(eyes)} | {
        "trainLabels.csv": "\n".join(["image,level", *rows])
    }


def hash_of(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)


LAYOUTS = {"nih": nih_files, "idc": idc_files, "kermany": kermany_files, "eyepacs": eyepacs_files}


@pytest.mark.parametrize(
    ("source", "options", "task", "patients"),
    [
        ("nih", [], "multilabel", 10),
        ("idc", [], "binary", 10),
        ("kermany", [], "multiclass", 20),
        ("eyepacs", ["--task", "ordinal"], "ordinal", 10),
        ("eyepacs", ["--task", "binary"], "binary", 10),
    ],
)
def test_a_published_layout_is_hinted_at_and_read_by_its_source(
    project, tmp_path, source, options, task, patients
):
    folder = write(tmp_path / "theirs", LAYOUTS[source]())
    own = bench("add-dataset", folder, "--dry-run")
    assert f"--source {source} reads it" in " ".join(f"{own.output} {own.exception}".split())
    looked = json.loads(
        bench("add-dataset", folder, "--source", source, "--size", 16, "--json", *options).output
    )
    assert (looked["written"], looked["task"], looked["patients"]) == (True, task, patients)
    protocol = read_protocol()
    assert protocol.datasets["theirs"].source == source
    data.run("theirs", protocol)
    prepared = read_prepared(Path("data/theirs"))
    assert prepared.card.task == task
    assert len(prepared.samples) == looked["images"]
    assert prepared.samples["patient"].nunique() == patients
    if source == "nih":  # their list of 14 images for training and validation, 6 for the test
        assert looked["attributes"] == ["age"]
        assert looked["splits"] == {"train": 14, "test": 6}
        assert (prepared.samples["split"] == "test").sum() == 6


def test_a_file_of_medmnist_is_a_data_set(project, tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 20, "val": 5, "test": 6}.items():
        arrays[f"{split}_images"] = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    arrays["test_images"][0] = arrays["train_images"][3]
    file = tmp_path / "theirs" / "breastmnist.npz"
    file.parent.mkdir()
    np.savez(file, **arrays)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(package.INFO, "breastmnist", package.INFO["breastmnist"] | {"MD5": md5})
    assert f"is given by itself: {file}" in refused(file.parent)
    assert "--on-bad-image skip" in refused(file)  # an image is in training and in test
    result = bench("add-dataset", file, "--on-bad-image", "skip")
    assert result.exit_code == 0, result.output
    assert "train-000003 is test-000000" in result.output
    settings = read_protocol().datasets["breastmnist"]
    assert (settings.flag, settings.resolution) == ("breastmnist", 28)
    assert (settings.size, settings.channels) == (28, 1)
    file.write_bytes(file.read_bytes() + b"more")
    assert "is not the file that MedMNIST published" in refused(file, "--name", "another")


def test_what_a_published_data_set_does_not_heed_is_refused(project, tmp_path):
    folder = write(tmp_path / "theirs", eyepacs_files())
    assert "--task binary" in refused(folder, "--source", "eyepacs")
    given = ["--task", "binary", "--label-column", "x", "--table", "y"]
    message = refused(folder, "--source", "eyepacs", *given)
    assert "leave out --label-column, --table" in message
    assert "leave out --task" in refused(folder, "--source", "nih", "--task", "binary")
    assert "Did you mean eyepacs?" in refused(folder, "--source", "eyepac")
    assert "is not laid out as expected" in refused(folder, "--source", "kermany")
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=np.zeros(3))
    assert "no two-dimensional set 'arrays'" in refused(arrays)
    assert "leave out --window, --follow-links" in refused(
        arrays, "--window", 0, 255, "--follow-links", tmp_path
    )
    assert "is no file of MedMNIST" in refused(folder, "--source", "medmnist")


def test_an_image_that_cannot_be_read_is_counted_out(project, tmp_path):
    files = idc_files()
    broken = next(iter(files))
    folder = write(tmp_path / "theirs", files | {broken: b"\x89PNG\r\n\x1a\n and no more"})
    assert "cannot be used" in refused(folder, "--source", "idc")
    looked = json.loads(
        bench("add-dataset", folder, "--source", "idc", "--on-bad-image", "skip", "--json").output
    )
    assert looked["images"] == len(files) - 1
    assert looked["unusable"][0]["first"] == [broken]
