import pytest

from imssl.datasets import nih
from imssl.datasets.prepare import prepare
from imssl.datasets.prepared import read_prepared
from imssl.datasets.text import unknown_value
from imssl.errors import UserError

ROWS = {
    "00000001_000.png": ("Cardiomegaly|Emphysema", "1"),
    "00000001_001.png": ("No Finding", "1"),
    "00000002_000.png": ("Hernia", "2"),
    "00000003_000.png": ("Pleural_Thickening", "3"),
    "00000004_000.png": ("No Finding", "4"),
}
LISTS = {
    "train_list.txt": "00000001_000.png\n00000001_001.png\n",
    "val_list.txt": "00000002_000.png\r\n00000003_000.png\r\n\r\n",
    "test_list.txt": "00000004_000.png",
}


def table(rows):
    lines = [f"{file},{findings},0,{patient},58" for file, (findings, patient) in rows.items()]
    return "\n".join(["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age", *lines]) + "\n"


@pytest.fixture
def tree(png):
    images = {f"images_{i:03d}/images/{name}": png(i, mode="L") for i, name in enumerate(ROWS, start=1)}
    return images | {"Data_Entry_2017.csv": table(ROWS)} | LISTS


@pytest.mark.parametrize("top", ["", "CXR8/"])
@pytest.mark.parametrize("name", ["nih", "nih.zip"])
def test_the_layout_of_the_owners_is_read(tmp_path, write_tree, tree, name, top):
    source = nih.source(write_tree(tmp_path / name, {top + file: content for file, content in tree.items()}))
    assert source.bad == []
    found = {
        s.id: (s.patient, s.split, [source.classes[i] for i, on in enumerate(s.labels) if on])
        for s in source.samples
    }
    assert found == {
        "00000001_000": ("1", "train", ["Cardiomegaly", "Emphysema"]),
        "00000001_001": ("1", "train", []),
        "00000002_000": ("2", "val", ["Hernia"]),
        "00000003_000": ("3", "val", ["Pleural_Thickening"]),
        "00000004_000": ("4", "test", []),
    }
    assert all(source.read(sample).shape == (9, 9) for sample in source.samples)
    assert {"Data_Entry_2017.csv", "train_list.txt", "val_list.txt", "test_list.txt"} <= set(source.inputs)
    assert ("nih.zip" in source.inputs) == (name == "nih.zip")


def test_folder_and_zip_prepare_to_the_same_images_and_samples(tmp_path, write_tree, tree):
    cards = [
        prepare(
            nih.source(write_tree(tmp_path / name, tree)),
            name="nih",
            size=8,
            channels=1,
            split_seed=0,
            on_bad_image="error",
            folder=tmp_path / f"prepared-{name}",
        )
        for name in ("nih", "nih.zip")
    ]
    assert cards[0].checksums == cards[1].checksums
    assert cards[0].counts["test"].per_class["Hernia"] == 0
    assert read_prepared(tmp_path / "prepared-nih").labels().shape == (5, 14)


def test_the_official_two_lists_leave_validation_to_be_drawn(tmp_path, write_tree, tree):
    del tree["train_list.txt"], tree["val_list.txt"]
    tree["train_val_list.txt"] = LISTS["train_list.txt"] + LISTS["val_list.txt"]
    tree["Data_Entry_2017_v2020.csv"] = tree.pop("Data_Entry_2017.csv")
    source = nih.source(write_tree(tmp_path / "nih", tree))
    assert [s.split for s in source.samples] == ["train"] * 4 + ["test"]
    assert source.split_origin == "The lists train_val_list.txt, test_list.txt."


def test_without_lists_the_split_is_drawn(tmp_path, write_tree, tree):
    for name in LISTS:
        del tree[name]
    source = nih.source(write_tree(tmp_path / "nih", tree))
    assert {sample.split for sample in source.samples} == {""}
    assert source.split_origin == ""


def test_what_does_not_match_is_bad(tmp_path, write_tree, tree, png):
    rows = ROWS | {
        "00000005_000.png": ("Hernia", "5"),
        "00000006_000.png": ("Fracture", "6"),
        "00000007_000.png": ("Hernia", ""),
        "00000008_000.png": ("Hernia", "8"),
    }
    tree["Data_Entry_2017.csv"] = table(rows) + "00000001_000.png,Hernia,0,1,58\n"
    for i in (6, 7, 8, 9):
        tree[f"images_001/images/0000000{i}_000.png"] = png(i)
    tree["images_002/00000001_000.png"] = png(99)
    tree["test_list.txt"] += "\n00000006_000.png\n00000007_000.png\n00000010_000.png\n"
    source = nih.source(write_tree(tmp_path / "nih", tree))
    assert dict(source.bad) == {
        "images_002/00000001_000.png": "duplicate id: images_001/images/00000001_000.png has the same name",
        "00000001_000.png": "duplicate id: it has a second row",
        "00000005_000.png": "it has a row, but no image file",
        "00000006_000.png": unknown_value("finding", "Fracture", [*nih.CLASSES, nih.NO_FINDING]),
        "00000007_000.png": "its row has no patient id",
        "00000008_000.png": "it is in no split list",
        "images_001/images/00000009_000.png": "the image has no row",
        "00000010_000.png": "it is in a split list, but has no row",
    }
    assert len(source.samples) == 5


def test_an_image_in_two_lists_is_refused(tmp_path, write_tree, tree):
    tree["val_list.txt"] += "00000004_000.png"
    with pytest.raises(UserError, match=r"00000004_000\.png is in the split lists of both val and test"):
        nih.source(write_tree(tmp_path / "nih", tree))


def test_incomplete_lists_are_refused(tmp_path, write_tree, tree):
    del tree["val_list.txt"]
    with pytest.raises(UserError, match=r"has only test_list\.txt, train_list\.txt"):
        nih.source(write_tree(tmp_path / "nih", tree))


@pytest.mark.parametrize("missing", ["table", "images"])
def test_another_layout_is_refused(tmp_path, write_tree, tree, missing):
    kept = {name: text for name, text in tree.items() if name.endswith(".png") == (missing == "table")}
    with pytest.raises(UserError, match=r"Expected: images\*/.*Data_Entry_2017\.csv"):
        nih.source(write_tree(tmp_path / "nih", kept))


def test_a_patient_in_two_lists_is_refused_when_prepared(tmp_path, write_tree, tree):
    tree["train_list.txt"] = "00000001_000.png"
    tree["test_list.txt"] += "\n00000001_001.png"
    source = nih.source(write_tree(tmp_path / "nih", tree))
    with pytest.raises(UserError, match="more than one split: 1"):
        prepare(
            source, name="nih", size=8, channels=1, split_seed=0, on_bad_image="skip", folder=tmp_path / "out"
        )


def test_the_sample_of_the_real_set(tmp_path, samples_folder):
    source = nih.source(samples_folder / "nih-chestxray14-sample")
    card = prepare(
        source, name="nih", size=32, channels=1, split_seed=0, on_bad_image="error", folder=tmp_path
    )
    assert [(c.samples, c.patients) for c in card.counts.values()] == [(725, 189), (94, 24), (181, 51)]
    assert [c.per_class["Hernia"] for c in card.counts.values()] == [9, 0, 0]
    assert card.skipped == []


def test_age_sex_and_view_are_attributes(tmp_path, write_tree, tree):
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    )
    ages = ("058Y", "7", "011M", "", "about 40")
    tree["Data_Entry_2017.csv"] = header + "".join(
        f"{file},{findings},0,{patient},{age},F,PA,2682,2749,0.143,0.143,\n"
        for (file, (findings, patient)), age in zip(ROWS.items(), ages, strict=True)
    )
    source = nih.source(write_tree(tmp_path / "nih", tree))
    assert source.attributes == ["age", "sex", "view"]
    assert {(s.attributes["sex"], s.attributes["view"]) for s in source.samples} == {("F", "PA")}
    assert [s.attributes["age"] for s in source.samples] == ["58", "7", "0", "", "about 40"]


def test_a_table_without_these_columns_gives_no_attributes(tmp_path, write_tree, tree):
    tree["Data_Entry_2017.csv"] = "Image Index,Finding Labels,Patient ID\n" + "".join(
        f"{file},{findings},{patient}\n" for file, (findings, patient) in ROWS.items()
    )
    source = nih.source(write_tree(tmp_path / "nih", tree))
    assert list(source.attributes) == []
    assert [s.attributes for s in source.samples] == [{}] * 5
