import pytest

from imssl.datasets import idc
from imssl.datasets.prepare import prepare
from imssl.errors import UserError

COPY = "IDC_regular_ps50_idx5/"


@pytest.fixture
def tree(png):
    shapes = {0: (50, 50), 1: (50, 1), 2: (50, 49)}
    return {
        f"{patient}/{label}/{patient}_idx5_x{x}_y1_class{label}.png": png(
            1000 * patient + 10 * x + label, *shapes[x]
        )
        for patient in (8863, 8864, 8865, 8866)
        for label in (0, 1)
        for x in range(3)
        if (patient, label) != (8864, 1)
    }


def write_split(folder, text="patient_id,split\n8863,train\n8864,train\n8865,val\n8866,test\n"):
    (folder / "split.csv").write_text(text)
    return folder / "split.csv"


@pytest.mark.parametrize("name", ["idc", "idc.zip"])
@pytest.mark.parametrize("top", ["", COPY])
def test_patient_and_class_are_those_of_the_folders(tmp_path, write_tree, tree, name, top):
    source = idc.source(
        write_tree(tmp_path / name, {top + file: content for file, content in tree.items()}), None
    )
    assert source.bad == []
    assert len(source.samples) == 21
    for sample in source.samples:
        assert sample.id.startswith(f"{sample.patient}_idx5")
        assert sample.id.endswith(f"class{sample.labels[0]}")
        assert sample.split == ""
    assert sorted({source.read(sample).shape for sample in source.samples}) == [
        (50, 1, 3),
        (50, 49, 3),
        (50, 50, 3),
    ]


@pytest.mark.parametrize("name", ["idc", "archive.zip"])
def test_the_copy_in_kaggles_archive_is_passed_over(tmp_path, write_tree, tree, name):
    copy = {COPY + file: content for file, content in tree.items()}
    source = idc.source(write_tree(tmp_path / name, tree | copy), None)
    assert source.bad == []
    assert len(source.samples) == 21


def test_the_split_file_decides(tmp_path, write_tree, tree):
    source = idc.source(write_tree(tmp_path / "idc", tree), write_split(tmp_path))
    assert {(s.patient, s.split) for s in source.samples} == {
        ("8863", "train"), ("8864", "train"), ("8865", "val"), ("8866", "test")
    }  # fmt: skip
    assert "split.csv" in source.inputs
    card = prepare(
        source, name="idc", size=16, channels=3, split_seed=0, on_bad_image="error", folder=tmp_path / "out"
    )
    assert card.counts["train"].per_class == {"no carcinoma": 6, "carcinoma": 3}


def test_patients_missing_on_either_side_are_bad(tmp_path, write_tree, tree):
    split = write_split(tmp_path, "patient_id,split\n8863,train\n8865,val\n8866,test\n9999,test\n")
    source = idc.source(write_tree(tmp_path / "idc", tree), split)
    assert [reason for name, reason in source.bad if name.startswith("8864/0/")] == [
        f"its patient is not in {split}: 8864"
    ] * 3
    assert ("patient 9999", f"is in {split}, but has no images") in source.bad
    assert len(source.bad) == 4


def test_one_id_in_two_classes_is_bad(tmp_path, write_tree, tree, png):
    source = idc.source(
        write_tree(tmp_path / "idc", tree | {"8863/1/8863_idx5_x0_y1_class0.png": png(5)}), None
    )
    assert [name for name, _ in source.bad] == ["8863/1/8863_idx5_x0_y1_class0.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "patient_id,split\n8863,training\n",
            "line 2: unknown split 'training' \\(did you mean 'train'\\?\\)",
        ),
        ("patient_id,split\n8863,train\n8863,test\n", "line 3: patient 8863 is in train already"),
        ("patient,split\n8863,train\n", "lacks the column patient_id"),
        ("patient_id,split\n", "lists no patients"),
    ],
)
def test_faulty_split_files_are_refused(tmp_path, write_tree, tree, text, message):
    with pytest.raises(UserError, match=message):
        idc.source(write_tree(tmp_path / "idc", tree), write_split(tmp_path, text))


def test_a_missing_split_file_is_refused(tmp_path, write_tree, tree):
    with pytest.raises(UserError, match="Correct split_file"):
        idc.source(write_tree(tmp_path / "idc", tree), tmp_path / "nothing.csv")


def test_another_layout_is_refused(tmp_path, write_tree, png):
    with pytest.raises(UserError, match=r"(?s)Expected: <patient>/<class>/\*\.png.*Found:\n  8863/2/x\.png"):
        idc.source(write_tree(tmp_path / "idc", {"8863/2/x.png": png(0)}), None)


def test_the_sample_of_the_real_set(samples_folder):
    source = idc.source(
        samples_folder / "breast-histopathology-images-sample.zip",
        samples_folder / "breast-histopathology-images-split.csv",
    )
    assert source.bad == []
    assert len(source.samples) == 10_194
    assert sum(sample.labels[0] for sample in source.samples) == 2_694
    patients = {
        split: {s.patient for s in source.samples if s.split == split} for split in ("train", "val", "test")
    }
    assert [len(names) for names in patients.values()] == [167, 56, 56]
    shapes = [source.read(sample).shape for sample in source.samples[::100]]
    assert {shape[2] for shape in shapes} == {3}
