"""Folders and tables of a user's images: what becomes a sample, and what is listed with a reason."""

import io
import json
import zlib

import numpy as np
import pandas as pd
import pytest

from imssl.datasets import dicom
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import read_prepared
from imssl.datasets.sources import open_source
from imssl.errors import UserError
from imssl.settings.user_datasets import FolderSettings, TableSettings

COMMON = {"size": 8, "channels": 3, "horizontal_flip": True, "vertical_flip": False}


def folder(path, **settings):
    defaults = {"source": "folder", "task": "binary", "classes": ["normal", "ill"]}
    return FolderSettings(path=str(path), **(COMMON | defaults | settings))


def table(path, **settings):
    defaults = {"source": "table", "table": "labels.csv", "path_column": "file", "label_columns": ["dx"]}
    return TableSettings(path=str(path), **(COMMON | defaults | settings))


def prepared(settings, tmp_path):
    source = open_source(settings)
    prepare(
        source, name="mine", size=8, channels=3, split_seed=0, on_bad_image="error", folder=tmp_path / "out"
    )
    return read_prepared(tmp_path / "out")


@pytest.mark.parametrize("name", ["mine", "mine.zip"])
def test_a_folder_a_class_with_splits_and_patients(tmp_path, write_tree, png, name):
    files = {
        f"data/{split}/{label}/p{split[1]}{n}_{eye}.PNG": png(hash_of(split, label, n, eye))
        for split in ("train", "val", "test")
        for label in ("normal", "ill")
        for n in range(2)
        for eye in ("left", "right")
    }
    path = write_tree(tmp_path / name, files | {"data/readme.txt": "hello"})
    settings = folder(path, patient_pattern=r"(?P<patient>p\w\d)_(?P<eye>left|right)", attributes=["eye"])
    source = open_source(settings)
    assert source.bad == []
    assert source.unused == [("data/readme.txt", "is no image, and no table of this source")]
    data = prepared(settings, tmp_path)
    assert data.card.attributes == ["eye"]
    assert data.samples.groupby("split").size().to_dict() == {"train": 8, "val": 8, "test": 8}
    assert set(data.samples["patient"]) == {f"p{letter}{n}" for letter in "rae" for n in range(2)}
    assert data.samples["eye"].tolist() == ["left" if "left" in id else "right" for id in data.samples["id"]]
    assert data.labels().tolist() == [int("/ill/" in id) for id in data.samples["id"]]


def hash_of(*parts):
    return zlib.crc32(json.dumps(parts).encode())


def test_what_no_class_folder_holds_is_bad(tmp_path, write_tree, png):
    path = write_tree(
        tmp_path / "mine",
        {
            "normal/1.png": png(1), "ill/2.png": png(2), "other/3.png": png(3), "4.png": png(4),
            "normal/ill/5.png": png(5), "normal/6.png": b"", "ill/7.dcm": b"x" * 200,
        },
    )  # fmt: skip
    source = open_source(folder(path))
    assert dict(source.bad) == {
        "other/3.png": "lies in folders of no class: other",
        "4.png": "lies in folders of no class: no folder",
        "normal/ill/5.png": "lies in folders of two classes: normal/ill",
        "ill/7.dcm": "is not a DICOM file",
    }
    assert {sample.id for sample in source.samples} == {"normal/1.png", "ill/2.png", "normal/6.png"}


def test_names_that_the_pattern_does_not_match_are_bad(tmp_path, write_tree, png):
    path = write_tree(tmp_path / "m", {"normal/p1.png": png(1), "ill/p2.png": png(2), "ill/x.png": png(3)})
    source = open_source(folder(path, patient_pattern=r"(?P<patient>p\d)"))
    assert source.bad == [("ill/x.png", "its name does not match patient_pattern")]
    assert {sample.patient for sample in source.samples} == {"p1", "p2"}


def test_train_without_test_says_to_draw(tmp_path, write_tree, png):
    path = write_tree(tmp_path / "m", {"train/normal/1.png": png(1), "val/ill/2.png": png(2)})
    with pytest.raises(UserError, match="Set splits: drawn"):
        open_source(folder(path))
    assert {sample.split for sample in open_source(folder(path, splits="drawn")).samples} == {""}


ROWS = pd.DataFrame(
    {
        "file": [f"img{n}" for n in range(8)],
        "dx": ["nv", "mel", "bkl", "nv", "mel", "bkl", "nv", "mel"],
        "lesion": [f"L{n // 2}" for n in range(8)],
        "age": [50, None, 60, 61, 62, 63, 64, 65],
    }
)


def encoded(rows, suffix):
    stream = io.BytesIO()
    if suffix == "csv":
        return rows.to_csv(index=False).encode("utf-16")
    if suffix == "tsv":
        return rows.to_csv(index=False, sep="\t").encode()
    rows.to_parquet(stream) if suffix == "parquet" else rows.to_excel(stream, index=False)
    return stream.getvalue()


def test_the_header_of_a_dicom_image_is_read_once(tmp_path, write_tree, png, monkeypatch):
    asked = []
    read_header = dicom.read_header

    def count(content, name, keywords):
        asked.append((name, tuple(keywords)))
        return read_header(content, name, keywords)

    monkeypatch.setattr(dicom, "read_header", count)
    rows = "file,dx\na.png,ill\nb.png,normal\n"
    path = write_tree(
        tmp_path / "m", {"a.png": png(0), "b.png": png(1), "c.dcm": b"none", "labels.csv": rows}
    )
    settings = table(path, task="binary", classes=["normal", "ill"], attributes=["Modality"])
    assert [name for name, _ in open_source(settings).bad] == ["c.dcm"]
    assert asked == [("c.dcm", ("Modality",))]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "xlsx"])
def test_every_format_of_a_table_gives_the_same_samples(tmp_path, write_tree, png, suffix):
    files = {f"part{n % 2}/img{n}.jpg": png(n, kind="JPEG") for n in range(8)}
    path = write_tree(tmp_path / "m", files | {f"labels.{suffix}": encoded(ROWS, suffix)})
    settings = table(
        path, table=f"labels.{suffix}", task="multiclass", classes=["nv", "mel", "bkl"],
        patient_column="lesion", attributes=["age"],
    )  # fmt: skip
    source = open_source(settings)
    assert source.bad == []
    assert source.unused == []
    by_id = {sample.id: sample for sample in source.samples}
    for n in range(8):
        sample = by_id[f"part{n % 2}/img{n}.jpg"]
        assert sample.labels == (["nv", "mel", "bkl"].index(ROWS["dx"][n]),)
        assert sample.patient == f"L{n // 2}"
        age = sample.attributes["age"]
        fraction = ".0" if suffix in ("csv", "tsv") else ""  # as pandas has written it
        assert age == ("" if n == 1 else str(int(ROWS["age"][n])) + fraction)
    data = prepared(settings, tmp_path)
    assert data.card.task == "multiclass"
    crossing = data.samples.groupby("patient")["split"].nunique()
    assert crossing.max() == 1


def test_rows_and_images_that_do_not_fit_are_bad(tmp_path, write_tree, png):
    text = "file,dx\na/1.png,0\n2,1.0\n1.png,1\n9.png,0\n,1\n3.png,2\n4.png,\n/elsewhere/a/5.png,1\nsame,0\n"
    files = {f"a/{n}.png": png(n) for n in range(1, 7)} | {"x/same.png": png(8), "y/same.png": png(9)}
    path = write_tree(tmp_path / "m", files | {"labels.csv": text})
    source = open_source(table(path, task="binary", classes=["0", "1"]))
    assert {sample.id: sample.labels for sample in source.samples} == {
        "a/1.png": (0,), "a/2.png": (1,), "a/5.png": (1,),
    }  # fmt: skip
    assert dict(source.bad) == {
        "labels.csv, row 4: 1.png": "has a second row: the first is labels.csv, row 2: a/1.png",
        "labels.csv, row 5: 9.png": "has no image",
        "labels.csv, row 6: ": "has no image: the cell is empty",
        "a/3.png": "unknown label '2' (known are 0, 1)",
        "a/4.png": "has no label",
        "labels.csv, row 10: same": "fits several images: x/same.png and y/same.png",
        "a/6.png": "has no row in labels.csv",
        "x/same.png": "has no row in labels.csv",
        "y/same.png": "has no row in labels.csv",
    }


def test_several_labels_in_one_column_and_in_columns_of_their_own(tmp_path, write_tree, png):
    files = {f"{n}.png": png(n) for n in range(3)}
    listed = "file,dx\n0.png,A|B\n1.png,none\n2.png,B\n"
    path = write_tree(tmp_path / "listed", files | {"labels.csv": listed})
    settings = {"task": "multilabel", "classes": ["A", "B"]}
    source = open_source(table(path, separator="|", no_finding="none", **settings))
    expected = {"0.png": (1, 1), "1.png": (0, 0), "2.png": (0, 1)}
    assert {sample.id: sample.labels for sample in source.samples} == expected
    columns = "file,A,B\n0.png,1,True\n1.png,0.0,no\n2.png,-1,1\n"
    path = write_tree(tmp_path / "columns", files | {"labels.csv": columns})
    wide = settings | {"label_columns": ["A", "B"]}
    source = open_source(table(path, **wide))
    assert source.bad == [("2.png", "unknown value in column A: '-1' (known are 0, 1)")]
    source = open_source(table(path, label_values={"-1": "0"}, **wide))
    assert {sample.id: sample.labels for sample in source.samples} == expected


def test_a_split_keeps_a_column_together(tmp_path, write_tree, png):
    """Sites, and patients with images in two of them."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "file": [f"{n}.png" for n in range(60)],
            "dx": generator.choice(["a", "b"], 60),
            "who": [f"p{n // 2}" for n in range(60)],
            "site": [f"s{n // 5}" for n in range(60)],
        }
    )
    files = {f"{n}.png": png(n) for n in range(60)} | {"labels.csv": rows.to_csv(index=False)}
    path = write_tree(tmp_path / "m", files)
    data = prepared(
        table(
            path, task="binary", classes=["a", "b"], patient_column="who", attributes=["site"],
            split_by="site",
        ),
        tmp_path,
    )  # fmt: skip
    for column in ("patient", "site"):
        assert data.samples.groupby(column)["split"].nunique().max() == 1
    assert set(data.samples["split"]) == {"train", "val", "test"}
    assert "patient and site" in data.card.split_origin


def test_the_wrong_column_is_named(tmp_path, write_tree, png):
    path = write_tree(tmp_path / "m", {"1.png": png(1), "labels.csv": "file,diagnosis\n1.png,a\n"})
    with pytest.raises(UserError, match="lacks the column dx; it has file, diagnosis"):
        open_source(table(path, task="binary", classes=["a", "b"]))
    with pytest.raises(UserError, match=r"neither a file below .* nor can .*other\.csv be read"):
        open_source(table(path, table="other.csv", task="binary", classes=["a", "b"]))
